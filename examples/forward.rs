// SPDX-License-Identifier: Apache-2.0
//! Forwards packets between two netmap ports, both ways, without Open vSwitch:
//!
//! ```text
//! cargo run --example forward -- eth0 eth1
//! cargo run --example forward -- null:0 null:1 --packets 1000000
//! ```
//!
//! It ends after so many packets, or when it is killed; on the way it prints how many there were.

#![allow(unsafe_code)]

use std::error::Error;
use std::ffi::c_void;
use std::io::Write;
use std::mem::{offset_of, size_of};
use std::time::{Duration, Instant};

use ovs_netmap::{Frame, PacketLayout, Port, PortConfig, TxBurst, flush_thread};

/// Packets that are received at a time.
const BURST: usize = 32;

/// What stands for a packet here: where its frame is, and that it came from the library.
#[repr(C)]
struct Packet {
    frame: Frame,
    source: u8,
}

/// `source` of all packets.
const OURS: u8 = 1;

fn layout() -> PacketLayout {
    PacketLayout::new(
        size_of::<Packet>(),
        offset_of!(Packet, frame),
        offset_of!(Packet, source),
        OURS,
        |packet| {
            let packet: *mut Packet = packet.cast();
            // SAFETY: the library calls this with zeroed memory of the size and alignment of a packet.
            unsafe { (&raw mut (*packet).source).write(OURS) };
        },
    )
    .expect("the fields are in the packet")
}

fn open(name: &str) -> Result<Port, Box<dyn Error>> {
    let port = Port::open(&PortConfig::new(name, layout()))?;
    // This thread polls the port: it gets a cache of packets.
    // SAFETY: there is no other thread.
    unsafe { port.rxqs()[0].assume_unshared(|queue| queue.attach_thread()) };
    Ok(port)
}

/// Receives a burst and sends it; returns how many packets were sent. The others are dropped, and
/// counted by the port.
fn forward(from: &Port, to: &Port, packets: &mut Vec<*mut c_void>) -> usize {
    packets.clear();
    // SAFETY: there is no other thread.
    unsafe {
        let n = from.rxqs()[0].assume_unshared(|queue| queue.recv(packets.spare_capacity_mut()));
        packets.set_len(n);
    }
    if packets.is_empty() {
        return 0;
    }
    // SAFETY: a. the packets were received just now, each one once; b. so were their bytes.
    let burst = unsafe { TxBurst::new(packets, layout()) };
    // SAFETY: there is no other thread.
    unsafe {
        to.txqs()[0]
            .assume_unshared(|queue| queue.send(burst))
            .frames
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (one, other, wanted) = match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [one, other] => (one, other, usize::MAX),
        [one, other, "--packets", n] => (one, other, n.parse()?),
        _ => return Err("usage: forward PORT PORT [--packets N]".into()),
    };
    let (one, other) = (open(one)?, open(other)?);
    println!("{}\n{}", one.state().describe(), other.state().describe());

    let mut packets = Vec::with_capacity(BURST);
    let mut sent = 0;
    let mut told = Instant::now();
    while sent < wanted {
        let now = forward(&one, &other, &mut packets) + forward(&other, &one, &mut packets);
        sent += now;
        if told.elapsed() > Duration::from_secs(1) {
            println!("{sent} packets");
            std::io::stdout().flush()?;
            told = Instant::now();
        }
    }
    println!("{sent} packets");
    flush_thread();
    Ok(())
}
