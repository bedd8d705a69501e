// SPDX-License-Identifier: Apache-2.0
//! Extra buffers and regions: what is taken comes back.

use std::time::Instant;

use crate::support::{
    PktGen, copy_of, frame, free_bufs, mapped_and_open, module, open, try_open, vale_ports,
};

#[test]
fn every_buffer_comes_back() {
    let Some(_module) = module() else { return };
    for name in ["vale0:1", "netmap:x{1", "vale3:0{p"] {
        // Keeps the region.
        let mut keeper = open(name.replace("0:1", "0:9").replace('{', "}").as_str());
        let (mem_id, region) = (keeper.mem_id(), keeper.region());
        let before = free_bufs(mem_id);
        let started = Instant::now();
        let rounds = 1000;
        for i in 0..rounds {
            let mut port = open(name);
            assert_eq!(port.mem_id(), mem_id);
            for j in 0..8 {
                port.send(0, &frame(60, j));
                keeper.recv(0);
            }
            if i % 100 == 0 {
                // As many buffers as it has, but others: some are from the keeper's rings.
                assert_eq!(port.spare.len(), 64);
            }
            port.close();
        }
        println!(
            "{name}: {rounds} rounds in {:?}, {before} free",
            started.elapsed()
        );
        assert_eq!(free_bufs(mem_id), before, "{name}");

        // What OVS holds at the moment of closing is owed until the next close.
        let mut port = open(name);
        let held = port.spare.split_off(50);
        port.close();
        assert_eq!(free_bufs(mem_id), before - 14);
        keeper.spare.extend(held);
        drop(region);
        keeper.close();
        assert_eq!(mapped_and_open(), (0, 0), "{name}");
    }
}

/// Each time some packets come back after the port is closed: with the next port they go.
#[test]
fn closed_a_thousand_times_with_packets_held() {
    let Some(_module) = module() else { return };
    let keeper = open("vale5:9@1");
    let before = free_bufs(1);
    let mut owed = Vec::new();
    for i in 0..1000 {
        let mut port = open("vale5:1@1");
        let held = port.spare.split_off(i % 64);
        port.spare.append(&mut owed);
        port.close();
        owed = held;
        if i % 100 == 99 {
            assert_eq!(free_bufs(1), before - owed.len() as u32, "round {i}");
        }
    }
    let mut port = open("vale5:1@1");
    port.spare.append(&mut owed);
    port.close();
    assert_eq!(free_bufs(1), before);
    keeper.close();
    assert_eq!(mapped_and_open(), (0, 0));
}

/// The port goes at once; mapping and buffers stay with the last packet.
#[test]
fn a_region_outlives_its_ports() {
    let Some(_module) = module() else { return };
    let other = open("vale0:8");
    let mem_id = other.mem_id();
    let before = free_bufs(mem_id);
    let mut port = open("vale0:1");
    let region = port.region();
    let mut held = port.spare.split_off(40);
    let idx = held[0].idx();
    assert!(region.write(idx, 0, b"still here".as_slice().into()));
    port.close();
    other.close();
    // The anchor alone.
    assert_eq!(mapped_and_open(), (1, 1));
    // Not in its switch any more: else it would have the old region and its rings.
    assert_eq!(vale_ports("vale0"), 0);
    let bytes = copy_of(&region, idx, 0, 10);
    assert_eq!(bytes, b"still here");

    // A new port joins the region that is still there.
    let port = open("vale0:1");
    assert_eq!(port.mem_id(), mem_id);
    region.backing().give_back(held.split_off(4));
    region.backing().give_back(held);
    port.close();
    // The ports' rings are free as well, so there are more than before.
    println!("{} free of before {before}", free_bufs(mem_id));
    drop(region);
    assert_eq!(mapped_and_open(), (0, 0));
}

#[test]
fn leftovers_are_free_after_the_region_is_gone() {
    let Some(_module) = module() else { return };
    // In region 1, which another descriptor keeps.
    let keeper = open("vale5:9@1");
    let before = free_bufs(1);
    let mut port = open("vale5:1@1");
    assert_eq!(port.mem_id(), 1);
    let held = port.spare.split_off(10);
    assert_eq!(held.len(), 54);
    let region = port.region();
    port.close();
    assert_eq!(free_bufs(1), before - 54);
    region.backing().give_back(held);
    drop(region);
    keeper.close();
    assert_eq!(mapped_and_open(), (0, 0));

    // The same in two processes, one of which keeps the region.
    let other = PktGen::receive("vale6:9@1");
    let before = free_bufs(1);
    for _ in 0..20 {
        let mut port = open("vale6:1@1");
        let held = port.spare.split_off(10);
        let region = port.region();
        port.close();
        region.backing().give_back(held);
        drop(region);
        assert_eq!(mapped_and_open(), (0, 0));
    }
    assert_eq!(free_bufs(1), before);
    other.finish(true);
}

#[test]
fn what_the_module_gives_less_is_said_or_refused() {
    let Some(_module) = module() else { return };
    let minimum = try_open("vale0:1", 1, 32).unwrap();
    assert_eq!(minimum.spare.len(), 32);
    minimum.close();

    // More than any region has: a private one is made for it, up to the module's own limit.
    let port = try_open("vale0:1", 1, 1_000_000).unwrap();
    println!("asked for 1000000, got {}", port.spare.len());
    assert!(port.spare.len() >= 32);
    port.close();

    // Region 1 has a fixed number. Take all but a few.
    let keeper = open("vale0:9@1");
    let free = free_bufs(1);
    let hog = try_open("vale0:8@1", 1, free - 2 * 1024 - 2 * 1024 - 40).unwrap();
    println!("{} free after the hog", free_bufs(1));
    let few = try_open("vale0:1@1", 1, 64).unwrap_or_else(|e| panic!("{e}"));
    println!(
        "asked for 64, got {}: {:?}",
        few.spare.len(),
        few.opened.port.status()
    );
    assert!((32..64).contains(&few.spare.len()));
    few.close();
    let more = try_open("vale0:7@1", 1, 32);
    let hog2 = more.unwrap_or_else(|e| panic!("{e}"));
    let none = try_open("vale0:1@1", 1, 64).err().unwrap();
    println!("{none}");
    hog2.close();
    let short = free_bufs(1) - 2 * 1024 - 10;
    let thief = try_open("netmap:nmsink0@1", 1, 32).ok();
    println!("{short} {}", thief.is_some());
    if let Some(thief) = thief {
        thief.close();
    }
    hog.close();
    keeper.close();
}
