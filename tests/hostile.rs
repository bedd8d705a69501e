// SPDX-License-Identifier: Apache-2.0
//! Hostile ring memory: a thread writes random and boundary values into headers and slots while
//! traffic runs. Nothing crashes or reads outside the region, bad slots are counted, no two packets
//! share a buffer that was claimed one after the other, and once the ports are closed no buffer is
//! missing.
//!
//! `HOSTILE_SECONDS` is how long it runs (default 2). Meant to be run under AddressSanitizer, too.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ovs_netmap::test_utils::config::{self, Config};
use ovs_netmap::test_utils::counters::RxCounters;
use ovs_netmap::test_utils::fake_ovs::{self, Parts};
use ovs_netmap::test_utils::op_model::{Input, World, decode};
use ovs_netmap::test_utils::pool;
use ovs_netmap::test_utils::ring::Ring;
use ovs_netmap::test_utils::rx::RxQueue;
use ovs_netmap::test_utils::tx::TxQueue;
use proptest::prelude::*;

/// A small generator (xorshift64*, Vigna 2016), so that a run can be repeated.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
}

fn scribble(rings: &[Ring], stop: &AtomicBool, seed: u64) -> u64 {
    let mut random = Random(seed);
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        let ring = &rings[random.below(rings.len() as u64) as usize];
        let bytes = [random.next(), random.next()].map(u64::to_le_bytes);
        Input(bytes.as_flattened()).scribble().write(ring);
        written += 1;
        // Between two blows some traffic.
        std::thread::sleep(Duration::from_micros(random.below(20)));
    }
    written
}

/// Forwards until told to stop, reading each frame and writing a header in front of it, as OVS may.
#[allow(unsafe_code)]
fn forward(rx: &mut RxQueue, tx: &mut TxQueue, stop: &AtomicBool) -> u64 {
    let mut sum = 0;
    rx.attach_thread();
    while !stop.load(Ordering::Relaxed) {
        let mut packets = fake_ovs::recv(rx, 32);
        for &packet in &packets {
            let frame = fake_ovs::frame_of(packet);
            assert!(frame.data_ofs as u32 + frame.size <= frame.allocated as u32);
            let data = frame.base.wrapping_add(frame.data_ofs as usize);
            // SAFETY: the frame lies in its buffer, as just asserted; that is the point.
            unsafe {
                for i in 0..frame.size as usize {
                    sum += data.add(i).read_volatile() as u64;
                }
                frame.base.write_volatile(0x55);
                let last = frame.base.add(frame.allocated as usize - 1);
                last.write_volatile(0x55);
            }
        }
        assert_eq!(fake_ovs::send(tx, &mut packets).returned, 0);
    }
    pool::flush_thread();
    sum
}

/// Ports are named in a table of the process, so tests take turns.
static TURN: Mutex<()> = Mutex::new(());

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    /// What the fuzz target `hostile` does, with any bytes.
    #[test]
    fn scribbles_between_operations_do_no_harm(bytes in prop::collection::vec(any::<u8>(), 1..256)) {
        let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
        config::set(Config { extra_bufs: 96, region_bufs: 4096, ..Config::DEFAULT });
        let mut world = World::new(&["null:0", "netmap:x{1", "netmap:x}1"], Some("udp:3"));
        decode(&bytes, 3).iter().for_each(|op| world.run(op));
        world.end();
    }
}

#[test]
fn scribbles_beside_traffic_do_no_harm() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let seconds = std::env::var("HOSTILE_SECONDS").map_or(2, |s| s.parse().unwrap());
    let open = |name| Parts::open(name, 200, 8192, 1);
    let mut source = open("null:0");
    let mut a = open("netmap:x{1");
    let mut b = open("netmap:x}1");
    let mut targets = Vec::new();
    for parts in [&source, &a, &b] {
        targets.extend(parts.rings.each_ref().map(Ring::other_side));
    }
    let stop = AtomicBool::new(false);
    let written = std::thread::scope(|scope| {
        let stop = &stop;
        scope.spawn(|| forward(&mut source.rx, &mut a.tx, stop));
        scope.spawn(|| forward(&mut b.rx, &mut source.tx, stop));
        scope.spawn(|| forward(&mut a.rx, &mut b.tx, stop));
        let scribbler = scope.spawn(move || scribble(&targets, stop, 0x9e37_79b9_7f4a_7c15));
        let end = Instant::now() + Duration::from_secs(seconds);
        while Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        stop.store(true, Ordering::Relaxed);
        scribbler.join().unwrap()
    });
    let victims = [source, a, b];
    let rx =
        |pick: fn(&RxCounters) -> u64| victims.iter().map(|v| pick(&v.rx_counters)).sum::<u64>();
    let bad_rx = rx(|c| c.bad_index.get() + c.bad_length.get() + c.bad_ring.get());
    let bad_tx: u64 = victims
        .iter()
        .map(|v| v.tx_counters.bad_index.get() + v.tx_counters.bad_ring.get())
        .sum();
    let received = rx(|c| c.packets.get());
    println!("{written} words written, {received} frames received, {bad_rx} and {bad_tx} bad");
    assert!(received > 0 && bad_rx > 0 && bad_tx > 0);

    victims.into_iter().for_each(Parts::close);
    assert!(pool::pools().is_empty());
}
