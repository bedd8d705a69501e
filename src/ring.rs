// SPDX-License-Identifier: Apache-2.0
//! A netmap ring in shared memory as a safe cursor over its slots.
//!
//! ```text
//!            head          tail
//!             v             v
//!   | k | k | U | U | U | U | k | k |     U: ours until the next sync, k: the other side's
//! ```
//!
//! What the ring says is never trusted: sizes are checked once, when the ring is opened, `head` and
//! `tail` once a batch, and each slot is read once, as a value. Everything is read and written with
//! relaxed atomic accesses of the field's own width, so a peer that writes meanwhile causes a bad
//! value, not undefined behaviour.
//!
//! Ordering: netmap's kernel side touches the slots in `head..tail` only inside a sync call made by
//! the ring's owner, in that same thread, or one that the ring goes to and comes back from through a
//! channel, so a batch needs no barrier. Engines of this crate whose
//! other side is another thread put theirs into their sync ([`crate::engine`]).

use std::any::Any;
use std::mem::{offset_of, size_of};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use netmap_sys::netmap::{netmap_ring, netmap_slot};

use crate::abi;
use crate::index::Owner;

/// Offset of the first slot in a ring.
pub const SLOTS_OFFSET: usize = offset_of!(netmap_ring, slot);

/// Largest ring accepted; netmap's own limit is lower (its `ring_size` pool).
pub const MAX_SLOTS: u32 = 1 << 20;

/// A slot, by value: same fields and layout as `struct netmap_slot`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Slot {
    pub buf_idx: u32,
    /// Bytes of the frame in this slot.
    pub len: u16,
    /// `NS_*` flags.
    pub flags: u16,
    /// Start of the frame in the buffer, in the bits of the ring's `offset_mask`.
    pub ptr: u64,
}

const _: () = assert!(size_of::<Slot>() == 16 && size_of::<netmap_slot>() == 16);
const _: () = assert!(offset_of!(Slot, len) == offset_of!(netmap_slot, len));
const _: () = assert!(offset_of!(Slot, flags) == offset_of!(netmap_slot, flags));
const _: () = assert!(offset_of!(Slot, ptr) == offset_of!(netmap_slot, ptr));

impl Slot {
    /// `buf_idx`, `len` and `flags` from the slot's first eight bytes, as one native-endian number.
    #[inline]
    fn from_words(first: u64, ptr: u64) -> Slot {
        let (idx, len, flags) = if cfg!(target_endian = "big") {
            (first >> 32, first >> 16, first)
        } else {
            (first, first >> 32, first >> 48)
        };
        Slot {
            buf_idx: idx as u32,
            len: len as u16,
            flags: flags as u16,
            ptr,
        }
    }

    #[inline]
    fn first_word(&self) -> u64 {
        let idx = self.buf_idx as u64;
        let (len, flags) = (self.len as u32, self.flags as u32);
        if cfg!(target_endian = "big") {
            idx << 32 | (len << 16 | flags) as u64
        } else {
            ((flags << 16 | len) as u64) << 32 | idx
        }
    }
}

/// A slot where it lies in a ring. Each half is read and written at once.
#[repr(C)]
pub struct SlotCell {
    first: AtomicU64,
    ptr: AtomicU64,
}

const _: () = assert!(size_of::<SlotCell>() == size_of::<Slot>());

impl SlotCell {
    /// The slot as it is now.
    #[inline]
    pub fn read(&self) -> Slot {
        Slot::from_words(
            self.first.load(Ordering::Relaxed),
            self.ptr.load(Ordering::Relaxed),
        )
    }

    /// Index of its buffer.
    #[inline]
    pub fn buf_idx(&self) -> u32 {
        Slot::from_words(self.first.load(Ordering::Relaxed), 0).buf_idx
    }

    /// Its `ptr`.
    #[inline]
    pub fn ptr(&self) -> u64 {
        self.ptr.load(Ordering::Relaxed)
    }

    /// Overwrites the slot but for `ptr`.
    #[inline]
    pub fn write_first(&self, slot: Slot) {
        self.first.store(slot.first_word(), Ordering::Relaxed);
    }

    /// Overwrites the slot.
    #[inline]
    pub fn write(&self, slot: Slot) {
        self.first.store(slot.first_word(), Ordering::Relaxed);
        self.ptr.store(slot.ptr, Ordering::Relaxed);
    }
}

/// The ring's memory makes no sense: an index outside the ring, or a layout that does not fit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BadRing;

