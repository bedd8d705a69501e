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
//! | `bpf.rs` | bpf(2): the program that redirects queue `i` to socket `i`, attached as long as the port is open, even through a crash |
//! | `socket.rs` | the sockets and their UMEM |
//! | `queue.rs` | the four rings of a socket |
//! | `port.rs` | an open port: its state, its statistics, its end |
//! | `sync.rs` | rxsync and txsync |
//!
//! Why neither of the crates for this: `xdp` (0.8) cannot share a UMEM between sockets, which is what
//! makes forwarding between two ports a swap of indices; `xsk-rs` builds and links the C libraries
//! libxdp and libbpf. What is needed of either is five system calls and four rings, all of it stable
//! kernel ABI. Linux 5.10 or newer, for a UMEM shared between interfaces.
//!
//! The memory of a region is registered as a UMEM by the first socket, and joined by all others that
//! have zero copy or none, as it has (`socket::bind`). Buffer `i` is frame `i`.
//!
//! Frames over several buffers (`XDP_USE_SG`, Linux 6.6) are not asked for. A packet of OVS lies in
//! one buffer, the kernel begins a second one only when the first is full, and none is larger than a
//! page: all that could be done with such a frame is to drop it, which the kernel does and counts
//! (`rx_dropped`). An MTU that does not fit into a buffer is refused, or told when it comes later.

use std::sync::{Arc, Weak};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::user_region::UserRegion;
use super::{FRAME_HEADER, OpenRequest, Opened, largest_mtu, longest_frame, mtu_advice};
use crate::error::{Error, Result};
use crate::name::{PortKind, Rings};
use crate::netif::HostInterface;

use bpf::Redirect;
use port::XdpPort;
use socket::{Bound, Queue};

#[allow(unsafe_code)]
mod bpf;
mod port;
#[allow(unsafe_code)]
mod queue;
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

/// How long to wait for a queue that another socket has: another process may be closing it.
const BUSY_WAIT: Duration = Duration::from_millis(500);
/// The same for a queue that this process gave up. The kernel takes a closed socket off its queue
/// later: when the last frame that it sent is freed, in an RCU callback, from a work queue. Mostly
/// that takes some milliseconds; on a machine that is busy all over, many seconds were seen. The wait
/// holds up ovs-vswitchd's main thread, so whoever opens the port tries again later.
const RELEASE_WAIT: Duration = Duration::from_millis(1500);
/// How long a queue that this process gave up counts as one.
const RELEASE_MEMORY: Duration = Duration::from_secs(120);
/// Between two attempts, at first and at last. Each makes a whole socket, and takes locks that the
/// kernel needs to end the other one.
const BUSY_POLL: Duration = Duration::from_millis(2);
const SLOW_POLL: Duration = Duration::from_millis(50);

/// Queues that this process gave up, by interface number, and when: in the last `RELEASE_MEMORY`.
static RELEASED: Mutex<Vec<(u32, u32, Instant)>> = Mutex::new(Vec::new());

/// Remembers that a socket of ours on `queue` is closed.
fn released(queue: &Queue) {
    let now = Instant::now();
    let mut list = RELEASED.lock();
    list.retain(|&(_, _, when)| now.duration_since(when) < RELEASE_MEMORY);
    list.push((queue.ifindex, queue.queue, now));
}

/// Whether `queue` is one that this process gave up, and that the kernel may still be busy with.
fn was_ours(queue: &Queue) -> bool {
    let list = RELEASED.lock();
    list.iter().any(|&(ifindex, number, when)| {
        (ifindex, number) == (queue.ifindex, queue.queue) && when.elapsed() < RELEASE_MEMORY
    })
}

/// Forgets that `queue` was given up, now that a socket of ours is on it again.
fn taken_again(queue: &Queue) {
    let mut list = RELEASED.lock();
    list.retain(|&(ifindex, number, _)| (ifindex, number) != (queue.ifindex, queue.queue));
}

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
    let name = request.name;
    let (ifname, rings) = check_name(request)?;
    let interface = HostInterface::read(ifname)?;
    check_ethernet(&interface)?;
    check_mtu(&interface, request.buf_size)?;
    let queues = queues(&interface, rings, request.region_bufs)?;

    let slots = queues.iter().flat_map(|q| [q.rx_slots, q.tx_slots]);
    let needed = slots
        .flatten()
        .fold(request.extra_bufs, u32::saturating_add);
    // Any region will do: two UMEMs on one memory are better than two memories (`socket::bind`).
    let region = UserRegion::get(request, needed, |_| true)?;
    let buffers = region.port()?;

    let redirect = redirect(&interface)?;
    let mut port = XdpPort::new(ifname, &interface.driver, redirect, buffers);
    let mut pairs = Vec::with_capacity(queues.len());
    let mut binder = Binder::new(&interface, &region, port.mode());
    for queue in &queues {
        let bound = binder.bind(queue)?;
        pairs.push(port.add(queue, bound)?);
    }
    let extra = port.extra(request.extra_bufs);
    log::info!("{name}: opened {}", port.summary());
    Ok(Opened {
        region: Arc::clone(region.region()),
        rings: pairs,
        extra,
        port: Box::new(port),
    })
}

