// SPDX-License-Identifier: Apache-2.0
//! Receiving a burst: for each slot, exchange its buffer for a packet's, and hand the packet out.
#![forbid(unsafe_code)]

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use netmap_sys::netmap::{NS_BUF_CHANGED, NS_MOREFRAG};

use crate::abi::NETMAP_MAX_FRAGS;
use crate::burst::{CsumList, ReadyPacket, RxBurst};
use crate::clock;
use crate::counters::RxCounters;
use crate::csum::{self, Found};
use crate::engine::{HEADROOM, LARGEST_MTU, LONGEST_FRAME, SyncedRing};
use crate::index::{BufIdx, OwnedBuf, Owner};
use crate::logger::RateLimit;
use crate::policer::Policer;
use crate::pool::{Frame, OwnMemory, Pool};
use crate::region::Region;
use crate::ring::{BadRing, Batch, Ring, Slot, SlotCell};
use crate::throttle::{Interval, Throttle};

mod copy;

static TOO_LONG: RateLimit = RateLimit::new(6, 3);

const _: () = assert!(HEADROOM + LONGEST_FRAME <= u16::MAX as u32);

/// A receive queue: the rings that one thread polls.
pub struct RxQueue {
    rings: Vec<RxRing>,
    /// The ring to look at first, so that a busy ring does not starve the others.
    next: usize,
    pool: Arc<Pool>,
    /// As that of the transmit queues, of a port without host interface: 0 while its link is down, and
    /// what comes nevertheless is dropped.
    max_frame: Option<Arc<AtomicU32>>,
    /// Whether frames are copied out of their buffers.
    copies: bool,
    /// Whether frames may come with partial checksums.
    complete_checksums: bool,
    /// The limit of the port.
    policer: Arc<Policer>,
}

/// On lines of its own, as the thread that has it writes it in each poll.
#[repr(align(128))]
struct RxRing {
    synced: SyncedRing,
    throttle: Throttle,
    counters: Arc<RxCounters>,
    copies: bool,
}

impl RxQueue {
    /// A queue of packets of `pool`, without rings.
    pub(crate) fn new(pool: Arc<Pool>) -> RxQueue {
        RxQueue {
            rings: Vec::new(),
            next: 0,
            pool,
            max_frame: None,
            copies: false,
            complete_checksums: false,
            policer: Arc::default(),
        }
    }

    /// Receives nothing while `max_frame` is 0.
    pub fn stop_while_down(&mut self, max_frame: Arc<AtomicU32>) {
        self.max_frame = Some(max_frame);
    }

    /// From now on, frames of the rings that are added are copied into memory that no other process
    /// writes.
    pub(crate) fn copy_frames(&mut self) {
        self.copies = true;
    }

    /// Follows `policer`.
    pub fn police(&mut self, policer: &Arc<Policer>) {
        self.policer = Arc::clone(policer);
    }

    /// Has partial checksums completed ([`crate::csum`]).
    pub fn complete_checksums(&mut self) {
        self.complete_checksums = true;
    }

    /// Adds a ring, synced when it is empty, at most once an `interval`.
    pub(crate) fn add_ring(&mut self, synced: SyncedRing, interval: &Interval) -> Arc<RxCounters> {
        let counters = Arc::new(RxCounters::default());
        self.rings.push(RxRing {
            synced,
            throttle: Throttle::new(interval),
            counters: Arc::clone(&counters),
            copies: self.copies,
        });
        counters
    }

    /// A ring of it.
    #[cfg(feature = "test-utils")]
    pub(crate) fn ring(&self, i: usize) -> &Ring {
        &self.rings[i].synced.ring
    }

    /// Gives the calling thread, which polls the queue, a packet cache of its own.
    pub fn attach_thread(&self) {
        self.pool.attach_thread();
    }

    /// The pool that its packets come from.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Receives at most `out.len()` frames; returns how many packets, the first ones of `out`, are
    /// the caller's now.
    #[inline]
    pub fn recv(&mut self, out: &mut [MaybeUninit<*mut c_void>]) -> usize {
        self.recv_burst(out, None)
    }

    /// As [`RxQueue::recv`], but partial checksums that Open vSwitch knows how to complete are left as they are,
    /// and listed in `csums`.
    #[inline]
    pub fn recv_csums(
        &mut self,
        out: &mut [MaybeUninit<*mut c_void>],
        csums: &mut CsumList<'_>,
    ) -> usize {
        self.recv_burst(out, Some(csums))
    }

