// SPDX-License-Identifier: Apache-2.0
//! The other end of a veth, which may be in another network namespace.
//!
//! rtnetlink tells its number there, and which number our namespace has for that namespace, but not how
//! to get in. So the files of network namespaces are compared with it: those of container tools, then
//! those of processes.
#![allow(unsafe_code)]

use std::collections::HashSet;
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;

use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};

use super::super::VethPeer;
use super::rtnl::Rtnl;
use super::{Query, rtnl};

/// Where tools keep the network namespaces that they make, a file each.
const NETNS_DIRS: [&str; 2] = ["/run/netns", "/run/docker/netns"];

/// Features that leave VLAN tags to the interface, as in `ethtool -k`, so that a veth has them beside
/// its frames. Each is the bit of [`super::RxVlan`] for its kind of tag.
const TX_VLAN: [&str; 2] = ["tx-vlan-hw-insert", "tx-vlan-stag-hw-insert"];

pub(in super::super) fn veth_peer(
    ifname: &str,
    near: Option<&Path>,
    change: Option<(u8, bool)>,
) -> Option<VethPeer> {
    let link = rtnl().ok()?.get(ifname).ok()?;
    let ifindex = link.peer?;
    let Some(nsid) = link.peer_nsid else {
        return look(rtnl().ok()?, ifindex, None, change);
    };
    let mut paths = near.map(Path::to_owned).into_iter().chain(namespaces());
    let (path, file) = paths.find_map(|path| {
        let file = File::open(&path).ok()?;
        (rtnl().ok()?.nsid(file.as_raw_fd()).ok()? == nsid).then_some((path, file))
    })?;
    // Of its own, since the whole of a thread is in one namespace or another.
    let entered = thread::spawn(move || {
        enter(&file).ok()?;
        let there = Mutex::new(Rtnl::new().ok()?);
        look(
            MutexGuard::map(there.lock(), |r| r),
            ifindex,
            Some(path),
            change,
        )
    });
    entered.join().ok()?
}

/// Asks for the interface number `ifindex`, in the namespace of that socket, after a change of it.
fn look(
    mut rtnl: MappedMutexGuard<'_, Rtnl>,
    ifindex: u32,
    netns: Option<PathBuf>,
    change: Option<(u8, bool)>,
) -> Option<VethPeer> {
    let name = rtnl.get_by_index(ifindex).ok()?.name;
    let query = Query::of(rtnl, &name);
    let mut beside = 0;
    for (i, name) in TX_VLAN.iter().enumerate() {
        let bit = 1 << i;
        if let Some((kinds, on)) = change
            && kinds & bit != 0
            && let Some(feature) = query.feature(name)
        {
            query.set_feature(feature, on);
        }
        if query.feature(name).is_some_and(|now| now.active) {
            beside |= bit;
        }
    }
    Some(VethPeer {
        tags_beside: beside,
        ifname: name.clone(),
        netns,
    })
}

/// Files that are network namespaces, most of them once.
fn namespaces() -> impl Iterator<Item = PathBuf> {
    let entries = |dir: &str| fs::read_dir(dir).into_iter().flatten().flatten();
    let named = NETNS_DIRS.into_iter().flat_map(entries);
    let of_processes = entries("/proc").filter(|entry| {
        let name = entry.file_name();
        name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
    });
    let mut seen = HashSet::new();
    named
        .map(|entry| entry.path())
        .chain(of_processes.map(|entry| entry.path().join("ns/net")))
        .filter(move |path| {
            let inode = fs::metadata(path).map(|file| (file.dev(), file.ino()));
            inode.is_ok_and(|inode| seen.insert(inode))
        })
}

/// Moves the calling thread into that network namespace.
fn enter(netns: &File) -> io::Result<()> {
    // SAFETY: it takes two integers, of which the first is a descriptor that is open.
    match unsafe { libc::setns(netns.as_raw_fd(), libc::CLONE_NEWNET) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
