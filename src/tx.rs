// SPDX-License-Identifier: Apache-2.0
//! Sending a burst: exchange the packet's buffer with the slot's where that is possible, else copy.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use netmap_sys::netmap::{NS_BUF_CHANGED, NS_MOREFRAG};

use crate::burst::{Swappable, TxBurst, TxMetadata};
use crate::counters::TxCounters;
use crate::engine::{HEADROOM, SyncedRing};
use crate::index::{BufIdx, Owner};
use crate::policer::Policer;
use crate::pool::{Frame, Pool};
use crate::region::{RawBytes, Region};
use crate::ring::{Batch, Ring, Slot, SlotCell};

/// A transmit queue: the rings that it fills.
pub struct TxQueue {
    rings: Vec<SyncedRing>,
    /// The ring to fill first.
    next: usize,
    pool: Arc<Pool>,
    /// Longest frame that may go out, shared by the queues of a port and changed with its MTU; 0 while
    /// the link is down.
    max_frame: Arc<AtomicU32>,
    /// The limit of the port.
    policer: Arc<Policer>,
    counters: Arc<TxCounters>,
}

impl TxQueue {
    /// A queue whose rings' buffers are in the region of `pool`.
    pub(crate) fn new(
        pool: Arc<Pool>,
        rings: Vec<SyncedRing>,
        max_frame: Arc<AtomicU32>,
    ) -> TxQueue {
        TxQueue {
            rings,
            next: 0,
            pool,
            max_frame,
            policer: Arc::default(),
            counters: Arc::default(),
        }
    }

    /// Follows `policer`.
    pub fn police(&mut self, policer: &Arc<Policer>) {
        self.policer = Arc::clone(policer);
    }

    pub(crate) fn counters(&self) -> Arc<TxCounters> {
        Arc::clone(&self.counters)
    }

    /// A ring of it.
    #[cfg(feature = "test-utils")]
    pub(crate) fn ring(&self, i: usize) -> &Ring {
        &self.rings[i].ring
    }

    /// Its rings take metadata from now on, as those of AF_XDP do.
    #[cfg(feature = "test-utils")]
    pub(crate) fn leave_csums(&mut self) {
        for synced in &mut self.rings {
            synced.ring.set_min_offset(crate::engine::TX_METADATA_LEN);
            synced.ring.set_takes_csum();
        }
    }

    /// Sends `packets`. Those of this library are put back to their pools, sent or not.
    #[inline]
    pub fn send(&mut self, mut packets: TxBurst<'_>) -> Sent {
        let max_frame = self.max_frame.load(Ordering::Relaxed);
        if max_frame == 0 {
            return self.refuse(packets);
        }
        if packets.has_csums() {
            self.prepare_csums(&mut packets);
        }
        if self.policer.is_active() {
            let dropped = packets.police(&self.policer, &self.pool);
            self.counters.policed.add(dropped as u64);
        }
        let mut burst = Burst {
            packets,
            max_frame,
            pool: &self.pool,
            counters: &self.counters,
            swapped: 0,
            copied: 0,
            bytes: 0,
        };
        // Two rounds: in the second, every ring was synced after it was found full.
        for _ in 0..2 * self.rings.len() {
            burst.fill(&mut self.rings[self.next]);
            if burst.packets.left() == 0 {
                break;
            }
            self.next += 1;
            if self.next >= self.rings.len() {
                self.next = 0;
            }
        }
        burst.finish()
    }
}

impl TxQueue {
    /// Sees to partial checksums: the other side completes them where it does that.
    #[inline(never)]
    fn prepare_csums(&self, packets: &mut TxBurst<'_>) {
        // A policer moves packets about, so that nobody would know which they were.
        let asks = !self.policer.is_active() && self.rings.iter().all(|r| r.ring.takes_csum());
        let prepared = packets.prepare_csums(asks.then(|| self.pool.id()));
        self.counters.csum_offloaded.add(prepared.offloaded as u64);
        self.counters.csum_completed.add(prepared.completed as u64);
    }

    /// Whether it can leave checksums to the other side of its rings.
    pub fn takes_csum(&self) -> bool {
        !self.rings.is_empty() && self.rings.iter().all(|r| r.ring.takes_csum())
    }

    /// Drops `packets`, as the link is down. The rings are synced: what waits there has an age.
    #[cold]
    fn refuse(&mut self, mut packets: TxBurst<'_>) -> Sent {
        self.counters.link_down.add(packets.left() as u64);
        for synced in &mut self.rings {
            self.counters.txsyncs.add(1);
            if synced.sync().is_err() {
                self.counters.sync_errors.add(1);
            }
        }
        Sent {
            frames: 0,
            returned: packets.finish(&self.pool),
        }
    }
}

