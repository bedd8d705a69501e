// SPDX-License-Identifier: Apache-2.0
//! Both syncs against a kernel that the test plays: in order, out of order, and hostile.

use std::collections::HashSet;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixDatagram;
use std::sync::Arc;

use netmap_sys::netmap::NS_MOREFRAG;
use proptest::prelude::*;

use super::tx::INVALID;
use super::*;
use crate::clock;
use crate::config::BufSize;
use crate::engine::user_region::{PortBuffers, UserRegion};
use crate::engine::xdp::queue::Desc;
use crate::engine::xdp::queue::fake::{self, Kernel};
use crate::engine::{Direction, HEADROOM, NS_TX_METADATA, OpenRequest, RingSync, TX_METADATA_LEN};
use crate::name::PortName;
use crate::ring::Slot;

const SLOTS: u32 = 8;
const BUF_SIZE: u32 = 2048;

fn buffers() -> PortBuffers {
    let name = PortName::parse("eth0").unwrap();
    let mut request = OpenRequest::small(&name);
    request.process.extra_bufs = 0;
    request.process.region_bufs = 64;
    request.process.buf_size = BufSize::Bytes(BUF_SIZE);
    // Each test has a region of its own.
    UserRegion::get(&request, 32, BUF_SIZE, |_| false)
        .unwrap()
        .port()
        .unwrap()
}

fn frames(buffers: &PortBuffers) -> Frames {
    Frames::new(Arc::clone(buffers.user_region().region()), buffers.owner())
}

fn no_socket() -> Arc<OwnedFd> {
    Arc::new(std::fs::File::open("/dev/null").unwrap().into())
}

struct Rx {
    fill: Kernel<u64>,
    received: Kernel<Desc>,
    sync: RxSync,
    ring: Ring,
    buffers: PortBuffers,
}

impl Rx {
    fn new() -> Rx {
        Rx::with_socket(no_socket())
    }

    fn with_socket(socket: Arc<OwnedFd>) -> Rx {
        Rx::with_backlog(socket, Arc::default())
    }

    fn with_backlog(socket: Arc<OwnedFd>, backlog: Arc<Backlog>) -> Rx {
        let buffers = buffers();
        let ring = buffers.ring(SLOTS, 0, Direction::Rx, HEADROOM).unwrap();
        let (ours_fill, fill) = fake::producer(SLOTS);
        let (ours_rx, received) = fake::consumer(SLOTS);
        let queues = (ours_fill, ours_rx);
        let sync = RxSync::new(&ring, frames(&buffers), queues, socket, backlog);
        Rx {
            fill,
            received,
            sync,
            ring,
            buffers,
        }
    }

    /// The kernel puts a frame into the next posted buffer.
    fn deliver(&self, len: u32) -> u64 {
        let addr = self.fill.take().expect("no buffer posted");
        self.received.give(desc(addr + HEADROOM as u64, len));
        addr
    }

    fn sync(&mut self) -> u32 {
        self.sync.sync(&mut self.ring).unwrap();
        self.ring.batch().unwrap().left()
    }

    fn give_away(&mut self, n: u32) {
        let mut batch = self.ring.batch().unwrap();
        batch.skip(n);
        batch.commit();
    }
}

fn desc(addr: u64, len: u32) -> Desc {
    Desc {
        addr,
        len,
        options: 0,
    }
}

struct Tx {
    sent: Kernel<Desc>,
    completed: Kernel<u64>,
    sync: TxSync,
    ring: Ring,
    buffers: PortBuffers,
}

impl Tx {
    fn new() -> Tx {
        Tx::with_socket(no_socket(), false)
    }

    fn with_socket(socket: Arc<OwnedFd>, zero_copy: bool) -> Tx {
        Tx::with_backlog(socket, zero_copy, Arc::default())
    }

