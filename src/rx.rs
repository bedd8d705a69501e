// SPDX-License-Identifier: Apache-2.0
//! Receiving a burst: for each slot, exchange its buffer for a packet's, and hand the packet out.
#![forbid(unsafe_code)]

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::sync::Arc;

use netmap_sys::netmap::{NS_BUF_CHANGED, NS_MOREFRAG};

use crate::clock;
use crate::counters::RxCounters;
use crate::engine::SyncedRing;
use crate::index::{BufIdx, OwnedBuf};
use crate::logger::RateLimit;
use crate::pool::{MAGAZINE, Packet, Pool};
use crate::region::Region;
use crate::ring::{Batch, Slot};
use crate::throttle::{Interval, Throttle};

static TOO_LONG: RateLimit = RateLimit::new(6, 3);

/// Most slots that one frame may take (`NETMAP_MAX_FRAGS` in net/netmap.h).
const MAX_FRAGS: u32 = 64;

/// A received frame.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct RxDesc {
    /// The `struct dp_packet`, which is the caller's now.
    pub packet: *mut c_void,
    /// First byte of its buffer.
    pub base: *mut u8,
    /// Bytes at `base`.
    pub allocated: u16,
    /// Where in them the frame starts.
    pub data_ofs: u16,
    /// Bytes of the frame.
    pub size: u32,
}

/// A receive queue: the rings that one thread polls.
pub struct RxQueue {
    rings: Vec<RxRing>,
    /// The ring to look at first, so that a busy ring does not starve the others.
    next: usize,
    pool: Arc<Pool>,
    /// Packets for the burst at hand; empty between bursts.
    hand: Vec<Packet>,
}

struct RxRing {
    synced: SyncedRing,
    throttle: Throttle,
    counters: Arc<RxCounters>,
}

impl RxQueue {
    /// A queue of packets of `pool`, without rings.
    pub fn new(pool: Arc<Pool>) -> RxQueue {
        RxQueue {
            rings: Vec::new(),
            next: 0,
            pool,
            hand: Vec::with_capacity(MAGAZINE),
        }
    }

    /// Adds a ring, synced when it is empty, at most once an `interval`.
    pub fn add_ring(&mut self, synced: SyncedRing, interval: &Interval) -> Arc<RxCounters> {
        let counters = Arc::new(RxCounters::default());
        self.rings.push(RxRing {
            synced,
            throttle: Throttle::new(interval),
            counters: Arc::clone(&counters),
        });
        counters
    }

    /// The pool that its packets come from.
    pub fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Receives at most `out.len()` frames; returns how many, the first ones of `out`.
    #[inline]
    pub fn recv(&mut self, out: &mut [MaybeUninit<RxDesc>]) -> usize {
        let mut received = 0;
        for _ in 0..self.rings.len() {
            let ring = &mut self.rings[self.next];
            received += ring.recv(&self.pool, &mut self.hand, &mut out[received..]);
            self.next += 1;
            if self.next >= self.rings.len() {
                self.next = 0;
            }
            if received == out.len() {
                break;
            }
        }
        received
    }
}

impl RxRing {
    /// Receives what is in the ring. If that is nothing - it is empty, or has only the beginning of a
    /// frame, or makes no sense, which the other side sets right in a sync - syncs and tries again.
    #[inline]
    fn recv(
        &mut self,
        pool: &Pool,
        hand: &mut Vec<Packet>,
        out: &mut [MaybeUninit<RxDesc>],
    ) -> usize {
        match self.drain(pool, hand, out) {
            0 if self.rxsync() => self.drain(pool, hand, out),
            received => received,
        }
    }

    #[inline]
    fn drain(
        &mut self,
        pool: &Pool,
        hand: &mut Vec<Packet>,
        out: &mut [MaybeUninit<RxDesc>],
    ) -> usize {
        let Ok(batch) = self.synced.ring.batch() else {
            self.counters.bad_ring.add(1);
            return 0;
        };
        if batch.avail() == 0 {
            return 0;
        }
        let wanted = out.len().min(batch.avail() as usize);
        pool.take(hand, wanted);
        let received = take(batch, pool.region(), hand, out, &self.counters);
        if !hand.is_empty() {
            pool.put(hand.drain(..));
        }
        received
    }

    /// Syncs the ring, if the throttle lets it. False when nothing can have come.
    #[inline]
    fn rxsync(&mut self) -> bool {
        if !self.throttle.due(clock::rdtsc()) {
            return false;
        }
        self.counters.rxsyncs.add(1);
        if self.synced.sync().is_err() {
            self.counters.sync_errors.add(1);
            return false;
        }
        true
    }
}

