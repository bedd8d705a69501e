// SPDX-License-Identifier: Apache-2.0
//! The time stamp counter and its rate.
//!
//! | machine | counter | rate |
//! |---|---|---|
//! | x86-64 | `rdtsc` | measured |
//! | arm64 | `cntvct_el0` | measured; `cntfrq_el0` is what firmware wrote there, right or wrong |
//! | others | the monotonic clock, in nanoseconds | 10^9 |
//!
//! Measuring: the counter and the monotonic clock are read together, [`SPAN`] passes, and they are
//! read together again. Reading together means the clock between two reads of the counter; of
//! [`BRACKETS`] attempts the one whose two reads lie closest counts, and its middle is the time. So
//! a thread that is preempted in between spoils an attempt but not the result. A bracket is some
//! 50 ns wide, which over 20 ms makes an error of a few millionths.
#![allow(unsafe_code)]

use std::sync::OnceLock;
use std::time::{Duration, Instant};

/// How long the rate is measured.
const SPAN: Duration = Duration::from_millis(20);
/// Attempts to read counter and clock together.
const BRACKETS: usize = 32;

const NS_PER_SECOND: u128 = 1_000_000_000;
const US_PER_SECOND: u128 = 1_000_000;

static TICKS_PER_SECOND: OnceLock<u64> = OnceLock::new();

/// The counter now. It is not ordered against the instructions around it; a throttle needs no more.
#[inline]
pub fn rdtsc() -> u64 {
    counter()
}

#[cfg(target_arch = "x86_64")]
#[inline]
fn counter() -> u64 {
    // SAFETY: every x86-64 CPU has the instruction, and it only reads a register. Where an operating
    // system forbids it to user space (PR_TSC_SIGSEGV) OVS itself would not run.
    unsafe { std::arch::x86_64::_rdtsc() }
}

