// SPDX-License-Identifier: Apache-2.0
//! rxsync and txsync over the rings of one AF_XDP socket.
//!
//! Every slot of a netmap ring stands for one buffer, wherever that buffer is now:
//!
//! ```text
//!   receive ring                              transmit ring
//!         head        tail                          head        tail
//!   | k k | u  u  u  u | k k k |              | k k | u  u  u  u | k k k |
//!
//!   u: the slot names its buffer              u: the slot names its buffer, free to be filled
//!   k: the buffer is in the fill ring,        k: the buffer is in the transmit ring, on its way,
//!      in the kernel, or in the receive          in the completion ring, or in `done`
//!      ring
//! ```
//!
//! Buffers come back from the kernel in any order, so what a `k` slot says is out of date; it gets
//! its buffer when it is handed back to the user. The user gives away the buffers of the slots that
//! `head` passes, and as many slots have no buffer of their own as buffers are with the kernel. So no
//! ring of the kernel's can overflow: each has as many entries as the netmap ring has slots.
//!
//! `head` and `tail` as of the last sync are kept here, out of reach of whoever else sees the ring.
#![forbid(unsafe_code)]

use std::sync::Arc;

use crate::index::{BufIdx, Owner};
use crate::region::Region;
use crate::ring::Ring;

pub(super) use backlog::Backlog;
pub(super) use rx::{RxSync, RxSyncCounters};
pub(super) use tx::{TxSync, TxSyncCounters};

mod backlog;
mod rx;
mod tx;

/// The UMEM as one port sees it: frames are the region's buffers, and only the port's own count.
#[derive(Clone)]
pub(super) struct Frames {
    region: Arc<Region>,
    owner: Owner,
    /// log2 of the buffer size.
    shift: u32,
    /// Bytes at the start of a buffer that no frame to send is in.
    min_offset: u32,
}

impl Frames {
    /// The frames of `region`, whose buffer size is a power of two, that `owner`'s rings hold.
    pub(super) fn new(region: Arc<Region>, owner: Owner) -> Frames {
        let shift = region.buf_size().trailing_zeros();
        Frames {
            region,
            owner,
            shift,
            min_offset: 0,
        }
    }

    /// The same, of which the first `min_offset` bytes of each buffer are not to be sent.
    pub(super) fn beginning_at(self, min_offset: u32) -> Frames {
        Frames { min_offset, ..self }
    }

    /// Whether `idx`, read from a ring, is a buffer that this port's rings hold.
    #[inline]
    fn ours(&self, idx: BufIdx) -> bool {
        self.region.owner(idx) == Some(self.owner)
    }

    /// Where buffer `idx` starts in the UMEM.
    #[inline]
    fn addr(&self, idx: BufIdx) -> u64 {
        (idx.0 as u64) << self.shift
    }

    /// The buffer of this port that `addr` lies in, and the offset there.
    #[inline]
    fn at(&self, addr: u64) -> Option<(BufIdx, u32)> {
        let idx = BufIdx(u32::try_from(addr >> self.shift).ok()?);
        let offset = addr & ((1 << self.shift) - 1);
        self.ours(idx).then_some((idx, offset as u32))
    }

    /// Whether `len` bytes at `offset` lie inside a buffer, where they may.
    #[inline]
    fn fits(&self, offset: u64, len: u32) -> bool {
        let room = (self.region.buf_size() - self.min_offset) as u64;
        let from = offset.wrapping_sub(self.min_offset as u64);
        from <= room && from + len as u64 <= room
    }
}

/// `head`, if it lies in what the user may give away, from `last` up to `tail`; else the ring is set
/// back to these.
#[inline]
fn checked_head(ring: &Ring, last: u32, tail: u32) -> Result<u32, i32> {
    let head = ring.head();
    if head < ring.num_slots() && ring.distance(last, head) <= ring.distance(last, tail) {
        Ok(head)
    } else {
        ring.reset(last, tail);
        Err(libc::EINVAL)
    }
}

#[cfg(test)]
mod tests;
