// SPDX-License-Identifier: Apache-2.0
//! Network interfaces: generic and native mode, host rings, refusals.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use ovs_netmap::test_utils::engine::HEADROOM;

use crate::support::{frame, mapped_and_open, module, open, run, try_open};

#[test]
fn host_interfaces_in_generic_mode() {
    let Some(_module) = module() else { return };
    run("ip link del nmt0 2>/dev/null; ip link add nmt0 type veth peer name nmt1");
    run(
        "ip link set nmt0 up; ip link set nmt1 up; sysctl -qw net.ipv6.conf.nmt0.disable_ipv6=1 \
         net.ipv6.conf.nmt1.disable_ipv6=1",
    );
    let mut a = open("netmap:nmt0");
    let mut b = open("netmap:nmt1");
    println!(
        "{:?} pairs {}",
        a.opened.port.status(),
        a.opened.rings.len()
    );
    assert_eq!(a.mem_id(), b.mem_id());
    assert_eq!(a.opened.port.host_interface(), Some("nmt0"));
    std::thread::sleep(Duration::from_millis(300));
    while b.recv_for(0, Duration::from_millis(50)).is_some() {}
    for i in 0..200 {
        let sent = frame(60 + (i as usize * 11) % 1440, i);
        a.send(0, &sent);
        let (got, offset) = b.recv(0);
        assert_eq!(got, sent, "frame {i}");
        assert_eq!(offset, u64::from(HEADROOM));
    }
    // A VALE port joins the region: forwarding between them copies nothing here.
    let vale = open("vale0:1");
    assert_eq!(vale.mem_id(), a.mem_id());
    vale.close();
    a.close();
    b.close();

    for name in ["netmap:nmt0-0", "netmap:nmt0^"] {
        let port = open(name);
        assert_eq!(port.opened.rings.len(), 1, "{name}");
        port.close();
    }

    // What the host's stack sends to nmt0 comes out of the host ring, and goes to its card.
    let mut card = open("netmap:nmt0");
    let mut stack = open("netmap:nmt0^");
    let mut peer = open("netmap:nmt1");
    run("ip addr add 10.9.9.1/24 dev nmt0; ping -c1 -W1 10.9.9.2 >/dev/null; true");
    let (arp, _) = stack.recv(0);
    assert_eq!(arp[12..14], [0x08, 0x06]);
    card.send(0, &arp);
    while peer.recv(0).0 != arp {}
    stack.close();
    card.close();
    peer.close();
    run("ip link del nmt0");
    assert_eq!(mapped_and_open(), (0, 0));
}

#[test]
fn several_rings_of_an_interface() {
    let Some(_module) = module() else { return };
    run(
        "ip link del nmt0 2>/dev/null; ip link add nmt0 numtxqueues 2 numrxqueues 2 type veth \
         peer name nmt1 numtxqueues 2 numrxqueues 2",
    );
    run(
        "ip link set nmt0 up; ip link set nmt1 up; sysctl -qw net.ipv6.conf.nmt0.disable_ipv6=1 \
         net.ipv6.conf.nmt1.disable_ipv6=1",
    );
    let mut a = open("netmap:nmt0");
    let mut b = open("netmap:nmt1");
    assert_eq!((a.opened.rings.len(), b.opened.rings.len()), (2, 2));
    // The anchor, two ports, two pairs each.
    assert_eq!(mapped_and_open(), (1, 1 + 2 + 4));
    std::thread::sleep(Duration::from_millis(300));
    for pair in 0..2 {
        while b.recv_for(pair, Duration::from_millis(50)).is_some() {}
    }
    for i in 0..100 {
        let sent = frame(60, i);
        a.send(i as usize % 2, &sent);
        let got = (0..100).find_map(|j| b.recv_for(j % 2, Duration::from_millis(10)));
        assert_eq!(got.expect("it arrives in one of them").0, sent);
    }
    a.close();
    b.close();
    // Two descriptors share an interface, a ring each.
    let a = open("netmap:nmt0-0");
    let b = open("netmap:nmt0-1");
    assert!(Arc::ptr_eq(&a.opened.region, &b.opened.region));
    a.close();
    b.close();
    run("ip link del nmt0");
}

