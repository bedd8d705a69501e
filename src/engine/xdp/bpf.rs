// SPDX-License-Identifier: Apache-2.0
//! bpf(2): the map from queue to socket, the program (`program.rs`) that looks the receiving queue up
//! in it, and the link that keeps the program attached.
//!
//! The link is a descriptor of this process: when it closes, for whatever reason, the program is gone.

use std::ffi::c_long;
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::btf;
use super::program::{Fallback, program};
use crate::error::{Error, Result};
use crate::netif::HostInterface;
use crate::vlan::VlanTags;

// From linux/bpf.h.
const BPF_MAP_CREATE: c_long = 0;
const BPF_MAP_LOOKUP_ELEM: c_long = 1;
const BPF_MAP_UPDATE_ELEM: c_long = 2;
const BPF_PROG_LOAD: c_long = 5;
const BPF_OBJ_GET_INFO_BY_FD: c_long = 15;
const BPF_LINK_CREATE: c_long = 28;
const BPF_LINK_DETACH: c_long = 34;
const BPF_MAP_TYPE_ARRAY: u32 = 2;
const BPF_MAP_TYPE_XSKMAP: u32 = 17;
const BPF_PROG_TYPE_XDP: u32 = 6;
const BPF_XDP: u32 = 37;
const BPF_F_XDP_HAS_FRAGS: u32 = 1 << 5;
const BPF_F_XDP_DEV_BOUND_ONLY: u32 = 1 << 6;
// From linux/if_link.h.
const XDP_FLAGS_SKB_MODE: u32 = 1 << 1;
const XDP_FLAGS_DRV_MODE: u32 = 1 << 2;

/// What `ip link` and `bpftool` show.
const NAME: &[u8] = b"ovs_netmap";
/// Functions of the kernel may be called only by programs that say that they come under a licence which
/// goes with its own. These few instructions, which `program` makes, may be used under either of these,
/// beside the licence of this file.
const LICENSE: &[u8] = b"Dual MIT/GPL\0";
/// The verifier says less about so little.
const LOG_SIZE: usize = 16 << 10;

/// `union bpf_attr` for `BPF_MAP_CREATE`, as far as it is used.
#[derive(Default)]
#[repr(C)]
struct MapCreate {
    map_type: u32,
    key_size: u32,
    value_size: u32,
    max_entries: u32,
    map_flags: u32,
    inner_map_fd: u32,
    numa_node: u32,
    map_name: [u8; 16],
}

/// `union bpf_attr` for `BPF_MAP_UPDATE_ELEM` and `BPF_MAP_LOOKUP_ELEM`.
#[derive(Default)]
#[repr(C)]
struct MapElem {
    map_fd: u32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// `union bpf_attr` for `BPF_PROG_LOAD`, as far as it is used.
#[derive(Default)]
#[repr(C)]
struct ProgLoad {
    prog_type: u32,
    insn_cnt: u32,
    insns: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log_buf: u64,
    kern_version: u32,
    prog_flags: u32,
    prog_name: [u8; 16],
    prog_ifindex: u32,
    expected_attach_type: u32,
}

/// `union bpf_attr` for `BPF_LINK_CREATE`.
#[derive(Default)]
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    target_ifindex: u32,
    attach_type: u32,
    flags: u32,
}

/// `union bpf_attr` for `BPF_LINK_DETACH`.
#[derive(Default)]
#[repr(C)]
struct LinkDetach {
    link_fd: u32,
}

/// `union bpf_attr` for `BPF_OBJ_GET_INFO_BY_FD`.
#[repr(C)]
struct GetInfo {
    fd: u32,
    info_len: u32,
    info: u64,
}

/// `struct bpf_link_info` of an XDP program.
#[derive(Default)]
#[repr(C)]
struct LinkInfo {
    link_type: u32,
    id: u32,
    prog_id: u32,
    padding: u32,
    /// 0 when the interface is gone.
    ifindex: u32,
}

