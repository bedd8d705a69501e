// SPDX-License-Identifier: Apache-2.0
//! How large buffers must be for a device that writes into them itself.
#![forbid(unsafe_code)]

use super::bpf::Mode;
use crate::config::{LARGEST_BUF_SIZE, SMALLEST_BUF_SIZE};
use crate::engine::FRAME_OVERHEAD;
use crate::netif::HostInterface;

/// Drivers that are known to have no zero copy, though their devices may have a place on a bus.
const COPYING_DRIVERS: [&str; 3] = ["tun", "veth", "vmxnet3"];
/// Drivers known to give a device receive buffers of any size. Others may round the size down to a multiple
/// of [`DEVICE_STEP`], as igb, igc and ixgbe do, because their devices know only such.
const FINE_DRIVERS: [&str; 5] = ["i40e", "ice", "idpf", "mlx5_core", "virtio_net"];
const DEVICE_STEP: u32 = 1024;
/// What the kernel keeps free at the start of a frame of a UMEM (`XDP_PACKET_HEADROOM`).
const UMEM_HEADROOM: u32 = 256;

/// Bytes that the buffers of `interface` should have: the most, which every device takes, if it may have
/// zero copy. So all of these share a region, also those that could do with less.
pub(super) fn buf_size(interface: &HostInterface, mode: Mode) -> u32 {
    let hardware = !interface.bus.is_empty() && !copies(&interface.driver);
    match mode {
        Mode::Native if hardware => LARGEST_BUF_SIZE,
        _ => SMALLEST_BUF_SIZE,
    }
}

fn copies(driver: &str) -> bool {
    COPYING_DRIVERS.contains(&driver)
}

/// Whether a device that writes into buffers itself has room for each frame of its MTU there. A longer one
/// would be lost, and only the device's own statistics would say so.
pub(super) fn zero_copy_has_room(interface: &HostInterface, buf_size: u32) -> bool {
    let room = zero_copy_room(&interface.driver, buf_size);
    let fits = interface.mtu.saturating_add(FRAME_OVERHEAD) <= room;
    if !fits {
        log::info!(
            "{}: frames are copied: without that a device of driver {:?} may have room for {room} bytes \
             of a frame in a buffer of {buf_size}, too few for an MTU of {}; see \
             other_config:netmap-buf-size",
            interface.name,
            interface.driver,
            interface.mtu
        );
    }
    fits
}

/// Bytes of a frame that a device of `driver` takes, at least.
fn zero_copy_room(driver: &str, buf_size: u32) -> u32 {
    let room = buf_size - UMEM_HEADROOM;
    match FINE_DRIVERS.contains(&driver) || copies(driver) {
        true => room,
        false => room - room % DEVICE_STEP,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Only what may be a device with zero copy gets larger buffers.
    #[test]
    fn devices_with_zero_copy_get_the_largest_buffers() {
        let mut card = HostInterface::read("lo").unwrap();
        let mut expect = |driver: &str, bus: &str, mode, size| {
            (card.driver, card.bus) = (driver.into(), bus.into());
            assert_eq!(buf_size(&card, mode), size, "{driver} {bus} {mode:?}");
        };
        let pci = "0000:01:00.0";
        for driver in ["igb", "ice", "virtio_net", "some other"] {
            expect(driver, pci, Mode::Native, 4096);
            expect(driver, pci, Mode::Generic, 2048);
        }
        expect("vmxnet3", pci, Mode::Native, 2048);
        expect("veth", "", Mode::Native, 2048);
        expect("tun", "tap", Mode::Native, 2048);
    }

    /// With an MTU of 1500, no driver loses frames: it has no zero copy, or room.
    #[test]
    fn zero_copy_has_room_for_frames() {
        let frame = 1500 + FRAME_OVERHEAD;
        assert!(zero_copy_room("ice", 2048) >= frame);
        for driver in ["igb", "ixgbe", "some other", ""] {
            assert_eq!(zero_copy_room(driver, 2048), 1024);
            assert!(zero_copy_room(driver, 4096) >= frame);
        }
    }
}
