// SPDX-License-Identifier: Apache-2.0
//! A region as the module lays it out, in plain memory, and what may be wrong with one.

use super::*;
use crate::abi::nmreq_pools_info;
use crate::engine::kernel::region::Mapping;
use crate::region::RegionKind;

const NIFP: usize = 1024;
const RING_POOL: u64 = 4096;
const RING_SIZE: u32 = 1024;
const RINGS: u32 = 4;
const BUF_POOL: u64 = RING_POOL + (RING_SIZE * RINGS) as u64;
const BUF_SIZE: u32 = 2048;
const BUFS: u32 = 16;
const MEMSIZE: u64 = BUF_POOL + (BUF_SIZE * BUFS) as u64;

fn pools() -> nmreq_pools_info {
    nmreq_pools_info {
        nr_memsize: MEMSIZE,
        nr_mem_id: 7,
        nr_ring_pool_offset: RING_POOL,
        nr_ring_pool_objtotal: RINGS,
        nr_ring_pool_objsize: RING_SIZE,
        nr_buf_pool_offset: BUF_POOL,
        nr_buf_pool_objtotal: BUFS,
        nr_buf_pool_objsize: BUF_SIZE,
        ..nmreq_pools_info::default()
    }
}

/// A port with one ring pair, and a region whose module side is plain memory.
pub fn port(extra: u32) -> NetmapIf {
    let region = KernelRegion::over(7, Mapping::for_test(pools())).unwrap();
    let mapping = Arc::clone(&region.mapping);
    let netmap_if = NetmapIf::new(
        region,
        nmreq_register {
            nr_offset: NIFP as u64,
            nr_tx_rings: 1,
            nr_rx_rings: 1,
            nr_extra_bufs: extra,
            nr_mem_id: 7,
            ..nmreq_register::default()
        },
    )
    .unwrap();
    // ring_ofs: transmit, (no) host transmit, receive, (no) host receive.
    let ofs = NIFP + offset_of!(netmap_if, ring_ofs);
    let rings = [(0, ring_at(0)), (2, ring_at(1))];
    for (entry, at) in rings {
        let ring_ofs = (at as u64).wrapping_sub(NIFP as u64);
        mapping
            .u64_at(ofs + 8 * entry)
            .unwrap()
            .store(ring_ofs, Ordering::Relaxed);
        let buf_ofs = BUF_POOL.wrapping_sub(at as u64);
        mapping
            .u64_at(at)
            .unwrap()
            .store(buf_ofs, Ordering::Relaxed);
        put(&mapping, at + offset_of!(netmap_ring, num_slots), 32);
        put(
            &mapping,
            at + offset_of!(netmap_ring, nr_buf_size),
            BUF_SIZE,
        );
    }
    netmap_if
}

pub fn ring_at(n: usize) -> usize {
    RING_POOL as usize + n * RING_SIZE as usize
}

fn put(mapping: &Mapping, at: usize, value: u32) {
    mapping
        .u32_at(at, 0)
        .unwrap()
        .store(value, Ordering::Relaxed);
}

fn get(mapping: &Mapping, at: usize) -> u32 {
    mapping.u32_at(at, 0).unwrap().load(Ordering::Relaxed)
}

const HEAD: usize = NIFP + offset_of!(netmap_if, ni_bufs_head);

/// Hangs `list` on the port, as the module does; the last one links to `end`.
fn hang(port: &NetmapIf, list: &[u32], end: u32) {
    let mapping = &port.region.mapping;
    let mut next = end;
    for &idx in list.iter().rev() {
        put(mapping, BUF_POOL as usize + (idx * BUF_SIZE) as usize, next);
        next = idx;
    }
    put(mapping, HEAD, next);
}

fn indices(bufs: &[OwnedBuf]) -> Vec<u32> {
    bufs.iter().map(|b| b.idx().0).collect()
}

#[test]
fn rings_are_found_by_their_offsets() {
    let port = port(0);
    let tx = port.ring(Direction::Tx, 0, 512).unwrap();
    let rx = port.ring(Direction::Rx, 0, 512).unwrap();
    assert_eq!((tx.num_slots(), rx.num_slots()), (32, 32));
    // No offset mask in the ring: no offsets, whatever was asked for.
    assert_eq!(rx.max_offset(), 0);
    rx.set_head(5);
    let mapping = &port.region.mapping;
    assert_eq!(get(mapping, ring_at(1) + offset_of!(netmap_ring, head)), 5);
    assert_eq!(get(mapping, ring_at(0) + offset_of!(netmap_ring, head)), 0);
    // A host ring that the port does not have.
    assert!(port.ring(Direction::Rx, 1, 0).is_err());
}

