// SPDX-License-Identifier: Apache-2.0
//! Null ports: they deliver 64-byte frames as fast as these are taken, and swallow what is sent.
//!
//! They measure the switch and nothing else, like DPDK's `net_null`. As there, a source of zeros does
//! not touch its buffers: they are zero when the region is new, and what a switch writes into a frame
//! stays in its buffer. A source of UDP frames writes each one anew.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::super::user_region::{PortBuffers, UserRegion};
use super::super::{
    Direction, EnginePort, HEADROOM, Held, OpenRequest, Opened, RingPair, RingSync, SyncedRing,
};
use crate::config::SMALLEST_BUF_SIZE;
use crate::error::{Error, Result};
use crate::index::{BufIdx, OwnedBuf, Owner};
use crate::region::Region;
use crate::ring::{Ring, Slot, SlotCell};

/// Frames that a sync delivers: a burst of OVS.
const BURST: u32 = 32;

/// Slots of a ring: few enough that the lines of all frames stay in the first-level cache, and such
/// that the slots of no burst are partly at the end of the ring and partly at its start.
const SLOTS: u32 = 2 * BURST;

/// Bytes of a frame, as `net_null` has them by default.
const FRAME: usize = 64;

/// Buffers start at multiples of their size, so equal offsets would put every frame into the same
/// few sets of a cache; frames start at one of this many lines instead.
const COLOURS: u32 = 16;

/// Most transmit rings of a port: one a queue, so that threads which send need no lock.
const MOST_TX_RINGS: u32 = 16;

/// Opens a null port with `request.rings()` receive rings, and a transmit ring for each queue asked for.
pub fn open(request: &OpenRequest<'_>) -> Result<Opened> {
    let frames = Arc::new(frames(request)?);
    let (rx_rings, tx_rings) = (request.rings(), request.port.n_txq.clamp(1, MOST_TX_RINGS));
    let needed = (rx_rings + tx_rings) * SLOTS + request.process.extra_bufs;
    let user_region = UserRegion::get(request, needed, SMALLEST_BUF_SIZE, |_| true)?;
    let buffers = user_region.port()?;
    let region = user_region.region();
    let up = Arc::new(AtomicBool::new(true));
    let mut pairs = Vec::new();
    for i in 0..rx_rings.max(tx_rings) {
        let ring = |dir, rings| {
            let ring = (i < rings).then(|| buffers.ring(SLOTS, i as u16, dir, HEADROOM));
            ring.transpose()
        };
        let rx = ring(Direction::Rx, rx_rings)?.map(|ring| SyncedRing {
            ring,
            sync: Box::new(Source {
                region: Arc::clone(region),
                frames: Arc::clone(&frames),
                next_frame: 0,
                up: Arc::clone(&up),
            }),
        });
        let tx = ring(Direction::Tx, tx_rings)?.map(|ring| {
            ring.set_tail(SLOTS - 1);
            SyncedRing {
                ring,
                sync: Box::new(Sink),
            }
        });
        pairs.push(RingPair { rx, tx });
    }
    Ok(Opened {
        others_write: false,
        vlan: None,
        region: Arc::clone(region),
        rings: pairs,
        extra: buffers.extra(request.process.extra_bufs),
        port: Box::new(NullPort { buffers, up }),
    })
}

/// The frames that a source writes: all of them, one a flow; none for a source of zeros.
type Frames = Vec<[u8; FRAME]>;

/// What `options:null-source` asks for.
fn frames(request: &OpenRequest<'_>) -> Result<Frames> {
    let text = request.port.null_source.unwrap_or("zero");
    if text == "zero" {
        return Ok(Vec::new());
    }
    let flows = text.strip_prefix("udp:").and_then(|n| n.parse().ok());
    match flows {
        Some(n @ 1..=65536) => Ok((0..n).map(udp_frame).collect()),
        _ => Err(Error::new(
            libc::EINVAL,
            format!(
                "null-source={text}: expected \"zero\" (64 zero bytes) or \"udp:K\" (UDP over K \
                 flows, 1 to 65536)"
            ),
        )),
    }
}

/// An Ethernet, IPv4 and UDP frame of flow `flow`: flows differ in their source address and port.
/// Addresses are from 198.18.0.0/15, which RFC 2544 sets aside for benchmarks.
fn udp_frame(flow: u32) -> [u8; FRAME] {
    const IP: usize = 14;
    const UDP: usize = IP + 20;
    let mut f = [0; FRAME];
    f[..6].copy_from_slice(&[0x02, 0, 0, 0, 0, 0x02]);
    f[6..12].copy_from_slice(&[0x02, 0, 0, 0, 0, 0x01]);
    f[12..14].copy_from_slice(&0x0800_u16.to_be_bytes());
    f[IP] = 0x45;
    f[IP + 2..IP + 4].copy_from_slice(&((FRAME - IP) as u16).to_be_bytes());
    f[IP + 8] = 64;
    f[IP + 9] = 17;
    let [_, _, high, low] = flow.to_be_bytes();
    f[IP + 12..IP + 16].copy_from_slice(&[198, 18, high, low]);
    f[IP + 16..IP + 20].copy_from_slice(&[198, 19, 0, 1]);
    let sum = ones_complement_sum(&f[IP..UDP]);
    f[IP + 10..IP + 12].copy_from_slice(&(!sum).to_be_bytes());
    f[UDP..UDP + 2].copy_from_slice(&(1024 + (flow % 60000) as u16).to_be_bytes());
    f[UDP + 2..UDP + 4].copy_from_slice(&9_u16.to_be_bytes());
    // A UDP checksum of 0 says that there is none (RFC 768).
    f[UDP + 4..UDP + 6].copy_from_slice(&((FRAME - UDP) as u16).to_be_bytes());
    f
}

