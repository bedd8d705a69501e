// SPDX-License-Identifier: Apache-2.0
//! The engine on real interfaces: veth pairs into network namespaces. Needs root; skipped without,
//! with the reason printed.

use std::collections::HashSet;
use std::os::unix::fs::MetadataExt;
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::MutexGuard;

use netmap_sys::netmap::NS_MOREFRAG;

use super::*;
use crate::engine::{RingPair, SyncedRing};
use crate::index::BufIdx;
use crate::name::PortName;
use crate::region::Region;

/// Slots of both rings of a port.
const SLOTS: usize = 2048 + 512;

/// One at a time: they count descriptors, and all share one region.
static ALONE: Mutex<()> = Mutex::new(());
static NEXT: AtomicU32 = AtomicU32::new(0);

/// Runs a command line; what it printed, or what it complained about.
fn run(line: &str) -> std::result::Result<String, String> {
    let mut words = line.split_whitespace();
    let done = Command::new(words.next().unwrap())
        .args(words)
        .output()
        .map_err(|e| format!("{line}: {e}"))?;
    if done.status.success() {
        Ok(String::from_utf8_lossy(&done.stdout).into_owned())
    } else {
        let complaint = String::from_utf8_lossy(&done.stderr);
        Err(format!("{line}: {}", complaint.trim()))
    }
}

/// Waits until `done`, with a limit that no test comes near.
fn wait_for(what: &str, mut done: impl FnMut() -> bool) {
    let end = Instant::now() + Duration::from_secs(60);
    while !done() {
        assert!(Instant::now() < end, "waited for {what}");
        thread::sleep(Duration::from_millis(10));
    }
}

fn must(line: &str) -> String {
    run(line).unwrap()
}

/// A veth pair whose far end is in a namespace of its own. Both are gone with this value.
struct Veth {
    near: String,
    namespace: String,
}

impl Veth {
    fn new(address: &str, options: &str) -> Veth {
        let id = format!(
            "{}x{}",
            std::process::id(),
            NEXT.fetch_add(1, Ordering::Relaxed)
        );
        let veth = Veth {
            near: format!("nmt{id}"),
            namespace: format!("nmt{id}"),
        };
        let (near, ns) = (&veth.near, &veth.namespace);
        must(&format!("ip netns add {ns}"));
        must(&format!(
            "ip link add {near} {options} type veth peer name far netns {ns} {options}"
        ));
        veth.inside("ip link set lo up");
        veth.inside(&format!("ip address add {address}/24 dev far"));
        veth.inside("ip link set far up");
        // Packets between veth ends have no checksum unless they are told so.
        let _ = run(&format!("ip netns exec {ns} ethtool -K far tx off"));
        must(&format!("ip link set {near} up"));
        veth
    }

    fn inside(&self, line: &str) -> String {
        must(&format!("ip netns exec {} {line}", self.namespace))
    }

    /// Sends `count` echo requests by `ping` with `args` from the far end; all are answered. Not by
    /// ping's own verdict: for the last answer it waits for twice the longest round trip only, which
    /// is not enough on a busy machine.
    fn pings(&self, count: u64, args: &str) {
        let before = self.echo_replies();
        let said = self.inside(&format!("ping -c {count} -q -W 2 {args}"));
        println!("{said}");
        assert!(
            said.contains(&format!("{count} packets transmitted")),
            "{said}"
        );
        wait_for("all answers", || self.echo_replies() - before >= count);
        assert!(!said.contains("duplicates"), "{said}");
    }

    /// How many the far end has received.
    fn echo_replies(&self) -> u64 {
        let text = self.inside("cat /proc/net/snmp");
        let mut lines = text.lines().filter_map(|line| line.strip_prefix("Icmp:"));
        let (names, values) = (lines.next().unwrap(), lines.next().unwrap());
        let mut columns = names.split_whitespace().zip(values.split_whitespace());
        let found = columns.find(|(name, _)| *name == "InEchoReps");
        found.unwrap().1.parse().unwrap()
    }

    /// Whether an XDP program is attached.
    fn has_program(&self) -> bool {
        must(&format!("ip -details link show {}", self.near)).contains("xdp")
    }
}

impl Drop for Veth {
    fn drop(&mut self) {
        let _ = run(&format!("ip link delete {}", self.near));
        let _ = run(&format!("ip netns delete {}", self.namespace));
    }
}

/// The right to run such a test, or `None` and the reason on standard output.
fn alone(test: &str) -> Option<MutexGuard<'static, ()>> {
    let guard = ALONE.lock();
    let why = if std::fs::metadata("/proc/self").map_or(1, |m| m.uid()) != 0 {
        "not root".to_owned()
    } else {
        let probe = || {
            for tool in ["ping -V", "ethtool --version", "ip -V"] {
                run(tool)?;
            }
            let known = std::fs::read_to_string("/proc/net/protocols").unwrap_or_default();
            if !known.lines().any(|line| line.starts_with("XDP ")) {
                return Err("this kernel has no AF_XDP sockets".into());
            }
            let name = format!("nmtprobe{}", std::process::id());
            run(&format!("ip netns add {name}"))?;
            run(&format!("ip netns delete {name}"))
        };
        match probe() {
            Ok(_) => return Some(guard),
            Err(why) => why,
        }
    };
    println!("{test}: skipped: {why}");
    None
}

