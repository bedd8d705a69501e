// SPDX-License-Identifier: Apache-2.0
//! When to sync an idle receive queue: a pure function of the time it is given.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

/// An interval in ticks that one thread changes while others wait by it.
///
/// Its parts are changed one after the other, and no other data is published with them: relaxed accesses
/// are enough, and a thread that sees an old value for one more poll does no harm.
#[derive(Debug, Clone, Default)]
pub struct Interval(Arc<Parts>);

#[derive(Debug, Default)]
struct Parts {
    ticks: AtomicU64,
    /// How often it may be doubled.
    doublings: AtomicU32,
}

/// Of an interval that grows: up to eight times, 40 µs from 5. On veths that is where larger bursts begin to
/// save nothing any more (docs/performance.md); a ring of 1024 slots lasts for 25 million frames a second.
const DOUBLINGS: u32 = 3;

impl Interval {
    /// An interval of `ticks`.
    pub fn new(ticks: u64) -> Interval {
        let interval = Interval::default();
        interval.set(ticks);
        interval
    }

    /// Changes it for every [`Throttle`] made from it or from a clone: to exactly `ticks`.
    pub fn set(&self, ticks: u64) {
        self.0.doublings.store(0, Ordering::Relaxed);
        self.0.ticks.store(ticks, Ordering::Relaxed);
    }

    /// Likewise, to one of `ticks` that grows under load.
    pub fn set_growing(&self, ticks: u64) {
        self.0.ticks.store(ticks, Ordering::Relaxed);
        self.0.doublings.store(DOUBLINGS, Ordering::Relaxed);
    }

    /// The ticks; the fewest, if it grows.
    #[inline]
    pub fn get(&self) -> u64 {
        self.0.ticks.load(Ordering::Relaxed)
    }

    /// `wanted` doublings, or as many as there may be.
    #[inline]
    pub(crate) fn doublings(&self, wanted: u32) -> u32 {
        wanted.min(self.0.doublings.load(Ordering::Relaxed))
    }
}

/// Says "due" once an interval, on the average, and never saves up.
///
/// Where the interval grows, it follows the load as interrupt moderation of network cards does: when few
/// packets are there at each time, but some, the next wait is twice as long, so that more packets come at once
/// and the calls that receive and send them are fewer. A queue where nothing was found is looked at again after
/// the shortest wait, so single packets never meet a long one.
#[derive(Debug)]
pub struct Throttle {
    interval: Interval,
    /// The time from which the interval counts. None before the first call, so that a queue does
    /// not start its life by waiting.
    reference: Option<u64>,
    /// How often the interval is doubled now.
    doublings: u32,
}

impl Throttle {
    /// A throttle that follows `interval`; its first call is due.
    pub fn new(interval: &Interval) -> Throttle {
        Throttle {
            interval: interval.clone(),
            reference: None,
            doublings: 0,
        }
    }

    /// Whether the interval has passed at time `now`, which may have wrapped. Interval 0 is always
    /// due.
    ///
    /// Polls come when they come, so each "due" is a little late. Were the next interval counted
    /// from there, the delays would add up and the rate fall short. It is counted from when this one
    /// should have been, unless a whole interval was missed: then from now, so that an idle hour is
    /// not followed by a burst.
    #[inline]
    pub fn due(&mut self, now: u64) -> bool {
        let interval = self.interval.get() << self.interval.doublings(self.doublings);
        let Some(reference) = self.reference else {
            self.reference = Some(now);
            return true;
        };
        // A counter that went back (a thread moved between unsynchronised CPUs) looks like a very
        // long time: one sync too many, and a fresh start.
        let elapsed = now.wrapping_sub(reference);
        if elapsed < interval {
            return false;
        }
        let late = elapsed - interval;
        self.reference = Some(if late < interval {
            reference.wrapping_add(interval)
        } else {
            now
        });
        true
    }