// As the kernel's own header has them.
const _: () = assert!(size_of::<GetInfo>() == 16 && offset_of!(LinkInfo, ifindex) == 16);
const _: () = assert!(offset_of!(MapCreate, map_name) == 28 && size_of::<MapCreate>() == 44);
const _: () = assert!(size_of::<MapElem>() == 32);
const _: () = assert!(offset_of!(ProgLoad, log_buf) == 32 && offset_of!(ProgLoad, prog_name) == 48);
const _: () = assert!(size_of::<ProgLoad>() == 72 && size_of::<LinkCreate>() == 16);

/// A part of `union bpf_attr`.
///
/// # Safety
///
/// a. It is a prefix of the kernel's struct for one command, without padding.
/// b. Its constructor's caller put only addresses into it that stay valid during the call.
unsafe trait Attr {}
// SAFETY: a. asserted above; b. no address.
unsafe impl Attr for MapCreate {}
// SAFETY: a. asserted above; b. made in `Redirect::add` and `Redirect::dropped` alone.
unsafe impl Attr for MapElem {}
// SAFETY: a. asserted above; b. made in `load` alone.
unsafe impl Attr for ProgLoad {}
// SAFETY: a. asserted above; b. no address.
unsafe impl Attr for LinkCreate {}
// SAFETY: a. one field; b. no address.
unsafe impl Attr for LinkDetach {}
// SAFETY: a. asserted above; b. made in `Redirect::is_on` alone.
unsafe impl Attr for GetInfo {}

/// bpf(2).
fn bpf<T: Attr>(command: c_long, attr: &T) -> std::result::Result<c_long, std::io::Error> {
    // SAFETY: the kernel reads `size_of::<T>()` bytes, which are initialised (`Attr` a.), and follows
    // the addresses among them (`Attr` b.).
    let done = unsafe { libc::syscall(libc::SYS_bpf, command, attr, size_of::<T>()) };
    if done < 0 {
        Err(std::io::Error::last_os_error())
    } else {
        Ok(done)
    }
}

/// bpf(2), for commands that make a descriptor.
fn bpf_fd<T: Attr>(command: c_long, attr: &T) -> std::result::Result<OwnedFd, std::io::Error> {
    let fd = bpf(command, attr)?;
    // SAFETY: the kernel made this descriptor (close-on-exec) for us just now.
    Ok(unsafe { OwnedFd::from_raw_fd(fd as i32) })
}

/// A descriptor as bpf(2) takes it.
fn number(fd: &OwnedFd) -> u32 {
    fd.as_raw_fd() as u32
}

fn name() -> [u8; 16] {
    let mut name = [0; 16];
    name[..NAME.len()].copy_from_slice(NAME);
    name
}

/// How an interface runs an XDP program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    /// In its driver.
    Native,
    /// In the network stack, on any interface, more slowly.
    Generic,
}

impl Mode {
    /// As users know it.
    pub(super) fn name(self) -> &'static str {
        match self {
            Mode::Native => "native",
            Mode::Generic => "generic",
        }
    }
}

/// What a program does beyond the least, as far as kernel and driver go along.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Abilities {
    /// It puts VLAN tags back into frames: the number of the kernel function that knows them.
    rx_vlan_tag: Option<i32>,
    /// It takes frames over several buffers (Linux 5.18).
    several_bufs: bool,
}

impl Abilities {
    /// What to try, the most first.
    fn all() -> impl Iterator<Item = Abilities> {
        let several_bufs = |rx_vlan_tag, several_bufs| Abilities {
            rx_vlan_tag,
            several_bufs,
        };
        let with_tag = btf::rx_vlan_tag().map(|function| several_bufs(Some(function), true));
        let without = [true, false].map(|several| several_bufs(None, several));
        with_tag.into_iter().chain(without)
    }
}

