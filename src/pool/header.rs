// SPDX-License-Identifier: Apache-2.0
//! The header in front of each `struct dp_packet`, and the slabs both live in.
//!
//! ```text
//!   slab:  | header 64 | dp_packet ... | pad | own | header 64 | dp_packet ... | pad | own | ...
//!            ^ 64-aligned                            ^ all parts are rounded up to 64
//! ```
//!
//! `own` is memory that no other process maps, for frames that are copied out of a region that others
//! write. In regions of this process alone it has no bytes.
//!
//! `netmap_free_packet(p)` finds the header at `p - 64`, whatever `struct dp_packet` looks like in
//! this OVS release. Everything the data path needs of a packet is in this one cache line.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ffi::c_void;
use std::mem::{align_of, size_of};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, Ordering};

use super::layout::{Frame, PacketLayout};
use crate::index::{BufIdx, OwnedBuf};

/// Flag in [`Header::tag`]: handed to OVS. Without it the packet is in the depot, in a magazine, or a
/// spare.
const IN_FLIGHT: u64 = 1;
/// Flag in [`Header::tag`]: OVS moved the data out of the buffer, into `Header::moved`.
const MOVED: u64 = 2;
/// Flag in [`Header::tag`]: OVS has it with its data in the packet's own memory.
const COPIED: u64 = 4;
/// Bits of the flags in [`Header::tag`].
const FLAG_BITS: u32 = 8;
/// `Header::buf` of a packet that has no buffer: buffer 0 is never valid.
const NO_BUF: u32 = 0;

/// All accesses are relaxed: one thread at a time has the packet, and how it changes hands (a
/// magazine under the depot's lock, OVS's own queues) orders them. Atomics, because `netmap/show`
/// reads the flags at any time, and so that a shared reference is enough.
#[repr(C, align(64))]
struct Header {
    /// Which pool the packet belongs to, [`crate::pool::Pool::id`], above [`FLAG_BITS`] of flags: one
    /// comparison tells whether it is one of a certain pool, in flight, with its data in its buffer.
    tag: AtomicU64,
    /// The packet's buffer, or `NO_BUF`.
    buf: AtomicU32,
    /// Index of the pool in the tables of pools.
    pool_slot: u32,
    /// malloc memory that holds the data while `MOVED` is set.
    moved: AtomicPtr<c_void>,
}

const HEADER_SIZE: usize = size_of::<Header>();
const _: () = assert!(HEADER_SIZE == 64 && align_of::<Header>() == 64);

/// Where a packet's own memory is, from its `struct dp_packet` on.
fn own_ofs(layout: &PacketLayout) -> usize {
    layout.size.next_multiple_of(HEADER_SIZE)
}

/// The tag of those packets of a pool that OVS has with their frames in their buffers.
#[derive(Clone, Copy)]
pub struct InFlightTag(u64);

#[allow(unsafe_code)]
impl InFlightTag {
    /// That of the pool `pool_id`.
    #[inline]
    pub fn of(pool_id: u64) -> InFlightTag {
        InFlightTag(pool_id << FLAG_BITS | IN_FLIGHT)
    }

    /// Whether the packet at `raw` has it.
    ///
    /// # Safety
    ///
    /// As for [`Packet::from_raw`], and `raw` is not null.
    #[inline]
    pub unsafe fn matches(self, raw: *mut c_void) -> bool {
        // SAFETY: by the caller's promise.
        Packet(unsafe { NonNull::new_unchecked(raw.cast()) }).tag() == self.0
    }

    /// Marks a packet as OVS's, which it is from now on: `packet` is forgotten.
    ///
    /// # Safety
    ///
    /// It is of the pool that this is the tag of.
    #[inline]
    pub unsafe fn give(self, packet: Packet) {
        packet.set_tag(self.0);
    }

    /// [`InFlightTag::give`] of a packet whose frame is in its own memory.
    ///
    /// # Safety
    ///
    /// It is of the pool that this is the tag of.
    #[inline]
    pub unsafe fn give_copied(self, packet: Packet) {
        packet.set_tag(self.0 | COPIED);
    }

    /// [`Packet::from_raw`] of a packet that has it.
    ///
    /// # Safety
    ///
    /// As for [`Packet::from_raw`], and [`InFlightTag::matches`] was true for it just now.
    #[inline]
    pub unsafe fn take(self, raw: *mut c_void) -> Packet {
        // SAFETY: a packet that matched is not null.
        let packet = Packet(unsafe { NonNull::new_unchecked(raw.cast()) });
        packet.set_tag(self.0 & !IN_FLIGHT);
        packet
    }
}

