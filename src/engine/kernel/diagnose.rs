// SPDX-License-Identifier: Apache-2.0
//! Messages: what was asked for, what the module said, what to do about it.

use std::io;

use super::device::{self, Device, Module};
use super::{LEAST_EXTRA, region};
use crate::abi::{NETMAP_API, nmreq_port_info_get};
use crate::engine::OpenRequest;
use crate::error::Error;
use crate::name::{PortKind, PortName, Rings};
use crate::netif::HostInterface;

/// How to get the module.
#[cfg(target_os = "freebsd")]
pub const HOW_TO_GET: &str = "the kernel needs netmap: GENERIC has it, others load it with \
                              \"kldload netmap\" or build it in with \"device netmap\"";
/// How to get the module.
#[cfg(not(target_os = "freebsd"))]
pub const HOW_TO_GET: &str = "netmap's kernel module is not part of Linux: build it from \
                              https://github.com/luigirizzo/netmap and load it with \
                              \"modprobe netmap\"";

/// What to do if the module is there, but this process cannot open it.
pub fn no_access(e: &io::Error) -> Option<String> {
    let path = device::PATH;
    match e.raw_os_error() {
        Some(libc::EACCES | libc::EPERM) => Some(format!(
            "{path} is there, but the process lacks the permission to read and write it"
        )),
        Some(libc::EMFILE | libc::ENFILE) => Some(format!(
            "{path} cannot be opened, as the process has too many open files: raise its limit"
        )),
        _ => None,
    }
}

/// `/dev/netmap` does not open.
pub fn no_device(name: &PortName, e: &io::Error) -> Error {
    let path = device::PATH;
    let hint = no_access(e).unwrap_or_else(|| {
        format!("{HOW_TO_GET}; or set other_config:netmap-engine to auto or userspace")
    });
    with_hint(
        format!("{name}: engine kernel cannot open {path}"),
        e,
        &hint,
    )
}

/// Too few extra buffers to receive a burst.
pub fn few_bufs(request: &OpenRequest<'_>, given: u32) -> Error {
    Error::new(
        libc::ENOMEM,
        format!(
            "{}: the module gave {given} of the {} extra buffers asked for, and a port needs \
             {LEAST_EXTRA}; raise netmap's buf_num (priv_buf_num for a VALE port's own region) or \
             close other netmap ports",
            request.name, request.process.extra_bufs
        ),
    )
}

/// The module refused the port.
pub fn refused(device: &Device, name: &PortName, e: &io::Error) -> Error {
    let errno = e.raw_os_error().unwrap_or(libc::EIO);
    let hint = match errno {
        libc::ENXIO | libc::ENODEV => missing(name),
        libc::EBUSY => {
            let closed = match name.kind() {
                PortKind::Hardware {
                    rings: Rings::Host, ..
                } => "; if it was a port that was closed while its interface was down, set that up",
                _ => "",
            };
            format!(
                "it is in use: another process has its rings (each would get some of the frames), \
                 it is attached to a VALE switch, or member of a bond or bridge; end that use \
                 first{closed}"
            )
        }
        libc::ENOMEM => {
            let other = match name.kind() {
                // Each queue has a descriptor, and each of those an object of the pool if_num.
                PortKind::Vale { .. } if name.region().is_none() => {
                    format!(", or add it as {name}@1, in the global region, which has more of them")
                }
                _ => String::new(),
            };
            format!(
                "its region has no room for another port's rings and buffers; raise netmap's \
                 if_num, ring_num, ring_size or buf_num (priv_* for the own region of a VALE \
                 port), or lower n_rxq, or the number or size of rings{other}"
            )
        }
        libc::EIO => "the driver gives no buffer size, or wants virtio-net headers".to_owned(),
        libc::EOPNOTSUPP => {
            "its driver has no netmap support, and netmap's admode forbids emulation".to_owned()
        }
        libc::EPERM | libc::EACCES => "the process lacks the privilege for that".to_owned(),
        libc::EMFILE | libc::ENFILE => {
            "the process has too many open files; raise its limit".to_owned()
        }
        _ => invalid(device, name),
    };
    with_hint(
        format!("{name}: netmap's kernel module refused it"),
        e,
        &hint,
    )
}

/// `context: the system's text; hint`.
fn with_hint(context: String, e: &io::Error, hint: &str) -> Error {
    let said = Error::from_io(context, e);
    Error::new(said.errno(), format!("{said}; {hint}"))
}

fn missing(name: &PortName) -> String {
    match name.kind() {
        PortKind::Hardware { ifname, .. } => format!("there is no interface {ifname}"),
        PortKind::Vale { switch, .. } => {
            format!("the module was built without VALE, or has no room for switch {switch}")
        }
        PortKind::Pipe { base, .. } => {
            format!("there is no port {base}, and the module could not make one for the pipe")
        }
        PortKind::Null { .. } => String::new(),
    }
}

/// What the module means by `EINVAL`, as far as it can be found out.
fn invalid(device: &Device, name: &PortName) -> String {
    match Module::probe(device) {
        Module::Speaks(version) => {
            return format!(
                "the module has version {version} of netmap's API, this library needs {NETMAP_API}"
            );
        }
        Module::Older => {
            return format!(
                "the module is older than version {NETMAP_API} of netmap's API, which this library \
                 speaks; install a newer one"
            );
        }
        Module::Fits => {}
    }
    if let Some(mem_id) = name.region() {
        let mut info = nmreq_port_info_get {
            nr_mem_id: mem_id,
            ..nmreq_port_info_get::default()
        };
        if device.ask(NETMAP_API, "", &mut info).is_err() {
            return format!("there is no memory region {mem_id}");
        }
    }
    let mut info = nmreq_port_info_get::default();
    match name.kind() {
        PortKind::Hardware {
            ifname,
            rings: Rings::One(ring),
        } if device.ask(NETMAP_API, ifname, &mut info).is_ok() => {
            let rings = info.nr_tx_rings.max(info.nr_rx_rings);
            if *ring >= rings {
                return format!(
                    "there is no ring {ring}: {ifname} has {rings} ring pairs, counted from 0"
                );
            }
        }
        PortKind::Hardware {
            ifname,
            rings: Rings::Host,
        } if device.ask(NETMAP_API, ifname, &mut info).is_ok() && info.nr_host_rx_rings == 0 => {
            return format!("{ifname} has no host rings");
        }
        PortKind::Vale { port, .. } if crate::netif::exists(port) => {
            return format!(
                "{port} is a network interface: attach it to the switch with \"vale-ctl -a\", and \
                 open another port of it"
            );
        }
        PortKind::Hardware { ifname, .. } => {
            if let Some(hint) = mtu_too_large(device, ifname) {
                return hint;
            }
        }
        _ => {}
    }
    "see the kernel's log".to_owned()
}

/// Says so, if the MTU of `ifname` does not fit into a buffer.
fn mtu_too_large(device: &Device, ifname: &str) -> Option<String> {
    let mtu = HostInterface::read(ifname).ok()?.mtu;
    let buf_size = region::pools_info(device, ifname, 0)
        .ok()?
        .nr_buf_pool_objsize;
    (mtu > buf_size).then(|| {
        format!(
            "its MTU of {mtu} does not fit into netmap's buffers of {buf_size} bytes; lower the \
             MTU or raise netmap's buf_size"
        )
    })
}
