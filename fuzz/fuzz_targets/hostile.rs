// SPDX-License-Identifier: Apache-2.0
//! Scribbled ring memory: the bytes are a program of receives, sends, syncs, frees and closes on a null
//! port and both ends of a pipe, and of writes into their rings' headers and slots in between.
//!
//! Every frame received lies in its buffer, no buffer is in two packets or in a packet and a ring, and
//! when the ports are closed no buffer is missing.
#![no_main]

use std::collections::HashSet;
use std::ffi::c_void;

use libfuzzer_sys::fuzz_target;
use ovs_netmap::index::BufIdx;
use ovs_netmap::pool::{self, Packet};
use ovs_netmap::ring::SLOTS_OFFSET;

#[path = "../../tests/fake_ovs/mod.rs"]
mod fake_ovs;

use fake_ovs::{OvsPacket, Parts};

const NAMES: [&str; 3] = ["null:0", "netmap:x{1", "netmap:x}1"];
const BUF_SIZE: u32 = 2048;
const EXTRA: u32 = 80;
/// Enough for the rings and extra buffers of all three.
const REGION_BUFS: u32 = 2600;

/// The input, byte by byte; zeros when it is used up.
struct Input<'a>(&'a [u8]);

impl Input<'_> {
    fn byte(&mut self) -> u8 {
        match self.0.split_first() {
            Some((&first, rest)) => {
                self.0 = rest;
                first
            }
            None => 0,
        }
    }

    fn word(&mut self) -> u32 {
        u32::from_le_bytes([self.byte(), self.byte(), self.byte(), self.byte()])
    }

    /// A number below `n`.
    fn below(&mut self, n: usize) -> usize {
        match n {
            0..=256 => self.byte() as usize % n,
            _ => (self.byte() as usize | (self.byte() as usize) << 8) % n,
        }
    }
}

fn open(name: &str) -> Parts {
    Parts::open(name, EXTRA, REGION_BUFS, 1)
}

#[derive(Default)]
struct World {
    ports: [Option<Parts>; NAMES.len()],
    held: Vec<*mut c_void>,
}

impl World {
    fn step(&mut self, input: &mut Input<'_>) {
        let op = input.byte();
        let n = op as usize / 16 + 1;
        let p = input.below(NAMES.len());
        let port = self.ports[p].get_or_insert_with(|| open(NAMES[p]));
        match op % 16 {
            0..=5 => scribble(port, input),
            6..=8 => self.recv(p, 2 * n),
            9 | 10 => self.send(p, 2 * n, input.byte()),
            11 => send_foreign(port, n, input.word() as usize % 5000),
            12 => self.free(4 * n),
            13 => match n % 2 {
                0 => port.pool.attach_thread(),
                _ => pool::flush_thread(),
            },
            14 => self.free_on_thread(n),
            _ => {
                if let Some(port) = self.ports[p].take() {
                    port.close();
                }
            }
        }
    }

    #[allow(unsafe_code)]
    fn recv(&mut self, p: usize, n: usize) {
        let Some(port) = &mut self.ports[p] else {
            return;
        };
        for packet in fake_ovs::recv(&mut port.rx, n) {
            let frame = fake_ovs::frame_of(packet);
            assert_eq!(frame.allocated as u32, BUF_SIZE);
            assert!(frame.data_ofs as u32 + frame.size <= BUF_SIZE && frame.size > 0);
            // SAFETY: the packet was just received.
            let buf = unsafe { Packet::buf_in_flight(packet) }.expect("a packet");
            assert!(buf.0 >= BufIdx::FIRST_VALID);
            let base = port.region.base_of_idx(buf);
            assert_eq!(base.map(|base| base.as_ptr()), Some(frame.base));
            // SAFETY: the whole buffer is the packet's, as just asserted.
            unsafe { frame.base.write_bytes(0x55, frame.allocated as usize) };
            self.held.push(packet);
        }
        let base = |&packet: &*mut c_void| fake_ovs::frame_of(packet).base;
        let bases: HashSet<_> = self.held.iter().map(base).collect();
        assert_eq!(bases.len(), self.held.len(), "a buffer is in two packets");
    }

