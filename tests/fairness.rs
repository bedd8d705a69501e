// SPDX-License-Identifier: Apache-2.0
//! No thread starves because others keep packets for themselves: few packets, many threads, and threads
//! that have nothing to do.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex};
use std::time::{Duration, Instant};

use ovs_netmap::test_utils::config::{self, Config, PortConfig};
use ovs_netmap::test_utils::fake_ovs;
use ovs_netmap::test_utils::pool;
use ovs_netmap::test_utils::port::{Port, surrender};
use ovs_netmap::test_utils::show::show;

/// The configuration is the process's.
static TURN: Mutex<()> = Mutex::new(());

/// How long a thread may have to wait on a busy machine. It is not what is tested: a thread that
/// starves waits for ever.
const LIMIT: Duration = Duration::from_secs(120);

fn open(name: &str, n_rxq: u32, extra_bufs: u32) -> Port {
    config::set(Config {
        extra_bufs,
        ..Config::DEFAULT
    });
    Port::open(&PortConfig {
        n_rxq,
        rxsync_interval_us: Some(0),
        ..PortConfig::new(name, fake_ovs::layout())
    })
    .unwrap_or_else(|e| panic!("{e}"))
}

/// Receives a burst on queue `i` and frees it. Returns how many.
#[allow(unsafe_code)]
fn poll(port: &Port, i: usize) -> usize {
    // SAFETY: each thread has a queue of its own.
    let packets = unsafe { port.rxqs()[i].assume_unshared(|queue| fake_ovs::recv(queue, 32)) };
    let n = packets.len();
    free(packets);
    n
}

#[allow(unsafe_code)]
fn free(packets: Vec<*mut std::ffi::c_void>) {
    for packet in packets {
        // SAFETY: received, and freed once.
        assert!(unsafe { pool::free_raw(packet) });
    }
}

/// One thread a queue, all at once, until each has received some bursts. Nobody ends before: a thread
/// that does gives its packets back.
fn all_receive(name: &str, threads: usize, extra_bufs: u32) {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let port = open(name, threads as u32, extra_bufs);
    let start = Barrier::new(threads);
    let still = AtomicUsize::new(threads);
    let deadline = Instant::now() + LIMIT;
    let received: Vec<_> = std::thread::scope(|scope| {
        let work = |i| {
            let (port, start, still) = (&port, &start, &still);
            move || {
                fake_ovs::pool_of(port).attach_thread();
                if i == 0 {
                    // It has taken what it can keep before the others come.
                    (0..100).for_each(|_| _ = poll(port, i));
                }
                start.wait();
                let (mut bursts, mut done) = (0, false);
                while still.load(Ordering::Relaxed) > 0 && Instant::now() < deadline {
                    bursts += (poll(port, i) > 0) as usize;
                    if bursts >= 20 && !done {
                        done = true;
                        still.fetch_sub(1, Ordering::Relaxed);
                    }
                    // Others have the processor, too.
                    std::thread::yield_now();
                }
                bursts
            }
        };
        let threads: Vec<_> = (0..threads).map(|i| scope.spawn(work(i))).collect();
        let ended = threads.into_iter().map(|thread| thread.join().unwrap());
        ended.collect()
    });
    let starved = received.iter().filter(|&&bursts| bursts < 20).count();
    assert_eq!(starved, 0, "of {} threads: {received:?}", received.len());
    let text = show();
    assert!(text.contains(" cached=0 in_flight=0 "), "{text}");
    assert!(!text.contains("UNBALANCED"), "{text}");
}

#[test]
fn two_queues_and_64_packets() {
    all_receive("null:0", 2, 64);
}

#[test]
fn forty_queues_and_the_default() {
    all_receive("null:0", 40, Config::DEFAULT.extra_bufs);
}

#[test]
fn sixty_four_threads_and_the_fewest_packets() {
    all_receive("null:0", 64, 32);
}

#[test]
fn sixty_four_threads_and_the_default() {
    all_receive("null:0", 64, Config::DEFAULT.extra_bufs);
}