fn port(name: &str) -> PortName {
    PortName::parse(name).unwrap()
}

fn request(name: &PortName) -> OpenRequest<'_> {
    let mut request = OpenRequest::small(name);
    request.process.extra_bufs = 100;
    request.process.region_bufs = 16384;
    request
}

/// Opens a port. A queue that was given up a moment ago is asked for again.
fn open_port(name: &str) -> Result<Opened> {
    open_with(&request(&port(name)))
}

fn open_with(request: &OpenRequest<'_>) -> Result<Opened> {
    let mut opened = None;
    wait_for("the queue", || {
        opened = Some(open(request));
        !matches!(&opened, Some(Err(e)) if e.errno() == libc::EAGAIN)
    });
    opened.unwrap()
}

fn error_of(request: &OpenRequest<'_>) -> Error {
    match open(request) {
        Ok(_) => panic!("{} was opened", request.name),
        Err(error) => error,
    }
}

fn close(opened: Opened) -> Arc<Region> {
    drop(opened.rings);
    opened.port.close(opened.extra);
    opened.region
}

/// All of the region's buffers that nobody has: all of them, once its ports are closed.
fn assert_all_free(region: &Region) {
    assert_eq!(region.backing().unassigned(), Some(region.usable_bufs()));
    assert_eq!(region.in_rings(), 0);
}

/// One pass from `rx` to `tx`, by exchanging buffers, as `rx.rs` and `tx.rs` do it.
fn forward(rx: &mut SyncedRing, tx: &mut SyncedRing, region: &Region) -> u32 {
    rx.sync().unwrap();
    let (from, to) = (rx.ring.owner(), tx.ring.owner());
    let mut received = rx.ring.batch().unwrap();
    let mut free = tx.ring.batch().unwrap();
    let n = received.left().min(free.left());
    for _ in 0..n {
        let (mut full, mut empty) = (received.slot(0), free.slot(0));
        let packet = region.claim(BufIdx(full.buf_idx), from).unwrap();
        let spare = region.claim(BufIdx(empty.buf_idx), to).unwrap();
        empty.buf_idx = region.release(packet, to).0;
        full.buf_idx = region.release(spare, from).0;
        (empty.len, empty.ptr) = (full.len, full.ptr);
        empty.flags = full.flags & NS_MOREFRAG;
        full.len = 0;
        received.pass(full);
        free.pass(empty);
    }
    received.commit();
    free.commit();
    tx.sync().unwrap();
    n
}

/// Forwards between the first ring pairs of two ports, in a thread for each direction, while `what`
/// runs. Both counts of packets.
fn forwarding(a: &mut Opened, b: &mut Opened, what: impl FnOnce()) -> (u64, u64) {
    let stop = AtomicBool::new(false);
    let region = Arc::clone(&a.region);
    assert!(Arc::ptr_eq(&a.region, &b.region), "two regions");
    let (a, b) = (&mut a.rings[0], &mut b.rings[0]);
    let direction = |rx: &mut Option<SyncedRing>, tx: &mut Option<SyncedRing>| {
        let (rx, tx) = (rx.as_mut().unwrap(), tx.as_mut().unwrap());
        let mut count = 0;
        while !stop.load(Ordering::Relaxed) {
            match forward(rx, tx, &region) {
                0 => thread::yield_now(),
                n => count += n as u64,
            }
        }
        count
    };
    thread::scope(|scope| {
        let there = scope.spawn(|| direction(&mut a.rx, &mut b.tx));
        let back = scope.spawn(|| direction(&mut b.rx, &mut a.tx));
        let done = std::panic::catch_unwind(std::panic::AssertUnwindSafe(what));
        stop.store(true, Ordering::Relaxed);
        let counts = (there.join().unwrap(), back.join().unwrap());
        done.map(|()| counts).unwrap()
    })
}

/// Every buffer of the port's rings is one that the port owns, as many as its rings have slots.
fn assert_conserved(opened: &Opened, slots: usize) {
    let pair = &opened.rings[0];
    let owner = pair.rx.as_ref().unwrap().ring.owner();
    assert_eq!(opened.region.owned_by(owner).len(), slots);
}

/// Slots of all rings of a port.
fn slots(opened: &Opened) -> usize {
    let rings = opened.rings.iter().flat_map(|pair| [&pair.rx, &pair.tx]);
    let slots = rings.flatten().map(|synced| synced.ring.num_slots());
    slots.sum::<u32>() as usize
}

