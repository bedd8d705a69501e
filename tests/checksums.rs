// SPDX-License-Identifier: Apache-2.0
//! Partial checksums are completed on the way from a ring to Open vSwitch, where the port says so.

use std::sync::Mutex;

use ovs_netmap::test_utils::config::PortConfig;
use ovs_netmap::test_utils::fake_ovs::{self, OvsPacket};
use ovs_netmap::test_utils::offload::RxCsum;
use ovs_netmap::test_utils::port::Port;

/// Ports are named in a table of the process, so tests take turns.
static TURN: Mutex<()> = Mutex::new(());

fn open(name: &str, rx_csum: RxCsum) -> Port {
    let opened = Port::open(&PortConfig {
        rxsync_interval_us: Some(0),
        rx_csum,
        ..PortConfig::new(name, fake_ovs::layout())
    });
    opened.unwrap_or_else(|error| panic!("{error}"))
}

/// A UDP datagram of 4 bytes from 10.0.0.1 to 10.0.0.2 with `checksum`.
fn udp(checksum: u16) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0x66, 0xc6]);
    frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0, 9, 0, 9, 0, 12]);
    frame.extend(checksum.to_be_bytes());
    frame.extend(*b"abcd");
    frame
}

/// The sum of the pseudo header alone, and the checksum.
const PARTIAL: u16 = 0x0a00 + 1 + 0x0a00 + 2 + 17 + 12;
const FULL: u16 = 0x26fb;

/// Sends frames with these checksums from one end of a pipe to the other; what arrives there, and how many were
/// completed.
#[allow(unsafe_code)]
fn pass(checksums: &[u16], rx_csum: RxCsum) -> (Vec<Vec<u8>>, u64) {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let from = open("netmap:csum{1", RxCsum::Off);
    let to = open("netmap:csum}1", rx_csum);
    let frames: Vec<_> = checksums.iter().map(|&sum| udp(sum)).collect();
    let mut foreign: Vec<_> = frames.iter().map(|f| OvsPacket::foreign(f)).collect();
    let mut packets: Vec<_> = foreign.iter_mut().map(OvsPacket::raw).collect();
    // SAFETY: this thread alone uses the port.
    let sent =
        unsafe { from.txqs()[0].assume_unshared(|queue| fake_ovs::send(queue, &mut packets)) };
    assert_eq!(sent.frames, frames.len());
    // SAFETY: this thread alone uses the port.
    let received = unsafe { to.rxqs()[0].assume_unshared(|queue| fake_ovs::recv(queue, 32)) };
    let bytes = |&raw: &_| {
        let frame = fake_ovs::frame_of(raw);
        // SAFETY: a packet that was received, whose bytes nobody writes now.
        unsafe {
            let data = frame.base.add(frame.data_ofs as usize);
            std::slice::from_raw_parts(data, frame.size as usize).to_vec()
        }
    };
    let arrived = received.iter().map(bytes).collect();
    for raw in received {
        // SAFETY: a packet of ours, which is not used any more.
        assert!(unsafe { ovs_netmap::test_utils::pool::free_raw(raw) });
    }
    let counters = to.state().counters();
    let completed = counters
        .iter()
        .find(|(name, _)| name == "rxq0_csum_completed");
    (arrived, completed.expect("a counter").1)
}

#[test]
fn partial_checksums_are_completed_and_counted() {
    let (arrived, completed) = pass(&[PARTIAL, FULL, PARTIAL + 1, PARTIAL], RxCsum::On);
    assert_eq!(arrived, [FULL, FULL, PARTIAL + 1, FULL].map(udp));
    assert_eq!(completed, 2);
}

#[test]
fn a_port_without_an_interface_is_left_alone() {
    let (arrived, completed) = pass(&[PARTIAL, FULL], RxCsum::Auto);
    assert_eq!(arrived, [PARTIAL, FULL].map(udp));
    assert_eq!(completed, 0);
}
