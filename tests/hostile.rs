// SPDX-License-Identifier: Apache-2.0
//! Hostile ring memory: a thread writes random and boundary values into headers and slots while
//! traffic runs. Nothing crashes or reads outside the region, bad slots are counted, no two packets
//! share a buffer that was claimed one after the other, and once the ports are closed no buffer is
//! missing.
//!
//! `HOSTILE_SECONDS` is how long it runs (default 2). Meant to be run under AddressSanitizer, too.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use ovs_netmap::counters::RxCounters;
use ovs_netmap::pool;
use ovs_netmap::ring::{Ring, SLOTS_OFFSET};
use ovs_netmap::rx::RxQueue;
use ovs_netmap::tx::TxQueue;

mod fake_ovs;

use fake_ovs::Parts;

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

    /// A value that code gets wrong more often than a random one.
    fn nasty(&mut self, slots: u32) -> u32 {
        match self.below(10) {
            0 => 0,
            1 => 1,
            2 => slots - 1,
            3 => slots,
            4 => u32::MAX,
            5 => i32::MAX as u32,
            6 => 2047 << self.below(2),
            7 => 0x0020_0000 | self.below(4096) as u32,
            8 => self.below(4096) as u32,
            _ => self.next() as u32,
        }
    }
}

fn scribble(rings: &[Ring], stop: &AtomicBool, seed: u64) -> u64 {
    let mut random = Random(seed);
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        let ring = &rings[random.below(rings.len() as u64) as usize];
        let size = SLOTS_OFFSET as u64 + ring.num_slots() as u64 * 16;
        // Half of all into the header, where each word matters.
        let range = if random.below(2) == 0 { 72 } else { size };
        let offset = random.below(range / 4) * 4;
        ring.scribble(offset as usize, random.nasty(ring.num_slots()));
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
    rx.pool().attach_thread();
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

#[test]
fn scribbled_rings_do_no_harm() {
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
