// SPDX-License-Identifier: Apache-2.0
//! Memory of a packet's own, for a frame that no buffer holds.

use std::ffi::c_void;
use std::ptr::{self, NonNull};

use super::layout::Frame;
use crate::region::RawBytes;

/// Memory from malloc, as OVS has it for a packet whose data it moved out of its buffer: what is left of it
/// is freed with the packet.
pub struct OwnMemory {
    base: NonNull<u8>,
    len: usize,
}

// SAFETY: plain memory that belongs to whoever has the value.
#[allow(unsafe_code)]
unsafe impl Send for OwnMemory {}

#[allow(unsafe_code)]
impl OwnMemory {
    /// `len` bytes, at most 65535. `None` when there are not so many.
    pub fn new(len: u16) -> Option<OwnMemory> {
        // SAFETY: any size will do.
        let base = unsafe { libc::malloc(len as usize) };
        Some(OwnMemory {
            base: NonNull::new(base)?.cast(),
            len: len as usize,
        })
    }

    /// Copies `src` to the byte `at`. False, and nothing written, unless it all fits.
    pub fn write(&mut self, at: usize, src: RawBytes<'_>) -> bool {
        let fits = at.checked_add(src.len()).is_some_and(|end| end <= self.len);
        if fits {
            // SAFETY: the destination lies inside (`fits`), the source is readable (`RawBytes::new`); both may
            // be written by others meanwhile, which garbles a frame.
            unsafe { ptr::copy(src.as_ptr(), self.base.as_ptr().add(at), src.len()) };
        }
        fits
    }

    /// The frame of `size` bytes from the byte `at` on, cut where the memory ends.
    pub fn frame(&self, at: u16, size: u32) -> Frame {
        let data_ofs = (at as usize).min(self.len);
        Frame {
            base: self.base.as_ptr(),
            allocated: self.len as u16,
            data_ofs: data_ofs as u16,
            size: size.min((self.len - data_ofs) as u32),
        }
    }

    /// The memory, for free().
    pub(crate) fn into_raw(self) -> *mut c_void {
        let base = self.base.as_ptr().cast();
        std::mem::forget(self);
        base
    }
}

impl Drop for OwnMemory {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: from malloc, and nobody else's.
        unsafe { libc::free(self.base.as_ptr().cast()) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_written_past_the_end() {
        let mut memory = OwnMemory::new(8).unwrap();
        assert!(memory.write(0, RawBytes::from(&b"01234567"[..])));
        assert!(!memory.write(7, RawBytes::from(&b"xy"[..])));
        assert!(!memory.write(usize::MAX, RawBytes::from(&b"xy"[..])));
        assert!(memory.write(6, RawBytes::from(&b"xy"[..])));
        let frame = memory.frame(6, 100);
        assert_eq!((frame.allocated, frame.data_ofs, frame.size), (8, 6, 2));
        // SAFETY: inside the memory, which was written.
        #[allow(unsafe_code)]
        let last = unsafe { frame.base.add(7).read() };
        assert_eq!(last, b'y');
        let frame = memory.frame(9, 1);
        assert_eq!((frame.data_ofs, frame.size), (8, 0));
    }
}
