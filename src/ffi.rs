// SPDX-License-Identifier: Apache-2.0
//! The C interface, the only place where raw pointers from C become Rust values.
//!
//! Each function is a null check, a call, and a mapping of the result. Each runs in [`guard`], so
//! that no panic unwinds into C.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::frames::Outgoing;
use crate::link::Link;
use crate::pool::{self, Packet, PacketLayout};
use crate::port::{Port, PortConfig, RxHandle, Stats};
use crate::tx::Sent;
use crate::{clock, config, logger, port, show};

/// Open vSwitch's string map; opaque.
pub struct Smap;
/// Open vSwitch's packet; opaque.
pub struct DpPacket;
/// Open vSwitch's receive queue; opaque.
pub struct NetdevRxq;

/// Severity of a log message, most severe first.
#[repr(C)]
#[derive(Clone, Copy)]
pub enum LogLevel {
    /// Something is wrong.
    Err = 0,
    /// Something is odd.
    Warn = 1,
    /// Something happened.
    Info = 2,
    /// Details.
    Dbg = 3,
}

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

/// [`Host`], complete.
#[derive(Clone, Copy)]
struct Callbacks {
    layout: PacketLayout,
    packet_init: unsafe extern "C" fn(*mut DpPacket),
    config_get: unsafe extern "C" fn(*const Smap, *const c_char) -> *const c_char,
    register_class: unsafe extern "C" fn(),
    rxq_handle: unsafe extern "C" fn(*const NetdevRxq) -> *mut RxHandle,
    log: unsafe extern "C" fn(LogLevel, *const c_char),
}

static HOST: OnceLock<Callbacks> = OnceLock::new();
static INITIALIZED: AtomicBool = AtomicBool::new(false);
static REGISTERED: AtomicBool = AtomicBool::new(false);

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

/// Takes a key and a value, which are valid during the call.
pub type StatusCallback =
    Option<unsafe extern "C" fn(key: *const c_char, value: *const c_char, aux: *mut c_void)>;

/// Takes a counter's name, which is valid during the call, and its value.
pub type CounterCallback =
    Option<unsafe extern "C" fn(name: *const c_char, value: u64, aux: *mut c_void)>;

/// Runs `body`; if it panics, logs that and returns `otherwise`.
#[inline]
fn guard<R>(otherwise: R, body: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        // Logging may be what panicked.
        let _again = catch_unwind(|| log::error!("a bug in libovs_netmap: a call was abandoned"));
        otherwise
    })
}

/// 0, or the errno of the error, which is logged.
fn status(result: Result<()>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(error) => {
            log::warn!("{error}");
            error.errno()
        }
    }
}

/// A C string as UTF-8, bad bytes replaced; `None` for NULL.
///
/// # Safety
///
/// `text` is NULL or a NUL-terminated string that lives as long as the result is used.
unsafe fn text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(
        unsafe { CStr::from_ptr(text) }
            .to_string_lossy()
            .into_owned(),
    )
}

/// `text` for C; what follows a NUL inside is cut.
fn c_string(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(&text[..end]).unwrap_or_default()
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
        let Some(host) = (unsafe { host.as_ref() }) else {
            return libc::EINVAL;
        };
        let complete = (|| {
            Some(Callbacks {
                layout: PacketLayout::new(
                    host.dp_packet_size,
                    host.frame_ofs,
                    host.source_ofs,
                    host.source,
                    init_packet,
                )?,
                packet_init: host.packet_init?,
                config_get: host.config_get?,
                register_class: host.register_class?,
                rxq_handle: host.rxq_handle?,
                log: host.log?,
            })
        })();
        let Some(callbacks) = complete else {
            return libc::EINVAL;
        };
        if HOST.set(callbacks).is_err() {
            return libc::EEXIST;
        }
        logger::install(Box::new(move |level, message| {
            let level = match level {
                logger::LEVEL_ERR => LogLevel::Err,
                logger::LEVEL_WARN => LogLevel::Warn,
                logger::LEVEL_INFO => LogLevel::Info,
                _ => LogLevel::Dbg,
            };
            // SAFETY: the callback takes any level and string, from any thread (`Host::log`).
            unsafe { (callbacks.log)(level, c_string(message).as_ptr()) };
        }));
        0
    })
}