/// A packet with its buffer (or a spare without), in this library's hands: exactly one `Packet`
/// exists for each header while the packet is not in flight. Move-only.
///
/// It is the address of the `struct dp_packet`, as OVS has it.
#[repr(transparent)]
pub struct Packet(NonNull<u8>);

// SAFETY: a packet is plain memory that belongs to whoever has the value; nothing ties it to a
// thread.
#[allow(unsafe_code)]
unsafe impl Send for Packet {}

#[allow(unsafe_code)]
impl Packet {
    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: the header stands in front of the `struct dp_packet`; the slab outlives its packets
        // (the pool keeps both), and what changes in a header is atomic.
        unsafe { self.0.sub(HEADER_SIZE).cast::<Header>().as_ref() }
    }

    #[inline]
    fn replace_buf(&mut self, idx: u32) -> u32 {
        let buf = &self.header().buf;
        let old = buf.load(Ordering::Relaxed);
        buf.store(idx, Ordering::Relaxed);
        old
    }

    /// Which pool it belongs to.
    #[inline]
    pub fn pool_id(&self) -> u64 {
        self.tag() >> FLAG_BITS
    }

    /// Index of its pool in the tables of pools.
    #[inline]
    pub fn pool_slot(&self) -> usize {
        self.header().pool_slot as usize
    }

    /// The `struct dp_packet`.
    #[inline]
    pub fn raw(&self) -> *mut c_void {
        self.0.as_ptr().cast()
    }

    /// Gives the packet another buffer and returns the one it had.
    #[inline]
    pub fn exchange_buf(&mut self, buf: OwnedBuf) -> OwnedBuf {
        OwnedBuf(BufIdx(self.replace_buf(buf.idx().0)))
    }

    /// Where its frame is, if it was ever handed out.
    ///
    /// # Safety
    ///
    /// `layout` is that of its pool.
    #[inline]
    pub unsafe fn frame(&self, layout: &PacketLayout) -> Frame {
        // SAFETY: the address is that of a packet of `layout`.
        unsafe { layout.frame_of(self.0.as_ptr().cast()) }
    }

    /// Gives a spare a buffer.
    pub fn put_buf(&mut self, buf: OwnedBuf) {
        let none = self.replace_buf(buf.idx().0);
        debug_assert_eq!(none, NO_BUF);
    }

    /// Makes the packet a spare and returns its buffer.
    pub fn take_buf(&mut self) -> OwnedBuf {
        let buf = self.replace_buf(NO_BUF);
        debug_assert_ne!(buf, NO_BUF);
        OwnedBuf(BufIdx(buf))
    }

    /// First byte of its own memory.
    ///
    /// # Safety
    ///
    /// `layout` is that of its pool.
    #[inline]
    pub unsafe fn own_memory(&self, layout: &PacketLayout) -> NonNull<u8> {
        // SAFETY: behind the packet, inside its slab or at the end of it (`Slab::new`).
        unsafe { self.0.add(own_ofs(layout)) }
    }

    #[inline]
    fn tag(&self) -> u64 {
        self.header().tag.load(Ordering::Relaxed)
    }

    #[inline]
    fn set_tag(&self, tag: u64) {
        self.header().tag.store(tag, Ordering::Relaxed);
    }

    /// Takes a packet back from OVS. `None`, and no effect, when it was not in flight: freed twice.
    ///
    /// # Safety
    ///
    /// `raw` is a packet that a [`crate::burst::RxBurst`] gave to OVS, and its pool is still there, which it is
    /// as long as the packet is in flight. No other thread uses the packet.
    #[inline]
    pub unsafe fn from_raw(raw: *mut c_void) -> Option<Packet> {
        let packet = Packet(NonNull::new(raw.cast())?);
        let tag = packet.tag();
        if tag & (IN_FLIGHT | MOVED) != IN_FLIGHT {
            return packet.back_from_flight();
        }
        packet.set_tag(tag & !(IN_FLIGHT | COPIED));
        Some(packet)
    }

    /// [`Packet::from_raw`] of a packet that OVS has not seen since it was handed out.
    pub(crate) fn take_back(self) -> Option<Packet> {
        self.back_from_flight()
    }

    /// [`Packet::from_raw`] where something is unusual.
    #[cold]
    fn back_from_flight(self) -> Option<Packet> {
        let tag = &self.header().tag;
        let flags = tag.load(Ordering::Relaxed);
        if flags & IN_FLIGHT == 0 {
            return None;
        }
        self.free_moved();
        tag.store(flags & !(IN_FLIGHT | MOVED | COPIED), Ordering::Relaxed);
        Some(self)
    }

    /// Frees the malloc memory that a resize left, if any.
    fn free_moved(&self) {
        let moved = &self.header().moved;
        let memory = moved.load(Ordering::Relaxed);
        moved.store(std::ptr::null_mut(), Ordering::Relaxed);
        // SAFETY: `moved_to` took ownership of this malloc memory, and it is freed once; null is fine.
        unsafe { libc::free(memory) };
    }

    /// Notes that a packet in flight has its data in `memory`, from malloc, from now on. Memory of
    /// an earlier resize is freed.
    ///
    /// # Safety
    ///
    /// As for [`Packet::from_raw`]; `memory` is the caller's, and becomes the packet's.
    pub unsafe fn moved_to(raw: *mut c_void, memory: *mut c_void) {
        if let Some(packet) = NonNull::new(raw.cast()).map(Packet) {
            packet.free_moved();
            let header = packet.header();
            header.moved.store(memory, Ordering::Relaxed);
            let tag = header.tag.load(Ordering::Relaxed);
            header.tag.store(tag | MOVED, Ordering::Relaxed);
        }
    }
}

