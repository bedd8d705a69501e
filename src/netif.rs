// SPDX-License-Identifier: Apache-2.0
//! State of a host interface: what OVS shows of a port that has one behind it.
//!
//! Everything is read from the running system at the time of the call, on the main thread. Nothing
//! is remembered here, so an interface that vanished and came back is simply another one with
//! another [`HostInterface::ifindex`].

use std::path::{Path, PathBuf};

use crate::error::{Error, Result};

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as os;

#[cfg(not(target_os = "linux"))]
mod other;
#[cfg(not(target_os = "linux"))]
use other as os;

pub use os::LinkEvents;
#[cfg(target_os = "linux")]
pub use os::completes_csum;

/// A host interface, as it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostInterface {
    /// Its name.
    pub name: String,
    /// Its number in the kernel, never 0; a new one whenever it is created anew.
    pub ifindex: u32,
    /// Whether its frames have Ethernet headers.
    pub ethernet: bool,
    /// What they have, as a number of `ARPHRD_*`; 0 when unknown.
    pub hardware_type: u16,
    /// Its MAC address; zeros when it has none.
    pub mac: [u8; 6],
    /// Its MTU.
    pub mtu: u32,
    /// Whether it is up administratively.
    pub up: bool,
    /// Whether somebody asked for promiscuous mode with [`set_promisc`] or its like. Sockets that did
    /// (packet captures) do not show here.
    pub promisc: bool,
    /// Whether it can carry packets now.
    pub carrier: bool,
    /// Whether it sends and receives at a time; true when unknown, as on every virtual link.
    pub full_duplex: bool,
    /// Speed in Mbit/s; 0 when unknown.
    pub speed_mbps: u32,
    /// Name of its driver; empty when unknown.
    pub driver: String,
    /// Where its device is, as its driver has it; empty when it is a device of software alone.
    pub bus: String,
    /// NUMA node of its device; None when it has no device or the machine no nodes.
    pub numa_node: Option<u32>,
    /// Receive queues in use, at least 1.
    pub n_rx_queues: u32,
    /// Transmit queues in use, at least 1.
    pub n_tx_queues: u32,
    /// How often the carrier came or went since the interface exists, if the system counts it. OVS's
    /// `carrier_resets` are such changes counted from when OVS opened the port: the difference from
    /// the value at that time.
    pub carrier_changes: Option<u64>,
}

impl HostInterface {
    /// Reads the interface called `ifname`.
    ///
    /// # Errors
    ///
    /// `ENODEV` when there is none. What exists but cannot tell some detail is no error.
    pub fn read(ifname: &str) -> Result<HostInterface> {
        os::read(ifname)
    }
}

/// Whether there is an interface called `ifname`.
pub fn exists(ifname: &str) -> bool {
    os::ifindex(ifname).is_ok()
}

/// Whether `one` and `other` are names of the same interface, which may have several.
pub fn is_same(one: &str, other: &str) -> bool {
    os::ifindex(one).is_ok_and(|index| os::ifindex(other).is_ok_and(|other| other == index))
}

/// Sets the MTU.
///
/// # Errors
///
/// `ENODEV` when there is no such interface, else what the driver or the missing privilege says.
pub fn set_mtu(ifname: &str, mtu: u32) -> Result<()> {
    os::set_mtu(ifname, mtu)
}

/// Sets the MAC address.
///
/// # Errors
///
/// Those of [`set_mtu`].
pub fn set_mac(ifname: &str, mac: [u8; 6]) -> Result<()> {
    os::set_mac(ifname, mac)
}

/// Brings the interface up or down. Its other flags stay as they are, whatever that is by now.
///
/// # Errors
///
/// Those of [`set_mtu`].
pub fn set_up(ifname: &str, up: bool) -> Result<()> {
    os::set_up(ifname, up)
}

/// Switches promiscuous mode on or off, and changes nothing else.
///
/// # Errors
///
/// Those of [`set_mtu`].
pub fn set_promisc(ifname: &str, promisc: bool) -> Result<()> {
    os::set_promisc(ifname, promisc)
}

/// Switches promiscuous mode off, of the interface with that number, whatever its name is by now.
///
/// # Errors
///
/// Those of [`set_mtu`].
pub fn unset_promisc(ifindex: u32) -> Result<()> {
    os::unset_promisc(ifindex)
}

