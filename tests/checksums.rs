// SPDX-License-Identifier: Apache-2.0
//! Partial checksums are completed on the way from a ring to Open vSwitch, where the port says so.

use std::ffi::c_void;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};

use ovs_netmap::test_utils::burst::{CsumList, PacketCsum};
use ovs_netmap::test_utils::config::PortConfig;
use ovs_netmap::test_utils::fake_ovs::{self, OvsPacket, Parts};
use ovs_netmap::test_utils::offload::RxCsum;
use ovs_netmap::test_utils::policer::Policer;
use ovs_netmap::test_utils::pool::Frame;
use ovs_netmap::test_utils::port::Port;
use ovs_netmap::{Limits, RxQueue, TxBurst};

/// Ports are named in a table of the process, so tests take turns.
static TURN: Mutex<()> = Mutex::new(());

fn open(name: &str, rx_csum: RxCsum) -> Port {
    let opened = Port::open(&PortConfig {
        rxsync_interval_us: Some(0),
        rx_csum,
        ..PortConfig::new(name, fake_ovs::layout())
    });
    opened.unwrap_or_else(|error| panic!("{error}"))
}

/// A UDP datagram of 4 bytes from 10.0.0.1 to 10.0.0.2 with `checksum`.
fn udp(checksum: u16) -> Vec<u8> {
    let mut frame = vec![2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0];
    frame.extend([0x45, 0, 0, 32, 0, 0, 0x40, 0, 64, 17, 0x66, 0xc6]);
    frame.extend([10, 0, 0, 1, 10, 0, 0, 2]);
    frame.extend([0, 9, 0, 9, 0, 12]);
    frame.extend(checksum.to_be_bytes());
    frame.extend(*b"abcd");
    frame
}

/// The sum of the pseudo header alone, and the checksum.
const PARTIAL: u16 = 0x0a00 + 1 + 0x0a00 + 2 + 17 + 12;
const FULL: u16 = 0x26fb;

/// The frame of a packet that was received.
#[allow(unsafe_code)]
fn bytes_of(&raw: &*mut c_void) -> Vec<u8> {
    let frame = fake_ovs::frame_of(raw);
    // SAFETY: a packet that was received, whose bytes nobody writes now.
    unsafe {
        let data = frame.base.add(frame.data_ofs as usize);
        std::slice::from_raw_parts(data, frame.size as usize).to_vec()
    }
}

/// Sends frames with these checksums from one end of a pipe to the other; what arrives there, and how many were
/// completed.
#[allow(unsafe_code)]
fn pass(checksums: &[u16], rx_csum: RxCsum) -> (Vec<Vec<u8>>, u64) {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let from = open("netmap:csum{1", RxCsum::Off);
    let to = open("netmap:csum}1", rx_csum);
    let frames: Vec<_> = checksums.iter().map(|&sum| udp(sum)).collect();
    let mut foreign: Vec<_> = frames.iter().map(|f| OvsPacket::foreign(f)).collect();
    let mut packets: Vec<_> = foreign.iter_mut().map(OvsPacket::raw).collect();
    // SAFETY: this thread alone uses the port.
    let sent =
        unsafe { from.txqs()[0].assume_unshared(|queue| fake_ovs::send(queue, &mut packets)) };
    assert_eq!(sent.frames, frames.len());
    // SAFETY: this thread alone uses the port.
    let received = unsafe { to.rxqs()[0].assume_unshared(|queue| fake_ovs::recv(queue, 32)) };
    let arrived = received.iter().map(bytes_of).collect();
    for raw in received {
        // SAFETY: a packet of ours, which is not used any more.
        assert!(unsafe { ovs_netmap::test_utils::pool::free_raw(raw) });
    }
    let counters = to.state().counters();
    let completed = counters
        .iter()
        .find(|(name, _)| name == "rxq0_csum_completed");
    (arrived, completed.expect("a counter").1)
}

#[test]
fn partial_checksums_are_completed_and_counted() {
    let (arrived, completed) = pass(&[PARTIAL, FULL, PARTIAL + 1, PARTIAL], RxCsum::On);
    assert_eq!(arrived, [FULL, FULL, PARTIAL + 1, FULL].map(udp));
    assert_eq!(completed, 2);
}

