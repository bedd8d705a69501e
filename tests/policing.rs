// SPDX-License-Identifier: Apache-2.0
//! What is more than a port's limit is dropped and counted, ours and others' alike, and no packet is lost.

use std::ffi::c_void;
use std::sync::Mutex;

use ovs_netmap::test_utils::config::PortConfig;
use ovs_netmap::test_utils::fake_ovs::{self, OvsPacket};
use ovs_netmap::test_utils::policer::Limits;
use ovs_netmap::test_utils::pool::free_raw;
use ovs_netmap::test_utils::port::Port;
use ovs_netmap::test_utils::tx::Sent;

/// Ports are named in a table of the process, so tests take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Bytes of a frame, and what of them counts.
const FRAME: usize = 64;
const COUNTED: u64 = 50;

fn open(name: &str) -> Port {
    let opened = Port::open(&PortConfig {
        rxsync_interval_us: Some(0),
        ..PortConfig::new(name, fake_ovs::layout())
    });
    opened.unwrap_or_else(|error| panic!("{error}"))
}

/// `frames` at once, and next to none after that.
fn at_once(frames: u64) -> Limits {
    Limits::egress(1, frames * COUNTED)
}

#[allow(unsafe_code)]
fn send(port: &Port, packets: &mut [*mut c_void]) -> Sent {
    // SAFETY: this thread alone uses the port.
    unsafe { port.txqs()[0].assume_unshared(|queue| fake_ovs::send(queue, packets)) }
}

#[allow(unsafe_code)]
fn recv(port: &Port) -> Vec<*mut c_void> {
    // SAFETY: this thread alone uses the port.
    unsafe { port.rxqs()[0].assume_unshared(|queue| fake_ovs::recv(queue, 32)) }
}

/// The first byte of a frame, by which it is known.
#[allow(unsafe_code)]
fn mark(raw: *mut c_void) -> u8 {
    let frame = fake_ovs::frame_of(raw);
    // SAFETY: a packet that is not freed yet has its frame.
    unsafe { frame.base.add(frame.data_ofs as usize).read() }
}

fn count(port: &Port, name: &str) -> u64 {
    let counters = port.state().counters();
    counters.iter().find(|c| c.0 == name).expect("a counter").1
}

#[test]
#[allow(unsafe_code)]
fn what_is_too_much_is_dropped_counted_and_freed() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let (a, b) = (open("netmap:limit{1"), open("netmap:limit}1"));
    let frames: Vec<[u8; FRAME]> = (0..10).map(|i| [i; FRAME]).collect();
    let mut foreign: Vec<_> = frames.iter().map(|f| OvsPacket::foreign(f)).collect();
    let mut packets: Vec<_> = foreign.iter_mut().map(OvsPacket::raw).collect();

    // Sent with a limit: others' packets stay theirs, dropped or not.
    a.state().set_egress_limits(at_once(6));
    let sent = send(&a, &mut packets);
    assert_eq!((sent.frames, sent.returned), (6, 10));
    assert_eq!(count(&a, "txq0_policed"), 4);
    let mut returned = packets.clone();
    returned.sort();
    returned.dedup();
    assert_eq!(returned.len(), 10);

    // Received with a limit: the first ones pass, in order.
    b.state().set_ingress_limits(at_once(5));
    let mut received = recv(&b);
    let marks: Vec<_> = received.iter().map(|&raw| mark(raw)).collect();
    assert_eq!(marks, [0, 1, 2, 3, 4]);
    assert_eq!(count(&b, "rxq0_policed"), 1);
    assert_eq!(b.state().stats().rx_dropped, 1);

    // Ours and another's, sent on with a limit: ours are freed, dropped or not.
    b.state().set_egress_limits(at_once(2));
    received.insert(3, packets[9]);
    let sent = send(&b, &mut received);
    assert_eq!((sent.frames, sent.returned), (2, 1));
    assert_eq!(received[0], packets[9]);
    assert_eq!(b.state().stats().tx_dropped, 4);
    assert_eq!(fake_ovs::pool_of(&b).census().in_flight, 0);

    // The other way without limits again.
    b.state().set_egress_limits(Limits::default());
    b.state().set_ingress_limits(Limits::default());
    let back = recv(&a);
    assert_eq!(
        back.iter().map(|&raw| mark(raw)).collect::<Vec<_>>(),
        [0, 1]
    );
    for raw in back {
        // SAFETY: a packet of ours, not used any more.
        assert!(unsafe { free_raw(raw) });
    }
    let census = fake_ovs::pool_of(&a).census();
    assert_eq!(census.total, census.free + census.cached);
}

#[test]
#[allow(unsafe_code)]
fn what_is_ready_stays_ready_behind_what_was_taken_back() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let (a, b) = (open("netmap:limit{1"), open("netmap:limit}1"));
    fake_ovs::pool_of(&b).attach_thread();
    b.state().set_ingress_limits(at_once(1));
    for round in 0..200 {
        let frames: Vec<[u8; FRAME]> = (0..round % 32 + 1).map(|i| [i; FRAME]).collect();
        let mut foreign: Vec<_> = frames.iter().map(|f| OvsPacket::foreign(f)).collect();
        let mut packets: Vec<_> = foreign.iter_mut().map(OvsPacket::raw).collect();
        assert_eq!(send(&a, &mut packets).frames, frames.len());
        for raw in recv(&b) {
            // SAFETY: a packet of ours, not used any more.
            assert!(unsafe { free_raw(raw) });
        }
        let census = fake_ovs::pool_of(&b).census();
        assert_eq!(census.total, census.free + census.cached);
        assert_eq!(census.in_flight, 0);
    }
    ovs_netmap::test_utils::pool::flush_thread();
}
