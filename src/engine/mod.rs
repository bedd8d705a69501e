// SPDX-License-Identifier: Apache-2.0
//! What is below the rings: an engine opens ports and moves slots between their rings and the
//! world. Above this module nothing knows which engine a port has.
//!
//! An engine gives each ring a [`RingSync`]. `sync` is netmap's rxsync or txsync: it takes the slots
//! before `head`, which the owner of the ring has given away, and moves `tail` over the slots that
//! the owner may use next. It runs in the thread that owns the ring, or lends the ring to another one.

use std::sync::Arc;

use crate::config::{self, BufSize, Config, EngineChoice, PortConfig};
use crate::error::{Error, Result};
use crate::index::{BufIdx, OwnedBuf, Owner};
use crate::name::{PortKind, PortName};
use crate::region::Region;
use crate::ring::Ring;
use crate::vlan::VlanGuard;

pub mod internal;
pub mod kernel;
mod memory_left;
mod room;
mod tx_metadata;
pub mod user_region;
#[cfg(target_os = "linux")]
pub mod xdp;

pub use room::FrameRoom;
pub use tx_metadata::{NS_TX_METADATA, TX_METADATA_LEN, checksum as checksum_metadata};
pub use user_region::HEADROOM;

/// What a frame has beside the MTU: an Ethernet header and one VLAN tag.
pub const FRAME_HEADER: u32 = 14 + 4;

/// The same with a second VLAN tag, which is the most that a frame has.
pub const FRAME_OVERHEAD: u32 = FRAME_HEADER + 4;

/// MTU of ports without a host interface.
pub const VIRTUAL_MTU: u32 = 1500;

/// `netmap_ring.dir`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    Tx = 0,
    Rx = 1,
}

/// Largest MTU of a port that takes frames over several slots.
pub const LARGEST_MTU: u32 = 9216;

/// Longest frame: with two VLAN tags.
pub const LONGEST_FRAME: u32 = LARGEST_MTU + FRAME_OVERHEAD;

/// Longest frame that a buffer of `buf_size` bytes holds behind the headroom.
pub fn longest_frame(buf_size: u32) -> u32 {
    buf_size - HEADROOM.min(buf_size / 2)
}

/// Largest MTU for frames of `longest` bytes.
pub fn largest_mtu(longest: u32) -> u32 {
    longest.saturating_sub(FRAME_HEADER)
}

/// What a user can do about an MTU of `mtu` that does not fit into buffers of `buf_size` bytes.
pub fn mtu_advice(mtu: u32, buf_size: u32) -> String {
    let largest = largest_mtu(longest_frame(buf_size));
    let most = config::LARGEST_BUF_SIZE;
    let possible = largest_mtu(longest_frame(most));
    if buf_size >= most {
        return format!("lower the MTU to {largest}");
    }
    if mtu > possible {
        return format!(
            "lower the MTU to {largest}, or to {possible} with other_config:netmap-buf-size={most} \
             and a restart of ovs-vswitchd"
        );
    }
    if config::wanted().buf_size == BufSize::Bytes(most) {
        return format!(
            "restart ovs-vswitchd, so that other_config:netmap-buf-size={most} takes effect, or \
             lower the MTU to {largest}"
        );
    }
    format!(
        "lower the MTU to {largest}, or set other_config:netmap-buf-size to {most} and restart \
         ovs-vswitchd"
    )
}

/// The error about `n_rxq` receive queues of port `name`, which has `available` receive rings.
pub fn too_many_queues(n_rxq: u32, available: usize, name: &PortName) -> Error {
    Error::new(
        libc::EINVAL,
        format!(
            "n_rxq={n_rxq} is out of range: {name} has receive rings for 1 to {available} queues"
        ),
    )
}

