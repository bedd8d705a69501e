// SPDX-License-Identifier: Apache-2.0
//! What a port counted, and where the buffers are.

use std::ffi::{CString, c_char, c_int, c_void};

use super::guard::{guard, put, with_port};
use super::text::c_string;
use super::types::{CounterCallback, StatusCallback};
use crate::port::{Port, Stats};
use crate::show;

/// Reads a port's counters.
///
/// # Parameters
///
/// * `port`: the port; NULL fails.
/// * `stats` (out): the counters.
///
/// # Returns
///
/// 0 or EINVAL.
///
/// # Threads
///
/// any.
///
/// # Safety
///
/// `port` is NULL or open. `stats` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_get_stats(port: *const Port, stats: *mut Stats) -> c_int {
    let get = |port: &Port| {
        let sums = port.state().stats();
        // SAFETY: NULL or writable by the caller's promise.
        unsafe { put(stats, sums) }
    };
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, libc::EINVAL, get) }
}

/// Calls a function with each key and value of a port's status: how it was opened.
///
/// # Parameters
///
/// * `port`: the port; NULL has no status.
/// * `callback`: called with `aux`; NULL does nothing.
/// * `aux`: passed to `callback`.
///
/// # Threads
///
/// any.
///
/// # Safety
///
/// `port` is NULL or open. `callback` takes `aux`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_status(
    port: *const Port,
    callback: StatusCallback,
    aux: *mut c_void,
) {
    let tell = |port: &Port| {
        let Some(callback) = callback else { return };
        for (key, value) in port.state().status() {
            let (key, value) = (c_string(key), c_string(&value));
            // SAFETY: the caller's callback, with the caller's `aux`.
            unsafe { callback(key.as_ptr(), value.as_ptr(), aux) };
        }
    };
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, (), tell) }
}

/// Calls a function with each counter of each queue of a port.
///
/// # Parameters
///
/// * `port`: the port; NULL has no counters.
/// * `callback`: called with `aux`; NULL does nothing.
/// * `aux`: passed to `callback`.
///
/// # Threads
///
/// any.
///
/// # Safety
///
/// `port` is NULL or open. `callback` takes `aux`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_counters(
    port: *const Port,
    callback: CounterCallback,
    aux: *mut c_void,
) {
    let tell = |port: &Port| {
        let Some(callback) = callback else { return };
        for (name, count) in port.state().counters() {
            // SAFETY: the caller's callback, with the caller's `aux`.
            unsafe { callback(c_string(&name).as_ptr(), count, aux) };
        }
    };
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, (), tell) }
}

/// Describes all regions and ports: where each buffer is, and what each queue counted.
///
/// # Returns
///
/// The text of "ovs-appctl netmap/show"; NULL when memory is short.
///
/// # Ownership
///
/// The text is the caller's, to be freed by `netmap_string_free`.
///
/// # Threads
///
/// any.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_show() -> *mut c_char {
    guard(std::ptr::null_mut(), || c_string(&show::show()).into_raw())
}

/// Describes all regions and ports, as JSON on one line.
///
/// # Returns
///
/// The text of "ovs-appctl netmap/show --json"; NULL when memory is short.
///
/// # Ownership
///
/// The text is the caller's, to be freed by `netmap_string_free`.
///
/// # Threads
///
/// any.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_show_json() -> *mut c_char {
    guard(std::ptr::null_mut(), || {
        c_string(&show::show_json()).into_raw()
    })
}

/// Frees a string of this library.
///
/// # Parameters
///
/// * `string`: the string; NULL does nothing.
///
/// # Ownership
///
/// The string is gone.
///
/// # Threads
///
/// any.
///
/// # Safety
///
/// `string` is NULL or came from `netmap_show` or `netmap_show_json`, and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_string_free(string: *mut c_char) {
    guard((), || {
        if !string.is_null() {
            // SAFETY: made by `CString::into_raw` in one of the two.
            drop(unsafe { CString::from_raw(string) });
        }
    });
}