#[test]
fn two_namespaces_ping_each_other() {
    let Some(_alone) = alone("two_namespaces_ping_each_other") else {
        return;
    };
    let (left, right) = (Veth::new("10.77.1.1", ""), Veth::new("10.77.1.2", ""));
    let mut a = open_port(&left.near).unwrap();
    let mut b = open_port(&right.near).unwrap();
    println!("{:?}", a.port.status());
    assert!(left.has_program() && right.has_program());

    let (there, back) = forwarding(&mut a, &mut b, || {
        left.pings(2000, "-i 0.001 10.77.1.2");
        // More than a ring has slots, in bursts longer than a batch of the kernel's.
        left.pings(3000, "-f -l 100 -s 1400 10.77.1.2");
    });
    println!("{there} there, {back} back; {:?}", a.port.drops());
    assert!(there >= 5000 && back >= 5000);
    for opened in [&a, &b] {
        assert_conserved(opened, SLOTS);
        let losses = opened.port.drops();
        // What came before the sockets were there was the host's in other times.
        let lost = losses
            .iter()
            .filter(|(name, _)| *name != "rx_without_socket");
        assert!(lost.clone().all(|(_, n)| *n == 0), "{losses:?}");
    }
    close(a);
    assert_all_free(&close(b));
    assert!(!left.has_program() && !right.has_program());
}

#[test]
fn an_interface_without_native_mode_works_in_generic_mode() {
    let Some(_alone) = alone("an_interface_without_native_mode_works_in_generic_mode") else {
        return;
    };
    let two = "numrxqueues 2 numtxqueues 2";
    let (left, right) = (Veth::new("10.77.7.1", two), Veth::new("10.77.7.2", ""));
    // A veth refuses native mode when its peer may send on more queues than it receives on.
    must(&format!("ethtool -L {} rx 1", left.near));
    let mut a = open_port(&left.near).unwrap();
    let mut b = open_port(&right.near).unwrap();
    let mode = |opened: &Opened| opened.port.status()[0].1.clone();
    assert_eq!((mode(&a), mode(&b)), ("generic".into(), "native".into()));
    forwarding(&mut a, &mut b, || {
        left.pings(500, "-i 0.001 10.77.7.2");
    });
    assert_conserved(&a, slots(&a));
    assert_conserved(&b, slots(&b));
    close(a);
    assert_all_free(&close(b));
    assert!(!left.has_program());

    long_pings(&left, &right, "10.77.7.2");
}

/// Pings from `left`, whose frames take several buffers, to `address` at `right`.
fn long_pings(left: &Veth, right: &Veth, address: &str) {
    for veth in [left, right] {
        must(&format!("ip link set {} mtu 9000", veth.near));
        veth.inside("ip link set far mtu 9000");
    }
    let (mut a, mut b) = match (open_port(&left.near), open_port(&right.near)) {
        (Ok(a), Ok(b)) => (a, b),
        (Err(error), _) | (_, Err(error)) => {
            assert!(error.to_string().contains("Linux 6.6 does"), "{error}");
            println!("skipped: {error}");
            return;
        }
    };
    let (there, back) = forwarding(&mut a, &mut b, || {
        left.pings(300, &format!("-i 0.001 -M do -s 8972 {address}"));
        left.pings(100, &format!("-f -l 10 -M do -s 3000 {address}"));
        left.pings(100, &format!("-i 0.001 -M do -s 100 {address}"));
    });
    // Six slots of 1792 bytes, and two.
    assert!(there >= 300 * 6 + 100 * 2 + 100 && back >= 300 * 6 + 100 * 2 + 100);
    assert_conserved(&a, slots(&a));
    assert_conserved(&b, slots(&b));
    close(a);
    assert_all_free(&close(b));
}

#[test]
fn long_frames_take_several_slots() {
    let Some(_alone) = alone("long_frames_take_several_slots") else {
        return;
    };
    let (left, right) = (Veth::new("10.77.17.1", ""), Veth::new("10.77.17.2", ""));
    long_pings(&left, &right, "10.77.17.2");
}

/// As when one interface has zero copy and the other does not.
#[test]
fn two_umems_on_one_memory_forward_to_each_other() {
    let Some(_alone) = alone("two_umems_on_one_memory_forward_to_each_other") else {
        return;
    };
    let (left, right) = (Veth::new("10.77.9.1", ""), Veth::new("10.77.9.2", ""));
    let mut a = open_port(&left.near).unwrap();
    let name = port(&right.near);
    let region = UserRegion::get(&request(&name), 0, SMALLEST_BUF_SIZE, |_| true).unwrap();
    let known = std::mem::take(&mut *region.mapping().sockets().lock());
    assert_eq!(known.len(), 1);
    let mut b = open_port(&right.near).unwrap();
    forwarding(&mut a, &mut b, || {
        left.pings(500, "-i 0.001 10.77.9.2");
    });
    assert_conserved(&a, SLOTS);
    assert_conserved(&b, SLOTS);
    close(a);
    assert_all_free(&close(b));
}

#[test]
fn an_interface_that_vanishes_leaves_a_port_that_closes() {
    let Some(_alone) = alone("an_interface_that_vanishes_leaves_a_port_that_closes") else {
        return;
    };
    let (left, right) = (Veth::new("10.77.8.1", ""), Veth::new("10.77.8.2", ""));
    let mut a = open_port(&left.near).unwrap();
    let mut b = open_port(&right.near).unwrap();
    forwarding(&mut a, &mut b, || {
        left.inside("ping -c 20 -i 0.002 -q 10.77.8.2");
        must(&format!("ip link delete {}", right.near));
        let _ = run(&format!(
            "ip netns exec {} ping -c 20 -i 0.002 -W 0.1 -q 10.77.8.2",
            left.namespace
        ));
    });
    println!("{:?}", b.port.drops());
    assert_conserved(&a, SLOTS);
    close(b);
    assert_all_free(&close(a));
}

