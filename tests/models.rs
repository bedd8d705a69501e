// SPDX-License-Identifier: Apache-2.0
//! Models of what threads do to a pool at the same time, run through many interleavings by
//! [shuttle](https://docs.rs/shuttle): `scripts/check-models.sh`. Without `--cfg shuttle` this file is
//! empty.
//!
//! A model plays OVS and the kernel. It knows where each buffer is, from outside of the pool: with a
//! port (the kernel), with OVS, or in between; and no packet or buffer may be in two hands.
//! Magazines hold two packets here, so that they change hands every few operations.
#![cfg(shuttle)]

use std::collections::BTreeSet;
use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use ovs_netmap::test_utils::burst::RxBurst;
use ovs_netmap::test_utils::fake_ovs;
use ovs_netmap::test_utils::index::{BufIdx, OwnedBuf, Owner};
use ovs_netmap::test_utils::pool::{self, Frame, Packet, Pool};
use ovs_netmap::test_utils::region::{Backing, Region, RegionKind};
use shuttle::scheduler::{DfsScheduler, PctScheduler, RandomScheduler};
use shuttle::sync::mpsc;
use shuttle::{Config, Runner, thread};

/// Runs of each larger model: at random, and with few changes of thread at random places
/// (S. Burckhardt et al., "A Randomized Scheduler with Probabilistic Guarantees of Finding Bugs",
/// ASPLOS 2010). `MODEL_RUNS` replaces it.
const RUNS: usize = 20_000;

/// Changes of thread in those.
const DEPTH: usize = 3;

const BUF_SIZE: usize = 64;

/// More runs than the smaller models have interleavings.
const ALL: usize = 500_000;

fn config() -> Config {
    let mut config = Config::new();
    config.stack_size = 1 << 20;
    // That statics are dropped after each run is what we want.
    config.silence_warnings = true;
    config
}

/// Runs `model` many times.
fn explore(model: fn()) {
    let runs = std::env::var("MODEL_RUNS").map_or(RUNS, |n| n.parse().expect("a number"));
    Runner::new(RandomScheduler::new(runs), config()).run(model);
    Runner::new(PctScheduler::new(DEPTH, runs), config()).run(model);
}

/// Runs `model` through all its interleavings.
fn exhaust(model: fn()) {
    let runs = Runner::new(DfsScheduler::new(Some(ALL), false), config()).run(model);
    assert!(runs < ALL, "the model is too large");
    println!("{runs} interleavings, which are all");
}

/// What the kernel knows of a region.
#[derive(Default)]
struct Kernel {
    /// Buffers that ports brought and have not given back.
    lent: Mutex<BTreeSet<u32>>,
    /// Buffers in the hands of OVS.
    held: Mutex<BTreeSet<u32>>,
    /// How often the region gave its last buffers back.
    drained: AtomicUsize,
    unmapped: AtomicBool,
}

impl Kernel {
    fn lend(&self, idx: BufIdx) {
        let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(lent.insert(idx.0), "buffer {} was lent twice", idx.0);
    }

    fn get_back(&self, idx: BufIdx) {
        let mut lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(lent.remove(&idx.0), "buffer {} came back twice", idx.0);
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        assert!(!held.contains(&idx.0), "OVS still has buffer {}", idx.0);
    }

    fn lent(&self) -> usize {
        let lent = self.lent.lock().unwrap_or_else(PoisonError::into_inner);
        lent.len()
    }

    fn assert_gone(&self) {
        assert_eq!(self.lent(), 0, "buffers are lost");
        assert!(pool::pools().is_empty(), "the pool is still listed");
        let unmapped = self.unmapped.load(Ordering::Relaxed);
        assert!(unmapped, "the region is still mapped");
    }
}

/// Keeps a region's memory, and tells the kernel.
struct Memory {
    bytes: Vec<u8>,
    kernel: Arc<Kernel>,
}

impl Backing for Memory {
    fn give_back(&self, bufs: Vec<OwnedBuf>) {
        self.kernel.drained.fetch_add(1, Ordering::Relaxed);
        for buf in bufs {
            self.kernel.get_back(buf.idx());
        }
    }

