// SPDX-License-Identifier: Apache-2.0
//! What the sender of a frame asks of an engine, written in front of the frame.
//!
//! It is AF_XDP's `struct xsk_tx_metadata` (Linux 6.8), in as many bytes as the newest kernel's:
//!
//! ```text
//!   | flags: u64 | csum_start: u16 | csum_offset: u16 | 0 ... | frame ...
//!   0            8                 10                 12      24
//! ```
#![forbid(unsafe_code)]

use crate::csum::Partial;

/// Bytes that it takes: no frame starts nearer to the start of its buffer in a ring that has it.
pub const TX_METADATA_LEN: u32 = 24;

/// Flag of a slot, between this library and its engines only: there is such in front of the frame. Netmap
/// has no flag of this value.
pub const NS_TX_METADATA: u16 = 0x80;

/// `XDP_TXMD_FLAGS_CHECKSUM`: complete the checksum.
const FLAGS_CHECKSUM: u64 = 1 << 1;

/// Asks for the checksum at `partial` to be completed.
pub fn checksum(partial: Partial) -> [u8; TX_METADATA_LEN as usize] {
    let mut bytes = [0; TX_METADATA_LEN as usize];
    bytes[..8].copy_from_slice(&FLAGS_CHECKSUM.to_ne_bytes());
    bytes[8..10].copy_from_slice(&partial.start.to_ne_bytes());
    bytes[10..12].copy_from_slice(&partial.offset.to_ne_bytes());
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_os = "linux")]
    fn it_is_what_the_kernel_expects() {
        use std::mem::{offset_of, size_of};

        let partial = Partial {
            start: 0x1234,
            offset: 0x5678,
        };
        let bytes = checksum(partial);
        assert_eq!(FLAGS_CHECKSUM, u64::from(libc::XDP_TXMD_FLAGS_CHECKSUM));
        assert_eq!(bytes[..8], FLAGS_CHECKSUM.to_ne_bytes());
        type Metadata = libc::xsk_tx_metadata;
        let request = offset_of!(Metadata, xsk_tx_metadata_union);
        assert_eq!(bytes[request..request + 2], partial.start.to_ne_bytes());
        assert_eq!(
            bytes[request + 2..request + 4],
            partial.offset.to_ne_bytes()
        );
        assert!(bytes.len() >= size_of::<Metadata>());
    }
}