    fn with_backlog(socket: Arc<OwnedFd>, zero_copy: bool, backlog: Arc<Backlog>) -> Tx {
        let buffers = buffers();
        let ring = buffers.ring(SLOTS, 0, Direction::Tx, HEADROOM).unwrap();
        let (ours_tx, sent) = fake::producer(SLOTS);
        let (ours_completion, completed) = fake::consumer(SLOTS);
        let queues = (ours_tx, ours_completion);
        let frames = frames(&buffers);
        let sync = TxSync::new(&ring, frames, queues, socket, zero_copy, backlog);
        Tx {
            sent,
            completed,
            sync,
            ring,
            buffers,
        }
    }

    fn send(&mut self, n: u32, change: impl Fn(&mut Slot)) {
        let mut batch = self.ring.batch().unwrap();
        for _ in 0..n {
            let mut slot = batch.slot(0);
            slot.len = 60;
            change(&mut slot);
            batch.pass(slot);
        }
        batch.commit();
    }

    fn sync(&mut self) -> u32 {
        self.sync.sync(&mut self.ring).unwrap();
        self.ring.batch().unwrap().left()
    }

    /// The buffers of the slots that are the user's.
    fn free(&mut self) -> Vec<u32> {
        let batch = self.ring.batch().unwrap();
        (0..batch.left()).map(|i| batch.slot(i).buf_idx).collect()
    }
}

/// Reading nothing takes a datagram off this socket, which stands for the driver's work.
#[test]
fn each_rxsync_polls_the_driver_if_told_to() {
    let (driver, ours) = UnixDatagram::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut rx = Rx::with_socket(Arc::new(ours.try_clone().unwrap().into()));
    let polled = |rx: &mut Rx| {
        driver.send(b"work").unwrap();
        rx.sync.sync(&mut rx.ring).unwrap();
        ours.recv(&mut [0; 4]).is_err()
    };
    assert!(!polled(&mut rx));
    rx.sync.poll_driver();
    assert!(polled(&mut rx) && polled(&mut rx));
    assert_eq!(rx.sync.counters().wakeup_errors.get(), 0);
}

/// Where a driver asks to be woken after it was polled, too, it is woken without polling.
#[test]
fn a_driver_that_asks_on_is_woken_without_polling() {
    let (driver, ours) = UnixDatagram::pair().unwrap();
    ours.set_nonblocking(true).unwrap();
    let mut rx = Rx::with_socket(Arc::new(ours.try_clone().unwrap().into()));
    rx.sync.poll_driver();
    for (flags, calls) in [(0, 1), (libc::XDP_RING_NEED_WAKEUP, 2)] {
        rx.fill.set_flags(flags);
        for _ in 0..3 {
            driver.send(b"work").unwrap();
        }
        rx.sync.sync(&mut rx.ring).unwrap();
        let left = std::iter::from_fn(|| ours.recv(&mut [0; 4]).ok()).count();
        assert_eq!(left, 3 - calls);
    }
}

/// A call that polled the driver wakes nobody: where that leaves something to do, one without polling
/// follows. Each sends a datagram here, which reaches the driver at once.
#[test]
fn a_driver_that_is_polled_in_vain_is_woken() {
    for zero_copy in [false, true] {
        let (driver, ours) = UnixDatagram::pair().unwrap();
        driver.set_nonblocking(true).unwrap();
        let mut tx = Tx::with_socket(Arc::new(ours.into()), zero_copy);
        tx.sent.set_flags(libc::XDP_RING_NEED_WAKEUP);
        let calls = |tx: &mut Tx, n| {
            tx.send(n, |_| ());
            tx.sync();
            std::iter::from_fn(|| driver.recv(&mut [0; 1]).ok()).count()
        };
        assert_eq!(calls(&mut tx, 1), 1);
        tx.sync.poll_driver();
        assert_eq!(calls(&mut tx, 1), 2);
        // It takes them; with zero copy it is asked about those that it does not complete.
        let taken: Vec<_> = std::iter::from_fn(|| tx.sent.take()).collect();
        assert_eq!(taken.len(), 2);
        assert_eq!(calls(&mut tx, 0), if zero_copy { 2 } else { 0 });
        tx.completed.give(taken[0].addr);
        assert_eq!(calls(&mut tx, 0), usize::from(zero_copy));
        assert_eq!(tx.sync.counters().wakeup_errors.get(), 0);
    }
}

