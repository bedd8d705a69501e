// SPDX-License-Identifier: Apache-2.0
//! The header in front of each `struct dp_packet`, and the slabs both live in.
//!
//! ```text
//!   slab:  | header 64 | dp_packet ... | pad | header 64 | dp_packet ... | pad | ...
//!            ^ 64-aligned                      ^ stride = 64 + dp_packet, rounded up to 64
//! ```
//!
//! `netmap_free_packet(p)` finds the header at `p - 64`, whatever `struct dp_packet` looks like in
//! this OVS release. Everything the data path needs of a packet is in this one cache line.

use std::alloc::{Layout, alloc_zeroed, dealloc, handle_alloc_error};
use std::ffi::c_void;
use std::mem::{align_of, size_of};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicPtr, AtomicU8, AtomicU32, Ordering};

use crate::index::{BufIdx, OwnedBuf};

/// In the depot, in a magazine, or a spare.
const FREE: u8 = 0;
/// Handed to OVS.
const IN_FLIGHT: u8 = 1;
/// `Header::buf` of a packet that has no buffer: buffer 0 is never valid.
const NO_BUF: u32 = 0;

/// All accesses are relaxed: one thread at a time has the packet, and how it changes hands (a
/// magazine under the depot's lock, OVS's own queues) orders them. Atomics, because `netmap/show`
/// reads `state` at any time, and so that a shared reference is enough.
#[repr(C, align(64))]
struct Header {
    /// malloc memory that holds the data since OVS resized the packet; null before.
    moved: AtomicPtr<c_void>,
    /// Which pool the packet belongs to: [`crate::pool::Pool::id`].
    pool_id: u64,
    /// Index of that pool in the tables of pools.
    pool_slot: u32,
    /// The packet's buffer, or `NO_BUF`.
    buf: AtomicU32,
    /// `FREE` or `IN_FLIGHT`.
    state: AtomicU8,
}

const HEADER_SIZE: usize = size_of::<Header>();
const _: () = assert!(HEADER_SIZE == 64 && align_of::<Header>() == 64);

/// What the library must know of OVS's `struct dp_packet`: its size, and how to set up a new one.
#[derive(Debug, Clone, Copy)]
pub struct PacketLayout {
    /// `sizeof(struct dp_packet)`.
    pub size: usize,
    /// Called once for each packet, on zeroed memory.
    pub init: fn(*mut c_void),
}

/// A packet with its buffer (or a spare without), in this library's hands: exactly one `Packet`
/// exists for each header while the packet is not in flight. Move-only.
pub struct Packet(NonNull<Header>);

// SAFETY: a packet is plain memory that belongs to whoever has the value; nothing ties it to a
// thread.
#[allow(unsafe_code)]
unsafe impl Send for Packet {}

#[allow(unsafe_code)]
impl Packet {
    #[inline]
    fn header(&self) -> &Header {
        // SAFETY: the slab outlives its packets (the pool keeps both), and what changes in a header
        // is atomic.
        unsafe { self.0.as_ref() }
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
        self.header().pool_id
    }

    /// Index of its pool in the tables of pools.
    #[inline]
    pub fn pool_slot(&self) -> usize {
        self.header().pool_slot as usize
    }

