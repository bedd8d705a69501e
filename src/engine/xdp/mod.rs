// SPDX-License-Identifier: Apache-2.0
//! Host interfaces over AF_XDP, presented as netmap rings: `netmap:eth0` without netmap's module.
//!
//! ```text
//!   netmap rings     rx: slots -> buffers            tx: slots -> buffers
//!   (UserRegion)         |        ^                      |          ^
//!   sync.rs           post     receive                 push     reap, hand back
//!                        v        |                      v          |
//!   queue.rs          fill     receive               transmit   completion      one socket a queue
//!                        |        ^                      |          ^
//!   kernel               +-> XDP -+  (bpf.rs)            +-> NIC ---+
//! ```
//!
//! | file | role |
//! |---|---|
//! | `mod.rs` | opens a port |
//! | `bpf.rs` | bpf(2): the program on an interface, attached as long as the port is open, gone even with a crash |
//! | `program.rs`, `btf.rs` | its instructions, and the functions of the kernel that it calls: queue `i` to socket `i`, and what becomes of a frame without socket |
//! | `release.rs` | queues that were given up and that the kernel is still busy with |
//! | `socket.rs` | the sockets and their UMEM |
//! | `queue.rs` | the four rings of a socket |
//! | `room.rs` | how large buffers a device needs |
//! | `port.rs` | an open port: its state, its statistics, its end |
//! | `sync.rs` | rxsync and txsync; `sync/late.rs`: what cannot go out in time |
//!
//! Why neither of the crates for this: `xdp` (0.8) cannot share a UMEM between sockets, which is what
//! makes forwarding between two ports a swap of indices; `xsk-rs` builds and links the C libraries
//! libxdp and libbpf. What is needed of either is five system calls and four rings, all of it stable
//! kernel ABI. Linux 5.10 or newer, for a UMEM shared between interfaces.
//!
//! The memory of a region is registered as a UMEM by the first socket, and joined by all others that
//! have zero copy or none, as it has (`socket::bind`). Buffer `i` is frame `i`.
//!
//! A frame that is longer than a buffer comes and goes over several, where the kernel does that
//! (`XDP_USE_SG`, Linux 6.6): descriptors with `XDP_PKT_CONTD` are slots with `NS_MOREFRAG`. Elsewhere an
//! MTU that does not fit into a buffer is refused, or told when it comes later.
//!
//! A VLAN tag that the driver keeps beside the frame is put back into it by the program (`program.rs`), if
//! the driver tells it; the function of the kernel for that is found by `btf.rs`.

use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use super::user_region::UserRegion;
use super::{FRAME_HEADER, FrameRoom, OpenRequest, Opened, too_many_queues};
use crate::config::{BufSize, SMALLEST_BUF_SIZE};
use crate::error::{Error, Result};
use crate::name::{PortKind, Rings};
use crate::netif::HostInterface;
use crate::vlan::VlanGuard;

use bpf::{Mode, Redirect};
use port::XdpPort;
use program::Fallback;
pub use release::reap;
use room::{buf_size, zero_copy_has_room};
use socket::{Bound, Queue, Way};

#[allow(unsafe_code)]
mod bpf;
mod btf;
mod port;
mod program;
#[allow(unsafe_code)]
mod queue;
mod release;
mod room;
#[allow(unsafe_code)]
mod socket;
mod sync;

/// Slots of a receive ring, at most: what comes while the polling thread is off its core waits
/// there. Measured on a busy machine (veth pairs, iperf3), 2048 lose a tenth of what 1024 lose, and
/// TCP is 10 % faster; on an idle one there is no difference.
const MAX_RX_SLOTS: u32 = 2048;
/// Slots of a receive ring, at least, whatever the number of queues.
const MIN_RX_SLOTS: u32 = 256;
/// A transmit ring has this part of the receive ring's slots: the thread that fills it, a burst of
/// 32 at a time, is also the one that empties it, so it never gets deep.
const TX_SHARE: u32 = 4;
/// The rings of one port take this part of a region at most, by having fewer slots.
const REGION_SHARE: u32 = 4;

/// Entries that the map from queue to socket has at least. Receive queues may appear that were not
/// there when the program was attached.
const MIN_MAP_SIZE: u32 = 256;

/// The programs of this process, by interface number: ports on different queues of an interface
/// (`eth0-0`, `eth0-1`) share one.
static REDIRECTS: Mutex<Vec<(u32, Weak<Redirect>)>> = Mutex::new(Vec::new());

