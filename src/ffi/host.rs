// SPDX-License-Identifier: Apache-2.0
//! What the library needs of Open vSwitch.

use std::ffi::{c_char, c_int, c_void};
use std::sync::OnceLock;

use super::abi::ABI;
use super::guard::{bug, guard};
use super::text::{c_string, put_error, text};
use super::types::{DpPacket, NetdevRxq, Smap};
use crate::error::{Error, Result};
use crate::logger::{self, LogLevel};
use crate::pool::PacketLayout;
use crate::rx::RxQueue;

/// What the library needs of Open vSwitch. All callbacks must be set.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Host {
    /// sizeof(struct netmap_host). This and the next member never change.
    pub size: u32,
    /// OVS_NETMAP_ABI.
    pub abi: u32,
    /// sizeof(struct dp_packet).
    pub dp_packet_size: usize,
    /// Offset in it of what has the layout of struct netmap_frame.
    pub frame_ofs: usize,
    /// Offset in it of the byte that is `source` in packets of this library and no others.
    pub source_ofs: usize,
    /// DPBUF_NETMAP.
    pub source: u8,
    /// Sets up a new packet, once, on zeroed memory.
    pub packet_init: Option<unsafe extern "C" fn(packet: *mut DpPacket)>,
    /// Returns the value of `key` in `config`, or NULL. It must stay valid until the next call.
    pub config_get:
        Option<unsafe extern "C" fn(config: *const Smap, key: *const c_char) -> *const c_char>,
    /// Registers the netdev class.
    pub register_class: Option<unsafe extern "C" fn()>,
    /// Returns the library's queue behind `rxq`; NULL for other port types.
    pub rxq_handle: Option<unsafe extern "C" fn(rxq: *const NetdevRxq) -> *mut RxQueue>,
    /// Logs `message`. Called by any thread.
    pub log: Option<unsafe extern "C" fn(level: LogLevel, message: *const c_char)>,
}

impl Host {
    /// Reads a host that may have been built for another version of this library.
    ///
    /// # Safety
    ///
    /// `host` is NULL or has as many bytes as its `size` says, at least 8.
    unsafe fn read(host: *const Host) -> Result<Host> {
        if host.is_null() {
            return Err(Error::new(libc::EINVAL, "there is no struct netmap_host"));
        }
        // SAFETY: these two members are there in every version, by the caller's promise.
        let (size, abi) = unsafe {
            (
                (&raw const (*host).size).read(),
                (&raw const (*host).abi).read(),
            )
        };
        let version = env!("CARGO_PKG_VERSION");
        if abi != ABI {
            return Err(Error::new(
                libc::EPROTO,
                format!(
                    "this program was built for ABI {abi} of libovs_netmap, but version {version} \
                     has ABI {ABI}: build it again with this version"
                ),
            ));
        }
        if size as usize != size_of::<Host>() {
            return Err(Error::new(
                libc::EPROTO,
                format!(
                    "struct netmap_host has {size} bytes in this program, but {} in version \
                     {version} of libovs_netmap: build it again with this version",
                    size_of::<Host>()
                ),
            ));
        }
        // SAFETY: all of it is there, by the caller's promise.
        Ok(unsafe { host.read() })
    }
}

/// A complete [`Host`], and what follows from it.
pub(super) struct Attached {
    host: Host,
    layout: PacketLayout,
}

static ATTACHED: OnceLock<Attached> = OnceLock::new();

/// The host, once there is one.
#[inline]
pub(super) fn attached() -> Option<&'static Attached> {
    ATTACHED.get()
}

impl Attached {
    /// `host`, if it lacks nothing.
    fn new(host: Host) -> Result<Attached> {
        let callbacks = [
            ("packet_init", host.packet_init.is_some()),
            ("config_get", host.config_get.is_some()),
            ("register_class", host.register_class.is_some()),
            ("rxq_handle", host.rxq_handle.is_some()),
            ("log", host.log.is_some()),
        ];
        if let Some((name, _)) = callbacks.iter().find(|(_, there)| !there) {
            let message = format!("struct netmap_host: {name} is not set");
            return Err(Error::new(libc::EINVAL, message));
        }
        let layout = PacketLayout::new(
            host.dp_packet_size,
            host.frame_ofs,
            host.source_ofs,
            host.source,
            init_packet,
        );
        let layout = layout.ok_or_else(|| {
            let message = "struct netmap_host: frame_ofs or source_ofs is outside of a packet";
            Error::new(libc::EINVAL, message)
        })?;
        Ok(Attached { host, layout })
    }

