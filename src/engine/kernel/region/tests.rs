// SPDX-License-Identifier: Apache-2.0
//! What the module says about a region is checked; `netmap_if/tests.rs` tests what lies in one.

use super::*;

const MEMSIZE: u64 = 0x10_0000;

fn pools() -> nmreq_pools_info {
    nmreq_pools_info {
        nr_ring_pool_offset: 0x1000,
        nr_ring_pool_objtotal: 4,
        nr_ring_pool_objsize: 0x1000,
        nr_buf_pool_offset: 0x8000,
        nr_buf_pool_objtotal: (MEMSIZE as u32 - 0x8000) / 2048,
        nr_buf_pool_objsize: 2048,
        ..nmreq_pools_info::default()
    }
}

#[test]
fn pools_outside_the_region_are_refused() {
    assert!(check(7, &pools(), MEMSIZE).is_ok());
    assert!(check(7, &pools(), MEMSIZE - 1).is_err());
    let huge = nmreq_pools_info {
        nr_buf_pool_offset: u64::MAX,
        ..pools()
    };
    assert!(check(7, &huge, MEMSIZE).is_err());
    let empty = nmreq_pools_info {
        nr_buf_pool_objsize: 0,
        ..pools()
    };
    assert!(check(7, &empty, MEMSIZE).is_err());
    let none = nmreq_pools_info {
        nr_buf_pool_objtotal: 2,
        ..pools()
    };
    assert!(check(7, &none, MEMSIZE).is_err());
}