    fn kind(&self) -> RegionKind {
        RegionKind::Userspace
    }

    fn unassigned(&self) -> Option<u32> {
        None
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        assert!(!self.bytes.is_empty());
        if !std::thread::panicking() {
            assert_eq!(self.kernel.lent(), 0, "unmapped with buffers out");
            self.kernel.unmapped.store(true, Ordering::Relaxed);
        }
    }
}

/// A region of `n` buffers that ports can bring.
#[allow(unsafe_code)]
fn region(n: u32) -> (Arc<Region>, Arc<Kernel>) {
    let kernel = Arc::new(Kernel::default());
    let n_bufs = BufIdx::FIRST_VALID + n;
    let mut bytes = vec![0; n_bufs as usize * BUF_SIZE];
    let base = NonNull::new(bytes.as_mut_ptr()).expect("a vector");
    let memory = Memory {
        bytes,
        kernel: Arc::clone(&kernel),
    };
    // SAFETY: the bytes live in the backing, which nobody else touches.
    let region = unsafe { Region::new(base, BUF_SIZE as u32, n_bufs, Box::new(memory)) };
    (Arc::new(region), kernel)
}

/// A port without rings.
struct Port {
    pool: Arc<Pool>,
    kernel: Arc<Kernel>,
    brought: usize,
}

impl Port {
    /// A port that brings the buffers `first..first + n` of those it can bring.
    fn open(region: &Arc<Region>, kernel: &Arc<Kernel>, first: u32, n: u32) -> Port {
        let pool = Pool::of(region, fake_ovs::layout()).expect("a place in the table");
        let idxs = (first..first + n).map(|i| BufIdx(BufIdx::FIRST_VALID + i));
        let bufs: Vec<_> = idxs
            .map(|idx| {
                kernel.lend(idx);
                region.claim(idx, Owner::OUTSIDE).expect("a free buffer")
            })
            .collect();
        pool.port_opened(bufs);
        Port {
            pool,
            kernel: Arc::clone(kernel),
            brought: n as usize,
        }
    }

    fn close(self) {
        for buf in self.pool.port_closed(self.brought) {
            let idx = self.pool.region().release(buf, Owner::OUTSIDE);
            self.kernel.get_back(idx);
        }
        self.pool.retire();
    }

    fn user(&self) -> User {
        User {
            pool: Arc::clone(&self.pool),
            kernel: Arc::clone(&self.kernel),
            held: Vec::new(),
        }
    }
}

/// A thread of OVS.
struct User {
    pool: Arc<Pool>,
    kernel: Arc<Kernel>,
    held: Vec<InHand>,
}

/// A packet in the hands of OVS.
struct InHand {
    packet: *mut c_void,
    kernel: Arc<Kernel>,
}

// SAFETY: a packet in flight belongs to whoever has it.
#[allow(unsafe_code)]
unsafe impl Send for InHand {}

impl User {
    /// Takes `n` packets, or as many as there are.
    fn take(&mut self, n: usize) -> usize {
        let mut array = vec![MaybeUninit::uninit(); n];
        let mut burst = RxBurst::new(&self.pool, &mut array);
        let ready = burst.fill(n);
        let frame = Frame {
            base: std::ptr::null_mut(),
            allocated: 0,
            data_ofs: 0,
            size: 0,
        };
        burst.ready().for_each(|packet| packet.hand_out(frame));
        burst.handed_out(ready);
        drop(burst);
        for packet in &array[..ready] {
            // SAFETY: these were given.
            #[allow(unsafe_code)]
            let packet = unsafe { packet.assume_init() };
            self.held.push(InHand::new(packet, &self.kernel));
        }
        ready
    }

    fn free(&mut self, n: usize) {
        for packet in self.held.drain(..n.min(self.held.len())) {
            packet.free();
        }
    }

    fn give(&mut self) -> Vec<InHand> {
        std::mem::take(&mut self.held)
    }
}

