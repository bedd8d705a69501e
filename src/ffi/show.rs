// SPDX-License-Identifier: Apache-2.0
//! What a port counted, and where the buffers are.

use std::ffi::{CString, c_char, c_int, c_void};

use super::guard::{guard, put, with_port};
use super::text::c_string;
use super::types::{CounterCallback, StatusCallback};
use crate::port::{Port, Stats};
use crate::show;

/// The port's counters. Any thread.
///
/// # Safety
///
/// `port` is NULL or open; `stats` is writable.
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

/// Calls 'callback' with each key and value that says how the port was opened.
///
/// # Safety
///
/// `port` is NULL or open; `callback` takes `aux`.
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

/// Calls 'callback' with each counter of each queue.
///
/// # Safety
///
/// `port` is NULL or open; `callback` takes `aux`.
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

/// The text of "ovs-appctl netmap/show": where each buffer is, and what each queue counted. It is the
/// caller's, to be freed by netmap_string_free. NULL when memory is short.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_show() -> *mut c_char {
    guard(std::ptr::null_mut(), || c_string(&show::show()).into_raw())
}

/// The same as JSON on one line, for "ovs-appctl netmap/show --json". It is the caller's, to be freed by
/// netmap_string_free. NULL when memory is short.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_show_json() -> *mut c_char {
    guard(std::ptr::null_mut(), || {
        c_string(&show::show_json()).into_raw()
    })
}

/// Frees a string of this library. NULL is fine.
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
