// SPDX-License-Identifier: Apache-2.0
//! What Open vSwitch does with ports, as a sequence of operations, and what must hold after each of them:
//! every buffer is somewhere, none is in two places, and each frame lies in its buffer. Among the
//! operations is what a hostile process does: it writes into the memory of rings.
//!
//! Property tests make the sequences one way, [`decode`] makes them of a fuzzer's bytes.

use std::collections::HashSet;
use std::ffi::c_void;

use super::fake_ovs::{self, OvsPacket};
use crate::config::PortConfig;
use crate::engine::{HEADROOM, LONGEST_FRAME};
use crate::error::Result;
use crate::index::BufIdx;
use crate::offload::RxCsum;
use crate::pool::{self, Frame, Packet};
use crate::port::Port;
use crate::ring::{Ring, SLOTS_OFFSET};
use crate::show::show;

/// Bytes of a buffer of the regions that ports are opened in here.
const BUF_SIZE: u32 = 2048;

/// One operation. Ports are counted as the names are that a [`World`] has; on a port that is not open
/// there is nothing to do but to open it.
#[derive(Debug, Clone)]
pub enum Op {
    /// Opens a port.
    Open(usize),
    /// Closes a port; its packets stay.
    Close(usize),
    /// Receives.
    Recv {
        /// On which port.
        port: usize,
        /// At most so many packets.
        max: usize,
        /// Whether to write all over their buffers.
        fill: bool,
    },
    /// Sends packets that were received, with some of another type among them.
    Send {
        /// On which port.
        port: usize,
        /// How many, or as many as there are.
        packets: usize,
        /// What becomes of their frames before that.
        edit: Edit,
    },
    /// Sends packets of another type.
    SendForeign {
        /// On which port.
        port: usize,
        /// How many.
        frames: usize,
        /// Bytes of each.
        len: usize,
    },
    /// Frees packets that were received.
    Free(usize),
    /// The same, on a thread without a cache.
    FreeOnThread(usize),
    /// Gives the thread a cache of a port's pool.
    Attach(usize),
    /// Gives the thread's caches back.
    Flush,
    /// Writes into the memory of a port's ring.
    Scribble {
        /// Of which port.
        port: usize,
        /// Into the receive ring, else into the transmit ring.
        rx: bool,
        /// What and where.
        scribble: Scribble,
    },
}

/// What a switch does to a frame.
#[derive(Debug, Clone, Copy)]
pub enum Edit {
    /// Nothing.
    None,
    /// Pushes so many bytes, or as many as there is room for.
    Push(u16),
    /// Pops half of it.
    Pop,
}

/// A word in the memory of a ring, and what to write there.
#[derive(Debug, Clone, Copy)]
pub struct Scribble {
    /// Where.
    pub place: Place,
    /// What.
    pub word: Word,
}

/// A word in the memory of a ring.
#[derive(Debug, Clone, Copy)]
pub enum Place {
    /// In the header, which ends before the first slot.
    Header(usize),
    /// In the slots, all of which follow each other; a number too large wraps around.
    Slots(usize),
}

/// What may be written into a ring.
#[derive(Debug, Clone, Copy)]
pub enum Word {
    /// A number.
    Is(u32),
    /// The number of slots and this.
    NumSlots(i32),
    /// So much behind the ring's head.
    AfterHead(u8),
    /// So much before its tail.
    BeforeTail(u8),
    /// The buffer of this slot; a number too large wraps around.
    BufOf(usize),
}

impl Scribble {
    /// Writes it.
    pub fn write(self, ring: &Ring) {
        let slots = ring.num_slots();
        let offset = match self.place {
            Place::Header(word) => word * 4 % SLOTS_OFFSET,
            Place::Slots(word) => SLOTS_OFFSET + word % (slots as usize * 4) * 4,
        };
        let value = match self.word {
            Word::Is(value) => value,
            Word::NumSlots(more) => slots.wrapping_add_signed(more),
            Word::AfterHead(by) => ring.head().wrapping_add(by.into()),
            Word::BeforeTail(by) => ring.tail().wrapping_sub(by.into()),
            Word::BufOf(pos) => ring.slot((pos % slots as usize) as u32).buf_idx,
        };
        ring.scribble(offset, value);
    }
}

