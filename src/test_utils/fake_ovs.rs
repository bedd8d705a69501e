// SPDX-License-Identifier: Apache-2.0
//! A stand-in for Open vSwitch, as small as can be: what its packets look like, and ports of the
//! user-space engine taken apart.

use std::ffi::c_void;
use std::mem::{offset_of, size_of};
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use crate::burst::TxBurst;
use crate::config::EngineChoice;
use crate::counters::{RxCounters, TxCounters};
use crate::engine::{self, EnginePort, OpenRequest, SyncedRing};
use crate::name::PortName;
use crate::pool::{Frame, PacketLayout, Pool};
use crate::port::Port;
use crate::region::Region;
use crate::ring::Ring;
use crate::rx::RxQueue;
use crate::throttle::Interval;
use crate::tx::{Sent, TxQueue};

/// `source` of the library's packets.
const OWN: u8 = 7;

/// A packet of this OVS.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct OvsPacket {
    /// Where its frame is.
    pub frame: Frame,
    source: u8,
    rest: [u8; 279],
}

impl OvsPacket {
    /// A packet that is none of the library's, with its frame at `data`.
    pub fn foreign(data: &[u8]) -> OvsPacket {
        OvsPacket {
            frame: Frame {
                base: data.as_ptr().cast_mut(),
                allocated: data.len() as u16,
                data_ofs: 0,
                size: data.len() as u32,
            },
            source: 0,
            rest: [0; 279],
        }
    }

    /// Its address, as the library has it.
    pub fn raw(&mut self) -> *mut c_void {
        std::ptr::from_mut(self).cast()
    }
}

fn init(raw: *mut c_void) {
    let packet: *mut OvsPacket = raw.cast();
    // SAFETY: the pool gives memory of the size of a packet, aligned to 64 bytes.
    unsafe { (&raw mut (*packet).source).write(OWN) };
}

/// The layout of its packets.
pub fn layout() -> PacketLayout {
    PacketLayout::new(
        size_of::<OvsPacket>(),
        offset_of!(OvsPacket, frame),
        offset_of!(OvsPacket, source),
        OWN,
        init,
    )
    .expect("the frame is in the packet")
}

/// The frame of a packet that `recv` gave and that was not freed.
pub fn frame_of(raw: *mut c_void) -> Frame {
    // SAFETY: such a packet is the caller's, and of this layout.
    unsafe { (*raw.cast::<OvsPacket>()).frame }
}

/// Changes that frame.
pub fn set_frame(raw: *mut c_void, frame: Frame) {
    // SAFETY: as in `frame_of`.
    unsafe { (*raw.cast::<OvsPacket>()).frame = frame };
}

/// Receives at most `max` packets.
pub fn recv(rx: &mut RxQueue, max: usize) -> Vec<*mut c_void> {
    let mut packets = Vec::with_capacity(max);
    let n = rx.recv(&mut packets.spare_capacity_mut()[..max]);
    // SAFETY: `recv` wrote the first `n`.
    unsafe { packets.set_len(n) };
    packets
}

/// Sends `packets`, which are the caller's, each once, with their frames in readable memory. Those that
/// stay the caller's are the first ones of `packets` then.
pub fn send(tx: &mut TxQueue, packets: &mut [*mut c_void]) -> Sent {
    // SAFETY: as the caller promises.
    tx.send(unsafe { TxBurst::new(packets, layout()) })
}

/// A receive queue that has one ring, and syncs it as often as it is polled.
pub fn rx_queue(pool: &Arc<Pool>, ring: SyncedRing) -> (RxQueue, Arc<RxCounters>) {
    let mut queue = RxQueue::new(Arc::clone(pool));
    let counters = queue.add_ring(ring, &Interval::new(0));
    (queue, counters)
}

/// The pool of an open port.
pub fn pool_of(port: &Port) -> &Pool {
    port.state().pool()
}

/// A port with one ring pair, taken apart.
pub struct Parts {
    /// Its receive queue.
    pub rx: RxQueue,
    /// Its transmit queue.
    pub tx: TxQueue,
    /// What the receive queue counts.
    pub rx_counters: Arc<RxCounters>,
    /// What the transmit queue counts.
    pub tx_counters: Arc<TxCounters>,
    /// Second handles on its rings, receive and transmit.
    pub rings: [Ring; 2],
    /// Where its buffers are.
    pub region: Arc<Region>,
    /// Where its packets come from.
    pub pool: Arc<Pool>,
    /// Longest frame that is sent.
    pub max_frame: Arc<AtomicU32>,
    port: Box<dyn EnginePort>,
    brought: usize,
}

impl Parts {
    /// Opens `name` with `extra_bufs` packets, in a region of `region_bufs` buffers. Its transmit ring
    /// takes frames from multiples of `alignment`; a null port delivers UDP frames of 3 flows.
    pub fn open(name: &str, extra_bufs: u32, region_bufs: u32, alignment: u32) -> Parts {
        let name: PortName = name.parse().expect("a name");
        let mut request = OpenRequest::small(&name);
        request.port.null_source = Some("udp:3");
        request.process.extra_bufs = extra_bufs;
        request.process.region_bufs = region_bufs;
        request.process.engine = EngineChoice::Userspace;
        let opened = engine::open(&request);
        let mut opened = opened.unwrap_or_else(|error| panic!("{error}"));
        let pool = Pool::of(&opened.region, layout()).expect("a free place");
        let brought = opened.extra.len();
        pool.port_opened(opened.extra);
        let pair = opened.rings.remove(0);
        let (rx_ring, mut tx_ring) = (pair.rx.expect("rx"), pair.tx.expect("tx"));
        if alignment > 1 {
            tx_ring.ring.set_offset_alignment(alignment);
        }
        let rings = [rx_ring.ring.other_side(), tx_ring.ring.other_side()];
        let (rx, rx_counters) = rx_queue(&pool, rx_ring);
        let max_frame = Arc::new(AtomicU32::new(1522));
        let tx = TxQueue::new(Arc::clone(&pool), vec![tx_ring], Arc::clone(&max_frame));
        Parts {
            tx_counters: tx.counters(),
            rx,
            tx,
            rx_counters,
            rings,
            region: opened.region,
            pool,
            max_frame,
            port: opened.port,
            brought,
        }
    }

    /// Has checksums left to the other side of its transmit ring, as ports of AF_XDP do. Nobody completes them
    /// there.
    pub fn leave_csums(&mut self) {
        self.tx.leave_csums();
    }

    /// Closes it, as the library does it: the rings go first. Each buffer is with the region, in a ring
    /// or with a packet then.
    pub fn close(self) {
        let Parts {
            rx,
            tx,
            rings,
            region,
            pool,
            port,
            brought,
            ..
        } = self;
        drop((rx, tx, rings));
        port.close(pool.port_closed(brought));
        let unassigned = region.backing().unassigned().expect("user space");
        let found = unassigned + region.in_rings() + pool.census().total as u32;
        assert_eq!(found, region.usable_bufs(), "{:?}", pool.census());
        pool.retire();
    }
}
