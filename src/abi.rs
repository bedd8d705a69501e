// SPDX-License-Identifier: Apache-2.0
//! What `netmap_sys` 0.1.4 lacks of `net/netmap.h`: the ioctl of API 14 with its requests, newer
//! fields of `netmap_ring` and `netmap_if`, newer constants. Declarations only.
//!
//! Names are those of the header. Each field is tagged with who writes it: (u) this process, (k) the
//! kernel, (uk) a request that the kernel overwrites with its answer. Sizes and offsets were recorded
//! from a C compiler and hold on every 64-bit target.

#![allow(non_camel_case_types)]

use std::ffi::c_char;
use std::mem::{offset_of, size_of};

use netmap_sys::netmap::{IFNAMSIZ, netmap_ring};

/// API version of the declarations here (`NETMAP_API`).
pub const NETMAP_API: u16 = 14;
/// Bytes of a port's name in a request, its final NUL included.
pub const NETMAP_REQ_IFNAMSIZ: usize = 64;
/// Alignment of rings in a region.
pub const NM_CACHE_ALIGN: usize = 128;

/// `_IOWR('i', nr, size)`, which Linux and FreeBSD encode alike.
const fn iowr(nr: u32, size: usize) -> u32 {
    0xc000_0000 | (size as u32) << 16 | (b'i' as u32) << 8 | nr
}

/// `_IO('i', nr)`: no data either way.
const fn io(nr: u32) -> u32 {
    let void = if cfg!(target_os = "linux") {
        0
    } else {
        0x2000_0000
    };
    void | (b'i' as u32) << 8 | nr
}

/// All requests of API 14; the argument is a [`nmreq_header`].
pub const NIOCCTRL: u32 = iowr(151, size_of::<nmreq_header>());
/// txsync of all rings that the descriptor is bound to.
pub const NIOCTXSYNC: u32 = io(148);
/// rxsync of all rings that the descriptor is bound to.
pub const NIOCRXSYNC: u32 = io(149);
/// Query of the APIs before 14; the argument is `netmap_sys`'s `nmreq`. Asked only for the version
/// of a module that is too old.
pub const NIOCGINFO: u32 = iowr(145, size_of::<netmap_sys::netmap::nmreq>());

/// `nr_reqtype`: bind a port to the descriptor; body [`nmreq_register`].
pub const NETMAP_REQ_REGISTER: u16 = 1;
/// `nr_reqtype`: numbers of a port; body [`nmreq_port_info_get`].
pub const NETMAP_REQ_PORT_INFO_GET: u16 = 2;
/// `nr_reqtype`: numbers of a memory region; body [`nmreq_pools_info`].
pub const NETMAP_REQ_POOLS_INFO_GET: u16 = 12;

/// `nro_reqtype`: [`nmreq_opt_offsets`].
pub const NETMAP_REQ_OPT_OFFSETS: u32 = 5;

/// `nr_mode`: all hardware rings.
pub const NR_REG_ALL_NIC: u32 = 1;
/// `nr_mode`: all host rings.
pub const NR_REG_SW: u32 = 2;
/// `nr_mode`: the hardware ring pair `nr_ringid`.
pub const NR_REG_ONE_NIC: u32 = 4;
/// `nr_mode`: no port, just the memory region `nr_mem_id`.
pub const NR_REG_NULL: u32 = 7;
/// `nr_mode`: the host ring pair `nr_ringid`.
pub const NR_REG_ONE_SW: u32 = 8;

/// `nr_flags`: see the frames that are sent by the rings.
pub const NR_MONITOR_TX: u64 = 0x100;
/// `nr_flags`: see the frames that the rings receive.
pub const NR_MONITOR_RX: u64 = 0x200;
/// `nr_flags`: nobody else may have the rings.
pub const NR_EXCLUSIVE: u64 = 0x800;
/// `nr_flags`: bind receive rings only.
pub const NR_RX_RINGS_ONLY: u64 = 0x2000;
/// `nr_flags`: bind transmit rings only.
pub const NR_TX_RINGS_ONLY: u64 = 0x4000;

