// SPDX-License-Identifier: Apache-2.0
//! Opening and closing a port, and its options.

use std::ffi::{c_char, c_int};

use super::guard::{guard, status, with_port};
use super::host::attached;
use super::text::{put_text, text};
use crate::error::{Error, Result};
use crate::port::{Port, PortConfig};

/// What a port is opened with.
#[repr(C)]
pub struct PortOptions {
    /// Name of the netmap port, such as "netmap:eth0" or "vale0:1".
    pub name: *const c_char,
    /// Name of the interface in Open vSwitch, for messages.
    pub owner: *const c_char,
    /// Receive queues to poll; 0 for the default of one.
    pub n_rxq: u32,
    /// Transmit queues wanted; 0 for one. The port has at most as many as rings.
    pub n_txq: u32,
    /// Microseconds between syncs of an idle ring; -1 for the global value.
    pub rxsync_intval_us: i64,
    /// What a null port delivers: "zero" or "udp:K" (K flows); NULL for "zero".
    pub null_source: *const c_char,
}

/// Opens a port.
///
/// Returns 0 and the port in '*portp', or an errno and a message in 'err', cut at 'err_size' bytes.
/// The port is the caller's, to be closed by netmap_port_close.
///
/// # Safety
///
/// `config` and its strings are valid; `portp` is writable; `err` has room for `err_size` bytes, or
/// `err_size` is 0.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_open(
    config: *const PortOptions,
    portp: *mut *mut Port,
    err: *mut c_char,
    err_size: usize,
) -> c_int {
    let opened = guard(
        Err(Error::new(
            libc::EINVAL,
            "a bug in libovs_netmap: see the log",
        )),
        // SAFETY: passed on with the same promise.
        || unsafe { open(config) },
    );
    match opened {
        Ok(port) if !portp.is_null() => {
            // SAFETY: writable by the caller's promise.
            unsafe { portp.write(Box::into_raw(Box::new(port))) };
            0
        }
        Ok(_) => libc::EINVAL,
        Err(error) => {
            // SAFETY: `err` has room for `err_size` bytes by the caller's promise.
            unsafe { put_text(&error.to_string(), err, err_size) };
            error.errno()
        }
    }
}

/// # Safety
///
/// As for `netmap_port_open`.
unsafe fn open(options: *const PortOptions) -> Result<Port> {
    let missing = |what| Error::new(libc::EINVAL, format!("{what} is missing"));
    let host = attached().ok_or_else(|| missing("netmap_host_attach"))?;
    // SAFETY: valid by the caller's promise.
    let options = unsafe { options.as_ref() }.ok_or_else(|| missing("config"))?;
    // SAFETY: the strings are valid by the caller's promise.
    let (name, owner, source) = unsafe {
        (
            text(options.name),
            text(options.owner),
            text(options.null_source),
        )
    };
    let name = name.ok_or_else(|| missing("config->name"))?;
    Port::open(&PortConfig {
        name: &name,
        ovs_name: owner.as_deref().unwrap_or(&name),
        n_rxq: options.n_rxq,
        n_txq: options.n_txq,
        rxsync_interval_us: interval(options.rxsync_intval_us)?,
        null_source: source.as_deref(),
        packet: host.layout(),
    })
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

/// Closes a port. NULL is fine. No thread may be using its queues. Packets that were received from it
/// stay valid until they are freed.
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

/// Number of receive queues.
///
/// # Safety
///
/// `port` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_n_rxq(port: *const Port) -> u32 {
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, 0, |port| port.rxqs().len() as u32) }
}

/// Number of transmit queues.
///
/// # Safety
///
/// `port` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_n_txq(port: *const Port) -> u32 {
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, 0, |port| port.txqs().len() as u32) }
}

/// Changes the microseconds between syncs of an idle ring; -1 follows the global value. While traffic
/// runs, too.
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

/// The microseconds in force; -1 for NULL.
///
/// # Safety
///
/// `port` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_get_rxsync_intval(port: *const Port) -> i64 {
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, -1, |port| port.state().rxsync_interval_us() as i64) }
}
