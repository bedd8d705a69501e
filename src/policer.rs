// SPDX-License-Identifier: Apache-2.0
//! Rate limits of a port: token buckets, filled by the clock, that frames are paid from.
//!
//! As DPDK ports of Open vSwitch have them, so that the same numbers mean the same here: a bucket begins full,
//! a frame that there are too few tokens for is dropped and costs nothing, and its Ethernet header does
//! not count (`cir` is "in bytes of IP packets").
#![forbid(unsafe_code)]

use std::cell::Cell;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::clock;

/// Bytes of a frame that no limit counts.
const ETHERNET_HEADER: u32 = 14;

/// Bits behind the point of a price in ticks: at 400 Gbit/s a byte costs some 0.06 ticks.
const FRACTION: u32 = 20;

/// Kilobits of burst where none are given, as Open vSwitch documents it.
const DEFAULT_KBITS_BURST: u64 = 8000;
/// The same for thousands of packets.
const DEFAULT_KPKTS_BURST: u64 = 16;

/// How much may pass. A rate of 0 means that there is no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Limits {
    /// Bytes in a second.
    pub byte_rate: u64,
    /// Bytes at once.
    pub byte_burst: u64,
    /// Packets in a second.
    pub packet_rate: u64,
    /// Packets at once.
    pub packet_burst: u64,
}

impl Limits {
    /// `ingress_policing_rate` and its like, as Open vSwitch hands them over: a burst of 0 is the default.
    pub fn ingress(kbits_rate: u32, kbits_burst: u32, kpkts_rate: u32, kpkts_burst: u32) -> Limits {
        let or = |burst: u32, default| match burst {
            0 => default,
            burst => burst as u64,
        };
        Limits {
            byte_rate: kbits_rate as u64 * 1000 / 8,
            byte_burst: or(kbits_burst, DEFAULT_KBITS_BURST) * 1000 / 8,
            packet_rate: kpkts_rate as u64 * 1000,
            packet_burst: or(kpkts_burst, DEFAULT_KPKTS_BURST) * 1000,
        }
    }

    /// QoS of the type `egress-policer`: `cir` bytes in a second, `cbs` at once.
    pub fn egress(cir: u64, cbs: u64) -> Limits {
        Limits {
            byte_rate: cir,
            byte_burst: cbs,
            ..Limits::default()
        }
    }
}

/// The limits of one direction of a port, shared by its queues, and changed while traffic runs.
#[derive(Debug, Default)]
pub struct Policer {
    active: AtomicBool,
    buckets: Mutex<Buckets>,
}

impl Policer {
    /// From now on, `limits` hold. The same ones again change nothing.
    pub fn set(&self, limits: Limits) {
        let mut buckets = self.buckets.lock();
        if buckets.limits == limits {
            return;
        }
        *buckets = Buckets::new(limits, clock::rdtsc(), clock::ticks_per_second());
        let active = buckets.bytes.is_some() || buckets.packets.is_some();
        // Who sees it a burst later polices that burst later.
        self.active.store(active, Ordering::Relaxed);
    }

    /// Whether there is a limit at all.
    #[inline]
    pub fn is_active(&self) -> bool {
        self.active.load(Ordering::Relaxed)
    }

    /// Pays for a burst of frames of `lengths` bytes, all at once if there are tokens enough, else one by
    /// one: then `verdict` is told of each frame, in order, whether it may pass.
    fn police(&self, lengths: impl Iterator<Item = u32> + Clone, mut verdict: impl FnMut(bool)) {
        let mut buckets = self.buckets.lock();
        buckets.fill(clock::rdtsc());
        let prices = lengths.map(counted);
        let (packets, bytes) = prices
            .clone()
            .fold((0, 0), |(packets, bytes), len| (packets + 1, bytes + len));
        if !buckets.pay(packets, bytes) {
            prices.for_each(|len| verdict(buckets.pay(1, len)));
        }
    }

    /// Moves those of `packets` that pass to the front, in their order, and returns how many do not.
    /// `length` is that of a frame in bytes.
    pub fn sift<T>(&self, packets: &[Cell<T>], length: impl Fn(&Cell<T>) -> u32) -> usize {
        let (mut looked_at, mut passed) = (0, 0);
        self.police(packets.iter().map(&length), |passes| {
            if passes {
                packets[looked_at].swap(&packets[passed]);
                passed += 1;
            }
            looked_at += 1;
        });
        looked_at - passed
    }
}