    #[inline]
    fn recv_burst(
        &mut self,
        out: &mut [MaybeUninit<*mut c_void>],
        mut csums: Option<&mut CsumList<'_>>,
    ) -> usize {
        if let Some(max_frame) = &self.max_frame
            && max_frame.load(Ordering::Relaxed) == 0
        {
            self.rings.iter_mut().for_each(RxRing::discard);
            return 0;
        }
        let mut burst = RxBurst::new(&self.pool, out);
        for _ in 0..self.rings.len() {
            let ring = &mut self.rings[self.next];
            let before = burst.given();
            ring.recv(&mut burst);
            if self.policer.is_active() {
                ring.police(&mut burst, before, &self.policer);
            }
            if self.complete_checksums {
                match &mut csums {
                    None => ring.complete_checksums(&burst, before),
                    Some(csums) => ring.find_checksums(&burst, before, csums),
                }
            }
            self.next += 1;
            if self.next >= self.rings.len() {
                self.next = 0;
            }
            if burst.room() == 0 {
                break;
            }
        }
        burst.given()
    }
}

impl RxRing {
    /// Drops what is in the ring, so that nobody receives it later.
    #[cold]
    fn discard(&mut self) {
        self.rxsync();
        if let Ok(mut batch) = self.synced.ring.batch() {
            let n = batch.left();
            self.counters.link_down.add(n.into());
            batch.skip(n);
            batch.commit();
        }
    }

    /// Receives what is in the ring. If that is nothing - it is empty, or has only the beginning of a
    /// frame, or makes no sense, which the other side sets right in a sync - syncs and tries again.
    #[inline]
    fn recv(&mut self, burst: &mut RxBurst<'_>) {
        if self.drain(burst) == 0 && self.rxsync() && self.drain(burst) == 0 {
            idle(burst.pool());
        }
    }

    /// Receives what is in the ring; returns how many frames.
    #[inline]
    fn drain(&mut self, burst: &mut RxBurst<'_>) -> usize {
        match self.synced.ring.batch() {
            Ok(batch) if batch.left() == 0 => 0,
            Ok(batch) if self.copies => copy::take(batch, burst, &self.counters),
            Ok(batch) => take(batch, burst, &self.counters),
            Err(BadRing) => {
                self.counters.bad_ring.add(1);
                0
            }
        }
    }

    /// Drops what is too much of the frames that came since there were `before`.
    fn police(&self, burst: &mut RxBurst<'_>, before: usize, policer: &Policer) {
        let dropped = burst.police(before, policer);
        if dropped > 0 {
            self.counters.policed.add(dropped as u64);
        }
    }

    /// Completes the checksums in the frames that came since there were `before`.
    fn complete_checksums(&self, burst: &RxBurst<'_>, before: usize) {
        let frames = burst.frames_since(before);
        let completed = frames.filter(|&frame| csum::complete(frame)).count();
        if completed > 0 {
            self.counters.csum_completed.add(completed as u64);
        }
    }