    fn send(&mut self, p: usize, n: usize, push: u8) {
        let Some(port) = &mut self.ports[p] else {
            return;
        };
        let n = n.min(self.held.len());
        let mut packets: Vec<_> = self.held.drain(..n).collect();
        for &packet in &packets {
            // Headers pushed, as far as there is room, or popped.
            let mut frame = fake_ovs::frame_of(packet);
            let room = frame.data_ofs.min(push as u16);
            if push % 2 == 0 {
                frame.data_ofs -= room;
                frame.size += room as u32;
            } else {
                frame.data_ofs += frame.size as u16 / 2;
                frame.size /= 2;
            }
            fake_ovs::set_frame(packet, frame);
        }
        assert_eq!(fake_ovs::send(&mut port.tx, &mut packets).returned, 0);
    }

    fn free(&mut self, n: usize) {
        let n = n.min(self.held.len());
        self.held.drain(..n).for_each(free);
    }

    /// Frees from a thread without a cache.
    fn free_on_thread(&mut self, n: usize) {
        struct Packets(Vec<*mut c_void>);
        // SAFETY: a packet in flight belongs to whoever has it.
        #[allow(unsafe_code)]
        unsafe impl Send for Packets {}

        let n = n.min(self.held.len());
        let packets = Packets(self.held.drain(..n).collect());
        if n > 0 {
            let work = move || {
                let packets = packets;
                packets.0.into_iter().for_each(free);
            };
            std::thread::spawn(work).join().expect("no panic");
        }
    }
}

#[allow(unsafe_code)]
fn free(packet: *mut c_void) {
    // SAFETY: from `recv`, and freed once.
    assert!(unsafe { pool::free_raw(packet) });
}

fn send_foreign(port: &mut Parts, n: usize, len: usize) {
    let bytes = vec![0xaa_u8; len];
    let mut packet = OvsPacket::foreign(&bytes);
    let sent = fake_ovs::send(&mut port.tx, &mut vec![packet.raw(); n]);
    assert_eq!(sent.returned, n);
}

/// Writes one word, of the header or of a slot near either end of the ring.
fn scribble(port: &Parts, input: &mut Input<'_>) {
    let ring = &port.rings[input.below(2)];
    let slots = ring.num_slots();
    let offset = match input.below(4) {
        0 | 1 => input.below(SLOTS_OFFSET.min(256) / 4) * 4,
        2 => SLOTS_OFFSET + input.below(16 * 4) * 4,
        _ => SLOTS_OFFSET + input.below(slots as usize * 4) * 4,
    };
    let value = match input.below(12) {
        0 => 0,
        1 => 1,
        2 => slots - 1,
        3 => slots,
        4 => u32::MAX,
        5 => ring.head().wrapping_add(input.byte() as u32),
        6 => ring.tail().wrapping_sub(input.byte() as u32),
        // Another slot's buffer index.
        7 => ring.slot(input.below(slots as usize) as u32).buf_idx,
        // A length, with or without NS_MOREFRAG.
        8 => input.below(BUF_SIZE as usize + 2) as u32,
        9 => 0x0020_0000 | input.below(BUF_SIZE as usize + 2) as u32,
        10 => input.below(REGION_BUFS as usize + 2) as u32,
        _ => input.word(),
    };
    ring.scribble(offset, value);
}

fuzz_target!(|bytes: &[u8]| {
    let mut input = Input(bytes);
    let mut world = World::default();
    for port in [0, 1, 2] {
        world.ports[port] = Some(open(NAMES[port]));
    }
    while !input.0.is_empty() {
        world.step(&mut input);
    }
    // Some packets outlive their ports.
    for port in &mut world.ports {
        if let Some(port) = port.take() {
            port.close();
        }
    }
    world.free(usize::MAX);
    pool::flush_thread();
    assert!(pool::pools().is_empty());
});