/// A burst is received from a pipe; what is listed as partial is sent into another one, whose engine completes
/// nothing, so that the library does.
#[test]
#[allow(unsafe_code)]
fn what_was_left_partial_is_completed_where_it_leaves() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let ends = [
        "netmap:left{1",
        "netmap:left}1",
        "netmap:left{2",
        "netmap:left}2",
    ];
    let ports = ends.map(|name| open(name, RxCsum::On));
    assert!(!ports[2].offers_csum());
    let sent = [PARTIAL, FULL, PARTIAL + 1, PARTIAL].map(udp);
    let mut foreign: Vec<_> = sent.iter().map(|f| OvsPacket::foreign(f)).collect();
    let mut packets: Vec<_> = foreign.iter_mut().map(OvsPacket::raw).collect();
    let mut received = [std::mem::MaybeUninit::uninit(); 32];
    let mut room = [std::mem::MaybeUninit::uninit(); 32];
    // SAFETY: this thread alone uses the ports; what is listed is of packets just received.
    let n_csums = unsafe {
        ports[0].txqs()[0].assume_unshared(|queue| fake_ovs::send(queue, &mut packets));
        let mut list = CsumList::new(&mut room);
        let recv = |queue: &mut RxQueue| queue.recv_csums(&mut received, &mut list);
        assert_eq!(ports[1].rxqs()[0].assume_unshared(recv), 4);
        list.count()
    };
    // SAFETY: as many were written.
    let (mut received, csums) = unsafe {
        let csums: Vec<PacketCsum> = room[..n_csums].iter().map(|c| c.assume_init()).collect();
        (
            received[..4]
                .iter()
                .map(|p| p.assume_init())
                .collect::<Vec<_>>(),
            csums,
        )
    };
    let csum = |packet| PacketCsum {
        packet,
        start: 34,
        offset: 6,
    };
    assert_eq!(csums, [csum(0), csum(3)]);
    let arrived: Vec<_> = received.iter().map(bytes_of).collect();
    assert_eq!(arrived, sent);

    // A place that is not there is passed over.
    let nowhere = PacketCsum {
        packet: 77,
        ..csum(0)
    };
    let outside = PacketCsum {
        packet: 1,
        start: 40,
        offset: 6,
    };
    let all = [&csums[..], &[nowhere, outside]].concat();
    // SAFETY: this thread alone uses the ports, and the packets are its own.
    unsafe {
        let burst = TxBurst::new(&mut received, fake_ovs::layout()).with_csums(&all);
        let sent = ports[2].txqs()[0].assume_unshared(|queue| queue.send(burst));
        assert_eq!((sent.frames, sent.returned), (4, 0));
        let received = ports[3].rxqs()[0].assume_unshared(|queue| fake_ovs::recv(queue, 32));
        let arrived: Vec<_> = received.iter().map(bytes_of).collect();
        assert_eq!(arrived, [FULL, FULL, PARTIAL + 1, FULL].map(udp));
        for raw in received {
            assert!(ovs_netmap::test_utils::pool::free_raw(raw));
        }
    }
}

/// A packet of `a`'s region, which came from `b`, with a frame whose checksum is partial at `data_ofs`.
#[allow(unsafe_code)]
fn partial_packet(a: &mut Parts, b: &mut Parts, data_ofs: u16) -> *mut c_void {
    let frame = udp(PARTIAL);
    fake_ovs::send(&mut b.tx, &mut [OvsPacket::foreign(&frame).raw()]);
    let raw = fake_ovs::recv(&mut a.rx, 1)[0];
    let moved = Frame {
        data_ofs,
        ..fake_ovs::frame_of(raw)
    };
    fake_ovs::set_frame(raw, moved);
    // SAFETY: inside the buffer of a packet that is the test's.
    unsafe {
        moved
            .base
            .add(data_ofs.into())
            .copy_from(frame.as_ptr(), frame.len())
    };
    raw
}

