// SPDX-License-Identifier: Apache-2.0
//! Host interfaces of Linux.
//!
//! rtnetlink knows most, `ioctl`s what drivers say. Both ask the network namespace of the process.
//! sysfs shows that of whoever mounted it, so it is believed only when it knows the interface under
//! the same index.
#![allow(unsafe_code)]

use std::io::ErrorKind;
use std::mem;
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use libc::{c_char, c_ulong, ifreq};
use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};

use super::{HostInterface, RxVlan, Statistics, no_such_interface};
use crate::error::{Error, Result};

use rtnl::{Change, LinkRecord, Rtnl, Target};

mod ethtool;
mod events;
mod features;
mod netdev;
mod netlink;
mod peer;
mod rtnl;

pub use events::LinkEvents;
pub use netdev::completes_csum;
pub(super) use peer::veth_peer;

/// Of an alternative name (`ALTIFNAMSIZ` less the terminating NUL).
const LONGEST_NAME: usize = 127;

pub(super) const LIST_COMMAND: &str = "ip link";

pub(super) fn ifindex(ifname: &str) -> Result<u32> {
    Ok(Query::new(ifname)?.link()?.ifindex)
}

pub(super) fn read(ifname: &str) -> Result<HostInterface> {
    let mut query = Query::new(ifname)?;
    let link = query.link()?;
    // `ioctl`s and sysfs know neither long names nor, in part, alternative ones.
    query.rename(&link.name);
    let sysfs = Sysfs::open(&link.name, link.ifindex)?;
    let (speed_mbps, duplex) = query.speed().or_else(|| sysfs.speed()).unwrap_or((0, None));
    let (driver, bus) = query.device().unwrap_or_default();
    let (rx, tx) = query.channels().unwrap_or((0, 0));
    let has = |flag: libc::c_int| link.flags & flag as u32 != 0;
    Ok(HostInterface {
        ifindex: link.ifindex,
        ethernet: matches!(link.kind, libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK),
        hardware_type: link.kind,
        mac: link.mac.unwrap_or_default(),
        mtu: link.mtu,
        up: has(libc::IFF_UP),
        promisc: has(libc::IFF_PROMISC),
        // "Running" is the kernel's own summary of carrier and dormancy, and what OVS goes by.
        carrier: has(libc::IFF_RUNNING),
        full_duplex: duplex.unwrap_or(true),
        speed_mbps,
        driver,
        bus,
        // -1 stands for none.
        numa_node: sysfs.number("device/numa_node"),
        n_rx_queues: at_least_one(rx, || sysfs.count_queues("rx-"))?,
        n_tx_queues: at_least_one(tx, || sysfs.count_queues("tx-"))?,
        carrier_changes: link.carrier_changes,
        name: link.name,
    })
}

pub(super) fn statistics(ifname: &str) -> Result<Statistics> {
    let link = Query::new(ifname)?.link()?;
    // In the order of `struct rtnl_link_stats64`.
    let word = |i: usize| link.stats.get(i).copied().unwrap_or(0);
    Ok(Statistics {
        ifindex: link.ifindex,
        rx_errors: word(4),
        tx_errors: word(5),
        rx_dropped: word(6),
        tx_dropped: word(7),
        collisions: word(9),
        rx_length_errors: word(10),
        rx_over_errors: word(11),
        rx_crc_errors: word(12),
        rx_frame_errors: word(13),
        rx_fifo_errors: word(14),
        rx_missed_errors: word(15),
    })
}

fn at_least_one(count: u32, fallback: impl FnOnce() -> Result<u32>) -> Result<u32> {
    match count {
        0 => Ok(fallback()?.max(1)),
        _ => Ok(count),
    }
}

pub(super) fn set_mtu(ifname: &str, mtu: u32) -> Result<()> {
    Query::new(ifname)?.change(Change::Mtu(mtu), &format!("set its MTU to {mtu}"))
}

pub(super) fn set_mac(ifname: &str, mac: [u8; 6]) -> Result<()> {
    Query::new(ifname)?.change(Change::Mac(mac), "set its MAC address")
}