/// Drivers that know the VLAN tags of frames when the program asks.
const TELL_VLAN_TAGS: [&str; 3] = ["veth", "ice", "mlx5_core"];

/// A program on an interface, and the map of its sockets. Dropping it detaches the program.
pub(super) struct Redirect {
    map: OwnedFd,
    counters: OwnedFd,
    link: OwnedFd,
    mode: Mode,
    abilities: Abilities,
    /// Whether the driver tells VLAN tags, if it is asked.
    tells_vlan_tags: bool,
    fallback: Fallback,
    /// It was taken off its interface.
    detached: AtomicBool,
    /// What of [`Redirect::dropped`] is in the statistics of ports that are closed.
    told: AtomicU64,
}

impl Redirect {
    /// Puts a program on `interface`, with a map for `queues` queues. While the map is empty, `fallback`
    /// is what becomes of all frames.
    pub(super) fn attach(
        interface: &HostInterface,
        queues: u32,
        fallback: Fallback,
    ) -> Result<Redirect> {
        let ifname = &interface.name;
        let context = |e: Error| e.context(ifname);
        let map = create_map(BPF_MAP_TYPE_XSKMAP, size_of::<u32>(), queues).map_err(context)?;
        let counters = create_map(BPF_MAP_TYPE_ARRAY, size_of::<u64>(), 1).map_err(context)?;
        let load = |abilities: Abilities| {
            let ifindex = abilities.rx_vlan_tag.map_or(0, |_| interface.ifindex);
            load(fallback, abilities, ifindex, &map, &counters)
        };
        let attach = |program: &OwnedFd, flags| {
            let attr = LinkCreate {
                prog_fd: number(program),
                target_ifindex: interface.ifindex,
                attach_type: BPF_XDP,
                flags,
            };
            bpf_fd(BPF_LINK_CREATE, &attr)
        };
        let mut attached = None;
        let mut native = None;
        for abilities in Abilities::all() {
            let program = match load(abilities) {
                Ok(program) => program,
                // The least that there is must do.
                Err(e) if !abilities.several_bufs => return Err(e.context(ifname)),
                Err(e) => {
                    log::debug!("{ifname}: {abilities:?}: {e}");
                    continue;
                }
            };
            match attach(&program, XDP_FLAGS_DRV_MODE) {
                Ok(link) => {
                    attached = Some((link, Mode::Native, abilities));
                    break;
                }
                Err(e) => {
                    log::debug!("{ifname}: {abilities:?}: {e}");
                    let busy = is_busy(&e);
                    native = Some(e);
                    if busy {
                        break;
                    }
                }
            }
        }
        let (link, mode, abilities) = match (attached, native) {
            (Some(attached), _) => attached,
            (None, native) => {
                let native = native.unwrap_or_else(|| std::io::Error::from_raw_os_error(0));
                // In generic mode, nobody knows the tags.
                let mut tries = Abilities::all().filter(|a| a.rx_vlan_tag.is_none());
                let attach_generic = |abilities: Abilities| {
                    let program = load(abilities)
                        .map_err(|e| std::io::Error::from_raw_os_error(e.errno()))?;
                    attach(&program, XDP_FLAGS_SKB_MODE).map(|link| (link, abilities))
                };
                let mut done = Err(std::io::Error::from_raw_os_error(libc::EOPNOTSUPP));
                while done.is_err()
                    && let Some(abilities) = tries.next()
                {
                    done = attach_generic(abilities);
                }
                let (link, abilities) = done.map_err(|e| attach_error(ifname, &native, &e))?;
                log::info!(
                    "{ifname}: its driver cannot run an XDP program ({native}); it runs in the \
                     network stack (generic mode)"
                );
                (link, Mode::Generic, abilities)
            }
        };
        Ok(Redirect {
            map,
            counters,
            link,
            mode,
            abilities,
            tells_vlan_tags: TELL_VLAN_TAGS.contains(&interface.driver.as_str()),
            fallback,
            detached: AtomicBool::new(false),
            told: AtomicU64::new(0),
        })
    }

