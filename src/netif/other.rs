// SPDX-License-Identifier: Apache-2.0
//! Host interfaces where there is no Linux: they exist or they do not. The rest of their state is
//! shown as unknown, and changing it is left to the system's own tools.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString};
use std::path::Path;
use std::time::Duration;
use std::{io, ptr};

use super::{HostInterface, RxVlan, Statistics, VethPeer, no_such_interface};
use crate::error::{Error, Result};

pub(super) const LIST_COMMAND: &str = "ifconfig -l";

/// Ethernet's, which every interface has unless told otherwise.
const DEFAULT_MTU: u32 = 1500;

pub(super) fn ifindex(ifname: &str) -> Result<u32> {
    let name = CString::new(ifname).map_err(|_| no_such_interface(ifname))?;
    // SAFETY: `name` is a NUL-terminated string that outlives the call, which only reads it.
    match unsafe { libc::if_nametoindex(name.as_ptr()) } {
        0 => Err(no_such_interface(ifname)),
        index => Ok(index),
    }
}

pub(super) fn read(ifname: &str) -> Result<HostInterface> {
    Ok(HostInterface {
        name: ifname.to_owned(),
        ifindex: ifindex(ifname)?,
        ethernet: true,
        hardware_type: 0,
        mac: [0; 6],
        mtu: DEFAULT_MTU,
        up: true,
        promisc: false,
        carrier: true,
        full_duplex: true,
        speed_mbps: 0,
        driver: String::new(),
        bus: String::new(),
        numa_node: None,
        n_rx_queues: 1,
        n_tx_queues: 1,
        carrier_changes: None,
    })
}

pub(super) fn set_mtu(ifname: &str, _mtu: u32) -> Result<()> {
    Err(unsupported(ifname, "the MTU"))
}

pub(super) fn set_mac(ifname: &str, _mac: [u8; 6]) -> Result<()> {
    Err(unsupported(ifname, "the MAC address"))
}

pub(super) fn statistics(_ifname: &str) -> Result<Statistics> {
    Ok(Statistics::default())
}

pub(super) fn set_up(ifname: &str, _up: bool) -> Result<()> {
    Err(unsupported(ifname, "whether it is up"))
}

pub(super) fn unset_promisc(_ifindex: u32) -> Result<()> {
    Ok(())
}

pub(super) fn set_promisc(ifname: &str, _promisc: bool) -> Result<()> {
    Err(unsupported(ifname, "promiscuous mode"))
}

/// Changes of interfaces. None is announced here.
pub struct LinkEvents(());

impl LinkEvents {
    pub fn new() -> io::Result<LinkEvents> {
        Ok(LinkEvents(()))
    }

    /// Waits.
    pub fn wait(&mut self, at_most: Duration) {
        std::thread::sleep(at_most);
    }

    /// The name of interface number `ifindex`, and whether it is up; `None` if there is none.
    pub fn look(&mut self, ifindex: u32) -> io::Result<Option<(String, bool)>> {
        let mut name = [0; libc::IFNAMSIZ];
        // SAFETY: there are IFNAMSIZ bytes, as the call wants.
        if unsafe { libc::if_indextoname(ifindex, name.as_mut_ptr()) }.is_null() {
            return Ok(None);
        }
        let mut first = ptr::null_mut();
        // SAFETY: what it allocates is freed below.
        if unsafe { libc::getifaddrs(&raw mut first) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let (mut found, mut next) = (None, first);
        // SAFETY: the call has put a NUL there.
        let name = unsafe { CStr::from_ptr(name.as_ptr()) };
        // SAFETY: a list of valid entries up to a null pointer.
        while let Some(entry) = unsafe { next.as_ref() } {
            // SAFETY: the name of an entry has a NUL, and lives as long as the list.
            if unsafe { CStr::from_ptr(entry.ifa_name) } == name {
                let up = entry.ifa_flags & libc::IFF_UP as u32 != 0;
                found = Some((name.to_string_lossy().into_owned(), up));
                break;
            }
            next = entry.ifa_next;
        }
        // SAFETY: of getifaddrs, and nothing of it is used any more.
        unsafe { libc::freeifaddrs(first) };
        Ok(found)
    }
}

pub(super) fn veth_peer(
    _ifname: &str,
    _near: Option<&Path>,
    _change: Option<(u8, bool)>,
) -> Option<VethPeer> {
    None
}

pub(super) fn rx_vlan(_ifname: &str) -> Result<RxVlan> {
    Ok(RxVlan::default())
}

pub(super) fn set_rx_vlan(ifname: &str, _kinds: u8, _on: bool) -> Result<()> {
    Err(unsupported(ifname, "VLAN offloads"))
}

fn unsupported(ifname: &str, what: &str) -> Error {
    Error::new(
        libc::EOPNOTSUPP,
        format!("cannot change {what} of {ifname:?} on this system: use ifconfig"),
    )
}
