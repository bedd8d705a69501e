// SPDX-License-Identifier: Apache-2.0
//! What a port's name asks of the module, and the requests that open it.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;

use super::aside::SyncAside;
use super::device::{Device, Offsets};
use super::gate::{Gate, GatedSync, Watch};
use super::netmap_if::NetmapIf;
use super::region::{self, KernelRegion};
use super::repair::{RepairingSync, RingBuffers};
use super::sync::{Ioctl, ValeRxSync};
use super::{KernelPort, Refusal};
use crate::abi::{
    NETMAP_API, NIOCRXSYNC, NIOCTXSYNC, NR_EXCLUSIVE, NR_REG_ALL_NIC, NR_REG_ONE_NIC,
    NR_REG_ONE_SW, NR_REG_SW, NR_RX_RINGS_ONLY, NR_TX_RINGS_ONLY, nmreq_port_info_get,
    nmreq_register,
};
use crate::engine::{
    Direction, FRAME_OVERHEAD, HEADROOM, OpenRequest, Opened, RingPair, RingSync, SyncedRing,
    VIRTUAL_MTU,
};
use crate::error::{Error, Result};
use crate::name::{PortKind, PortName, Rings};
use crate::netif::HostInterface;
use crate::ring::Ring;

/// Room before a frame that is worth having, if [`HEADROOM`] is too much.
const LEAST_HEADROOM: u32 = 128;
/// VALE (`nm_vale_flush`) raises a receiver's offset to the alignment of the frame it copies, by less
/// than this, even where the receiver has no offsets and reads from its buffer's base.
const VALE_ALIGNMENT: u32 = 64;
/// Slots that a frame may take: those of the longest one in the smallest buffers, and some.
const MAX_FRAGS: u32 = 8;
/// Netmap's own drivers whose cards send and receive frames over several slots (`NS_MOREFRAG`).
const MOREFRAG_DRIVERS: [&str; 3] = ["e1000", "ixgbe", "i40e"];
/// Drivers that give their cards receive buffers in steps of 1 KiB only: with slot offsets in a
/// buffer of 2 KiB, each frame of more than 1 KiB would come in two slots.
const KIB_DRIVERS: [&str; 5] = ["e1000", "e1000e", "igb", "ixgbe", "ixgbevf"];

/// What to ask the module for.
pub struct PortRequest<'a> {
    name: &'a PortName,
    netmap_name: String,
    /// `nr_mode` and `nr_ringid` of the port's descriptor.
    mode: (u32, u16),
    /// Ring pairs, where the module leaves the choice; else 0.
    rings: u16,
    extra_bufs: u32,
    headroom: Option<HeadroomRule>,
    /// Whether it is a VALE port, or may be: the module makes network interfaces of some.
    maybe_vale: bool,
    /// The number of its interface, and whether that is up.
    interface: Option<(u32, bool)>,
    /// Whether frames may take several slots.
    several_slots: bool,
}

/// What decides where frames may start in their buffers.
#[derive(Debug, Clone, Copy)]
struct HeadroomRule {
    longest_frame: u32,
    /// Receive buffers are multiples of this.
    step: u32,
}

impl HeadroomRule {
    /// Slot offsets for buffers of `buf_size` bytes, such that the longest frame still fits.
    fn offsets(self, buf_size: u32) -> Option<Offsets> {
        let room = self.longest_frame.next_multiple_of(self.step);
        // Kept aligned: VALE copies in blocks of 64 bytes.
        let max = buf_size.checked_sub(room)? & !63;
        (max >= LEAST_HEADROOM).then(|| Offsets {
            max,
            initial: max.min(HEADROOM),
        })
    }
}