/// The socket whose UMEM a new one would join is bound to nothing any more.
#[test]
fn an_interface_that_vanishes_keeps_no_other_from_opening() {
    let Some(_alone) = alone("an_interface_that_vanishes_keeps_no_other_from_opening") else {
        return;
    };
    let gone = [Veth::new("10.77.11.3", ""), Veth::new("10.77.11.4", "")];
    let (left, right) = (Veth::new("10.77.11.1", ""), Veth::new("10.77.11.2", ""));
    let old = gone.each_ref().map(|veth| open_port(&veth.near).unwrap());
    let mut a = open_port(&left.near).unwrap();
    for veth in &gone {
        must(&format!("ip link delete {}", veth.near));
    }
    // Joins the third socket. Without it, registers the memory itself.
    let mut b = open_port(&right.near).unwrap();
    forwarding(&mut a, &mut b, || left.pings(100, "-i 0.002 10.77.11.2"));
    must(&format!("ip link delete {}", left.near));
    close(b);
    let b = open_port(&right.near).unwrap();
    for port in old {
        close(port);
    }
    close(a);
    assert_all_free(&close(b));
}

#[test]
fn a_flood_beyond_the_rings_loses_no_buffer() {
    let Some(_alone) = alone("a_flood_beyond_the_rings_loses_no_buffer") else {
        return;
    };
    let (left, right) = (Veth::new("10.77.2.1", ""), Veth::new("10.77.2.2", ""));
    let mut a = open_port(&left.near).unwrap();
    let mut b = open_port(&right.near).unwrap();
    // Nobody reads: the ring fills up, and the rest is dropped and counted.
    let _ = run(&format!(
        "ip netns exec {} ping -c 5000 -f -l 5000 -W 1 -b -q 10.77.2.255",
        left.namespace
    ));
    let drops: u64 = a.port.drops().iter().map(|(_, n)| n).sum();
    println!("{:?}, {:?}", a.port.drops(), a.port.events());
    assert!(drops > 0);
    let all_filled = a.port.events()[0];
    assert!(all_filled.0 == "rx_fill_ring_empty" && all_filled.1 > 0);
    let pair = a.rings[0].rx.as_mut().unwrap();
    pair.sync().unwrap();
    assert_eq!(pair.ring.batch().unwrap().left(), 2047, "all slots but one");
    // And it recovers.
    forwarding(&mut a, &mut b, || {
        left.pings(100, "-i 0.002 10.77.2.2");
    });
    assert_conserved(&a, SLOTS);
    assert_conserved(&b, SLOTS);
    close(a);
    assert_all_free(&close(b));
}

/// A port that was closed, but whose socket lives: its rings hold it.
fn close_but_for_its_rings(veth: &Veth) -> Vec<RingPair> {
    let Opened {
        rings, extra, port, ..
    } = open_port(&veth.near).unwrap();
    port.close(extra);
    rings
}

/// As on a busy machine, where the kernel takes its time to end a socket. Nothing waits for it: whoever
/// opens the port is to come back.
#[test]
fn a_queue_that_is_given_up_slowly_is_to_be_tried_again() {
    let Some(_alone) = alone("a_queue_that_is_given_up_slowly_is_to_be_tried_again") else {
        return;
    };
    let veth = Veth::new("10.77.10.1", "");
    let rings = close_but_for_its_rings(&veth);
    for _ in 0..3 {
        let error = error_of(&request(&port(&veth.near)));
        assert_eq!(error.errno(), libc::EAGAIN, "{error}");
        assert!(error.to_string().contains("tried again"), "{error}");
    }
    drop(rings);
    assert_all_free(&close(open_port(&veth.near).unwrap()));
}

/// An attempt that takes one queue, but not the next one, gives the first one up, too.
#[test]
fn a_queue_of_an_attempt_that_failed_is_to_be_tried_again() {
    let Some(_alone) = alone("a_queue_of_an_attempt_that_failed_is_to_be_tried_again") else {
        return;
    };
    let veth = Veth::new("10.77.19.1", "numrxqueues 2 numtxqueues 2");
    let mut rings = close_but_for_its_rings(&veth);
    drop(rings.remove(0));
    wait_for("an attempt that takes the first queue", || {
        let error = error_of(&request(&port(&veth.near)));
        assert_eq!(error.errno(), libc::EAGAIN, "{error}");
        error.to_string().contains("queue 1")
    });
    let interface = HostInterface::read(&veth.near).unwrap();
    let name = port(&veth.near);
    let first = &queues(&request(&name), &interface, Rings::All).unwrap()[0];
    assert!(first.queue == 0 && release::was_ours(first));
    drop(rings);
    assert_all_free(&close(open_port(&veth.near).unwrap()));
}