/// Most slots that one frame may take.
pub const NETMAP_MAX_FRAGS: u32 = 64;

/// Offset of `uint64_t offset_mask` in a `netmap_ring`: bits of a slot's `ptr` that hold the start
/// of the frame in its buffer; 0 when the port was opened without slot offsets (k).
pub const RING_OFFSET_MASK: usize = 56;
/// Offset of `uint64_t buf_align` in a `netmap_ring`: what the start of a frame to send must be
/// aligned to, in bytes (k).
pub const RING_BUF_ALIGN: usize = 64;

/// Representation of a port in its region; `ring_ofs` follows it.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct netmap_if {
    /// Name of the interface (k).
    pub ni_name: [c_char; IFNAMSIZ],
    /// API version (k).
    pub ni_version: u32,
    /// `NI_*` (k).
    pub ni_flags: u32,
    /// Number of hardware transmit rings (k).
    pub ni_tx_rings: u32,
    /// Number of hardware receive rings (k).
    pub ni_rx_rings: u32,
    /// First extra buffer, 0 for none (uk): set on open, read on close.
    pub ni_bufs_head: u32,
    /// Number of host transmit rings (k).
    pub ni_host_tx_rings: u32,
    /// Number of host receive rings (k).
    pub ni_host_rx_rings: u32,
    /// Unused.
    pub ni_spare1: [u32; 3],
    /// Offsets of the rings from this struct: hardware transmit, host transmit, hardware receive,
    /// host receive; 0 for a ring that the port does not have (k).
    pub ring_ofs: [isize; 0],
}

/// What [`NIOCCTRL`] takes.
#[derive(Debug, Clone, Copy)]
#[repr(C)]
pub struct nmreq_header {
    /// API version; the module's own in an answer to another one (uk).
    pub nr_version: u16,
    /// `NETMAP_REQ_*` (u).
    pub nr_reqtype: u16,
    /// Zero (u).
    pub nr_reserved: u32,
    /// Port name, NUL terminated (u).
    pub nr_name: [c_char; NETMAP_REQ_IFNAMSIZ],
    /// Address of the first [`nmreq_option`], 0 for none (u).
    pub nr_options: u64,
    /// Address of the body (u).
    pub nr_body: u64,
}

/// What every option starts with.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct nmreq_option {
    /// Address of the next option, 0 for none (u).
    pub nro_next: u64,
    /// `NETMAP_REQ_OPT_*` (u).
    pub nro_reqtype: u32,
    /// 0 when the option was taken, else an errno (k).
    pub nro_status: u32,
    /// Size of an option of variable size, else 0 (u).
    pub nro_size: u64,
}

/// Body of [`NETMAP_REQ_REGISTER`].
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct nmreq_register {
    /// Where the [`netmap_if`] is in the region (k).
    pub nr_offset: u64,
    /// Bytes of the region (k).
    pub nr_memsize: u64,
    /// Slots of a transmit ring; 0 asks for the default (uk).
    pub nr_tx_slots: u32,
    /// Slots of a receive ring (uk).
    pub nr_rx_slots: u32,
    /// Number of hardware transmit rings (uk).
    pub nr_tx_rings: u16,
    /// Number of hardware receive rings (uk).
    pub nr_rx_rings: u16,
    /// Number of host transmit rings (uk).
    pub nr_host_tx_rings: u16,
    /// Number of host receive rings (uk).
    pub nr_host_rx_rings: u16,
    /// Memory region; 0 leaves the choice to the module (uk).
    pub nr_mem_id: u16,
    /// Which ring pair, with the `NR_REG_ONE_*` modes (u).
    pub nr_ringid: u16,
    /// `NR_REG_*` (u).
    pub nr_mode: u32,
    /// Extra buffers: asked for, then given (uk).
    pub nr_extra_bufs: u32,
    /// Further flags (u).
    pub nr_flags: u64,
}