/// One ring, held by the one thread that consumes and syncs it.
pub struct Ring {
    ring: NonNull<u8>,
    num_slots: u32,
    offset_mask: u64,
    max_offset: u32,
    /// Smallest offset of a frame in its buffer, and how much larger the largest one is.
    min_offset: u32,
    offset_range: u32,
    /// Whether slots may have [`NS_TX_METADATA`].
    ///
    /// [`NS_TX_METADATA`]: crate::engine::NS_TX_METADATA
    takes_csum: bool,
    /// Bits that are 0 in each offset: the alignment, a power of two, less one.
    unaligned: u32,
    /// Most slots that a frame may take.
    max_frags: u32,
    owner: Owner,
    /// Keeps the ring's memory mapped.
    memory: Arc<dyn Any + Send + Sync>,
}

// SAFETY: a. the memory lives as long as `memory`, on no particular thread; b. all access is by
// atomics, so two handles on two threads cannot race (only the values could, and they are checked).
#[allow(unsafe_code)]
unsafe impl Send for Ring {}

impl Ring {
    /// The ring at `ring`, whose slots' buffers are held by `owner`. `max_offset` is the largest
    /// offset of a frame in its buffer that the other side takes; 0 when frames start at the base.
    ///
    /// Errors with [`BadRing`] when the ring does not fit into `size` bytes.
    ///
    /// # Safety
    ///
    /// a. `size` bytes at `ring` are readable and writable as long as `memory` lives.
    /// b. `ring` is aligned to 8 bytes and no Rust reference to those bytes exists.
    #[allow(unsafe_code)]
    pub unsafe fn new(
        ring: NonNull<u8>,
        size: usize,
        owner: Owner,
        max_offset: u32,
        memory: Arc<dyn Any + Send + Sync>,
    ) -> Result<Ring, BadRing> {
        if size < SLOTS_OFFSET || !(ring.as_ptr() as usize).is_multiple_of(8) {
            return Err(BadRing);
        }
        let mut opened = Ring {
            ring,
            num_slots: 0,
            offset_mask: 0,
            max_offset: 0,
            min_offset: 0,
            offset_range: 0,
            takes_csum: false,
            unaligned: 0,
            max_frags: 1,
            owner,
            memory,
        };
        let num_slots = opened
            .u32_at(offset_of!(netmap_ring, num_slots))
            .load(Ordering::Relaxed);
        let room = (size - SLOTS_OFFSET) / size_of::<Slot>();
        if !(2..=MAX_SLOTS).contains(&num_slots) || num_slots as usize > room {
            return Err(BadRing);
        }
        opened.num_slots = num_slots;
        opened.offset_mask = opened.u64_at(abi::RING_OFFSET_MASK).load(Ordering::Relaxed);
        if opened.offset_mask != 0 {
            opened.max_offset = max_offset;
            opened.offset_range = max_offset;
        }
        Ok(opened)
    }

    /// A ring of its own that is empty for ever, to stand in for another one.
    #[allow(unsafe_code)]
    pub fn empty() -> Ring {
        const SLOTS: u32 = 2;
        const SIZE: usize = SLOTS_OFFSET + SLOTS as usize * size_of::<Slot>();
        const WORDS: usize = SIZE.div_ceil(size_of::<u64>());
        let memory = Arc::new([const { AtomicU64::new(0) }; WORDS]);
        let base = NonNull::from(&*memory).cast::<u8>();
        // SAFETY: inside `memory`, aligned, and only accessed by atomics.
        unsafe {
            let num_slots = base.add(offset_of!(netmap_ring, num_slots)).cast();
            AtomicU32::from_ptr(num_slots.as_ptr()).store(SLOTS, Ordering::Relaxed);
        }
        // SAFETY: a. so many bytes, which may be written through a shared reference, as they are atomics;
        // b. aligned as these are.
        let ring = unsafe { Ring::new(base, SIZE, Owner::OUTSIDE, 0, memory) };
        ring.expect("its slots fit")
    }

    /// A second handle on the same ring, for an engine that plays the other side.
    pub fn other_side(&self) -> Ring {
        Ring {
            memory: Arc::clone(&self.memory),
            ..*self
        }
    }

    #[inline]
    pub fn num_slots(&self) -> u32 {
        self.num_slots
    }

    /// Who holds the buffers of this ring's slots.
    #[inline]
    pub fn owner(&self) -> Owner {
        self.owner
    }

    /// From now on `owner` holds the buffers of this ring's slots, for this handle and those made of it.
    pub fn set_owner(&mut self, owner: Owner) {
        self.owner = owner;
    }

    /// From now on frames may start only at multiples of `alignment`, a power of two.
    pub fn set_offset_alignment(&mut self, alignment: u32) {
        self.unaligned = alignment.next_power_of_two() - 1;
    }

    /// From now on a frame may take `max_frags` slots, all but the last with `NS_MOREFRAG`.
    pub fn set_max_frags(&mut self, max_frags: u32) {
        self.max_frags = max_frags.clamp(1, self.num_slots - 1);
    }