#[allow(unsafe_code)]
impl InHand {
    fn new(packet: *mut c_void, kernel: &Arc<Kernel>) -> InHand {
        let hand = InHand {
            packet,
            kernel: Arc::clone(kernel),
        };
        let mut held = kernel.held.lock().unwrap_or_else(PoisonError::into_inner);
        let idx = hand.buf();
        assert!(held.insert(idx), "buffer {idx} is in two packets");
        drop(held);
        hand
    }

    fn buf(&self) -> u32 {
        // SAFETY: this value stands for the packet in flight.
        let buf = unsafe { Packet::buf_in_flight(self.packet) };
        buf.expect("a packet").0
    }

    fn free(self) {
        let idx = self.buf();
        let unmapped = self.kernel.unmapped.load(Ordering::Relaxed);
        assert!(!unmapped, "unmapped under a packet");
        let mut held = self
            .kernel
            .held
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        assert!(held.remove(&idx));
        drop(held);
        // SAFETY: a packet in flight that nobody else has.
        let freed = unsafe { pool::free_raw(self.packet) };
        assert!(freed, "freed twice");
    }
}

fn free_all(packets: Vec<InHand>) {
    packets.into_iter().for_each(InHand::free);
}

/// Every packet is back in the depot, with a buffer of its own.
fn assert_all_back(port: &Port, total: usize) {
    let census = port.pool.census();
    assert_eq!((census.total, census.free), (total, total), "{census:?}");
    assert_eq!((census.cached, census.in_flight), (0, 0), "{census:?}");
    let mut all = port.user();
    assert_eq!(all.take(total + 1), total);
    let held: BTreeSet<_> = all.held.iter().map(InHand::buf).collect();
    assert_eq!(held.len(), total);
    all.free(total);
}

/// Threads with caches go up and down at different strides: every one of them exchanges magazines,
/// full, empty and half full, with the depot and so with the others.
fn exchange() {
    let (region, kernel) = region(9);
    let port = Port::open(&region, &kernel, 0, 9);
    drop(region);
    let threads = [(3, 1), (5, 5), (2, 2)].map(|(up, down)| {
        let mut user = port.user();
        thread::spawn(move || {
            user.pool.attach_thread();
            for _ in 0..3 {
                user.take(up);
                user.free(down);
            }
            user.free(usize::MAX);
        })
    });
    for thread in threads {
        thread.join().unwrap();
    }
    assert_all_back(&port, 9);
    port.close();
    kernel.assert_gone();
}

/// One thread receives, another one frees: full magazines go one way, empty ones the other. Threads
/// without a cache (a revalidator, say) take and free in between.
fn pass_on() {
    let (region, kernel) = region(7);
    let port = Port::open(&region, &kernel, 0, 7);
    drop(region);
    let (sender, receiver) = mpsc::channel();
    let mut rx = port.user();
    let producer = thread::spawn(move || {
        rx.pool.attach_thread();
        for _ in 0..3 {
            rx.take(3);
            sender.send(rx.give()).unwrap();
        }
    });
    let tx = port.user();
    let consumer = thread::spawn(move || {
        tx.pool.attach_thread();
        receiver.into_iter().for_each(free_all);
    });
    let mut other = port.user();
    other.take(2);
    other.free(1);
    other.take(1);
    other.free(usize::MAX);
    producer.join().unwrap();
    consumer.join().unwrap();
    drop(other);
    assert_all_back(&port, 7);
    port.close();
    kernel.assert_gone();
}

/// A thread gives its cache back, and makes a new one, while others take and free. Once it has,
/// everything is there for the others.
fn flush() {
    let (region, kernel) = region(6);
    let port = Port::open(&region, &kernel, 0, 6);
    drop(region);
    let mut user = port.user();
    let flusher = thread::spawn(move || {
        for _ in 0..2 {
            user.pool.attach_thread();
            user.take(4);
            user.free(usize::MAX);
            pool::flush_thread();
        }
        user
    });
    let mut user = port.user();
    let taker = thread::spawn(move || {
        user.pool.attach_thread();
        user.take(3);
        user.free(2);
        user.take(1);
        user.free(usize::MAX);
        pool::flush_thread();
        user
    });
    let mut other = port.user();
    other.take(2);
    other.free(usize::MAX);
    // The threads have not ended by themselves yet: it is the flush that brought the packets back.
    let users = (flusher.join().unwrap(), taker.join().unwrap());
    drop((users, other));
    assert_all_back(&port, 6);
    port.close();
    kernel.assert_gone();
}

