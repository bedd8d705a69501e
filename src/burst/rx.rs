// SPDX-License-Identifier: Apache-2.0
//! A burst being received: packets of ours that go into OVS's array, to be handed out with a frame.

use std::cell::Cell;
use std::ffi::c_void;
use std::marker::PhantomData;
use std::mem::MaybeUninit;

use crate::bytes::RawBytesMut;
use crate::index::OwnedBuf;
use crate::policer::Policer;
use crate::pool::{self, Frame, InFlightTag, OwnMemory, Packet, PacketLayout, PacketSlice, Pool};
use crate::region::RawBytes;

/// An array to receive packets in:
///
/// ```text
///   | OVS's | OVS's | ready | ready |       |       |
///     0               given           filled
/// ```
pub struct RxBurst<'a> {
    pool: &'a Pool,
    array: &'a mut [MaybeUninit<Packet>],
    given: usize,
    filled: usize,
}

#[allow(unsafe_code)]
impl<'a> RxBurst<'a> {
    /// Packets of `pool` in `array`, none as yet.
    #[inline]
    pub fn new(pool: &'a Pool, array: &'a mut [MaybeUninit<*mut c_void>]) -> RxBurst<'a> {
        let array = std::ptr::from_mut(array) as *mut [MaybeUninit<Packet>];
        RxBurst {
            pool,
            // SAFETY: the elements have the same size and alignment (`Packet` is transparent), the
            // array is borrowed for `'a`, and no value is read that was not written here.
            array: unsafe { &mut *array },
            given: 0,
            filled: 0,
        }
    }

    #[inline]
    pub fn pool(&self) -> &'a Pool {
        self.pool
    }

    /// How many packets OVS got.
    #[inline]
    pub fn given(&self) -> usize {
        self.given
    }

    /// How many more it can get.
    #[inline]
    pub fn room(&self) -> usize {
        self.array.len() - self.given
    }

    /// Sees to it that `n` packets (at most [`RxBurst::room`]) are ready, as far as the pool has them;
    /// returns how many are.
    #[inline]
    pub fn fill(&mut self, n: usize) -> usize {
        let end = self.given + n;
        if self.filled < end {
            self.filled += self.pool.take(&mut self.array[self.filled..end]);
        }
        self.filled - self.given
    }

    /// The packets that are ready, in order. Those that are handed out, the first ones, must be passed
    /// by [`RxBurst::handed_out`] before this or [`RxBurst::fill`] is called again.
    #[inline]
    pub fn ready(&mut self) -> impl ExactSizeIterator<Item = ReadyPacket<'_>> {
        let (tag, layout) = (InFlightTag::of(self.pool.id()), self.pool.layout());
        let own_size = self.pool.own_size();
        let ready = &self.array[self.given..self.filled];
        ready.iter().map(move |packet| ReadyPacket {
            // SAFETY: `fill` wrote the elements up to `filled`. This is a second value for the packet;
            // either it is forgotten, or the one in the array is, as OVS's (`handed_out`).
            packet: unsafe { packet.assume_init_read() },
            tag,
            layout,
            own_size,
            burst: PhantomData,
        })
    }

    /// The first `n` that were ready were handed out: they are OVS's.
    #[inline]
    pub fn handed_out(&mut self, n: usize) {
        self.given += n.min(self.filled - self.given);
    }

    /// Takes back those of the packets given since [`RxBurst::given`] was `first` that `policer` does not let
    /// pass. Returns how many.
    #[cold]
    pub fn police(&mut self, first: usize, policer: &Policer) -> usize {
        let layout = self.pool.layout();
        let packets = Cell::from_mut(&mut self.array[first..self.given]).as_slice_of_cells();
        let length = |packet: &Cell<MaybeUninit<Packet>>| {
            // SAFETY: elements up to `given` were written, are packets of `pool`, and are only moved here,
            // which nobody does while this reference lives.
            unsafe { (*packet.as_ptr()).assume_init_ref().frame(&layout) }.size
        };
        let dropped = policer.sift(packets, length);
        if dropped > 0 {
            self.take_back(dropped);
        }
        dropped
    }

    /// Puts the last `n` packets given back to the pool.
    fn take_back(&mut self, n: usize) {
        let last = self.given - n..self.given;
        for packet in &self.array[last.clone()] {
            // SAFETY: written, and moved out of the array, which forgets it below.
            let packet = unsafe { packet.assume_init_read() };
            if let Some(packet) = packet.take_back() {
                pool::free(packet);
            }
        }
        // What is ready stays right behind what is given.
        self.array[last.start..self.filled].rotate_left(n);
        self.given -= n;
        self.filled -= n;
    }

    /// The bytes of the frames that were given since [`RxBurst::given`] was `first`, which OVS has not
    /// seen yet.
    #[inline]
    pub fn frames_since(&self, first: usize) -> impl Iterator<Item = RawBytesMut<'_>> {
        let pool = self.pool;
        self.array[first..self.given].iter().map(move |packet| {
            // SAFETY: elements up to `given` were written, and are packets of `pool`.
            let frame = unsafe { packet.assume_init_ref().frame(&pool.layout()) };
            let data = frame.base.wrapping_add(frame.data_ofs as usize);
            // SAFETY: a. `hand_out` was given a frame inside its buffer, which is the packet's; b. nobody
            // makes references to the bytes of buffers, nor OVS before the burst is its own.
            unsafe { RawBytesMut::new(data, frame.size as usize) }
        })
    }
}