/// Opens the host interface that `request` names.
///
/// # Errors
///
/// `EOPNOTSUPP` for what only netmap's module has; `ENODEV`, `ENXIO` when the interface or its queue
/// does not exist; `EBUSY` when somebody else has it; `EAGAIN` when this process had it and the kernel
/// has not let go of it yet, so that trying again later helps; `EMSGSIZE` when its frames do not fit into a
/// buffer; `ENOMEM`, `ENOBUFS` when there is not enough memory; `EPERM`.
pub fn open(request: &OpenRequest<'_>) -> Result<Opened> {
    let (ifname, rings) = check_name(request)?;
    let before = HostInterface::read(ifname)?;
    check_ethernet(&before)?;
    check_mtu(&before, SMALLEST_BUF_SIZE, None)?;
    check_rings(request, &before, rings)?;
    open_interface(request, ifname, &before, rings).map_err(|error| {
        // An interface that leaves meanwhile makes calls fail with all kinds of errors.
        match HostInterface::read(ifname) {
            Err(gone) if gone.errno() == libc::ENODEV => gone,
            Ok(now) if now.ifindex != before.ifindex => replaced(request),
            _ => error,
        }
    })
}

/// The error when the interface was replaced while it was opened.
fn replaced(request: &OpenRequest<'_>) -> Error {
    Error::new(
        libc::EAGAIN,
        format!(
            "{}: the interface was replaced by another one: it will be tried again",
            request.name
        ),
    )
}

fn open_interface(
    request: &OpenRequest<'_>,
    ifname: &str,
    before: &HostInterface,
    rings: Rings,
) -> Result<Opened> {
    // What there is no memory for is refused before anything happens to the interface.
    let wanted = |interface: &HostInterface, mode| {
        let queues = (interface.n_rx_queues, interface.n_tx_queues);
        (queues, buf_size(interface, mode))
    };
    let at_first = wanted(before, Mode::Native);
    let queues_before = queues(request, before, rings)?;
    let mut region = region(request, &queues_before, at_first.1)?;

    let redirect = redirect(before, rings)?;
    // Some drivers change their queues for an XDP program.
    let interface = HostInterface::read(ifname)?;
    if interface.ifindex != before.ifindex {
        return Err(replaced(request));
    }
    let queues = queues(request, &interface, rings)?;
    let now = wanted(&interface, redirect.mode());
    if now != at_first {
        // There may not be memory for two.
        drop(region);
        region = self::region(request, &queues, now.1)?;
    }
    let mut port = XdpPort::new(ifname, &interface, redirect, region.port()?);
    let mut pairs = Vec::with_capacity(queues.len());
    let mut binder = Binder::new(&interface, &region, port.redirect());
    for queue in &queues {
        let bound = binder.bind(queue)?;
        pairs.push(port.add(queue, bound)?);
    }
    let vlan = VlanGuard::new(
        &interface,
        port.redirect().vlan_tags(),
        request.port.run_dir,
    );
    port.start()?;
    // Another one may have the same number by now: sockets on it, and a program on the one before.
    if !port.has_program() {
        return Err(replaced(request));
    }
    check_mtu(
        &interface,
        region.region().buf_size(),
        Some(port.several_bufs()),
    )?;
    let extra = port.extra(request.process.extra_bufs);
    log::info!("{}: opened {}", request.name, port.summary());
    Ok(Opened {
        others_write: false,
        vlan: Some(vlan),
        region: Arc::clone(region.region()),
        rings: pairs,
        extra,
        port: Box::new(port),
    })
}

/// A region with room for the rings of `queues`. Any whose buffers have `buf_size` bytes will do: two UMEMs
/// on one memory are better than two memories (`socket::bind`).
fn region(request: &OpenRequest<'_>, queues: &[Queue], buf_size: u32) -> Result<UserRegion> {
    let slots = queues.iter().flat_map(|q| [q.rx_slots, q.tx_slots]);
    let needed = slots
        .flatten()
        .fold(request.process.extra_bufs, u32::saturating_add);
    match UserRegion::get(request, needed, buf_size, |_| true) {
        // A port whose frames are copied is better than none.
        Err(e) if e.errno() == libc::ENOMEM && buf_size > SMALLEST_BUF_SIZE => {
            UserRegion::get(request, needed, SMALLEST_BUF_SIZE, |_| true)
        }
        done => done,
    }
}