/// Body of [`NETMAP_REQ_PORT_INFO_GET`].
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct nmreq_port_info_get {
    /// Bytes of the region (k).
    pub nr_memsize: u64,
    /// Slots of a transmit ring (k).
    pub nr_tx_slots: u32,
    /// Slots of a receive ring (k).
    pub nr_rx_slots: u32,
    /// Number of hardware transmit rings (k).
    pub nr_tx_rings: u16,
    /// Number of hardware receive rings (k).
    pub nr_rx_rings: u16,
    /// Number of host transmit rings (k).
    pub nr_host_tx_rings: u16,
    /// Number of host receive rings (k).
    pub nr_host_rx_rings: u16,
    /// Memory region (uk).
    pub nr_mem_id: u16,
    /// Unused.
    pub pad: [u16; 3],
}

/// Body of [`NETMAP_REQ_POOLS_INFO_GET`].
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct nmreq_pools_info {
    /// Bytes of the region (k).
    pub nr_memsize: u64,
    /// Memory region (uk).
    pub nr_mem_id: u16,
    /// Unused.
    pub pad1: [u16; 3],
    /// Where the [`netmap_if`]s are in the region (k).
    pub nr_if_pool_offset: u64,
    /// Number of them (k).
    pub nr_if_pool_objtotal: u32,
    /// Bytes of each (k).
    pub nr_if_pool_objsize: u32,
    /// Where the rings are in the region (k).
    pub nr_ring_pool_offset: u64,
    /// Number of them (k).
    pub nr_ring_pool_objtotal: u32,
    /// Bytes of each (k).
    pub nr_ring_pool_objsize: u32,
    /// Where buffer 0 is in the region (k).
    pub nr_buf_pool_offset: u64,
    /// Number of buffers, the two unused ones included (k).
    pub nr_buf_pool_objtotal: u32,
    /// Bytes of each (k).
    pub nr_buf_pool_objsize: u32,
}

/// Option [`NETMAP_REQ_OPT_OFFSETS`] of [`NETMAP_REQ_REGISTER`]: frames start at an offset in their
/// buffer.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct nmreq_opt_offsets {
    /// Common header.
    pub nro_opt: nmreq_option,
    /// Largest offset that will be used; larger ones are cropped (uk).
    pub nro_max_offset: u64,
    /// Offset that all slots start with (u).
    pub nro_initial_offset: u64,
    /// Low bits of a slot's `ptr` that hold the offset, 0 for all (uk).
    pub nro_offset_bits: u32,
    /// Alignment that frames to send will keep (u).
    pub nro_tx_align: u32,
    /// Zero (u).
    pub nro_min_gap: u64,
}

/// Asserts a struct's size and the offset of each of its fields, at compile time.
macro_rules! recorded_layout {
    ($type:ty, size $size:literal, { $($field:ident $offset:literal),* $(,)? }) => {
        const _: () = {
            assert!(size_of::<$type>() == $size);
            $(assert!(offset_of!($type, $field) == $offset);)*
        };
    };
}