/// What of a frame of `len` bytes counts.
fn counted(len: u32) -> u64 {
    len.saturating_sub(ETHERNET_HEADER) as u64
}

#[derive(Debug, Default)]
struct Buckets {
    limits: Limits,
    bytes: Option<Bucket>,
    packets: Option<Bucket>,
    /// When they were filled last.
    filled: u64,
}

impl Buckets {
    fn new(limits: Limits, now: u64, ticks_per_second: u64) -> Buckets {
        Buckets {
            limits,
            bytes: Bucket::new(limits.byte_rate, limits.byte_burst, ticks_per_second),
            packets: Bucket::new(limits.packet_rate, limits.packet_burst, ticks_per_second),
            filled: now,
        }
    }

    fn fill(&mut self, now: u64) {
        let passed = now.wrapping_sub(self.filled);
        // A thread on a processor whose counter is behind: nothing has passed.
        if passed > u64::MAX / 2 {
            return;
        }
        self.filled = now;
        for bucket in [&mut self.bytes, &mut self.packets].into_iter().flatten() {
            bucket.fill(passed);
        }
    }

    /// Takes the tokens for `packets` of `bytes` in all. False, and nothing taken, if there are too few.
    fn pay(&mut self, packets: u64, bytes: u64) -> bool {
        let covers = |bucket: &Option<Bucket>, n| bucket.as_ref().is_none_or(|b| b.covers(n));
        let enough = covers(&self.bytes, bytes) && covers(&self.packets, packets);
        if enough {
            for (bucket, n) in [(&mut self.bytes, bytes), (&mut self.packets, packets)] {
                if let Some(bucket) = bucket {
                    bucket.take(n);
                }
            }
        }
        enough
    }
}

/// Tokens are counted in the time that they take to come, in parts of a tick: filling needs no division.
#[derive(Debug)]
struct Bucket {
    /// Of one byte, or one packet.
    price: u128,
    tokens: u128,
    most: u128,
}

impl Bucket {
    fn new(rate: u64, burst: u64, ticks_per_second: u64) -> Option<Bucket> {
        let second = (ticks_per_second as u128) << FRACTION;
        let price = second.checked_div(rate as u128)?.max(1);
        let most = price * burst as u128;
        Some(Bucket {
            price,
            tokens: most,
            most,
        })
    }

    fn fill(&mut self, ticks: u64) {
        let more = (ticks as u128) << FRACTION;
        self.tokens = self.most.min(self.tokens + more);
    }

    fn covers(&self, n: u64) -> bool {
        self.price * n as u128 <= self.tokens
    }