#[cfg(feature = "test-utils")]
#[allow(unsafe_code)]
impl Packet {
    /// Index of the buffer of a packet in flight.
    ///
    /// # Safety
    ///
    /// As for [`Packet::from_raw`].
    pub unsafe fn buf_in_flight(raw: *mut c_void) -> Option<BufIdx> {
        let packet = NonNull::new(raw.cast()).map(Packet)?;
        Some(BufIdx(packet.header().buf.load(Ordering::Relaxed)))
    }
}

/// Memory of some packets of a pool.
pub struct Slab {
    base: NonNull<u8>,
    layout: Layout,
    stride: usize,
    count: usize,
}

// SAFETY: plain memory; `in_flight` reads atomics only.
#[allow(unsafe_code)]
unsafe impl Send for Slab {}

#[allow(unsafe_code)]
impl Slab {
    /// `count` (> 0) spares of the pool `pool_id`, with `own_size` bytes of their own each, and the slab
    /// that they lie in. The slab must outlive them.
    pub fn new(
        count: usize,
        packet: PacketLayout,
        pool_id: u64,
        pool_slot: usize,
        own_size: u16,
    ) -> (Slab, Vec<Packet>) {
        let own = usize::from(own_size).next_multiple_of(HEADER_SIZE);
        let stride = HEADER_SIZE + own_ofs(&packet) + own;
        let layout = Layout::from_size_align(stride * count, HEADER_SIZE)
            .expect("packets need less than the address space");
        // SAFETY: `count` and `stride` are not 0.
        let base = unsafe { alloc_zeroed(layout) };
        let Some(base) = NonNull::new(base) else {
            handle_alloc_error(layout)
        };
        let packets = (0..count).map(|i| {
            // SAFETY: inside the allocation, which is zeroed and aligned to the header's size.
            let header = unsafe { base.add(i * stride) }.cast::<Header>();
            // SAFETY: as above, and nobody else knows the memory yet.
            unsafe {
                header.write(Header {
                    tag: AtomicU64::new(pool_id << FLAG_BITS),
                    buf: AtomicU32::new(NO_BUF),
                    pool_slot: pool_slot as u32,
                    moved: AtomicPtr::new(std::ptr::null_mut()),
                });
                let packet_at = header.cast::<u8>().add(HEADER_SIZE);
                (packet.init)(packet_at.as_ptr().cast());
                Packet(packet_at)
            }
        });
        let packets = packets.collect();
        let slab = Slab {
            base,
            layout,
            stride,
            count,
        };
        (slab, packets)
    }

    /// How many of its packets OVS has now.
    pub fn in_flight(&self) -> usize {
        let flags = |i: usize| {
            // SAFETY: a header of this slab, whose changing fields are atomic.
            let header = unsafe { self.base.add(i * self.stride).cast::<Header>().as_ref() };
            header.tag.load(Ordering::Relaxed)
        };
        (0..self.count)
            .filter(|&i| flags(i) & IN_FLIGHT != 0)
            .count()
    }
}

impl Drop for Slab {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: allocated in `new` with this layout; the pool drops its slabs when no packet of
        // them is in flight, and its own `Packet` values are not used after that.
        unsafe { dealloc(self.base.as_ptr(), self.layout) };
    }
}
