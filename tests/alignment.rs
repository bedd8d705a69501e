// SPDX-License-Identifier: Apache-2.0
//! Ports that take frames only from aligned places in their buffers, as VALE switches do: a frame that
//! lies elsewhere, because a header was pushed or popped, is copied to one. The bytes are the same.

use std::ffi::c_void;

use ovs_netmap::test_utils::engine::HEADROOM;
use ovs_netmap::test_utils::fake_ovs::{self, OvsPacket, Parts};
use ovs_netmap::test_utils::pool::{self, Frame};
use ovs_netmap::test_utils::rx::RxQueue;
use ovs_netmap::test_utils::tx::{Sent, TxQueue};

/// One end of a pipe, whose transmit ring takes frames from multiples of `alignment`.
fn open(name: &str, alignment: u32) -> Parts {
    let parts = Parts::open(name, 64, 8192, alignment);
    let ring = &parts.rings[1];
    assert!(ring.takes_offset(0) && ring.takes_offset(HEADROOM));
    assert_eq!(ring.takes_offset(HEADROOM - 4), alignment <= 4);
    assert_eq!(ring.takes_offset(HEADROOM - 64), alignment <= 64);
    assert!(!ring.takes_offset(ring.max_offset() + alignment));
    parts
}

/// The next packet, and where its frame is.
fn receive(rx: &mut RxQueue) -> (*mut c_void, Frame) {
    let packets = fake_ovs::recv(rx, 1);
    assert_eq!(packets.len(), 1);
    (packets[0], fake_ovs::frame_of(packets[0]))
}

fn send(tx: &mut TxQueue, packet: *mut c_void) -> Sent {
    let sent = fake_ovs::send(tx, &mut [packet]);
    assert_eq!(sent.frames, 1);
    sent
}

#[test]
#[allow(unsafe_code)]
fn a_frame_at_an_odd_place_is_copied_to_an_aligned_one() {
    for alignment in [1, 4, 64] {
        let mut a = open("netmap:x{1", alignment);
        let mut b = open("netmap:x}1", 1);
        let mut zero_copy = 0;
        // Headers of so many bytes are pushed (the frame starts earlier) or popped.
        let moves = [0_i32, -4, -8, -50, -64, -128, 4, 14, 50, 64];
        for (round, by) in moves.into_iter().enumerate() {
            // A packet of the region, with a frame in it.
            let first: Vec<u8> = (0..200).map(|byte| byte + round as u8).collect();
            assert_eq!(
                send(&mut b.tx, OvsPacket::foreign(&first).raw()).returned,
                1
            );
            let (packet, mut frame) = receive(&mut a.rx);
            assert_eq!(u32::from(frame.data_ofs), HEADROOM);
            frame.data_ofs = frame.data_ofs.wrapping_add_signed(by as i16);
            frame.size = frame.size.wrapping_add_signed(-by);
            fake_ovs::set_frame(packet, frame);
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
        let counters = &a.tx_counters;
        assert_eq!(counters.zero_copy.get(), zero_copy, "alignment {alignment}");
        let all = moves.len() as u64;
        assert_eq!(counters.copied.get(), all - zero_copy);
        a.close();
        b.close();
        assert!(pool::pools().is_empty());
    }
}