/// Whether there is an answer.
fn answers(veth: &Veth, address: &str) -> bool {
    let line = format!(
        "ip netns exec {} ping -c 1 -W 0.3 -q {address}",
        veth.namespace
    );
    run(&line).is_ok()
}

#[test]
fn nothing_of_a_whole_interface_passes_to_the_host() {
    let Some(_alone) = alone("nothing_of_a_whole_interface_passes_to_the_host") else {
        return;
    };
    let veth = Veth::new("10.77.12.1", "numrxqueues 2 numtxqueues 2");
    let near = &veth.near;
    must(&format!("ip address add 10.77.12.9/24 dev {near}"));
    wait_for("an answer", || answers(&veth, "10.77.12.9"));

    // Opened, closed and held, opened again: the host sees nothing, and what it does not see counts.
    let opened = open_port(near).unwrap();
    assert!(!answers(&veth, "10.77.12.9"));
    let Opened {
        rings, extra, port, ..
    } = opened;
    drop(rings);
    let held = port.close(extra);
    assert!(held.is_some() && veth.has_program());
    assert!(!answers(&veth, "10.77.12.9"));
    let opened = open_port(near).unwrap();
    let without_socket = |opened: &Opened| {
        let drops = opened.port.drops();
        drops
            .iter()
            .find(|(name, _)| *name == "rx_without_socket")
            .unwrap()
            .1
    };
    assert!(without_socket(&opened) > 0);
    drop(held);
    assert!(!answers(&veth, "10.77.12.9"));
    close(opened);
    wait_for("the program to go", || !veth.has_program());
    wait_for("an answer", || answers(&veth, "10.77.12.9"));

    // On one queue alone, the others are the host's; which it is, the driver decides.
    let one = [0, 1].map(|queue| {
        let opened = open_port(&format!("{near}-{queue}")).unwrap();
        let answers = (0..8).filter(|_| answers(&veth, "10.77.12.9")).count();
        close(opened);
        wait_for("the program to go", || !veth.has_program());
        answers
    });
    assert!(one.iter().sum::<usize>() > 0, "{one:?}");
}

/// With a budget, each rxsync has the driver work; and what no driver handles in one go is refused.
#[test]
fn drivers_are_polled() {
    let Some(_alone) = alone("drivers_are_polled") else {
        return;
    };
    let (left, right) = (Veth::new("10.77.20.1", ""), Veth::new("10.77.20.2", ""));
    let (left_name, right_name) = (port(&left.near), port(&right.near));
    let (mut a, mut b) = (request(&left_name), request(&right_name));
    a.port.busy_poll_budget = 64;
    b.port.busy_poll_budget = 1;
    let (mut a, mut b) = match (open_with(&a), open_with(&b)) {
        (Err(e), _) if e.errno() == libc::ENOPROTOOPT => {
            println!("skipped: {e}");
            return;
        }
        (a, b) => (a.unwrap(), b.unwrap()),
    };
    assert!(b.port.status().contains(&("busy-poll-budget", "1".into())));
    let (there, back) = forwarding(&mut a, &mut b, || {
        left.pings(200, "-i 0.002 10.77.20.2");
    });
    assert!(there >= 200 && back >= 200, "{there} {back}");
    close(a);
    let region = close(b);
    assert_all_free(&region);

    let mut too_many = request(&left_name);
    too_many.port.busy_poll_budget = 65;
    let error = error_of(&too_many);
    assert_eq!(error.errno(), libc::EINVAL);
    assert!(error.to_string().contains("expected 0 to 64"), "{error}");
}

/// What is sent while the interface is down is dropped and counted, and does not go out later.
#[test]
fn frames_do_not_outlive_an_outage() {
    let Some(_alone) = alone("frames_do_not_outlive_an_outage") else {
        return;
    };
    for generic in [false, true] {
        let (left, right) = (Veth::new("10.77.13.1", ""), Veth::new("10.77.13.2", ""));
        if generic {
            right.inside("ip link set far mtu 4000");
        }
        let mut a = open_port(&left.near).unwrap();
        let mut b = open_port(&right.near).unwrap();
        // Nobody asks for addresses while there is no answer.
        for (here, there, address) in [(&left, &right, "10.77.13.2"), (&right, &left, "10.77.13.1")]
        {
            let mac = there.inside("cat /sys/class/net/far/address");
            here.inside(&format!(
                "ip neigh replace {address} lladdr {} dev far",
                mac.trim()
            ));
        }
        let received = || right.inside("cat /sys/class/net/far/statistics/rx_packets");
        // On a busy machine, on the way to here: where nobody polls for a while, rings are full.
        let lost_before = |a: &Opened| {
            let sent = left.inside("cat /sys/class/net/far/statistics/tx_dropped");
            let sent: u64 = sent.trim().parse().unwrap();
            sent + a.port.drops().iter().map(|(_, n)| n).sum::<u64>()
        };
        let unsent = |b: &Opened| {
            let drops = b.port.drops();
            drops
                .iter()
                .find(|(name, _)| *name == "tx_not_sent")
                .unwrap()
                .1
        };
        forwarding(&mut a, &mut b, || left.pings(10, "-i 0.002 10.77.13.2"));
        let before: u64 = received().trim().parse().unwrap();
        let (_, _) = forwarding(&mut a, &mut b, || {
            must(&format!("ip link set {} down", right.near));
            let ns = &left.namespace;
            let _ = run(&format!(
                "ip netns exec {ns} ping -c 600 -i 0.001 -W 0.1 -q 10.77.13.2"
            ));
        });
        let (unsent, lost) = (unsent(&b), lost_before(&a));
        assert!(unsent > 0 && unsent + lost >= 600, "{unsent} {lost}");
        must(&format!("ip link set {} up", right.near));
        forwarding(&mut a, &mut b, || {
            wait_for("the link", || answers(&left, "10.77.13.2"));
            left.pings(10, "-i 0.002 10.77.13.2");
        });
        let after: u64 = received().trim().parse().unwrap();
        // Beside the ten: the driver's own, and addresses that are asked for.
        assert!(after - before < 40, "{before} {after}");
        let invalid = b.port.drops();
        let invalid = invalid.iter().find(|(name, _)| *name == "tx_invalid_descs");
        assert_eq!(invalid.unwrap().1, 0);
        let events = b.port.events();
        let bad = events
            .iter()
            .find(|(name, _)| *name == "tx_bad_completions");
        assert_eq!(bad.unwrap().1, 0);
        assert_conserved(&a, SLOTS);
        assert_conserved(&b, SLOTS);
        close(a);
        assert_all_free(&close(b));
    }
}

