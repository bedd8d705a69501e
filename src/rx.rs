// SPDX-License-Identifier: Apache-2.0
//! Receiving a burst: for each slot, exchange its buffer for a packet's, and hand the packet out.
#![forbid(unsafe_code)]

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::vec::Drain;

use netmap_sys::netmap::{NS_BUF_CHANGED, NS_MOREFRAG};

use crate::clock;
use crate::counters::RxCounters;
use crate::engine::SyncedRing;
use crate::index::{BufIdx, OwnedBuf};
use crate::logger::RateLimit;
use crate::pool::{MAGAZINE, Packet, Pool};
use crate::region::Region;
use crate::ring::{Batch, Ring, Slot, SlotCell};
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
            let mut burst = Burst {
                pool: &self.pool,
                hand: &mut self.hand,
                out: &mut out[received..],
            };
            received += ring.recv(&mut burst);
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

/// What a burst is made from, and where it goes.
struct Burst<'a> {
    pool: &'a Pool,
    hand: &'a mut Vec<Packet>,
    out: &'a mut [MaybeUninit<RxDesc>],
}

impl RxRing {
    /// Receives what is in the ring. If that is nothing - it is empty, or has only the beginning of a
    /// frame, or makes no sense, which the other side sets right in a sync - syncs and tries again.
    #[inline]
    fn recv(&mut self, burst: &mut Burst<'_>) -> usize {
        match self.drain(burst) {
            0 if self.rxsync() => self.drain(burst),
            received => received,
        }
    }

