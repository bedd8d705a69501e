// SPDX-License-Identifier: Apache-2.0
//! Scribbled ring memory: the bytes are a program of receives, sends, frees and closes on a null port and
//! both ends of a pipe, and of writes into their rings' headers and slots in between.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ovs_netmap::test_utils::config::{self, Config};
use ovs_netmap::test_utils::op_model::{World, decode};

const NAMES: [&str; 3] = ["null:0", "netmap:x{1", "netmap:x}1"];

fuzz_target!(|bytes: &[u8]| {
    config::set(Config {
        extra_bufs: 80,
        // Enough for the rings and extra buffers of all three.
        region_bufs: 2600,
        ..Config::DEFAULT
    });
    let mut world = World::new(&NAMES, Some("udp:3"));
    decode(bytes, NAMES.len())
        .iter()
        .for_each(|op| world.step(op));
    world.end();
});
