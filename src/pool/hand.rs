// SPDX-License-Identifier: Apache-2.0
//! Packets where OVS has them: in its own arrays of `struct dp_packet *`.
//!
//! A `Packet` is that address, so a burst goes from a cache into the array, and from the array into a
//! cache, as a block of memory.

use std::ffi::c_void;
use std::marker::PhantomData;
use std::mem::{MaybeUninit, size_of};

use super::Pool;
use super::header::{LaunchPad, Packet};
use super::layout::Frame;
use crate::index::OwnedBuf;

const _: () = assert!(size_of::<Packet>() == size_of::<*mut c_void>());

/// An array to receive packets in:
///
/// ```text
///   | OVS's | OVS's | ready | ready |       |       |
///     0               given           filled
/// ```
pub struct Hand<'a> {
    pool: &'a Pool,
    array: &'a mut [MaybeUninit<Packet>],
    given: usize,
    filled: usize,
}

#[allow(unsafe_code)]
impl<'a> Hand<'a> {
    /// Packets of `pool` in `array`, none as yet.
    #[inline]
    pub fn new(pool: &'a Pool, array: &'a mut [MaybeUninit<*mut c_void>]) -> Hand<'a> {
        let array = std::ptr::from_mut(array) as *mut [MaybeUninit<Packet>];
        Hand {
            pool,
            // SAFETY: the elements have the same size and alignment (`Packet` is transparent), the
            // array is borrowed for `'a`, and no value is read that was not written here.
            array: unsafe { &mut *array },
            given: 0,
            filled: 0,
        }
    }

    /// The pool.
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

    /// Sees to it that `n` packets (at most [`Hand::room`]) are ready, as far as the pool has them;
    /// returns how many are.
    #[inline]
    pub fn fill(&mut self, n: usize) -> usize {
        let end = self.given + n;
        if self.filled < end {
            self.filled += self.pool.take(&mut self.array[self.filled..end]);
        }
        self.filled - self.given
    }

    /// The packets that are ready, in order. Those that are launched, the first ones, must be given
    /// before this or [`Hand::fill`] is called again.
    #[inline]
    pub fn ready(&mut self) -> impl ExactSizeIterator<Item = Ready<'_>> {
        let launch = self.pool.launch_pad();
        let ready = &self.array[self.given..self.filled];
        ready.iter().map(move |packet| Ready {
            // SAFETY: `fill` wrote the elements up to `filled`. This is a second value for the packet,
            // which the first in the array gives way to with `give`.
            packet: unsafe { packet.assume_init_read() },
            launch,
            hand: PhantomData,
        })
    }

    /// The first `n` that were ready were launched: they are OVS's.
    #[inline]
    pub fn give(&mut self, n: usize) {
        self.given += n.min(self.filled - self.given);
    }
}

impl Drop for Hand<'_> {
    /// Puts back what is still ready: rare, something was odd about the frames.
    #[inline]
    fn drop(&mut self) {
        if self.filled > self.given {
            // SAFETY: `fill` wrote these, and OVS did not get them.
            #[allow(unsafe_code)]
            self.pool
                .put(unsafe { Run::new(&mut self.array[self.given..self.filled]) });
        }
    }
}

/// A packet of a [`Hand`] that is about to be OVS's.
pub struct Ready<'h> {
    packet: Packet,
    launch: LaunchPad,
    hand: PhantomData<&'h mut Packet>,
}

impl Ready<'_> {
    /// Gives it another buffer and returns the one it had.
    #[inline]
    pub fn exchange_buf(&mut self, buf: OwnedBuf) -> OwnedBuf {
        self.packet.exchange_buf(buf)
    }

    /// Puts `frame` into it, and marks it as OVS's.
    #[inline]
    #[allow(unsafe_code)]
    pub fn launch(self, frame: Frame) {
        // SAFETY: it comes from the pool that the launch pad is that of.
        unsafe { self.packet.launch(self.launch, frame) };
    }
}

/// Packets of ours in somebody's array, to be taken out of it.
pub struct Run<'a>(&'a mut [MaybeUninit<Packet>]);

#[allow(unsafe_code)]
impl<'a> Run<'a> {
    /// The packets in `array`.
    ///
    /// # Safety
    ///
    /// Each element is a packet, which nobody else has, and is not used after that.
    #[inline]
    pub unsafe fn new(array: &'a mut [MaybeUninit<Packet>]) -> Run<'a> {
        Run(array)
    }

    /// The packets in `array`, which came back from OVS.
    ///
    /// # Safety
    ///
    /// As for [`Run::new`]: each was taken by [`Packet::from_raw`] or [`super::PlainTag::take`], and the
    /// result was forgotten.
    #[inline]
    pub unsafe fn of_raw(array: &'a mut [*mut c_void]) -> Run<'a> {
        let array = std::ptr::from_mut(array) as *mut [MaybeUninit<Packet>];
        // SAFETY: the elements have the same size and alignment, and are packets.
        Run(unsafe { &mut *array })
    }

    /// How many there are.
    #[inline]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// Moves all of them to the end of `to`.
    #[inline]
    pub(super) fn append_to(self, to: &mut Vec<Packet>) {
        let n = self.0.len();
        to.reserve(n);
        // SAFETY: by the promise of `new` these are packets, and moved; there is room for them.
        unsafe {
            let end = to.as_mut_ptr().add(to.len());
            std::ptr::copy_nonoverlapping(self.0.as_ptr().cast(), end, n);
            to.set_len(to.len() + n);
        }
    }
}

impl Iterator for Run<'_> {
    type Item = Packet;

    fn next(&mut self) -> Option<Packet> {
        let array = std::mem::take(&mut self.0);
        let (first, rest) = array.split_first_mut()?;
        self.0 = rest;
        // SAFETY: by the promise of `new` it is a packet, and it is moved, once.
        #[allow(unsafe_code)]
        Some(unsafe { first.assume_init_read() })
    }
}