#[test]
fn an_interface_that_left_is_noticed_even_if_it_is_back() {
    let Some(_alone) = alone("an_interface_that_left_is_noticed_even_if_it_is_back") else {
        return;
    };
    let veth = Veth::new("10.77.14.1", "");
    let (near, ns) = (&veth.near, &veth.namespace);
    let opened = open_port(near).unwrap();
    must(&format!("ip link set {near} down"));
    must(&format!("ip link set {near} up"));
    assert!(!opened.port.lost());
    must(&format!("ip link set {near} netns {ns}"));
    let pid = std::process::id();
    veth.inside(&format!("ip link set {near} netns {pid}"));
    assert!(opened.port.lost() && opened.port.lost());
    close(opened);
    assert!(!veth.has_program());
    assert_all_free(&close(open_port(near).unwrap()));
}

/// What is kept of a port, as while the kernel is busy with its buffers, may outlive its interface.
#[test]
fn an_interface_with_the_number_of_one_that_is_gone_gets_a_program() {
    let test = "an_interface_with_the_number_of_one_that_is_gone_gets_a_program";
    let Some(_alone) = alone(test) else {
        return;
    };
    let veth = Veth::new("10.77.15.1", "");
    let (near, ns) = (&veth.near, &veth.namespace);
    let index = HostInterface::read(near).unwrap().ifindex;
    let replacements: [&dyn Fn(); 2] = [&|| drop(must(&format!("ip link delete {near}"))), &|| {
        must(&format!("ip link set {near} netns {ns}"));
    }];
    for (i, replace) in replacements.iter().enumerate() {
        let opened = open_port(near).unwrap();
        let (port, rings, extra) = (opened.port, opened.rings, opened.extra);
        replace();
        drop(rings);
        let held = port.close(extra).unwrap();
        must(&format!(
            "ip link add {near} index {index} type veth peer name other{i} netns {ns}"
        ));
        must(&format!("ip link set {near} up"));
        let next = open_port(near).unwrap();
        assert!(veth.has_program());
        drop(held);
        assert!(veth.has_program());
        assert_all_free(&close(next));
    }
    assert!(!veth.inside("ip -details link show").contains("prog/xdp"));
}

#[test]
fn queues_that_appear_are_counted_at_open() {
    let Some(_alone) = alone("queues_that_appear_are_counted_at_open") else {
        return;
    };
    let veth = Veth::new("10.77.15.1", "numrxqueues 4 numtxqueues 4");
    must(&format!("ethtool -L {} rx 1 tx 1", veth.near));
    let opened = open_port(&veth.near).unwrap();
    assert_eq!(opened.port.queues(), Some((1, 1)));
    must(&format!("ethtool -L {} rx 3 tx 3", veth.near));
    assert_eq!(opened.port.queues(), Some((1, 1)));
    close(opened);
    let opened = open_port(&veth.near).unwrap();
    assert_eq!(opened.port.queues(), Some((3, 3)));
    assert_eq!(opened.rings.len(), 3);
    assert_all_free(&close(opened));
}

#[test]
fn fifty_times_open_and_closed_leave_nothing_behind() {
    let Some(_alone) = alone("fifty_times_open_and_closed_leave_nothing_behind") else {
        return;
    };
    let veth = Veth::new("10.77.3.1", "");
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let mappings = || {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
        maps.lines().filter(|line| line.contains("socket:")).count()
    };
    let before = (descriptors(), mappings());
    let mut numbers = HashSet::new();
    for _ in 0..50 {
        let opened = open_port(&veth.near).unwrap();
        assert!(veth.has_program());
        assert_eq!(opened.extra.len(), 100);
        assert_eq!(mappings(), before.1 + 4);
        numbers.insert(opened.rings[0].rx.as_ref().unwrap().ring.owner());
        assert_all_free(&close(opened));
        assert!(!veth.has_program());
    }
    assert_eq!(numbers.len(), 1, "numbers of ports are used again");
    assert_eq!((descriptors(), mappings()), before);
}