/// A thread that has cached all packets, and whose own port has nothing to receive any more.
#[test]
fn an_idle_thread_gives_back_what_others_lack() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let busy = open("null:0", 1, 32);
    let idle = open("netmap:idle{1", 1, 32);
    assert_eq!(fake_ovs::pool_of(&busy).id(), fake_ovs::pool_of(&idle).id());
    let (cached, done) = (Barrier::new(2), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let (idle, cached, done) = (&idle, &cached, &done);
        let all = fake_ovs::pool_of(idle).census().total;
        scope.spawn(move || {
            let pool = fake_ovs::pool_of(idle);
            pool.attach_thread();
            let mut room = vec![std::mem::MaybeUninit::uninit(); all];
            let mut burst = ovs_netmap::test_utils::burst::RxBurst::new(pool, &mut room);
            assert_eq!(burst.fill(all), all);
            // Put back, into the cache.
            drop(burst);
            assert_eq!(pool.census().cached, all);
            cached.wait();
            while !done.load(Ordering::Relaxed) {
                assert_eq!(poll(idle, 0), 0);
                std::thread::yield_now();
            }
        });
        fake_ovs::pool_of(&busy).attach_thread();
        cached.wait();
        let deadline = Instant::now() + LIMIT;
        let mut received = 0;
        while received < 1000 && Instant::now() < deadline {
            received += poll(&busy, 0);
            std::thread::yield_now();
        }
        done.store(true, Ordering::Relaxed);
        assert!(received >= 1000, "{received} packets; {}", show());
    });
    pool::flush_thread();
}

/// Before the process ends, the threads that poll give back what they have.
#[test]
fn all_buffers_come_back_before_the_process_ends() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let port = open("null:0", 3, 512);
    let (start, stop) = (Barrier::new(4), AtomicBool::new(false));
    let census = std::thread::scope(|scope| {
        for i in 0..3 {
            let (port, start, stop) = (&port, &start, &stop);
            scope.spawn(move || {
                fake_ovs::pool_of(port).attach_thread();
                assert!((0..1000).any(|_| poll(port, i) > 0));
                start.wait();
                while !stop.load(Ordering::Relaxed) {
                    poll(port, i);
                    std::thread::yield_now();
                }
            });
        }
        start.wait();
        // On a busy machine a thread may not have run in time.
        let deadline = Instant::now() + LIMIT;
        let census = loop {
            surrender();
            let census = fake_ovs::pool_of(&port).census();
            if census.total == 0 || Instant::now() > deadline {
                break census;
            }
        };
        stop.store(true, Ordering::Relaxed);
        census
    });
    assert_eq!((census.total, census.cached, census.in_flight), (0, 0, 0));
}

/// Packets of a region are back in the depot, which is gone with its ports, also when they came back
/// to a thread that may keep none.
#[test]
fn the_last_packet_comes_back_to_a_thread_that_may_keep_none() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let port = Arc::new(open("null:0", 1, 32));
    let stop = Barrier::new(33);
    std::thread::scope(|scope| {
        // With so many caches, each may keep 0 of 32 packets once the depot was dry.
        for _ in 0..32 {
            let (port, stop) = (Arc::clone(&port), &stop);
            scope.spawn(move || {
                fake_ovs::pool_of(&port).attach_thread();
                drop(port);
                stop.wait();
                stop.wait();
            });
        }
        stop.wait();
        fake_ovs::pool_of(&port).attach_thread();
        #[allow(unsafe_code)]
        // SAFETY: this thread alone polls.
        let mut held = unsafe { port.rxqs()[0].assume_unshared(|queue| fake_ovs::recv(queue, 32)) };
        let received = (held.len(), poll(&port, 0));
        let last = held.split_off(31);
        free(held);
        let cached = fake_ovs::pool_of(&port).census().cached;
        drop(Arc::into_inner(port).expect("the last one"));
        let before = pool::pools().len();
        free(last);
        let after = pool::pools().len();
        // Nothing is asserted while others wait.
        stop.wait();
        assert_eq!((received, cached, before, after), ((32, 0), 0, 1, 0));
    });
    pool::flush_thread();
}
