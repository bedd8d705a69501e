// SPDX-License-Identifier: Apache-2.0
//! Frames that are longer than a buffer go over several slots, and become one packet at the other end.

use std::ffi::c_void;
use std::sync::Mutex;

use ovs_netmap::test_utils::config::PortConfig;
use ovs_netmap::test_utils::fake_ovs::{self, OvsPacket};
use ovs_netmap::test_utils::pool::free_raw;
use ovs_netmap::test_utils::port::Port;

/// Ports are named in a table of the process, so tests take turns.
static TURN: Mutex<()> = Mutex::new(());

fn open(name: &str) -> Port {
    let opened = Port::open(&PortConfig {
        rxsync_interval_us: Some(0),
        ..PortConfig::new(name, fake_ovs::layout())
    });
    opened.unwrap_or_else(|error| panic!("{error}"))
}

#[allow(unsafe_code)]
fn send(port: &Port, packets: &mut [*mut c_void]) -> usize {
    // SAFETY: this thread alone uses the port.
    let sent = unsafe { port.txqs()[0].assume_unshared(|queue| fake_ovs::send(queue, packets)) };
    sent.frames
}

#[allow(unsafe_code)]
fn recv(port: &Port) -> Vec<*mut c_void> {
    // SAFETY: this thread alone uses the port.
    unsafe { port.rxqs()[0].assume_unshared(|queue| fake_ovs::recv(queue, 32)) }
}

#[allow(unsafe_code)]
fn bytes(raw: *mut c_void) -> Vec<u8> {
    let frame = fake_ovs::frame_of(raw);
    // SAFETY: a packet that is not freed yet has its frame, and nobody writes it.
    unsafe {
        let data = frame.base.add(frame.data_ofs as usize);
        std::slice::from_raw_parts(data, frame.size as usize).to_vec()
    }
}

fn counter(port: &Port, name: &str) -> u64 {
    let counters = port.state().counters();
    counters.iter().find(|c| c.0 == name).expect("a counter").1
}

/// A frame of `len` bytes, in which no byte is where it is by chance.
fn frame(len: usize) -> Vec<u8> {
    (0..len).map(|i| (i * 7 + i / 251 + len) as u8).collect()
}

#[test]
#[allow(unsafe_code)]
fn every_length_passes_and_comes_back() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let (a, b) = (open("netmap:long{1"), open("netmap:long}1"));
    assert_eq!(a.state().link().max_mtu, 9216);
    for port in [&a, &b] {
        port.state().set_mtu(9216).unwrap();
        assert!(port.state().set_mtu(9217).is_err());
    }
    let lengths = [
        60, 1792, 1793, 2047, 2048, 2049, 4095, 4096, 4097, 8192, 9000, 9238,
    ];
    for len in lengths {
        let data = frame(len);
        let mut foreign = OvsPacket::foreign(&data);
        assert_eq!(send(&a, &mut [foreign.raw()]), 1, "{len}");
        let mut there = recv(&b);
        assert_eq!(there.len(), 1, "{len}");
        assert!(bytes(there[0]) == data, "{len}");
        assert!(fake_ovs::frame_of(there[0]).data_ofs >= 256 || len <= 2048);
        // Ours now, in memory of its own.
        assert_eq!(send(&b, &mut there), 1, "{len}");
        let back = recv(&a);
        assert!(back.len() == 1 && bytes(back[0]) == data, "{len}");
        // SAFETY: a packet of ours, not used any more.
        assert!(unsafe { free_raw(back[0]) });
    }
    let long = lengths.iter().filter(|&&len| len > 2048).count() as u64;
    assert_eq!(counter(&a, "txq0_several_slots"), long);
    assert_eq!(counter(&b, "rxq0_several_slots"), long);

    // Longer than any MTU.
    let data = frame(9239);
    let mut foreign = OvsPacket::foreign(&data);
    assert_eq!(send(&a, &mut [foreign.raw()]), 0);
    assert_eq!(counter(&a, "txq0_too_long"), 1);
    // Longer than this one.
    a.state().set_mtu(4000).unwrap();
    let data = frame(4023);
    let mut foreign = OvsPacket::foreign(&data);
    assert_eq!(send(&a, &mut [foreign.raw()]), 0);
    assert_eq!(counter(&a, "txq0_too_long"), 2);
    let census = fake_ovs::pool_of(&a).census();
    assert_eq!(census.total, census.free);
}

#[test]
#[allow(unsafe_code)]
fn a_frame_goes_whole_or_waits_for_slots() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let (a, b) = (open("netmap:long{1"), open("netmap:long}1"));
    for port in [&a, &b] {
        port.state().set_mtu(9216).unwrap();
    }
    let data = frame(9000);
    let mut foreign: Vec<_> = (0..32).map(|_| OvsPacket::foreign(&data)).collect();
    let (mut sent, mut received) = (0, 0);
    // Five slots each: neither of the rings has room for all of them.
    for _ in 0..20 {
        let mut packets: Vec<_> = foreign.iter_mut().map(OvsPacket::raw).collect();
        sent += send(&a, &mut packets);
    }
    assert!(sent < 640);
    assert_eq!(counter(&a, "txq0_ring_full") + sent as u64, 640);
    loop {
        let packets = recv(&b);
        if packets.is_empty() {
            break;
        }
        for raw in packets {
            assert!(bytes(raw) == data);
            received += 1;
            // SAFETY: a packet of ours, not used any more.
            assert!(unsafe { free_raw(raw) });
        }
    }
    assert_eq!(received, sent);
    assert_eq!(b.state().stats().rx_dropped, 0);
}
