// SPDX-License-Identifier: Apache-2.0
//! Receiving from buffers that other processes write: OVS looks at a header more than once, and trusts
//! what it saw. So each frame is copied, once, into memory of the packet's own. The slot keeps its
//! buffer.

use netmap_sys::netmap::NS_MOREFRAG;

use super::frags::{NoMemory, Part, gather_long, log_too_long, measure};
use crate::burst::{ReadyPacket, RxBurst};
use crate::counters::{Counter, RxCounters};
use crate::engine::HEADROOM;
use crate::index::BufIdx;
use crate::region::Region;
use crate::ring::Batch;

/// As [`super::swap::take`], with copies.
#[inline(never)]
pub(super) fn take(mut batch: Batch<'_>, burst: &mut RxBurst<'_>, counters: &RxCounters) -> usize {
    let region = burst.pool().region();
    let before = burst.given();
    let mut bytes = 0;
    while batch.left() > 0 && burst.room() > 0 {
        let slot = batch.slot(0);
        let mut whole = Part::in_slot(&slot, batch.ring());
        if slot.flags & NS_MOREFRAG != 0 {
            match measure(&batch, whole) {
                Some(frame) => whole = frame,
                None => break,
            }
        }
        burst.fill(burst.room().min(batch.left() as usize));
        let Some(packet) = burst.ready().next() else {
            counters.no_buffer.add(1);
            break;
        };
        match receive(&batch, whole, region, packet, counters) {
            Ok(len) => {
                burst.handed_out(1);
                bytes += len;
            }
            Err(fault) => fault.add(1),
        }
        batch.skip(whole.slots);
    }
    batch.commit();
    let received = burst.given() - before;
    counters.count_burst(received, bytes);
    received
}

/// Hands `packet` out with a copy of the first frame of `batch`, which is in `whole.slots` slots. Returns
/// its length, or what to count.
fn receive<'c>(
    batch: &Batch<'_>,
    whole: Part,
    region: &Region,
    mut packet: ReadyPacket<'_>,
    counters: &'c RxCounters,
) -> Result<u64, &'c Counter> {
    let room = u64::from(packet.own_size());
    if whole.is_too_long() {
        log_too_long(whole.slots);
        return Err(&counters.too_long);
    }
    if whole.len > room {
        return receive_long(batch, whole, region, packet, counters);
    }
    let start = match u64::from(HEADROOM) + whole.len <= room {
        true => HEADROOM as usize,
        false => 0,
    };
    let (ring, mut end) = (batch.ring(), start);
    for i in 0..whole.slots {
        // Another reading of the slot: it may have changed since it was measured, so each is checked
        // for itself.
        let slot = batch.slot(i);
        let idx = BufIdx(slot.buf_idx);
        if !region.is_held_by(idx, ring.owner()) {
            return Err(&counters.bad_index);
        }
        let offset = ring.offset_of(&slot).min(u32::MAX.into()) as u32;
        let bytes = region.bytes(idx, offset, slot.len.into());
        match bytes {
            Some(bytes) if packet.write_own(end, bytes) => end += bytes.len(),
            _ => return Err(&counters.bad_length),
        }
    }
    let len = end - start;
    if len == 0 {
        return Err(&counters.bad_length);
    }
    packet.hand_out_own(start as u16, len as u32);
    Ok(len as u64)
}

/// As [`receive`], for a frame that the packet's own memory has no room for.
#[cold]
fn receive_long<'c>(
    batch: &Batch<'_>,
    whole: Part,
    region: &Region,
    packet: ReadyPacket<'_>,
    counters: &'c RxCounters,
) -> Result<u64, &'c Counter> {
    match gather_long(batch, whole, region) {
        Ok((memory, len)) => {
            packet.hand_out_moved(memory, HEADROOM as u16, len);
            counters.several_slots.add(1);
            Ok(len.into())
        }
        Err(NoMemory::Malloc) => Err(&counters.no_buffer),
        Err(NoMemory::BadIndex) => Err(&counters.bad_index),
        Err(NoMemory::BadLength) => Err(&counters.bad_length),
    }
}