/// What the system counts of an interface beside frames and bytes, since it exists. The names are those
/// of struct rtnl_link_stats64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Statistics {
    /// Of which interface.
    pub ifindex: u32,
    pub rx_errors: u64,
    pub tx_errors: u64,
    pub rx_dropped: u64,
    pub tx_dropped: u64,
    pub collisions: u64,
    pub rx_length_errors: u64,
    pub rx_over_errors: u64,
    pub rx_crc_errors: u64,
    pub rx_frame_errors: u64,
    pub rx_fifo_errors: u64,
    pub rx_missed_errors: u64,
}

impl Statistics {
    /// Whether it may be of the same interface as `before`, later: no counter went back.
    pub fn follows(&self, before: &Statistics) -> bool {
        let back = before.since(self);
        let none = Statistics {
            ifindex: before.ifindex,
            ..Statistics::default()
        };
        self.ifindex == before.ifindex && back == none
    }

    /// What was counted since `base`, of the same interface.
    pub fn since(&self, base: &Statistics) -> Statistics {
        Statistics {
            ifindex: self.ifindex,
            rx_errors: self.rx_errors.saturating_sub(base.rx_errors),
            tx_errors: self.tx_errors.saturating_sub(base.tx_errors),
            rx_dropped: self.rx_dropped.saturating_sub(base.rx_dropped),
            tx_dropped: self.tx_dropped.saturating_sub(base.tx_dropped),
            collisions: self.collisions.saturating_sub(base.collisions),
            rx_length_errors: self.rx_length_errors.saturating_sub(base.rx_length_errors),
            rx_over_errors: self.rx_over_errors.saturating_sub(base.rx_over_errors),
            rx_crc_errors: self.rx_crc_errors.saturating_sub(base.rx_crc_errors),
            rx_frame_errors: self.rx_frame_errors.saturating_sub(base.rx_frame_errors),
            rx_fifo_errors: self.rx_fifo_errors.saturating_sub(base.rx_fifo_errors),
            rx_missed_errors: self.rx_missed_errors.saturating_sub(base.rx_missed_errors),
        }
    }
}

/// Reads them.
///
/// # Errors
///
/// Those of [`HostInterface::read`].
pub fn statistics(ifname: &str) -> Result<Statistics> {
    os::statistics(ifname)
}

/// The other end of a veth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VethPeer {
    /// Its name.
    pub ifname: String,
    /// Its network namespace, a file; `None` when that is ours.
    pub netns: Option<PathBuf>,
    /// Kinds of VLAN tags that it leaves beside the frames that it sends, as in [`RxVlan`] (`ethtool -k`:
    /// tx-vlan-offload, tx-vlan-stag-hw-insert).
    pub tags_beside: u8,
}

/// The other end of the veth `ifname`. `near` is a network namespace that it is looked for in first.
/// `change` leaves these kinds of VLAN tags beside its frames, or not; what came of it is in the answer.
/// `None` when there is none, or when it is where it cannot be seen: the process needs `CAP_SYS_ADMIN` to
/// look into another network namespace, and a file for it.
pub fn veth_peer(
    ifname: &str,
    near: Option<&Path>,
    change: Option<(u8, bool)>,
) -> Option<VethPeer> {
    os::veth_peer(ifname, near, change)
}

/// What an interface does with VLAN tags of received frames: it may keep them beside the frame. A bit
/// a kind of tag, 802.1Q and 802.1ad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RxVlan {
    /// Kinds that it takes out of frames.
    pub active: u8,
    /// Kinds for which that can be changed.
    pub changeable: u8,
}

/// Reads it.
///
/// # Errors
///
/// Those of [`HostInterface::read`].
pub fn rx_vlan(ifname: &str) -> Result<RxVlan> {
    os::rx_vlan(ifname)
}

/// Changes it for the `kinds` given, bits as in [`RxVlan`].
///
/// # Errors
///
/// Those of [`HostInterface::read`]; `EOPNOTSUPP` when the driver does not follow.
pub fn set_rx_vlan(ifname: &str, kinds: u8, on: bool) -> Result<()> {
    os::set_rx_vlan(ifname, kinds, on)
}

fn no_such_interface(ifname: &str) -> Error {
    Error::new(
        libc::ENODEV,
        format!(
            "no interface named {ifname:?}: create it, or check the name with {:?}",
            os::LIST_COMMAND
        ),
    )
}

#[cfg(test)]
mod tests;