/// Ports, and what OVS holds of their packets.
pub struct World {
    names: &'static [&'static str],
    null_source: Option<&'static str>,
    ports: Vec<Option<Open>>,
    /// Packets that were received and neither sent nor freed.
    pub held: Vec<*mut c_void>,
}

/// An open port, and second handles on its rings.
struct Open {
    port: Port,
    rx: Ring,
    tx: Ring,
}

/// Packets of OVS, which may go to another thread.
pub struct Packets(pub Vec<*mut c_void>);

// SAFETY: a packet in flight belongs to whoever has it.
unsafe impl Send for Packets {}

impl World {
    /// One in which ports of these names can be opened.
    pub fn new(names: &'static [&'static str], null_source: Option<&'static str>) -> World {
        World {
            names,
            null_source,
            ports: names.iter().map(|_| None).collect(),
            held: Vec::new(),
        }
    }

    /// An open port.
    pub fn port(&self, i: usize) -> Option<&Port> {
        self.ports[i].as_ref().map(|open| &open.port)
    }

    /// Runs `op`, and checks all that must hold then.
    pub fn run(&mut self, op: &Op) {
        self.step(op);
        self.check();
    }

    /// Runs `op`, and checks the packets that come of it, and all else when a port is closed.
    pub fn step(&mut self, op: &Op) {
        match *op {
            Op::Open(port) => self.open(port),
            Op::Close(port) => {
                self.close(port);
                self.check();
            }
            Op::Recv { port, max, fill } => self.recv(port, max, fill),
            Op::Send {
                port,
                packets,
                edit,
            } => self.send(port, packets, edit),
            Op::SendForeign { port, frames, len } => self.send_foreign(port, frames, len),
            Op::Free(n) => self.take(n).free(),
            Op::FreeOnThread(n) => {
                let packets = self.take(n);
                let freed = std::thread::spawn(move || packets.free()).join();
                assert!(freed.is_ok());
            }
            Op::Attach(port) => {
                if let Some(port) = self.port(port) {
                    port.state().pool().attach_thread();
                }
            }
            Op::Flush => pool::flush_thread(),
            Op::Scribble { port, rx, scribble } => {
                if let Some(open) = &self.ports[port] {
                    scribble.write(if rx { &open.rx } else { &open.tx });
                }
            }
        }
    }

    fn open(&mut self, i: usize) {
        if self.ports[i].is_some() {
            return;
        }
        let port = open_with(self.names[i], self.null_source, RxCsum::On);
        let port = port.unwrap_or_else(|error| panic!("{error}"));
        // Pipes take long frames, null ports do not.
        let long = port.state().set_mtu(9000);
        assert_eq!(long.is_ok(), self.names[i].starts_with("netmap"));
        // SAFETY: this thread alone has the port.
        let rx = unsafe { port.rxqs()[0].assume_unshared(|queue| queue.ring(0).other_side()) };
        // SAFETY: as above.
        let tx = unsafe { port.txqs()[0].assume_unshared(|queue| queue.ring(0).other_side()) };
        self.ports[i] = Some(Open { port, rx, tx });
    }

    /// Closes a port.
    pub fn close(&mut self, port: usize) {
        self.ports[port] = None;
    }

    /// The first `n` packets that are held, or as many as there are.
    pub fn take(&mut self, n: usize) -> Packets {
        let n = n.min(self.held.len());
        Packets(self.held.drain(..n).collect())
    }

    fn recv(&mut self, i: usize, max: usize, fill: bool) {
        let Some(Open { port, .. }) = &self.ports[i] else {
            return;
        };
        let region = port.state().pool().region();
        // SAFETY: this thread alone uses the port.
        let packets = unsafe { port.rxqs()[0].assume_unshared(|q| fake_ovs::recv(q, max)) };
        for &packet in &packets {
            let frame = fake_ovs::frame_of(packet);
            let end = frame.data_ofs as u32 + frame.size;
            assert!(end <= frame.allocated as u32 && frame.size > 0);
            // SAFETY: the packet was just received.
            let buf = unsafe { Packet::buf_in_flight(packet) }.expect("a packet");
            assert!(buf.0 >= BufIdx::FIRST_VALID);
            let base = region.base_of_idx(buf);
            if base.map(|base| base.as_ptr()) == Some(frame.base) {
                assert_eq!(frame.allocated as u32, BUF_SIZE);
            } else {
                // In memory of its own, which is no larger than the longest frame needs it.
                assert!(frame.size <= LONGEST_FRAME);
                assert!(frame.allocated as u32 <= HEADROOM + LONGEST_FRAME);
            }
            if fill {
                // SAFETY: the whole buffer, or all of that memory, is the packet's.
                unsafe { frame.base.write_bytes(0x55, frame.allocated.into()) };
            }
        }
        self.held.extend(packets);
        self.check_packets();
    }

    fn send(&mut self, i: usize, packets: usize, edit: Edit) {
        let n = packets.min(self.held.len());
        let Some(Open { port, .. }) = &self.ports[i] else {
            return;
        };
        let mut foreign = OvsPacket::foreign(&[0x5a; 60]);
        let mut burst = Vec::new();
        for (i, packet) in self.held.drain(..n).enumerate() {
            fake_ovs::set_frame(packet, edited(fake_ovs::frame_of(packet), edit));
            burst.push(packet);
            if i % 7 == 5 {
                burst.push(foreign.raw());
            }
        }
        let others = burst.len() - n;
        // SAFETY: this thread alone uses the port.
        let sent = unsafe { port.txqs()[0].assume_unshared(|q| fake_ovs::send(q, &mut burst)) };
        assert_eq!(sent.returned, others);
        let returned = &burst[..others];
        assert!(returned.iter().all(|&packet| packet == foreign.raw()));
    }

    fn send_foreign(&mut self, i: usize, frames: usize, len: usize) {
        let Some(Open { port, .. }) = &self.ports[i] else {
            return;
        };
        let bytes = vec![0x5a_u8; len];
        let mut packet = OvsPacket::foreign(&bytes);
        let mut burst = vec![packet.raw(); frames];
        // SAFETY: this thread alone uses the port.
        let sent = unsafe { port.txqs()[0].with_lock(|q| fake_ovs::send(q, &mut burst)) };
        assert_eq!(sent.returned, frames);
    }

    /// Every buffer is somewhere, and no two packets of OVS have the same one.
    pub fn check(&self) {
        let text = show();
        assert!(!text.contains("UNBALANCED"), "{text}");
        self.check_packets();
        let in_flight: usize = pool::pools().iter().map(|p| p.census().in_flight).sum();
        assert_eq!(in_flight, self.held.len());
    }

    /// No two packets have the same buffer.
    fn check_packets(&self) {
        let base = |&packet: &*mut c_void| fake_ovs::frame_of(packet).base;
        let bases: HashSet<_> = self.held.iter().map(base).collect();
        assert_eq!(bases.len(), self.held.len(), "a buffer is in two packets");
    }

    /// Closes all ports, then frees their packets: they outlive them. Nothing is left then.
    pub fn end(mut self) {
        self.ports.iter_mut().for_each(|port| *port = None);
        self.check();
        self.take(usize::MAX).free();
        pool::flush_thread();
        assert!(pool::pools().is_empty(), "{}", show());
    }
}

