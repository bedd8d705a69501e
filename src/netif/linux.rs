// SPDX-License-Identifier: Apache-2.0
//! Host interfaces of Linux.
//!
//! `ioctl`s ask the network namespace of the process. sysfs shows that of whoever mounted it, so it
//! is believed only when it knows the interface under the same index.
#![allow(unsafe_code)]

use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::path::PathBuf;

use libc::{c_char, c_int, c_short, c_ulong, ifreq};

use super::{HostInterface, no_such_interface};
use crate::error::{Error, Result};

mod ethtool;

pub(super) const LIST_COMMAND: &str = "ip link";

pub(super) fn ifindex(ifname: &str) -> Result<u32> {
    Query::new(ifname)?.ifindex()
}

pub(super) fn read(ifname: &str) -> Result<HostInterface> {
    let query = Query::new(ifname)?;
    let ifindex = query.ifindex()?;
    let flags = query.flags()?;
    let sysfs = Sysfs::open(ifname, ifindex);
    let (speed_mbps, duplex) = query.speed().or_else(|| sysfs.speed()).unwrap_or((0, None));
    let (rx, tx) = query.channels().unwrap_or((0, 0));
    Ok(HostInterface {
        name: ifname.to_owned(),
        ifindex,
        mac: query.mac()?,
        mtu: query.mtu()?,
        up: flags & libc::IFF_UP != 0,
        promisc: flags & libc::IFF_PROMISC != 0,
        // "Running" is the kernel's own summary of carrier and dormancy, and what OVS goes by.
        carrier: flags & libc::IFF_RUNNING != 0,
        full_duplex: duplex.unwrap_or(true),
        speed_mbps,
        driver: query.driver().unwrap_or_default(),
        // -1 stands for none.
        numa_node: sysfs.number("device/numa_node"),
        n_rx_queues: at_least_one(rx, || sysfs.count_queues("rx-")),
        n_tx_queues: at_least_one(tx, || sysfs.count_queues("tx-")),
        carrier_changes: sysfs.number("carrier_changes"),
    })
}

fn at_least_one(count: u32, fallback: impl FnOnce() -> u32) -> u32 {
    match count {
        0 => fallback().max(1),
        _ => count,
    }
}

pub(super) fn set_mtu(ifname: &str, mtu: u32) -> Result<()> {
    let query = Query::new(ifname)?;
    let mut request = query.request();
    request.ifr_ifru.ifru_mtu = c_int::try_from(mtu).unwrap_or(c_int::MAX);
    query.set(libc::SIOCSIFMTU, request, &format!("set its MTU to {mtu}"))
}

pub(super) fn set_mac(ifname: &str, mac: [u8; 6]) -> Result<()> {
    let query = Query::new(ifname)?;
    // The family must be the one that the interface has.
    let mut address = query.hardware_address()?;
    for (to, from) in address.sa_data.iter_mut().zip(mac) {
        *to = from as c_char;
    }
    let mut request = query.request();
    request.ifr_ifru.ifru_hwaddr = address;
    query.set(libc::SIOCSIFHWADDR, request, "set its MAC address")
}

pub(super) fn set_flags(ifname: &str, up: bool, promisc: bool) -> Result<()> {
    let query = Query::new(ifname)?;
    let old = query.flags()?;
    let new = with_flag(with_flag(old, libc::IFF_UP, up), libc::IFF_PROMISC, promisc);
    if new == old {
        return Ok(());
    }
    let mut request = query.request();
    // The ioctl knows the low 16 flags only; as a bit pattern, whatever the sign.
    request.ifr_ifru.ifru_flags = new as c_short;
    query.set(libc::SIOCSIFFLAGS, request, "change its flags")
}

fn with_flag(flags: c_int, flag: c_int, on: bool) -> c_int {
    if on { flags | flag } else { flags & !flag }
}

/// A socket to ask about one interface.
struct Query<'a> {
    socket: OwnedFd,
    ifname: &'a str,
    name: [c_char; libc::IFNAMSIZ],
}