/// Makes one packet with the host's help.
fn init_packet(packet: *mut c_void) {
    if let Some(host) = HOST.get() {
        // SAFETY: the pool gives zeroed memory of the size that the host named.
        unsafe { (host.packet_init)(packet.cast()) };
    }
}

/// Reads 'other_config' and, once netmap-init is true in it, calibrates the clock, registers the
/// port type and says so in the log. Call it in every pass of the main loop: what may change at run
/// time is followed.
///
/// # Safety
///
/// `other_config` is NULL or a map that the host's `config_get` can read.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_init(other_config: *const Smap) {
    guard((), || {
        // SAFETY: passed on with the same promise.
        unsafe { netmap_init_config(other_config) };
        if !config::current().init || INITIALIZED.swap(true, Ordering::Relaxed) {
            return;
        }
        let rate = clock::calibrate();
        netdev_netmap_register();
        let config = config::current();
        log::info!(
            "netmap ports are enabled: engine {}, {} extra buffers a port, rxsync every {} us, {} \
             ticks a second",
            config.engine,
            config.extra_bufs,
            config.rxsync_interval_us,
            rate
        );
    });
}

/// Reads the keys of 'other_config'. A bad value is logged, once, and the default kept.
///
/// # Safety
///
/// As for `netmap_init`.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_init_config(other_config: *const Smap) {
    guard((), || {
        let Some(host) = HOST.get().filter(|_| !other_config.is_null()) else {
            return;
        };
        let before = config::generation();
        let problems = config::reload(&|key| {
            let key = c_string(key);
            // SAFETY: the map is readable by the caller's promise; the value is copied at once.
            unsafe { text((host.config_get)(other_config, key.as_ptr())) }
        });
        for problem in problems {
            log::warn!("{problem}");
        }
        if config::generation() != before {
            port::follow_global_interval();
        }
    });
}

/// Has the host register the netdev class; once, further calls do nothing.
#[unsafe(no_mangle)]
pub extern "C" fn netdev_netmap_register() {
    guard((), || {
        if let Some(host) = HOST.get()
            && !REGISTERED.swap(true, Ordering::Relaxed)
        {
            // SAFETY: the host's callback takes nothing.
            unsafe { (host.register_class)() };
        }
    });
}

/// Whether netmap-init was seen true, so that the port type exists.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_initialized() -> bool {
    guard(false, || INITIALIZED.load(Ordering::Relaxed))
}

/// Makes the calling thread ready to poll 'rxq': it gets packet caches of its own. Does nothing for
/// a queue of another port type.
///
/// # Safety
///
/// `rxq` is NULL or a queue that the host's `rxq_handle` can look at.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_init_port(rxq: *mut NetdevRxq) {
    guard((), || {
        let Some(host) = HOST.get().filter(|_| !rxq.is_null()) else {
            return;
        };
        // SAFETY: the caller's promise.
        let handle = unsafe { (host.rxq_handle)(rxq) };
        // SAFETY: NULL, or a handle of `netmap_port_rxq` whose port is open while OVS has the queue.
        if let Some(handle) = unsafe { handle.as_ref() } {
            // SAFETY: only the calling thread polls the queue.
            unsafe { handle.alone(|queue| queue.pool().attach_thread()) };
        }
    });
}

/// Gives the packet caches of the calling thread back. Call it when what the thread polls is about
/// to change; a thread that ends does it by itself.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_flush_thread() {
    guard((), pool::flush_thread);
}

/// Frees a packet whose source is DPBUF_NETMAP: it goes back to its pool with its buffer. NULL is
/// fine. Any thread.
///
/// # Safety
///
/// `packet` came from `netmap_rxq_recv`, is the caller's, and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_free_packet(packet: *mut DpPacket) {
    guard((), || {
        // SAFETY: the caller's promise is what `free_raw` asks for.
        if !packet.is_null() && !unsafe { pool::free_raw(packet.cast()) } {
            log::error!("a packet was freed twice; the second time was ignored");
        }
    });
}

/// Notes that the data of 'packet' was moved to 'memory', because its buffer had too little room. The
/// library frees 'memory' with free() when it is done with the packet.
///
/// # Safety
///
/// `packet` came from `netmap_rxq_recv` and is the caller's; `memory` came from malloc.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_packet_moved(packet: *mut DpPacket, memory: *mut c_void) {
    // SAFETY: the caller's promise is what `moved_to` asks for.
    guard((), || unsafe { Packet::moved_to(packet.cast(), memory) });
}

