// SPDX-License-Identifier: Apache-2.0
//! State of a host interface: what OVS shows of a port that has one behind it.
//!
//! Everything is read from the running system at the time of the call, on the main thread. Nothing
//! is remembered here, so an interface that vanished and came back is simply another one with
//! another [`HostInterface::ifindex`].

use crate::error::{Error, Result};

#[cfg(target_os = "linux")]
mod linux;
#[cfg(target_os = "linux")]
use linux as os;

#[cfg(not(target_os = "linux"))]
mod other;
#[cfg(not(target_os = "linux"))]
use other as os;

/// A host interface, as it was when it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HostInterface {
    /// Its name.
    pub name: String,
    /// Its number in the kernel, never 0; a new one whenever it is created anew.
    pub ifindex: u32,
    /// Its MAC address; zeros when it is no Ethernet interface.
    pub mac: [u8; 6],
    /// Its MTU.
    pub mtu: u32,
    /// Whether it is up administratively.
    pub up: bool,
    /// Whether somebody asked for promiscuous mode with [`set_flags`] or its like. Sockets that did
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

/// Brings the interface up or down and switches promiscuous mode on or off. Changes nothing when
/// both are as wanted.
///
/// # Errors
///
/// Those of [`set_mtu`].
pub fn set_flags(ifname: &str, up: bool, promisc: bool) -> Result<()> {
    os::set_flags(ifname, up, promisc)
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