/// What a busy driver left in copy mode is sent by the next rxsync, if no frame comes to be sent; but not
/// when it is old.
#[test]
fn a_backlog_is_sent_by_the_receive_side() {
    for zero_copy in [false, true] {
        let (driver, ours) = UnixDatagram::pair().unwrap();
        driver.set_nonblocking(true).unwrap();
        let socket: Arc<OwnedFd> = Arc::new(ours.into());
        let backlog = Arc::<Backlog>::default();
        let mut tx = Tx::with_backlog(Arc::clone(&socket), zero_copy, Arc::clone(&backlog));
        let mut rx = Rx::with_backlog(socket, Arc::clone(&backlog));
        let calls = || std::iter::from_fn(|| driver.recv(&mut [0; 1]).ok()).count();
        rx.sync();
        assert_eq!(calls(), 0);
        tx.sent.set_flags(libc::XDP_RING_NEED_WAKEUP);
        tx.send(1, |_| ());
        tx.sync();
        assert_eq!((calls(), backlog.is_empty()), (1, zero_copy));
        // The call succeeds, as if all were sent, so there is only one.
        rx.sync();
        rx.sync();
        assert_eq!(calls(), usize::from(!zero_copy));
        tx.sync();
        assert_eq!((calls(), backlog.is_empty()), (1, zero_copy));
        tx.sent.take().unwrap();
        tx.sync();
        assert!(backlog.is_empty());
        calls();
        backlog.set_waiting(clock::rdtsc());
        rx.sync();
        assert_eq!((calls(), backlog.is_empty()), (0, true));
        // What was taken back needs more than one call.
        backlog.set_taken_back(u64::MAX);
        rx.sync();
        rx.sync();
        assert_eq!((calls(), backlog.is_empty()), (2, false));
        backlog.set_taken_back(clock::rdtsc());
        rx.sync();
        assert_eq!((calls(), backlog.is_empty()), (0, true));
    }
}

#[test]
fn received_frames_stand_in_the_next_slots() {
    let mut rx = Rx::new();
    assert_eq!(rx.sync(), 0);
    let addrs = [rx.deliver(60), rx.deliver(1514)];
    assert_eq!(rx.sync(), 2);
    let batch = rx.ring.batch().unwrap();
    for (i, len) in [(0, 60), (1, 1514)] {
        let slot = batch.slot(i);
        assert_eq!(slot.buf_idx as u64 * BUF_SIZE as u64, addrs[i as usize]);
        assert_eq!((slot.len, slot.ptr), (len, HEADROOM as u64));
    }
}

#[test]
fn a_full_receive_ring_keeps_one_slot_and_the_rest_waits() {
    let mut rx = Rx::new();
    (0..SLOTS).for_each(|_| {
        rx.deliver(60);
    });
    assert_eq!(rx.fill.take(), None, "more posted than slots");
    assert_eq!(rx.sync(), SLOTS - 1);
    assert_eq!(rx.sync(), SLOTS - 1);
    rx.give_away(1);
    assert_eq!(rx.sync(), SLOTS - 1, "the one that waited");
    assert!(rx.fill.take().is_some());
    assert_eq!(rx.fill.take(), None);
}

#[test]
fn hostile_descriptors_are_counted_and_skipped() {
    let mut rx = Rx::new();
    let addr = rx.fill.take().unwrap();
    let foreign = 63 * BUF_SIZE as u64;
    for bad in [
        desc(0, 60),
        desc(u64::MAX, 60),
        desc(foreign, 60),
        desc(64 * BUF_SIZE as u64, 60),
        desc(addr + HEADROOM as u64, BUF_SIZE - HEADROOM + 1),
        desc(addr, u32::MAX),
    ] {
        rx.received.give(bad);
    }
    assert_eq!(rx.sync(), 0);
    assert_eq!(rx.sync.counters().bad_descs.get(), 6);
    // Good again after that, and the two buffers that could be told are posted again.
    rx.received
        .give(desc(addr + HEADROOM as u64, BUF_SIZE - HEADROOM));
    assert_eq!(rx.sync(), 1);
    let posted = std::iter::from_fn(|| rx.fill.take())
        .filter(|&a| a == addr)
        .count();
    assert!(posted > 0);
}