    #[inline]
    fn drain(&mut self, burst: &mut Burst<'_>) -> usize {
        let Ok(batch) = self.synced.ring.batch() else {
            self.counters.bad_ring.add(1);
            return 0;
        };
        if batch.left() == 0 {
            return 0;
        }
        let wanted = burst.out.len().min(batch.left() as usize);
        burst.pool.take(burst.hand, wanted);
        let mut supply = Supply {
            region: burst.pool.region(),
            packets: burst.hand.drain(..),
        };
        let received = take(batch, &mut supply, burst.out, &self.counters);
        if supply.packets.len() > 0 {
            // Rare: something was odd about the frames.
            burst.pool.put(&mut supply.packets.collect());
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

/// Takes frames out of the slots of `batch`, as many as there are packets and room in `out`.
#[inline]
fn take(
    mut batch: Batch<'_>,
    supply: &mut Supply<'_>,
    out: &mut [MaybeUninit<RxDesc>],
    counters: &RxCounters,
) -> usize {
    let (mut received, mut bytes) = (0, 0);
    while batch.left() > 0 && received < out.len() {
        let packets = supply.packets.len();
        if packets == 0 {
            counters.no_buffer.add(1);
            break;
        }
        let out = &mut out[received..];
        let run = batch.run(out.len().min(packets));
        let simple = take_simple(run, batch.ring(), supply, out, &mut bytes);
        let stopped = simple < run.len();
        batch.skip(simple as u32);
        received += simple;
        if !stopped {
            continue;
        }
        match odd(&batch, supply.region, counters) {
            Verdict::Take(frame, buf) => {
                let (empty, desc) = supply.exchange(batch.slot(0), frame, buf, batch.ring());
                batch.pass(empty);
                batch.skip(frame.slots - 1);
                out[simple].write(desc);
                received += 1;
                bytes += frame.len;
            }
            Verdict::Drop(slots) => batch.skip(slots),
            Verdict::Wait => break,
        }
    }
    batch.commit();
    if received > 0 {
        counters.packets.add(received as u64);
        counters.bytes.add(bytes);
        counters.bursts.add(1);
    }
    received
}

/// Takes the frames in the slots of `run`, up to the first that is not simply one good slot. Returns
/// how many. There must be a packet and a place in `out` for each slot.
#[inline]
fn take_simple(
    run: &[SlotCell],
    ring: &Ring,
    supply: &mut Supply<'_>,
    out: &mut [MaybeUninit<RxDesc>],
    bytes: &mut u64,
) -> usize {
    let mut taken = 0;
    for (cell, out) in run.iter().zip(out) {
        let slot = cell.read();
        let frame = Frame::in_slot(&slot, ring);
        // A length of 0 wraps around, and is too long then.
        let room = (supply.region.buf_size() as u64).saturating_sub(frame.offset);
        if frame.len.wrapping_sub(1) >= room || slot.flags & NS_MOREFRAG != 0 {
            break;
        }
        let Some(buf) = supply.region.claim(BufIdx(slot.buf_idx), ring.owner()) else {
            break;
        };
        let (empty, desc) = supply.exchange(slot, frame, buf, ring);
        cell.write(empty);
        out.write(desc);
        *bytes += frame.len;
        taken += 1;
    }
    taken
}

/// What the frames of a burst are received with.
struct Supply<'a> {
    region: &'a Region,
    packets: Drain<'a, Packet>,
}

impl Supply<'_> {
    /// Puts `frame`, whose bytes are in `buf`, out of `slot` into the next packet. Gives the slot
    /// with that packet's former buffer, and the packet.
    #[inline]
    fn exchange(&mut self, slot: Slot, frame: Frame, buf: OwnedBuf, ring: &Ring) -> (Slot, RxDesc) {
        let Some(mut packet) = self.packets.next() else {
            unreachable!("there are as many packets as frames are taken");
        };
        let base = self.region.base_of(&buf).as_ptr();
        let old = packet.exchange_buf(buf);
        let empty = Slot {
            buf_idx: self.region.release(old, ring.owner()).0,
            len: 0,
            flags: NS_BUF_CHANGED,
            ptr: slot.ptr,
        };
        let desc = RxDesc {
            packet: packet.into_raw(),
            base,
            allocated: self.region.buf_size() as u16,
            data_ofs: frame.offset as u16,
            size: frame.len as u32,
        };
        (empty, desc)
    }
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

/// Looks closer at the first frame left.
#[cold]
fn odd(batch: &Batch<'_>, region: &Region, counters: &RxCounters) -> Verdict {
    let ring = batch.ring();
    let buf_size = region.buf_size() as u64;
    let slot = batch.slot(0);
    let part = Frame::in_slot(&slot, ring);
    let mut whole = part;
    if slot.flags & NS_MOREFRAG != 0 {
        match measure(batch, part) {
            Some(frame) => whole = frame,
            None => return Verdict::Wait,
        }
    }
    // A first slot may be empty when more follow: netmap's e1000 does that when its ring starts.
    let fault = if whole.len == 0 || part.end() > buf_size {
        &counters.bad_length
    } else if whole.end() > buf_size || whole.slots > MAX_FRAGS {
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
            Some(buf) if gather(batch, whole, region, &buf) => {
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

impl Frame {
    /// What of a frame is in `slot`.
    #[inline]
    fn in_slot(slot: &Slot, ring: &Ring) -> Frame {
        Frame {
            slots: 1,
            offset: ring.offset_of(slot),
            len: slot.len as u64,
        }
    }

    /// Where it would end in its first slot's buffer.
    #[inline]
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

/// The whole of the first frame left, whose first slot is `frame`. `None` while its last
/// slot has not come, unless it never will: then what is there counts as one (too long) frame.
fn measure(batch: &Batch<'_>, mut frame: Frame) -> Option<Frame> {
    for i in 1..batch.left() {
        let slot = batch.slot(i);
        frame.slots += 1;
        frame.len += slot.len as u64;
        if slot.flags & NS_MOREFRAG == 0 {
            return Some(frame);
        }
    }
    let ring_is_full = batch.left() + 1 >= batch.ring().num_slots();
    (frame.slots > MAX_FRAGS || ring_is_full).then_some(Frame {
        len: u32::MAX as u64,
        ..frame
    })
}

/// Appends the bytes of the frame's further slots to those in `buf`, its first buffer. False when one
/// of them names a buffer that is not the ring's.
fn gather(batch: &Batch<'_>, frame: Frame, region: &Region, buf: &OwnedBuf) -> bool {
    let ring = batch.ring();
    let start = batch.slot(0);
    let mut at = frame.offset as u32 + start.len as u32;
    for i in 1..frame.slots {
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
