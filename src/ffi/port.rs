// SPDX-License-Identifier: Apache-2.0
//! Opening and closing a port, and its options.

use std::ffi::{c_char, c_int};
use std::path::Path;

use super::guard::{bug, guard, status, with_port};
use super::host::attached;
use super::text::{put_error, text};
use crate::config::PortConfig;
use crate::error::{Error, Result};
use crate::follower::Follower;
use crate::port::Port;

/// What a port is opened with.
#[repr(C)]
pub struct PortOptions {
    /// Name of the netmap port, such as "netmap:eth0" or "vale0:1".
    pub name: *const c_char,
    /// Name of the interface in Open vSwitch, for messages.
    pub ovs_name: *const c_char,
    /// Receive queues to poll; 0 for the default of one.
    pub n_rxq: u32,
    /// Transmit queues wanted; 0 for one. The port has at most as many as rings.
    pub n_txq: u32,
    /// Microseconds between syncs of an idle ring; -1 for the global value.
    pub rxsync_intval_us: i64,
    /// What a null port delivers: "zero" or "udp:K" (K flows); NULL for "zero".
    pub null_source: *const c_char,
    /// Whether frames stay where another process may write them while Open vSwitch works on them
    /// (VALE, pipes and the global region of netmap's module): else they are copied on receipt.
    pub trusted_peer: bool,
    /// Engine xdp: packets that the driver handles at most in each call when the thread that receives polls
    /// it (SO_BUSY_POLL_BUDGET); 0 to leave the driver to its interrupts.
    pub busy_poll_budget: u32,
    /// Whether checksums that a sender left out are completed: "auto", "on" or "off"; NULL for "auto".
    pub rx_csum: *const c_char,
    /// Directory for what must survive a crash of the process; NULL for none.
    pub run_dir: *const c_char,
}

/// Opens a port.
///
/// # Parameters
///
/// * `config`: what to open, and how.
/// * `portp` (out): the port.
/// * `err` (out): why it failed; cut at `err_size` bytes.
/// * `err_size`: bytes of room at `err`; 0 for no message.
///
/// # Returns
///
/// 0 or an errno.
///
/// # Ownership
///
/// The port is the caller's, to be closed by `netmap_port_close`. `config` and its strings stay the
/// caller's.
///
/// # Threads
///
/// main.
///
/// # Safety
///
/// `config` and its strings are valid. `portp` is writable. `err` has room for `err_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_open(
    config: *const PortOptions,
    portp: *mut *mut Port,
    err: *mut c_char,
    err_size: usize,
) -> c_int {
    // SAFETY: passed on with the same promise.
    let opened = guard(Err(bug()), || unsafe { open(None, config, portp) });
    // SAFETY: `err` has room for `err_size` bytes by the caller's promise.
    unsafe { put_error(opened, err, err_size) }
}

/// Opens a port, by its follower if it has one.
///
/// # Safety
///
/// As for `netmap_port_open`.
pub(super) unsafe fn open(
    follower: Option<&Follower>,
    options: *const PortOptions,
    portp: *mut *mut Port,
) -> Result<()> {
    let missing = |what| Error::new(libc::EINVAL, format!("{what} is missing"));
    let host = attached().ok_or_else(|| missing("netmap_host_attach"))?;
    // SAFETY: valid by the caller's promise.
    let options = unsafe { options.as_ref() }.ok_or_else(|| missing("config"))?;
    // SAFETY: the strings are valid by the caller's promise.
    let (name, ovs_name, source, rx_csum, run_dir) = unsafe {
        (
            text(options.name),
            text(options.ovs_name),
            text(options.null_source),
            text(options.rx_csum),
            text(options.run_dir),
        )
    };
    let name = name.ok_or_else(|| missing("config->name"))?;
    if portp.is_null() {
        return Err(missing("portp"));
    }
    let wanted = PortConfig {
        name: &name,
        ovs_name: ovs_name.as_deref().unwrap_or(&name),
        n_rxq: options.n_rxq,
        n_txq: options.n_txq,
        rxsync_interval_us: interval(options.rxsync_intval_us)?,
        null_source: source.as_deref(),
        trusted_peer: options.trusted_peer,
        busy_poll_budget: options.busy_poll_budget,
        rx_csum: rx_csum.as_deref().unwrap_or("auto").parse()?,
        run_dir: run_dir.as_deref().map(Path::new),
        packet: host.layout(),
    };
    let port = match follower {
        Some(follower) => follower.open(&wanted)?,
        None => Port::open(&wanted)?,
    };
    // SAFETY: writable by the caller's promise.
    unsafe { portp.write(Box::into_raw(Box::new(port))) };
    Ok(())
}

/// -1 as `None`.
pub(super) fn interval(us: i64) -> Result<Option<u64>> {
    match us {
        -1 => Ok(None),
        us => u64::try_from(us).map(Some).map_err(|_| {
            Error::new(
                libc::EINVAL,
                format!("rxsync-intval={us}: expected microseconds, or -1 for the global value"),
            )
        }),
    }
}

/// Closes a port. Packets that were received from it stay valid until they are freed.
///
/// # Parameters
///
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
/// `port` is NULL or came from `netmap_port_open` and was not closed.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_close(port: *mut Port) {
    guard((), || {
        if !port.is_null() {
            // SAFETY: made by `Box::into_raw` in `netmap_port_open`.
            drop(unsafe { Box::from_raw(port) });
        }
    });
}

/// Tells how many receive queues a port has.
///
/// # Parameters
///
/// * `port`: the port; NULL has none.
///
/// # Returns
///
/// How many.
///
/// # Threads
///
/// any.
///
/// # Safety
///
/// `port` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_n_rxq(port: *const Port) -> u32 {
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, 0, |port| port.rxqs().len() as u32) }
}

/// Tells how many transmit queues a port has.
///
/// # Parameters
///
/// * `port`: the port; NULL has none.
///
/// # Returns
///
/// How many.
///
/// # Threads
///
/// any.
///
/// # Safety
///
/// `port` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_n_txq(port: *const Port) -> u32 {
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, 0, |port| port.txqs().len() as u32) }
}

/// Changes the time between two syncs of an idle receive ring, while traffic runs, too.
///
/// # Parameters
///
/// * `port`: the port; NULL fails.
/// * `us`: microseconds; -1 follows the global value.
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
pub unsafe extern "C" fn netmap_port_set_rxsync_intval(port: *mut Port, us: i64) -> c_int {
    let set =
        |port: &Port| status(interval(us).and_then(|us| port.state().set_rxsync_interval_us(us)));
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, libc::EINVAL, set) }
}

/// Tells the time between two syncs of an idle receive ring.
///
/// # Parameters
///
/// * `port`: the port.
///
/// # Returns
///
/// Microseconds; -1 when `port` is NULL.
///
/// # Threads
///
/// any.
///
/// # Safety
///
/// `port` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_get_rxsync_intval(port: *const Port) -> i64 {
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, -1, |port| port.state().rxsync_interval_us() as i64) }
}
