// SPDX-License-Identifier: Apache-2.0
//! Sending a burst: exchange the packet's buffer with the slot's where that is possible, else copy.

use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use netmap_sys::netmap::NS_BUF_CHANGED;

use crate::counters::TxCounters;
use crate::engine::{HEADROOM, SyncedRing};
use crate::frames::{Frame, TxDescs};
use crate::index::BufIdx;
use crate::pool::{self, MAGAZINE, Packet, Pool};
use crate::region::Region;
use crate::ring::{Batch, Ring, Slot, SlotCell};

/// A transmit queue: the rings that it fills.
pub struct TxQueue {
    rings: Vec<SyncedRing>,
    /// The ring to fill first.
    next: usize,
    pool: Arc<Pool>,
    /// Longest frame that may go out, shared by the queues of a port and changed with its MTU.
    max_frame: Arc<AtomicU32>,
    counters: Arc<TxCounters>,
    /// Packets of the pool to put back at the end of the burst; empty between bursts.
    sent: Vec<Packet>,
}

impl TxQueue {
    /// A queue whose rings' buffers are in the region of `pool`.
    pub fn new(pool: Arc<Pool>, rings: Vec<SyncedRing>, max_frame: Arc<AtomicU32>) -> TxQueue {
        TxQueue {
            rings,
            next: 0,
            pool,
            max_frame,
            counters: Arc::default(),
            sent: Vec::with_capacity(MAGAZINE),
        }
    }

    /// What it counts.
    pub fn counters(&self) -> Arc<TxCounters> {
        Arc::clone(&self.counters)
    }

    /// Slots of its rings.
    pub fn ring_slots(&self) -> Vec<u32> {
        self.rings.iter().map(|r| r.ring.num_slots()).collect()
    }

