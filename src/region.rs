// SPDX-License-Identifier: Apache-2.0
//! One netmap memory region: buffers by index, never out of bounds, and who holds each of them.
//!
//! ```text
//!   base                                                      base + n_bufs * buf_size
//!    | buf 0 | buf 1 | buf 2 | buf 3 | ...            | buf n-1 |
//!      never used      ^ owner[2]: OUTSIDE, PACKET or a port's rings
//! ```
//!
//! The bytes may be mapped by other processes (netmap's global region, VALE peers) and written at
//! any time. So no Rust reference to them is ever made: they are only copied, by raw pointer.

use std::fmt;
use std::marker::PhantomData;
use std::ptr::{self, NonNull};
use std::sync::atomic::Ordering;

use serde::Serialize;

use crate::index::{BufIdx, OwnedBuf, Owner};
use crate::model_sync::AtomicU16;

/// What keeps a region's memory mapped. Dropping it unmaps the region.
pub trait Backing: Send + Sync {
    /// Takes back buffers that no packet needs any more. Most often the region is about to go, but a
    /// port may be opening in it just now.
    fn give_back(&self, bufs: Vec<OwnedBuf>);

    /// Whose memory it is.
    fn kind(&self) -> RegionKind;

    /// Buffers that neither a packet nor a ring has; `None` when the kernel hands them out.
    fn unassigned(&self) -> Option<u32>;
}

/// Whose memory a region is, as `netmap/show` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(tag = "kind", rename_all = "lowercase")]
pub enum RegionKind {
    /// Of this process.
    Userspace,
    /// Of the netmap module.
    Kernel {
        /// The module's number of the region.
        mem_id: u16,
    },
}

impl fmt::Display for RegionKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegionKind::Userspace => f.write_str("userspace"),
            RegionKind::Kernel { mem_id } => write!(f, "kernel mem_id={mem_id}"),
        }
    }
}

/// A region: its buffers and the table of their holders.
pub struct Region {
    base: NonNull<u8>,
    buf_size: u32,
    /// By index. Those that are never valid belong to [`Owner::NOBODY`].
    owners: Box<[AtomicU16]>,
    backing: Box<dyn Backing>,
}

// SAFETY: a. `base` points to memory that `backing` keeps mapped as long as the region lives, and
// that is not tied to a thread; b. all access is by copies through raw pointers (bytes) or atomics
// (owners), so sharing a `&Region` makes no reference to the bytes.
#[allow(unsafe_code)]
unsafe impl Send for Region {}
// SAFETY: as for Send.
#[allow(unsafe_code)]
unsafe impl Sync for Region {}

impl Region {
    /// A region of `n_bufs` buffers of `buf_size` bytes each, buffer 0 at `base`.
    ///
    /// # Safety
    ///
    /// a. `base` to `base + n_bufs * buf_size` is readable and writable until `backing` is dropped.
    /// b. Rust code has no reference into that range.
    #[allow(unsafe_code)]
    pub unsafe fn new(
        base: NonNull<u8>,
        buf_size: u32,
        n_bufs: u32,
        backing: Box<dyn Backing>,
    ) -> Region {
        let owner = |idx| match idx < BufIdx::FIRST_VALID {
            true => Owner::NOBODY,
            false => Owner::OUTSIDE,
        };
        Region {
            base,
            buf_size,
            owners: (0..n_bufs)
                .map(|idx| AtomicU16::new(owner(idx).0))
                .collect(),
            backing,
        }
    }

    /// Bytes of each buffer.
    #[inline]
    pub fn buf_size(&self) -> u32 {
        self.buf_size
    }

    /// Bytes of each buffer that a frame may lie in: OVS counts them with 16 bits, and netmap's largest
    /// buffers have one byte more.
    #[inline]
    pub fn frame_room(&self) -> u16 {
        self.buf_size.min(u16::MAX.into()) as u16
    }

    /// Number of buffers, the two that are never used included.
    pub fn n_bufs(&self) -> u32 {
        self.owners.len() as u32
    }

    /// Number of buffers that can be used.
    pub fn usable_bufs(&self) -> u32 {
        self.n_bufs().saturating_sub(BufIdx::FIRST_VALID)
    }

    /// What keeps the memory.
    pub fn backing(&self) -> &dyn Backing {
        &*self.backing
    }