impl<'a> PortRequest<'a> {
    /// The request to the module that `request` stands for.
    pub fn of(request: &OpenRequest<'a>) -> Result<PortRequest<'a>> {
        let (mut maybe_vale, mut interface) = (false, None);
        let several_slots;
        let (mode, choosable, headroom) = match request.name.kind() {
            PortKind::Hardware { ifname, rings } => {
                let host = HostInterface::read(ifname)
                    .map_err(|e| e.context(format!("cannot open {}", request.name)))?;
                maybe_vale = host.driver.is_empty();
                interface = Some((host.ifindex, host.up));
                several_slots = takes_several_slots(&host.driver);
                let kib = KIB_DRIVERS.contains(&host.driver.as_str());
                let rule = HeadroomRule {
                    longest_frame: host.mtu.saturating_add(FRAME_OVERHEAD),
                    step: if kib { 1024 } else { 1 },
                };
                let mode = match rings {
                    Rings::All => (NR_REG_ALL_NIC, 0),
                    Rings::One(ring) => (NR_REG_ONE_NIC, *ring),
                    Rings::Host => (NR_REG_SW, 0),
                };
                (mode, false, Some(rule))
            }
            PortKind::Vale { .. } => {
                maybe_vale = true;
                several_slots = true;
                let rule = HeadroomRule {
                    longest_frame: VIRTUAL_MTU + FRAME_OVERHEAD,
                    step: 1,
                };
                ((NR_REG_ALL_NIC, 0), true, Some(rule))
            }
            // A pipe passes slots on as they are: a frame at an offset is garbled for a peer that
            // did not ask for offsets too, and nobody can tell whether it did.
            PortKind::Pipe { .. } => {
                several_slots = true;
                ((NR_REG_ALL_NIC, 0), true, None)
            }
            PortKind::Null { .. } => {
                return Err(Error::new(
                    libc::EINVAL,
                    format!("{}: null ports are not the module's", request.name),
                ));
            }
        };
        Ok(PortRequest {
            name: request.name,
            netmap_name: request.name.netmap_name(),
            mode,
            rings: if choosable {
                request.rings().min(u16::MAX.into()) as u16
            } else {
                0
            },
            extra_bufs: request.process.extra_bufs,
            headroom,
            maybe_vale,
            interface,
            several_slots,
        })
    }

    /// Opens the port in region `mem_id` (0: the module's choice) if it gives `least` extra buffers.
    pub fn open_in(&self, mem_id: u16, least: u32) -> std::result::Result<Opened, Refusal> {
        let (mut device, mut exclusive) = (Device::open()?, self.may_be_exclusive()?);
        let (mut answer, mut offsets) = self.register(&device, mem_id, exclusive)?;
        if exclusive && self.n_pairs(&answer) > 1 {
            // Somebody made it with more rings than were asked for: each needs a descriptor, too.
            drop(device);
            (device, exclusive) = (Device::open()?, false);
            (answer, offsets) = self.register(&device, mem_id, exclusive)?;
        }
        if answer.nr_extra_bufs < least {
            return Err(Refusal::Few(answer.nr_extra_bufs));
        }
        let region = KernelRegion::of_open_port(&device, &self.netmap_name, answer.nr_mem_id)?;
        let netmap_if = NetmapIf::new(region, answer)?;
        let device = Arc::new(device);
        let repaired = Arc::default();
        let watch = self.watch()?;
        let gate = watch.as_ref().map(Watch::gate);
        let rings = self.pairs(&device, &netmap_if, offsets, &repaired, gate)?;
        let sides = rings.iter().flat_map(|pair| [&pair.tx, &pair.rx]);
        let handles = sides.flatten().map(|side| side.ring.other_side()).collect();
        let extra = netmap_if.take_extra();
        log::debug!(
            "{}: region {}, {} ring pairs, {} extra buffers, {offsets:?}",
            self.name,
            answer.nr_mem_id,
            rings.len(),
            extra.len()
        );
        let status = vec![
            ("mem_id", answer.nr_mem_id.to_string()),
            ("headroom", offsets.map_or(0, |o| o.initial).to_string()),
            ("extra_bufs", format!("{}/{}", extra.len(), self.extra_bufs)),
            ("exclusive", if exclusive { "yes" } else { "no" }.into()),
        ];
        // A card whose region is its own is mapped by nobody else; what reaches a VALE port or a pipe
        // may lie in a sender's memory, or the peer's.
        let own_region = answer.nr_mem_id != region::GLOBAL;
        let on_a_card = matches!(self.name.kind(), PortKind::Hardware { .. });
        Ok(Opened {
            others_write: !(own_region && on_a_card),
            vlan: None,
            region: Arc::clone(&netmap_if.region().buffers),
            rings,
            extra,
            port: Box::new(KernelPort {
                _device: device,
                netmap_if,
                host_interface: self.name.ifname().map(str::to_owned),
                several_slots: self.several_slots,
                status,
                rings: Mutex::new(handles),
                repaired,
                watch,
            }),
        })
    }

    /// What keeps its syncs from hanging while its interface is down.
    fn watch(&self) -> io::Result<Option<Watch>> {
        let watch = |(ifindex, up)| Watch::new(ifindex, up, self.mode.0);
        self.interface.map(watch).transpose()
    }

    /// Whether the port's own descriptor can keep others out: it can where it is the only one, as an
    /// exclusive one keeps out those of this port's other rings, too.
    fn may_be_exclusive(&self) -> io::Result<bool> {
        match self.mode.0 {
            NR_REG_ALL_NIC if self.rings == 0 => {
                let mut info = nmreq_port_info_get::default();
                // If the module does not tell, the registration will, with the reason.
                let told = Device::open()?.ask(NETMAP_API, &self.netmap_name, &mut info);
                Ok(told.is_ok() && info.nr_tx_rings.max(info.nr_rx_rings) == 1)
            }
            NR_REG_ALL_NIC => Ok(self.rings == 1),
            _ => Ok(true),
        }
    }

    /// How many ring pairs the port has, as the module answered.
    fn n_pairs(&self, answer: &nmreq_register) -> u16 {
        match self.mode.0 {
            NR_REG_ONE_NIC => 1,
            NR_REG_SW => answer.nr_host_tx_rings.max(answer.nr_host_rx_rings),
            _ => answer.nr_tx_rings.max(answer.nr_rx_rings),
        }
    }

    /// Binds the port's own descriptor: with slot offsets if the port takes them, else without.
    fn register(
        &self,
        device: &Device,
        mem_id: u16,
        exclusive: bool,
    ) -> io::Result<(nmreq_register, Option<Offsets>)> {
        let register = nmreq_register {
            nr_tx_rings: self.rings,
            nr_rx_rings: self.rings,
            nr_mem_id: mem_id,
            nr_mode: self.mode.0,
            nr_ringid: self.mode.1,
            nr_extra_bufs: self.extra_bufs,
            nr_flags: if exclusive { NR_EXCLUSIVE } else { 0 },
            ..nmreq_register::default()
        };
        let offsets = self.headroom.and_then(|rule| {
            // What the module cannot tell, the registration will tell again, with the reason.
            let pools = region::pools_info(device, &self.netmap_name, mem_id).ok()?;
            rule.offsets(pools.nr_buf_pool_objsize)
        });
        if let Some(offsets) = offsets {
            let mut answer = register;
            match device.register_with_offsets(&self.netmap_name, &mut answer, offsets)? {
                Ok(max) => return Ok((answer, (max > 0).then_some(Offsets { max, ..offsets }))),
                Err(errno) => log::debug!(
                    "{}: no slot offsets ({})",
                    self.name,
                    io::Error::from_raw_os_error(errno)
                ),
            }
        }
        let mut answer = register;
        device.register(&self.netmap_name, &mut answer)?;
        Ok((answer, None))
    }

    fn pairs(
        &self,
        port: &Arc<Device>,
        netmap_if: &NetmapIf,
        offsets: Option<Offsets>,
        repaired: &Arc<AtomicU64>,
        gate: Option<&Arc<Gate>>,
    ) -> std::result::Result<Vec<RingPair>, Refusal> {
        let (nic, host) = match self.mode {
            (NR_REG_ONE_NIC, ring) => (ring..ring + 1, false),
            (NR_REG_SW, _) => (0..0, true),
            _ => (0..nic_pairs(netmap_if), false),
        };
        let host = 0..if host { host_pairs(netmap_if) } else { 0 };
        let alone = nic.len() + host.len() == 1;
        let nic = nic.map(|ring| (NR_REG_ONE_NIC, ring));
        let host = host.map(|ring| (NR_REG_ONE_SW, ring));
        let mut pairs = Vec::new();
        for (mode, ring) in nic.chain(host) {
            let count = |dir| match mode {
                NR_REG_ONE_NIC => netmap_if.nic_rings(dir),
                _ => netmap_if.host_rings(dir),
            };
            let has = |dir| ring < count(dir);
            let device = if alone {
                Arc::clone(port)
            } else {
                let flags = match (has(Direction::Tx), has(Direction::Rx)) {
                    (true, false) => NR_TX_RINGS_ONLY,
                    (false, true) => NR_RX_RINGS_ONLY,
                    _ => 0,
                };
                Arc::new(self.queue_device(netmap_if, mode, ring, flags)?)
            };
            let side = |dir| {
                if !has(dir) {
                    return Ok(None);
                }
                let first_host = if mode == NR_REG_ONE_NIC {
                    0
                } else {
                    netmap_if.nic_rings(dir)
                };
                let max_offset = offsets.map_or(0, |o| o.max);
                let mut ring = netmap_if.ring(dir, first_host + ring, max_offset)?;
                if self.several_slots && mode == NR_REG_ONE_NIC {
                    ring.set_max_frags(MAX_FRAGS);
                }
                if self.maybe_vale && dir == Direction::Tx {
                    ring.set_offset_alignment(VALE_ALIGNMENT);
                }
                let mut sync = self.sync_of(&device, &ring, dir, offsets);
                if let Some(gate) = gate {
                    sync = Box::new(GatedSync::new(sync, &ring, gate, dir));
                }
                if !matches!(self.name.kind(), PortKind::Pipe { .. })
                    && let Some(buffers) = RingBuffers::of(netmap_if.region(), &mut ring)
                {
                    sync = Box::new(RepairingSync::new(sync, buffers, &ring, repaired));
                }
                if mode == NR_REG_ONE_SW {
                    let aside = SyncAside::new(sync, dir).map_err(|e| no_thread(self.name, &e))?;
                    sync = Box::new(aside);
                }
                Ok::<_, Error>(Some(SyncedRing { ring, sync }))
            };
            pairs.push(RingPair {
                rx: side(Direction::Rx)?,
                tx: side(Direction::Tx)?,
            });
        }
        Ok(pairs)
    }

    /// A descriptor of its own for one ring pair of the open port.
    fn queue_device(
        &self,
        netmap_if: &NetmapIf,
        mode: u32,
        ring: u16,
        flags: u64,
    ) -> io::Result<Device> {
        let device = Device::open()?;
        let mut register = nmreq_register {
            nr_mem_id: netmap_if.mem_id(),
            nr_mode: mode,
            nr_ringid: ring,
            nr_flags: flags,
            ..nmreq_register::default()
        };
        device.register(&self.netmap_name, &mut register)?;
        Ok(device)
    }

    fn sync_of(
        &self,
        device: &Arc<Device>,
        ring: &Ring,
        dir: Direction,
        offsets: Option<Offsets>,
    ) -> Box<dyn RingSync> {
        let device = Arc::clone(device);
        match (dir, offsets) {
            (Direction::Tx, _) => Box::new(Ioctl {
                device,
                request: NIOCTXSYNC,
            }),
            (Direction::Rx, Some(offsets)) if self.maybe_vale => {
                Box::new(ValeRxSync::new(device, ring, offsets.initial))
            }
            (Direction::Rx, _) => Box::new(Ioctl {
                device,
                request: NIOCRXSYNC,
            }),
        }
    }
}

/// Whether frames may take several slots on a card of `driver`: if it is netmap's own, which holds the
/// module, and one of those that do it. The generic adapter does not.
fn takes_several_slots(driver: &str) -> bool {
    let holder = Path::new("/sys/module/netmap/holders").join(driver);
    MOREFRAG_DRIVERS.contains(&driver) && holder.exists()
}

fn no_thread(name: &PortName, e: &io::Error) -> Error {
    let errno = e.raw_os_error().unwrap_or(libc::EAGAIN);
    Error::new(
        errno,
        format!(
            "{name}: cannot start a thread for its host rings ({e}): raise the limit of threads"
        ),
    )
}

/// Hardware ring pairs, the last ones perhaps with one direction only.
fn nic_pairs(netmap_if: &NetmapIf) -> u16 {
    netmap_if
        .nic_rings(Direction::Tx)
        .max(netmap_if.nic_rings(Direction::Rx))
}

fn host_pairs(netmap_if: &NetmapIf) -> u16 {
    netmap_if
        .host_rings(Direction::Tx)
        .max(netmap_if.host_rings(Direction::Rx))
}

#[cfg(test)]
mod tests;
