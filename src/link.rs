// SPDX-License-Identifier: Apache-2.0
//! What OVS asks about a port besides packets: MAC address, MTU, carrier, speed. A port on a host
//! interface answers with that interface's values, others with sensible ones of their own.
#![forbid(unsafe_code)]

use crate::engine::{self, FRAME_OVERHEAD, VIRTUAL_MTU};
use crate::error::{Error, Result};
use crate::netif::{self, HostInterface, Statistics};

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
    /// Largest MTU that a buffer has room for.
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

/// Follows the link of one port.
#[derive(Debug)]
pub struct LinkMonitor {
    /// The host interface, if there is one.
    ifname: Option<String>,
    /// Its index when the port was opened.
    opened_ifindex: u32,
    /// Its `carrier_changes` then.
    opened_changes: u64,
    /// It was gone since.
    vanished: bool,
    /// What the interface had counted when the port was opened, and when it was asked last.
    counted: Option<(Statistics, Statistics)>,
    /// Why it could not be read last.
    unread: Option<String>,
    /// Bytes of a buffer.
    buf_size: u32,
    link: Link,
}

impl LinkMonitor {
    /// Follows `ifname`, or nothing. `name` is the port's, `buf_size` the bytes of a buffer.
    pub fn new(name: &str, ifname: Option<&str>, buf_size: u32) -> Result<LinkMonitor> {
        let max_mtu = engine::largest_mtu(engine::longest_frame(buf_size));
        let mut monitor = LinkMonitor {
            ifname: ifname.map(str::to_owned),
            opened_ifindex: 0,
            opened_changes: 0,
            vanished: false,
            counted: None,
            unread: None,
            buf_size,
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
            monitor.opened_ifindex = host.ifindex;
            monitor.opened_changes = host.carrier_changes.unwrap_or(0);
            monitor.take(&host);
            let base = netif::statistics(ifname)?;
            monitor.counted = Some((base, base));
        }
        Ok(monitor)
    }

    /// The state when it was last read.
    pub fn link(&self) -> Link {
        self.link
    }

    /// Longest frame that may be sent.
    pub fn max_frame(&self) -> u32 {
        engine::longest_frame(self.buf_size).min(self.link.mtu.saturating_add(FRAME_OVERHEAD))
    }

    /// What keeps the port from working as its interface is now, for the user.
    pub fn fault(&self) -> Option<String> {
        let ifname = self.ifname.as_deref()?;
        let Link { mtu, max_mtu, .. } = self.link;
        if self.link.ifindex == 0 {
            return Some(format!(
                "interface {ifname:?} is gone: the port works again when there is one of that name"
            ));
        }
        (mtu > max_mtu).then(|| {
            format!(
                "the MTU of interface {ifname:?} is {mtu}, but a buffer has room for one of \
                 {max_mtu}, and longer frames are dropped: {}",
                engine::mtu_advice(mtu, self.buf_size)
            )
        })
    }

    /// Reads the state anew. True when it changed.
    pub fn refresh(&mut self) -> bool {
        let before = self.link;
        match self.ifname.as_deref().map(HostInterface::read) {
            None => {}
            Some(Ok(host)) => self.take(&host),
            Some(Err(error)) if error.errno() == libc::ENODEV => {
                self.vanished = true;
                self.link.up = false;
                self.link.carrier = false;
                self.link.ifindex = 0;
            }
            // What it is now is not known. It is asked for again.
            Some(Err(error)) => return self.unread(&error),
        }
        self.unread = None;
        self.link != before
    }

    /// What the interface itself counted since the port was opened, up to its end.
    pub fn counted(&mut self) -> Statistics {
        let Some((base, last)) = &mut self.counted else {
            return Statistics::default();
        };
        let now = self.ifname.as_deref().map(netif::statistics);
        // By that name, there may be another one by now.
        if let Some(Ok(now)) = now
            && now.ifindex == base.ifindex
        {
            *last = now;
        }
        last.since(base)
    }