pub(super) fn set_up(ifname: &str, up: bool) -> Result<()> {
    let flag = libc::IFF_UP as u32;
    let what = if up { "bring it up" } else { "take it down" };
    Query::new(ifname)?.change(Change::Flag(flag, up), what)
}

pub(super) fn set_promisc(ifname: &str, promisc: bool) -> Result<()> {
    let flag = libc::IFF_PROMISC as u32;
    let what = "change its promiscuous mode";
    Query::new(ifname)?.change(Change::Flag(flag, promisc), what)
}

pub(super) fn unset_promisc(ifindex: u32) -> Result<()> {
    let change = Change::Flag(libc::IFF_PROMISC as u32, false);
    rtnl()?
        .change(Target::Index(ifindex), change)
        .map_err(|e| Error::from_io(format!("interface number {ifindex}"), &e))
}

/// Features that take VLAN tags out of frames, as in `ethtool -k`, by [`super::VlanKind`].
const RX_VLAN: [&str; 2] = ["rx-vlan-hw-parse", "rx-vlan-stag-hw-parse"];

pub(super) fn rx_vlan(ifname: &str) -> Result<RxVlan> {
    let query = Query::named(ifname)?;
    let mut state = RxVlan::default();
    for (i, name) in RX_VLAN.iter().enumerate() {
        if let Some(feature) = query.feature(name) {
            state.active |= u8::from(feature.active) << i;
            state.changeable |= u8::from(feature.changeable) << i;
        }
    }
    Ok(state)
}

pub(super) fn set_rx_vlan(ifname: &str, kinds: u8, on: bool) -> Result<()> {
    let query = Query::named(ifname)?;
    for (i, name) in RX_VLAN.iter().enumerate() {
        if kinds & 1 << i == 0 {
            continue;
        }
        let done = query
            .feature(name)
            .is_some_and(|feature| query.set_feature(feature, on));
        let now = query.feature(name).map(|feature| feature.active);
        if !done || now != Some(on) {
            let state = if on { "on" } else { "off" };
            return Err(Error::new(
                libc::EOPNOTSUPP,
                format!("interface {ifname:?}: its driver does not turn {name} {state}"),
            ));
        }
    }
    Ok(())
}

/// The socket that all questions go through. It stays open, so that an answer does not depend on
/// whether there is a descriptor left.
static RTNL: Mutex<Option<Rtnl>> = Mutex::new(None);

fn rtnl() -> Result<MappedMutexGuard<'static, Rtnl>> {
    let mut slot = RTNL.lock();
    if slot.is_none() {
        let rtnl = Rtnl::new()
            .map_err(|e| Error::from_io("cannot make a socket to ask for interfaces", &e))?;
        *slot = Some(rtnl);
    }
    MutexGuard::try_map(slot, Option::as_mut)
        .map_err(|_| Error::new(libc::EBADF, "no socket to ask for interfaces"))
}

/// Questions about one interface.
struct Query<'a> {
    rtnl: MappedMutexGuard<'a, Rtnl>,
    /// As it was asked for.
    ifname: &'a str,
    /// For `ioctl`s.
    name: [c_char; libc::IFNAMSIZ],
}

impl<'a> Query<'a> {
    fn new(ifname: &'a str) -> Result<Query<'a>> {
        // Refused here, because the kernel would look up only what stands before the NUL, or before
        // the colon (it takes the rest for an alias of old times).
        if ifname.is_empty() || ifname.len() > LONGEST_NAME || ifname.contains(['\0', ':']) {
            return Err(no_such_interface(ifname));
        }
        Ok(Query {
            rtnl: rtnl()?,
            ifname,
            name: [0; libc::IFNAMSIZ],
        })
    }

    /// About the interface that has this name, and no other.
    fn of(rtnl: MappedMutexGuard<'a, Rtnl>, name: &'a str) -> Query<'a> {
        let mut query = Query {
            rtnl,
            ifname: name,
            name: [0; libc::IFNAMSIZ],
        };
        query.rename(name);
        query
    }