#[test]
fn queues_of_one_interface_are_ports_of_their_own() {
    let Some(_alone) = alone("queues_of_one_interface_are_ports_of_their_own") else {
        return;
    };
    let veth = Veth::new("10.77.4.1", "numrxqueues 2 numtxqueues 2");
    let near = &veth.near;
    let second = open_port(&format!("netmap:{near}-1")).unwrap();
    let first = open_port(&format!("netmap:{near}-0")).unwrap();
    assert_eq!((first.rings.len(), second.rings.len()), (1, 1));
    let error = error_of(&request(&port(&format!("netmap:{near}-2"))));
    assert_eq!(error.errno(), libc::ENXIO);
    assert_eq!(
        error.to_string(),
        format!("{near} has no ring 2: its rings are 0 to 1")
    );
    let error = error_of(&request(&port(near)));
    assert_eq!(error.errno(), libc::EBUSY);
    assert!(
        error
            .to_string()
            .contains(&format!("{near} is in use as another port")),
        "{error}"
    );
    let error = error_of(&request(&port(&format!("netmap:{near}-0"))));
    assert_eq!(error.errno(), libc::EBUSY);
    assert!(
        error
            .to_string()
            .contains(&format!("queue 0 of {near} is in use")),
        "{error}"
    );
    close(first);
    assert!(veth.has_program(), "the other port needs it");
    close(second);
    assert!(!veth.has_program());
    let both = open_port(near).unwrap();
    assert_eq!(both.rings.len(), 2);
    assert_all_free(&close(both));
}

#[test]
fn an_interface_that_is_down_opens_and_works_once_it_is_up() {
    let Some(_alone) = alone("an_interface_that_is_down_opens_and_works_once_it_is_up") else {
        return;
    };
    let (left, right) = (Veth::new("10.77.5.1", ""), Veth::new("10.77.5.2", ""));
    must(&format!("ip link set {} down", left.near));
    let mut a = open_port(&left.near).unwrap();
    let mut b = open_port(&right.near).unwrap();
    assert!(
        !HostInterface::read(&left.near).unwrap().up,
        "not ours to decide"
    );
    must(&format!("ip link set {} up", left.near));
    forwarding(&mut a, &mut b, || {
        left.inside("ping -c 100 -i 0.002 -w 5 -q 10.77.5.2");
        // Down again, with frames to send, and up.
        must(&format!("ip link set {} down", right.near));
        let _ = run(&format!(
            "ip netns exec {} ping -c 50 -i 0.002 -W 0.1 -q 10.77.5.2",
            left.namespace
        ));
        must(&format!("ip link set {} up", right.near));
        left.inside("ping -c 100 -i 0.002 -w 5 -q 10.77.5.2");
    });
    println!("{:?}", b.port.drops());
    assert_conserved(&a, SLOTS);
    assert_conserved(&b, SLOTS);
    close(a);
    assert_all_free(&close(b));
}

#[test]
fn failures_say_what_and_why() {
    let Some(_alone) = alone("failures_say_what_and_why") else {
        return;
    };
    let veth = Veth::new("10.77.6.1", "");
    let near = &veth.near;

    let error = error_of(&request(&port("nosuchif")));
    assert_eq!(error.errno(), libc::ENODEV);
    assert!(
        error
            .to_string()
            .contains("no interface named \"nosuchif\""),
        "{error}"
    );

    for (name, why) in [("^", "host rings"), ("@2", "\"@2\"")] {
        let error = error_of(&request(&port(&format!("netmap:{near}{name}"))));
        assert_eq!(error.errno(), libc::EOPNOTSUPP);
        assert!(error.to_string().contains(why), "{error}");
    }

    let tun = format!("nmtun{}", std::process::id());
    must(&format!("ip tuntap add {tun} mode tun"));
    let error = error_of(&request(&port(&tun)));
    must(&format!("ip link delete {tun}"));
    assert_eq!(error.errno(), libc::EPROTONOSUPPORT);
    assert!(
        error.to_string().contains("no Ethernet interface"),
        "{error}"
    );

    let name = port(near);
    let mut bad = request(&name);
    bad.process.buf_size = BufSize::Bytes(3000);
    let error = error_of(&bad);
    assert!(error.to_string().contains("netmap-buf-size"), "{error}");
    let mut bad = request(&name);
    bad.process.extra_bufs = 1 << 20;
    let error = error_of(&bad);
    assert_eq!(error.errno(), libc::ENOMEM);

    let opened = open_with(&request(&name)).unwrap();
    let several_bufs = opened.port.takes_several_slots();
    assert_all_free(&close(opened));
    for (mtu, buf_size, opens) in [
        (1774, 2048, true),
        (1775, 2048, several_bufs),
        (3822, 4096, true),
        (3823, 4096, several_bufs),
        (9216, 2048, several_bufs),
        (9217, 4096, false),
    ] {
        must(&format!("ip link set {near} mtu {mtu}"));
        let mut request = request(&name);
        request.process.buf_size = BufSize::Bytes(buf_size);
        let opened = open_with(&request);
        assert_eq!(opened.is_ok(), opens, "{mtu}");
        match opened {
            Ok(opened) => assert_all_free(&close(opened)),
            Err(error) => {
                assert_eq!(error.errno(), libc::EMSGSIZE);
                assert!(error.to_string().contains("lower the MTU to"), "{error}");
            }
        }
    }
    must(&format!("ip link set {near} mtu 1500"));

    let interface = HostInterface::read(near).unwrap();
    let stranger = Redirect::attach(&interface, 1, Fallback::Pass).unwrap();
    let error = error_of(&request(&name));
    assert_eq!(error.errno(), libc::EBUSY);
    assert!(
        error
            .to_string()
            .contains("another XDP program is attached"),
        "{error}"
    );
    drop(stranger);
    assert_all_free(&close(open_with(&request(&name)).unwrap()));
}

