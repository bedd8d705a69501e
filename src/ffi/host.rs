// SPDX-License-Identifier: Apache-2.0
//! What the library needs of Open vSwitch.

use std::ffi::{c_char, c_int, c_void};
use std::sync::OnceLock;

use super::guard::guard;
use super::text::{c_string, text};
use super::types::{DpPacket, NetdevRxq, Smap};
use crate::logger::{self, LogLevel};
use crate::pool::PacketLayout;
use crate::port::RxHandle;

/// What the library needs of Open vSwitch. All callbacks must be set.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Host {
    /// sizeof(struct dp_packet).
    pub dp_packet_size: usize,
    /// Offset in it of what has the layout of struct netmap_frame.
    pub frame_ofs: usize,
    /// Offset in it of the byte that is 'source' in packets of this library and no others.
    pub source_ofs: usize,
    /// DPBUF_NETMAP.
    pub source: u8,
    /// Sets up a new packet, once, on zeroed memory.
    pub packet_init: Option<unsafe extern "C" fn(packet: *mut DpPacket)>,
    /// Value of 'key' in 'config', or NULL. It must stay valid until the next call.
    pub config_get:
        Option<unsafe extern "C" fn(config: *const Smap, key: *const c_char) -> *const c_char>,
    /// Registers the netdev class.
    pub register_class: Option<unsafe extern "C" fn()>,
    /// The library's queue behind 'rxq'; NULL for other port types.
    pub rxq_handle: Option<unsafe extern "C" fn(rxq: *const NetdevRxq) -> *mut RxHandle>,
    /// Logs 'message'; any thread.
    pub log: Option<unsafe extern "C" fn(level: LogLevel, message: *const c_char)>,
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
    fn new(host: Host) -> Option<Attached> {
        let callbacks = host.packet_init.is_some()
            && host.config_get.is_some()
            && host.register_class.is_some()
            && host.rxq_handle.is_some()
            && host.log.is_some();
        let layout = PacketLayout::new(
            host.dp_packet_size,
            host.frame_ofs,
            host.source_ofs,
            host.source,
            init_packet,
        )?;
        callbacks.then_some(Attached { host, layout })
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
    pub(super) unsafe fn rxq_handle(&self, rxq: *const NetdevRxq) -> *mut RxHandle {
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

/// Hands the library what it needs of Open vSwitch. Call it once, before anything else.
///
/// Returns 0, EINVAL when something is missing in 'host', EEXIST when it was called before.
/// 'host' is copied.
///
/// # Safety
///
/// `host` is NULL or valid, and its callbacks are what their documentation says, for ever.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_host_attach(host: *const Host) -> c_int {
    guard(libc::EINVAL, || {
        // SAFETY: NULL or valid, by the caller's promise.
        let Some(attached) = (unsafe { host.as_ref() }).and_then(|host| Attached::new(*host))
        else {
            return libc::EINVAL;
        };
        if ATTACHED.set(attached).is_err() {
            return libc::EEXIST;
        }
        logger::install(Box::new(|level, message| {
            if let Some(attached) = self::attached() {
                attached.log(level, message);
            }
        }));
        0
    })
}