/// The Internet checksum's sum (RFC 1071) of an even number of bytes.
fn ones_complement_sum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2).map(|w| u16::from_be_bytes([w[0], w[1]]));
    let mut sum: u32 = words.map(u32::from).sum();
    while sum > 0xffff {
        sum = (sum >> 16) + (sum & 0xffff);
    }
    sum as u16
}

/// The receive side.
struct Source {
    region: Arc<Region>,
    frames: Arc<Frames>,
    next_frame: usize,
    /// As [`NullPort::up`].
    up: Arc<AtomicBool>,
}

impl RingSync for Source {
    fn sync(&mut self, ring: &mut Ring) -> std::result::Result<(), i32> {
        let Ok(mut vacant) = ring.vacant() else {
            ring.reset(0, 0);
            return Err(libc::EINVAL);
        };
        let burst = if self.up.load(Ordering::Relaxed) {
            BURST
        } else {
            0
        };
        let slots = vacant.contiguous(burst as usize);
        let n = slots.len() as u32;
        if !self.frames.is_empty() {
            let next = self.frames.iter().cycle().skip(self.next_frame);
            write_frames(slots, vacant.ring().owner(), &self.region, next);
            self.next_frame = (self.next_frame + slots.len()) % self.frames.len();
        }
        for cell in slots {
            let buf_idx = cell.read().buf_idx;
            cell.write(Slot {
                buf_idx,
                len: FRAME as u16,
                flags: 0,
                // All bits are the offset's in the rings of `PortBuffers`.
                ptr: offset_in(BufIdx(buf_idx)) as u64,
            });
        }
        vacant.skip(n);
        vacant.deliver();
        Ok(())
    }
}

/// Writes the next of `frames` into the buffer of each cell of `slots`.
fn write_frames<'a>(
    slots: &[SlotCell],
    owner: Owner,
    region: &Region,
    frames: impl Iterator<Item = &'a [u8; FRAME]>,
) {
    for (cell, frame) in slots.iter().zip(frames) {
        let idx = BufIdx(cell.read().buf_idx);
        // A scribbled index must not make this write into somebody's buffer.
        region.write_array(idx, owner, offset_in(idx), frame);
    }
}

/// Where a frame starts in buffer `idx`. A buffer of 2048 bytes lies in the first or the second half
/// of the sets of a 4096-byte way, by the last bit of its index; the others choose the line.
fn offset_in(idx: BufIdx) -> u32 {
    HEADROOM + idx.0 / 2 % COLOURS * 64
}

/// The transmit side.
struct Sink;

impl RingSync for Sink {
    fn sync(&mut self, ring: &mut Ring) -> std::result::Result<(), i32> {
        let Ok((head, _)) = ring.checked_window() else {
            ring.reset(0, ring.num_slots() - 1);
            return Err(libc::EINVAL);
        };
        ring.set_tail(ring.advance(head, ring.num_slots() - 1));
        Ok(())
    }
}

struct NullPort {
    buffers: PortBuffers,
    /// Whether the source delivers.
    up: Arc<AtomicBool>,
}

impl EnginePort for NullPort {
    fn engine(&self) -> &'static str {
        "memory"
    }

    fn status(&self) -> Vec<(&'static str, String)> {
        vec![("kind", "null".into())]
    }

    fn host_interface(&self) -> Option<&str> {
        None
    }

    fn drops(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
    }

    fn set_up(&self, up: bool) {
        self.up.store(up, Ordering::Relaxed);
    }

    fn close(self: Box<Self>, extra: Vec<OwnedBuf>) -> Option<Held> {
        self.buffers.give_back(extra);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_transmit_ring_for_each_queue_asked_for() {
        let name = "null:0".parse().unwrap();
        for (n_rxq, n_txq, expected) in [
            (1, 0, (1, 1)),
            (1, 3, (1, 3)),
            (3, 1, (3, 1)),
            (2, 99, (2, 16)),
        ] {
            let mut request = OpenRequest::small(&name);
            (request.port.n_rxq, request.port.n_txq) = (n_rxq, n_txq);
            let Opened {
                rings, port, extra, ..
            } = open(&request).unwrap();
            let count = |has: fn(&RingPair) -> bool| rings.iter().filter(|&pair| has(pair)).count();
            let found = (
                count(|pair| pair.rx.is_some()),
                count(|pair| pair.tx.is_some()),
            );
            assert_eq!(found, expected, "n_rxq={n_rxq} n_txq={n_txq}");
            drop(rings);
            port.close(extra);
        }
    }

    #[test]
    fn udp_frames_differ() {
        let frames: Vec<_> = (0..300).map(udp_frame).collect();
        for (i, f) in frames.iter().enumerate() {
            assert!(frames[..i].iter().all(|other| other != f), "flow {i}");
        }
    }

    #[test]
    fn udp_frames_have_right_checksums() {
        for (i, f) in (0..300).map(udp_frame).enumerate() {
            assert_eq!(ones_complement_sum(&f[14..34]), 0xffff, "flow {i}");
        }
    }
}
