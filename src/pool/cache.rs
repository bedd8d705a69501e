// SPDX-License-Identifier: Apache-2.0
//! The caches of the calling thread, one for each pool that it polls: what every packet goes through.
//!
//! Only the thread itself touches them. They go back to the depots when the thread ends, and when
//! OVS is about to change what the thread polls ([`flush`]), so that no packet waits in a cache that
//! nobody uses any more. A thread without a cache uses the depot. The numbered steps are those of
//! [`super::depot`].

use std::cell::RefCell;
use std::mem::MaybeUninit;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};

use super::depot::{CacheState, Depot, MAGAZINE, Magazine};
use super::header::Packet;
use super::slice::PacketSlice;
use super::{MAX_POOLS, POOLS, Pool, retire_slot};
use crate::model_sync::{Mutex, thread_local};

/// One thread's caches, by the slot of their pool.
struct Caches([Option<Cache>; MAX_POOLS]);

thread_local! {
    static CACHES: RefCell<Caches> = const { RefCell::new(Caches([const { None }; MAX_POOLS])) };
}

impl Caches {
    fn flush(&mut self) {
        for (slot, cache) in self.0.iter_mut().enumerate() {
            if cache.take().is_some() {
                retire_slot(slot);
            }
        }
    }
}

impl Drop for Caches {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Runs `work` with the calling thread's cache of the pool `id` in `slot`, if it has one.
#[inline]
fn with_cache<R>(slot: usize, id: u64, work: impl FnOnce(Option<&mut Cache>) -> R) -> R {
    // A thread that is ending has no caches any more.
    let mut work = Some(work);
    let result = CACHES.try_with(|caches| {
        let work = work.take()?;
        let mut caches = caches.borrow_mut();
        let cache = caches.0.get_mut(slot).and_then(Option::as_mut);
        Some(work(cache.filter(|cache| cache.pool_id() == id)))
    });
    match (result, work) {
        (Ok(Some(result)), _) => result,
        (_, Some(work)) => work(None),
        (_, None) => unreachable!("work was either run or kept"),
    }
}

impl Pool {
    /// Moves packets to `room` until that is full, or the pool has no more. Returns how many.
    #[inline]
    pub fn take(&self, room: &mut [MaybeUninit<Packet>]) -> usize {
        with_cache(self.slot, self.id, |cache| match cache {
            Some(cache) => {
                let taken = cache.take(room);
                cache.publish_fill();
                taken
            }
            None => {
                let mut depot = self.depot.lock();
                let mut taken = 0;
                while taken < room.len()
                    && !depot.is_closed()
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
        let idle = with_cache(self.slot, self.id, |cache| match cache {
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
        with_cache(self.slot, self.id, |cache| {
            if let Some(cache) = cache {
                cache.trim();
            }
        });
    }

    /// Gives the calling thread a cache.
    pub fn attach_thread(&self) {
        let attached = CACHES.try_with(|caches| {
            let cache = &mut caches.borrow_mut().0[self.slot];
            if cache.as_ref().is_none_or(|c| c.pool_id() != self.id) {
                // What was there belonged to a pool that is gone: it was empty.
                *cache = Some(Cache::new(self.id, self.slot, &self.depot));
            }
        });
        if attached.is_err() {
            log::debug!("a thread that is ending asked for a packet cache");
        }
    }
}

/// Puts a packet back to its pool, from any thread.
///
/// The pool is still there: a pool with a packet in flight is never retired.
#[inline]
pub fn free(packet: Packet) {
    let left = with_cache(packet.pool_slot(), packet.pool_id(), |cache| match cache {
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
        log::error!("a packet was freed whose region is gone; ignored");
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

/// Gives all packets of the calling thread back to their depots.
pub fn flush() {
    // On a thread that is ending they went back already.
    let _ended = CACHES.try_with(|caches| caches.borrow_mut().flush());
}

/// The packets that a thread keeps for itself: steps 1 to 3, and 5.
struct Cache {
    pool_id: u64,
    pool_slot: usize,
    loaded: Magazine,
    previous: Magazine,
    state: Arc<CacheState>,
    /// Weak, so that an empty cache does not keep a region mapped: a pool that has packets in a
    /// cache is not idle, so it is alive.
    depot: Weak<Mutex<Depot>>,
}

impl Cache {
    /// A cache of the pool `pool_id` in `pool_slot`, whose depot is `depot`.
    fn new(pool_id: u64, pool_slot: usize, depot: &Arc<Mutex<Depot>>) -> Cache {
        Cache {
            pool_id,
            pool_slot,
            loaded: Magazine::new(),
            previous: Magazine::new(),
            state: depot.lock().register_cache(),
            depot: Arc::downgrade(depot),
        }
    }

    /// Which pool's packets it has.
    #[inline]
    fn pool_id(&self) -> u64 {
        self.pool_id
    }

    /// Moves packets to `room` until that is full, or there are no more. Returns how many.
    #[inline]
    fn take(&mut self, room: &mut [MaybeUninit<Packet>]) -> usize {
        let mut taken = 0;
        loop {
            taken += move_last(&mut self.loaded.0, &mut room[taken..]);
            if taken == room.len() || !self.reload(room.len() - taken) {
                break taken;
            }
        }
    }

    /// Puts packets back.
    #[inline]
    fn put(&mut self, packets: PacketSlice<'_>) {
        if self.loaded.0.len() + packets.len() <= self.limit() {
            packets.append_to(&mut self.loaded.0);
        } else {
            self.put_beyond(packets);
        }
    }

    /// Puts a packet back.
    #[inline]
    fn push(&mut self, packet: Packet) {
        if self.loaded.0.len() < self.limit() {
            self.loaded.0.push(packet);
        } else {
            self.push_beyond(packet);
        }
    }

    /// Gives the depot what is above the limit; for a thread that may put nothing back for long.
    #[inline]
    fn trim(&mut self) {
        let limit = self.limit();
        if limit < MAGAZINE && self.fill() > limit {
            self.give_beyond(limit, std::iter::empty());
            self.publish_fill();
        }
    }

    /// Tells `netmap/show` how many packets are here; once a burst.
    #[inline]
    fn publish_fill(&self) {
        self.state.fill.store(self.fill(), Ordering::Relaxed);
    }

    #[inline]
    fn fill(&self) -> usize {
        self.loaded.0.len() + self.previous.0.len()
    }

    #[inline]
    fn limit(&self) -> usize {
        self.state.limit.load(Ordering::Relaxed)
    }

    /// Steps 2 and 3, with `loaded` empty, for `wanted` packets. False if it still is: the pool has no
    /// more packets.
    #[cold]
    fn reload(&mut self, wanted: usize) -> bool {
        if self.previous.is_empty()
            && let Some(depot) = self.depot.upgrade()
        {
            let limit = self.limit();
            depot.lock().refill(&mut self.previous, wanted, limit);
        }
        std::mem::swap(&mut self.loaded, &mut self.previous);
        !self.loaded.is_empty()
    }

    /// [`Cache::put`] of more than `loaded` may have.
    #[inline(never)]
    fn put_beyond(&mut self, packets: PacketSlice<'_>) {
        let limit = self.limit();
        if limit < MAGAZINE {
            self.give_beyond(limit, packets);
        } else {
            packets.for_each(|packet| self.push(packet));
        }
    }

    /// [`Cache::push`] of one more than `loaded` may have.
    #[cold]
    fn push_beyond(&mut self, packet: Packet) {
        let limit = self.limit();
        if limit < MAGAZINE {
            // Half of the room is free then, so that the next few packets need no lock.
            self.give_beyond(limit / 2, std::iter::once(packet));
            return;
        }
        // `previous` is either full or empty: whatever `exchange_empty` brought is loaded at once.
        if self.previous.is_full()
            && let Some(depot) = self.depot.upgrade()
        {
            depot.lock().exchange_full(&mut self.previous);
        }
        std::mem::swap(&mut self.loaded, &mut self.previous);
        self.loaded.0.push(packet);
    }

    /// Step 5: keeps at most `keep` packets, of those here and `more`; the depot gets the others.
    #[cold]
    fn give_beyond(&mut self, keep: usize, more: impl Iterator<Item = Packet>) {
        let Some(depot) = self.depot.upgrade() else {
            self.loaded.0.extend(more);
            return;
        };
        let mut depot = depot.lock();
        let excess = self.loaded.0.len().saturating_sub(keep);
        let surplus = self.previous.0.drain(..);
        surplus.for_each(|packet| depot.put(packet));
        let surplus = self.loaded.0.drain(..excess);
        surplus.for_each(|packet| depot.put(packet));
        for packet in more {
            if self.loaded.0.len() < keep {
                self.loaded.0.push(packet);
            } else {
                depot.put(packet);
            }
        }
        let idle = depot.is_idle();
        drop(depot);
        if idle {
            // The last packet of a region without ports.
            retire_slot(self.pool_slot);
        }
    }
}

/// Moves the last packets of `from` to `room`, as many as there are and fit. Returns how many.
#[inline]
#[allow(unsafe_code)]
fn move_last(from: &mut Vec<Packet>, room: &mut [MaybeUninit<Packet>]) -> usize {
    let n = room.len().min(from.len());
    let left = from.len() - n;
    // SAFETY: `n` packets of `from` are behind the first `left`, and `room` has room for them. They
    // are moved: `from` forgets them.
    unsafe {
        from.set_len(left);
        std::ptr::copy_nonoverlapping(from.as_ptr().add(left), room.as_mut_ptr().cast(), n);
    }
    n
}

impl Drop for Cache {
    fn drop(&mut self) {
        if let Some(depot) = self.depot.upgrade() {
            depot
                .lock()
                .flush([&mut self.loaded, &mut self.previous], &self.state);
        }
    }
}