#[test]
fn a_slot_with_a_buffer_of_somebody_else_is_not_posted() {
    let mut rx = Rx::new();
    rx.deliver(60);
    while rx.fill.take().is_some() {}
    rx.sync();
    let mut batch = rx.ring.batch().unwrap();
    let slot = Slot {
        buf_idx: 63,
        ..batch.slot(0)
    };
    batch.pass(slot);
    batch.commit();
    rx.sync();
    assert_eq!(rx.sync.counters().bad_slots.get(), 1);
    assert_eq!(rx.fill.take(), None);
}

#[test]
fn a_head_outside_the_window_changes_nothing() {
    let mut rx = Rx::new();
    for head in [1, SLOTS - 1, SLOTS, u32::MAX] {
        rx.ring.set_head(head);
        assert_eq!(rx.sync.sync(&mut rx.ring), Err(libc::EINVAL));
    }
    rx.deliver(60);
    assert_eq!(rx.sync(), 1);

    let mut tx = Tx::new();
    for head in [SLOTS, u32::MAX] {
        tx.ring.set_head(head);
        tx.ring.set_tail(head);
        assert_eq!(tx.sync.sync(&mut tx.ring), Err(libc::EINVAL));
    }
    assert!(tx.sent.take().is_none());
    assert_eq!(tx.sync(), SLOTS - 1);
    tx.send(1, |_| ());
    tx.sync();
    assert!(tx.sent.take().is_some());
}

#[test]
fn completions_in_any_order_refill_the_slots() {
    let mut tx = Tx::new();
    let all: HashSet<u32> = (0..SLOTS).map(|i| tx.ring.slot(i).buf_idx).collect();
    tx.send(SLOTS - 1, |_| ());
    // One buffer more than slots is kept: the next slot gets it, and it goes out too.
    assert_eq!(tx.sync(), 1);
    tx.send(1, |_| ());
    assert_eq!(tx.sync(), 0);
    let mut sent: Vec<Desc> = std::iter::from_fn(|| tx.sent.take()).collect();
    assert_eq!(sent.len() as u32, SLOTS);
    assert!(
        sent.iter()
            .all(|d| d.len == 60 && d.addr % BUF_SIZE as u64 == HEADROOM as u64)
    );
    sent.swap(0, 5);
    sent.reverse();
    for (i, desc) in sent.iter().enumerate() {
        tx.completed.give(desc.addr);
        // One stays behind head.
        assert_eq!(tx.sync() as usize, (i + 1).min(SLOTS as usize - 1));
    }
    let free: HashSet<u32> = tx.free().into_iter().collect();
    assert_eq!(free.len() as u32, SLOTS - 1, "a buffer twice");
    assert!(free.is_subset(&all));
}

#[test]
fn what_cannot_be_sent_comes_back_without_the_kernel() {
    let bad: [fn(&mut Slot); 4] = [
        |s| s.len = 13,
        |s| s.len = u16::MAX,
        |s| s.ptr = BUF_SIZE as u64 - 59,
        |s| s.ptr = u64::MAX,
    ];
    for change in bad {
        let mut tx = Tx::new();
        tx.send(3, change);
        assert_eq!(tx.sync(), SLOTS - 1);
        assert_eq!(tx.sync.counters().bad_slots.get(), 3);
        assert!(tx.sent.take().is_none());
    }
    // A frame up to the last byte is fine.
    let mut tx = Tx::new();
    tx.send(1, |s| s.ptr = BUF_SIZE as u64 - 60);
    tx.sync();
    assert!(tx.sent.take().is_some());
}