/// The time stamp counter. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_rdtsc() -> u64 {
    guard(0, clock::rdtsc)
}

/// Its measured rate. The first call takes some 20 ms. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_ticks_per_second() -> u64 {
    guard(1, clock::ticks_per_second)
}

/// Microseconds to ticks of the counter, rounded up; UINT64_MAX when it does not fit. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_us_to_ticks(us: u64) -> u64 {
    guard(0, || clock::us_to_ticks(us))
}

/// Ticks of the counter to microseconds. Any thread.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_ticks_to_us(ticks: u64) -> u64 {
    guard(0, || clock::ticks_to_us(ticks))
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
    let host = HOST.get().ok_or_else(|| missing("netmap_host_attach"))?;
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
        owner: owner.as_deref().unwrap_or(&name),
        n_rxq: options.n_rxq,
        n_txq: options.n_txq,
        rxsync_interval_us: interval(options.rxsync_intval_us)?,
        null_source: source.as_deref(),
        packet: host.layout,
    })
}

/// -1 as `None`.
fn interval(us: i64) -> Result<Option<u64>> {
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

/// Copies `text` to `to`, cut at `size` bytes with the final NUL.
///
/// # Safety
///
/// `to` has room for `size` bytes, or `size` is 0.
unsafe fn put_text(text: &str, to: *mut c_char, size: usize) {
    let Some(room) = size.checked_sub(1).filter(|_| !to.is_null()) else {
        return;
    };
    let text = c_string(text);
    let n = text.as_bytes().len().min(room);
    // SAFETY: `n + 1 <= size` bytes fit by the caller's promise.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), to, n);
        *to.add(n) = 0;
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

/// Runs `body` on an open port; `otherwise` for NULL.
///
/// # Safety
///
/// `port` is NULL or open.
#[inline]
unsafe fn with_port<R: Copy>(port: *const Port, otherwise: R, body: impl FnOnce(&Port) -> R) -> R {
    guard(otherwise, || {
        // SAFETY: NULL or open by the caller's promise.
        unsafe { port.as_ref() }.map_or(otherwise, body)
    })
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

/// Receive queue 'i', or NULL. It is the port's, and goes with it.
///
/// # Safety
///
/// `port` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_rxq(port: *mut Port, i: u32) -> *mut RxHandle {
    let none = std::ptr::null_mut();
    let find = |port: &Port| {
        let rxq = port.rxqs().get(i as usize);
        rxq.map_or(none, |rxq| std::ptr::from_ref(rxq).cast_mut())
    };
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, none, find) }
}

/// Receives at most 'max' frames. Returns how many; their packets, the first ones of 'packets', are the
/// caller's, and have their frames in them.
///
/// Only one thread polls a queue. A thread that called netmap_init_port for it does so without locks.
///
/// # Safety
///
/// `rxq` came from `netmap_port_rxq`, its port is open; `packets` has room for `max` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_rxq_recv(
    rxq: *mut RxHandle,
    packets: *mut *mut DpPacket,
    max: usize,
) -> usize {
    guard(0, || {
        // SAFETY: an open port's queue by the caller's promise.
        let Some(rxq) = (unsafe { rxq.as_ref() }) else {
            return 0;
        };
        if packets.is_null() {
            return 0;
        }
        // SAFETY: room for `max` elements by the caller's promise; they need no value yet.
        let out = unsafe { std::slice::from_raw_parts_mut(packets.cast(), max) };
        // SAFETY: only one thread polls a queue.
        unsafe { rxq.alone(|queue| queue.recv(out)) }
    })
}

