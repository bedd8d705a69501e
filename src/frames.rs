// SPDX-License-Identifier: Apache-2.0
//! Frames to send as C hands them over: an array of descriptors, whose packets can be taken once.

use std::ffi::c_void;
use std::marker::PhantomData;

use crate::pool::Packet;
use crate::region::RawBytes;

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

#[allow(unsafe_code)]
impl<'a> TxDescs<'a> {
    /// The frames of `descs`.
    ///
    /// # Safety
    ///
    /// a. Each `packet` is null or came from [`Packet::into_raw`], and nobody else uses it during
    ///    `'a`; no packet is in the array twice.
    /// b. Each `data` is readable for `size` bytes during `'a`.
    pub unsafe fn new(descs: &'a [TxDesc]) -> TxDescs<'a> {
        TxDescs {
            descs,
            packets: PhantomData,
        }
    }

    /// How many.
    #[inline]
    pub fn count(&self) -> usize {
        self.descs.len()
    }

    /// The frames from number `first` on.
    #[inline]
    pub fn from(&self, first: usize) -> impl Iterator<Item = Frame<'a>> {
        self.descs[first..].iter().map(|desc| Frame { desc })
    }
}

/// A frame to send: a descriptor of [`TxDescs`].
#[derive(Clone, Copy)]
pub struct Frame<'a> {
    desc: &'a TxDesc,
}

#[allow(unsafe_code)]
impl<'a> Frame<'a> {
    /// Its bytes.
    #[inline]
    pub fn data(&self) -> RawBytes<'a> {
        // SAFETY: `TxDescs::new` b.
        unsafe { RawBytes::new(self.desc.data.cast(), self.desc.size as usize) }
    }

    /// Takes its packet. `None` when it has none or that was taken before.
    #[inline]
    pub fn take(&self) -> Option<Packet> {
        // SAFETY: `TxDescs::new` a.; a packet that was taken is not in flight, and its memory is
        // there as long as whoever took it has not put it back.
        unsafe { Packet::from_raw(self.desc.packet) }
    }

    /// As [`Frame::take`], but only a packet of the pool `pool_id` whose data is in its buffer.
    #[inline]
    pub fn take_plain(&self, pool_id: u64) -> Option<Packet> {
        // SAFETY: as in `take`.
        unsafe { Packet::plain_from_raw(self.desc.packet, pool_id) }
    }
}
