// SPDX-License-Identifier: Apache-2.0
//! Indices as types: a buffer in a region, who holds it, and a buffer that is ours alone.

/// Index of a buffer in a region, as it stands in a slot. It may come from shared memory, so it
/// proves nothing: only [`crate::region::Region`] turns it into bytes, after a check.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct BufIdx(pub u32);

impl BufIdx {
    /// netmap never hands out buffers 0 and 1 (`net/netmap.h`; 0 also ends the extra-buffer list).
    pub const FIRST_VALID: u32 = 2;
}

/// Who holds a buffer. Two bytes a buffer, one table a region.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(transparent)]
pub struct Owner(pub u16);

impl Owner {
    /// The other side: netmap's kernel module, its rings included, or nobody yet.
    pub const OUTSIDE: Owner = Owner(0);
    /// A packet of ours, wherever the packet is.
    pub const PACKET: Owner = Owner(1);
    /// Buffers that are never valid.
    pub const NOBODY: Owner = Owner(u16::MAX);
    /// The first number for the rings of a port of ours ([`crate::engine`] hands them out).
    pub const FIRST_PORT: u16 = 2;
}

/// A buffer that belongs to whoever has this value: not `Copy`, not `Clone`, made and taken apart
/// by [`crate::region::Region`] alone.
#[derive(Debug, PartialEq, Eq)]
#[repr(transparent)]
pub struct OwnedBuf(pub(crate) BufIdx);

impl OwnedBuf {
    /// Which buffer it is.
    #[inline]
    pub fn idx(&self) -> BufIdx {
        self.0
    }
}