#[test]
fn a_ring_that_disagrees_with_its_region_is_refused() {
    let breaks: [(&str, usize, u32); 4] = [
        ("too many slots", offset_of!(netmap_ring, num_slots), 49),
        ("no slots", offset_of!(netmap_ring, num_slots), 0),
        ("buffer size", offset_of!(netmap_ring, nr_buf_size), 4096),
        ("place of the buffers", offset_of!(netmap_ring, buf_ofs), 0),
    ];
    for (what, field, value) in breaks {
        let port = port(0);
        put(&port.region.mapping, ring_at(1) + field, value);
        let error = port.ring(Direction::Rx, 0, 0).err();
        assert_eq!(error.map(|e| e.errno()), Some(libc::EPROTO), "{what}");
    }
}

#[test]
fn ring_offsets_never_leave_the_pool_of_rings() {
    let entry = NIFP + offset_of!(netmap_if, ring_ofs) + 2 * size_of::<isize>();
    let end = MEMSIZE - NIFP as u64;
    for ofs in [
        0,
        1,
        8,
        end - 8,
        end,
        end + 4096,
        u64::MAX,
        1 << 63,
        (NIFP as u64).wrapping_neg(),
    ] {
        let port = port(0);
        let mapping = &port.region.mapping;
        mapping.u64_at(entry).unwrap().store(ofs, Ordering::Relaxed);
        assert!(port.ring(Direction::Rx, 0, 0).is_err(), "{ofs:#x}");
    }
}

#[test]
fn extra_buffers_go_round() {
    let port = port(4);
    let mapping = Arc::clone(&port.region.mapping);
    hang(&port, &[9, 3, 15, 2], 0);
    let bufs = port.take_extra();
    assert_eq!(indices(&bufs), [9, 3, 15, 2]);
    // The list is gone from the port, should the process die now.
    assert_eq!(get(&mapping, HEAD), 0);
    assert_eq!(port.region.buffers.owner(BufIdx(9)), Some(Owner::PACKET));

    port.give_extra(bufs);
    let mut next = get(&mapping, HEAD);
    let mut list = Vec::new();
    while next != 0 {
        list.push(next);
        next = get(&mapping, BUF_POOL as usize + (next * BUF_SIZE) as usize);
    }
    assert_eq!(list, [2, 15, 3, 9]);
    assert_eq!(port.region.buffers.owner(BufIdx(9)), Some(Owner::OUTSIDE));
}

#[test]
fn a_broken_list_ends_where_it_breaks() {
    let cases: [(&[u32], u32, &[u32]); 6] = [
        (&[9, 3], 9, &[9, 3]),
        (&[9, 3], BUFS, &[9, 3]),
        (&[9, 3], 1, &[9, 3]),
        (&[9, 3], u32::MAX, &[9, 3]),
        (&[], 0, &[]),
        // Longer than the module said.
        (&[4, 5, 6, 7, 8], 0, &[4, 5, 6, 7]),
    ];
    for (list, end, expected) in cases {
        let port = port(4);
        hang(&port, list, end);
        assert_eq!(indices(&port.take_extra()), expected, "{list:?} {end}");
    }
}

#[test]
fn leftovers_hang_on_the_anchor() {
    let port = port(3);
    hang(&port, &[4, 5, 6], 0);
    let mut bufs = port.take_extra();
    let last = bufs.split_off(2);
    let KernelRegion { buffers, mapping } = port.region.clone();
    buffers.backing().give_back(bufs);
    buffers.backing().give_back(last);
    let anchor_head = offset_of!(netmap_if, ni_bufs_head);
    let link = |idx: u32| get(&mapping, BUF_POOL as usize + (idx * BUF_SIZE) as usize);
    assert_eq!(get(&mapping, anchor_head), 6);
    assert_eq!((link(6), link(5), link(4)), (5, 4, 0));
    assert_eq!(buffers.backing().kind(), RegionKind::Kernel { mem_id: 7 });
}
