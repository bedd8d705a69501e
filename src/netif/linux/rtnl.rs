// SPDX-License-Identifier: Apache-2.0
//! Links by rtnetlink: reading one, changing one.
//!
//! Of a link's attributes only those that are used here are decoded, so that no other one, of whatever
//! kernel and driver, is a reason for failure.
#![forbid(unsafe_code)]

use std::io;
use std::os::fd::RawFd;

use netlink_packet_core::{
    DecodeError, DefaultNla, NLM_F_ACK, NlasIterator, parse_i32, parse_mac, parse_string, parse_u32,
};
use netlink_sys::{Socket, protocols::NETLINK_ROUTE};

use super::netlink::{Netlink, attribute};

// From linux/rtnetlink.h and linux/if_link.h.
const RTM_NEWLINK: u16 = 16;
const RTM_GETLINK: u16 = 18;
const RTM_GETNSID: u16 = 90;
const IFLA_ADDRESS: u16 = 1;
const IFLA_IFNAME: u16 = 3;
const IFLA_MTU: u16 = 4;
const IFLA_LINK: u16 = 5;
const IFLA_STATS64: u16 = 23;
const IFLA_CARRIER_CHANGES: u16 = 35;
const IFLA_LINK_NETNSID: u16 = 37;
const IFLA_ALT_IFNAME: u16 = 53;
// From linux/net_namespace.h.
const NETNSA_NSID: u16 = 1;
const NETNSA_FD: u16 = 3;
/// Bytes of a `struct ifinfomsg`.
const INFO: usize = 16;
/// Bytes of a `struct rtgenmsg`, with padding.
const GENERAL: usize = 4;

/// A link as the kernel describes it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct LinkRecord {
    pub ifindex: u32,
    /// Its name, also when it was asked for by an alternative one.
    pub name: String,
    /// `ARPHRD_ETHER` and the like.
    pub kind: u16,
    /// `IFF_UP` and the like.
    pub flags: u32,
    pub mtu: u32,
    /// `None` when its addresses are not of that length.
    pub mac: Option<[u8; 6]>,
    pub carrier_changes: Option<u64>,
    /// Number of the other end, if it has one (`IFLA_LINK`).
    pub peer: Option<u32>,
    /// What our network namespace calls that of the other end; `None` when they are in one.
    pub peer_nsid: Option<i32>,
    /// `struct rtnl_link_stats64`, as far as the kernel has it.
    pub stats: Vec<u64>,
}

/// A change of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    /// One of its flags, on or off.
    Flag(u32, bool),
    Mtu(u32),
    Mac([u8; 6]),
}

/// Which link.
#[derive(Debug, Clone, Copy)]
pub(super) enum Target<'a> {
    Name(&'a str),
    /// By its number, whatever its name is.
    Index(u32),
}

/// A socket to ask about links.
#[derive(Debug)]
pub(super) struct Rtnl(Netlink);

impl Rtnl {
    pub(super) fn new() -> io::Result<Rtnl> {
        Netlink::new(NETLINK_ROUTE).map(Rtnl)
    }

    pub(super) fn socket(&self) -> &Socket {
        self.0.socket()
    }

    /// The link called `name`, which may be an alternative name.
    pub(super) fn get(&mut self, name: &str) -> io::Result<LinkRecord> {
        self.link(&[0; INFO], &[by_name(name)])
    }

    /// The link with that number.
    pub(super) fn get_by_index(&mut self, ifindex: u32) -> io::Result<LinkRecord> {
        let mut info = [0; INFO];
        info[4..8].copy_from_slice(&ifindex.to_ne_bytes());
        self.link(&info, &[])
    }

    /// What our network namespace calls the one that is open as `fd`; -1 when it has no number for it.
    pub(super) fn nsid(&mut self, fd: RawFd) -> io::Result<i32> {
        let which = DefaultNla::new(NETNSA_FD, fd.to_ne_bytes().to_vec());
        let reply = self.0.ask(RTM_GETNSID, 0, &[0; GENERAL], &[which])?;
        let attributes = reply.as_deref().and_then(|reply| reply.get(GENERAL..));
        attribute(attributes.unwrap_or_default(), NETNSA_NSID, parse_i32)
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EPROTO))
    }

    fn link(&mut self, info: &[u8; INFO], attributes: &[DefaultNla]) -> io::Result<LinkRecord> {
        self.0
            .ask(RTM_GETLINK, 0, info, attributes)?
            .and_then(|payload| LinkRecord::decode(&payload).ok())
            .ok_or_else(|| io::Error::from_raw_os_error(libc::EPROTO))
    }

    /// Changes that link, and nothing else of it.
    pub(super) fn change(&mut self, link: Target<'_>, change: Change) -> io::Result<()> {
        let mut info = [0; INFO];
        let mut attributes = Vec::new();
        match link {
            Target::Name(name) => attributes.push(by_name(name)),
            Target::Index(ifindex) => info[4..8].copy_from_slice(&ifindex.to_ne_bytes()),
        }
        match change {
            Change::Flag(flag, on) => {
                let flags = if on { flag } else { 0 };
                info[8..12].copy_from_slice(&flags.to_ne_bytes());
                // The mask: the kernel changes no other flag.
                info[12..16].copy_from_slice(&flag.to_ne_bytes());
            }
            Change::Mtu(mtu) => {
                attributes.push(DefaultNla::new(IFLA_MTU, mtu.to_ne_bytes().to_vec()));
            }
            Change::Mac(mac) => attributes.push(DefaultNla::new(IFLA_ADDRESS, mac.to_vec())),
        }
        // Not RTM_SETLINK: kernels before 5.5 take no alternative name there.
        self.0
            .ask(RTM_NEWLINK, NLM_F_ACK, &info, &attributes)
            .map(|_| ())
    }
}

fn by_name(name: &str) -> DefaultNla {
    let mut text = name.as_bytes().to_vec();
    text.push(0);
    let kind = if text.len() > libc::IFNAMSIZ {
        IFLA_ALT_IFNAME
    } else {
        IFLA_IFNAME
    };
    DefaultNla::new(kind, text)
}

impl LinkRecord {
    /// Of the payload of an `RTM_NEWLINK` or `RTM_DELLINK`.
    fn decode(payload: &[u8]) -> Result<LinkRecord, DecodeError> {
        if payload.len() < INFO {
            return Err(DecodeError::buffer_too_small(payload.len(), INFO));
        }
        let (info, attributes) = payload.split_at(INFO);
        let mut link = LinkRecord {
            kind: u16::from_ne_bytes([info[2], info[3]]),
            ifindex: parse_u32(&info[4..8])?,
            flags: parse_u32(&info[8..12])?,
            ..LinkRecord::default()
        };
        for nla in NlasIterator::new(attributes) {
            let nla = nla?;
            let value = nla.value();
            match nla.kind() {
                IFLA_IFNAME => link.name = parse_string(value)?,
                IFLA_MTU => link.mtu = parse_u32(value)?,
                IFLA_ADDRESS => link.mac = parse_mac(value).ok(),
                IFLA_LINK => link.peer = Some(parse_u32(value)?),
                IFLA_LINK_NETNSID => link.peer_nsid = Some(parse_i32(value)?),
                IFLA_CARRIER_CHANGES => {
                    link.carrier_changes = Some(parse_u32(value)?.into());
                }
                IFLA_STATS64 => {
                    let words = value.chunks_exact(8);
                    let word = |bytes: &[u8]| bytes.try_into().map_or(0, u64::from_ne_bytes);
                    link.stats = words.map(word).collect();
                }
                _ => {}
            }
        }
        Ok(link)
    }
}
