// SPDX-License-Identifier: Apache-2.0
//! A burst of packets where OVS has them: in its own array of `struct dp_packet *`, being filled
//! ([`RxBurst`]) or being sent ([`TxBurst`]).
//!
//! A [`Packet`](crate::pool::Packet) is that address, so a burst goes from a thread's cache into the
//! array, and from the array into a cache, as a block of memory.

mod csum;
mod rx; // (U)
mod tx; // (U)

pub use csum::{CsumList, PacketCsum};
pub use rx::{ReadyPacket, RxBurst};
pub use tx::{Swappable, TxBurst, TxMetadata};
