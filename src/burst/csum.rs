// SPDX-License-Identifier: Apache-2.0
//! Packets of a burst whose checksums are partial, as they are told to and by Open vSwitch.
#![forbid(unsafe_code)]

use std::mem::MaybeUninit;

use crate::csum::Partial;

/// A packet of a burst whose checksum is partial: the field has the sum of the pseudo header, neither more
/// nor inverted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct PacketCsum {
    /// Its place in the burst, from 0.
    pub packet: u16,
    /// Where the bytes start that the checksum is for, in the frame; they end with it.
    pub start: u16,
    /// Where the checksum is, from there.
    pub offset: u16,
}

impl PacketCsum {
    /// Where the checksum is in the frame.
    #[inline]
    pub fn partial(self) -> Partial {
        Partial {
            start: self.start,
            offset: self.offset,
        }
    }
}

/// Room for what of a received burst is partial.
pub struct CsumList<'a> {
    room: &'a mut [MaybeUninit<PacketCsum>],
    len: usize,
}

impl<'a> CsumList<'a> {
    /// Nothing as yet.
    pub fn new(room: &'a mut [MaybeUninit<PacketCsum>]) -> CsumList<'a> {
        CsumList { room, len: 0 }
    }

    /// How many are in it.
    pub fn count(&self) -> usize {
        self.len
    }

    /// Whether one more has room, the packet in the place `packet`.
    #[inline]
    pub fn has_room(&self, packet: usize) -> bool {
        self.len < self.room.len() && packet <= u16::MAX.into()
    }

    /// Adds one; what has no room is lost.
    #[inline]
    pub fn push(&mut self, packet: usize, partial: Partial) {
        if self.has_room(packet) {
            self.room[self.len].write(PacketCsum {
                packet: packet as u16,
                start: partial.start,
                offset: partial.offset,
            });
            self.len += 1;
        }
    }
}