    /// So many `frames` were found by a sync that was due, or received since the one before it.
    #[inline]
    pub fn found(&mut self, frames: usize) {
        let doublings = match frames {
            0 => 0,
            1 | 32.. => self.doublings.saturating_sub(1),
            2..=15 => self.doublings + 1,
            // About what Open vSwitch takes at once (NETDEV_MAX_BURST, 32).
            16..=31 => self.doublings,
        };
        self.doublings = self.interval.doublings(doublings);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn throttle(ticks: u64) -> Throttle {
        Throttle::new(&Interval::new(ticks))
    }

    #[test]
    fn the_first_call_is_due_at_any_time() {
        for now in [0, 1, u64::MAX / 2, u64::MAX] {
            assert!(throttle(100).due(now));
            assert!(throttle(u64::MAX).due(now));
        }
    }

    #[test]
    fn not_before_the_interval_has_passed() {
        let mut t = throttle(100);
        assert!(t.due(0));
        assert!(!t.due(0));
        assert!(!t.due(99));
        assert!(t.due(100));
        assert!(!t.due(199));
        assert!(t.due(200));
    }

    #[test]
    fn interval_zero_is_always_due() {
        let mut t = throttle(0);
        for now in [5, 5, 5, 4, u64::MAX, 0] {
            assert!(t.due(now));
        }
    }

    #[test]
    fn the_counter_may_wrap() {
        let mut t = throttle(100);
        assert!(t.due(u64::MAX - 49));
        assert!(!t.due(u64::MAX));
        assert!(!t.due(0));
        assert!(!t.due(49));
        assert!(t.due(50));
        assert!(!t.due(149));
        assert!(t.due(150));
    }

    #[test]
    fn the_longest_interval_is_due_only_after_all_of_it() {
        let mut t = throttle(u64::MAX);
        assert!(t.due(10));
        assert!(!t.due(11));
        assert!(!t.due(8));
        assert!(t.due(9));
    }

    #[test]
    fn a_late_poll_does_not_shift_the_next_one() {
        let mut t = throttle(100);
        assert!(t.due(0));
        assert!(t.due(130));
        assert!(!t.due(199));
        assert!(t.due(200));
    }

    #[test]
    fn no_burst_after_a_long_idle_time() {
        let mut t = throttle(100);
        assert!(t.due(0));
        let hour = 1 << 43;
        assert!(t.due(hour));
        assert!(!t.due(hour + 1));
        assert!(!t.due(hour + 99));
        assert!(t.due(hour + 100));
    }

    #[test]
    fn a_counter_that_goes_back_costs_one_sync() {
        let mut t = throttle(100);
        assert!(t.due(1000));
        assert!(t.due(900));
        assert!(!t.due(950));
        assert!(t.due(1000));
    }

    #[test]
    fn a_new_interval_counts_from_the_next_call() {
        let interval = Interval::new(1_000_000);
        let mut t = Throttle::new(&interval);
        assert!(t.due(0));
        assert!(!t.due(500));
        interval.set(100);
        assert!(t.due(500));
        assert!(!t.due(599));
        interval.set(u64::MAX);
        assert!(!t.due(1_000_000));
        interval.set(0);
        assert!(t.due(1_000_000));
    }

    fn growing(ticks: u64) -> (Interval, Throttle) {
        let interval = Interval::new(0);
        interval.set_growing(ticks);
        let mut t = Throttle::new(&interval);
        assert!(t.due(0));
        (interval, t)
    }

    /// How long `t`, whose reference is `start`, waits.
    fn wait(t: &mut Throttle, start: u64) -> u64 {
        (1..).find(|&passed| t.due(start + passed)).unwrap()
    }

    #[test]
    fn an_interval_grows_while_a_few_frames_come_at_once() {
        let (_, mut t) = growing(100);
        let mut now = 0;
        for expected in [200, 400, 800, 800] {
            t.found(2);
            assert_eq!(wait(&mut t, now), expected);
            now += expected;
        }
        t.found(16);
        assert_eq!(wait(&mut t, now), 800);
        t.found(32);
        assert_eq!(wait(&mut t, now + 800), 400);
        t.found(1);
        assert_eq!(wait(&mut t, now + 1200), 200);
    }

    #[test]
    fn an_idle_queue_has_the_shortest_interval() {
        let (_, mut t) = growing(100);
        (0..5).for_each(|_| t.found(8));
        t.found(0);
        assert_eq!(wait(&mut t, 0), 100);
        t.found(1);
        assert_eq!(wait(&mut t, 100), 100);
    }

    #[test]
    fn a_fixed_interval_does_not_grow() {
        let (interval, mut t) = growing(100);
        (0..5).for_each(|_| t.found(8));
        interval.set(100);
        assert_eq!(wait(&mut t, 0), 100);
        (0..5).for_each(|_| t.found(8));
        assert_eq!(wait(&mut t, 100), 100);
        interval.set(u64::MAX);
        t.found(8);
        assert!(!t.due(1 << 60));
    }

    proptest! {
        /// Polled at least once an interval, the rate is the configured one within 10 %, from any
        /// start, over the wrap too.
        #[test]
        fn the_rate_is_the_configured_one(
            start in prop_oneof![any::<u64>(), Just(u64::MAX), Just(u64::MAX - 5_000)],
            interval in 10..10_000u64,
            polls in prop::collection::vec(any::<u64>(), 2_000),
        ) {
            let mut t = throttle(interval);
            prop_assert!(t.due(start));
            let (mut passed, mut due) = (0u64, 0u64);
            for poll in polls {
                passed += 1 + poll % interval;
                due += u64::from(t.due(start.wrapping_add(passed)));
            }
            let expected = passed / interval;
            prop_assert!(due <= expected, "{} of at most {}", due, expected);
            prop_assert!(due * 10 >= expected * 9, "{} of {}", due, expected);
        }

        /// However it is polled, it is never due more often than the interval allows.
        #[test]
        fn never_more_often_than_configured(
            start in any::<u64>(),
            interval in 1..1u64 << 50,
            polls in prop::collection::vec((any::<u64>(), 0..60u32), 1..500),
        ) {
            let mut t = throttle(interval);
            t.due(start);
            let (mut passed, mut due) = (0u64, 0u64);
            for (poll, shift) in polls {
                // Up to 16 intervals, mostly far less.
                passed += (poll % (16 * interval)) >> shift;
                due += u64::from(t.due(start.wrapping_add(passed)));
                prop_assert!(u128::from(due) * u128::from(interval) <= u128::from(passed));
            }
        }
    }
}