/// The interface and the rings, if this engine can open such a port at all.
fn check_name<'a>(request: &OpenRequest<'a>) -> Result<(&'a str, Rings)> {
    let name = request.name;
    let no = |why: String| Err(Error::new(libc::EOPNOTSUPP, format!("{name}: {why}")));
    let PortKind::Hardware { ifname, rings } = name.kind() else {
        return no("AF_XDP opens network interfaces only".into());
    };
    if *rings == Rings::Host {
        return no("host rings exist only in netmap's kernel module".into());
    }
    if let Some(region) = name.region() {
        return no(format!(
            "memory regions with numbers, as in \"@{region}\", exist only in netmap's kernel module"
        ));
    }
    if let BufSize::Bytes(size) = request.process.buf_size
        && !size.is_power_of_two()
    {
        return Err(Error::new(
            libc::EINVAL,
            format!(
                "{name}: AF_XDP takes buffers of 2048 or 4096 bytes, not of {size}; change \
                 other_config:netmap-buf-size"
            ),
        ));
    }
    Ok((ifname, *rings))
}

fn check_ethernet(interface: &HostInterface) -> Result<()> {
    if interface.ethernet {
        return Ok(());
    }
    Err(Error::new(
        libc::EPROTONOSUPPORT,
        format!(
            "{}: it is no Ethernet interface (its hardware type is {}, expected 1, ARPHRD_ETHER), \
             and a switch port needs Ethernet frames: use an interface that has them, as a tap \
             device instead of a tun device",
            interface.name, interface.hardware_type,
        ),
    ))
}

/// Refuses more receive queues than there are rings, before anything happens to the interface.
fn check_rings(request: &OpenRequest<'_>, interface: &HostInterface, rings: Rings) -> Result<()> {
    let available = match rings {
        Rings::One(_) => 1,
        _ => interface.n_rx_queues,
    };
    if request.rings() <= available {
        return Ok(());
    }
    Err(too_many_queues(
        request.rings(),
        available as usize,
        request.name,
    ))
}

/// Refuses an interface whose frames are longer than what the port takes; `several_bufs` is `None` as long
/// as nobody knows whether they may take several buffers.
fn check_mtu(interface: &HostInterface, buf_size: u32, several_bufs: Option<bool>) -> Result<()> {
    let (room, why) = match several_bufs {
        None | Some(true) => (FrameRoom::SeveralSlots, String::new()),
        Some(false) => {
            let room = FrameRoom::Buffer(buf_size);
            let why = format!(
                "a buffer of {buf_size} bytes holds {} and the headroom, and neither does this kernel \
                 put longer ones into several buffers (Linux 6.6 does) nor this driver: ",
                room.longest_frame()
            );
            (room, why)
        }
    };
    if interface.mtu <= room.largest_mtu() {
        return Ok(());
    }
    Err(Error::new(
        libc::EMSGSIZE,
        format!(
            "{}: its MTU of {} needs frames of {} bytes, which are too long: {why}{}",
            interface.name,
            interface.mtu,
            interface.mtu.saturating_add(FRAME_HEADER),
            room.mtu_advice(interface.mtu),
        ),
    ))
}

/// The queues that `rings` means, with ring sizes that leave room for other ports in a region.
fn queues(
    request: &OpenRequest<'_>,
    interface: &HostInterface,
    rings: Rings,
) -> Result<Vec<Queue>> {
    let n = interface.n_rx_queues.max(interface.n_tx_queues);
    let range = match rings {
        Rings::One(i) if (i as u32) < n => i as u32..i as u32 + 1,
        Rings::One(i) => {
            let ifname = &interface.name;
            return Err(Error::new(
                libc::ENXIO,
                format!("{ifname} has no ring {i}: its rings are 0 to {}", n - 1),
            ));
        }
        _ => 0..n,
    };
    let rx_slots = rx_slots(range.len() as u32, request.process.region_bufs);
    let queue = |queue| Queue {
        ifindex: interface.ifindex,
        queue,
        rx_slots: (queue < interface.n_rx_queues).then_some(rx_slots),
        tx_slots: (queue < interface.n_tx_queues).then_some(rx_slots / TX_SHARE),
        busy_poll_budget: request.port.busy_poll_budget,
    };
    Ok(range.map(queue).collect())
}

/// Slots of each receive ring, a power of two, so that the rings of `queues` queues leave room for
/// other ports in a region.
fn rx_slots(queues: u32, region_bufs: u32) -> u32 {
    let mut slots = MAX_RX_SLOTS;
    let needed = |slots: u32| queues.saturating_mul(slots + slots / TX_SHARE);
    while slots > MIN_RX_SLOTS && needed(slots) > region_bufs / REGION_SHARE {
        slots /= 2;
    }
    slots
}

