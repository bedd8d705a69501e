// SPDX-License-Identifier: Apache-2.0
//! Partial checksums are completed on the way from a ring to Open vSwitch, where the port says so.

use std::ffi::c_void;
use std::sync::Mutex;

use ovs_netmap::test_utils::burst::{CsumList, PacketCsum};
use ovs_netmap::test_utils::config::PortConfig;
use ovs_netmap::test_utils::fake_ovs::{self, OvsPacket};
use ovs_netmap::test_utils::offload::RxCsum;
use ovs_netmap::test_utils::port::Port;
use ovs_netmap::{RxQueue, TxBurst};

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

/// The frame of a packet that was received.
#[allow(unsafe_code)]
fn bytes_of(&raw: &*mut c_void) -> Vec<u8> {
    let frame = fake_ovs::frame_of(raw);
    // SAFETY: a packet that was received, whose bytes nobody writes now.
    unsafe {
        let data = frame.base.add(frame.data_ofs as usize);
        std::slice::from_raw_parts(data, frame.size as usize).to_vec()
    }
}

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
    let arrived = received.iter().map(bytes_of).collect();
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

/// A burst is received from a pipe; what is listed as partial is sent into another one, whose engine completes
/// nothing, so that the library does.
#[test]
#[allow(unsafe_code)]
fn what_was_left_partial_is_completed_where_it_leaves() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let ends = [
        "netmap:left{1",
        "netmap:left}1",
        "netmap:left{2",
        "netmap:left}2",
    ];
    let ports = ends.map(|name| open(name, RxCsum::On));
    assert!(!ports[2].offers_csum());
    let sent = [PARTIAL, FULL, PARTIAL + 1, PARTIAL].map(udp);
    let mut foreign: Vec<_> = sent.iter().map(|f| OvsPacket::foreign(f)).collect();
    let mut packets: Vec<_> = foreign.iter_mut().map(OvsPacket::raw).collect();
    let mut received = [std::mem::MaybeUninit::uninit(); 32];
    let mut room = [std::mem::MaybeUninit::uninit(); 32];
    // SAFETY: this thread alone uses the ports; what is listed is of packets just received.
    let n_csums = unsafe {
        ports[0].txqs()[0].assume_unshared(|queue| fake_ovs::send(queue, &mut packets));
        let mut list = CsumList::new(&mut room);
        let recv = |queue: &mut RxQueue| queue.recv_csums(&mut received, &mut list);
        assert_eq!(ports[1].rxqs()[0].assume_unshared(recv), 4);
        list.count()
    };
    // SAFETY: as many were written.
    let (mut received, csums) = unsafe {
        let csums: Vec<PacketCsum> = room[..n_csums].iter().map(|c| c.assume_init()).collect();
        (
            received[..4]
                .iter()
                .map(|p| p.assume_init())
                .collect::<Vec<_>>(),
            csums,
        )
    };
    let csum = |packet| PacketCsum {
        packet,
        start: 34,
        offset: 6,
    };
    assert_eq!(csums, [csum(0), csum(3)]);
    let arrived: Vec<_> = received.iter().map(bytes_of).collect();
    assert_eq!(arrived, sent);

    // A place that is not there is passed over.
    let nowhere = PacketCsum {
        packet: 77,
        ..csum(0)
    };
    let outside = PacketCsum {
        packet: 1,
        start: 40,
        offset: 6,
    };
    let all = [&csums[..], &[nowhere, outside]].concat();
    // SAFETY: this thread alone uses the ports, and the packets are its own.
    unsafe {
        let burst = TxBurst::new(&mut received, fake_ovs::layout()).with_csums(&all);
        let sent = ports[2].txqs()[0].assume_unshared(|queue| queue.send(burst));
        assert_eq!((sent.frames, sent.returned), (4, 0));
        let received = ports[3].rxqs()[0].assume_unshared(|queue| fake_ovs::recv(queue, 32));
        let arrived: Vec<_> = received.iter().map(bytes_of).collect();
        assert_eq!(arrived, [FULL, FULL, PARTIAL + 1, FULL].map(udp));
        for raw in received {
            assert!(ovs_netmap::test_utils::pool::free_raw(raw));
        }
    }
}

#[test]
fn a_port_without_an_interface_is_left_alone() {
    let (arrived, completed) = pass(&[PARTIAL, FULL], RxCsum::Auto);
    assert_eq!(arrived, [PARTIAL, FULL].map(udp));
    assert_eq!(completed, 0);
}