impl Drop for RxBurst<'_> {
    /// Puts back what is still ready: rare, something was odd about the frames.
    #[inline]
    fn drop(&mut self) {
        if self.filled > self.given {
            // SAFETY: `fill` wrote these, and OVS did not get them.
            #[allow(unsafe_code)]
            self.pool
                .put(unsafe { PacketSlice::new(&mut self.array[self.given..self.filled]) });
        }
    }
}

/// A packet of a [`RxBurst`] that is about to be OVS's.
pub struct ReadyPacket<'b> {
    packet: Packet,
    tag: InFlightTag,
    layout: PacketLayout,
    own_size: u16,
    burst: PhantomData<&'b mut Packet>,
}

impl ReadyPacket<'_> {
    /// Gives it another buffer and returns the one it had.
    #[inline]
    pub fn exchange_buf(&mut self, buf: OwnedBuf) -> OwnedBuf {
        self.packet.exchange_buf(buf)
    }

    /// Bytes of its own memory.
    #[inline]
    pub fn own_size(&self) -> u16 {
        self.own_size
    }

    /// Copies `bytes` to `at` in its own memory. False, and nothing written, if it has no room for them.
    #[inline]
    #[allow(unsafe_code)]
    pub fn write_own(&mut self, at: usize, bytes: RawBytes<'_>) -> bool {
        let end = at.checked_add(bytes.len());
        let fits = end.is_some_and(|end| end <= self.own_size.into());
        if fits {
            // SAFETY: a packet of the pool whose layout and size these are, so that the destination is
            // inside its own memory (`fits`); the source is readable (`RawBytes::new`) and elsewhere.
            unsafe {
                let to = self.packet.own_memory(&self.layout).add(at);
                std::ptr::copy_nonoverlapping(bytes.as_ptr(), to.as_ptr(), bytes.len());
            }
        }
        fits
    }

    /// Hands it to OVS, with the `size` bytes at `data_ofs` in its own memory as its frame.
    #[inline]
    #[allow(unsafe_code)]
    pub fn hand_out_own(self, data_ofs: u16, size: u32) {
        // SAFETY: a packet of the pool whose layout and tag these are; it is ours until `give_copied`.
        unsafe {
            let frame = Frame {
                base: self.packet.own_memory(&self.layout).as_ptr(),
                allocated: self.own_size,
                data_ofs,
                size,
            };
            self.layout.set_frame(self.packet.raw(), frame);
            self.tag.give_copied(self.packet);
        }
    }

    /// Hands it to OVS, with `frame` in it.
    #[inline]
    #[allow(unsafe_code)]
    pub fn hand_out(self, frame: Frame) {
        // SAFETY: a packet of the pool whose layout and tag these are; it is ours until `give`.
        unsafe {
            self.layout.set_frame(self.packet.raw(), frame);
            self.tag.give(self.packet);
        }
    }

    /// As [`ReadyPacket::hand_out`], with the `size` bytes from the byte `at` of `memory` on as its frame. Its
    /// buffer stays unused.
    #[allow(unsafe_code)]
    pub fn hand_out_moved(self, memory: OwnMemory, at: u16, size: u32) {
        let raw = self.packet.raw();
        let frame = memory.frame(at, size);
        self.hand_out(frame);
        // SAFETY: just handed out, and OVS has not seen it yet; the memory is from malloc.
        unsafe { Packet::moved_to(raw, memory.into_raw()) };
    }
}