#[cfg(target_arch = "aarch64")]
#[inline]
fn counter() -> u64 {
    let ticks: u64;
    // SAFETY: reads the virtual counter, which Linux and FreeBSD open to user space (their vDSO
    // reads it the same way); touches neither memory nor flags.
    unsafe {
        std::arch::asm!("mrs {}, cntvct_el0", out(reg) ticks, options(nomem, nostack, preserves_flags))
    };
    ticks
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
#[inline]
fn counter() -> u64 {
    static START: OnceLock<Instant> = OnceLock::new();
    // 64 bits of nanoseconds last 584 years.
    START.get_or_init(Instant::now).elapsed().as_nanos() as u64
}

/// Measures the rate, once in the life of the process. Takes some 20 ms the first time.
pub fn calibrate() -> u64 {
    *TICKS_PER_SECOND.get_or_init(measure)
}

/// Ticks of the counter in a second; at least 1. Measures first if nobody has yet.
#[inline]
pub fn ticks_per_second() -> u64 {
    calibrate()
}

/// Microseconds as ticks, rounded up, so that [`ticks_to_us`] gives them back and a short time
/// never becomes none; `u64::MAX` when they are too many.
pub fn us_to_ticks(us: u64) -> u64 {
    us_to_ticks_at(us, ticks_per_second())
}

/// Ticks as whole microseconds; `u64::MAX` when they are too many.
pub fn ticks_to_us(ticks: u64) -> u64 {
    ticks_to_us_at(ticks, ticks_per_second())
}

fn us_to_ticks_at(us: u64, rate: u64) -> u64 {
    // 64 by 64 bits fit into 128.
    let ticks = (u128::from(us) * u128::from(rate)).div_ceil(US_PER_SECOND);
    u64::try_from(ticks).unwrap_or(u64::MAX)
}

fn ticks_to_us_at(ticks: u64, rate: u64) -> u64 {
    let us = u128::from(ticks) * US_PER_SECOND / u128::from(rate.max(1));
    u64::try_from(us).unwrap_or(u64::MAX)
}

fn measure() -> u64 {
    let start = best_bracket(rdtsc, Instant::now);
    std::thread::sleep(SPAN);
    let end = best_bracket(rdtsc, Instant::now);
    rate(end.0.wrapping_sub(start.0), end.1 - start.1)
}

/// Counter and clock at the same time, as closely as [`BRACKETS`] attempts allow.
fn best_bracket<T>(mut ticks: impl FnMut() -> u64, mut clock: impl FnMut() -> T) -> (u64, T) {
    let mut attempt = || {
        let before = ticks();
        let time = clock();
        let width = ticks().wrapping_sub(before);
        (width, before.wrapping_add(width / 2), time)
    };
    let mut best = attempt();
    for _ in 1..BRACKETS {
        let next = attempt();
        if next.0 < best.0 {
            best = next;
        }
    }
    (best.1, best.2)
}

fn rate(ticks: u64, elapsed: Duration) -> u64 {
    let per_second = u128::from(ticks) * NS_PER_SECOND / elapsed.as_nanos().max(1);
    // Never 0: a counter that stands still must not become a division by zero elsewhere.
    u64::try_from(per_second).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_counter_moves_forward() {
        let before = rdtsc();
        std::thread::sleep(Duration::from_millis(1));
        assert!(rdtsc() > before);
    }

    #[test]
    fn measured_rate_agrees_with_a_longer_measurement() {
        let start = best_bracket(rdtsc, Instant::now);
        std::thread::sleep(Duration::from_millis(200));
        let end = best_bracket(rdtsc, Instant::now);
        let long = rate(end.0.wrapping_sub(start.0), end.1 - start.1) as f64;
        let short = measure() as f64;
        // Generous: a virtual machine may be stopped for long, and clocks are being slewed.
        let error = (short / long - 1.0).abs();
        println!("short {short}, long {long}, relative difference {error:e}");
        assert!(error < 1e-3, "{short} is not near {long}");
    }

    #[test]
    fn calibration_happens_once() {
        let first = calibrate();
        assert_eq!(first, ticks_per_second());
        assert_eq!(ticks_to_us(us_to_ticks(1_000_000)), 1_000_000);
        assert!(us_to_ticks(1_000_000).abs_diff(first) <= 1);
    }

    #[test]
    fn the_tightest_bracket_counts() {
        // Attempts of width 100, except the third: 10 ticks from 1000.
        let mut reads = (0..).flat_map(|n| match n {
            2 => [1000, 1010],
            _ => [n * 10_000, n * 10_000 + 100],
        });
        let mut clock = 0..;
        let best = best_bracket(|| reads.next().unwrap(), || clock.next().unwrap());
        assert_eq!(best, (1005, 2));
    }

    #[test]
    fn extremes_saturate() {
        assert_eq!(us_to_ticks_at(0, u64::MAX), 0);
        assert_eq!(us_to_ticks_at(u64::MAX, u64::MAX), u64::MAX);
        assert_eq!(us_to_ticks_at(1, 1), 1);
        assert_eq!(ticks_to_us_at(u64::MAX, 1), u64::MAX);
        assert_eq!(ticks_to_us_at(u64::MAX, 1_000_000), u64::MAX);
        assert_eq!(ticks_to_us_at(5, 0), 5_000_000);
        assert_eq!(rate(0, Duration::ZERO), 1);
        assert_eq!(rate(u64::MAX, Duration::ZERO), u64::MAX);
        assert_eq!(rate(60_000_000, Duration::from_millis(20)), 3_000_000_000);
    }

    proptest! {
        #[test]
        fn microseconds_survive_the_round_trip(
            us in 0..=u64::MAX / 10_000,
            rate in 1_000_000..10_000_000_000u64,
        ) {
            let ticks = us_to_ticks_at(us, rate);
            prop_assume!(ticks < u64::MAX);
            prop_assert_eq!(ticks_to_us_at(ticks, rate), us);
        }
    }
}
