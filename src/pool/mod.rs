// SPDX-License-Identifier: Apache-2.0
//! The packets of a region, and their buffers: one depot a region, a cache for each thread that
//! polls it.
//!
//! A packet and a buffer travel together. For each pool, at any time when nobody moves packets:
//! `total = free (depot) + cached (threads) + in flight (OVS)`, and nothing of it is ever lost.
//!
//! A pool lives as long as a port or a packet of it does: [`Pool::retire`] takes it out of the table when
//! the last port is closed and the last packet is back.

mod cache;
mod depot;
mod header;
mod layout;
mod moved;
mod slice;

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::index::OwnedBuf;
use crate::model_sync::{Mutex, per_run};
use crate::region::{Region, RegionKind};
pub use cache::{flush as flush_thread, free};
use depot::Depot;
use header::Slab;
pub use header::{InFlightTag, Packet};
pub use layout::{Frame, PacketLayout};
pub use moved::OwnMemory;
pub use slice::PacketSlice;

/// Most regions at a time. A machine has one, plus one for each VALE port that did not join another.
pub const MAX_POOLS: usize = 64;

per_run! {
    /// All pools, by slot.
    static POOLS: Mutex<[Option<Arc<Pool>>; MAX_POOLS]> = Mutex::new([const { None }; MAX_POOLS]);
}

/// Number of the next pool, never used twice.
static NEXT_ID: AtomicU64 = AtomicU64::new(1);

/// The packets of one region.
pub struct Pool {
    id: u64,
    slot: usize,
    region: Arc<Region>,
    layout: PacketLayout,
    /// Bytes of a packet's own memory: as many as of a buffer, in regions that others may map.
    own_size: u16,
    depot: Arc<Mutex<Depot>>,
}

/// Where the packets of a pool are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Census {
    /// Packets with a buffer.
    pub total: usize,
    /// In the depot.
    pub free: usize,
    /// In caches of threads.
    pub cached: usize,
    /// In the hands of OVS.
    pub in_flight: usize,
}

impl Pool {
    /// The pool of `region`, with one port more: the one that exists, else a new one without packets.
    ///
    /// The port is counted before the table is unlocked: nobody can retire the pool between this and
    /// [`Pool::port_opened`], which must follow. All pools of a process have the same `layout`.
    pub fn of(region: &Arc<Region>, layout: PacketLayout) -> Result<Arc<Pool>> {
        let mut pools = POOLS.lock();
        let same = |pool: &&Arc<Pool>| Arc::ptr_eq(&pool.region, region);
        if let Some(pool) = pools.iter().flatten().find(same) {
            pool.depot.lock().ports += 1;
            return Ok(Arc::clone(pool));
        }
        let slot = pools.iter().position(Option::is_none).ok_or_else(|| {
            Error::new(
                libc::ENOSPC,
                format!("all {MAX_POOLS} memory regions are in use; close a port that has one of its own"),
            )
        })?;
        let pool = Arc::new(Pool {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            slot,
            region: Arc::clone(region),
            layout,
            own_size: match region.backing().kind() {
                RegionKind::Kernel { .. } => region.frame_room(),
                RegionKind::Userspace => 0,
            },
            depot: Arc::default(),
        });
        pool.depot.lock().ports += 1;
        pools[slot] = Some(Arc::clone(&pool));
        Ok(pool)
    }

    /// Number of the pool, unique in the process.
    #[inline]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// How its packets are laid out.
    #[inline]
    pub fn layout(&self) -> PacketLayout {
        self.layout
    }

    /// Bytes of memory that each of its packets has to itself, for frames that are copied.
    #[inline]
    pub fn own_size(&self) -> u16 {
        self.own_size
    }

    /// Its region.
    #[inline]
    pub fn region(&self) -> &Region {
        &self.region
    }

    /// The port that [`Pool::of`] counted brought `bufs`.
    pub fn port_opened(&self, bufs: Vec<OwnedBuf>) {
        let missing = bufs.len().saturating_sub(self.depot.lock().n_spares());
        // Made before the lock is taken for good. Only the main thread opens and closes ports, and
        // spares change only there, so the number cannot be out of date.
        let made = (missing > 0)
            .then(|| Slab::new(missing, self.layout, self.id, self.slot, self.own_size));
        let mut depot = self.depot.lock();
        if let Some((slab, packets)) = made {
            depot.add_spares(slab, packets);
        }
        depot.add(bufs);
    }

    /// A port that brought `brought` buffers closes: as many of them as are free now, and some for
    /// ports that closed before with buffers in flight. Call [`Pool::retire`] after the port is closed.
    pub fn port_closed(&self, brought: usize) -> Vec<OwnedBuf> {
        let mut depot = self.depot.lock();
        let due = brought + depot.owed;
        let bufs = depot.remove(due);
        depot.owed = due - bufs.len();
        depot.ports -= 1;
        bufs
    }

    /// Has all packets come back: no thread gets one any more, and those that have some give them back
    /// when they poll next.
    pub fn close(&self) {
        self.depot.lock().close();
    }

    /// The buffers of all packets that are back.
    pub fn surrender(&self) -> Vec<OwnedBuf> {
        self.depot.lock().remove(usize::MAX)
    }

    /// If the pool is idle, takes it out of the table and gives its buffers back; its memory goes
    /// with the last `Arc`.
    pub fn retire(self: Arc<Pool>) {
        let mut pools = POOLS.lock();
        let mut depot = self.depot.lock();
        let listed = pools[self.slot].as_ref().is_some_and(|p| p.id == self.id);
        if !listed || !depot.is_idle() {
            return;
        }
        pools[self.slot] = None;
        drop(pools);
        let total = depot.total();
        let bufs = depot.remove(total);
        drop(depot);
        self.region.give_back(bufs);
    }

    /// Where its packets are. Exact while nobody moves packets.
    pub fn census(&self) -> Census {
        let depot = self.depot.lock();
        Census {
            total: depot.total(),
            free: depot.free(),
            cached: depot.cached(),
            in_flight: depot.in_flight(),
        }
    }
}

/// Retires the pool in `slot` if it is idle.
fn retire_slot(slot: usize) {
    let pool = POOLS.lock()[slot].clone();
    if let Some(pool) = pool {
        pool.retire();
    }
}

/// All pools, oldest first.
pub fn pools() -> Vec<Arc<Pool>> {
    let mut pools: Vec<_> = POOLS.lock().iter().flatten().cloned().collect();
    pools.sort_by_key(|pool| pool.id);
    pools
}

/// For the C boundary: [`Packet::from_raw`] and [`free`]. False when the packet was not in flight.
///
/// # Safety
///
/// As for [`Packet::from_raw`].
#[allow(unsafe_code)]
pub unsafe fn free_raw(raw: *mut c_void) -> bool {
    // SAFETY: the caller's promise is the same.
    match unsafe { Packet::from_raw(raw) } {
        Some(packet) => {
            free(packet);
            true
        }
        None => false,
    }
}
