// SPDX-License-Identifier: Apache-2.0
//! Frames to send as C hands them over: an array of descriptors, as [`crate::tx::Frames`].

use std::ffi::c_void;
use std::marker::PhantomData;

use crate::pool::{InFlight, Packet};
use crate::region::RawBytes;
use crate::tx::{Frame, Frames};

/// A frame to send.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct TxDesc {
    /// The `struct dp_packet`, if its source is DPBUF_NETMAP; else NULL, and the frame is copied.
    pub packet: *mut c_void,
    /// First byte of the frame.
    pub data: *const c_void,
    /// Bytes of the frame.
    pub size: u32,
}

/// Descriptors whose packets were handed over, to be sent once.
pub struct TxDescs<'a> {
    descs: &'a [TxDesc],
    packets: PhantomData<&'a mut Packet>,
}

impl<'a> TxDescs<'a> {
    /// The frames of `descs`.
    ///
    /// # Safety
    ///
    /// a. Each `packet` is null or came from [`Packet::into_raw`], and nobody else uses it during
    ///    `'a`; no packet is in the array twice.
    /// b. Each `data` is readable for `size` bytes during `'a`.
    #[allow(unsafe_code)]
    pub unsafe fn new(descs: &'a [TxDesc]) -> TxDescs<'a> {
        TxDescs {
            descs,
            packets: PhantomData,
        }
    }
}

#[allow(unsafe_code)]
impl Frames for TxDescs<'_> {
    #[inline]
    fn count(&self) -> usize {
        self.descs.len()
    }

    #[inline]
    fn frame(&self, i: usize) -> Frame<'_> {
        let desc = &self.descs[i];
        Frame {
            // SAFETY: `new` a.; a packet that was taken already keeps its memory, as its pool is the
            // sender's or has a packet in flight.
            packet: unsafe { InFlight::new(desc.packet) },
            // SAFETY: `new` b.
            data: unsafe { RawBytes::new(desc.data.cast(), desc.size as usize) },
        }
    }

    #[inline]
    fn take(&mut self, i: usize) -> Option<Packet> {
        // SAFETY: `new` a.; a second call for the same packet gives `None`.
        unsafe { Packet::from_raw(self.descs[i].packet) }
    }
}
