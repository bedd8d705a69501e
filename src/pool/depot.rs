// SPDX-License-Identifier: Apache-2.0
//! Magazines of packets, and the depot that threads exchange them with. A thread's own two are in
//! [`super::cache`].
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

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::header::{Packet, Slab};
use crate::index::OwnedBuf;

/// Packets in a magazine: two bursts of OVS. In models few, so that magazines change hands often.
pub const MAGAZINE: usize = if cfg!(shuttle) { 2 } else { 64 };

/// A stack of at most [`MAGAZINE`] packets.
pub struct Magazine(pub(super) Vec<Packet>);

impl Magazine {
    pub(super) fn new() -> Magazine {
        Magazine(Vec::with_capacity(MAGAZINE))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.0.len() >= MAGAZINE
    }
}

/// What a thread and the depot tell each other about the thread's cache. On lines of its own: the
/// thread writes it with every burst.
#[derive(Debug)]
#[repr(align(128))]
pub struct CacheState {
    /// Packets in the cache, for `netmap/show`; the thread writes it.
    pub fill: AtomicUsize,
    /// Packets that `loaded` may have; the depot writes it. Less than [`MAGAZINE`] after the depot ran
    /// dry, and `previous` is not used then.
    pub limit: AtomicUsize,
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
    /// No thread gets packets any more, or may keep any.
    closed: bool,
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

    /// From now on packets only come back.
    pub fn close(&mut self) {
        self.closed = true;
        self.set_dry(true);
    }

    /// Whether packets only come back.
    pub fn is_closed(&self) -> bool {
        self.closed
    }

    /// Step 5: tells all caches what they may keep.
    fn set_dry(&mut self, dry: bool) {
        self.dry = dry;
        let share = self.total / (2 * self.caches.len().max(1));
        let limit = match dry && share < 2 * MAGAZINE {
            _ if self.closed => 0,
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
    pub(super) fn register_cache(&mut self) -> Arc<CacheState> {
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

    /// Takes all packets of a cache that is about to go: those of its `magazines`. `state` is what
    /// [`Depot::register_cache`] gave it.
    pub(super) fn flush(&mut self, magazines: [&mut Magazine; 2], state: &Arc<CacheState>) {
        for magazine in magazines {
            for packet in magazine.0.drain(..) {
                self.put(packet);
            }
        }
        self.caches.retain(|other| !Arc::ptr_eq(other, state));
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
    pub(super) fn refill(&mut self, magazine: &mut Magazine, wanted: usize, limit: usize) {
        if self.closed {
            return;
        }
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
    pub(super) fn exchange_full(&mut self, magazine: &mut Magazine) {
        let empty = self.empty.pop().unwrap_or_else(Magazine::new);
        self.full.push(std::mem::replace(magazine, empty));
    }
}