    /// Sends `frames`; returns how many went into a ring. The rest was dropped and counted. Packets
    /// of this library are put back to their pools, sent or not.
    #[inline]
    pub fn send(&mut self, frames: TxDescs<'_>) -> usize {
        let mut burst = Burst {
            frames: &frames,
            done: 0,
            max_frame: self.max_frame.load(Ordering::Relaxed) as usize,
            pool: &self.pool,
            counters: &self.counters,
            sent: &mut self.sent,
            bytes: 0,
            copied: 0,
        };
        // Two rounds: in the second, every ring was synced after it was found full.
        for _ in 0..2 * self.rings.len() {
            burst.fill(&mut self.rings[self.next]);
            if burst.done == frames.count() {
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

/// A burst on its way out.
struct Burst<'q> {
    frames: &'q TxDescs<'q>,
    /// The first frame that is still to do.
    done: usize,
    max_frame: usize,
    pool: &'q Pool,
    counters: &'q TxCounters,
    /// Packets of `pool` that went out by exchanging their buffers.
    sent: &'q mut Vec<Packet>,
    /// Frames that were copied into rings.
    copied: u64,
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
            && let Some(frame) = self.frames.from(self.done).next()
        {
            self.copy(&mut batch, frame);
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
            let run = batch.run(self.frames.count() - self.done);
            let frames = self.frames.from(self.done);
            self.sent.reserve(run.len());
            let sent = self.sent.spare_capacity_mut();
            let (swapped, bytes) =
                swap_run(run, frames, batch.ring(), self.pool, self.max_frame, sent);
            self.grow_sent(swapped);
            let stopped = swapped < run.len();
            self.bytes += bytes;
            self.done += swapped;
            batch.skip(swapped as u32);
            if stopped || batch.left() == 0 || self.done == self.frames.count() {
                break;
            }
        }
    }

    /// Adds the packets that were written to the spare capacity of `sent`.
    #[inline]
    #[allow(unsafe_code)]
    fn grow_sent(&mut self, n: usize) {
        // SAFETY: `swap_run` wrote so many, in order, and there was room for them.
        unsafe { self.sent.set_len(self.sent.len() + n) };
    }

    /// Copies `frame` into the buffer of the batch's first slot, or finds out why neither that nor a
    /// swap works. Passes the slot, the frame, or both.
    #[cold]
    fn copy(&mut self, batch: &mut Batch<'_>, frame: Frame<'_>) {
        let region = self.pool.region();
        let data = frame.data();
        let slot = batch.slot(0);
        let idx = BufIdx(slot.buf_idx);
        if data.len() > self.max_frame {
            self.counters.too_long.add(1);
            self.done += 1;
            return;
        }
        if !region.is_held_by(idx, batch.ring().owner()) {
            self.counters.bad_index.add(1);
            // Nothing of what the slot held before may go out; the frame goes into the next one.
            batch.pass(Slot { len: 0, ..slot });
            return;
        }
        self.done += 1;
        let offset = room_before(batch, region, data.len());
        if !region.write(idx, offset, data) {
            self.counters.too_long.add(1);
            return;
        }
        let full = Slot {
            len: data.len() as u16,
            flags: 0,
            ptr: batch.ring().with_offset(slot.ptr, offset),
            ..slot
        };
        batch.pass(full);
        self.bytes += data.len() as u64;
        self.copied += 1;
    }

    /// Counts, and puts all packets back. Returns how many frames went into rings.
    #[inline]
    fn finish(mut self) -> usize {
        let counters = self.counters;
        let swapped = self.sent.len() as u64;
        let sent = swapped + self.copied;
        if sent > 0 {
            counters.packets.add(sent);
            counters.bytes.add(self.bytes);
            counters.bursts.add(1);
            counters.zero_copy.add(swapped);
            counters.copied.add(self.copied);
        }
        if self.done < self.frames.count() {
            let left = self.frames.count() - self.done;
            counters.ring_full.add(left as u64);
        }
        if self.sent.len() < self.frames.count() {
            self.take_others();
        }
        self.pool.put(self.sent);
        sent as usize
    }

    /// Takes the packets of the frames that were not swapped: those of other pools are freed.
    #[cold]
    fn take_others(&mut self) {
        for frame in self.frames.from(0) {
            match frame.take() {
                Some(packet) if packet.pool_id() == self.pool.id() => self.sent.push(packet),
                Some(packet) => pool::free(packet),
                None => {}
            }
        }
    }
}

/// Puts `frames` into the slots of `run`, one by one, as long as that can be done by exchanging buffers:
/// the packet is one of `pool`, its data is still in its buffer, and the port takes frames that start
/// there. Writes the packets to `sent`; returns how many they are, and the bytes of their frames.
#[inline]
fn swap_run<'a>(
    run: &[SlotCell],
    frames: impl Iterator<Item = Frame<'a>>,
    ring: &Ring,
    pool: &Pool,
    max_frame: usize,
    sent: &mut [MaybeUninit<Packet>],
) -> (usize, u64) {
    let (region, pool_id) = (pool.region(), pool.id());
    let (mut swapped, mut bytes) = (0, 0);
    for ((cell, sent), frame) in run.iter().zip(sent).zip(frames) {
        let data = frame.data();
        let Some(mut packet) = frame.take_plain(pool_id) else {
            break;
        };
        let slot = cell.read();
        let offset = region.distance(packet.buf_idx(), data.as_ptr());
        let fits = ring.takes_offset(offset)
            && offset + data.len() <= region.buf_size() as usize
            && data.len() <= max_frame;
        let mut claimed = None;
        if fits {
            claimed = region.claim(BufIdx(slot.buf_idx), ring.owner());
        }
        let Some(buf) = claimed else {
            // In flight again, as it was.
            packet.into_raw();
            break;
        };
        let old = packet.exchange_buf(buf);
        cell.write(Slot {
            buf_idx: region.release(old, ring.owner()).0,
            len: data.len() as u16,
            flags: NS_BUF_CHANGED,
            ptr: ring.with_offset(slot.ptr, offset as u32),
        });
        bytes += data.len() as u64;
        sent.write(packet);
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
        0
    }
}