    /// How Open vSwitch's packets are laid out.
    #[inline]
    pub(super) fn layout(&self) -> PacketLayout {
        self.layout
    }

    /// The value of `key` in `config`.
    ///
    /// # Safety
    ///
    /// `config` is a map that the host's `config_get` can read.
    pub(super) unsafe fn config_get(&self, config: *const Smap, key: &str) -> Option<String> {
        let (get, key) = (self.host.config_get?, c_string(key));
        // SAFETY: the map is readable by the caller's promise; the value is copied at once.
        unsafe { text(get(config, key.as_ptr())) }
    }

    /// Registers the netdev class.
    pub(super) fn register_class(&self) {
        if let Some(register) = self.host.register_class {
            // SAFETY: the callback takes nothing.
            unsafe { register() };
        }
    }

    /// The library's queue behind `rxq`; NULL for other port types.
    ///
    /// # Safety
    ///
    /// `rxq` is a queue that the host's `rxq_handle` can look at.
    pub(super) unsafe fn rxq_handle(&self, rxq: *const NetdevRxq) -> *mut RxQueue {
        let handle = self.host.rxq_handle;
        // SAFETY: the caller's promise.
        handle.map_or(std::ptr::null_mut(), |handle| unsafe { handle(rxq) })
    }

    fn log(&self, level: LogLevel, message: &str) {
        if let Some(log) = self.host.log {
            // SAFETY: the callback takes any level and string, from any thread (`Host::log`).
            unsafe { log(level, c_string(message).as_ptr()) };
        }
    }
}

/// Makes one packet with the host's help.
fn init_packet(packet: *mut c_void) {
    if let Some(init) = attached().and_then(|attached| attached.host.packet_init) {
        // SAFETY: the pool gives zeroed memory of the size that the host named.
        unsafe { init(packet.cast()) };
    }
}

/// Tells the library what it needs of Open vSwitch. To be called once, before any other function.
///
/// A program that was built for another ABI of the library is refused; so the library never touches a
/// struct that it does not know. After a failure netmap ports cannot be opened, and all else does
/// nothing.
///
/// # Parameters
///
/// * `host`: copied; its `size` and `abi` are read first, and the rest only when both are what the
///   library expects.
/// * `err` (out): why it failed; cut at `err_size` bytes.
/// * `err_size`: bytes of room at `err`; 0 for no message.
///
/// # Returns
///
/// 0; EPROTO for another ABI; EINVAL when something is missing in `host`; EEXIST when there is a host
/// already.
///
/// # Ownership
///
/// `host` and what it points to stay the caller's; the callbacks must work as long as the process
/// lives.
///
/// # Threads
///
/// main.
///
/// # Safety
///
/// `host` is NULL or has as many bytes as its `size` says, at least 8. Its callbacks are what their
/// documentation says. `err` has room for `err_size` bytes.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_host_attach(
    host: *const Host,
    err: *mut c_char,
    err_size: usize,
) -> c_int {
    // SAFETY: passed on with the same promise.
    let attached = guard(Err(bug()), || unsafe { attach(host) });
    // SAFETY: `err` has room for `err_size` bytes by the caller's promise.
    unsafe { put_error(attached, err, err_size) }
}

/// # Safety
///
/// As for `netmap_host_attach`.
unsafe fn attach(host: *const Host) -> Result<()> {
    // SAFETY: passed on with the same promise.
    let attached = Attached::new(unsafe { Host::read(host) }?)?;
    if ATTACHED.set(attached).is_err() {
        return Err(Error::new(
            libc::EEXIST,
            "libovs_netmap has a struct netmap_host already",
        ));
    }
    logger::install(Box::new(|level, message| {
        if let Some(attached) = self::attached() {
            attached.log(level, message);
        }
    }));
    Ok(())
}
