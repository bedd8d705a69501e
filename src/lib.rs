// SPDX-License-Identifier: Apache-2.0
//! netmap ports for Open vSwitch.
//!
//! The narrow waist is netmap's own ring ABI. What is above it moves packets and knows no engine; what
//! is below fills and drains rings and knows no packets of OVS.
//!
//! ```text
//!   OVS          struct dp_packet *p                      netmap_free_packet(p)
//!                     |                                          |
//!   pool     [header][dp_packet]  [header][dp_packet] ...   one slab or more a region
//!                |  buf_idx           |
//!   region   [buf 0][buf 1][buf 2][buf 3][buf 4] ...        one mapping, bounds in one place
//!                              ^             ^
//!   ring     head -> [slot][slot][slot] <- tail             len, flags, buf_idx, offset
//!                              |
//!   engine   rxsync / txsync:  kernel (ioctl) | xdp (AF_XDP) | internal (this process)
//! ```
//!
//! Receiving exchanges the slot's buffer for a packet's, sending does it the other way round; nothing
//! is copied while packet and port are in the same region.
//!
//! The list of modules is also the map of `unsafe`: it is denied here, and allowed item by item in
//! the ones marked (U) only.

// What is public only for tests documents itself where the name does not.
#![cfg_attr(feature = "test-utils", allow(missing_docs))]

#[cfg(not(target_pointer_width = "64"))]
compile_error!("netmap's rings are shared with a 64-bit kernel: only 64-bit targets are supported");

mod abi;
mod burst; // (U)
mod bytes; // (U)
mod clock; // (U) one line a processor
mod config;
mod counters;
mod csum;
mod engine; // (U) user_region, xdp, kernel
mod error;
mod exclusive; // (U)
mod ffi; // (U)
mod follower;
mod index;
mod link;
mod logger;
mod model_sync;
mod name;
mod netif; // (U)
mod offload;
mod policer;
mod pool; // (U) header, layout, moved, slice, cache
mod port;
mod region; // (U)
mod ring; // (U)
mod rx;
mod show;
#[cfg(feature = "test-utils")]
pub mod test_utils; // (U)
mod throttle;
mod tx;
mod vlan;

pub use burst::TxBurst;
pub use config::{Config, EngineChoice, PortConfig, set as set_config};
pub use error::{Error, Result};
pub use exclusive::Exclusive;
pub use link::Link;
pub use offload::RxCsum;
pub use policer::Limits;
pub use pool::{Frame, PacketLayout, flush_thread, free_raw as free_packet};
pub use port::{Port, PortState, Stats};
pub use rx::RxQueue;
pub use tx::{Sent, TxQueue};