recorded_layout!(netmap_if, size 56, {
    ni_name 0, ni_version 16, ni_flags 20, ni_tx_rings 24, ni_rx_rings 28, ni_bufs_head 32,
    ni_host_tx_rings 36, ni_host_rx_rings 40, ni_spare1 44, ring_ofs 56,
});
recorded_layout!(nmreq_header, size 88, {
    nr_version 0, nr_reqtype 2, nr_reserved 4, nr_name 8, nr_options 72, nr_body 80,
});
recorded_layout!(nmreq_option, size 24, {
    nro_next 0, nro_reqtype 8, nro_status 12, nro_size 16,
});
recorded_layout!(nmreq_register, size 56, {
    nr_offset 0, nr_memsize 8, nr_tx_slots 16, nr_rx_slots 20, nr_tx_rings 24, nr_rx_rings 26,
    nr_host_tx_rings 28, nr_host_rx_rings 30, nr_mem_id 32, nr_ringid 34, nr_mode 36,
    nr_extra_bufs 40, nr_flags 48,
});
recorded_layout!(nmreq_port_info_get, size 32, {
    nr_memsize 0, nr_tx_slots 8, nr_rx_slots 12, nr_tx_rings 16, nr_rx_rings 18,
    nr_host_tx_rings 20, nr_host_rx_rings 22, nr_mem_id 24, pad 26,
});
recorded_layout!(nmreq_pools_info, size 64, {
    nr_memsize 0, nr_mem_id 8, pad1 10, nr_if_pool_offset 16, nr_if_pool_objtotal 24,
    nr_if_pool_objsize 28, nr_ring_pool_offset 32, nr_ring_pool_objtotal 40,
    nr_ring_pool_objsize 44, nr_buf_pool_offset 48, nr_buf_pool_objtotal 56,
    nr_buf_pool_objsize 60,
});
recorded_layout!(nmreq_opt_offsets, size 56, {
    nro_opt 0, nro_max_offset 24, nro_initial_offset 32, nro_offset_bits 40, nro_tx_align 44,
    nro_min_gap 48,
});
// netmap_sys declares the ring without the two newest fields, as padding of the right size.
recorded_layout!(netmap_ring, size 256, {
    buf_ofs 0, num_slots 8, nr_buf_size 12, ringid 16, dir 18, head 20, cur 24, tail 28, flags 32,
    ts 40, sem 128, slot 256,
});
const _: () = {
    assert!(RING_OFFSET_MASK == offset_of!(netmap_ring, ts) + size_of::<libc::timeval>());
    assert!(RING_BUF_ALIGN == RING_OFFSET_MASK + size_of::<u64>());
    assert!(RING_BUF_ALIGN + size_of::<u64>() <= offset_of!(netmap_ring, sem));
    assert!(NIOCCTRL == 0xc058_6997);
    assert!(NIOCGINFO == 0xc03c_6991);
    assert!(NIOCTXSYNC & 0xffff == 0x6994 && NIOCRXSYNC & 0xffff == 0x6995);
    // netmap_sys has the sync calls as a narrower type than ioctl(2) takes, but the same numbers.
    assert!(NIOCTXSYNC == netmap_sys::netmap::NIOCTXSYNC);
    assert!(NIOCRXSYNC == netmap_sys::netmap::NIOCRXSYNC);
};

#[cfg(test)]
mod tests {
    //! Structs filled field by field, against the bytes that a C program left when it filled the
    //! same fields with the same values (little endian, `net/netmap.h` of API 14).

    use super::*;

    #[allow(unsafe_code)]
    fn bytes_of<T: Copy>(value: &T) -> Vec<u8> {
        let at = std::ptr::from_ref(value).cast::<u8>();
        // SAFETY: only called with structs whose padding, if any, was zeroed with `filled`.
        unsafe { std::slice::from_raw_parts(at, size_of::<T>()) }.to_vec()
    }

    /// A `T` of zero bytes, padding included, with some fields set.
    #[allow(unsafe_code)]
    fn filled<T: Copy>(fill: impl FnOnce(&mut T)) -> Vec<u8> {
        let mut memory = std::mem::MaybeUninit::<T>::zeroed();
        // SAFETY: all structs here are integers only: zero bytes are a value of theirs.
        fill(unsafe { memory.assume_init_mut() });
        // SAFETY: just initialised.
        bytes_of(unsafe { memory.assume_init_ref() })
    }