    /// Most slots that a frame may take.
    #[inline]
    pub fn max_frags(&self) -> u32 {
        self.max_frags
    }

    /// From now on frames may start at `min_offset` or behind it, which must not be past the largest offset.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))] // for AF_XDP
    pub fn set_min_offset(&mut self, min_offset: u32) {
        self.min_offset = min_offset.min(self.max_offset);
        self.offset_range = self.max_offset - self.min_offset;
    }

    /// Smallest offset at which a frame may start in its buffer.
    #[inline]
    pub fn min_offset(&self) -> u32 {
        self.min_offset
    }

    /// From now on the other side completes checksums where it is asked to.
    #[cfg_attr(not(target_os = "linux"), allow(dead_code))] // for AF_XDP
    pub fn set_takes_csum(&mut self) {
        self.takes_csum = true;
    }

    /// Whether it does.
    #[inline]
    pub fn takes_csum(&self) -> bool {
        self.takes_csum
    }

    /// Whether a frame may start at `offset` in its buffer.
    #[inline]
    pub fn takes_offset(&self, offset: u32) -> bool {
        // One comparison for both ends.
        offset.wrapping_sub(self.min_offset) <= self.offset_range && offset & self.unaligned == 0
    }

    /// Largest offset at which a frame may start in its buffer.
    #[inline]
    pub fn max_offset(&self) -> u32 {
        self.max_offset
    }

    /// Whether `ptr` of a slot is the offset and nothing else, and frames may start at any byte of buffers of
    /// `buf_size` bytes, from the smallest offset on. So it is in all rings but the module's.
    #[inline]
    pub fn has_plain_offsets(&self, buf_size: u32) -> bool {
        self.offset_mask == u64::MAX && self.unaligned == 0 && self.max_offset >= buf_size
    }

    /// Offset of a slot's frame in its buffer.
    #[inline]
    pub fn offset_of(&self, slot: &Slot) -> u64 {
        slot.ptr & self.offset_mask
    }

    /// `slot.ptr` with the offset replaced.
    #[inline]
    pub fn with_offset(&self, ptr: u64, offset: u32) -> u64 {
        // What differs, in the bits of the mask only.
        ptr ^ ((ptr ^ offset as u64) & self.offset_mask)
    }

    /// First slot that is ours (u).
    #[inline]
    pub fn head(&self) -> u32 {
        self.u32_at(offset_of!(netmap_ring, head))
            .load(Ordering::Relaxed)
    }

    /// First slot that is not (k).
    #[inline]
    pub fn tail(&self) -> u32 {
        self.u32_at(offset_of!(netmap_ring, tail))
            .load(Ordering::Relaxed)
    }

    /// Gives all slots before `head` to the other side at the next sync (u).
    #[inline]
    pub fn set_head(&self, head: u32) {
        // `cur` only matters to poll(2); netmap wants it between head and tail.
        self.u32_at(offset_of!(netmap_ring, cur))
            .store(head, Ordering::Relaxed);
        self.u32_at(offset_of!(netmap_ring, head))
            .store(head, Ordering::Relaxed);
    }

    /// Moves `tail`: for engines, which play the kernel (k).
    #[inline]
    pub fn set_tail(&self, tail: u32) {
        self.u32_at(offset_of!(netmap_ring, tail))
            .store(tail, Ordering::Relaxed);
    }

    /// Sets both ends: for engines, when the owner's make no sense.
    #[inline]
    pub fn reset(&self, head: u32, tail: u32) {
        self.set_head(head);
        self.set_tail(tail);
    }

    /// `head` and `tail`, if both lie in the ring.
    #[inline]
    pub fn checked_window(&self) -> Result<(u32, u32), BadRing> {
        let (head, tail) = (self.head(), self.tail());
        if head < self.num_slots && tail < self.num_slots {
            Ok((head, tail))
        } else {
            Err(BadRing)
        }
    }

    /// Position `by` slots after `pos`; both below the number of slots.
    #[inline]
    pub fn advance(&self, pos: u32, by: u32) -> u32 {
        let next = pos + by;
        if next >= self.num_slots {
            next - self.num_slots
        } else {
            next
        }
    }

    /// Slots from `from` up to, not including, `to`.
    #[inline]
    pub fn distance(&self, from: u32, to: u32) -> u32 {
        if to >= from {
            to - from
        } else {
            to + self.num_slots - from
        }
    }

    /// As [`Ring::distance`], for a `to` that nobody checked.
    #[inline]
    pub fn distance_checked(&self, from: u32, to: u32) -> Option<u32> {
        (to < self.num_slots).then(|| self.distance(from, to))
    }

    /// The slot at `pos`, read once.
    #[inline]
    pub fn slot(&self, pos: u32) -> Slot {
        self.cells()[pos as usize].read()
    }

