// SPDX-License-Identifier: Apache-2.0
//! Bytes of a frame to look at and to change, that other threads or processes may be writing: no Rust
//! reference to them is made, they are read and written as values, inside bounds.

use std::marker::PhantomData;

/// Bytes somewhere in memory: an address and a length.
#[derive(Debug, Clone, Copy)]
pub struct RawBytesMut<'a> {
    ptr: *mut u8,
    len: usize,
    memory: PhantomData<&'a mut u8>,
}

#[allow(unsafe_code)]
impl<'a> RawBytesMut<'a> {
    /// `len` bytes at `ptr`.
    ///
    /// # Safety
    ///
    /// a. They are readable and writable during `'a`.
    /// b. Nobody has a Rust reference to them during `'a`.
    #[inline]
    pub unsafe fn new(ptr: *mut u8, len: usize) -> RawBytesMut<'a> {
        RawBytesMut {
            ptr,
            len,
            memory: PhantomData,
        }
    }

    /// Number of bytes.
    #[inline]
    pub fn len(self) -> usize {
        self.len
    }

    /// Whether there are none.
    #[cfg(feature = "test-utils")]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }

    /// The bytes from `at` on; `None` if that is past the end.
    #[inline]
    pub fn skip(self, at: usize) -> Option<RawBytesMut<'a>> {
        self.part(at, self.len.checked_sub(at)?)
    }

    /// `len` bytes from `at` on; `None` if they are not all there.
    #[inline]
    pub fn part(self, at: usize, len: usize) -> Option<RawBytesMut<'a>> {
        let inside = at.checked_add(len)? <= self.len;
        inside.then(|| RawBytesMut {
            ptr: self.ptr.wrapping_add(at),
            len,
            memory: PhantomData,
        })
    }

    /// Where in `whole` these bytes, which are some of its, begin; `None` if they do not end where it does.
    #[inline]
    pub fn start_if_end_of(self, whole: RawBytesMut<'_>) -> Option<usize> {
        let start = (self.ptr as usize).wrapping_sub(whole.ptr as usize);
        (start.wrapping_add(self.len) == whole.len).then_some(start)
    }

    /// A copy of `N` bytes from `at` on; `None` if they are not all there.
    #[inline]
    pub fn load<const N: usize>(self, at: usize) -> Option<[u8; N]> {
        let part = self.part(at, N)?;
        // SAFETY: inside of what is readable by `new` a.; an array of bytes needs no alignment. Whoever
        // writes them now makes the value one of these bytes or those.
        Some(unsafe { part.ptr.cast::<[u8; N]>().read() })
    }

    /// Overwrites `N` bytes from `at` on. False, and nothing written, if they are not all there.
    #[inline]
    pub fn store<const N: usize>(self, at: usize, bytes: [u8; N]) -> bool {
        let Some(part) = self.part(at, N) else {
            return false;
        };
        // SAFETY: inside of what is writable by `new` a., and nobody has a reference to it by `new` b.
        unsafe { part.ptr.cast::<[u8; N]>().write(bytes) };
        true
    }
}

impl<'a> From<&'a mut [u8]> for RawBytesMut<'a> {
    fn from(bytes: &'a mut [u8]) -> RawBytesMut<'a> {
        RawBytesMut {
            ptr: bytes.as_mut_ptr(),
            len: bytes.len(),
            memory: PhantomData,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_there_is_not_touched() {
        let mut bytes = *b"0123456789";
        let all = RawBytesMut::from(&mut bytes[..]);
        assert_eq!(all.load(8), Some(*b"89"));
        assert_eq!(all.load::<2>(9), None);
        assert_eq!(all.load::<2>(usize::MAX), None);
        assert!(all.skip(11).is_none() && all.skip(10).is_some_and(RawBytesMut::is_empty));
        let part = all.part(2, 4).unwrap();
        assert_eq!((part.len(), part.load(3)), (4, Some(*b"5")));
        assert_eq!(
            (
                part.start_if_end_of(all),
                all.part(2, 8).unwrap().start_if_end_of(all)
            ),
            (None, Some(2))
        );
        assert!(part.load::<1>(4).is_none() && all.part(8, 3).is_none());
        assert!(all.part(1, usize::MAX).is_none());
        assert!(part.store(2, *b"xy") && !part.store(3, *b"zz"));
        assert_eq!(&bytes, b"0123xy6789");
    }
}