/// Two interfaces on one wire, whose names are in the environment: of a driver with native support.
#[test]
fn native_interfaces() {
    let Some(_module) = module() else { return };
    let Ok(names) = std::env::var("NETMAP_TEST_IFS") else {
        println!("skipped: NETMAP_TEST_IFS does not name two interfaces on one wire");
        return;
    };
    let names: Vec<_> = names.split_whitespace().collect();
    let [first, second] = names[..] else {
        panic!("{names:?} are not two")
    };
    run(&format!("ip link set {first} up; ip link set {second} up"));
    let mut a = open(&format!("netmap:{first}"));
    let mut b = open(&format!("netmap:{second}"));
    println!("{:?}", a.opened.port.status());
    std::thread::sleep(Duration::from_secs(4));
    while b.recv_for(0, Duration::from_millis(300)).is_some() {}
    let most = a.tx(0).ring.max_offset();
    for i in 0..300 {
        let sent = frame(60 + (i as usize * 11) % 1455, i);
        a.send_at(0, &sent, i * 37 % (most + 1));
        let (got, offset) = b.recv(0);
        assert_eq!(got, sent, "frame {i}");
        assert_eq!(offset, u64::from(HEADROOM.min(most)));
    }
    a.close();
    b.close();
    assert_eq!(mapped_and_open(), (0, 0));
}

/// The interface goes under the open port: an errno of the sync, and a clean close.
#[test]
fn an_interface_that_vanishes() {
    let Some(_module) = module() else { return };
    run("ip link del nmt0 2>/dev/null; ip link add nmt0 type veth peer name nmt1");
    run("ip link set nmt0 up; ip link set nmt1 up");
    let mut port = open("netmap:nmt0");
    port.send(0, &frame(60, 0));
    let delete = std::thread::spawn(|| run("ip link del nmt0"));
    let deadline = Instant::now() + Duration::from_secs(20);
    let mut error = None;
    while error.is_none() && Instant::now() < deadline {
        error = port.rx(0).sync().err();
    }
    std::thread::sleep(Duration::from_secs(2));
    let gone = delete.is_finished();
    println!(
        "sync says {error:?}, txsync {:?}; interface gone: {gone}",
        port.tx(0).sync()
    );
    assert!(error.is_some());
    port.close();
    delete.join().unwrap();
    assert_eq!(mapped_and_open(), (0, 0));
    let gone = try_open("netmap:nmt0", 1, 64).err().unwrap();
    println!("{gone}");
    assert_eq!(gone.errno(), libc::ENODEV);
}

#[test]
fn refusals_say_what_and_why() {
    let Some(_module) = module() else { return };
    run(
        "ip link del nmt0 2>/dev/null; ip link add nmt0 type veth peer name nmt1; ip link set nmt0 up",
    );
    let cases = [
        ("netmap:nosuch", libc::ENODEV, "nosuch"),
        ("netmap:nmt0-7", libc::EINVAL, "ring pairs"),
        ("vale0:1@4711", libc::EINVAL, "no memory region 4711"),
        ("vale0:nmt0", libc::EINVAL, "vale-ctl -a"),
        ("netmap:lo", libc::EINVAL, "MTU"),
    ];
    for (name, errno, part) in cases {
        let error = match try_open(name, 1, 64) {
            Ok(port) => {
                println!("{name}: opened");
                port.close();
                assert_eq!(errno, 0, "{name}");
                continue;
            }
            Err(error) => error,
        };
        println!("{error}");
        if errno != 0 {
            assert_eq!(error.errno(), errno, "{error}");
            assert!(error.to_string().contains(part), "{error}");
        }
    }
    // Attached to a switch, an interface belongs to the module.
    if Command::new("vale-ctl")
        .args(["-a", "vale7:nmt0"])
        .status()
        .is_ok_and(|s| s.success())
    {
        let error = try_open("netmap:nmt0", 1, 64).err().unwrap();
        println!("{error}");
        assert_eq!(error.errno(), libc::EBUSY);
        run("vale-ctl -d vale7:nmt0");
    }
    run("ip link del nmt0");
    assert_eq!(mapped_and_open(), (0, 0));
}
