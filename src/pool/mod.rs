// SPDX-License-Identifier: Apache-2.0
//! The packets of a region, and their buffers: one depot a region, a cache for each thread that
//! polls it.
//!
//! A packet and a buffer travel together. For each pool, at any time when nobody moves packets:
//! `total = free (depot) + cached (threads) + in flight (OVS)`, and nothing of it is ever lost.
//!
//! A pool lives as long as a port or a packet of it does: [`Pool::retire`] takes it out of the table when
//! the last port is closed and the last packet is back.

mod depot;
mod header;
mod layout;
mod slice;
mod thread;

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};
use crate::index::OwnedBuf;
use crate::model_sync::{Mutex, per_run};
use crate::region::Region;
use depot::Depot;
pub use depot::MAGAZINE;
use header::Slab;
pub use header::{InFlightTag, LaunchPad, Packet};
pub use layout::{Frame, PacketLayout};
pub use slice::PacketSlice;
pub use thread::flush as flush_thread;
use thread::with_thread;

/// Most regions at a time. A host has one, plus one for each VALE port that did not join another.
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
                format!("{MAX_POOLS} memory regions are in use, which is the limit"),
            )
        })?;
        let pool = Arc::new(Pool {
            id: NEXT_ID.fetch_add(1, Ordering::Relaxed),
            slot,
            region: Arc::clone(region),
            layout,
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

    /// What its packets are handed to OVS with.
    #[inline]
    pub fn launch_pad(&self) -> LaunchPad {
        LaunchPad::new(self.id, &self.layout)
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
        let made = (missing > 0).then(|| Slab::new(missing, self.layout, self.id, self.slot));
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

    /// Moves packets to `room` until that is full, or the pool has no more. Returns how many.
    #[inline]
    pub fn take(&self, room: &mut [MaybeUninit<Packet>]) -> usize {
        with_thread(self.slot, self.id, |cache| match cache {
            Some(cache) => {
                let taken = cache.take(room);
                cache.publish_fill();
                taken
            }
            None => {
                let mut depot = self.depot.lock();
                let mut taken = 0;
                while taken < room.len()
                    && let Some(packet) = depot.take()
                {
                    room[taken].write(packet);
                    taken += 1;
                }
                taken
            }
        })
    }

    /// Puts packets of this pool back.
    #[inline]
    pub fn put(&self, packets: PacketSlice<'_>) {
        let idle = with_thread(self.slot, self.id, |cache| match cache {
            Some(cache) => {
                cache.put(packets);
                cache.publish_fill();
                false
            }
            None if packets.len() == 0 => false,
            None => {
                let mut depot = self.depot.lock();
                packets.for_each(|packet| depot.put(packet));
                depot.is_idle()
            }
        });
        if idle {
            retire_slot(self.slot);
        }
    }

    /// For a thread that polls and finds nothing: gives back what others may lack.
    #[inline]
    pub fn trim_cache(&self) {
        with_thread(self.slot, self.id, |cache| {
            if let Some(cache) = cache {
                cache.trim();
            }
        });
    }

    /// Gives the calling thread a cache.
    pub fn attach_thread(&self) {
        thread::attach(self);
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

/// Puts a packet back to its pool, from any thread.
///
/// The pool is still there: a pool with a packet in flight is never retired.
#[inline]
pub fn free(packet: Packet) {
    let left = with_thread(packet.pool_slot(), packet.pool_id(), |cache| match cache {
        Some(cache) => {
            cache.push(packet);
            cache.publish_fill();
            None
        }
        None => Some(packet),
    });
    if let Some(packet) = left {
        free_to_depot(packet);
    }
}

#[cold]
fn free_to_depot(packet: Packet) {
    let pool = POOLS.lock()[packet.pool_slot()].clone();
    let Some(pool) = pool.filter(|pool| pool.id == packet.pool_id()) else {
        log::error!("a packet came back whose region is gone");
        return;
    };
    let mut depot = pool.depot.lock();
    depot.put(packet);
    let idle = depot.is_idle();
    drop(depot);
    if idle {
        pool.retire();
    }
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