/// What became of a burst.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sent {
    /// Frames that went into a ring. The others were dropped and counted.
    pub frames: usize,
    /// Packets that stay the caller's: at the front of the array.
    pub returned: usize,
}

/// A burst on its way out.
struct Burst<'q> {
    packets: TxBurst<'q>,
    max_frame: u32,
    pool: &'q Pool,
    counters: &'q TxCounters,
    /// Frames that went into rings by exchanging buffers.
    swapped: usize,
    /// Frames that were copied into rings.
    copied: usize,
    /// Bytes of the frames in rings.
    bytes: u64,
}

impl Burst<'_> {
    /// Fills the free slots of `synced` with what is to do, and syncs it.
    #[inline]
    fn fill(&mut self, synced: &mut SyncedRing) {
        let Ok(mut batch) = synced.ring.batch() else {
            self.counters.bad_ring.add(1);
            // The other side knows where the ring was, and sets it right in a sync.
            self.sync(synced);
            return;
        };
        self.swap(&mut batch);
        while batch.left() > 0
            && let Some(data) = self.packets.next_bytes()
            && self.copy(&mut batch, data)
        {
            self.swap(&mut batch);
        }
        batch.commit();
        self.sync(synced);
    }

    #[inline]
    fn sync(&self, synced: &mut SyncedRing) {
        self.counters.txsyncs.add(1);
        if synced.sync().is_err() {
            self.counters.sync_errors.add(1);
        }
    }

    /// Puts frames into slots by exchanging buffers, as long as that can be done.
    #[inline]
    fn swap(&mut self, batch: &mut Batch<'_>) {
        loop {
            let slots = batch.contiguous(self.packets.left());
            let packets = self.packets.swappable(self.pool.id());
            let (ring, region, max) = (batch.ring(), self.pool.region(), self.max_frame);
            let metadata = self.packets.metadata();
            let (plain, has_metadata) = (ring.has_plain_offsets(region.buf_size()), metadata.any());
            let swap = match (ring.owner(), plain, has_metadata) {
                // Only rings that a port has for itself take metadata, and few bursts have any.
                (Owner::OUTSIDE, ..) => swap_slots::<_, true, false, false>,
                (_, true, false) => swap_slots::<_, false, true, false>,
                (_, _, true) => swap_slots::<_, false, false, true>,
                (_, false, false) => swap_slots::<_, false, false, false>,
            };
            let (swapped, bytes) = swap(slots, packets, ring, region, max, metadata);
            self.packets.taken(swapped);
            self.swapped += swapped;
            self.bytes += bytes;
            let stopped = swapped < slots.len();
            batch.skip(swapped as u32);
            if stopped || batch.left() == 0 || self.packets.left() == 0 {
                break;
            }
        }
    }

    /// Copies the next frame, whose bytes are `data`, into the buffer of the batch's first slot, or
    /// finds out why neither that nor a swap works. Passes the slot, the frame, or both; false if there are
    /// too few slots for the frame.
    #[cold]
    fn copy(&mut self, batch: &mut Batch<'_>, data: RawBytes<'_>) -> bool {
        let region = self.pool.region();
        let slot = batch.slot(0);
        let idx = BufIdx(slot.buf_idx);
        if self.packets.complete_next() {
            self.counters.csum_completed.add(1);
        }
        if data.len() > self.max_frame as usize {
            self.counters.too_long.add(1);
            self.packets.dismiss(self.pool);
            return true;
        }
        if data.len() > room_in_slot(batch, region) {
            return self.copy_over_several(batch, data);
        }
        // Held while it is written: if its index stands in another ring, too, nobody takes it there.
        let owner = batch.ring().owner();
        let Some(buf) = region.claim(idx, owner) else {
            self.counters.bad_index.add(1);
            // Nothing of what the slot held before may go out; the frame goes into the next one.
            batch.pass(Slot {
                len: 0,
                flags: 0,
                ..slot
            });
            return true;
        };
        let offset = room_before(batch, region, data.len());
        let written = region.write(buf.idx(), offset, data);
        region.release(buf, owner);
        if written {
            let full = Slot {
                len: data.len() as u16,
                flags: 0,
                ptr: batch.ring().with_offset(slot.ptr, offset),
                ..slot
            };
            batch.pass(full);
            self.bytes += data.len() as u64;
            self.copied += 1;
        } else {
            self.counters.too_long.add(1);
        }
        self.packets.dismiss(self.pool);
        true
    }

    /// As [`Burst::copy`], for a frame that is longer than a buffer.
    fn copy_over_several(&mut self, batch: &mut Batch<'_>, data: RawBytes<'_>) -> bool {
        let region = self.pool.region();
        let (offset, room) = (batch.ring().min_offset(), room_in_slot(batch, region));
        let slots = data.len().div_ceil(room) as u32;
        if slots > batch.ring().max_frags() {
            self.counters.too_long.add(1);
            self.packets.dismiss(self.pool);
            return true;
        }
        if slots > batch.left() {
            return false;
        }
        // As for one slot: all are held while they are written.
        let owner = batch.ring().owner();
        let claim = |i| region.claim(BufIdx(batch.slot(i).buf_idx), owner);
        let bufs: Vec<_> = (0..slots).map_while(claim).collect();
        if bufs.len() < slots as usize {
            self.counters.bad_index.add(1);
            // Those before the bad one must go empty, too.
            for _ in 0..=bufs.len() {
                let slot = batch.slot(0);
                batch.pass(Slot {
                    len: 0,
                    flags: 0,
                    ..slot
                });
            }
            for buf in bufs {
                region.release(buf, owner);
            }
            return true;
        }
        let mut rest = data;
        for buf in bufs {
            let (part, after) = rest.split_at(room);
            let slot = batch.slot(0);
            // It is at most what has room there.
            region.write(buf.idx(), offset, part);
            rest = after;
            batch.pass(Slot {
                buf_idx: region.release(buf, owner).0,
                len: part.len() as u16,
                flags: if rest.is_empty() { 0 } else { NS_MOREFRAG },
                ptr: batch.ring().with_offset(slot.ptr, offset),
            });
        }
        self.bytes += data.len() as u64;
        self.copied += 1;
        self.counters.several_slots.add(1);
        self.packets.dismiss(self.pool);
        true
    }

    /// Counts, and puts all packets back.
    #[inline]
    fn finish(&mut self) -> Sent {
        let counters = self.counters;
        let frames = self.swapped + self.copied;
        if frames > 0 {
            counters.packets.add(frames as u64);
            counters.bytes.add(self.bytes);
            counters.bursts.add(1);
            counters.zero_copy.add(self.swapped as u64);
            counters.copied.add(self.copied as u64);
        }
        let left = self.packets.left();
        if left > 0 {
            counters.ring_full.add(left as u64);
        }
        Sent {
            frames,
            returned: self.packets.finish(self.pool),
        }
    }
}