/// The last port closes while packets come back from threads with and without a cache, and while a
/// thread ends with packets in its cache: the region goes once, with the last of them.
fn drain() {
    let (region, kernel) = region(7);
    let port = Port::open(&region, &kernel, 0, 7);
    drop(region);
    let mut hands = port.user();
    hands.take(5);
    let mut packets = hands.give();
    drop(hands);
    let (first, second) = (packets.split_off(3), packets.split_off(2));

    let mut user = port.user();
    let cached = thread::spawn(move || {
        user.pool.attach_thread();
        user.take(1);
        free_all(packets);
        user.free(usize::MAX);
        // OVS stops to poll a port before it closes it; packets come later still.
        drop(user);
        free_all(second);
        // What is in the cache goes back as the thread ends.
    });
    let loose = thread::spawn(move || free_all(first));
    port.close();
    cached.join().unwrap();
    loose.join().unwrap();
    kernel.assert_gone();
    let drained = kernel.drained.load(Ordering::Relaxed);
    assert_eq!(drained, 1, "retired once");
}

/// The same, so small that all interleavings can be tried: while the last port closes, a thread frees
/// a packet, gets a cache, frees the last packet, and ends.
fn drain_small() {
    let (region, kernel) = region(2);
    let port = Port::open(&region, &kernel, 0, 2);
    drop(region);
    let mut hands = port.user();
    hands.take(2);
    let mut packets = hands.give();
    let last = packets.split_off(1);
    let cached = thread::spawn(move || {
        free_all(packets);
        hands.pool.attach_thread();
        drop(hands);
        free_all(last);
    });
    port.close();
    cached.join().unwrap();
    kernel.assert_gone();
    let drained = kernel.drained.load(Ordering::Relaxed);
    assert_eq!(drained, 1, "retired once");
}

/// Two ports of a region: the first closes while its buffers are out, the second pays its debt. The
/// second one's packets are not touched by the first one's close.
fn owe() {
    let (region, kernel) = region(6);
    let one = Port::open(&region, &kernel, 0, 3);
    let two = Port::open(&region, &kernel, 3, 3);
    drop(region);
    let mut user = two.user();
    user.take(5);
    let mut packets = user.give();
    drop(user);
    let rest = packets.split_off(2);
    let early = thread::spawn(move || free_all(packets));
    let late = thread::spawn(move || free_all(rest));
    one.close();
    two.close();
    early.join().unwrap();
    late.join().unwrap();
    kernel.assert_gone();
}

/// A port is opened in a region whose last port closed, while the last packet of that comes back. The
/// pool is either the old one or a new one, and works either way.
fn join_while_draining() {
    let (region, kernel) = region(6);
    let one = Port::open(&region, &kernel, 0, 3);
    let mut user = one.user();
    user.take(2);
    let packets = user.give();
    drop(user);
    one.close();
    let last = thread::spawn(move || free_all(packets));
    let two = Port::open(&region, &kernel, 3, 3);
    drop(region);
    let mut user = two.user();
    let n = user.take(2);
    assert_eq!(n, 2);
    let packets = user.give();
    drop(user);
    last.join().unwrap();
    two.close();
    assert_ne!(kernel.lent(), 0);
    free_all(packets);
    kernel.assert_gone();
}

