// SPDX-License-Identifier: Apache-2.0
//! Ports that take frames only from aligned places in their buffers, as VALE switches do: a frame that
//! lies elsewhere, because a header was pushed or popped, is copied to one. The bytes are the same.

use std::ffi::c_void;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;

use ovs_netmap::config::EngineChoice;
use ovs_netmap::engine::{self, EnginePort, HEADROOM, OpenRequest, Opened};
use ovs_netmap::name::PortName;
use ovs_netmap::pool::{self, Frame, Pool};
use ovs_netmap::rx::RxQueue;
use ovs_netmap::throttle::Interval;
use ovs_netmap::tx::{Sent, TxQueue};

mod host;

use host::HostPacket;

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
    let pool = Pool::of(&region, host::layout()).unwrap();
    pool.port_opened(extra);
    let pair = rings.remove(0);
    let (rx_ring, mut tx_ring) = (pair.rx.unwrap(), pair.tx.unwrap());
    if alignment > 1 {
        tx_ring.ring.set_offset_alignment(alignment);
    }
    let takes = |offset: u32| tx_ring.ring.takes_offset(offset);
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

/// The next packet, and where its frame is.
fn receive(rx: &mut RxQueue) -> (*mut c_void, Frame) {
    let packets = host::recv(rx, 1);
    assert_eq!(packets.len(), 1);
    (packets[0], host::frame_of(packets[0]))
}

fn send(tx: &mut TxQueue, packet: *mut c_void) -> Sent {
    let sent = host::send(tx, &mut [packet]);
    assert_eq!(sent.frames, 1);
    sent
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
        for (round, by) in moves.into_iter().enumerate() {
            // A packet of the region, with a frame in it.
            let first: Vec<u8> = (0..200).map(|byte| byte + round as u8).collect();
            assert_eq!(
                send(&mut b.tx, HostPacket::foreign(&first).raw()).returned,
                1
            );
            let (packet, mut frame) = receive(&mut a.rx);
            assert_eq!(u32::from(frame.data_ofs), HEADROOM);
            frame.data_ofs = frame.data_ofs.wrapping_add_signed(by as i16);
            frame.size = frame.size.wrapping_add_signed(-by);
            host::set_frame(packet, frame);
            let byte = |i: u32| (i * 7 + round as u32) as u8;
            let sent: Vec<u8> = (0..frame.size).map(byte).collect();
            // SAFETY: inside the buffer, which is ours as long as the packet is.
            unsafe {
                let data = frame.base.add(frame.data_ofs.into());
                data.copy_from(sent.as_ptr(), sent.len());
            }
            assert_eq!(send(&mut a.tx, packet).returned, 0);
            zero_copy += u64::from(u32::from(frame.data_ofs).is_multiple_of(alignment));

            let (packet, frame) = receive(&mut b.rx);
            assert_eq!(frame.size, sent.len() as u32);
            // SAFETY: inside the buffer of a packet in flight.
            let got = unsafe {
                std::slice::from_raw_parts(frame.base.add(frame.data_ofs.into()), sent.len())
            };
            assert_eq!(got, sent, "alignment {alignment}, moved by {by}");
            // SAFETY: in flight, and nobody else has it.
            assert!(unsafe { pool::free_raw(packet) });
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