    /// Likewise, but lists in `csums` those that Open vSwitch completes.
    fn find_checksums(&self, burst: &RxBurst<'_>, before: usize, csums: &mut CsumList<'_>) {
        let (mut left, mut completed) = (0, 0);
        for (packet, frame) in (before..).zip(burst.frames_since(before)) {
            if !csums.has_room(packet) {
                completed += u64::from(csum::complete(frame));
                continue;
            }
            match csum::find(frame) {
                Found::Nothing => {}
                Found::Completed => completed += 1,
                Found::Left(partial) => {
                    csums.push(packet, partial);
                    left += 1;
                }
            }
        }
        if left + completed > 0 {
            self.counters.csum_partial.add(left);
            self.counters.csum_completed.add(completed);
        }
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

/// A thread without work must not keep what others lack.
#[cold]
fn idle(pool: &Pool) {
    pool.trim_cache();
}

/// Takes frames out of the slots of `batch`, as many as there are packets and room in `burst`.
/// Out of line, as `drain` is inlined twice.
#[inline(never)]
fn take(mut batch: Batch<'_>, burst: &mut RxBurst<'_>, counters: &RxCounters) -> usize {
    let region = burst.pool().region();
    let before = burst.given();
    let mut bytes = 0;
    while batch.left() > 0 && burst.room() > 0 {
        let wanted = burst.room().min(batch.left() as usize);
        let ready = burst.fill(wanted);
        if ready == 0 {
            counters.no_buffer.add(1);
            break;
        }
        let slots = batch.contiguous(ready);
        let (ring, packets) = (batch.ring(), burst.ready());
        let (simple, their_bytes) = match ring.owner() {
            Owner::OUTSIDE => take_simple::<true>(slots, ring, region, packets),
            _ => take_simple::<false>(slots, ring, region, packets),
        };
        bytes += their_bytes;
        let stopped = simple < slots.len();
        batch.skip(simple as u32);
        burst.handed_out(simple);
        if !stopped {
            continue;
        }
        match take_slowly(&mut batch, burst, counters) {
            Some(len) => bytes += len,
            None => break,
        }
    }
    batch.commit();
    let received = burst.given() - before;
    counters.count_burst(received, bytes);
    received
}

/// Takes, or drops, the first frame left, which is not simply one good slot; there must be a packet ready for
/// it. Returns how many bytes were taken; `None` if the frame must wait. Out of line, so that the loop which
/// calls it has the registers for itself.
#[cold]
#[inline(never)]
fn take_slowly(
    batch: &mut Batch<'_>,
    burst: &mut RxBurst<'_>,
    counters: &RxCounters,
) -> Option<u64> {
    let region = burst.pool().region();
    let found = slow_path(batch, region, counters);
    let Some(packet) = burst.ready().next() else {
        unreachable!("as many packets were ready as slots were looked at");
    };
    match found {
        SlowPath::Take(part, buf) => {
            let empty = exchange(batch.slot(0), part, buf, region, batch.ring(), packet);
            burst.handed_out(1);
            batch.pass(empty);
            batch.skip(part.slots - 1);
            counters.several_slots.add(u64::from(part.slots > 1));
            Some(part.len)
        }
        SlowPath::TakeLong(slots, memory, len) => {
            packet.hand_out_moved(memory, HEADROOM as u16, len);
            burst.handed_out(1);
            // The slots keep their buffers.
            batch.skip(slots);
            counters.several_slots.add(1);
            Some(len.into())
        }
        SlowPath::Drop(slots) => {
            batch.skip(slots);
            Some(0)
        }
        SlowPath::Wait => None,
    }
}

/// Takes the frames in the cells of `slots`, up to the first that is not simply one good slot. Returns
/// how many, and their bytes. There must be one of `packets` for each slot. `OUTSIDE` tells whether
/// [`Owner::OUTSIDE`] has the slots' buffers.
#[inline]
fn take_simple<'p, const OUTSIDE: bool>(
    slots: &[SlotCell],
    ring: &Ring,
    region: &Region,
    packets: impl Iterator<Item = ReadyPacket<'p>>,
) -> (usize, u64) {
    let (mut taken, mut bytes) = (0, 0);
    for (cell, packet) in slots.iter().zip(packets) {
        let slot = cell.read();
        let part = Part::in_slot(&slot, ring);
        let Some(room) = u64::from(region.frame_room()).checked_sub(part.offset) else {
            break;
        };
        // A length of 0 wraps around, and is too long then.
        if part.len.wrapping_sub(1) >= room || slot.flags & NS_MOREFRAG != 0 {
            break;
        }
        let Some(buf) = region.claim_from::<OUTSIDE>(BufIdx(slot.buf_idx), ring.owner()) else {
            break;
        };
        cell.write_first(exchange(slot, part, buf, region, ring, packet));
        bytes += part.len;
        taken += 1;
    }
    (taken, bytes)
}

/// Puts the frame `part`, whose bytes are in `buf`, out of `slot` into `packet`, which is OVS's then.
/// Returns the slot with that packet's former buffer.
#[inline]
fn exchange(
    slot: Slot,
    part: Part,
    buf: OwnedBuf,
    region: &Region,
    ring: &Ring,
    mut packet: ReadyPacket<'_>,
) -> Slot {
    let frame = Frame {
        base: region.base_of(&buf).as_ptr(),
        allocated: region.frame_room(),
        data_ofs: part.offset as u16,
        size: part.len as u32,
    };
    let old = packet.exchange_buf(buf);
    packet.hand_out(frame);
    Slot {
        buf_idx: region.release(old, ring.owner()).0,
        len: 0,
        flags: NS_BUF_CHANGED,
        ptr: slot.ptr,
    }
}

/// What to do with a frame that is not simply one good slot.
enum SlowPath {
    /// Receive it: its bytes are all in this buffer, that of its first slot, now.
    Take(Part, OwnedBuf),
    /// Receive it: its so many bytes behind the headroom in this memory are those in so many slots.
    TakeLong(u32, OwnMemory, u32),
    /// Pass over this many slots; the drop is counted.
    Drop(u32),
    /// Leave it: its last slot has not come.
    Wait,
}

/// Looks closer at the first frame left.
#[cold]
fn slow_path(batch: &Batch<'_>, region: &Region, counters: &RxCounters) -> SlowPath {
    let ring = batch.ring();
    let room = u64::from(region.frame_room());
    let slot = batch.slot(0);
    let part = Part::in_slot(&slot, ring);
    let mut whole = part;
    if slot.flags & NS_MOREFRAG != 0 {
        match measure(batch, part) {
            Some(frame) => whole = frame,
            None => return SlowPath::Wait,
        }
    }
    // A first slot may be empty when more follow: netmap's e1000 does that when its ring starts.
    let fault = if whole.len == 0 || part.end() > room {
        &counters.bad_length
    } else if whole.is_too_long() {
        log_too_long(whole.slots);
        &counters.too_long
    } else if whole.end() > room {
        match gather_long(batch, whole, region) {
            Ok((memory, len)) => return SlowPath::TakeLong(whole.slots, memory, len),
            Err(NoMemory::Malloc) => {
                counters.no_buffer.add(1);
                return SlowPath::Wait;
            }
            Err(NoMemory::BadIndex) => &counters.bad_index,
            Err(NoMemory::BadLength) => &counters.bad_length,
        }
    } else {
        match region.claim(BufIdx(slot.buf_idx), ring.owner()) {
            Some(buf) if gather(batch, whole, region, &buf) => {
                return SlowPath::Take(whole, buf);
            }
            Some(buf) => {
                region.release(buf, ring.owner());
            }
            None => {}
        }
        &counters.bad_index
    };
    fault.add(1);
    SlowPath::Drop(whole.slots)
}

#[cold]
fn log_too_long(slots: u32) {
    TOO_LONG.log(
        log::Level::Warn,
        format_args!(
            "dropped a frame over {slots} slots: it has more than {LONGEST_FRAME} bytes, or takes more \
             than {NETMAP_MAX_FRAGS}; lower the MTU of all hosts to {LARGEST_MTU} at most"
        ),
    );
}

/// Why a long frame could not be taken.
enum NoMemory {
    /// There is none.
    Malloc,
    /// One of its slots names a buffer that is not the ring's.
    BadIndex,
    /// One of its slots names bytes outside its buffer.
    BadLength,
}

/// Copies the frame `whole`, which is longer than a buffer, to memory of its own, behind the headroom.
/// Returns how many bytes it has there.
fn gather_long(
    batch: &Batch<'_>,
    whole: Part,
    region: &Region,
) -> Result<(OwnMemory, u32), NoMemory> {
    let ring = batch.ring();
    let memory = OwnMemory::new((HEADROOM + whole.len as u32) as u16);
    let mut memory = memory.ok_or(NoMemory::Malloc)?;
    let mut at = HEADROOM as usize;
    for i in 0..whole.slots {
        // As in `gather`, a second reading: what is counted is what was copied.
        let slot = batch.slot(i);
        let idx = BufIdx(slot.buf_idx);
        if !region.is_held_by(idx, ring.owner()) {
            return Err(NoMemory::BadIndex);
        }
        let offset = ring.offset_of(&slot).min(u32::MAX as u64) as u32;
        match region.bytes(idx, offset, slot.len as u32) {
            Some(bytes) if memory.write(at, bytes) => at += slot.len as usize,
            _ => return Err(NoMemory::BadLength),
        }
    }
    match at as u32 - HEADROOM {
        0 => Err(NoMemory::BadLength),
        len => Ok((memory, len)),
    }
}

/// A frame in the ring: how many slots, where it starts in the first one's buffer, all its bytes.
#[derive(Clone, Copy)]
struct Part {
    slots: u32,
    offset: u64,
    len: u64,
}

impl Part {
    /// What of a frame is in `slot`.
    #[inline]
    fn in_slot(slot: &Slot, ring: &Ring) -> Part {
        Part {
            slots: 1,
            offset: ring.offset_of(slot),
            len: slot.len as u64,
        }
    }

    /// Whether it is longer than any port takes.
    #[inline]
    fn is_too_long(&self) -> bool {
        self.len > LONGEST_FRAME as u64 || self.slots > NETMAP_MAX_FRAGS
    }

    /// Where it would end in its first slot's buffer.
    #[inline]
    fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

/// The whole of the first frame left, whose first slot is `frame`. `None` while its last
/// slot has not come, unless it never will: then what is there counts as one (too long) frame.
fn measure(batch: &Batch<'_>, mut frame: Part) -> Option<Part> {
    for i in 1..batch.left() {
        let slot = batch.slot(i);
        frame.slots += 1;
        frame.len += slot.len as u64;
        if slot.flags & NS_MOREFRAG == 0 {
            return Some(frame);
        }
    }
    let ring_is_full = batch.left() + 1 >= batch.ring().num_slots();
    (frame.slots > NETMAP_MAX_FRAGS || ring_is_full).then_some(Part {
        len: u32::MAX as u64,
        ..frame
    })
}

/// Appends the bytes of the frame's further slots to those in `buf`, its first buffer. False when one
/// of them names a buffer that is not the ring's.
fn gather(batch: &Batch<'_>, frame: Part, region: &Region, buf: &OwnedBuf) -> bool {
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
