// SPDX-License-Identifier: Apache-2.0
//! Packets of ours in an array of `struct dp_packet *` that is OVS's, or was.

use std::ffi::c_void;
use std::mem::{MaybeUninit, size_of};

use super::header::Packet;

const _: () = assert!(size_of::<Packet>() == size_of::<*mut c_void>());

/// Packets of ours in somebody's array, to be taken out of it.
pub struct PacketSlice<'a>(&'a mut [MaybeUninit<Packet>]);

#[allow(unsafe_code)]
impl<'a> PacketSlice<'a> {
    /// The packets in `array`.
    ///
    /// # Safety
    ///
    /// Each element is a packet, which nobody else has, and is not used after that.
    #[inline]
    pub unsafe fn new(array: &'a mut [MaybeUninit<Packet>]) -> PacketSlice<'a> {
        PacketSlice(array)
    }

    /// The packets in `array`, which came back from OVS.
    ///
    /// # Safety
    ///
    /// As for [`PacketSlice::new`]: each was taken by [`Packet::from_raw`] or [`super::InFlightTag::take`], and the
    /// result was forgotten.
    #[inline]
    pub unsafe fn of_raw(array: &'a mut [*mut c_void]) -> PacketSlice<'a> {
        let array = std::ptr::from_mut(array) as *mut [MaybeUninit<Packet>];
        // SAFETY: the elements have the same size and alignment, and are packets.
        PacketSlice(unsafe { &mut *array })
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

impl Iterator for PacketSlice<'_> {
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
