// SPDX-License-Identifier: Apache-2.0
//! What the library reads and writes in OVS's `struct dp_packet`, wherever that has it in this release.

use std::ffi::c_void;
use std::mem::{align_of, size_of};

/// Where the bytes of a packet's frame are: a part of OVS's `struct dp_packet`, in the same order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct Frame {
    /// First byte of the memory that the frame is in.
    pub base: *mut u8,
    /// Bytes at `base`.
    pub allocated: u16,
    /// Where in them the frame starts.
    pub data_ofs: u16,
    /// Bytes of the frame.
    pub size: u32,
}

/// What the library must know of OVS's `struct dp_packet`.
#[derive(Debug, Clone, Copy)]
pub struct PacketLayout {
    pub(super) size: usize,
    frame_ofs: usize,
    source_ofs: usize,
    source: u8,
    pub(super) init: fn(*mut c_void),
}

impl PacketLayout {
    /// Packets of `size` bytes, with their [`Frame`] at `frame_ofs`. The byte at `source_ofs` is
    /// `source` in those of this library, for ever: `init`, which is called once for each packet on
    /// zeroed memory, makes it so. `None` when that is not inside a packet, or the frame not aligned.
    pub fn new(
        size: usize,
        frame_ofs: usize,
        source_ofs: usize,
        source: u8,
        init: fn(*mut c_void),
    ) -> Option<PacketLayout> {
        let frame_end = frame_ofs.checked_add(size_of::<Frame>())?;
        let good =
            frame_end <= size && frame_ofs.is_multiple_of(align_of::<Frame>()) && source_ofs < size;
        good.then_some(PacketLayout {
            size,
            frame_ofs,
            source_ofs,
            source,
            init,
        })
    }

    /// Whether the packet at `raw` is one of this library's.
    ///
    /// # Safety
    ///
    /// `raw` is a packet of OVS.
    #[inline]
    #[allow(unsafe_code)]
    pub unsafe fn is_own(&self, raw: *mut c_void) -> bool {
        // SAFETY: `new` made sure that the byte is part of the packet.
        unsafe { raw.cast::<u8>().add(self.source_ofs).read() == self.source }
    }

    /// Where the frame of the packet at `raw` is.
    ///
    /// # Safety
    ///
    /// `raw` is a packet of OVS.
    #[inline]
    #[allow(unsafe_code)]
    pub unsafe fn frame_of(&self, raw: *mut c_void) -> Frame {
        // SAFETY: `new` made sure that the frame is part of the packet, and aligned as that is.
        unsafe { self.frame_at(raw).read() }
    }

    /// Says where the frame of the packet at `raw` is.
    ///
    /// # Safety
    ///
    /// `raw` is a packet of OVS that nobody else uses.
    #[inline]
    #[allow(unsafe_code)]
    pub unsafe fn set_frame(&self, raw: *mut c_void, frame: Frame) {
        // SAFETY: as in `frame_of`.
        unsafe { self.frame_at(raw).write(frame) };
    }

    #[inline]
    fn frame_at(&self, raw: *mut c_void) -> *mut Frame {
        raw.cast::<u8>().wrapping_add(self.frame_ofs).cast()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frame_lies_in_the_packet() {
        let fits = |frame_ofs| PacketLayout::new(64, frame_ofs, 0, 1, |_| {}).is_some();
        assert!(fits(0) && fits(48));
        assert!(!fits(56) && !fits(49) && !fits(4) && !fits(usize::MAX - 7));
    }

    #[test]
    fn the_source_lies_in_the_packet() {
        let fits = |source_ofs| PacketLayout::new(64, 0, source_ofs, 1, |_| {}).is_some();
        assert!(fits(0) && fits(63));
        assert!(!fits(64) && !fits(usize::MAX));
    }
}