/// Opens a port with one queue each way, which syncs as often as it is polled.
pub fn open(name: &str, null_source: Option<&str>) -> Result<Port> {
    open_with(name, null_source, RxCsum::Auto)
}

fn open_with(name: &str, null_source: Option<&str>, rx_csum: RxCsum) -> Result<Port> {
    Port::open(&PortConfig {
        rxsync_interval_us: Some(0),
        null_source,
        rx_csum,
        ..PortConfig::new(name, fake_ovs::layout())
    })
}

fn edited(mut frame: Frame, edit: Edit) -> Frame {
    match edit {
        Edit::None => {}
        Edit::Push(bytes) => {
            let room = frame.data_ofs.min(bytes);
            frame.data_ofs -= room;
            frame.size += room as u32;
        }
        Edit::Pop => {
            frame.data_ofs += frame.size as u16 / 2;
            frame.size /= 2;
        }
    }
    frame
}

impl Packets {
    /// Frees them.
    pub fn free(self) {
        for packet in self.0 {
            // SAFETY: it was received, and is freed once.
            assert!(unsafe { pool::free_raw(packet) });
        }
    }
}

/// Operations on `ports` ports that are open at first, and opened again when they are used.
pub fn decode(bytes: &[u8], ports: usize) -> Vec<Op> {
    let mut input = Input(bytes);
    let mut ops: Vec<_> = (0..ports).map(Op::Open).collect();
    while !input.0.is_empty() {
        let op = input.byte();
        let n = op as usize / 16 + 1;
        let port = input.below(ports);
        ops.push(Op::Open(port));
        ops.push(match op % 16 {
            0..=5 => Op::Scribble {
                port,
                rx: input.below(2) == 0,
                scribble: input.scribble(),
            },
            6..=8 => Op::Recv {
                port,
                max: 2 * n,
                fill: true,
            },
            9 | 10 => Op::Send {
                port,
                packets: 2 * n,
                edit: match input.byte() {
                    0 => Edit::None,
                    n if n % 2 == 0 => Edit::Push(n.into()),
                    _ => Edit::Pop,
                },
            },
            11 => Op::SendForeign {
                port,
                frames: n,
                len: input.word() as usize % 5000,
            },
            12 => Op::Free(4 * n),
            13 if n.is_multiple_of(2) => Op::Attach(port),
            13 => Op::Flush,
            14 => Op::FreeOnThread(n),
            _ => Op::Close(port),
        });
    }
    ops
}

