// SPDX-License-Identifier: Apache-2.0
//! Types of Open vSwitch, opaque here, and the callbacks that functions take.

use std::ffi::{c_char, c_void};

/// Open vSwitch's string map; opaque.
pub struct Smap;
/// Open vSwitch's packet; opaque.
pub struct DpPacket;
/// Open vSwitch's receive queue; opaque.
pub struct NetdevRxq;

/// Takes a key and a value, which are valid during the call, and `aux`.
pub type StatusCallback =
    Option<unsafe extern "C" fn(key: *const c_char, value: *const c_char, aux: *mut c_void)>;

/// Takes a counter's name, which is valid during the call, its value, and `aux`.
pub type CounterCallback =
    Option<unsafe extern "C" fn(name: *const c_char, value: u64, aux: *mut c_void)>;
