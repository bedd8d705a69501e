// SPDX-License-Identifier: Apache-2.0
//! Sending a burst: exchange the packet's buffer with the slot's where that is possible, else copy.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use netmap_sys::netmap::NS_BUF_CHANGED;

use crate::counters::TxCounters;
use crate::engine::{HEADROOM, SyncedRing};
use crate::index::BufIdx;
use crate::pool::{self, InFlight, MAGAZINE, Packet, Pool};
use crate::region::{RawBytes, Region};
use crate::ring::{Batch, Slot};

/// A frame to send.
pub struct Frame<'a> {
    /// Its packet, if it is one of this library's.
    pub packet: Option<InFlight<'a>>,
    /// Its bytes.
    pub data: RawBytes<'a>,
}

/// Frames to send.
pub trait Frames {
    /// How many.
    fn count(&self) -> usize;

    /// Frame `i`.
    fn frame(&self, i: usize) -> Frame<'_>;

    /// Takes the packet of frame `i`, once all is done with it.
    fn take(&mut self, i: usize) -> Option<Packet>;
}

/// A transmit queue: the rings that it fills.
pub struct TxQueue {
    rings: Vec<SyncedRing>,
    /// The ring to fill first.
    next: usize,
    pool: Arc<Pool>,
    /// Longest frame that may go out, shared by the queues of a port and changed with its MTU.
    max_frame: Arc<AtomicU32>,
    counters: Arc<TxCounters>,
    /// Packets of other pools, to put back at the end of a burst; empty between bursts.
    strangers: Vec<Packet>,
}

/// What became of a frame.
enum Fate {
    /// It is in the slot.
    Sent,
    /// It was dropped and counted; the slot is as before.
    Dropped,
    /// The slot cannot be used, which is counted.
    BadSlot,
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
            strangers: Vec::with_capacity(MAGAZINE),
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
    pub fn send(&mut self, mut frames: impl Frames) -> usize {
        let burst = Burst {
            max_frame: self.max_frame.load(Ordering::Relaxed) as usize,
            pool: &self.pool,
            counters: &self.counters,
        };
        let mut tally = Tally::default();
        let mut done = 0;
        // Two rounds: in the second, every ring was synced after it was found full.
        for _ in 0..2 * self.rings.len() {
            done = burst.fill(&mut self.rings[self.next], &frames, done, &mut tally);
            if done == frames.count() {
                break;
            }
            self.next += 1;
            if self.next >= self.rings.len() {
                self.next = 0;
            }
        }
        self.counters.ring_full.add((frames.count() - done) as u64);
        tally.publish(&self.counters);
        put_back(&self.pool, &mut frames, &mut self.strangers);
        tally.sent as usize
    }
}

/// Puts the packets of `frames` back: those of `pool` as a group, the others one by one.
#[inline]
fn put_back(pool: &Pool, frames: &mut impl Frames, strangers: &mut Vec<Packet>) {
    pool.put((0..frames.count()).filter_map(|i| {
        let packet = frames.take(i)?;
        if packet.pool_id() == pool.id() {
            return Some(packet);
        }
        strangers.push(packet);
        None
    }));
    strangers.drain(..).for_each(pool::free);
}

/// A burst on its way out.
struct Burst<'q> {
    max_frame: usize,
    pool: &'q Pool,
    counters: &'q TxCounters,
}

/// What went into rings.
#[derive(Default)]
struct Tally {
    sent: u64,
    bytes: u64,
    copied: u64,
}

impl Tally {
    fn publish(&self, counters: &TxCounters) {
        if self.sent > 0 {
            counters.packets.add(self.sent);
            counters.bytes.add(self.bytes);
            counters.bursts.add(1);
            counters.zero_copy.add(self.sent - self.copied);
            counters.copied.add(self.copied);
        }
    }
}

