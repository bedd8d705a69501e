// SPDX-License-Identifier: Apache-2.0
//! What OVS asks about a port besides packets: MAC address, MTU, carrier, speed. A port on a host
//! interface answers with that interface's values, others with sensible ones of their own.
//!
//! `machine.rs` says what a port does when its interface changes.
#![forbid(unsafe_code)]

use crate::engine::{FRAME_OVERHEAD, FrameRoom, VIRTUAL_MTU};
use crate::error::{Error, Result};
use crate::netif::{self, HostInterface, Statistics};

mod machine;

pub use machine::{Actions, Event, Failure, Machine, Opened, Seen, State};

/// Speed of a port without a host interface, in Mbit/s: as the kernel's veth claims.
const VIRTUAL_SPEED: u64 = 10_000;

/// State of a port's link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Link {
    /// MAC address.
    pub mac: [u8; 6],
    /// Whether the interface is up (`IFF_UP`).
    pub up: bool,
    /// Whether it is promiscuous.
    pub promisc: bool,
    /// Whether there is a carrier.
    pub carrier: bool,
    /// Whether the link is full duplex.
    pub full_duplex: bool,
    /// Longest payload of a frame, now.
    pub mtu: u32,
    /// Largest MTU that the port takes.
    pub max_mtu: u32,
    /// Index of the host interface; 0 when there is none.
    pub ifindex: u32,
    /// NUMA node of the device; -1 when unknown.
    pub numa_node: i32,
    /// Mbit/s; 0 when unknown.
    pub speed_mbps: u64,
    /// How often the carrier changed since the port was opened.
    pub carrier_resets: u64,
}

/// The link of an open port, as it was seen last.
#[derive(Debug)]
pub struct PortLink {
    /// The host interface, if there is one.
    ifname: Option<String>,
    /// Its `carrier_changes` when the port was opened.
    opened_changes: u64,
    /// What the interface had counted when the port was opened, and when it was asked last.
    counted: Option<(Statistics, Statistics)>,
    /// The interface that was made promiscuous here.
    made_promisc: Option<u32>,
    /// What frames the port takes.
    room: FrameRoom,
    link: Link,
}

impl PortLink {
    /// The link of `ifname`, or of no interface. `name` is the port's, `room` what frames it
    /// takes.
    pub fn new(name: &str, ifname: Option<&str>, room: FrameRoom) -> Result<PortLink> {
        let max_mtu = room.largest_mtu();
        let mut port = PortLink {
            ifname: ifname.map(str::to_owned),
            opened_changes: 0,
            counted: None,
            made_promisc: None,
            room,
            link: Link {
                mac: virtual_mac(name),
                up: true,
                carrier: true,
                full_duplex: true,
                mtu: VIRTUAL_MTU.min(max_mtu),
                max_mtu,
                numa_node: -1,
                speed_mbps: VIRTUAL_SPEED,
                ..Link::default()
            },
        };
        if let Some(ifname) = ifname {
            let host = HostInterface::read(ifname)?;
            port.opened_changes = host.carrier_changes.unwrap_or(0);
            port.take(&host);
            let base = netif::statistics(ifname)?;
            port.counted = Some((base, base));
        }
        Ok(port)
    }

    /// The state when it was last read.
    pub fn link(&self) -> Link {
        self.link
    }

    /// Longest frame that may be sent; 0 while none can go. Without an interface the engine knows best
    /// whether there is a carrier.
    pub fn max_frame(&self) -> u32 {
        let carrier = self.link.carrier || self.ifname.is_none();
        if !self.link.up || !carrier {
            return 0;
        }
        self.room
            .longest_frame()
            .min(self.link.mtu.saturating_add(FRAME_OVERHEAD))
    }

