// SPDX-License-Identifier: Apache-2.0
//! What of a port outlives its being open.

use std::ffi::{c_char, c_int};

use super::guard::{bug, guard};
use super::port::{PortOptions, open};
use super::text::{put_error, put_text, text};
use crate::engine;
use crate::follower::Follower;
use crate::port::Port;

/// What `netmap_follower_run` says that is to be done.
#[repr(C)]
#[derive(Clone, Copy)]
pub enum FollowerAction {
    /// To tell that the link has changed.
    Changed = 1,
    /// To close the port, if it is open, and to open it.
    Reopen = 2,
}

/// Makes a follower: it follows the interface of one port, open or not, and says what is to be done.
///
/// # Parameters
///
/// * `ovs_name`: name of the interface in Open vSwitch, for messages.
///
/// # Returns
///
/// The follower.
///
/// # Ownership
///
/// It is the caller's, to be given back by `netmap_follower_destroy`.
///
/// # Threads
///
/// main.
///
/// # Safety
///
/// `ovs_name` is NULL or a string.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_follower_create(ovs_name: *const c_char) -> *mut Follower {
    guard(std::ptr::null_mut(), || {
        // SAFETY: the caller's promise.
        let name = unsafe { text(ovs_name) }.unwrap_or_default();
        Box::into_raw(Box::new(Follower::new(&name)))
    })
}

/// Frees a follower. Its interface is nobody's then.
///
/// # Parameters
///
/// * `follower`: the follower; NULL does nothing.
///
/// # Ownership
///
/// It is gone. Its port must be closed.
///
/// # Threads
///
/// main.
///
/// # Safety
///
/// `follower` is NULL or came from `netmap_follower_create` and was not freed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_follower_destroy(follower: *mut Follower) {
    guard((), || {
        if !follower.is_null() {
            // SAFETY: made by `Box::into_raw` in `netmap_follower_create`.
            drop(unsafe { Box::from_raw(follower) });
        }
    });
}

/// Opens the port of a follower, as `netmap_port_open` does it. What cannot be opened is tried again
/// when `netmap_follower_run` says so.
///
/// # Parameters
///
/// * `follower`: the follower.
/// * `config`: what to open, and how.
/// * `portp` (out): the port.
/// * `err` (out): why it failed; cut at `err_size` bytes.
/// * `err_size`: bytes of room at `err`; 0 for no message.
///
/// # Returns
///
/// 0 or an errno. EAGAIN: the kernel is about to let go of what is needed.
///
/// # Ownership
///
/// The port is the caller's, to be closed by `netmap_follower_close`.
///
/// # Threads
///
/// main.
///
/// # Safety
///
/// `follower` is NULL or valid; the rest as for `netmap_port_open`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_follower_open(
    follower: *mut Follower,
    config: *const PortOptions,
    portp: *mut *mut Port,
    err: *mut c_char,
    err_size: usize,
) -> c_int {
    let opened = guard(Err(bug()), || {
        // SAFETY: NULL or valid by the caller's promise.
        let follower = unsafe { follower.as_ref() };
        // SAFETY: passed on with the same promise.
        unsafe { open(follower, config, portp) }
    });
    // SAFETY: `err` has room for `err_size` bytes by the caller's promise.
    unsafe { put_error(opened, err, err_size) }
}

/// Closes the port of a follower, to be opened again: until then, nothing of a port that is a whole
/// interface reaches the host's network stack.
///
/// # Parameters
///
/// * `follower`: the follower.
/// * `port`: the port; NULL does nothing.
///
/// # Ownership
///
/// The port is gone, and its queues with it: no thread may be using them.
///
/// # Threads
///
/// main.
///
/// # Safety
///
/// `follower` is NULL or valid. `port` is NULL or came from `netmap_follower_open` and was not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_follower_close(follower: *mut Follower, port: *mut Port) {
    guard((), || {
        if port.is_null() {
            return;
        }
        // SAFETY: made by `Box::into_raw` when it was opened.
        let port = unsafe { Box::from_raw(port) };
        // SAFETY: NULL or valid by the caller's promise.
        if let Some(follower) = unsafe { follower.as_ref() } {
            follower.close(*port);
        }
    });
}

/// Looks at the interface, if it is time, and tells what is to be done.
///
/// # Parameters
///
/// * `follower`: the follower; NULL has nothing to do.
/// * `port`: its port; NULL while that is closed.
/// * `heard`: whether some interface has changed, as far as is known: it is time to look then.
///
/// # Returns
///
/// A sum of values of `enum netmap_follower_action`.
///
/// # Threads
///
/// main.
///
/// # Safety
///
/// `follower` is NULL or valid. `port` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_follower_run(
    follower: *mut Follower,
    port: *const Port,
    heard: bool,
) -> u32 {
    guard(0, || {
        // SAFETY: NULL or valid, NULL or open, by the caller's promise.
        let (follower, port) = unsafe { (follower.as_ref(), port.as_ref()) };
        let actions = follower
            .map(|follower| follower.run(port.map(Port::state), heard))
            .unwrap_or_default();
        let flag = |on: bool, flag: FollowerAction| if on { flag as u32 } else { 0 };
        flag(actions.changed, FollowerAction::Changed)
            | flag(actions.reopen, FollowerAction::Reopen)
    })
}

/// Tells when `netmap_follower_run` is to be called next, at the latest.
///
/// # Parameters
///
/// * `follower`: the follower; NULL needs no call.
///
/// # Returns
///
/// In how many milliseconds; -1 for never.
///
/// # Threads
///
/// main.
///
/// # Safety
///
/// `follower` is NULL or valid.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_follower_wait(follower: *const Follower) -> i64 {
    guard(-1, || {
        // SAFETY: NULL or valid by the caller's promise.
        let follower = unsafe { follower.as_ref() };
        // Rounded up, so that it is not called before the time.
        follower.map_or(-1, |f| f.wait().as_micros().div_ceil(1000) as i64)
    })
}

/// Tells what keeps a port from working as it is configured.
///
/// # Parameters
///
/// * `follower`: the follower; NULL has nothing to say.
/// * `port`: its port; NULL while that is closed.
/// * `err` (out): what it is; cut at `err_size` bytes.
/// * `err_size`: bytes of room at `err`; 0 for no message.
///
/// # Returns
///
/// Whether there is something.
///
/// # Threads
///
/// any.
///
/// # Safety
///
/// `follower` is NULL or valid. `port` is NULL or open. `err` has room for `err_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_follower_error(
    follower: *const Follower,
    port: *const Port,
    err: *mut c_char,
    err_size: usize,
) -> bool {
    guard(false, || {
        // SAFETY: NULL or valid, NULL or open, by the caller's promise.
        let (follower, port) = unsafe { (follower.as_ref(), port.as_ref()) };
        let error = follower.and_then(|follower| follower.error(port.map(Port::state)));
        if let Some(error) = &error {
            // SAFETY: `err` has room for `err_size` bytes by the caller's promise.
            unsafe { put_text(error, err, err_size) };
        }
        error.is_some()
    })
}

/// Does what is left to do of ports that were closed: buffers that the kernel had are free when it has
/// let go of them. To be called in the main loop.
///
/// # Returns
///
/// In how many milliseconds to call it again; -1 if nothing is left.
///
/// # Threads
///
/// main.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_run() -> i64 {
    guard(-1, || {
        engine::run().map_or(-1, |wait| wait.as_millis() as i64)
    })
}