    /// Whether frames may come over several buffers.
    pub(super) fn several_bufs(&self) -> bool {
        self.abilities.several_bufs
    }

    /// Where the VLAN tags of frames are that go to sockets.
    pub(super) fn vlan_tags(&self) -> VlanTags {
        match self.mode {
            Mode::Generic => VlanTags::FromStack,
            Mode::Native if self.abilities.rx_vlan_tag.is_some() && self.tells_vlan_tags => {
                VlanTags::Kept
            }
            Mode::Native => VlanTags::FromDriver,
        }
    }

    /// How it is attached.
    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// What becomes of frames without a socket.
    pub(super) fn fallback(&self) -> Fallback {
        self.fallback
    }

    /// Whether it is on interface `ifindex`: that may be gone, and another one have its number.
    pub(super) fn is_on(&self, ifindex: u32) -> bool {
        let mut info = LinkInfo::default();
        let attr = GetInfo {
            fd: number(&self.link),
            info_len: size_of::<LinkInfo>() as u32,
            info: (&raw mut info) as u64,
        };
        let asked = bpf(BPF_OBJ_GET_INFO_BY_FD, &attr);
        asked.is_ok() && info.ifindex == ifindex && !self.detached.load(Ordering::Relaxed)
    }

    /// Takes it off its interface, which has left, whoever still holds it.
    pub(super) fn detach(&self) {
        self.detached.store(true, Ordering::Relaxed);
        // Closing the link would do, unless a child of this process has it too. An error means that
        // the interface is gone, and the program with it.
        let link_fd = number(&self.link);
        let _ = bpf(BPF_LINK_DETACH, &LinkDetach { link_fd });
    }

    /// From now on, packets of queue `queue` go to `socket`, until it is closed.
    pub(super) fn add(&self, queue: u32, socket: &OwnedFd) -> Result<()> {
        let value = number(socket);
        let attr = MapElem {
            map_fd: number(&self.map),
            key: (&raw const queue) as u64,
            value: (&raw const value) as u64,
            ..MapElem::default()
        };
        bpf(BPF_MAP_UPDATE_ELEM, &attr)
            .map(|_| ())
            .map_err(|e| Error::from_io(format!("cannot direct queue {queue} to its socket"), &e))
    }
}

impl Redirect {
    /// What of [`Redirect::dropped`] is in the statistics of ports that are closed.
    pub(super) fn told(&self) -> u64 {
        self.told.load(Ordering::Relaxed)
    }

    /// Sets it, when a port is closed.
    pub(super) fn set_told(&self, told: u64) {
        self.told.store(told, Ordering::Relaxed);
    }

    /// Frames that were dropped because their queue had no socket.
    pub(super) fn dropped(&self) -> u64 {
        let (key, mut value) = (0u32, 0u64);
        let attr = MapElem {
            map_fd: number(&self.counters),
            key: (&raw const key) as u64,
            value: (&raw mut value) as u64,
            ..MapElem::default()
        };
        match bpf(BPF_MAP_LOOKUP_ELEM, &attr) {
            Ok(_) => value,
            Err(_) => 0,
        }
    }
}

impl Drop for Redirect {
    fn drop(&mut self) {
        self.detach();
    }
}

fn create_map(map_type: u32, value_size: usize, max_entries: u32) -> Result<OwnedFd> {
    let attr = MapCreate {
        map_type,
        key_size: 4,
        value_size: value_size as u32,
        max_entries,
        map_name: name(),
        ..MapCreate::default()
    };
    make(BPF_MAP_CREATE, &attr).map_err(|e| bpf_error("cannot make a BPF map", &e))
}

