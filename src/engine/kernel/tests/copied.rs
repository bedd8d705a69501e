// SPDX-License-Identifier: Apache-2.0
//! A ring in a region that others write, and what OVS gets of it.

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::sync::Arc;

use netmap_sys::netmap::{NS_BUF_CHANGED, NS_MOREFRAG};

use crate::counters::RxCounters;

use crate::engine::kernel::netmap_if::tests::port;
use crate::engine::{Direction, HEADROOM, RingSync, SyncedRing};
use crate::index::{BufIdx, Owner};
use crate::pool::{self, Frame, PacketLayout, Pool};
use crate::region::RawBytes;
use crate::ring::{Ring, Slot};
use crate::rx::RxQueue;
use crate::throttle::Interval;

/// Nothing more comes.
struct Silent;

impl RingSync for Silent {
    fn sync(&mut self, _: &mut Ring) -> Result<(), i32> {
        Ok(())
    }
}

/// A receive queue on a ring of 32 slots whose buffers are 4 to 11, in turns, and packets.
struct Rig {
    queue: RxQueue,
    other_side: Ring,
    counters: Arc<RxCounters>,
    pool: Arc<Pool>,
    brought: usize,
}

fn layout() -> PacketLayout {
    PacketLayout::new(128, 0, 16, 1, |_| {}).expect("it fits")
}

impl Rig {
    fn new(copies: bool) -> Rig {
        let port = port(0);
        let region = Arc::clone(&port.region().buffers);
        let ring = port.ring(Direction::Rx, 0, 0).unwrap();
        let other_side = ring.other_side();
        for pos in 0..ring.num_slots() {
            let buf_idx = 4 + pos % 8;
            other_side.put_slot(
                pos,
                Slot {
                    buf_idx,
                    ..Slot::default()
                },
            );
        }
        let pool = Pool::of(&region, layout()).unwrap();
        let extra = [12, 13].map(|idx| region.claim(BufIdx(idx), Owner::OUTSIDE).unwrap());
        pool.port_opened(extra.into());
        let mut queue = RxQueue::new(Arc::clone(&pool));
        if copies {
            queue.copy_frames();
        }
        let synced = SyncedRing {
            ring,
            sync: Box::new(Silent),
        };
        let counters = queue.add_ring(synced, &Interval::new(0));
        Rig {
            queue,
            other_side,
            counters,
            pool,
            brought: 2,
        }
    }

    /// The other side fills the next slot.
    fn fill(&self, len: u16, flags: u16, byte: u8) {
        let pos = self.other_side.tail();
        let slot = self.other_side.slot(pos);
        let bytes = vec![byte; len.into()];
        self.write(slot.buf_idx, &bytes);
        self.other_side.put_slot(pos, Slot { len, flags, ..slot });
        self.other_side.set_tail(self.other_side.advance(pos, 1));
    }

    fn write(&self, idx: u32, bytes: &[u8]) {
        let written = self
            .pool
            .region()
            .write(BufIdx(idx), 0, RawBytes::from(bytes));
        assert!(written || bytes.len() > 2048);
    }

    fn recv(&mut self) -> Vec<*mut c_void> {
        let mut room = [MaybeUninit::uninit(); 32];
        let n = self.queue.recv(&mut room);
        // SAFETY: `recv` wrote the first `n`.
        #[allow(unsafe_code)]
        room[..n]
            .iter()
            .map(|packet| unsafe { packet.assume_init() })
            .collect()
    }

    fn close(self) {
        drop(self.queue);
        assert_eq!(self.pool.census().in_flight, 0);
        let bufs = self.pool.port_closed(self.brought);
        assert_eq!(bufs.len(), self.brought);
        self.pool.region().give_back(bufs);
        self.pool.retire();
    }
}

#[allow(unsafe_code)]
fn frame(packet: *mut c_void) -> (Frame, Vec<u8>) {
    // SAFETY: a packet that `recv` gave, of this layout, with its frame in readable memory.
    unsafe {
        let frame = layout().frame_of(packet);
        let bytes =
            std::slice::from_raw_parts(frame.base.add(frame.data_ofs.into()), frame.size as usize);
        (frame, bytes.to_vec())
    }
}

