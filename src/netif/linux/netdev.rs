// SPDX-License-Identifier: Apache-2.0
//! What the kernel's netdev family of generic netlink tells about an interface, since Linux 6.3.
#![forbid(unsafe_code)]

use std::io;

use netlink_packet_core::{DefaultNla, parse_u16, parse_u64};
use netlink_sys::protocols::NETLINK_GENERIC;

use super::netlink::{Netlink, attribute};

// From linux/genetlink.h.
const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;
// From linux/netdev.h.
const NETDEV_CMD_DEV_GET: u8 = 1;
const NETDEV_A_DEV_IFINDEX: u16 = 1;
const NETDEV_A_DEV_XSK_FEATURES: u16 = 6;
const NETDEV_XSK_FLAGS_TX_CHECKSUM: u64 = 2;

/// Whether the driver of interface number `ifindex` completes checksums of frames that AF_XDP sends with zero
/// copy, where the metadata in front of a frame ask for it.
///
/// # Errors
///
/// `ENOENT` where the kernel has no such family, `ENODEV` where there is no such interface.
pub fn completes_csum(ifindex: u32) -> io::Result<bool> {
    let mut netlink = Netlink::new(NETLINK_GENERIC)?;
    let name = DefaultNla::new(CTRL_ATTR_FAMILY_NAME, b"netdev\0".to_vec());
    let reply = ask(&mut netlink, GENL_ID_CTRL, CTRL_CMD_GETFAMILY, name)?;
    let family = attribute(&reply, CTRL_ATTR_FAMILY_ID, parse_u16);
    let family = family.ok_or_else(|| io::Error::from_raw_os_error(libc::EPROTO))?;
    let which = DefaultNla::new(NETDEV_A_DEV_IFINDEX, ifindex.to_ne_bytes().to_vec());
    let reply = ask(&mut netlink, family, NETDEV_CMD_DEV_GET, which)?;
    // Before Linux 6.8 it is not there.
    let features = attribute(&reply, NETDEV_A_DEV_XSK_FEATURES, parse_u64).unwrap_or(0);
    Ok(features & NETDEV_XSK_FLAGS_TX_CHECKSUM != 0)
}

/// The attributes of the answer to `command` of `family`.
fn ask(
    netlink: &mut Netlink,
    family: u16,
    command: u8,
    attribute: DefaultNla,
) -> io::Result<Vec<u8>> {
    // struct genlmsghdr: the command, a version, two bytes of padding.
    let header = [command, 1, 0, 0];
    let reply = netlink.ask(family, 0, &header, &[attribute])?;
    let attributes = reply.as_ref().and_then(|reply| reply.get(header.len()..));
    let attributes = attributes.ok_or_else(|| io::Error::from_raw_os_error(libc::EPROTO))?;
    Ok(attributes.to_vec())
}
