// SPDX-License-Identifier: Apache-2.0
//! A port's link.

use std::ffi::{c_char, c_int};

use super::guard::{put, status, with_port};
use super::text::{put_error, put_text};
use crate::link::Link;
use crate::port::Port;

/// Reads the state of a port's link, as of the last `netmap_port_refresh`.
///
/// # Parameters
///
/// * `port`: the port; NULL fails.
/// * `link` (out): the state.
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
/// `port` is NULL or open. `link` is NULL or writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_get_link(port: *const Port, link: *mut Link) -> c_int {
    // SAFETY: NULL or writable, NULL or open, by the caller's promise.
    unsafe { with_port(port, libc::EINVAL, |port| put(link, port.state().link())) }
}

/// Reads the state of the host interface anew.
///
/// # Parameters
///
/// * `port`: the port; NULL does nothing.
///
/// # Returns
///
/// Whether anything changed.
///
/// # Threads
///
/// main.
///
/// # Safety
///
/// `port` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_refresh(port: *mut Port) -> bool {
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, false, |port| port.state().refresh()) }
}

/// Tells what keeps an open port from working as its host interface is, as of the last
/// `netmap_port_refresh`: its frames are too long.
///
/// # Parameters
///
/// * `port`: the port; NULL has no fault.
/// * `err` (out): the fault; cut at `err_size` bytes.
/// * `err_size`: bytes of room at `err`; 0 for no message.
///
/// # Returns
///
/// Whether there is a fault.
///
/// # Threads
///
/// any.
///
/// # Safety
///
/// `port` is NULL or open. `err` has room for `err_size` bytes.
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

/// Sets the MTU, of the host interface, too.
///
/// # Parameters
///
/// * `port`: the port; NULL fails.
/// * `mtu`: longest payload of a frame, in bytes.
/// * `err` (out): why it failed; cut at `err_size` bytes.
/// * `err_size`: bytes of room at `err`; 0 for no message.
///
/// # Returns
///
/// 0 or an errno.
///
/// # Threads
///
/// main.
///
/// # Safety
///
/// `port` is NULL or open. `err` has room for `err_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_set_mtu(
    port: *mut Port,
    mtu: u32,
    err: *mut c_char,
    err_size: usize,
) -> c_int {
    // SAFETY: `err` has room for `err_size` bytes by the caller's promise.
    let set = |port: &Port| unsafe { put_error(port.state().set_mtu(mtu), err, err_size) };
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, libc::EINVAL, set) }
}

/// Sets the MAC address, of the host interface, too.
///
/// # Parameters
///
/// * `port`: the port; NULL fails.
/// * `mac`: 6 bytes.
///
/// # Returns
///
/// 0 or an errno; the reason is logged.
///
/// # Threads
///
/// main.
///
/// # Safety
///
/// `port` is NULL or open. `mac` is NULL or has 6 bytes.
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

/// Brings a port up or down, the host interface, too, and changes nothing else of it.
///
/// # Parameters
///
/// * `port`: the port; NULL fails.
/// * `up`: whether it is to be up.
///
/// # Returns
///
/// 0 or an errno; the reason is logged.
///
/// # Threads
///
/// main.
///
/// # Safety
///
/// `port` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_set_up(port: *mut Port, up: bool) -> c_int {
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, libc::EINVAL, |port| status(port.state().set_up(up))) }
}

/// Makes a port promiscuous or not, the host interface, too, and changes nothing else of it.
///
/// # Parameters
///
/// * `port`: the port; NULL fails.
/// * `promisc`: whether it is to be promiscuous.
///
/// # Returns
///
/// 0 or an errno; the reason is logged.
///
/// # Threads
///
/// main.
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