/// Bytes to make things of; zeros when they are used up.
pub struct Input<'a>(pub &'a [u8]);

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

    /// A write into a ring, half of all into its header, of what code gets wrong more often than a
    /// random number.
    pub fn scribble(&mut self) -> Scribble {
        const LEN: usize = BUF_SIZE as usize + 2;
        const MOREFRAG: u32 = 0x0020_0000;
        let place = match self.below(4) {
            // Up to the fields that netmap uses; the rest is padding.
            0 => Place::Header(self.below(72 / 4)),
            1 => Place::Header(self.below(SLOTS_OFFSET / 4)),
            2 => Place::Slots(self.below(16 * 4)),
            _ => Place::Slots(self.below(1 << 16)),
        };
        let word = match self.below(13) {
            0 => Word::Is(0),
            1 => Word::Is(1),
            2 => Word::NumSlots(-1),
            3 => Word::NumSlots(0),
            4 => Word::Is(u32::MAX),
            5 => Word::AfterHead(self.byte()),
            6 => Word::BeforeTail(self.byte()),
            7 => Word::BufOf(self.below(1 << 16)),
            8 => Word::Is(self.below(LEN) as u32),
            9 => Word::Is(MOREFRAG | self.below(LEN) as u32),
            // An index of a buffer, or a bit more.
            10 => Word::Is(self.below(4096) as u32),
            11 => Word::Is(i32::MAX as u32),
            _ => Word::Is(self.word()),
        };
        Scribble { place, word }
    }
}