    /// Gives buffers that no packet needs any more to whoever keeps the memory.
    pub fn give_back(&self, bufs: Vec<OwnedBuf>) {
        for buf in &bufs {
            self.set_owner(buf.idx(), Owner::OUTSIDE);
        }
        self.backing.give_back(bufs);
    }

    /// Whether `idx` names a buffer of this region.
    #[inline]
    pub fn contains(&self, idx: BufIdx) -> bool {
        idx.0 >= BufIdx::FIRST_VALID && idx.0 < self.n_bufs()
    }

    /// Who holds buffer `idx`; `None` when there is no such buffer.
    #[inline]
    pub fn owner(&self, idx: BufIdx) -> Option<Owner> {
        let entry = self.owners.get(idx.0 as usize)?;
        // Relaxed: each entry is written by whoever holds the buffer; the hand-over itself is
        // ordered by the ring or the magazine that the buffer travels through.
        Some(Owner(entry.load(Ordering::Relaxed))).filter(|&owner| owner != Owner::NOBODY)
    }

    /// Makes the buffer `idx`, read from a slot or a list, ours, if `from` holds it as it should.
    ///
    /// This is the check that keeps a scribbled index from being in two places: a buffer that a
    /// packet has, or that lies in another port's rings, is refused like one that does not exist.
    ///
    /// What is outside may stand in two rings at once, as others write those too, and two threads may
    /// claim it: a compare-exchange decides who gets it. The rings of a port of ours are this process's
    /// own memory: an index that the port owns is in one slot of one of them, where one thread finds
    /// it, so that a load and a store will do. (What a test scribbles there, it does on one thread.)
    #[inline]
    pub fn claim(&self, idx: BufIdx, from: Owner) -> Option<OwnedBuf> {
        match from {
            Owner::OUTSIDE => self.claim_from::<true>(idx, from),
            _ => self.claim_from::<false>(idx, from),
        }
    }

    /// [`Region::claim`] where it is known before whether `from` is [`Owner::OUTSIDE`].
    #[inline]
    pub fn claim_from<const OUTSIDE: bool>(&self, idx: BufIdx, from: Owner) -> Option<OwnedBuf> {
        debug_assert!(OUTSIDE == (from == Owner::OUTSIDE));
        let (entry, to) = (self.owners.get(idx.0 as usize)?, Owner::PACKET.0);
        if OUTSIDE {
            let (was, order) = (Owner::OUTSIDE.0, Ordering::Relaxed);
            entry.compare_exchange(was, to, order, order).ok()?;
        } else {
            if entry.load(Ordering::Relaxed) != from.0 {
                return None;
            }
            entry.store(to, Ordering::Relaxed);
        }
        Some(OwnedBuf(idx))
    }

    /// Whether `owner` holds the buffer `idx`.
    #[inline]
    pub fn is_held_by(&self, idx: BufIdx, owner: Owner) -> bool {
        let entry = self.owners.get(idx.0 as usize);
        entry.is_some_and(|entry| entry.load(Ordering::Relaxed) == owner.0)
    }

    /// Hands a buffer of ours to `to` and gives the index to write into the slot.
    ///
    /// Panics for a buffer that this region does not have, which cannot be one of ours.
    #[inline]
    pub fn release(&self, buf: OwnedBuf, to: Owner) -> BufIdx {
        self.owners[buf.0.0 as usize].store(to.0, Ordering::Relaxed);
        buf.0
    }

    /// Notes that `owner` has buffer `idx`; for engines that fill rings. No such buffer: no effect.
    #[inline]
    pub fn set_owner(&self, idx: BufIdx, owner: Owner) {
        if let Some(entry) = self.owners.get(idx.0 as usize) {
            entry.store(owner.0, Ordering::Relaxed);
        }
    }

    /// All buffers that `owner` holds.
    pub fn owned_by(&self, owner: Owner) -> Vec<BufIdx> {
        (BufIdx::FIRST_VALID..self.n_bufs())
            .map(BufIdx)
            .filter(|&idx| self.owner(idx) == Some(owner))
            .collect()
    }

    /// How many buffers are in rings of this process's own engines.
    pub fn in_rings(&self) -> u32 {
        let in_ring = |o: &&AtomicU16| {
            let owner = Owner(o.load(Ordering::Relaxed));
            owner.0 >= Owner::FIRST_PORT && owner != Owner::NOBODY
        };
        self.owners.iter().filter(in_ring).count() as u32
    }

    /// First byte of a buffer of ours.
    #[inline]
    pub fn base_of(&self, buf: &OwnedBuf) -> NonNull<u8> {
        self.address(buf.0)
    }