/// Puts `packets` into the cells of `slots`, one by one, up to the first whose buffer cannot be exchanged, or whose
/// frame the port does not take as it lies in its buffer. Returns how many, and the bytes of their frames.
/// `OUTSIDE` tells whether [`Owner::OUTSIDE`] has the slots' buffers; `PLAIN` that the ring has plain offsets;
/// `METADATA` whether any packet has such.
fn swap_slots<'p, P, const OUTSIDE: bool, const PLAIN: bool, const METADATA: bool>(
    slots: &[SlotCell],
    packets: P,
    ring: &Ring,
    region: &Region,
    max_frame: u32,
    mut metadata: TxMetadata,
) -> (usize, u64)
where
    P: Iterator<Item = Option<Swappable<'p>>>,
{
    let (mut swapped, mut bytes) = (0, 0);
    for (cell, packet) in slots.iter().zip(packets) {
        let Some(packet) = packet else { break };
        let Frame { data_ofs, size, .. } = packet.frame();
        let offset = data_ofs as u32;
        let takes_offset = match PLAIN {
            true => offset >= ring.min_offset(),
            false => ring.takes_offset(offset),
        };
        let fits = takes_offset
            && size <= max_frame
            && offset as u64 + size as u64 <= region.buf_size() as u64;
        if !fits {
            break;
        }
        let idx = BufIdx(cell.buf_idx());
        let Some(buf) = region.claim_from::<OUTSIDE>(idx, ring.owner()) else {
            break;
        };
        let mut flags = NS_BUF_CHANGED;
        if METADATA {
            let (flag, rest) = metadata.next();
            flags |= flag;
            metadata = rest;
        }
        let old = packet.take(buf);
        cell.write(Slot {
            buf_idx: region.release(old, ring.owner()).0,
            len: size as u16,
            flags,
            ptr: match PLAIN {
                true => offset.into(),
                false => ring.with_offset(cell.ptr(), offset),
            },
        });
        bytes += size as u64;
        swapped += 1;
    }
    (swapped, bytes)
}

/// Where to copy a frame of `len` bytes to: after the usual headroom, for whoever receives it from a
/// pipe, unless the port takes frames only at the base or the frame needs the room.
#[inline]
fn room_before(batch: &Batch<'_>, region: &Region, len: usize) -> u32 {
    let fits = HEADROOM as usize + len <= region.buf_size() as usize;
    if fits && HEADROOM <= batch.ring().max_offset() {
        HEADROOM
    } else {
        batch.ring().min_offset()
    }
}

/// Longest frame for one slot.
#[inline]
fn room_in_slot(batch: &Batch<'_>, region: &Region) -> usize {
    (u32::from(region.frame_room()) - batch.ring().min_offset()) as usize
}
