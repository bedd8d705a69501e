// SPDX-License-Identifier: Apache-2.0
//! News of links, for a thread of its own.

use std::io;
use std::os::fd::AsRawFd;
use std::time::Duration;

use netlink_sys::{Socket, SocketAddr, protocols::NETLINK_ROUTE};

use super::netlink;
use super::rtnl::Rtnl;

/// The multicast group that hears of links. From linux/rtnetlink.h.
const RTMGRP_LINK: u32 = 1;

/// Hears of changes of links, and asks about them. It shares nothing with other threads, which may be
/// blocked.
pub struct LinkEvents {
    news: Socket,
    rtnl: Rtnl,
}

impl LinkEvents {
    pub fn new() -> io::Result<LinkEvents> {
        let mut news = Socket::new(NETLINK_ROUTE)?;
        news.bind(&SocketAddr::new(0, RTMGRP_LINK))?;
        news.set_non_blocking(true)?;
        Ok(LinkEvents {
            news,
            rtnl: Rtnl::new()?,
        })
    }

    /// Waits until any link has changed, at most for `at_most`.
    pub fn wait(&mut self, at_most: Duration) {
        let mut poll = libc::pollfd {
            fd: self.news.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        let ms = at_most.as_millis().try_into().unwrap_or(libc::c_int::MAX);
        // SAFETY: `poll` is one pollfd, which nothing else uses during the call.
        unsafe { libc::poll(&raw mut poll, 1, ms) };
        // What they say is asked for anew. If some were lost (ENOBUFS), there are others.
        let mut message = Vec::with_capacity(1 << 15);
        loop {
            message.clear();
            match self.news.recv(&mut message, 0) {
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => break,
                Err(e) if e.raw_os_error() != Some(libc::ENOBUFS) => break,
                _ => {}
            }
        }
    }

    /// The name of interface number `ifindex`, and whether it is up; `None` if there is none.
    pub fn look(&mut self, ifindex: u32) -> io::Result<Option<(String, bool)>> {
        match self.rtnl.get_by_index(ifindex) {
            Ok(link) => Ok(Some((link.name, link.flags & libc::IFF_UP as u32 != 0))),
            Err(e) if netlink::errno(&e) == Some(libc::ENODEV) => Ok(None),
            Err(e) => Err(e),
        }
    }
}
