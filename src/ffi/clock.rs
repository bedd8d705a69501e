// SPDX-License-Identifier: Apache-2.0
//! The time stamp counter.

use super::guard::guard;
use crate::clock;

/// Reads the time stamp counter.
///
/// # Returns
///
/// Ticks.
///
/// # Threads
///
/// any.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_rdtsc() -> u64 {
    guard(0, clock::rdtsc)
}

/// Tells how fast the time stamp counter is. The first call measures it, for some 20 ms.
///
/// # Returns
///
/// Ticks a second.
///
/// # Threads
///
/// any.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_ticks_per_second() -> u64 {
    guard(1, clock::ticks_per_second)
}

/// Converts microseconds to ticks of the time stamp counter.
///
/// # Parameters
///
/// * `us`: microseconds.
///
/// # Returns
///
/// Ticks, rounded up; UINT64_MAX when there are more.
///
/// # Threads
///
/// any.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_us_to_ticks(us: u64) -> u64 {
    guard(0, || clock::us_to_ticks(us))
}

/// Converts ticks of the time stamp counter to microseconds.
///
/// # Parameters
///
/// * `ticks`: ticks.
///
/// # Returns
///
/// Microseconds, rounded down.
///
/// # Threads
///
/// any.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_ticks_to_us(ticks: u64) -> u64 {
    guard(0, || clock::ticks_to_us(ticks))
}