    fn recorded(hex: &str) -> Vec<u8> {
        let digits: Vec<u8> = hex.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
        let byte =
            |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
        digits.chunks(2).map(byte).collect()
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn requests_have_the_recorded_bytes() {
        let header = filled(|h: &mut nmreq_header| {
            h.nr_version = NETMAP_API;
            h.nr_reqtype = NETMAP_REQ_REGISTER;
            h.nr_reserved = 0x0102_0304;
            for (to, from) in h.nr_name.iter_mut().zip(b"vale0:1") {
                *to = *from as c_char;
            }
            h.nr_options = 0x1122_3344_5566_7788;
            h.nr_body = 0x99aa_bbcc_ddee_ff00;
        });
        let expected = recorded(
            "0e00010004030201 76616c65303a3100 0000000000000000 0000000000000000
             0000000000000000 0000000000000000 0000000000000000 0000000000000000
             0000000000000000 8877665544332211 00ffeeddccbbaa99",
        );
        assert_eq!(header, expected);

        let register = filled(|r: &mut nmreq_register| {
            r.nr_offset = 0x1010_1010_1010_1010;
            r.nr_memsize = 0x2020_2020_2020_2020;
            r.nr_tx_slots = 0x3030_3030;
            r.nr_rx_slots = 0x4040_4040;
            r.nr_tx_rings = 0x5151;
            r.nr_rx_rings = 0x5252;
            r.nr_host_tx_rings = 0x5353;
            r.nr_host_rx_rings = 0x5454;
            r.nr_mem_id = 0x6161;
            r.nr_ringid = 0x6262;
            r.nr_mode = 0x7070_7070;
            r.nr_extra_bufs = 0x7171_7171;
            r.nr_flags = 0x8080_8080_8080_8080;
        });
        let expected = recorded(
            "1010101010101010 2020202020202020 3030303040404040 5151525253535454
             6161626270707070 7171717100000000 8080808080808080",
        );
        assert_eq!(register, expected);
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn answers_have_the_recorded_bytes() {
        let pools = filled(|p: &mut nmreq_pools_info| {
            p.nr_memsize = 0x1010_1010_1010_1010;
            p.nr_mem_id = 0x2121;
            p.nr_if_pool_offset = 0x3030_3030_3030_3030;
            p.nr_if_pool_objtotal = 0x4141_4141;
            p.nr_if_pool_objsize = 0x4242_4242;
            p.nr_ring_pool_offset = 0x5050_5050_5050_5050;
            p.nr_ring_pool_objtotal = 0x6161_6161;
            p.nr_ring_pool_objsize = 0x6262_6262;
            p.nr_buf_pool_offset = 0x7070_7070_7070_7070;
            p.nr_buf_pool_objtotal = 0x8181_8181;
            p.nr_buf_pool_objsize = 0x8282_8282;
        });
        let expected = recorded(
            "1010101010101010 2121000000000000 3030303030303030 4141414142424242
             5050505050505050 6161616162626262 7070707070707070 8181818182828282",
        );
        assert_eq!(pools, expected);

        let offsets = filled(|o: &mut nmreq_opt_offsets| {
            o.nro_opt.nro_next = 0x1010_1010_1010_1010;
            o.nro_opt.nro_reqtype = NETMAP_REQ_OPT_OFFSETS;
            o.nro_opt.nro_status = 0x2121_2121;
            o.nro_opt.nro_size = 0x3030_3030_3030_3030;
            o.nro_max_offset = 0x4040_4040_4040_4040;
            o.nro_initial_offset = 0x5050_5050_5050_5050;
            o.nro_offset_bits = 0x6161_6161;
            o.nro_tx_align = 0x6262_6262;
            o.nro_min_gap = 0x7070_7070_7070_7070;
        });
        let expected = recorded(
            "1010101010101010 0500000021212121 3030303030303030 4040404040404040
             5050505050505050 6161616162626262 7070707070707070",
        );
        assert_eq!(offsets, expected);
    }

    #[test]
    fn ioctl_numbers() {
        assert_eq!(NIOCCTRL, 0xc058_6997);
        let void = if cfg!(target_os = "linux") {
            0
        } else {
            1 << 29
        };
        assert_eq!((NIOCTXSYNC, NIOCRXSYNC), (void + 27028, void + 27029));
    }
}
