// SPDX-License-Identifier: Apache-2.0
//! VALE ports and pipes: frames, slot offsets, ring pairs.

use std::sync::Arc;
use std::time::Duration;

use ovs_netmap::test_utils::engine::{HEADROOM, SyncedRing};

use crate::support::{frame, mapped_and_open, module, open, try_open};

/// Two ports, so that one region has them both, and a third that keeps it while they come and go.
#[test]
fn vale_ports_of_two_switches_share_a_region() {
    let Some(_module) = module() else { return };
    let mut a = open("vale0:1");
    let mut b = open("vale1:1");
    assert_eq!(a.mem_id(), b.mem_id());
    assert!(Arc::ptr_eq(&a.opened.region, &b.opened.region));
    println!("{:?}\n{:?}", a.opened.port.status(), b.opened.port.status());
    assert_eq!(mapped_and_open(), (1, 3));

    let mut peer = open("vale0:2");
    for (i, len) in [60, 61, 64, 128, 777, 1500, 1514].into_iter().enumerate() {
        let sent = frame(len, i as u32);
        peer.send(0, &sent);
        let (got, offset) = a.recv(0);
        assert_eq!(got, sent);
        assert!(offset >= HEADROOM.into(), "headroom: {offset}");
        // On to the other switch by swapping indices: what OVS does.
        a.send(0, &sent);
        let (got, _) = peer.recv(0);
        assert_eq!(got, sent);
    }
    assert!(b.recv_for(0, Duration::from_millis(20)).is_none());
    for port in [a, b, peer] {
        port.close();
    }
    assert_eq!(mapped_and_open(), (0, 0));
}

/// netmap would deal the frames out between two that have the same rings.
#[test]
fn rings_are_one_process_s_alone() {
    let Some(_module) = module() else { return };
    for name in ["vale0:1", "netmap:x{1"] {
        let port = open(name);
        let status = port.opened.port.status();
        assert!(status.contains(&("exclusive", "yes".into())), "{status:?}");
        let error = try_open(name, 1, 64).err().unwrap();
        assert_eq!(error.errno(), libc::EBUSY, "{error}");
        assert!(
            error.to_string().contains("another process has its rings"),
            "{error}"
        );
        port.close();
    }
    assert_eq!(mapped_and_open(), (0, 0));
}

#[test]
fn vale_offsets_do_not_climb() {
    let Some(_module) = module() else { return };
    let mut a = open("vale0:1");
    let mut b = open("vale0:2");
    let most = a.tx(0).ring.max_offset();
    let (mut least_seen, mut most_seen) = (u64::MAX, 0);
    for i in 0..5000 {
        // Every alignment, as headers are pushed and popped.
        let offset = i * 37 % (most + 1);
        let sent = frame(60 + (i as usize * 13) % 1400, i);
        a.send_at(0, &sent, offset);
        let (got, offset) = b.recv(0);
        assert_eq!(got, sent, "frame {i}");
        (least_seen, most_seen) = (least_seen.min(offset), most_seen.max(offset));
    }
    println!("received at offsets {least_seen} to {most_seen}");
    assert!(least_seen >= HEADROOM.into() && most_seen < u64::from(HEADROOM) + 128);
    a.close();
    b.close();
}

#[test]
fn pipes_pass_frames_both_ways() {
    let Some(_module) = module() else { return };
    for (master, slave) in [("netmap:x{1", "netmap:x}1"), ("vale2:0{p", "vale2:0}p")] {
        let mut a = open(master);
        let mut b = open(slave);
        assert_eq!(a.mem_id(), b.mem_id());
        // More than the ring has slots, to go round.
        for i in 0..3000 {
            let sent = frame(60 + (i as usize * 7) % 1400, i);
            a.send(0, &sent);
            assert_eq!(b.recv(0).0, sent, "{master} frame {i}");
            b.send(0, &sent);
            assert_eq!(a.recv(0).0, sent, "{slave} frame {i}");
        }
        a.close();
        b.close();
        assert_eq!(mapped_and_open(), (0, 0));
    }
}

#[test]
fn each_ring_pair_has_its_own_descriptor() {
    let Some(_module) = module() else { return };
    let mut a = try_open("vale0:1", 3, 64).unwrap();
    let mut b = try_open("vale0:2", 3, 64).unwrap();
    assert_eq!(a.opened.rings.len(), 3);
    // The anchor, two ports, three pairs each.
    assert_eq!(mapped_and_open(), (1, 1 + 2 + 6));
    // Broadcasts go to pair 0, the rest keeps its number once the switch knows the receiver.
    let [to_a, to_b] = [[2, 0, 0, 0, 0, 1], [2, 0, 0, 0, 0, 2]];
    let mut sent = frame(100, 0);
    sent[6..12].copy_from_slice(&to_b);
    b.send(1, &sent);
    assert_eq!(a.recv(0).0, sent);
    sent[..6].copy_from_slice(&to_b);
    sent[6..12].copy_from_slice(&to_a);
    for pair in [2, 0, 1] {
        sent[20] = pair as u8;
        a.send(pair, &sent);
        // Syncing the other pairs does not touch this one.
        for other in (0..3).filter(|&o| o != pair) {
            assert!(b.recv_for(other, Duration::from_millis(5)).is_none());
        }
        let rx = b.rx(pair);
        assert_eq!(rx.ring.head(), rx.ring.tail(), "not synced yet");
        assert_eq!(b.recv(pair).0, sent);
    }
    a.close();
    b.close();
    let mut a = try_open("netmap:y{1", 2, 64).unwrap();
    let mut b = try_open("netmap:y}1", 2, 64).unwrap();
    for pair in [1, 0] {
        let sent = frame(100, pair as u32);
        a.send(pair, &sent);
        assert_eq!(b.recv(pair).0, sent);
    }
    a.close();
    b.close();
}

#[test]
fn queues_are_synced_by_their_own_threads() {
    let Some(_module) = module() else { return };
    let a = try_open("vale0:1", 2, 64).unwrap();
    let b = try_open("vale0:2", 2, 64).unwrap();
    let spin = |mut ring: SyncedRing| {
        move || {
            for _ in 0..20_000 {
                ring.sync().unwrap();
            }
        }
    };
    let threads: Vec<_> = (a.opened.rings.into_iter().chain(b.opened.rings))
        .flat_map(|pair| [pair.rx.unwrap(), pair.tx.unwrap()])
        .map(|ring| std::thread::spawn(spin(ring)))
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    a.opened.port.close(a.spare);
    b.opened.port.close(b.spare);
    drop((a.opened.region, b.opened.region));
    assert_eq!(mapped_and_open(), (0, 0));
}
