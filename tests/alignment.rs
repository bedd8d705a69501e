// SPDX-License-Identifier: Apache-2.0
//! Ports that take frames only from aligned places in their buffers, as VALE switches do: a frame that
//! lies elsewhere, because a header was pushed or popped, is copied to one. The bytes are the same.

use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use ovs_netmap::config::EngineChoice;
use ovs_netmap::engine::{self, EnginePort, HEADROOM, OpenRequest, Opened};
use ovs_netmap::frames::{TxDesc, TxDescs};
use ovs_netmap::name::PortName;
use ovs_netmap::pool::{self, PacketLayout, Pool};
use ovs_netmap::rx::{RxDesc, RxQueue};
use ovs_netmap::throttle::Interval;
use ovs_netmap::tx::TxQueue;

const EXTRA: u32 = 64;

struct End {
    rx: RxQueue,
    tx: TxQueue,
    port: Box<dyn EnginePort>,
}

/// One end of a pipe, whose transmit ring takes frames from multiples of `alignment`.
fn open(name: &str, alignment: u32) -> (End, Arc<Pool>) {
    let name: PortName = name.parse().unwrap();
    let request = OpenRequest {
        name: &name,
        rings: 1,
        extra_bufs: EXTRA,
        region_bufs: 8192,
        buf_size: 2048,
        null_source: None,
    };
    let Opened {
        region,
        mut rings,
        extra,
        port,
    } = engine::open(EngineChoice::Userspace, &request).unwrap();
    let pool = Pool::of(&region).unwrap();
    let packet = PacketLayout {
        size: 300,
        init: |_| {},
    };
    pool.port_opened(extra, packet);
    let pair = rings.remove(0);
    let (rx_ring, mut tx_ring) = (pair.rx.unwrap(), pair.tx.unwrap());
    if alignment > 1 {
        tx_ring.ring.set_offset_alignment(alignment);
    }
    let takes = |offset: u32| tx_ring.ring.takes_offset(offset as usize);
    assert!(takes(0) && takes(HEADROOM));
    assert_eq!(takes(HEADROOM - 4), alignment <= 4);
    assert_eq!(takes(HEADROOM - 64), alignment <= 64);
    assert!(!takes(tx_ring.ring.max_offset() + alignment));
    let mut rx = RxQueue::new(Arc::clone(&pool));
    rx.add_ring(rx_ring, &Interval::new(0));
    let tx = TxQueue::new(
        Arc::clone(&pool),
        vec![tx_ring],
        Arc::new(AtomicU32::new(1522)),
    );
    (End { rx, tx, port }, pool)
}

/// The next packet.
#[allow(unsafe_code)]
fn receive(rx: &mut RxQueue) -> RxDesc {
    let mut descs = [const { MaybeUninit::<RxDesc>::uninit() }; 1];
    assert_eq!(rx.recv(&mut descs), 1);
    // SAFETY: `recv` wrote it.
    unsafe { descs[0].assume_init() }
}

/// Sends `size` bytes from `data`, in the buffer of `packet` if there is one.
#[allow(unsafe_code)]
fn send(tx: &mut TxQueue, packet: *mut std::ffi::c_void, data: *const u8, size: u32) {
    let descs = [TxDesc {
        packet,
        data: data.cast(),
        size,
    }];
    // SAFETY: the packet is ours, or null, and the bytes are readable.
    let frames = unsafe { TxDescs::new(&descs) };
    assert_eq!(tx.send(frames), 1);
}

#[test]
#[allow(unsafe_code)]
fn a_frame_at_an_odd_place_is_copied_to_an_aligned_one() {
    for alignment in [1, 4, 64] {
        let (mut a, pool) = open("netmap:x{1", alignment);
        let (mut b, _pool) = open("netmap:x}1", 1);
        let mut zero_copy = 0;
        // Headers of so many bytes are pushed (the frame starts earlier) or popped.
        let moves = [0_i32, -4, -8, -50, -64, -128, 4, 14, 50, 64];
        for (i, by) in moves.into_iter().enumerate() {
            // A packet of the region, with a frame in it.
            let first: Vec<u8> = (0..200).map(|byte| byte + i as u8).collect();
            send(&mut b.tx, std::ptr::null_mut(), first.as_ptr(), 200);
            let desc = receive(&mut a.rx);
            assert_eq!(u32::from(desc.data_ofs), HEADROOM);
            let offset = i32::from(desc.data_ofs) + by;
            let data = desc.base.wrapping_offset(offset as isize);
            let size = 200 - by;
            let sent: Vec<u8> = (0..size).map(|byte| (byte * 7 + i as i32) as u8).collect();
            // SAFETY: inside the buffer, which is ours as long as the packet is.
            unsafe { data.copy_from(sent.as_ptr(), sent.len()) };
            send(&mut a.tx, desc.packet, data, size as u32);
            zero_copy += u64::from((offset as u32).is_multiple_of(alignment));

            let desc = receive(&mut b.rx);
            assert_eq!(desc.size, sent.len() as u32);
            // SAFETY: inside the buffer of a packet in flight.
            let got = unsafe {
                std::slice::from_raw_parts(desc.base.add(desc.data_ofs.into()), sent.len())
            };
            assert_eq!(got, sent, "alignment {alignment}, moved by {by}");
            // SAFETY: in flight, and nobody else has it.
            pool::free(unsafe { pool::Packet::from_raw(desc.packet) }.unwrap());
        }
        let counters = a.tx.counters();
        assert_eq!(counters.zero_copy.get(), zero_copy, "alignment {alignment}");
        let all = moves.len() as u64;
        assert_eq!(counters.copied.get(), all - zero_copy);
        for End { rx, tx, port } in [a, b] {
            drop((rx, tx));
            port.close(pool.port_closed(EXTRA as usize));
        }
        let census = pool.census();
        assert_eq!(census.total, census.free, "{census:?}");
        pool.retire();
    }
}
