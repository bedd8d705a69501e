// SPDX-License-Identifier: Apache-2.0
//! Magazines of packets, the depot that threads exchange them with, and a thread's cache of two.
//!
//! This is the magazine layer of J. Bonwick and J. Adams, "Magazines and Vmem: Extending the Slab
//! Allocator to Many CPUs and Arbitrary Resources", USENIX ATC 2001, section 3:
//!
//! 1. A thread takes packets from its `loaded` magazine and puts packets into it.
//! 2. Taking from an empty one, or putting into a full one: swap `loaded` and `previous` if that
//!    helps (it does not, if `previous` is in the same state).
//! 3. Else exchange `previous` with the depot, an empty one for a full one or the other way round,
//!    under the depot's lock, and swap. So between two visits to the depot lie at least
//!    [`MAGAZINE`] operations, and a thread that goes up and down around a boundary makes none.
//! 4. Threads without a cache take and put single packets through `loose`, the depot's only
//!    magazine that is neither full nor empty.
//!
//! 5. When a thread finds fewer packets in the depot than it wants, the depot has run dry: from then
//!    on all caches together keep at most half of the packets, each the same part, in `loaded` alone.
//!    What a cache has above that goes to the depot when its thread next puts packets back, or polls
//!    and finds nothing. So no thread starves because of what others keep. (The paper has a working
//!    set for the depot; here the caches are what is large.) It ends when packets or caches are added.
//!
//! No magazine is ever made under the lock: there are as many as all packets fill, one for `loose`,
//! and two for each cache. A thread with a full magazine to give then always finds an empty one: if
//! there were none, the full ones alone would hold more packets than there are.

use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Weak};

use super::header::{Packet, Slab};
use super::slice::PacketSlice;
use crate::index::OwnedBuf;
use crate::model_sync::Mutex;

/// Packets in a magazine: two bursts of OVS. In models few, so that magazines change hands often.
pub const MAGAZINE: usize = if cfg!(shuttle) { 2 } else { 64 };

/// A stack of at most [`MAGAZINE`] packets.
pub struct Magazine(Vec<Packet>);

impl Magazine {
    fn new() -> Magazine {
        Magazine(Vec::with_capacity(MAGAZINE))
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    fn is_full(&self) -> bool {
        self.0.len() >= MAGAZINE
    }
}

/// What a thread and the depot tell each other about the thread's cache. On lines of its own: the
/// thread writes it with every burst.
#[derive(Debug)]
#[repr(align(128))]
struct CacheState {
    /// Packets in the cache, for `netmap/show`; the thread writes it.
    fill: AtomicUsize,
    /// Packets that `loaded` may have; the depot writes it. Less than [`MAGAZINE`] after the depot ran
    /// dry, and `previous` is not used then.
    limit: AtomicUsize,
}

/// What the lock of a pool protects.
#[derive(Default)]
pub struct Depot {
    full: Vec<Magazine>,
    empty: Vec<Magazine>,
    loose: Vec<Packet>,
    /// Packets without a buffer, left by ports that closed.
    spares: Vec<Packet>,
    /// Memory of all packets of the pool.
    slabs: Vec<Slab>,
    /// Packets with a buffer, wherever they are.
    total: usize,
    /// Magazines that exist, in threads too.
    magazines: usize,
    /// Each thread's cache.
    caches: Vec<Arc<CacheState>>,
    /// A thread wanted more packets than there were, since packets or caches were added last.
    dry: bool,
    /// Open ports.
    pub ports: usize,
    /// Buffers that closed ports brought and that were in flight then.
    pub owed: usize,
}

impl Depot {
    /// Packets in the depot.
    pub fn free(&self) -> usize {
        let full: usize = self.full.iter().map(|magazine| magazine.0.len()).sum();
        full + self.loose.len()
    }

    /// Packets with a buffer, wherever they are.
    pub fn total(&self) -> usize {
        self.total
    }

    /// Packets in caches of threads.
    pub fn cached(&self) -> usize {
        let fill = |cache: &Arc<CacheState>| cache.fill.load(Ordering::Relaxed);
        self.caches.iter().map(fill).sum()
    }

    /// Packets that OVS has.
    pub fn in_flight(&self) -> usize {
        self.slabs.iter().map(Slab::in_flight).sum()
    }

    /// Whether no port is open and every packet is back.
    pub fn is_idle(&self) -> bool {
        self.ports == 0 && self.free() == self.total
    }

    /// Number of spares.
    pub fn n_spares(&self) -> usize {
        self.spares.len()
    }

    /// Adds spares and the memory they lie in.
    pub fn add_spares(&mut self, slab: Slab, packets: Vec<Packet>) {
        self.slabs.push(slab);
        self.spares.extend(packets);
    }

    /// Makes packets of spares and `bufs`. There must be spares enough.
    pub fn add(&mut self, bufs: Vec<OwnedBuf>) {
        self.total += bufs.len();
        self.set_dry(false);
        self.make_magazines(self.total.div_ceil(MAGAZINE) + 1 + 2 * self.caches.len());
        for buf in bufs {
            let mut packet = self.spares.pop().expect("a spare for each buffer");
            packet.put_buf(buf);
            self.put(packet);
        }
    }