    /// Writes the slot at `pos`.
    #[inline]
    pub fn put_slot(&self, pos: u32, slot: Slot) {
        self.cells()[pos as usize].write(slot);
    }

    /// What is ours now, to work on without touching the ring's header again.
    #[inline]
    pub fn batch(&mut self) -> Result<Batch<'_>, BadRing> {
        let (head, tail) = self.checked_window()?;
        Ok(self.batch_of(head, self.distance(head, tail)))
    }

    /// The slots that an engine may fill, from `tail` on: all that are not ours but one, which stays
    /// empty so that a full ring does not look like an empty one.
    #[inline]
    pub fn vacant(&mut self) -> Result<Batch<'_>, BadRing> {
        let (head, tail) = self.checked_window()?;
        let ours = self.distance(head, tail);
        Ok(self.batch_of(tail, self.num_slots - 1 - ours))
    }

    /// The `left` slots (fewer than all) from `pos` (below the number of slots) on.
    #[inline]
    fn batch_of(&mut self, pos: u32, left: u32) -> Batch<'_> {
        Batch {
            ring: self,
            pos,
            left,
        }
    }

    #[inline]
    #[allow(unsafe_code)]
    fn cells(&self) -> &[SlotCell] {
        // SAFETY: `new` made sure that so many slots lie in the memory of its a., which is aligned by
        // its b. and only accessed by atomics, as a cell is.
        unsafe {
            let first = self.ring.as_ptr().add(SLOTS_OFFSET).cast();
            std::slice::from_raw_parts(first, self.num_slots as usize)
        }
    }

    #[inline]
    #[allow(unsafe_code)]
    fn u32_at(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: callers pass offsets of header fields (`scribble`: of slots, too): inside the memory
        // of `new` a., aligned by `new` b., and only accessed by atomics.
        unsafe { AtomicU32::from_ptr(self.ring.as_ptr().add(offset).cast()) }
    }

    #[inline]
    #[allow(unsafe_code)]
    fn u64_at(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: as in `u32_at`; 64-bit fields are 8-byte aligned in the ABI.
        unsafe { AtomicU64::from_ptr(self.ring.as_ptr().add(offset).cast()) }
    }
}

#[cfg(feature = "test-utils")]
impl Ring {
    /// Writes the 32-bit word at byte `offset` of the ring, header and constants included, as a hostile
    /// peer may do it. No effect beyond the end of the ring.
    pub fn scribble(&self, offset: usize, value: u32) {
        let size = SLOTS_OFFSET + self.num_slots as usize * size_of::<Slot>();
        if offset.is_multiple_of(4) && offset < size {
            self.u32_at(offset).store(value, Ordering::Relaxed);
        }
    }
}

/// Slots of a ring, those that were ours when the batch was made, to be worked through in order.
/// [`Batch::commit`] gives those passed away; a batch that is just dropped leaves `head` as it was.
pub struct Batch<'a> {
    ring: &'a mut Ring,
    /// Position of the first slot left: below the number of slots.
    pos: u32,
    /// Slots left: fewer than there are.
    left: u32,
}

impl Batch<'_> {
    #[inline]
    pub fn left(&self) -> u32 {
        self.left
    }

    /// The ring itself, for its constants.
    #[inline]
    pub fn ring(&self) -> &Ring {
        self.ring
    }

    /// The next slots that lie one after the other, at most `most`; empty when none is left.
    #[inline]
    pub fn contiguous(&self, most: usize) -> &[SlotCell] {
        let cells = &self.ring.cells()[self.pos as usize..];
        let n = cells.len().min(self.left as usize).min(most);
        &cells[..n]
    }

    /// Slot `i` of those left.
    #[inline]
    pub fn slot(&self, i: u32) -> Slot {
        self.cell(i).read()
    }

    /// Writes the first slot left, and passes it.
    #[inline]
    pub fn pass(&mut self, slot: Slot) {
        self.cell(0).write(slot);
        self.skip(1);
    }

    /// Passes the next `n` slots as they are.
    #[inline]
    pub fn skip(&mut self, n: u32) {
        assert!(n <= self.left, "slots outside the batch");
        self.left -= n;
        self.pos = self.ring.advance(self.pos, n);
    }

    /// Gives the slots passed to the other side at the next sync.
    #[inline]
    pub fn commit(self) {
        self.ring.set_head(self.pos);
    }

    /// Gives the slots passed, which an engine has filled, to the ring's owner.
    #[inline]
    pub fn deliver(self) {
        self.ring.set_tail(self.pos);
    }

    #[inline]
    fn cell(&self, i: u32) -> &SlotCell {
        assert!(i < self.left, "slot outside the batch");
        &self.ring.cells()[self.ring.advance(self.pos, i) as usize]
    }
}