/// Sends 'n' packets on transmit queue 'qid' (modulo their number). Returns how many left; the others
/// were dropped and counted.
///
/// Packets of this library are freed, sent or not. All others stay the caller's: they are the first
/// '*n_returned' of 'packets' then. With 'concurrent', any number of threads may send on the queue at
/// once; else only one.
///
/// # Safety
///
/// `port` is NULL or open; `packets` has `n` elements, which are packets of the caller, each once, with
/// readable frames; `n_returned` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_send(
    port: *mut Port,
    qid: u32,
    packets: *mut *mut DpPacket,
    n: usize,
    n_returned: *mut usize,
    concurrent: bool,
) -> usize {
    let sent = guard(Sent::default(), || {
        let Some(host) = HOST.get().filter(|_| !packets.is_null()) else {
            return Sent::default();
        };
        // SAFETY: `n` elements by the caller's promise.
        let packets = unsafe { std::slice::from_raw_parts_mut(packets.cast(), n) };
        // SAFETY: the packets were handed over and their frames are readable, by the caller's promise.
        let packets = unsafe { Outgoing::new(packets, host.layout) };
        // SAFETY: NULL or open by the caller's promise.
        let txqs = unsafe { port.as_ref() }.map_or(&[][..], Port::txqs);
        if txqs.is_empty() {
            return Sent {
                frames: 0,
                returned: packets.discard(),
            };
        }
        let txq = &txqs[qid as usize % txqs.len()];
        if concurrent {
            // SAFETY: the others that use the queue now also say `concurrent`.
            unsafe { txq.locked(|queue| queue.send(packets)) }
        } else {
            // SAFETY: by the caller's word nobody else uses the queue.
            unsafe { txq.alone(|queue| queue.send(packets)) }
        }
    });
    if !n_returned.is_null() {
        // SAFETY: writable by the caller's promise.
        unsafe { n_returned.write(sent.returned) };
    }
    sent.frames
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

/// Writes `value` to `to` and returns 0; EINVAL for NULL.
///
/// # Safety
///
/// `to` is NULL or writable.
unsafe fn put<T>(to: *mut T, value: T) -> c_int {
    if to.is_null() {
        return libc::EINVAL;
    }
    // SAFETY: writable by the caller's promise.
    unsafe { to.write(value) };
    0
}

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

/// Sets the flags, of the host interface too.
///
/// # Safety
///
/// `port` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_set_flags(port: *mut Port, up: bool, promisc: bool) -> c_int {
    let set = |port: &Port| status(port.state().set_flags(up, promisc));
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, libc::EINVAL, set) }
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

/// Frees a string of this library. NULL is fine.
///
/// # Safety
///
/// `string` is NULL or came from `netmap_show`, and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_string_free(string: *mut c_char) {
    guard((), || {
        if !string.is_null() {
            // SAFETY: made by `CString::into_raw` in `netmap_show`.
            drop(unsafe { CString::from_raw(string) });
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Each exported function with its body.
    fn exported() -> Vec<(String, &'static str)> {
        let source = include_str!("ffi.rs");
        let code = source.split("#[cfg(test)]").next().unwrap_or_default();
        let functions = code.split("#[unsafe(no_mangle)]").skip(1);
        let body = |text: &'static str| text.split("\n}\n").next().unwrap_or_default();
        functions
            .map(|text| {
                let name = text.split("fn ").nth(1).and_then(|t| t.split('(').next());
                (name.expect("a function").to_owned(), body(text))
            })
            .collect()
    }

    #[test]
    fn every_exported_function_is_guarded() {
        let exported = exported();
        assert!(exported.len() > 30, "{}", exported.len());
        for (name, body) in exported {
            let guarded = body.contains("guard(") || body.contains("with_port(");
            assert!(guarded, "{name} can unwind into C");
        }
    }

    #[test]
    fn every_exported_function_is_in_the_header() {
        let header = include_str!("../include/ovs_netmap.h");
        for (name, _) in exported() {
            assert!(header.contains(&format!("{name}(")), "{name}");
        }
    }

    #[test]
    fn a_panic_becomes_the_other_value() {
        assert_eq!(guard(7, || panic!("on purpose")), 7);
        assert_eq!(guard(7, || 8), 8);
    }

    #[test]
    fn messages_are_cut_and_terminated() {
        let mut room = [1 as c_char; 4];
        // SAFETY: four bytes of room.
        unsafe { put_text("abcdef", room.as_mut_ptr(), 4) };
        assert_eq!(room, [b'a', b'b', b'c', 0].map(|b| b as c_char));
        // SAFETY: no room is asked for.
        unsafe { put_text("abc", std::ptr::null_mut(), 9) };
        assert_eq!(c_string("a\0b").to_bytes(), b"a");
        assert!(interval(-2).is_err() && interval(-1) == Ok(None) && interval(3) == Ok(Some(3)));
    }
}