/// Takes frames out of the slots of `batch`, as many as there are packets in `hand` and room in
/// `out`.
#[inline]
fn take(
    mut batch: Batch<'_>,
    region: &Region,
    hand: &mut Vec<Packet>,
    out: &mut [MaybeUninit<RxDesc>],
    counters: &RxCounters,
) -> usize {
    let owner = batch.ring().owner();
    let buf_size = region.buf_size() as u64;
    let avail = batch.avail();
    let most = out.len().min(hand.len());
    let (mut used, mut received, mut bytes) = (0, 0, 0);

    while used < avail && received < most {
        let slot = batch.slot(used);
        let offset = batch.ring().offset_of(&slot);
        let mut len = slot.len as u64;
        let mut slots = 1;
        let fits = len != 0 && offset.saturating_add(len) <= buf_size;
        let whole = slot.flags & NS_MOREFRAG == 0;
        let mut claimed = None;
        if fits && whole {
            claimed = region.claim(BufIdx(slot.buf_idx), owner);
        }
        if claimed.is_none() {
            match odd(&batch, used, region, counters) {
                Verdict::Take(frame, buf) => {
                    (slots, len, claimed) = (frame.slots, frame.len, Some(buf));
                }
                Verdict::Drop(slots) => {
                    used += slots;
                    continue;
                }
                Verdict::Wait => break,
            }
        }
        let (Some(buf), Some(mut packet)) = (claimed, hand.pop()) else {
            unreachable!("`most` packets are at hand, and `odd` gives a buffer");
        };
        let base = region.base_of(&buf).as_ptr();
        let old = packet.exchange_buf(buf);
        let empty = Slot {
            buf_idx: region.release(old, owner).0,
            len: 0,
            flags: NS_BUF_CHANGED,
            ptr: slot.ptr,
        };
        batch.put(used, empty);
        out[received].write(RxDesc {
            packet: packet.into_raw(),
            base,
            allocated: buf_size as u16,
            data_ofs: offset as u16,
            size: len as u32,
        });
        bytes += len;
        received += 1;
        used += slots;
    }
    if used < avail && hand.is_empty() && received < out.len() {
        counters.no_buffer.add(1);
    }
    batch.commit(used);
    if received > 0 {
        counters.packets.add(received as u64);
        counters.bytes.add(bytes);
        counters.bursts.add(1);
    }
    received
}

/// What to do with a frame that is not simply one good slot.
enum Verdict {
    /// Receive it: its bytes are all in this buffer, that of its first slot, now.
    Take(Frame, OwnedBuf),
    /// Pass over this many slots; the drop is counted.
    Drop(u32),
    /// Leave it: its last slot has not come.
    Wait,
}

/// Looks closer at the frame in slot `first`.
#[cold]
fn odd(batch: &Batch<'_>, first: u32, region: &Region, counters: &RxCounters) -> Verdict {
    let ring = batch.ring();
    let buf_size = region.buf_size() as u64;
    let slot = batch.slot(first);
    let part = Frame {
        slots: 1,
        offset: ring.offset_of(&slot),
        len: slot.len as u64,
    };
    let mut whole = part;
    if slot.flags & NS_MOREFRAG != 0 {
        match measure(batch, first, part) {
            Some(frame) => whole = frame,
            None => return Verdict::Wait,
        }
    }
    // A first slot may be empty when more follow: netmap's e1000 does that when its ring starts.
    let fault = if whole.len == 0 || part.offset.saturating_add(part.len) > buf_size {
        &counters.bad_length
    } else if whole.offset + whole.len > buf_size || whole.slots > MAX_FRAGS {
        TOO_LONG.log(
            log::Level::Warn,
            format_args!(
                "a frame in {} slots is longer than a buffer, which has {buf_size} bytes: dropped; \
                 larger buffers (other_config:netmap-buf-size, or netmap's buf_size) or a smaller \
                 MTU avoid that",
                whole.slots
            ),
        );
        &counters.too_long
    } else {
        match region.claim(BufIdx(slot.buf_idx), ring.owner()) {
            Some(buf) if gather(batch, first, whole, region, &buf) => {
                return Verdict::Take(whole, buf);
            }
            Some(buf) => {
                region.release(buf, ring.owner());
            }
            None => {}
        }
        &counters.bad_index
    };
    fault.add(1);
    Verdict::Drop(whole.slots)
}

/// A frame in the ring: how many slots, where it starts in the first one's buffer, all its bytes.
#[derive(Clone, Copy)]
struct Frame {
    slots: u32,
    offset: u64,
    len: u64,
}

/// The whole frame that starts in slot `first`, whose first slot is `frame`. `None` while its last
/// slot has not come, unless it never will: then what is there counts as one (too long) frame.
fn measure(batch: &Batch<'_>, first: u32, mut frame: Frame) -> Option<Frame> {
    for i in first + 1..batch.avail() {
        let slot = batch.slot(i);
        frame.slots += 1;
        frame.len += slot.len as u64;
        if slot.flags & NS_MOREFRAG == 0 {
            return Some(frame);
        }
    }
    let ring_is_full = batch.avail() + 1 >= batch.ring().num_slots();
    (frame.slots > MAX_FRAGS || ring_is_full).then_some(Frame {
        len: u32::MAX as u64,
        ..frame
    })
}

/// Appends the bytes of the frame's further slots to those in `buf`, its first buffer. False when one
/// of them names a buffer that is not the ring's.
fn gather(batch: &Batch<'_>, first: u32, frame: Frame, region: &Region, buf: &OwnedBuf) -> bool {
    let ring = batch.ring();
    let start = batch.slot(first);
    let mut at = frame.offset as u32 + start.len as u32;
    for i in first + 1..first + frame.slots {
        // A second reading of the slot: lengths may have changed since `measure`, which only
        // garbles the frame, as `write` checks the bounds.
        let slot = batch.slot(i);
        let idx = BufIdx(slot.buf_idx);
        let offset = ring.offset_of(&slot).min(u32::MAX as u64) as u32;
        let source = region.bytes(idx, offset, slot.len as u32);
        match source {
            Some(bytes)
                if region.is_held_by(idx, ring.owner()) && region.write(buf.idx(), at, bytes) =>
            {
                at += slot.len as u32;
            }
            _ => return false,
        }
    }
    true
}