impl<'a> Query<'a> {
    fn new(ifname: &'a str) -> Result<Query<'a>> {
        // Refused here, because the kernel would look up only what stands before the NUL, the colon
        // (it takes the rest for an alias of old times) or the cut.
        let cut = ifname.len() >= libc::IFNAMSIZ || ifname.contains(['\0', ':']);
        if ifname.is_empty() || cut {
            return Err(no_such_interface(ifname));
        }
        let mut name = [0; libc::IFNAMSIZ];
        for (to, from) in name.iter_mut().zip(ifname.bytes()) {
            *to = from as c_char;
        }
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
        if fd < 0 {
            return Err(Error::last_os("cannot make a socket to ask for interfaces"));
        }
        // SAFETY: the call above has just opened `fd`, and nobody else knows it.
        let socket = unsafe { OwnedFd::from_raw_fd(fd) };
        Ok(Query {
            socket,
            ifname,
            name,
        })
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
        // SAFETY: a. and b. are the caller's; `request` is exclusively ours during the call. The cast
        // is for musl, where the code is an int.
        match unsafe { libc::ioctl(self.socket.as_raw_fd(), code as _, &raw mut *request) } {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        }
    }

    /// One of the `SIOCGIF` codes whose result lies in the request.
    fn get(&self, code: c_ulong, what: &str) -> Result<ifreq> {
        let mut request = self.request();
        // SAFETY: a. the callers below pass only such codes; b. none of them follows a pointer.
        match unsafe { self.ioctl(code, &mut request) } {
            Ok(()) => Ok(request),
            Err(error) => Err(self.explain(what, &error)),
        }
    }

    /// One of the `SIOCSIF` codes whose argument lies in the request.
    fn set(&self, code: c_ulong, mut request: ifreq, what: &str) -> Result<()> {
        // SAFETY: a. the callers above pass only such codes; b. none of them follows a pointer.
        match unsafe { self.ioctl(code, &mut request) } {
            Ok(()) => Ok(()),
            Err(error) => Err(self.explain(what, &error)),
        }
    }

    fn explain(&self, what: &str, error: &std::io::Error) -> Error {
        match error.raw_os_error() {
            Some(libc::ENODEV | libc::ENXIO) => no_such_interface(self.ifname),
            _ => Error::from_io(format!("interface {:?}: cannot {what}", self.ifname), error),
        }
    }

    fn ifindex(&self) -> Result<u32> {
        let reply = self.get(libc::SIOCGIFINDEX, "read its index")?;
        // SAFETY: all of the union was zero, and this code writes this field.
        let ifindex = unsafe { reply.ifr_ifru.ifru_ifindex };
        u32::try_from(ifindex).map_err(|_| no_such_interface(self.ifname))
    }

    fn flags(&self) -> Result<c_int> {
        let reply = self.get(libc::SIOCGIFFLAGS, "read its flags")?;
        // SAFETY: all of the union was zero, and this code writes this field.
        let flags = unsafe { reply.ifr_ifru.ifru_flags };
        Ok(c_int::from(flags as u16))
    }

    fn mtu(&self) -> Result<u32> {
        let reply = self.get(libc::SIOCGIFMTU, "read its MTU")?;
        // SAFETY: all of the union was zero, and this code writes this field.
        let mtu = unsafe { reply.ifr_ifru.ifru_mtu };
        Ok(u32::try_from(mtu).unwrap_or(0))
    }

    fn hardware_address(&self) -> Result<libc::sockaddr> {
        let reply = self.get(libc::SIOCGIFHWADDR, "read its MAC address")?;
        // SAFETY: all of the union was zero, and this code writes this field.
        Ok(unsafe { reply.ifr_ifru.ifru_hwaddr })
    }

    fn mac(&self) -> Result<[u8; 6]> {
        let address = self.hardware_address()?;
        let mut mac = [0; 6];
        // Others have addresses too, of other lengths: a tunnel's is an IP address.
        if matches!(
            address.sa_family,
            libc::ARPHRD_ETHER | libc::ARPHRD_LOOPBACK
        ) {
            for (to, from) in mac.iter_mut().zip(address.sa_data) {
                // `c_char` has a sign on some machines only.
                [*to] = from.to_ne_bytes();
            }
        }
        Ok(mac)
    }
}

/// An interface's directory in sysfs; absent when sysfs shows another namespace.
struct Sysfs(Option<PathBuf>);

impl Sysfs {
    fn open(ifname: &str, ifindex: u32) -> Sysfs {
        let dir = PathBuf::from("/sys/class/net").join(ifname);
        let sysfs = Sysfs(Some(dir));
        match sysfs.number::<u32>("ifindex") {
            Some(found) if found == ifindex => sysfs,
            _ => Sysfs(None),
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

    fn count_queues(&self, prefix: &str) -> u32 {
        let queues = |dir: &PathBuf| {
            let names = std::fs::read_dir(dir.join("queues")).ok()?.flatten();
            let matching = names.filter(|entry| {
                entry
                    .file_name()
                    .as_encoded_bytes()
                    .starts_with(prefix.as_bytes())
            });
            u32::try_from(matching.count()).ok()
        };
        self.0.as_ref().and_then(queues).unwrap_or(0)
    }
}
