// SPDX-License-Identifier: Apache-2.0
//! A port's link.

use std::ffi::{c_char, c_int};

use super::guard::{put, status, with_port};
use super::text::put_text;
use crate::link::Link;
use crate::port::Port;

/// The port's link, as of the last netmap_port_refresh. Any thread.
///
/// # Safety
///
/// `port` is NULL or open; `link` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_get_link(port: *const Port, link: *mut Link) -> c_int {
    // SAFETY: NULL or writable, NULL or open, by the caller's promise.
    unsafe { with_port(port, libc::EINVAL, |port| put(link, port.state().link())) }
}

/// Reads the state of the host interface anew. Returns whether anything changed.
///
/// # Safety
///
/// `port` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_refresh(port: *mut Port) -> bool {
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, false, |port| port.state().refresh()) }
}

/// Whether the host interface was deleted and made again, so that the port must be closed and opened
/// to work again.
///
/// # Safety
///
/// `port` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_needs_reopen(port: *const Port) -> bool {
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, false, |port| port.state().needs_reopen()) }
}

/// What keeps the port from working as its host interface is, as of the last netmap_port_refresh: that
/// is gone, or its frames are too long. Returns whether there is something, and then a message in
/// 'err', cut at 'err_size' bytes. Any thread.
///
/// # Safety
///
/// `port` is NULL or open; `err` has room for `err_size` bytes, or `err_size` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_fault(
    port: *const Port,
    err: *mut c_char,
    err_size: usize,
) -> bool {
    let tell = |port: &Port| {
        let fault = port.state().fault();
        if let Some(fault) = &fault {
            // SAFETY: `err` has room for `err_size` bytes by the caller's promise.
            unsafe { put_text(fault, err, err_size) };
        }
        fault.is_some()
    };
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, false, tell) }
}

/// Sets the MTU, of the host interface too.
///
/// Returns 0, or an errno and a message in 'err', cut at 'err_size' bytes.
///
/// # Safety
///
/// `port` is NULL or open; `err` has room for `err_size` bytes, or `err_size` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_set_mtu(
    port: *mut Port,
    mtu: u32,
    err: *mut c_char,
    err_size: usize,
) -> c_int {
    let set = |port: &Port| {
        let Err(error) = port.state().set_mtu(mtu) else {
            return 0;
        };
        // SAFETY: `err` has room for `err_size` bytes by the caller's promise.
        unsafe { put_text(&error.to_string(), err, err_size) };
        error.errno()
    };
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, libc::EINVAL, set) }
}

/// Sets the MAC address, of the host interface too.
///
/// # Safety
///
/// `port` is NULL or open; `mac` has 6 bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_set_mac(port: *mut Port, mac: *const u8) -> c_int {
    if mac.is_null() {
        return libc::EINVAL;
    }
    // SAFETY: 6 bytes by the caller's promise.
    let mac = unsafe { mac.cast::<[u8; 6]>().read() };
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, libc::EINVAL, |port| status(port.state().set_mac(mac))) }
}

/// Brings the port up or down, the host interface too, and changes nothing else of it.
///
/// # Safety
///
/// `port` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_set_up(port: *mut Port, up: bool) -> c_int {
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, libc::EINVAL, |port| status(port.state().set_up(up))) }
}

/// Switches promiscuous mode on or off, of the host interface too, and changes nothing else of it.
///
/// # Safety
///
/// `port` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_set_promisc(port: *mut Port, promisc: bool) -> c_int {
    let set = |port: &Port| status(port.state().set_promisc(promisc));
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, libc::EINVAL, set) }
}
