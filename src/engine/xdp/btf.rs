// SPDX-License-Identifier: Apache-2.0
//! The number of a kernel function that programs may call, from the kernel's type information
//! (Documentation/bpf/btf.rst): calls name such a function by the number of its type.
#![forbid(unsafe_code)]

use std::sync::OnceLock;

const KERNEL: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
/// `struct btf_type`.
const TYPE: usize = 12;
const KIND_FUNC: u32 = 12;

/// The number of the function that tells a frame's VLAN tag, which is not in the frame; `None` before
/// Linux 6.8, or where the kernel has no type information.
pub(super) fn rx_vlan_tag() -> Option<i32> {
    static FOUND: OnceLock<Option<i32>> = OnceLock::new();
    *FOUND.get_or_init(|| {
        let btf = std::fs::read(KERNEL).ok()?;
        function(&btf, b"bpf_xdp_metadata_rx_vlan_tag")
    })
}

/// The number of the function called `name` in `btf`. `None` when there is none, or `btf` is damaged.
fn function(btf: &[u8], name: &[u8]) -> Option<i32> {
    let half = |at: usize| Some(u16::from_ne_bytes(*btf.get(at..)?.first_chunk()?));
    let word = |at: usize| Some(u32::from_ne_bytes(*btf.get(at..)?.first_chunk()?));
    if half(0)? != MAGIC {
        return None;
    }
    // Offsets count from the end of the header, whose length is in it.
    let body = btf.get(word(4)? as usize..)?;
    let section = |at: usize| {
        let (start, len) = (word(at)? as usize, word(at + 4)? as usize);
        body.get(start..start.checked_add(len)?)
    };
    let (types, strings) = (section(8)?, section(16)?);
    let mut rest = types;
    // Number 0 is that of `void`, which has no entry.
    for number in 1.. {
        let [name_at, info, _] = words::<3>(rest)?;
        if kind(info) == KIND_FUNC && strings_match(strings, name_at as usize, name) {
            return Some(number);
        }
        rest = rest.get(TYPE + trailer(info)?..)?;
    }
    None
}

fn words<const N: usize>(bytes: &[u8]) -> Option<[u32; N]> {
    let mut words = [0; N];
    for (i, word) in words.iter_mut().enumerate() {
        *word = u32::from_ne_bytes(*bytes.get(4 * i..)?.first_chunk()?);
    }
    Some(words)
}

fn kind(info: u32) -> u32 {
    info >> 24 & 0x1f
}

/// Bytes that follow a `struct btf_type` with this `info`. `None` for a kind that is not known.
fn trailer(info: u32) -> Option<usize> {
    let members = (info & 0xffff) as usize;
    match kind(info) {
        // Pointers, forward declarations, typedefs, qualifiers, functions, floats, type tags.
        2 | 7..=12 | 16 | 18 => Some(0),
        // Integers, variables, declaration tags.
        1 | 14 | 17 => Some(4),
        // Arrays.
        3 => Some(12),
        // Structs, unions, data sections, 64-bit enums.
        4 | 5 | 15 | 19 => Some(12 * members),
        // Enums, prototypes.
        6 | 13 => Some(8 * members),
        _ => None,
    }
}

fn strings_match(strings: &[u8], at: usize, name: &[u8]) -> bool {
    let text = strings.get(at..).unwrap_or_default();
    text.strip_prefix(name).and_then(<[u8]>::first) == Some(&0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of `struct btf_header`.
    const HEADER: u32 = 24;

    /// BTF with an integer, a struct of two members, and two functions.
    fn example() -> Vec<u8> {
        let strings = b"\0int\0pair\0open\0openat\0";
        let mut types: Vec<u32> = vec![1, 1 << 24, 4, 32];
        types.extend([5, 4 << 24 | 2, 8, 1, 1, 0, 1, 1, 32]);
        types.extend([15, 12 << 24, 1, 10, 12 << 24, 1]);
        let len = types.len() as u32 * 4;
        let mut btf = MAGIC.to_ne_bytes().to_vec();
        btf.extend([1, 0]);
        for word in [HEADER, 0, len, len, strings.len() as u32] {
            btf.extend(word.to_ne_bytes());
        }
        types.iter().for_each(|word| btf.extend(word.to_ne_bytes()));
        btf.extend(strings);
        btf
    }

    #[test]
    fn functions_are_found_by_their_whole_name() {
        let btf = example();
        assert_eq!(function(&btf, b"openat"), Some(3));
        assert_eq!(function(&btf, b"open"), Some(4));
        // A type, and no name at all.
        assert_eq!(function(&btf, b"pair"), None);
        assert_eq!(function(&btf, b"close"), None);
    }

    #[test]
    fn damaged_type_information_has_no_functions() {
        let btf = example();
        for len in 0..btf.len() {
            assert_eq!(function(&btf[..len], b"close"), None);
        }
        for at in 0..btf.len() {
            for value in [0, 0x1f, 0x7f, 0xff] {
                let mut bad = btf.clone();
                bad[at] = value;
                function(&bad, b"open");
            }
        }
    }

    #[test]
    fn the_kernel_of_this_machine_can_be_read() {
        let Ok(btf) = std::fs::read(KERNEL) else {
            println!("skipped: no {KERNEL}");
            return;
        };
        assert!(function(&btf, b"vfs_read").is_some());
        assert_eq!(function(&btf, b"no_such_function"), None);
    }
}
