// SPDX-License-Identifier: Apache-2.0
//! Engine `kernel`: netmap's own module, everything that it opens.
//!
//! ```text
//!   port descriptor     all rings of the port; its extra buffers          NIOCCTRL, close
//!   queue descriptors   one ring pair each, where there are several       NIOC{RX,TX}SYNC
//!   anchor descriptor   no rings: the region's mapping, one a region      mmap, close
//! ```
//!
//! A sync call covers all rings of its descriptor, and queues are polled by different threads: hence
//! one for each pair. The port's own descriptor comes first and goes last, so that a network card
//! enters and leaves netmap mode (a reset and a link flap) once and not once for each queue.

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use self::device::Device;
use self::gate::Watch;
use self::netmap_if::NetmapIf;
use self::register::PortRequest;
use super::{EnginePort, Held, OpenRequest, Opened};
#[cfg(feature = "test-utils")]
use crate::abi::{NR_REG_NULL, nmreq_register};
use crate::error::{Error, Result};
use crate::index::{BufIdx, OwnedBuf, Owner};
use crate::netif::HostInterface;
use crate::ring::Ring;
use crate::vlan::{VlanGuard, VlanTags};

mod aside;
mod device;
mod diagnose;
mod gate;
mod given;
mod netmap_if;
mod region;
mod register;
mod repair;
mod sync;

/// Extra buffers below which a port cannot receive a burst (`NETDEV_MAX_BURST` of OVS).
const LEAST_EXTRA: u32 = 32;

/// Whether `/dev/netmap` opens.
pub fn available() -> bool {
    Device::open().is_ok()
}

/// How to get the module, or to be allowed to use the one that is there, as a clause for messages.
pub fn how_to_get() -> String {
    match Device::open() {
        Err(e) => diagnose::no_access(&e).unwrap_or_else(|| diagnose::HOW_TO_GET.into()),
        Ok(_) => diagnose::HOW_TO_GET.into(),
    }
}

/// How many buffers of a region are free, by taking all of them for a moment.
#[cfg(feature = "test-utils")]
pub fn free_bufs(mem_id: u16) -> io::Result<u32> {
    let mut register = nmreq_register {
        nr_mode: NR_REG_NULL,
        nr_mem_id: mem_id,
        nr_extra_bufs: 10_000_000,
        ..nmreq_register::default()
    };
    Device::open()?.register("c", &mut register)?;
    Ok(register.nr_extra_bufs)
}

/// Opens a port of the module.
///
/// The region is the one asked for with `@N`; else one that this process has mapped, if the port can
/// join it; else the one that the module chooses. What does not give all the extra buffers asked for
/// comes second, so a port joins a crowded region only when no other has more.
pub fn open(request: &OpenRequest<'_>) -> Result<Opened> {
    let device = Device::open().map_err(|e| diagnose::no_device(request.name, &e))?;
    let register = PortRequest::of(request)?;
    let regions = match request.name.region() {
        Some(mem_id) => vec![mem_id],
        None => region::mapped_ids().into_iter().chain([0]).collect(),
    };
    let vlan = vlan_guard(request);
    let (mut failure, mut most) = (None, None);
    for mem_id in regions {
        match register.open_in(mem_id, request.process.extra_bufs) {
            Ok(opened) => return Ok(Opened { vlan, ..opened }),
            Err(Refusal::Few(given)) => {
                // The first of equals, which is the one to share.
                if most.is_none_or(|(most, _)| given > most) {
                    most = Some((given, mem_id));
                }
            }
            Err(Refusal::Io(e)) => failure = Some(diagnose::refused(&device, request.name, &e)),
            Err(Refusal::Other(e)) => failure = Some(e),
        }
    }
    let Some((given, mem_id)) = most else {
        return Err(failure.unwrap_or_else(|| diagnose::few_bufs(request, 0)));
    };
    if given < LEAST_EXTRA {
        return Err(diagnose::few_bufs(request, given));
    }
    match register.open_in(mem_id, LEAST_EXTRA) {
        Ok(opened) => {
            log::warn!(
                "{}: the module gave {} of the {} extra buffers asked for: fewer packets can wait \
                 in OVS; raise netmap's buf_num, or lower other_config:netmap-nextrabufs",
                request.name,
                opened.extra.len(),
                request.process.extra_bufs
            );
            Ok(Opened { vlan, ..opened })
        }
        Err(Refusal::Few(given)) => Err(diagnose::few_bufs(request, given)),
        Err(Refusal::Io(e)) => Err(diagnose::refused(&device, request.name, &e)),
        Err(Refusal::Other(e)) => Err(e),
    }
}

/// Keeps VLAN tags in the frames of an interface: the module passes on frames without what is beside them.
fn vlan_guard(request: &OpenRequest<'_>) -> Option<VlanGuard> {
    let host = HostInterface::read(request.name.ifname()?).ok()?;
    Some(VlanGuard::new(
        &host,
        VlanTags::FromDriver,
        request.port.run_dir,
    ))
}

/// Why a port did not open in a region.
enum Refusal {
    /// It did, with this many extra buffers, which are too few.
    Few(u32),
    /// A request failed.
    Io(io::Error),
    /// What the module answered cannot be used.
    Other(Error),
}

impl From<io::Error> for Refusal {
    fn from(e: io::Error) -> Refusal {
        Refusal::Io(e)
    }
}

impl From<Error> for Refusal {
    fn from(e: Error) -> Refusal {
        Refusal::Other(e)
    }
}

/// An open port of the module.
struct KernelPort {
    /// The port's own descriptor; the module takes the extra buffers when it is closed.
    _device: Arc<Device>,
    netmap_if: NetmapIf,
    host_interface: Option<String>,
    several_slots: bool,
    status: Vec<(&'static str, String)>,
    /// Second handles on its rings.
    rings: Mutex<Vec<Ring>>,
    /// Slots that named buffers which were not the ring's, and have buffers again.
    repaired: Arc<AtomicU64>,
    /// Of a port on an interface.
    watch: Option<Watch>,
}

impl EnginePort for KernelPort {
    fn engine(&self) -> &'static str {
        "kernel"
    }

    fn status(&self) -> Vec<(&'static str, String)> {
        self.status.clone()
    }

    fn host_interface(&self) -> Option<&str> {
        self.host_interface.as_deref()
    }

    fn takes_several_slots(&self) -> bool {
        self.several_slots
    }

    fn drops(&self) -> Vec<(&'static str, u64)> {
        // The module counts none that it would tell.
        let tx_link_down = |watch: &Watch| ("tx_link_down", watch.gate().dropped());
        self.watch.iter().map(tx_link_down).collect()
    }

    fn events(&self) -> Vec<(&'static str, u64)> {
        vec![("repaired_slots", self.repaired.load(Ordering::Relaxed))]
    }

    fn walk_rings(&self, visit: &mut dyn FnMut(BufIdx, Owner)) {
        for ring in &*self.rings.lock() {
            for pos in 0..ring.num_slots() {
                visit(BufIdx(ring.slot(pos).buf_idx), ring.owner());
            }
        }
    }

    fn surrender(&self, extra: Vec<OwnedBuf>) {
        self.netmap_if.give_extra(extra);
    }

    fn close(self: Box<Self>, extra: Vec<OwnedBuf>) -> Option<Held> {
        self.netmap_if.give_extra(extra);
        None
    }
}

#[cfg(test)]
mod tests;