#[test]
fn metadata_are_told_to_the_kernel_and_have_room() {
    let mut tx = Tx::new();
    let frames = frames(&tx.buffers).beginning_at(TX_METADATA_LEN);
    tx.sync.frames = frames;
    tx.send(1, |s| s.flags = NS_TX_METADATA);
    tx.send(1, |s| s.ptr = TX_METADATA_LEN as u64);
    tx.send(1, |s| s.ptr = TX_METADATA_LEN as u64 - 1);
    tx.send(1, |s| s.ptr = BUF_SIZE as u64 - 60);
    tx.sync();
    let sent: Vec<_> = std::iter::from_fn(|| tx.sent.take()).collect();
    let options: Vec<_> = sent.iter().map(|desc| desc.options).collect();
    assert_eq!(options, [libc::XDP_TX_METADATA, 0, 0]);
    // Nearer to the start of its buffer, the kernel would refuse it, and its buffer would be lost.
    assert_eq!(tx.sync.counters().bad_slots.get(), 1);
}

#[test]
fn an_empty_slot_is_no_lost_frame() {
    for empty in [
        |s: &mut Slot| s.len = 0,
        |s: &mut Slot| (s.len, s.buf_idx) = (0, 63),
        |s: &mut Slot| (s.len, s.flags) = (0, NS_MOREFRAG),
    ] {
        let mut tx = Tx::new();
        tx.send(1, empty);
        tx.send(1, |_| ());
        tx.sync();
        assert_eq!(tx.sync.counters().bad_slots.get(), 0);
        assert!(tx.sent.take().is_some());
        assert!(tx.sent.take().is_none());
    }
    // Nor does it begin a frame anew, but it can end one.
    let mut tx = Tx::new();
    tx.send(1, |s| s.flags = NS_MOREFRAG);
    tx.send(1, |s| (s.len, s.flags) = (0, NS_MOREFRAG));
    tx.send(1, |_| ());
    tx.sync();
    assert_eq!(tx.sync.counters().bad_slots.get(), 2);
    assert!(tx.sent.take().is_none());
    tx.send(1, |s| s.flags = NS_MOREFRAG);
    tx.send(1, |s| s.len = 0);
    tx.send(1, |_| ());
    tx.sync();
    assert_eq!(tx.sync.counters().bad_slots.get(), 3);
    assert!(tx.sent.take().is_some());
}

#[test]
fn a_frame_over_several_slots_is_not_sent_in_part() {
    let mut tx = Tx::new();
    tx.send(2, |s| s.flags = NS_MOREFRAG);
    assert_eq!(tx.sync(), SLOTS - 1);
    tx.send(2, |s| s.flags = 0);
    tx.sync();
    assert_eq!(tx.sync.counters().bad_slots.get(), 3, "its last slot, too");
    assert!(tx.sent.take().is_some());
    assert!(tx.sent.take().is_none());
    // Whichever of its slots is the bad one.
    let mut tx = Tx::new();
    tx.send(1, |s| (s.buf_idx, s.flags) = (63, NS_MOREFRAG));
    tx.send(1, |_| ());
    tx.sync();
    assert!(tx.sent.take().is_none());
}

/// Descriptors that the kernel has got: lengths, and whether the frame goes on.
fn sent_descs(tx: &Tx) -> Vec<(u32, bool)> {
    let descs = std::iter::from_fn(|| tx.sent.take());
    descs
        .map(|desc| (desc.len, desc.options == libc::XDP_PKT_CONTD))
        .collect()
}

#[test]
fn a_frame_over_several_slots_is_sent_when_it_is_whole() {
    let mut tx = Tx::new();
    tx.ring.set_max_frags(3);
    tx.send(2, |s| {
        (s.len, s.flags) = (2048 - HEADROOM as u16, NS_MOREFRAG)
    });
    tx.sync();
    assert_eq!(sent_descs(&tx), [], "its last slot is not given away");
    tx.send(1, |s| s.len = 1);
    tx.send(1, |_| ());
    tx.sync();
    let first = 2048 - HEADROOM;
    assert_eq!(
        sent_descs(&tx),
        [(first, true), (first, true), (1, false), (60, false)]
    );
    assert_eq!(tx.sync.counters().bad_slots.get(), 0);
}

