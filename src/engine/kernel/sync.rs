// SPDX-License-Identifier: Apache-2.0
//! rxsync and txsync as system calls.

use std::sync::Arc;

use super::device::Device;
use crate::abi::NIOCRXSYNC;
use crate::engine::RingSync;
use crate::ring::{Ring, Slot};

/// A plain sync call.
pub struct Ioctl {
    /// A descriptor that is bound to the one ring pair.
    pub device: Arc<Device>,
    /// [`crate::abi::NIOCTXSYNC`] or [`crate::abi::NIOCRXSYNC`].
    pub request: u32,
}

impl RingSync for Ioctl {
    #[inline]
    fn sync(&mut self, _: &mut Ring) -> std::result::Result<(), i32> {
        self.device.sync(self.request)
    }
}

/// rxsync of a VALE port with slot offsets.
///
/// VALE raises the offset of a slot that it fills to the alignment of the frame's source, and starts
/// from there the next time: without a reset the offsets climb until no frame fits any more.
pub struct ValeRxSync {
    device: Arc<Device>,
    initial: u32,
    /// First slot that has not been given back since the last sync.
    synced: u32,
}

impl ValeRxSync {
    /// For `ring`, all of whose slots have the offset `initial` now.
    pub fn new(device: Arc<Device>, ring: &Ring, initial: u32) -> ValeRxSync {
        ValeRxSync {
            device,
            initial,
            // A head outside the ring is caught when the ring is used.
            synced: ring.checked_window().map_or(0, |(head, _)| head),
        }
    }
}

impl RingSync for ValeRxSync {
    fn sync(&mut self, ring: &mut Ring) -> std::result::Result<(), i32> {
        if let Ok((head, _)) = ring.checked_window() {
            while self.synced != head {
                let slot = ring.slot(self.synced);
                let ptr = ring.with_offset(slot.ptr, self.initial);
                if ptr != slot.ptr {
                    ring.put_slot(self.synced, Slot { ptr, ..slot });
                }
                self.synced = ring.advance(self.synced, 1);
            }
        }
        self.device.sync(NIOCRXSYNC)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::abi::RING_OFFSET_MASK;
    use crate::engine::Direction;
    use crate::engine::kernel::netmap_if::tests::{port, ring_at};

    #[test]
    fn released_slots_get_their_offset_back() {
        let port = port(0);
        let mask = port
            .region()
            .mapping
            .u64_at(ring_at(1) + RING_OFFSET_MASK)
            .unwrap();
        mask.store(0xffff, std::sync::atomic::Ordering::Relaxed);
        let mut ring = port.ring(Direction::Rx, 0, 512).unwrap();
        let climbed = |pos| Slot {
            buf_idx: pos,
            len: 60,
            flags: 0,
            ptr: 0xabc_0000 + 333,
        };
        let device = Arc::new(Device::of_dev_null());
        let mut sync = ValeRxSync::new(device, &ring, 256);
        let slots = ring.num_slots();
        let mut head = 0;
        // Round the ring a few times; 0 slots too.
        for n in [0, 5, 31, 1, 31, 20] {
            for pos in 0..slots {
                ring.put_slot(pos, climbed(pos));
            }
            let first = head;
            head = ring.advance(first, n);
            ring.set_head(head);
            // The call itself fails here.
            assert!(sync.sync(&mut ring).is_err());
            for pos in 0..slots {
                let released = ring.distance(first, pos) < n;
                let ptr = 0xabc_0000 + if released { 256 } else { 333 };
                assert_eq!(
                    ring.slot(pos),
                    Slot {
                        ptr,
                        ..climbed(pos)
                    },
                    "{first} {n} {pos}"
                );
            }
        }
        // A head that somebody scribbled on is left to the ring's user.
        ring.set_head(slots);
        assert!(sync.sync(&mut ring).is_err());
    }
}