#[allow(unsafe_code)]
fn free(packet: *mut c_void) {
    // SAFETY: received, and freed once.
    assert!(unsafe { pool::free_raw(packet) });
}

#[test]
fn what_is_written_later_does_not_reach_the_packet() {
    for copies in [true, false] {
        let mut rig = Rig::new(copies);
        rig.fill(60, 0, 0xab);
        let packets = rig.recv();
        assert_eq!(packets.len(), 1);
        rig.write(4, &[0xee; 60]);
        let (frame, bytes) = frame(packets[0]);
        assert_eq!(bytes.iter().all(|&b| b == 0xab), copies);
        assert_eq!(frame.allocated, 2048);
        if copies {
            assert_eq!(frame.data_ofs, HEADROOM as u16);
            // The slot keeps its buffer.
            let slot = rig.other_side.slot(0);
            assert_eq!((slot.buf_idx, slot.flags & NS_BUF_CHANGED), (4, 0));
        }
        free(packets[0]);
        rig.close();
    }
}

#[test]
fn more_frames_than_packets_and_a_frame_in_parts() {
    let mut rig = Rig::new(true);
    rig.fill(1000, NS_MOREFRAG, 1);
    rig.fill(500, NS_MOREFRAG, 2);
    rig.fill(300, 0, 3);
    rig.fill(2048, 0, 4);
    rig.fill(60, 0, 5);
    let first = rig.recv();
    let lens: Vec<_> = first.iter().map(|&packet| frame(packet).1.len()).collect();
    assert_eq!(lens, [1800, 2048]);
    let (whole, bytes) = frame(first[0]);
    // No headroom left in a buffer's size.
    assert_eq!(
        (whole.data_ofs, bytes[999], bytes[1000], bytes[1500]),
        (0, 1, 2, 3)
    );
    assert!(rig.recv().is_empty());
    assert!(rig.counters.no_buffer.get() > 0);
    first.into_iter().for_each(free);
    let second = rig.recv();
    assert_eq!(second.len(), 1);
    assert_eq!(frame(second[0]).1, [5; 60]);
    second.into_iter().for_each(free);
    assert_eq!(rig.counters.packets.get(), 3);
    rig.close();
}

#[test]
fn bad_slots_are_counted_and_passed() {
    let mut rig = Rig::new(true);
    let bad = |rig: &Rig, slot: Slot| {
        let pos = rig.other_side.tail();
        rig.other_side.put_slot(pos, slot);
        rig.other_side.set_tail(rig.other_side.advance(pos, 1));
    };
    // A buffer that a packet has, none, one that does not exist.
    for buf_idx in [12, 0, 1, 16, u32::MAX] {
        bad(
            &rig,
            Slot {
                buf_idx,
                len: 60,
                ..Slot::default()
            },
        );
    }
    // Empty, or longer than a buffer.
    for len in [0, 2049, u16::MAX] {
        bad(
            &rig,
            Slot {
                buf_idx: 4,
                len,
                ..Slot::default()
            },
        );
    }
    for _ in 0..5 {
        bad(
            &rig,
            Slot {
                buf_idx: 4,
                len: 2048,
                flags: NS_MOREFRAG,
                ptr: 0,
            },
        );
    }
    bad(
        &rig,
        Slot {
            buf_idx: 5,
            len: 1,
            ..Slot::default()
        },
    );
    rig.fill(60, 0, 7);
    let packets = rig.recv();
    assert_eq!(packets.len(), 1);
    assert_eq!(frame(packets[0]).1, [7; 60]);
    free(packets[0]);
    let c = &rig.counters;
    let counts = (
        c.bad_index.get(),
        c.bad_length.get(),
        c.too_long.get(),
        c.packets.get(),
    );
    assert_eq!(counts, (5, 2, 2, 1));
    rig.close();
}