    /// For `ioctl`s about an interface that there is.
    fn named(ifname: &'a str) -> Result<Query<'a>> {
        let mut query = Query::new(ifname)?;
        let link = query.link()?;
        query.rename(&link.name);
        Ok(query)
    }

    fn link(&mut self) -> Result<LinkRecord> {
        let asked = self.rtnl.get(self.ifname);
        asked.map_err(|e| self.explain("read its state", &e))
    }

    fn change(&mut self, change: Change, what: &str) -> Result<()> {
        let done = self.rtnl.change(Target::Name(self.ifname), change);
        done.map_err(|e| self.explain(what, &e))
    }

    /// The interface's own name.
    fn rename(&mut self, name: &str) {
        self.name = [0; libc::IFNAMSIZ];
        let room = self.name.iter_mut().take(libc::IFNAMSIZ - 1);
        for (to, from) in room.zip(name.bytes()) {
            *to = from as c_char;
        }
    }

    /// An otherwise empty request about the interface.
    fn request(&self) -> ifreq {
        // SAFETY: `ifreq` is integers, arrays of them and a pointer, all of which may be zero.
        let mut request: ifreq = unsafe { mem::zeroed() };
        request.ifr_name = self.name;
        request
    }

    /// Makes an `ioctl` with `request`.
    ///
    /// # Safety
    ///
    /// a. `code` must be one that reads and writes at most a `struct ifreq`.
    /// b. If it follows `ifru_data`, that must point to what it expects there, for reading and
    ///    writing, and nothing else may use it during the call.
    unsafe fn ioctl(&self, code: c_ulong, request: &mut ifreq) -> std::io::Result<()> {
        let fd = self.rtnl.socket().as_raw_fd();
        // SAFETY: a. and b. are the caller's; `request` is exclusively ours during the call. The cast
        // is for musl, where the code is an int.
        match unsafe { libc::ioctl(fd, code as _, &raw mut *request) } {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    fn explain(&self, what: &str, error: &std::io::Error) -> Error {
        match netlink::errno(error) {
            Some(libc::ENODEV | libc::ENXIO) => no_such_interface(self.ifname),
            errno => Error::new(
                errno.unwrap_or(libc::EIO),
                format!("interface {:?}: cannot {what}: {error}", self.ifname),
            ),
        }
    }
}

fn is_absent(error: &std::io::Error) -> bool {
    // The second, when it goes while it is read.
    error.kind() == ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

/// An interface's directory in sysfs; absent when sysfs shows another namespace.
struct Sysfs(Option<PathBuf>);

impl Sysfs {
    fn open(ifname: &str, ifindex: u32) -> Result<Sysfs> {
        let dir = PathBuf::from("/sys/class/net").join(ifname);
        match std::fs::read_to_string(dir.join("ifindex")) {
            Ok(found) if found.trim().parse() == Ok(ifindex) => Ok(Sysfs(Some(dir))),
            // No descriptor is left, say: what sysfs knows is not known then.
            Err(error) if !is_absent(&error) => {
                Err(Error::from_io(format!("cannot read {dir:?}"), &error))
            }
            _ => Ok(Sysfs(None)),
        }
    }

    fn text(&self, file: &str) -> Option<String> {
        // Some files exist but cannot be read while the interface is down.
        std::fs::read_to_string(self.0.as_ref()?.join(file)).ok()
    }

    /// A number that fits; -1, which sysfs uses for "unknown", does not.
    fn number<T: std::str::FromStr>(&self, file: &str) -> Option<T> {
        self.text(file)?.trim().parse().ok()
    }

    fn speed(&self) -> Option<(u32, Option<bool>)> {
        let duplex = match self.text("duplex")?.trim() {
            "full" => Some(true),
            "half" => Some(false),
            _ => None,
        };
        Some((self.number("speed").unwrap_or(0), duplex))
    }

    fn count_queues(&self, prefix: &str) -> Result<u32> {
        let Some(dir) = self.0.as_ref().map(|dir| dir.join("queues")) else {
            return Ok(0);
        };
        let names = match std::fs::read_dir(&dir) {
            Ok(names) => names.flatten(),
            Err(error) if is_absent(&error) => return Ok(0),
            Err(error) => return Err(Error::from_io(format!("cannot read {dir:?}"), &error)),
        };
        let matching = names.filter(|entry| {
            let name = entry.file_name();
            name.as_encoded_bytes().starts_with(prefix.as_bytes())
        });
        Ok(u32::try_from(matching.count()).unwrap_or(u32::MAX))
    }
}