    /// First byte of buffer `idx`; `None` when there is no such buffer.
    #[inline]
    pub fn base_of_idx(&self, idx: BufIdx) -> Option<NonNull<u8>> {
        self.contains(idx).then(|| self.address(idx))
    }

    #[inline]
    #[allow(unsafe_code)]
    fn address(&self, idx: BufIdx) -> NonNull<u8> {
        // SAFETY: `idx` was checked (`claim`, `contains`, `is_held_by`), so by `new` a. the offset stays inside
        // the mapping, and the sum cannot be null.
        unsafe { self.base.add(idx.0 as usize * self.buf_size as usize) }
    }

    /// Copies `src` into buffer `idx` at `offset`. False, and nothing written, unless the buffer
    /// exists and holds it all.
    #[inline]
    #[allow(unsafe_code)]
    pub fn write(&self, idx: BufIdx, offset: u32, src: RawBytes<'_>) -> bool {
        let fits = offset as u64 + src.len as u64 <= self.buf_size as u64;
        match self.base_of_idx(idx) {
            Some(base) if fits => {
                // SAFETY: the destination lies inside the buffer (`fits`), the source is readable
                // (`RawBytes::new`); `ptr::copy` allows them to overlap, and a peer that writes
                // the bytes meanwhile garbles its own packet, nothing else.
                unsafe { ptr::copy(src.ptr, base.as_ptr().add(offset as usize), src.len) };
                true
            }
            _ => false,
        }
    }

    /// The bytes of buffer `idx` from `offset`, to copy from; `None` unless they all lie inside.
    #[inline]
    #[allow(unsafe_code)]
    pub fn bytes(&self, idx: BufIdx, offset: u32, len: u32) -> Option<RawBytes<'_>> {
        if offset as u64 + len as u64 > self.buf_size as u64 {
            return None;
        }
        let base = self.base_of_idx(idx)?;
        // SAFETY: just checked to lie inside the buffer, which is mapped while `self` lives.
        Some(unsafe { RawBytes::new(base.as_ptr().add(offset as usize), len as usize) })
    }

    /// Writes `N` bytes into buffer `idx` at `offset`, if `owner` holds it and it has room. With the
    /// length known, this is a few vector stores.
    #[inline]
    #[allow(unsafe_code)]
    pub fn write_array<const N: usize>(
        &self,
        idx: BufIdx,
        owner: Owner,
        offset: u32,
        bytes: &[u8; N],
    ) -> bool {
        let fits = offset as usize + N <= self.buf_size as usize;
        if !fits || !self.is_held_by(idx, owner) {
            return false;
        }
        // SAFETY: the buffer exists (`is_held_by`) and the destination lies inside it (`fits`); no
        // reference to it exists, and it needs no alignment.
        unsafe {
            let to = self.address(idx).add(offset as usize);
            to.cast().write_unaligned(*bytes);
        }
        true
    }
}

/// Bytes to copy from, that other threads or processes may be writing: an address and a length.
#[derive(Debug, Clone, Copy)]
pub struct RawBytes<'a> {
    ptr: *const u8,
    len: usize,
    memory: PhantomData<&'a u8>,
}

impl<'a> RawBytes<'a> {
    /// `len` bytes at `ptr`.
    ///
    /// # Safety
    ///
    /// They must be readable during `'a`.
    #[allow(unsafe_code)]
    #[inline]
    pub unsafe fn new(ptr: *const u8, len: usize) -> RawBytes<'a> {
        RawBytes {
            ptr,
            len,
            memory: PhantomData,
        }
    }

    #[inline]
    pub fn len(&self) -> usize {
        self.len
    }

    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// First byte.
    #[inline]
    pub fn as_ptr(&self) -> *const u8 {
        self.ptr
    }

    /// The first `len` bytes, or all, and the rest.
    pub fn split_at(self, len: usize) -> (RawBytes<'a>, RawBytes<'a>) {
        let len = len.min(self.len);
        let first = RawBytes { len, ..self };
        let rest = RawBytes {
            ptr: self.ptr.wrapping_add(len),
            len: self.len - len,
            ..self
        };
        (first, rest)
    }
}

impl<'a> From<&'a [u8]> for RawBytes<'a> {
    fn from(bytes: &'a [u8]) -> RawBytes<'a> {
        RawBytes {
            ptr: bytes.as_ptr(),
            len: bytes.len(),
            memory: PhantomData,
        }
    }
}
