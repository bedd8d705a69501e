// SPDX-License-Identifier: Apache-2.0
//! Cycles (ticks of the time stamp counter) per packet of the library alone: receive a burst from a
//! null port and send it back, against a loop that does nothing but exchange indices between the
//! slots of two arrays. Run with `cargo bench`.

use std::hint::black_box;

use ovs_netmap::test_utils::burst::TxBurst;
use ovs_netmap::test_utils::clock::rdtsc;
use ovs_netmap::test_utils::fake_ovs;
use ovs_netmap::test_utils::pool::flush_thread;
use ovs_netmap::test_utils::port::{Port, PortConfig};

const BURST: usize = 32;
const ROUNDS: usize = 20;
const BURSTS: usize = 20_000;

fn main() {
    let library = best(forward);
    let bare = bare_loop();
    println!("library:   {library:6.1} ticks per packet (receive, send, free)");
    println!("bare swap: {bare:6.1} ticks per packet");
    println!("ratio:     {:6.2}", library / bare);
}

/// The best of some rounds: what disturbs a round only makes it slower.
fn best(mut round: impl FnMut(&Port) -> f64) -> f64 {
    let port = Port::open(&PortConfig {
        name: "null:0",
        ovs_name: "bench",
        n_rxq: 1,
        n_txq: 1,
        rxsync_interval_us: Some(0),
        null_source: None,
        packet: fake_ovs::layout(),
    })
    .expect("a null port always opens");
    fake_ovs::pool_of(&port).attach_thread();
    let best = (0..ROUNDS).map(|_| round(&port)).fold(f64::MAX, f64::min);
    flush_thread();
    best
}

#[allow(unsafe_code)]
fn forward(port: &Port) -> f64 {
    let mut burst = Vec::with_capacity(BURST);
    let layout = fake_ovs::layout();
    let mut packets = 0;
    let start = rdtsc();
    for _ in 0..BURSTS {
        burst.clear();
        // SAFETY: this thread alone uses the port.
        let n = unsafe {
            port.rxqs()[0].assume_unshared(|queue| queue.recv(burst.spare_capacity_mut()))
        };
        packets += n;
        // SAFETY: `recv` wrote the first `n`.
        unsafe { burst.set_len(n) };
        // SAFETY: the packets are ours, and their bytes are in the region.
        let out = unsafe { TxBurst::new(black_box(&mut burst), layout) };
        // SAFETY: this thread alone uses the port.
        let sent = unsafe { port.txqs()[0].assume_unshared(|queue| queue.send(out)) };
        assert_eq!(sent.frames, n);
    }
    (rdtsc() - start) as f64 / packets as f64
}

/// Exchanges the index and copies the length of slots of two rings, a burst at a time.
fn bare_loop() -> f64 {
    let mut rx: Vec<[u64; 2]> = (0..128).map(|i| [i | 64 << 32, 0]).collect();
    let mut tx: Vec<[u64; 2]> = (128..256).map(|i| [i | 64 << 32, 0]).collect();
    let mut best = f64::MAX;
    for _ in 0..ROUNDS {
        let start = rdtsc();
        for burst in 0..BURSTS {
            let first = burst * BURST % 128;
            for i in first..first + BURST {
                let slot = black_box(&mut rx)[i];
                rx[i] = tx[i];
                tx[i] = slot;
            }
            black_box(&mut tx);
        }
        best = best.min((rdtsc() - start) as f64 / (BURSTS * BURST) as f64);
    }
    best
}