impl Burst<'_> {
    /// Fills the free slots of `synced` with the frames from `done`, and syncs it. Returns the first
    /// frame that is still to do.
    #[inline]
    fn fill(
        &self,
        synced: &mut SyncedRing,
        frames: &impl Frames,
        mut done: usize,
        tally: &mut Tally,
    ) -> usize {
        let Ok(mut batch) = synced.ring.batch() else {
            self.counters.bad_ring.add(1);
            // The other side knows where the ring was, and sets it right in a sync.
            self.sync(synced);
            return done;
        };
        let avail = batch.avail();
        // Locals, which stay in registers.
        let (mut used, mut sent, mut bytes) = (0, 0, 0);
        while used < avail && done < frames.count() {
            let frame = frames.frame(done);
            let len = frame.data.len();
            let fate = match self.swap(&mut batch, used, &frame) {
                true => Fate::Sent,
                false => self.odd(&mut batch, used, &frame, tally),
            };
            match fate {
                Fate::Sent => {
                    sent += 1;
                    bytes += len as u64;
                    used += 1;
                    done += 1;
                }
                Fate::Dropped => done += 1,
                // The slot is passed over with nothing in it; the frame goes into the next one.
                Fate::BadSlot => used += 1,
            }
        }
        tally.sent += sent;
        tally.bytes += bytes;
        batch.commit(used);
        self.sync(synced);
        done
    }

    #[inline]
    fn sync(&self, synced: &mut SyncedRing) {
        self.counters.txsyncs.add(1);
        if synced.sync().is_err() {
            self.counters.sync_errors.add(1);
        }
    }

    /// Puts `frame` into slot `i` by exchanging buffers, if that can be done.
    #[inline]
    fn swap(&self, batch: &mut Batch<'_>, i: u32, frame: &Frame<'_>) -> bool {
        let region = self.pool.region();
        let len = frame.data.len();
        let Some(packet) = frame.packet.filter(|_| len <= self.max_frame) else {
            return false;
        };
        let Some(offset) = self.offset_for_swap(&packet, &frame.data, batch) else {
            return false;
        };
        let slot = batch.slot(i);
        let owner = batch.ring().owner();
        let Some(buf) = region.claim(BufIdx(slot.buf_idx), owner) else {
            return false;
        };
        let old = packet.exchange_buf(buf);
        let full = Slot {
            buf_idx: region.release(old, owner).0,
            len: len as u16,
            flags: NS_BUF_CHANGED,
            ptr: batch.ring().with_offset(slot.ptr, offset),
        };
        batch.put(i, full);
        true
    }

    /// Copies `frame` into the buffer of slot `i`, or finds out why neither that nor a swap works.
    #[cold]
    fn odd(&self, batch: &mut Batch<'_>, i: u32, frame: &Frame<'_>, tally: &mut Tally) -> Fate {
        let region = self.pool.region();
        let len = frame.data.len();
        let slot = batch.slot(i);
        let idx = BufIdx(slot.buf_idx);
        if len > self.max_frame {
            self.counters.too_long.add(1);
            return Fate::Dropped;
        }
        if !region.is_held_by(idx, batch.ring().owner()) {
            self.counters.bad_index.add(1);
            // Nothing of what the slot held before may go out.
            batch.put(i, Slot { len: 0, ..slot });
            return Fate::BadSlot;
        }
        let offset = room_before(batch, region, len);
        if !region.write(idx, offset, frame.data) {
            self.counters.too_long.add(1);
            return Fate::Dropped;
        }
        let full = Slot {
            len: len as u16,
            flags: 0,
            ptr: batch.ring().with_offset(slot.ptr, offset),
            ..slot
        };
        batch.put(i, full);
        tally.copied += 1;
        Fate::Sent
    }

    /// Where the frame starts in its packet's buffer, if that buffer can go into the ring: it is of
    /// the ring's region, the data is still in it, and the port takes frames that start there.
    #[inline]
    fn offset_for_swap(
        &self,
        packet: &InFlight<'_>,
        data: &RawBytes<'_>,
        batch: &Batch<'_>,
    ) -> Option<u32> {
        if packet.pool_id() != self.pool.id() || packet.is_moved() {
            return None;
        }
        let region = self.pool.region();
        let offset = region.offset_in(packet.buf_idx(), data.as_ptr(), data.len())?;
        batch.ring().takes_offset(offset).then_some(offset)
    }
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