    /// Gives the packet another buffer and returns the one it had.
    #[inline]
    pub fn exchange_buf(&mut self, buf: OwnedBuf) -> OwnedBuf {
        OwnedBuf(BufIdx(self.replace_buf(buf.idx().0)))
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

    /// Frees the malloc memory that a resize left, if any.
    #[inline]
    pub fn reset(self) -> Packet {
        let moved = &self.header().moved;
        let memory = moved.load(Ordering::Relaxed);
        if !memory.is_null() {
            moved.store(std::ptr::null_mut(), Ordering::Relaxed);
            // SAFETY: `moved_to` took ownership of this malloc memory, and it is freed once.
            unsafe { libc::free(memory) };
        }
        self
    }

    /// Hands the packet to OVS: the address of its `struct dp_packet`.
    #[inline]
    pub fn into_raw(self) -> *mut c_void {
        self.header().state.store(IN_FLIGHT, Ordering::Relaxed);
        // SAFETY: a `struct dp_packet` follows the header in the slab.
        unsafe { self.0.as_ptr().cast::<u8>().add(HEADER_SIZE).cast() }
    }

    /// Takes a packet back from OVS. `None`, and no effect, when it was not in flight: freed twice.
    ///
    /// # Safety
    ///
    /// `raw` came from [`Packet::into_raw`], and its pool is still there, which it is as long as
    /// the packet is in flight. No other thread uses the packet.
    #[inline]
    pub unsafe fn from_raw(raw: *mut c_void) -> Option<Packet> {
        // SAFETY: the header stands in front of the `struct dp_packet` (`into_raw`).
        let packet = unsafe { header_of(raw) }?;
        let state = &packet.header().state;
        if state.load(Ordering::Relaxed) != IN_FLIGHT {
            return None;
        }
        state.store(FREE, Ordering::Relaxed);
        Some(packet)
    }

    /// Notes that a packet in flight has its data in `memory`, from malloc, from now on. Memory of
    /// an earlier resize is freed.
    ///
    /// # Safety
    ///
    /// As for [`Packet::from_raw`]; `memory` is the caller's, and becomes the packet's.
    pub unsafe fn moved_to(raw: *mut c_void, memory: *mut c_void) {
        // SAFETY: as in `from_raw`.
        if let Some(packet) = unsafe { header_of(raw) } {
            let packet = packet.reset();
            packet.header().moved.store(memory, Ordering::Relaxed);
        }
    }
}

/// A packet that OVS has and lends for the time of a call.
#[derive(Clone, Copy)]
pub struct InFlight<'a> {
    header: &'a Header,
}

#[allow(unsafe_code)]
impl<'a> InFlight<'a> {
    /// The packet whose `struct dp_packet` is at `raw`; `None` for null.
    ///
    /// # Safety
    ///
    /// As for [`Packet::from_raw`], during `'a`.
    #[inline]
    pub unsafe fn new(raw: *mut c_void) -> Option<InFlight<'a>> {
        // SAFETY: the header stands in front of the `struct dp_packet`, and changes by atomics only.
        unsafe {
            header_of(raw).map(|packet| InFlight {
                header: packet.0.as_ref(),
            })
        }
    }

    /// Which pool it belongs to.
    #[inline]
    pub fn pool_id(&self) -> u64 {
        self.header.pool_id
    }

    /// Index of its buffer.
    #[inline]
    pub fn buf_idx(&self) -> BufIdx {
        BufIdx(self.header.buf.load(Ordering::Relaxed))
    }

    /// Whether its data left the buffer for malloc memory.
    #[inline]
    pub fn is_moved(&self) -> bool {
        !self.header.moved.load(Ordering::Relaxed).is_null()
    }

    /// Gives the packet another buffer and returns the one it had.
    #[inline]
    pub fn exchange_buf(&self, buf: OwnedBuf) -> OwnedBuf {
        let old = self.buf_idx();
        self.header.buf.store(buf.idx().0, Ordering::Relaxed);
        OwnedBuf(old)
    }
}

/// The packet whose `struct dp_packet` is at `raw`; `None` for null.
///
/// # Safety
///
/// As for [`Packet::from_raw`].
#[inline]
#[allow(unsafe_code)]
unsafe fn header_of(raw: *mut c_void) -> Option<Packet> {
    let raw = NonNull::new(raw.cast::<u8>())?;
    // SAFETY: by the caller's promise the header is in the same slab, `HEADER_SIZE` bytes before.
    Some(Packet(unsafe { raw.sub(HEADER_SIZE).cast() }))
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
    /// `count` (> 0) spares of the pool `pool_id`, and the slab that they lie in. The slab must
    /// outlive them.
    pub fn new(
        count: usize,
        packet: PacketLayout,
        pool_id: u64,
        pool_slot: usize,
    ) -> (Slab, Vec<Packet>) {
        let stride = HEADER_SIZE + packet.size.next_multiple_of(HEADER_SIZE);
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
                    moved: AtomicPtr::new(std::ptr::null_mut()),
                    pool_id,
                    pool_slot: pool_slot as u32,
                    buf: AtomicU32::new(NO_BUF),
                    state: AtomicU8::new(FREE),
                });
                (packet.init)(header.as_ptr().cast::<u8>().add(HEADER_SIZE).cast());
            }
            Packet(header)
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
        let state = |i: usize| {
            // SAFETY: a header of this slab, whose changing fields are atomic.
            let header = unsafe { self.base.add(i * self.stride).cast::<Header>().as_ref() };
            header.state.load(Ordering::Relaxed)
        };
        (0..self.count).filter(|&i| state(i) == IN_FLIGHT).count()
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