    /// Makes spares of at most `n` free packets and returns their buffers.
    pub fn remove(&mut self, n: usize) -> Vec<OwnedBuf> {
        let n = n.min(self.free());
        let mut bufs = Vec::with_capacity(n);
        while bufs.len() < n
            && let Some(mut packet) = self.take()
        {
            bufs.push(packet.take_buf());
            self.spares.push(packet);
        }
        self.total -= bufs.len();
        self.set_dry(self.dry);
        bufs
    }

    /// Step 5: tells all caches what they may keep.
    fn set_dry(&mut self, dry: bool) {
        self.dry = dry;
        let share = self.total / (2 * self.caches.len().max(1));
        let limit = match dry && share < 2 * MAGAZINE {
            true => share.min(MAGAZINE - 1),
            false => MAGAZINE,
        };
        for cache in &self.caches {
            cache.limit.store(limit, Ordering::Relaxed);
        }
    }

    /// Step 4: one packet out.
    pub fn take(&mut self) -> Option<Packet> {
        if self.loose.is_empty() {
            let full = self.full.pop()?;
            let empty = std::mem::replace(&mut self.loose, full.0);
            self.empty.push(Magazine(empty));
        }
        self.loose.pop()
    }

    /// Step 4: one packet in.
    pub fn put(&mut self, packet: Packet) {
        if self.loose.len() >= MAGAZINE {
            let empty = self.empty.pop().unwrap_or_else(Magazine::new);
            let full = std::mem::replace(&mut self.loose, empty.0);
            self.full.push(Magazine(full));
        }
        self.loose.push(packet);
    }

    /// Counts a new cache in, two magazines included.
    fn register_cache(&mut self) -> Arc<CacheState> {
        let state = Arc::new(CacheState {
            fill: AtomicUsize::new(0),
            limit: AtomicUsize::new(MAGAZINE),
        });
        self.caches.push(Arc::clone(&state));
        self.magazines += 2;
        self.reserve();
        self.set_dry(false);
        state
    }

    /// Takes all packets of a cache that is about to go.
    fn flush(&mut self, cache: &mut Cache) {
        for magazine in [&mut cache.loaded, &mut cache.previous] {
            for packet in magazine.0.drain(..) {
                self.put(packet);
            }
        }
        self.caches
            .retain(|state| !Arc::ptr_eq(state, &cache.state));
        self.magazines -= 2;
        self.set_dry(self.dry);
    }

    /// Brings the number of magazines up to `n`, so that no `Vec` here grows later.
    fn make_magazines(&mut self, n: usize) {
        if self.loose.capacity() == 0 {
            self.loose = Magazine::new().0;
            self.magazines = 1;
        }
        while self.magazines < n {
            self.empty.push(Magazine::new());
            self.magazines += 1;
        }
        self.reserve();
    }

    fn reserve(&mut self) {
        self.full.reserve(self.magazines);
        self.empty.reserve(self.magazines);
    }

    /// Packets for the empty `magazine` of a thread that wants `wanted`, whose limit is `limit`.
    fn refill(&mut self, magazine: &mut Magazine, wanted: usize, limit: usize) {
        if limit < MAGAZINE {
            while magazine.0.len() < wanted.min(MAGAZINE)
                && let Some(packet) = self.take()
            {
                magazine.0.push(packet);
            }
        } else {
            self.exchange_empty(magazine);
        }
        if magazine.0.len() < wanted && !self.dry {
            self.set_dry(true);
        }
    }

    /// Step 3: an empty magazine for a full one, or for whatever there is.
    fn exchange_empty(&mut self, magazine: &mut Magazine) {
        if let Some(full) = self.full.pop() {
            self.empty.push(std::mem::replace(magazine, full));
        } else {
            std::mem::swap(&mut self.loose, &mut magazine.0);
        }
    }

    /// Step 3: a full magazine for an empty one.
    fn exchange_full(&mut self, magazine: &mut Magazine) {
        let empty = self.empty.pop().unwrap_or_else(Magazine::new);
        self.full.push(std::mem::replace(magazine, empty));
    }
}

/// The packets that a thread keeps for itself: steps 1 to 3, and 5.
pub struct Cache {
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
    pub fn new(pool_id: u64, pool_slot: usize, depot: &Arc<Mutex<Depot>>) -> Cache {
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
    pub fn pool_id(&self) -> u64 {
        self.pool_id
    }

    /// Moves packets to `room` until that is full, or there are no more. Returns how many.
    #[inline]
    pub fn take(&mut self, room: &mut [MaybeUninit<Packet>]) -> usize {
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
    pub fn put(&mut self, packets: PacketSlice<'_>) {
        if self.loaded.0.len() + packets.len() <= self.limit() {
            packets.append_to(&mut self.loaded.0);
        } else {
            self.put_beyond(packets);
        }
    }

    /// Puts a packet back.
    #[inline]
    pub fn push(&mut self, packet: Packet) {
        if self.loaded.0.len() < self.limit() {
            self.loaded.0.push(packet);
        } else {
            self.push_beyond(packet);
        }
    }

    /// Gives the depot what is above the limit; for a thread that may put nothing back for long.
    #[inline]
    pub fn trim(&mut self) {
        let limit = self.limit();
        if limit < MAGAZINE && self.fill() > limit {
            self.give_beyond(limit, std::iter::empty());
            self.publish_fill();
        }
    }

    /// Tells `netmap/show` how many packets are here; once a burst.
    #[inline]
    pub fn publish_fill(&self) {
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
            super::retire_slot(self.pool_slot);
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
            depot.lock().flush(self);
        }
    }
}
