// SPDX-License-Identifier: Apache-2.0
//! Packets that leave Open vSwitch or outgrow their buffers.

use std::ffi::c_void;

use super::guard::guard;
use super::types::DpPacket;
use crate::pool::{self, Packet};

/// Frees a packet whose source is the host's `source`: it goes back to its pool, with its buffer.
///
/// # Parameters
///
/// * `packet`: the packet; NULL does nothing.
///
/// # Ownership
///
/// The packet is the library's again.
///
/// # Threads
///
/// any.
///
/// # Safety
///
/// `packet` is NULL or came from `netmap_rxq_recv`, is the caller's, and is not used any more.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_free_packet(packet: *mut DpPacket) {
    guard((), || {
        // SAFETY: the caller's promise is what `free_raw` asks for.
        if !packet.is_null() && !unsafe { pool::free_raw(packet.cast()) } {
            log::error!("a packet was freed twice; the second time was ignored");
        }
    });
}

/// Notes that the data of a packet was moved to other memory, because its buffer had too little room.
///
/// # Parameters
///
/// * `packet`: the packet.
/// * `memory`: where its data is now.
///
/// # Ownership
///
/// `memory` is the library's, which frees it with free() when the packet is freed.
///
/// # Threads
///
/// any.
///
/// # Safety
///
/// `packet` came from `netmap_rxq_recv` and is the caller's. `memory` came from malloc().
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_packet_moved(packet: *mut DpPacket, memory: *mut c_void) {
    // SAFETY: the caller's promise is what `moved_to` asks for.
    guard((), || unsafe { Packet::moved_to(packet.cast(), memory) });
}