#[test]
fn rings_shrink_to_leave_room_for_other_ports() {
    assert_eq!(rx_slots(1, 32768), 2048);
    assert_eq!(rx_slots(3, 32768), 2048);
    assert_eq!(rx_slots(4, 32768), 1024);
    assert_eq!(rx_slots(16, 32768), 256);
    assert_eq!(rx_slots(1, 4096), 512);
    assert_eq!(rx_slots(1000, 4096), MIN_RX_SLOTS);
    assert_eq!(rx_slots(u32::MAX, 4096), MIN_RX_SLOTS);
}

/// Sends the frame in its argument, in hexadecimal, on `in1`.
const SEND: &str = "import socket, sys
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(('in1', 0))
s.send(bytes.fromhex(sys.argv[1]))";

/// A frame from the far end of `veth`, to which a bridge sends it, which keeps its tag beside it: as it
/// comes to the port's ring.
#[allow(unsafe_code)]
fn through_bridge(veth: &Veth, opened: &mut Opened, frame: &[u8]) -> Vec<u8> {
    let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
    let sent = Command::new("ip")
        .args([
            "netns",
            "exec",
            &veth.namespace,
            "python3",
            "-c",
            SEND,
            &hex,
        ])
        .status()
        .unwrap();
    assert!(sent.success());
    let region = Arc::clone(&opened.region);
    let rx = opened.rings[0].rx.as_mut().unwrap();
    let mut found = None;
    wait_for("the frame", || {
        rx.sync().unwrap();
        let mut batch = rx.ring.batch().unwrap();
        while batch.left() > 0 {
            let slot = batch.slot(0);
            let at = region.base_of_idx(BufIdx(slot.buf_idx)).unwrap();
            let mut bytes = vec![0; slot.len as usize];
            // SAFETY: a slot of the ring, whose frame is in its buffer.
            unsafe {
                let data = at.as_ptr().add(slot.ptr as usize);
                std::ptr::copy(data, bytes.as_mut_ptr(), bytes.len());
            }
            if bytes[..12] == frame[..12] {
                found = Some(bytes);
            }
            batch.pass(slot);
        }
        batch.commit();
        found.is_some()
    });
    found.unwrap()
}

#[test]
fn vlan_tags_beside_frames_are_put_back() {
    let Some(_alone) = alone("vlan_tags_beside_frames_are_put_back") else {
        return;
    };
    let veth = Veth::new("10.77.18.1", "");
    for line in [
        "ip link add bridge0 type bridge",
        "ip link add in0 type veth peer name in1",
        "ip link set in0 master bridge0",
        "ip link set far master bridge0",
    ] {
        veth.inside(line);
    }
    for name in ["bridge0", "in0", "in1"] {
        veth.inside(&format!("ip link set {name} up"));
    }
    let mut opened = open_port(&veth.near).unwrap();
    if btf::rx_vlan_tag().is_none() {
        println!("skipped: this kernel does not tell VLAN tags (Linux 6.8 does)");
        close(opened);
        return;
    }
    let frame = |tags: &[u8]| {
        let mut frame = vec![2, 0, 0, 0, 7, 1, 2, 0, 0, 0, 7, 2];
        frame.extend(tags);
        frame.extend([0x88, 0xb5]);
        frame.extend((0..60).collect::<Vec<u8>>());
        frame
    };
    for tags in [
        &[][..],
        &[0x81, 0, 0xe1, 0x23],
        &[0x81, 0, 0, 0],
        &[0x88, 0xa8, 0x0f, 0xfe],
        &[0x88, 0xa8, 0x20, 7, 0x81, 0, 0, 100],
        &[0x81, 0, 0, 1, 0x81, 0, 0, 2],
    ] {
        let frame = frame(tags);
        assert_eq!(
            through_bridge(&veth, &mut opened, &frame),
            frame,
            "{tags:?}"
        );
    }
    assert_all_free(&close(opened));
}