#[test]
fn a_frame_over_several_slots_with_a_bad_one_is_not_sent_at_all() {
    for bad in 0..3 {
        let damages: [fn(&mut Slot); 4] = [
            |s| s.buf_idx = 63,
            |s| s.len = 0,
            |s| s.len = 2049,
            |s| s.ptr = 2048,
        ];
        for damage in damages {
            let mut tx = Tx::new();
            tx.ring.set_max_frags(3);
            for i in 0..3 {
                tx.send(1, |s| {
                    s.flags = if i < 2 { NS_MOREFRAG } else { 0 };
                    if i == bad {
                        damage(s);
                    }
                });
            }
            tx.send(1, |s| s.len = 77);
            let empty_first = tx.ring.slot(0).len == 0;
            tx.sync();
            let mut sent = sent_descs(&tx);
            if empty_first {
                // An empty slot begins no frame: the next one does.
                assert_eq!(
                    sent.drain(..2).collect::<Vec<_>>(),
                    [(60, true), (60, false)]
                );
            }
            assert_eq!(sent, [(77, false)], "slot {bad}");
        }
    }
    // In more slots than the port takes.
    let mut tx = Tx::new();
    tx.ring.set_max_frags(3);
    tx.send(3, |s| s.flags = NS_MOREFRAG);
    tx.send(1, |_| ());
    tx.send(1, |s| s.len = 77);
    tx.sync();
    assert_eq!(sent_descs(&tx), [(77, false)]);
    assert_eq!(tx.sync.counters().bad_slots.get(), 4);
    // All buffers are there again.
    assert_eq!(tx.sync(), SLOTS - 1);
}

#[test]
fn received_frames_over_several_buffers_have_more_than_one_slot() {
    let mut rx = Rx::new();
    let deliver = |rx: &Rx, len, more| {
        let addr = rx.fill.take().expect("no buffer posted");
        rx.received.give(Desc {
            addr: addr + HEADROOM as u64,
            len,
            options: if more { libc::XDP_PKT_CONTD } else { 0 },
        });
    };
    deliver(&rx, 1792, true);
    deliver(&rx, 8, false);
    deliver(&rx, 60, false);
    assert_eq!(rx.sync(), 3);
    let batch = rx.ring.batch().unwrap();
    let slots = [0, 1, 2].map(|i| (batch.slot(i).len, batch.slot(i).flags));
    assert_eq!(slots, [(1792, NS_MOREFRAG), (8, 0), (60, 0)]);
    rx.give_away(3);

    // One that lacks a part has a length that no frame has.
    deliver(&rx, 1792, true);
    rx.received.give(desc(u64::MAX, 60));
    assert_eq!(rx.sync(), 1);
    assert_eq!(rx.ring.batch().unwrap().slot(0).len, u16::MAX);
    assert_eq!(rx.sync.counters().bad_descs.get(), 1);
}

#[test]
fn a_buffer_of_somebody_else_is_neither_sent_nor_completed() {
    let mut tx = Tx::new();
    tx.send(1, |s| s.buf_idx = 63);
    tx.sync();
    assert!(tx.sent.take().is_none());
    // The last one is no buffer: it is what was revoked.
    for addr in [0, u64::MAX - 1, 63 * BUF_SIZE as u64, INVALID.addr] {
        tx.completed.give(addr);
    }
    tx.sync();
    assert_eq!(tx.sync.counters().bad_completions.get(), 3);
    assert_eq!(tx.sync.counters().bad_slots.get(), 1);
    // Twice the same completion: no more buffers than slots.
    let known = tx.free()[0] as u64 * BUF_SIZE as u64;
    for _ in 0..10 {
        (0..SLOTS).for_each(|_| tx.completed.give(known));
        assert!(tx.sync() < SLOTS);
    }
}

#[test]
fn a_failing_wakeup_is_counted_and_the_frame_stays() {
    let mut tx = Tx::new();
    tx.sent.set_flags(libc::XDP_RING_NEED_WAKEUP);
    tx.send(1, |_| ());
    tx.sync();
    tx.sync();
    // `no_socket` is none. The second sync tried again.
    assert_eq!(tx.sync.counters().wakeup_errors.get(), 2);
    assert!(tx.sent.take().is_some());
    tx.sync();
    assert_eq!(tx.sync.counters().wakeup_errors.get(), 2);
}