/// A region goes and another takes its place in the table, while a thread still has an empty cache of
/// the first.
fn take_its_place() {
    let (old, old_kernel) = region(2);
    let (new, new_kernel) = region(2);
    let one = Port::open(&old, &old_kernel, 0, 2);
    drop(old);
    let mut user = one.user();
    let (sender, receiver) = mpsc::channel::<(User, Vec<InHand>)>();
    let stale = thread::spawn(move || {
        user.pool.attach_thread();
        user.take(2);
        let packets = user.give();
        drop(user);
        // Somebody else frees them, so the cache here stays, empty.
        let other = thread::spawn(move || free_all(packets));
        for (mut user, packets) in receiver {
            free_all(packets);
            user.pool.attach_thread();
            user.take(2);
            user.free(usize::MAX);
        }
        other.join().unwrap();
    });
    one.close();
    let two = Port::open(&new, &new_kernel, 0, 2);
    drop(new);
    let mut user = two.user();
    user.take(1);
    let packets = user.give();
    sender.send((user, packets)).unwrap();
    drop(sender);
    stale.join().unwrap();
    assert_all_back(&two, 2);
    two.close();
    old_kernel.assert_gone();
    new_kernel.assert_gone();
}

/// One thread has cached everything and polls a queue with nothing in it; others want packets, and
/// free them one by one. Each of them gets some, whatever the order, and all are back in the end.
fn nobody_starves() {
    let (region, kernel) = region(5);
    let port = Port::open(&region, &kernel, 0, 5);
    drop(region);
    let waiting = Arc::new(AtomicUsize::new(2));
    let (cached, ready) = mpsc::channel();
    let mut idle = port.user();
    let hoarder = {
        let waiting = Arc::clone(&waiting);
        thread::spawn(move || {
            idle.pool.attach_thread();
            idle.take(4);
            idle.free(usize::MAX);
            cached.send(()).unwrap();
            while waiting.load(Ordering::Relaxed) > 0 {
                idle.pool.trim_cache();
                thread::yield_now();
            }
        })
    };
    ready.recv().unwrap();
    let others = [(); 2].map(|()| {
        let (mut user, waiting) = (port.user(), Arc::clone(&waiting));
        thread::spawn(move || {
            user.pool.attach_thread();
            for _ in 0..2 {
                while user.take(2) == 0 {
                    thread::yield_now();
                }
                user.free(1);
                user.free(usize::MAX);
            }
            waiting.fetch_sub(1, Ordering::Relaxed);
            // Keeps its cache until all have had some.
            while waiting.load(Ordering::Relaxed) > 0 {
                user.pool.trim_cache();
                thread::yield_now();
            }
        })
    });
    hoarder.join().unwrap();
    for thread in others {
        thread.join().unwrap();
    }
    assert_all_back(&port, 5);
    port.close();
    kernel.assert_gone();
}

/// The same index stands in two rings, whose threads find it at the same time: one of them gets it,
/// and gives another buffer for it.
fn claim_once() {
    let (region, kernel) = region(3);
    let threads = [1, 2].map(|mine| {
        let region = Arc::clone(&region);
        thread::spawn(move || {
            let mine = region.claim(BufIdx(BufIdx::FIRST_VALID + mine), Owner::OUTSIDE);
            let claimed = region.claim(BufIdx(BufIdx::FIRST_VALID), Owner::OUTSIDE);
            if claimed.is_some() {
                region.release(mine.expect("nobody else's"), Owner::OUTSIDE);
            }
            claimed.is_some()
        })
    });
    let got = threads.map(|thread| thread.join().unwrap());
    assert_eq!(got.iter().filter(|&&got| got).count(), 1, "{got:?}");
    assert_eq!(region.owned_by(Owner::PACKET).len(), 2);
    drop((region, kernel));
}

macro_rules! models {
    ($($test:ident => $how:ident $model:ident,)*) => {
        $(
            #[test]
            fn $test() {
                $how($model);
            }
        )*
    };
}

models! {
    threads_exchange_magazines => explore exchange,
    packets_change_threads => explore pass_on,
    a_cache_is_flushed_while_others_take => explore flush,
    a_region_drains => explore drain,
    a_small_region_drains => exhaust drain_small,
    a_region_owes_buffers => explore owe,
    a_region_is_joined_while_it_drains => exhaust join_while_draining,
    an_index_in_two_rings_is_claimed_once => exhaust claim_once,
    no_thread_starves => explore nobody_starves,
    a_region_takes_the_place_of_another => explore take_its_place,
}
