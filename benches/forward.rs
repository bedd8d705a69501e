// SPDX-License-Identifier: Apache-2.0
//! Ticks of the time stamp counter per packet of the library alone: receive a burst from a null port and
//! send it back, beside a loop that does nothing but exchange indices between the slots of two arrays.
//! Run with `cargo bench`.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use criterion::measurement::{Measurement, ValueFormatter};
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ovs_netmap::test_utils::burst::TxBurst;
use ovs_netmap::test_utils::clock::rdtsc;
use ovs_netmap::test_utils::fake_ovs;
use ovs_netmap::test_utils::op_model;
use ovs_netmap::test_utils::pool::flush_thread;

const BURST: usize = 32;

/// Receive, send, free.
#[allow(unsafe_code)]
fn library(criterion: &mut Criterion<Ticks>) {
    let port = op_model::open("null:0", None).expect("a null port always opens");
    fake_ovs::pool_of(&port).attach_thread();
    let layout = fake_ovs::layout();
    let mut burst = Vec::with_capacity(BURST);
    let mut group = criterion.benchmark_group("forward");
    group.throughput(Throughput::Elements(BURST as u64));
    group.bench_function("library", |bencher| {
        bencher.iter_custom(|bursts| {
            LIBRARY.time(bursts, || {
                burst.clear();
                // SAFETY: this thread alone uses the port.
                let n = unsafe {
                    port.rxqs()[0].assume_unshared(|queue| queue.recv(burst.spare_capacity_mut()))
                };
                // SAFETY: `recv` wrote the first `n`.
                unsafe { burst.set_len(n) };
                // SAFETY: the packets are ours, and their bytes are in the region.
                let out = unsafe { TxBurst::new(black_box(&mut burst), layout) };
                // SAFETY: this thread alone uses the port.
                let sent = unsafe { port.txqs()[0].assume_unshared(|queue| queue.send(out)) };
                assert_eq!((n, sent.frames), (BURST, BURST));
            })
        });
    });
    group.finish();
    flush_thread();
}

/// Exchanges the index and copies the length of slots of two rings.
fn bare_swap(criterion: &mut Criterion<Ticks>) {
    const SLOTS: usize = 4 * BURST;
    let mut rx: Vec<[u64; 2]> = (0..SLOTS as u64).map(|i| [i | 64 << 32, 0]).collect();
    let mut tx = rx.clone();
    let mut first = 0;
    let mut group = criterion.benchmark_group("forward");
    group.throughput(Throughput::Elements(BURST as u64));
    group.bench_function("bare swap", |bencher| {
        bencher.iter_custom(|bursts| {
            BARE_SWAP.time(bursts, || {
                first = (first + BURST) % SLOTS;
                for i in first..first + BURST {
                    let slot = black_box(&mut rx)[i];
                    rx[i] = tx[i];
                    tx[i] = slot;
                }
                black_box(&mut tx);
            })
        });
    });
    group.finish();
}

/// The fewest ticks that a packet took, in a sample of many: what disturbs a sample makes it slower.
struct Best(AtomicU64);

static LIBRARY: Best = Best(AtomicU64::new(u64::MAX));
static BARE_SWAP: Best = Best(AtomicU64::new(u64::MAX));

impl Best {
    /// Ticks of `bursts` calls of `one`.
    fn time(&self, bursts: u64, mut one: impl FnMut()) -> u64 {
        let start = rdtsc();
        (0..bursts).for_each(|_| one());
        let ticks = rdtsc() - start;
        // Shorter samples measure the counter itself.
        if bursts >= 1000 {
            let thousandths = 1000 * ticks / (bursts * BURST as u64);
            self.0.fetch_min(thousandths, Ordering::Relaxed);
        }
        ticks
    }

    fn ticks(&self) -> f64 {
        self.0.load(Ordering::Relaxed) as f64 / 1000.0
    }
}

fn summary(_: &mut Criterion<Ticks>) {
    let (library, bare) = (LIBRARY.ticks(), BARE_SWAP.ticks());
    println!(
        "at best: library {library:.1} ticks a packet, bare swap {bare:.1}, ratio {:.2}",
        library / bare
    );
}

/// Measures by the counter that the throttle goes by.
struct Ticks;

impl Measurement for Ticks {
    type Intermediate = u64;
    type Value = u64;

    fn start(&self) -> u64 {
        rdtsc()
    }

    fn end(&self, start: u64) -> u64 {
        rdtsc() - start
    }

    fn add(&self, a: &u64, b: &u64) -> u64 {
        a + b
    }

    fn zero(&self) -> u64 {
        0
    }

    fn to_f64(&self, ticks: &u64) -> f64 {
        *ticks as f64
    }

    fn formatter(&self) -> &dyn ValueFormatter {
        self
    }
}

impl ValueFormatter for Ticks {
    fn scale_values(&self, _typical: f64, _values: &mut [f64]) -> &'static str {
        "ticks"
    }

    fn scale_throughputs(
        &self,
        _typical: f64,
        throughput: &Throughput,
        values: &mut [f64],
    ) -> &'static str {
        match throughput {
            Throughput::Elements(n) => values.iter_mut().for_each(|v| *v /= *n as f64),
            _ => unreachable!("only packets are counted here"),
        }
        "ticks/packet"
    }

    fn scale_for_machines(&self, _values: &mut [f64]) -> &'static str {
        "ticks"
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default().with_measurement(Ticks);
    targets = library, bare_swap, summary
}
criterion_main!(benches);