/// A step of either side.
#[derive(Debug, Clone)]
enum Step {
    /// The user gives away so many slots.
    Give(u32),
    /// The kernel handles so many frames, from this position of those it has.
    Kernel(u32, usize),
    Sync,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        (0..SLOTS).prop_map(Step::Give),
        (0..SLOTS, any::<usize>()).prop_map(|(n, at)| Step::Kernel(n, at)),
        Just(Step::Sync),
    ];
    prop::collection::vec(step, 1..200)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// Whatever happens in whatever order: each buffer is in exactly one place.
    #[test]
    fn receive_conserves_buffers(steps in steps()) {
        let mut rx = Rx::new();
        let all: HashSet<u32> = rx.buffers.user_region().region()
            .owned_by(rx.buffers.owner()).iter().map(|i| i.0).collect();
        // What the kernel holds, and what it has put into the receive ring.
        let (mut held, mut given) = (Vec::new(), Vec::new());
        for step in steps {
            match step {
                Step::Give(n) => {
                    let n = n.min(rx.ring.batch().unwrap().left());
                    rx.give_away(n);
                }
                Step::Kernel(n, at) => {
                    held.extend(std::iter::from_fn(|| rx.fill.take()));
                    for _ in 0..(n as usize).min(held.len()) {
                        let addr = held.swap_remove(at % held.len());
                        rx.received.give(desc(addr + 300, 100));
                        given.push(addr);
                    }
                }
                Step::Sync => {
                    let before = rx.ring.tail();
                    rx.sync();
                    let new = rx.ring.distance(before, rx.ring.tail());
                    for i in 0..new {
                        let slot = rx.ring.slot(rx.ring.advance(before, i));
                        let addr = slot.buf_idx as u64 * BUF_SIZE as u64;
                        prop_assert_eq!(given.remove(0), addr);
                    }
                    held.extend(std::iter::from_fn(|| rx.fill.take()));
                    let mut seen: HashSet<u32> = HashSet::new();
                    let kernel = held.iter().chain(&given).map(|a| (a / BUF_SIZE as u64) as u32);
                    for idx in kernel {
                        prop_assert!(seen.insert(idx), "buffer {} twice", idx);
                    }
                    let batch = rx.ring.batch().unwrap();
                    for i in 0..batch.left() {
                        prop_assert!(seen.insert(batch.slot(i).buf_idx), "slot's buffer twice");
                    }
                    prop_assert_eq!(&seen, &all);
                }
            }
        }
    }

    #[test]
    fn transmit_conserves_buffers(steps in steps()) {
        let mut tx = Tx::new();
        let all: HashSet<u32> = tx.buffers.user_region().region()
            .owned_by(tx.buffers.owner()).iter().map(|i| i.0).collect();
        let mut held: Vec<u64> = Vec::new();
        for step in steps {
            match step {
                Step::Give(n) => {
                    let n = n.min(tx.ring.batch().unwrap().left());
                    tx.send(n, |s| s.len = 60 + (n % 2 * 60000) as u16);
                }
                Step::Kernel(n, at) => {
                    held.extend(std::iter::from_fn(|| tx.sent.take()).map(|d| d.addr));
                    for _ in 0..(n as usize).min(held.len()) {
                        tx.completed.give(held.swap_remove(at % held.len()));
                    }
                }
                Step::Sync => {
                    tx.sync();
                    held.extend(std::iter::from_fn(|| tx.sent.take()).map(|d| d.addr));
                    let mut seen: HashSet<u32> = HashSet::new();
                    let kernel = held.iter().map(|a| (a / BUF_SIZE as u64) as u32);
                    let done: Vec<u32> = tx.sync.done.iter().map(|idx| idx.0).collect();
                    for idx in kernel.chain(done).chain(tx.free()) {
                        prop_assert!(seen.insert(idx), "buffer {} twice", idx);
                    }
                    prop_assert_eq!(&seen, &all);
                }
            }
        }
    }
}