    fn take(&mut self, n: u64) {
        self.tokens -= self.price * n as u128;
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const HZ: u64 = 2_900_000_000;

    #[test]
    fn open_vswitch_units_are_understood() {
        let limits = Limits::ingress(10_000, 0, 3, 0);
        assert_eq!(
            (limits.byte_rate, limits.byte_burst),
            (1_250_000, 1_000_000)
        );
        assert_eq!((limits.packet_rate, limits.packet_burst), (3000, 16_000));
        let limits = Limits::ingress(8, 16, 0, 2);
        assert_eq!((limits.byte_rate, limits.byte_burst), (1000, 2000));
        assert_eq!((limits.packet_rate, limits.packet_burst), (0, 2000));
    }

    #[test]
    fn a_bucket_begins_full_and_a_drop_costs_nothing() {
        let mut buckets = Buckets::new(Limits::egress(1000, 150), 7, HZ);
        assert!(buckets.pay(1, 100));
        assert!(!buckets.pay(1, 60) && !buckets.pay(1, 51));
        assert!(buckets.pay(1, 50) && !buckets.pay(1, 1));
        buckets.fill(7 + HZ / 10);
        assert!(buckets.pay(2, 99) && !buckets.pay(1, 2));
        // Not more than a burst, however long it takes.
        buckets.fill(7 + 1000 * HZ);
        assert!(!buckets.pay(1, 151) && buckets.pay(1, 150));
    }

    #[test]
    fn a_clock_that_goes_back_fills_nothing() {
        let mut buckets = Buckets::new(Limits::egress(1000, 100), HZ, HZ);
        assert!(buckets.pay(1, 100));
        buckets.fill(HZ - 5);
        assert!(!buckets.pay(1, 1));
        buckets.fill(2 * HZ);
        assert!(buckets.pay(1, 100));
    }

    #[test]
    fn limits_come_and_go() {
        let policer = Policer::default();
        let run = |lens: &[u32]| {
            let mut verdicts = Vec::new();
            policer.police(lens.iter().copied(), |pass| verdicts.push(pass));
            verdicts
        };
        assert!(!policer.is_active());
        assert!(run(&[9000; 4]).is_empty());
        policer.set(Limits::egress(1, 100));
        assert!(policer.is_active());
        // 50 bytes each, without the Ethernet header.
        assert_eq!(run(&[64, 64, 64]), [true, true, false]);
        policer.set(Limits::egress(1, 100));
        assert_eq!(run(&[64]), [false]);
        policer.set(Limits::ingress(0, 0, 1, 0));
        assert!(run(&[9000; 32]).is_empty());
        policer.set(Limits::default());
        assert!(!policer.is_active());
    }

    /// What passes of a stream that offers `factor` times as much as the limit, over two seconds.
    fn passed(limits: Limits, len: u64, factor: f64, hz: u64, burst: u64) -> (u64, u64) {
        let mut buckets = Buckets::new(limits, 0, hz);
        let rate = match limits.byte_rate {
            0 => limits.packet_rate as f64,
            bytes => bytes as f64 / len as f64,
        };
        let step = (hz as f64 * burst as f64 / (rate * factor)) as u64;
        let (mut now, mut packets) = (0, 0);
        while now < 2 * hz {
            now += step.max(1);
            buckets.fill(now);
            if buckets.pay(burst, burst * len) {
                packets += burst;
            } else {
                packets += (0..burst).filter(|_| buckets.pay(1, len)).count() as u64;
            }
        }
        (packets, (rate * 2.0) as u64)
    }

    proptest! {
        /// What is offered beyond the limit is cut to it, within 2 %, whatever the sizes.
        #[test]
        fn the_rate_is_the_configured_one(
            len in prop_oneof![Just(50_u64), Just(1486), Just(8986), 50..9000_u64],
            kbits in 5_000..20_000_u32,
            factor in 1.5..5.0_f64,
            hz in prop_oneof![Just(HZ), Just(1_000_000_000), Just(24_000_000)],
            burst in 1..64_u64,
        ) {
            let mut limits = Limits::ingress(kbits, 0, 0, 0);
            // The first burst is beside the rate.
            limits.byte_burst = limits.byte_rate / 100 + 64 * len;
            let beside = limits.byte_burst / len;
            let (packets, expected) = passed(limits, len, factor, hz, burst);
            let off = (packets as f64 - beside as f64 - expected as f64).abs();
            // What came of tokens since the last burst is not spent yet.
            prop_assert!(off <= expected as f64 / 50.0 + burst as f64, "{packets} of {expected}+{beside}");
        }

        #[test]
        fn packets_are_limited_as_well(kpkts in 1..20_u32, factor in 1.5..5.0_f64) {
            let mut limits = Limits::ingress(0, 0, kpkts, 1);
            limits.packet_burst = 64;
            let (packets, expected) = passed(limits, 50, factor, HZ, 32);
            let off = (packets as f64 - 64.0 - expected as f64).abs();
            prop_assert!(off <= expected as f64 / 50.0, "{packets} of {expected}");
        }

        /// No numbers make it panic.
        #[test]
        fn any_limits_are_fine(
            numbers in any::<[u64; 4]>(),
            hz in 1..u64::MAX,
            steps in prop::collection::vec((any::<u64>(), 0..70_000_u64), 0..20),
        ) {
            let [byte_rate, byte_burst, packet_rate, packet_burst] = numbers;
            let limits = Limits { byte_rate, byte_burst, packet_rate, packet_burst };
            let mut buckets = Buckets::new(limits, 0, hz);
            for (now, len) in steps {
                buckets.fill(now);
                buckets.pay(1, len);
            }
        }
    }
}
