// SPDX-License-Identifier: Apache-2.0
//! Frames over several slots: how long they are, and their bytes in one piece.
#![forbid(unsafe_code)]

use netmap_sys::netmap::NS_MOREFRAG;

use crate::abi::NETMAP_MAX_FRAGS;
use crate::engine::{HEADROOM, LARGEST_MTU, LONGEST_FRAME};
use crate::index::{BufIdx, OwnedBuf};
use crate::logger::RateLimit;
use crate::pool::OwnMemory;
use crate::region::Region;
use crate::ring::{Batch, Ring, Slot};

static TOO_LONG: RateLimit = RateLimit::new(6, 3);

const _: () = assert!(HEADROOM + LONGEST_FRAME <= u16::MAX as u32);

/// A frame in the ring: how many slots, where it starts in the first one's buffer, all its bytes.
#[derive(Clone, Copy)]
pub(super) struct Part {
    pub(super) slots: u32,
    pub(super) offset: u64,
    pub(super) len: u64,
}

impl Part {
    /// What of a frame is in `slot`.
    #[inline]
    pub(super) fn in_slot(slot: &Slot, ring: &Ring) -> Part {
        Part {
            slots: 1,
            offset: ring.offset_of(slot),
            len: slot.len as u64,
        }
    }

    /// Whether it is longer than any port takes.
    #[inline]
    pub(super) fn is_too_long(&self) -> bool {
        self.len > LONGEST_FRAME as u64 || self.slots > NETMAP_MAX_FRAGS
    }

    /// Where it would end in its first slot's buffer.
    #[inline]
    pub(super) fn end(&self) -> u64 {
        self.offset.saturating_add(self.len)
    }
}

/// The whole of the first frame left, whose first slot is `frame`. `None` while its last
/// slot has not come, unless it never will: then what is there counts as one (too long) frame.
pub(super) fn measure(batch: &Batch<'_>, mut frame: Part) -> Option<Part> {
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
pub(super) fn gather(batch: &Batch<'_>, frame: Part, region: &Region, buf: &OwnedBuf) -> bool {
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

/// Why a long frame could not be taken.
pub(super) enum NoMemory {
    /// There is none.
    Malloc,
    /// One of its slots names a buffer that is not the ring's.
    BadIndex,
    /// One of its slots names bytes outside its buffer.
    BadLength,
}

/// Copies the frame `whole`, which is longer than a buffer, to memory of its own, behind the headroom.
/// Returns how many bytes it has there.
pub(super) fn gather_long(
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

#[cold]
pub(super) fn log_too_long(slots: u32) {
    TOO_LONG.log(
        log::Level::Warn,
        format_args!(
            "dropped a frame over {slots} slots: it has more than {LONGEST_FRAME} bytes, or takes more \
             than {NETMAP_MAX_FRAGS}; lower the MTU of all hosts to {LARGEST_MTU} at most"
        ),
    );
}