/// The program on `interface`: that of another port of ours, or one that was kept for it, or a new one.
fn redirect(interface: &HostInterface, rings: Rings) -> Result<Arc<Redirect>> {
    let mut redirects = REDIRECTS.lock();
    redirects.retain(|(_, redirect)| redirect.strong_count() > 0);
    let fallback = match rings {
        Rings::One(_) => Fallback::Pass,
        _ => Fallback::Drop,
    };
    let ours = redirects
        .iter()
        .filter(|(ifindex, _)| *ifindex == interface.ifindex);
    let mut held = ours.filter_map(|(_, redirect)| redirect.upgrade());
    // One may still be held for an interface that is gone, and had the same number.
    if let Some(redirect) = held.find(|redirect| redirect.is_on(interface.ifindex)) {
        if redirect.fallback() == fallback {
            return Ok(redirect);
        }
        let ifname = &interface.name;
        return Err(Error::new(
            libc::EBUSY,
            format!(
                "{ifname} is in use as another port, or was a moment ago: a port on the whole \
                 interface and one on a single queue exclude each other"
            ),
        ));
    }
    let queues = interface.n_rx_queues.max(interface.n_tx_queues);
    let map_size = queues.max(MIN_MAP_SIZE);
    let redirect = Arc::new(Redirect::attach(interface, map_size, fallback)?);
    redirects.push((interface.ifindex, Arc::downgrade(&redirect)));
    Ok(redirect)
}

/// Binds the sockets of one port.
struct Binder<'a> {
    interface: &'a HostInterface,
    region: &'a UserRegion,
    /// Ways to bind a socket, the best first.
    ways: Vec<Way>,
}

impl Binder<'_> {
    fn new<'a>(
        interface: &'a HostInterface,
        region: &'a UserRegion,
        redirect: &Redirect,
    ) -> Binder<'a> {
        let way = |zero_copy, several_bufs| Way {
            zero_copy,
            several_bufs,
        };
        let fits = FrameRoom::Buffer(region.region().buf_size()).largest_mtu();
        // Long frames are worth more than zero copy.
        let mut ways = match interface.mtu > fits {
            true => vec![way(true, true), way(false, true), way(false, false)],
            false => vec![
                way(true, true),
                way(true, false),
                way(false, true),
                way(false, false),
            ],
        };
        // In generic mode, packets were copied before the program sees them.
        ways.retain(|way| !way.zero_copy || redirect.mode() == Mode::Native);
        ways.retain(|way| !way.several_bufs || redirect.several_bufs());
        // What a device does not write into one buffer, it may write into several.
        if ways.contains(&way(true, false))
            && !zero_copy_has_room(interface, region.region().buf_size())
        {
            ways.retain(|&w| w != way(true, false));
        }
        Binder {
            interface,
            region,
            ways,
        }
    }

    fn bind(&mut self, queue: &Queue) -> Result<Bound> {
        loop {
            match self.attempt(queue) {
                Err(e) if self.ways.len() > 1 && is_about_the_way(&e) => {
                    log::debug!("not {:?}: {e}", self.ways[0]);
                    self.ways.remove(0);
                }
                done => return done,
            }
        }
    }

    /// Binds a socket. A queue that is busy is not waited for: that would hold up the main thread.
    fn attempt(&self, queue: &Queue) -> Result<Bound> {
        let ifname = &self.interface.name;
        let mapping = self.region.mapping();
        let buf_size = self.region.region().buf_size();
        match socket::bind(queue, mapping, buf_size, self.ways[0]) {
            Ok(bound) => {
                release::taken_again(queue);
                Ok(bound)
            }
            Err(e) if e.errno() == libc::EBUSY => Err(still_busy(queue, ifname)),
            // The kernel itself does not mind; some driver may.
            Err(e) if e.errno() == libc::ENETDOWN => Err(Error::new(
                e.errno(),
                format!("{ifname}: {e}: its driver wants it up: ip link set {ifname} up"),
            )),
            Err(e) => Err(e.context(ifname)),
        }
    }
}

/// The error when somebody has `queue`.
fn still_busy(queue: &Queue, ifname: &str) -> Error {
    let number = queue.queue;
    if release::was_ours(queue) {
        return Error::new(
            libc::EAGAIN,
            format!(
                "queue {number} of {ifname} was closed a moment ago and the kernel still has it: \
                 it will be tried again"
            ),
        );
    }
    Error::new(
        libc::EBUSY,
        format!(
            "queue {number} of {ifname} is in use by another AF_XDP socket, of this or another \
             process"
        ),
    )
}

/// Whether it makes sense to try another way. Drivers refuse zero copy with all kinds of errors; these
/// are not theirs.
fn is_about_the_way(error: &Error) -> bool {
    let others = [
        libc::EPERM,
        libc::EACCES,
        libc::EAFNOSUPPORT,
        libc::EBUSY,
        libc::ENODEV,
        libc::ENOBUFS,
    ];
    !others.contains(&error.errno())
}

#[cfg(test)]
mod tests;
