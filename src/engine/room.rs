// SPDX-License-Identifier: Apache-2.0
//! How long the frames of a port may be.
#![forbid(unsafe_code)]

use super::{LARGEST_MTU, LONGEST_FRAME, largest_mtu, longest_frame, mtu_advice};

/// What frames a port takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FrameRoom {
    /// Such that fit into a buffer of so many bytes, behind the headroom.
    Buffer(u32),
    /// Longer ones, too, over several slots.
    SeveralSlots,
}

impl FrameRoom {
    /// Longest frame.
    pub fn longest_frame(self) -> u32 {
        match self {
            FrameRoom::Buffer(buf_size) => longest_frame(buf_size),
            FrameRoom::SeveralSlots => LONGEST_FRAME,
        }
    }

    /// Largest MTU.
    pub fn largest_mtu(self) -> u32 {
        match self {
            FrameRoom::Buffer(buf_size) => largest_mtu(longest_frame(buf_size)),
            FrameRoom::SeveralSlots => LARGEST_MTU,
        }
    }

    /// What a user can do about an MTU of `mtu` that is too large.
    pub fn mtu_advice(self, mtu: u32) -> String {
        match self {
            FrameRoom::Buffer(buf_size) => mtu_advice(mtu, buf_size),
            FrameRoom::SeveralSlots => format!("lower the MTU to {LARGEST_MTU}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_of_the_largest_mtu_have_room() {
        let room = FrameRoom::SeveralSlots;
        assert_eq!((room.largest_mtu(), room.longest_frame()), (9216, 9238));
        assert_eq!(room.mtu_advice(9217), "lower the MTU to 9216");
        let room = FrameRoom::Buffer(2048);
        assert_eq!((room.largest_mtu(), room.longest_frame()), (1774, 1792));
    }
}
