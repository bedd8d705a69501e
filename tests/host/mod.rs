// SPDX-License-Identifier: Apache-2.0
//! A host as small as can be, in place of Open vSwitch: what its packets look like.
#![allow(dead_code, unsafe_code)]

use std::ffi::c_void;
use std::mem::{offset_of, size_of};

use ovs_netmap::frames::Outgoing;
use ovs_netmap::pool::{Frame, PacketLayout};
use ovs_netmap::rx::RxQueue;
use ovs_netmap::tx::{Sent, TxQueue};

/// `source` of the library's packets.
const OWN: u8 = 7;

/// A packet of this host.
#[derive(Clone, Copy)]
#[repr(C)]
pub struct HostPacket {
    /// Where its frame is.
    pub frame: Frame,
    source: u8,
    rest: [u8; 279],
}

impl HostPacket {
    /// A packet that is none of the library's, with its frame at `data`.
    pub fn foreign(data: &[u8]) -> HostPacket {
        HostPacket {
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
    let packet: *mut HostPacket = raw.cast();
    // SAFETY: the pool gives memory of the size of a packet, aligned to 64 bytes.
    unsafe { (&raw mut (*packet).source).write(OWN) };
}

/// The layout of its packets.
pub fn layout() -> PacketLayout {
    PacketLayout::new(
        size_of::<HostPacket>(),
        offset_of!(HostPacket, frame),
        offset_of!(HostPacket, source),
        OWN,
        init,
    )
    .expect("the frame is in the packet")
}

/// The frame of a packet that `recv` gave and that was not freed.
pub fn frame_of(raw: *mut c_void) -> Frame {
    // SAFETY: such a packet is the caller's, and of this layout.
    unsafe { (*raw.cast::<HostPacket>()).frame }
}

/// Changes that frame.
pub fn set_frame(raw: *mut c_void, frame: Frame) {
    // SAFETY: as in `frame_of`.
    unsafe { (*raw.cast::<HostPacket>()).frame = frame };
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
    tx.send(unsafe { Outgoing::new(packets, layout()) })
}
