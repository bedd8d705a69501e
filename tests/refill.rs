// SPDX-License-Identifier: Apache-2.0
//! A receive ring that is never empty: the other side gets its buffers back nevertheless.

use std::ffi::c_void;

use ovs_netmap::test_utils::fake_ovs::{self, Parts};

const BURST: usize = 16;

fn give_back(parts: &mut Parts, mut packets: Vec<*mut c_void>) {
    // All are freed; how many find room in the ring does not matter here.
    assert_eq!(fake_ovs::send(&mut parts.tx, &mut packets).returned, 0);
}

#[test]
fn slots_are_given_back_while_frames_wait() {
    // Its ring has 64 slots, and gets 32 frames with a sync.
    let mut parts = Parts::open("null:7", 128, 4096, 1);
    for bursts in 1..=4 {
        let packets = fake_ovs::recv(&mut parts.rx, BURST);
        assert_eq!(packets.len(), BURST);
        give_back(&mut parts, packets);
        assert_eq!(parts.rx_counters.rxsyncs.get(), bursts);
    }
    // The last sync came while frames were left.
    let [rx, _] = &parts.rings;
    let (head, tail) = rx.checked_window().expect("indices in the ring");
    assert!(rx.distance(head, tail) >= BURST as u32);
    parts.close();
}