    /// What keeps the port from working as its interface is now, for the user.
    pub fn fault(&self) -> Option<String> {
        let ifname = self.ifname.as_deref()?;
        let Link { mtu, max_mtu, .. } = self.link;
        (mtu > max_mtu).then(|| {
            format!(
                "the MTU of interface {ifname:?} is {mtu}, but the port takes one of \
                 {max_mtu}, and longer frames are dropped: {}",
                self.room.mtu_advice(mtu)
            )
        })
    }

    /// Reads the state anew. True when it changed.
    pub fn refresh(&mut self) -> bool {
        match self.ifname.as_deref().map(HostInterface::read) {
            None => false,
            Some(Ok(host)) => self.update(Some(&host)),
            Some(Err(error)) if error.errno() == libc::ENODEV => self.update(None),
            // What it is now is not known: it is looked at again before long.
            Some(Err(_)) => false,
        }
    }

    /// Takes the state of the interface as it was just read; `None` if it is gone. True when it changed.
    pub fn update(&mut self, host: Option<&HostInterface>) -> bool {
        let before = self.link;
        match host {
            Some(host) => self.take(host),
            None => {
                self.link.up = false;
                self.link.carrier = false;
                self.link.ifindex = 0;
            }
        }
        self.link != before
    }

    /// Sets the carrier of a port without interface. True when it changed.
    pub fn set_carrier(&mut self, carrier: bool) -> bool {
        let carrier = carrier && self.link.up;
        std::mem::replace(&mut self.link.carrier, carrier) != carrier
    }

    /// What the interface itself counted since the port was opened, up to its end.
    pub fn counted(&mut self) -> Statistics {
        let Some((base, last)) = &mut self.counted else {
            return Statistics::default();
        };
        let now = self.ifname.as_deref().map(netif::statistics);
        // By that name, there may be another one by now, even with the same number.
        if let Some(Ok(now)) = now
            && now.follows(last)
        {
            *last = now;
        }
        last.since(base)
    }

    /// Sets the MTU, of the host interface too.
    pub fn set_mtu(&mut self, mtu: u32) -> Result<()> {
        if !(68..=self.link.max_mtu).contains(&mtu) {
            return Err(Error::new(
                libc::EINVAL,
                format!(
                    "an MTU of {mtu} cannot be: expected 68 to {}, which the port takes: {}",
                    self.link.max_mtu,
                    if mtu < 68 {
                        "raise the MTU".to_owned()
                    } else {
                        self.room.mtu_advice(mtu)
                    }
                ),
            ));
        }
        if let Some(ifname) = &self.ifname {
            netif::set_mtu(ifname, mtu).map_err(|e| match e.errno() {
                libc::EINVAL | libc::EBUSY | libc::EOPNOTSUPP => Error::new(
                    e.errno(),
                    format!(
                        "{e}: some drivers cannot while a port has their rings: delete the port, \
                         set the MTU of {ifname:?}, and add the port again"
                    ),
                ),
                _ => e,
            })?;
        }
        self.link.mtu = mtu;
        Ok(())
    }

    /// Sets the MAC address, of the host interface too.
    pub fn set_mac(&mut self, mac: [u8; 6]) -> Result<()> {
        if let Some(ifname) = &self.ifname {
            netif::set_mac(ifname, mac)?;
        }
        self.link.mac = mac;
        Ok(())
    }

    /// Brings the port up or down, the host interface too.
    pub fn set_up(&mut self, up: bool) -> Result<()> {
        if let Some(ifname) = &self.ifname {
            return netif::set_up(ifname, up);
        }
        self.link.up = up;
        Ok(())
    }

    /// Switches promiscuous mode on or off, of the host interface too.
    pub fn set_promisc(&mut self, promisc: bool) -> Result<()> {
        if let Some(ifname) = &self.ifname {
            netif::set_promisc(ifname, promisc)?;
            if promisc && !self.link.promisc {
                self.made_promisc = Some(self.link.ifindex);
            } else if !promisc {
                self.made_promisc = None;
            }
            return Ok(());
        }
        self.link.promisc = promisc;
        Ok(())
    }