/// Makes a map or a program. Kernels before 5.11 count both against the locked memory, of which the
/// UMEM may have its share already.
fn make<T: Attr>(command: c_long, attr: &T) -> std::result::Result<OwnedFd, std::io::Error> {
    match bpf_fd(command, attr) {
        Err(error) if error.raw_os_error() == Some(libc::EPERM) && raise_memlock_limit() => {
            bpf_fd(command, attr)
        }
        done => done,
    }
}

/// Loads the program; for the interface `ifindex` alone, unless that is 0.
fn load(
    fallback: Fallback,
    abilities: Abilities,
    ifindex: u32,
    map: &OwnedFd,
    counters: &OwnedFd,
) -> Result<OwnedFd> {
    let function = abilities.rx_vlan_tag;
    let insns = program(fallback, function, map.as_fd(), counters.as_fd());
    let mut prog_flags = 0;
    if abilities.several_bufs {
        prog_flags |= BPF_F_XDP_HAS_FRAGS;
    }
    if ifindex != 0 {
        prog_flags |= BPF_F_XDP_DEV_BOUND_ONLY;
    }
    let mut attr = ProgLoad {
        prog_type: BPF_PROG_TYPE_XDP,
        insn_cnt: insns.len() as u32,
        insns: insns.as_ptr() as u64,
        license: LICENSE.as_ptr() as u64,
        prog_flags,
        prog_name: name(),
        prog_ifindex: ifindex,
        expected_attach_type: BPF_XDP,
        ..ProgLoad::default()
    };
    let error = match make(BPF_PROG_LOAD, &attr) {
        Ok(program) => return Ok(program),
        Err(error) => bpf_error("cannot load the XDP program", &error),
    };
    // Once more, for the verifier's reasons.
    let mut log = vec![0u8; LOG_SIZE];
    attr.log_level = 1;
    attr.log_size = LOG_SIZE as u32;
    attr.log_buf = log.as_mut_ptr() as u64;
    let _ = bpf_fd(BPF_PROG_LOAD, &attr);
    let text = String::from_utf8_lossy(&log);
    let text = text.trim_end_matches('\0').trim().replace('\n', "; ");
    Err(match text.as_str() {
        "" => error,
        reasons => Error::new(error.errno(), format!("{error}; verifier: {reasons}")),
    })
}

/// Lets this process lock as much memory as it likes. False when it may not.
fn raise_memlock_limit() -> bool {
    let limit = libc::rlimit {
        rlim_cur: libc::RLIM_INFINITY,
        rlim_max: libc::RLIM_INFINITY,
    };
    // SAFETY: reads a valid struct.
    unsafe { libc::setrlimit(libc::RLIMIT_MEMLOCK, &limit) == 0 }
}

fn bpf_error(what: &str, error: &std::io::Error) -> Error {
    let error = Error::from_io(what, error);
    let hint = match error.errno() {
        libc::EPERM | libc::EACCES => {
            "ovs-vswitchd needs the capabilities CAP_NET_ADMIN and CAP_BPF (before Linux 5.8, \
             CAP_SYS_ADMIN)"
        }
        libc::ENOSYS | libc::EINVAL => {
            "the kernel must be Linux 5.10 or newer, with \
             CONFIG_BPF_SYSCALL and CONFIG_XDP_SOCKETS"
        }
        _ => return error,
    };
    Error::new(error.errno(), format!("{error}: {hint}"))
}

fn is_busy(error: &std::io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EEXIST))
}

fn attach_error(ifname: &str, native: &std::io::Error, generic: &std::io::Error) -> Error {
    if is_busy(native) || is_busy(generic) {
        return Error::new(
            libc::EBUSY,
            format!(
                "another XDP program is attached to {ifname} (see \"ip -details link show \
                 {ifname}\"); the interface may be in use by another process or as another port"
            ),
        );
    }
    let what = format!("cannot attach an XDP program to {ifname} (native mode: {native})");
    bpf_error(&what, generic)
}