/// What a port is to be opened with.
#[derive(Debug, Clone)]
pub struct OpenRequest<'a> {
    /// [`PortConfig::name`], parsed.
    pub name: &'a PortName,
    /// The port's own options.
    pub port: PortConfig<'a>,
    /// What holds for all ports: the extra buffers, each of which becomes a packet, and a new region's
    /// size.
    pub process: Config,
}

impl OpenRequest<'_> {
    /// Ring pairs wanted where the engine can choose their number (pipes, null ports).
    pub fn rings(&self) -> u32 {
        self.port.n_rxq.max(1)
    }
}

#[cfg(any(test, feature = "test-utils"))]
impl<'a> OpenRequest<'a> {
    /// One ring pair and 64 extra buffers, in a region of 4096 buffers.
    pub fn small(name: &'a PortName) -> OpenRequest<'a> {
        use crate::pool::{Frame, PacketLayout};

        let layout = PacketLayout::new(size_of::<Frame>() + 8, 0, size_of::<Frame>(), 1, |_| {});
        OpenRequest {
            name,
            port: PortConfig::new("", layout.expect("both fields are inside")),
            process: Config {
                extra_bufs: 64,
                region_bufs: 4096,
                ..Config::DEFAULT
            },
        }
    }
}

/// An open port as its engine hands it over.
pub struct Opened {
    /// Where its buffers are.
    pub region: Arc<Region>,
    /// Its ring pairs, in the order of the hardware's queues.
    pub rings: Vec<RingPair>,
    /// The extra buffers that came with it, at most as many as asked for.
    pub extra: Vec<OwnedBuf>,
    /// Whether other processes may write its frames while they are with OVS, which was made for memory
    /// that nobody else writes.
    pub others_write: bool,
    /// What keeps the VLAN tags of its interface in the frames, from before the first one is received.
    pub vlan: Option<VlanGuard>,
    /// Its status, its end, what its other side counts.
    pub port: Box<dyn EnginePort>,
}

/// One receive and one transmit ring; either may be absent.
pub struct RingPair {
    pub rx: Option<SyncedRing>,
    pub tx: Option<SyncedRing>,
}

/// A ring and its sync call.
pub struct SyncedRing {
    pub ring: Ring,
    /// Its rxsync or txsync.
    pub sync: Box<dyn RingSync>,
}

impl SyncedRing {
    /// Calls the sync. An error is the errno of the call.
    #[inline]
    pub fn sync(&mut self) -> std::result::Result<(), i32> {
        self.sync.sync(&mut self.ring)
    }
}

/// rxsync or txsync of one ring.
pub trait RingSync: Send {
    /// Takes the slots before `head`, moves `tail`. On error (a positive errno) nothing is moved; the
    /// caller counts it and tries again later. If it was `head` that cannot be, `head` and `tail`
    /// are set back to where they were, as netmap's `netmap_ring_reinit` does it.
    fn sync(&mut self, ring: &mut Ring) -> std::result::Result<(), i32>;
}

/// What of a port may outlive it: dropped, the interface is nobody's any more.
pub type Held = Box<dyn Send>;

/// Does what engines have to do from time to time. Returns when to call it again, if anything is left.
pub fn run() -> Option<std::time::Duration> {
    #[cfg(target_os = "linux")]
    return xdp::reap();
    #[cfg(not(target_os = "linux"))]
    None
}

/// The rest of an open port.
pub trait EnginePort: Send + Sync {
    /// `kernel`, `xdp` or `memory`.
    fn engine(&self) -> &'static str;