/// Sends it as partial from `a`; what arrives at `b`, with the bytes in front of it.
#[allow(unsafe_code)]
fn sent_as_partial(a: &mut Parts, b: &mut Parts, raw: *mut c_void) -> Option<(Vec<u8>, Vec<u8>)> {
    let csums = [PacketCsum {
        packet: 0,
        start: 34,
        offset: 6,
    }];
    let mut packets = [raw];
    // SAFETY: the packet is the test's, and so is the memory that its frame is in.
    let burst = unsafe { TxBurst::new(&mut packets, fake_ovs::layout()).with_csums(&csums) };
    a.tx.send(burst);
    let received = fake_ovs::recv(&mut b.rx, 1);
    let raw = received.first()?;
    let Frame { base, data_ofs, .. } = fake_ovs::frame_of(*raw);
    let front = usize::from(data_ofs).min(24);
    // SAFETY: inside the buffer of a packet that is the test's.
    let front = unsafe {
        std::slice::from_raw_parts(base.add(usize::from(data_ofs) - front), front).to_vec()
    };
    let bytes = bytes_of(raw);
    // SAFETY: a packet of ours, which is not used any more.
    assert!(unsafe { ovs_netmap::test_utils::pool::free_raw(*raw) });
    Some((bytes, front))
}

#[test]
fn the_other_side_is_asked_where_it_can_and_nobody_else() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let open = |name| Parts::open(name, 64, 8192, 1);
    let (mut a, mut b) = (open("netmap:ask{1"), open("netmap:ask}1"));
    a.leave_csums();
    let counts = |a: &Parts| {
        (
            a.tx_counters.csum_offloaded.get(),
            a.tx_counters.csum_completed.get(),
        )
    };

    // It goes by exchanging buffers: asked, in struct xsk_tx_metadata.
    let packet = partial_packet(&mut a, &mut b, 256);
    let (bytes, front) = sent_as_partial(&mut a, &mut b, packet).unwrap();
    let mut metadata = [0; 24];
    metadata[..8].copy_from_slice(&2_u64.to_ne_bytes());
    metadata[8..10].copy_from_slice(&34_u16.to_ne_bytes());
    metadata[10..12].copy_from_slice(&6_u16.to_ne_bytes());
    assert_eq!((bytes, &front[..]), (udp(PARTIAL), &metadata[..]));
    assert_eq!(counts(&a), (1, 0));

    // No room in front of it: it is completed, and copied to where it may lie.
    let packet = partial_packet(&mut a, &mut b, 23);
    let (bytes, front) = sent_as_partial(&mut a, &mut b, packet).unwrap();
    assert_eq!((bytes, front.len()), (udp(FULL), 24));
    assert_eq!(counts(&a), (1, 1));

    // Asked for, then copied nevertheless, as the frame is too long: it is not half done.
    a.max_frame.store(20, Ordering::Relaxed);
    let packet = partial_packet(&mut a, &mut b, 256);
    assert_eq!(sent_as_partial(&mut a, &mut b, packet), None);
    a.max_frame.store(1522, Ordering::Relaxed);

    // A policer moves packets about.
    let policer = Arc::new(Policer::default());
    policer.set(Limits::egress(1 << 40, 1 << 40));
    a.tx.police(&policer);
    let packet = partial_packet(&mut a, &mut b, 256);
    let (bytes, _) = sent_as_partial(&mut a, &mut b, packet).unwrap();
    assert_eq!(bytes, udp(FULL));
    policer.set(Limits::default());

    // Others' packets are copied, so that nobody would find metadata.
    let mut frame = udp(PARTIAL);
    let mut foreign = OvsPacket::foreign(&[]);
    foreign.frame.base = frame.as_mut_ptr();
    foreign.frame.size = frame.len() as u32;
    let (bytes, _) = sent_as_partial(&mut a, &mut b, foreign.raw()).unwrap();
    assert_eq!((bytes, frame), (udp(FULL), udp(FULL)));
    a.close();
    b.close();
}

#[test]
fn a_port_without_an_interface_is_left_alone() {
    let (arrived, completed) = pass(&[PARTIAL, FULL], RxCsum::Auto);
    assert_eq!(arrived, [PARTIAL, FULL].map(udp));
    assert_eq!(completed, 0);
}
