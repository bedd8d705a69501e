// SPDX-License-Identifier: Apache-2.0
//! The time stamp counter.

use super::guard::guard;
use crate::clock;

/// The time stamp counter. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_rdtsc() -> u64 {
    guard(0, clock::rdtsc)
}

/// Its measured rate. The first call takes some 20 ms. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_ticks_per_second() -> u64 {
    guard(1, clock::ticks_per_second)
}

/// Microseconds to ticks of the counter, rounded up; UINT64_MAX when it does not fit. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_us_to_ticks(us: u64) -> u64 {
    guard(0, || clock::us_to_ticks(us))
}

/// Ticks of the counter to microseconds. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_ticks_to_us(ticks: u64) -> u64 {
    guard(0, || clock::ticks_to_us(ticks))
}