/// The interface and the rings, if this engine can open such a port at all.
fn check_name<'a>(request: &OpenRequest<'a>) -> Result<(&'a str, Rings)> {
    let name = request.name;
    let no = |why: String| Err(Error::new(libc::EOPNOTSUPP, format!("{name}: {why}")));
    let PortKind::Hardware { ifname, rings } = name.kind() else {
        return no("AF_XDP opens network interfaces only".into());
    };
    if matches!(rings, Rings::Host | Rings::AllAndHost) {
        return no("host rings exist only in netmap's kernel module".into());
    }
    if let Some(region) = name.region() {
        return no(format!(
            "memory regions with numbers, as in \"@{region}\", exist only in netmap's kernel module"
        ));
    }
    if !request.buf_size.is_power_of_two() {
        return Err(Error::new(
            libc::EINVAL,
            format!(
                "{name}: AF_XDP takes buffers of 2048 or 4096 bytes, not of {}; change \
                 other_config:netmap-buf-size",
                request.buf_size
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

fn check_mtu(interface: &HostInterface, buf_size: u32) -> Result<()> {
    let room = longest_frame(buf_size);
    if interface.mtu <= largest_mtu(room) {
        return Ok(());
    }
    Err(Error::new(
        libc::EMSGSIZE,
        format!(
            "{}: its MTU of {} needs frames of {} bytes, but a buffer of {buf_size} bytes holds \
             {room} and the headroom: {}",
            interface.name,
            interface.mtu,
            interface.mtu.saturating_add(FRAME_HEADER),
            mtu_advice(interface.mtu, buf_size),
        ),
    ))
}

/// The queues that `rings` means, with ring sizes that leave room for other ports in a region.
fn queues(interface: &HostInterface, rings: Rings, region_bufs: u32) -> Result<Vec<Queue>> {
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
    let rx_slots = rx_slots(range.len() as u32, region_bufs);
    let queue = |queue| Queue {
        ifindex: interface.ifindex,
        queue,
        rx_slots: (queue < interface.n_rx_queues).then_some(rx_slots),
        tx_slots: (queue < interface.n_tx_queues).then_some(rx_slots / TX_SHARE),
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

/// The program on `interface`: that of another port of ours, or a new one.
fn redirect(interface: &HostInterface) -> Result<Arc<Redirect>> {
    let mut redirects = REDIRECTS.lock();
    redirects.retain(|(_, redirect)| redirect.strong_count() > 0);
    let ours = redirects
        .iter()
        .find(|(ifindex, _)| *ifindex == interface.ifindex);
    if let Some(redirect) = ours.and_then(|(_, redirect)| redirect.upgrade()) {
        return Ok(redirect);
    }
    let queues = interface.n_rx_queues.max(interface.n_tx_queues);
    let redirect = Arc::new(Redirect::attach(
        &interface.name,
        interface.ifindex,
        queues,
    )?);
    redirects.push((interface.ifindex, Arc::downgrade(&redirect)));
    Ok(redirect)
}

/// Binds the sockets of one port.
struct Binder<'a> {
    interface: &'a HostInterface,
    region: &'a UserRegion,
    /// What to try first.
    zero_copy: bool,
}

impl Binder<'_> {
    fn new<'a>(
        interface: &'a HostInterface,
        region: &'a UserRegion,
        mode: bpf::Mode,
    ) -> Binder<'a> {
        Binder {
            interface,
            region,
            // In generic mode, packets were copied before the program sees them.
            zero_copy: mode == bpf::Mode::Native,
        }
    }

    fn bind(&mut self, queue: &Queue) -> Result<Bound> {
        let bound = self.wait(queue);
        match bound {
            Err(e) if self.zero_copy && is_about_zero_copy(&e) => {
                log::debug!("no zero copy: {e}");
                self.zero_copy = false;
                self.wait(queue)
            }
            done => done,
        }
    }

    /// Binds a socket, when the queue is free.
    fn wait(&self, queue: &Queue) -> Result<Bound> {
        let memory = self.region.mapping();
        let buf_size = self.region.region().buf_size();
        let was_ours = was_ours(queue);
        let start = Instant::now();
        let deadline = start + if was_ours { RELEASE_WAIT } else { BUSY_WAIT };
        let mut pause = BUSY_POLL;
        loop {
            match socket::bind(queue, memory, buf_size, self.zero_copy) {
                Err(e) if e.errno() == libc::EBUSY => {
                    if Instant::now() >= deadline {
                        return Err(still_busy(queue, &self.interface.name, was_ours));
                    }
                    thread::sleep(pause);
                    pause = (2 * pause).min(SLOW_POLL);
                }
                // The kernel itself does not mind; some driver may.
                Err(e) if e.errno() == libc::ENETDOWN => {
                    let ifname = &self.interface.name;
                    let hint = format!("its driver wants it up: ip link set {ifname} up");
                    return Err(Error::new(e.errno(), format!("{ifname}: {e}: {hint}")));
                }
                done => {
                    if start.elapsed() > BUSY_WAIT {
                        log::info!(
                            "queue {} of {} was busy for {} ms",
                            queue.queue,
                            self.interface.name,
                            start.elapsed().as_millis()
                        );
                    }
                    if done.is_ok() {
                        taken_again(queue);
                    }
                    return done.map_err(|e| e.context(&self.interface.name));
                }
            }
        }
    }
}

/// The error when the wait for `queue` was in vain.
fn still_busy(queue: &Queue, ifname: &str, was_ours: bool) -> Error {
    let number = queue.queue;
    if was_ours {
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

/// Whether it makes sense to try without zero copy. Drivers refuse it with all kinds of errors; these
/// are not theirs.
fn is_about_zero_copy(error: &Error) -> bool {
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
