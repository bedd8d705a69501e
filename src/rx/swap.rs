// SPDX-License-Identifier: Apache-2.0
//! Receiving without a copy: for each slot, exchange its buffer for a packet's, and hand the packet out.
#![forbid(unsafe_code)]

use netmap_sys::netmap::{NS_BUF_CHANGED, NS_MOREFRAG};

use super::frags::{NoMemory, Part, gather, gather_long, log_too_long, measure};
use crate::burst::{ReadyPacket, RxBurst};
use crate::counters::RxCounters;
use crate::engine::HEADROOM;
use crate::index::{BufIdx, OwnedBuf, Owner};
use crate::pool::{Frame, OwnMemory};
use crate::region::Region;
use crate::ring::{Batch, Ring, Slot, SlotCell};

/// Takes frames out of the slots of `batch`, as many as there are packets and room in `burst`.
/// Out of line, as `drain` is inlined twice.
#[inline(never)]
pub(super) fn take(mut batch: Batch<'_>, burst: &mut RxBurst<'_>, counters: &RxCounters) -> usize {
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
        let plain = ring.has_plain_offsets(region.buf_size());
        let (simple, their_bytes) = match (ring.owner(), plain) {
            (Owner::OUTSIDE, _) => take_simple::<true, false>(slots, ring, region, packets),
            (_, true) => take_simple::<false, true>(slots, ring, region, packets),
            (_, false) => take_simple::<false, false>(slots, ring, region, packets),
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
/// [`Owner::OUTSIDE`] has the slots' buffers, `PLAIN` that the ring has plain offsets.
#[inline]
fn take_simple<'p, const OUTSIDE: bool, const PLAIN: bool>(
    slots: &[SlotCell],
    ring: &Ring,
    region: &Region,
    packets: impl Iterator<Item = ReadyPacket<'p>>,
) -> (usize, u64) {
    let (mut taken, mut bytes) = (0, 0);
    for (cell, packet) in slots.iter().zip(packets) {
        let slot = cell.read();
        let mut part = Part::in_slot(&slot, ring);
        if PLAIN {
            part.offset = slot.ptr;
        }
        let Some(room) = u64::from(region.frame_room()).checked_sub(part.offset) else {
            break;
        };
        // With more to follow it is too long, too. A length of 0 wraps around, and is too long then.
        part.len |= u64::from(slot.flags & NS_MOREFRAG) << 16;
        if part.len.wrapping_sub(1) >= room {
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