    /// Further words about how it was opened, as `key=value`: `("mode", "native")` and such.
    fn status(&self) -> Vec<(&'static str, String)>;

    /// Name of the host interface behind the port, if there is one.
    fn host_interface(&self) -> Option<&str>;

    /// The number of that interface, if it was opened by number: the name may be another one's by now.
    fn ifindex(&self) -> Option<u32> {
        None
    }

    /// Drops that the other side counted and the rings do not show, as `(name, count)`.
    fn drops(&self) -> Vec<(&'static str, u64)>;

    /// How many of [`EnginePort::drops`], received and to be sent, the host interface's own `rx_dropped`
    /// and `tx_dropped` contain, too.
    fn counted_by_interface(&self) -> (u64, u64) {
        (0, 0)
    }

    /// Receive and transmit queues that its interface had when it was opened, if the port is to follow
    /// their number.
    fn queues(&self) -> Option<(u32, u32)> {
        None
    }

    /// Whether the interface that was opened has left, even if there is one like it again.
    fn lost(&self) -> bool {
        false
    }

    /// Brings a port without host interface up or down.
    fn set_up(&self, _up: bool) {}

    /// Whether such a port can send and receive now.
    fn carrier(&self) -> bool {
        true
    }

    /// What else went wrong, without a packet lost by it or with one that [`EnginePort::drops`] has.
    fn events(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    /// Calls `visit` with what each slot of its rings names, and who should hold that, for `netmap/show`;
    /// with nothing where nobody else can write the rings.
    fn walk_rings(&self, _visit: &mut dyn FnMut(BufIdx, Owner)) {}

    /// Takes extra buffers back while the port is open, as the process is about to end without closing
    /// it. Without effect where the buffers go with the process.
    fn surrender(&self, _extra: Vec<OwnedBuf>) {}

    /// Whether frames may come and go over several slots. Otherwise they must fit into a buffer.
    fn takes_several_slots(&self) -> bool {
        false
    }

    /// Closes the port, after its rings' [`SyncedRing`]s were dropped, and gives back as many of its
    /// extra buffers as are free now. What it returns keeps frames of the interface from the host's
    /// network stack, for a port that is to be opened again.
    fn close(self: Box<Self>, extra: Vec<OwnedBuf>) -> Option<Held>;
}

/// Opens the port with the engine that its name and the configuration ask for.
pub fn open(request: &OpenRequest<'_>) -> Result<Opened> {
    if let PortKind::Null { .. } = request.name.kind() {
        // A source and sink of this library's own: the same with every engine.
        return internal::open(request);
    }
    match request.process.engine {
        EngineChoice::Kernel => kernel::open(request),
        EngineChoice::Userspace => open_userspace(request),
        EngineChoice::Auto if kernel::available() => kernel::open(request),
        EngineChoice::Auto => open_userspace(request).map_err(|e| {
            // Say why the kernel was not taken only where it would have helped.
            if e.errno() == libc::EOPNOTSUPP {
                // It may come: to be tried again.
                Error::new(libc::ENOENT, format!("{e}; {}", kernel::how_to_get()))
            } else {
                e
            }
        }),
    }
}

fn open_userspace(request: &OpenRequest<'_>) -> Result<Opened> {
    match request.name.kind() {
        #[cfg(target_os = "linux")]
        PortKind::Hardware { .. } => xdp::open(request),
        #[cfg(not(target_os = "linux"))]
        PortKind::Hardware { .. } => Err(Error::new(
            libc::EOPNOTSUPP,
            format!(
                "{}: without netmap in the kernel an interface needs AF_XDP, which only Linux has",
                request.name
            ),
        )),
        PortKind::Pipe { .. } | PortKind::Null { .. } => internal::open(request),
        PortKind::Vale { .. } => Err(Error::new(
            libc::EOPNOTSUPP,
            format!(
                "{}: VALE ports exist only in netmap's kernel module",
                request.name
            ),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advice_about_an_mtu_names_what_helps() {
        let advice = mtu_advice(9000, 2048);
        assert!(
            advice.contains("lower the MTU to 1774, or to 3822 with"),
            "{advice}"
        );
        let advice = mtu_advice(3000, 2048);
        assert!(
            advice.contains("netmap-buf-size to 4096 and restart"),
            "{advice}"
        );
        for mtu in [3823, 9000] {
            assert_eq!(mtu_advice(mtu, 4096), "lower the MTU to 3822");
        }
    }
}