    /// Notes, once, that the state cannot be read. Nothing changes by that.
    fn unread(&mut self, error: &Error) -> bool {
        let told = error.to_string();
        if self.unread.as_ref() != Some(&told) {
            log::warn!("{told}: its state is taken to be what it was, until it can be read");
            self.unread = Some(told);
        }
        false
    }

    /// Whether the host interface is another one than when the port was opened, under its name.
    pub fn needs_reopen(&self) -> bool {
        let there = self.link.ifindex != 0;
        there && (self.vanished || self.link.ifindex != self.opened_ifindex)
    }

    /// Sets the MTU, of the host interface too.
    pub fn set_mtu(&mut self, mtu: u32) -> Result<()> {
        if !(68..=self.link.max_mtu).contains(&mtu) {
            return Err(Error::new(
                libc::EINVAL,
                format!(
                    "an MTU of {mtu} cannot be: expected 68 to {}, which a buffer has room for: {}",
                    self.link.max_mtu,
                    if mtu < 68 {
                        "raise the MTU".to_owned()
                    } else {
                        engine::mtu_advice(mtu, self.buf_size)
                    }
                ),
            ));
        }
        if let Some(ifname) = &self.ifname {
            netif::set_mtu(ifname, mtu)?;
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
        self.link.carrier = up;
        Ok(())
    }

    /// Switches promiscuous mode on or off, of the host interface too.
    pub fn set_promisc(&mut self, promisc: bool) -> Result<()> {
        if let Some(ifname) = &self.ifname {
            return netif::set_promisc(ifname, promisc);
        }
        self.link.promisc = promisc;
        Ok(())
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
        let mut monitor = LinkMonitor::new("vale0:1", None, 2048).unwrap();
        let link = monitor.link();
        assert_eq!(link.mac[0] & 3, 2);
        assert_eq!((link.mtu, link.max_mtu, link.ifindex), (1500, 1774, 0));
        assert!(link.carrier && !monitor.refresh() && !monitor.needs_reopen());
        assert_eq!(monitor.max_frame(), 1522);
        let error = monitor.set_mtu(1775).unwrap_err();
        assert_eq!(error.errno(), libc::EINVAL);
        assert!(error.to_string().contains("netmap-buf-size"), "{error}");
        assert_eq!(monitor.link().mtu, 1500);
        monitor.set_mtu(1770).unwrap();
        assert_eq!(monitor.max_frame(), 1792);
        monitor.set_mtu(1774).unwrap();
        assert_eq!(monitor.max_frame(), 1792);
        assert_eq!(monitor.fault(), None);
        let other = LinkMonitor::new("vale0:2", None, 2048).unwrap();
        assert_ne!(other.link().mac, link.mac);
    }

    #[test]
    fn what_is_wrong_with_the_interface_is_told() {
        let mut monitor = LinkMonitor::new("netmap:lo", Some("lo"), 2048).unwrap();
        // The loopback interface's MTU is that of no network.
        assert!(monitor.link().mtu > 1774);
        let fault = monitor.fault().unwrap();
        assert!(
            fault.contains("lo") && fault.contains("netmap-buf-size"),
            "{fault}"
        );
        assert_eq!(monitor.max_frame(), 1792);
        monitor.ifname = Some("nonesuch0".into());
        assert!(monitor.refresh());
        let fault = monitor.fault().unwrap();
        assert!(
            fault.contains("nonesuch0") && fault.contains("gone"),
            "{fault}"
        );
        assert!(!monitor.needs_reopen());
        monitor.ifname = Some("lo".into());
        assert!(monitor.refresh() && monitor.needs_reopen());
    }

    #[test]
    fn a_missing_interface_is_named() {
        let error = LinkMonitor::new("netmap:nonesuch0", Some("nonesuch0"), 2048).unwrap_err();
        assert_eq!(error.errno(), libc::ENODEV);
        assert!(error.to_string().contains("nonesuch0"));
    }
}