    /// Leaves the interface, which is not the port's any more, as it was found: it may have another name
    /// by now.
    pub fn let_go(&mut self) {
        if let Some(ifindex) = self.made_promisc.take() {
            // It may be elsewhere, or nowhere.
            let _ = netif::unset_promisc(ifindex);
        }
    }

    fn take(&mut self, host: &HostInterface) {
        let changes = host.carrier_changes.unwrap_or(0);
        self.link = Link {
            mac: host.mac,
            up: host.up,
            promisc: host.promisc,
            carrier: host.carrier,
            full_duplex: host.full_duplex,
            mtu: host.mtu,
            max_mtu: self.link.max_mtu,
            ifindex: host.ifindex,
            numa_node: host.numa_node.map_or(-1, |node| node as i32),
            speed_mbps: host.speed_mbps as u64,
            carrier_resets: changes.saturating_sub(self.opened_changes),
        };
    }
}

/// A locally administered unicast address that is the same each time the port is opened: the FNV-1a
/// hash (64 bit, RFC 9923) of the name.
fn virtual_mac(name: &str) -> [u8; 6] {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ byte as u64).wrapping_mul(0x0100_0000_01b3)
    });
    let h = hash.to_be_bytes();
    [h[0] & 0xfc | 0x02, h[1], h[2], h[3], h[4], h[5]]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_without_interface_has_values_of_its_own() {
        let mut port = PortLink::new("vale0:1", None, FrameRoom::Buffer(2048)).unwrap();
        let link = port.link();
        assert_eq!(link.mac[0] & 3, 2);
        assert_eq!((link.mtu, link.max_mtu, link.ifindex), (1500, 1774, 0));
        assert!(link.carrier && !port.refresh());
        assert_eq!(port.max_frame(), 1522);
        let error = port.set_mtu(1775).unwrap_err();
        assert_eq!(error.errno(), libc::EINVAL);
        assert!(error.to_string().contains("netmap-buf-size"), "{error}");
        assert_eq!(port.link().mtu, 1500);
        port.set_mtu(1770).unwrap();
        assert_eq!(port.max_frame(), 1792);
        port.set_mtu(1774).unwrap();
        assert_eq!(port.max_frame(), 1792);
        assert_eq!(port.fault(), None);
        let other = PortLink::new("vale0:2", None, FrameRoom::Buffer(2048)).unwrap();
        assert_ne!(other.link().mac, link.mac);
    }

    #[test]
    fn what_is_wrong_with_the_interface_is_told() {
        let mut port = PortLink::new("netmap:lo", Some("lo"), FrameRoom::Buffer(2048)).unwrap();
        // The loopback interface's MTU is that of no network.
        assert!(port.link().mtu > 1774);
        let fault = port.fault().unwrap();
        assert!(
            fault.contains("lo") && fault.contains("netmap-buf-size"),
            "{fault}"
        );
        assert_eq!(port.max_frame(), 1792);
        assert!(port.update(None) && !port.update(None));
        assert!(!port.link().carrier && port.max_frame() == 0);
        assert!(port.refresh() && port.link().up);
    }

    #[test]
    fn nothing_goes_out_without_a_carrier() {
        let mut port = PortLink::new("x{1", None, FrameRoom::Buffer(2048)).unwrap();
        assert!(port.set_carrier(false) && !port.set_carrier(false));
        assert!(port.set_carrier(true) && port.link().carrier);
        assert_eq!(port.max_frame(), 1522);
        port.set_up(false).unwrap();
        assert!(port.set_carrier(true) && !port.link().carrier);
        assert_eq!(port.max_frame(), 0);
    }

    #[test]
    fn a_missing_interface_is_named() {
        let error = PortLink::new(
            "netmap:nonesuch0",
            Some("nonesuch0"),
            FrameRoom::Buffer(2048),
        )
        .unwrap_err();
        assert_eq!(error.errno(), libc::ENODEV);
        assert!(error.to_string().contains("nonesuch0"));
    }
}
