// SPDX-License-Identifier: Apache-2.0
//! No buffer is ever lost or in two places: arbitrary interleavings of open, close, receive, send and
//! free, on pipes and null ports, from threads with and without caches.

use std::sync::Mutex;

use ovs_netmap::test_utils::config::{self, BufSize, Config, EngineChoice};
use ovs_netmap::test_utils::engine::{self, OpenRequest};
use ovs_netmap::test_utils::fake_ovs;
use ovs_netmap::test_utils::op_model::{Edit, Op, Packets, World, open};
use ovs_netmap::test_utils::pool::{self, Frame};
use ovs_netmap::test_utils::port::Port;
use ovs_netmap::test_utils::show::show;
use proptest::prelude::*;

const NAMES: [&str; 5] = ["netmap:a{1", "netmap:a}1", "netmap:b{1", "null:0", "null:1"];

/// Ports are named in a table of the process, so tests take turns.
static TURN: Mutex<()> = Mutex::new(());

fn op() -> impl Strategy<Value = Op> {
    let port = 0..NAMES.len();
    prop_oneof![
        2 => port.clone().prop_map(Op::Open),
        1 => port.clone().prop_map(Op::Close),
        6 => (port.clone(), 1..=32_usize, any::<bool>())
            .prop_map(|(port, max, fill)| Op::Recv { port, max, fill }),
        6 => (port.clone(), 1..=32_usize, edit())
            .prop_map(|(port, packets, edit)| Op::Send { port, packets, edit }),
        3 => (port.clone(), 1..=32_usize, 1..9500_usize)
            .prop_map(|(port, frames, len)| Op::SendForeign { port, frames, len }),
        2 => (1..=80_usize).prop_map(Op::Free),
        2 => (1..=80_usize).prop_map(Op::FreeOnThread),
        2 => port.prop_map(Op::Attach),
        1 => Just(Op::Flush),
    ]
}

fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        Just(Edit::None),
        (1..=255_u16).prop_map(Edit::Push),
        Just(Edit::Pop),
    ]
}

fn world() -> World {
    World::new(&NAMES, None)
}

fn recv(port: usize, max: usize) -> Op {
    let fill = false;
    Op::Recv { port, max, fill }
}

fn send(port: usize, packets: usize) -> Op {
    let edit = Edit::None;
    Op::Send {
        port,
        packets,
        edit,
    }
}

fn small_regions() {
    config::set(Config {
        extra_bufs: 96,
        region_bufs: 8192,
        ..Config::DEFAULT
    });
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, ..ProptestConfig::default() })]

    #[test]
    fn buffers_are_conserved(ops in prop::collection::vec(op(), 1..120)) {
        let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
        small_regions();
        let mut world = world();
        for op in &ops {
            world.run(op);
        }
        world.end();
    }
}

/// Threads that receive, forward, free each other's packets, and come and go, more than there are
/// processors.
#[test]
fn threads_lose_nothing() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    small_regions();
    let n = 2 * std::thread::available_parallelism().map_or(4, usize::from);
    let names: Vec<_> = (0..n).map(|i| format!("null:{i}")).collect();
    let ports: Vec<_> = names.iter().map(|name| open(name, None).unwrap()).collect();
    let mailbox = Mutex::new(Vec::<Packets>::new());
    std::thread::scope(|scope| {
        for (i, port) in ports.iter().enumerate() {
            let mailbox = &mailbox;
            scope.spawn(move || forward_and_swap(port, i, mailbox));
        }
    });
    mailbox
        .into_inner()
        .unwrap()
        .into_iter()
        .for_each(Packets::free);
    let text = show();
    assert!(text.contains(" cached=0 in_flight=0 "), "{text}");
    assert!(!text.contains("UNBALANCED"), "{text}");
    drop(ports);
    assert!(pool::pools().is_empty(), "{}", show());
}

#[allow(unsafe_code)]
fn forward_and_swap(port: &Port, i: usize, mailbox: &Mutex<Vec<Packets>>) {
    for round in 0..3000 {
        if round % 500 == i {
            fake_ovs::pool_of(port).attach_thread();
        }
        if round % 700 == 699 {
            pool::flush_thread();
        }
        // SAFETY: each thread has a port of its own.
        let mut got = unsafe { port.rxqs()[0].assume_unshared(|queue| fake_ovs::recv(queue, 32)) };
        match round % 4 {
            0 => {
                // Leave these to another thread, and free what one left before.
                let mut mailbox = mailbox.lock().unwrap();
                let theirs = (mailbox.len() > 2).then(|| mailbox.remove(0));
                mailbox.push(Packets(got));
                drop(mailbox);
                theirs.into_iter().for_each(Packets::free);
            }
            1 => Packets(got).free(),
            _ => {
                // SAFETY: each thread has a port of its own.
                unsafe { port.txqs()[0].assume_unshared(|queue| fake_ovs::send(queue, &mut got)) };
            }
        }
    }
}

/// Rings are a port's alone, whatever name they are asked for by.
#[test]
fn a_port_is_open_once() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    small_regions();
    let _pipe = open("netmap:once{1", None).unwrap();
    let _null = open("null:9", None).unwrap();
    for name in ["netmap:once{1", "once{1", "netmap:once{1@7", "null:9"] {
        let error = open(name, None).err().unwrap();
        assert_eq!(error.errno(), libc::EBUSY, "{error}");
        let text = error.to_string();
        assert!(
            text.contains("delete") && text.contains("open as interface"),
            "{text}"
        );
    }
    assert!(open("netmap:once}1", None).is_ok());
}

/// netmap's largest buffers have a byte more than OVS can count: a packet has room for headers in front
/// and behind all the same, and no frame reaches the last byte.
#[test]
#[allow(unsafe_code)]
fn the_largest_buffers() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let name = "null:7".parse().unwrap();
    let mut request = OpenRequest::small(&name);
    request.process.region_bufs = 256;
    request.process.buf_size = BufSize::Bytes(65536);
    let mut opened = engine::open(&request).unwrap();
    let pool = pool::Pool::of(&opened.region, fake_ovs::layout()).unwrap();
    let brought = opened.extra.len();
    pool.port_opened(std::mem::take(&mut opened.extra));
    let (mut rx, counters) = fake_ovs::rx_queue(&pool, opened.rings[0].rx.take().unwrap());
    let packets = fake_ovs::recv(&mut rx, 32);
    assert_eq!(packets.len(), 32);
    for &packet in &packets {
        let frame = fake_ovs::frame_of(packet);
        assert_eq!(frame.allocated, 65535);
        assert!(frame.data_ofs >= 256 && frame.size == 64);
    }
    Packets(packets).free();
    assert_eq!(counters.packets.get(), 32);
    drop((rx, opened.rings));
    opened.port.close(pool.port_closed(brought));
    pool.retire();
}

/// A resize moves the data to malloc memory: such a packet is copied on send, and comes back whole.
#[test]
#[allow(unsafe_code)]
fn moved_packets_survive_a_send() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    small_regions();
    let mut world = world();
    for op in [Op::Open(0), Op::Open(1), Op::Open(3), recv(3, 4)] {
        world.run(&op);
    }
    for &packet in &world.held {
        // SAFETY: malloc memory that the packet takes over.
        let base = unsafe {
            let memory = libc::malloc(256).cast::<u8>();
            memory.write_bytes(0xab, 256);
            pool::Packet::moved_to(packet, memory.cast());
            memory
        };
        let frame = Frame {
            base,
            allocated: 256,
            data_ofs: 10,
            size: 200,
        };
        fake_ovs::set_frame(packet, frame);
    }
    world.run(&send(0, 4));
    world.run(&recv(1, 32));
    world.check();
    assert_eq!(world.held.len(), 4);
    for &packet in &world.held {
        let frame = fake_ovs::frame_of(packet);
        assert_eq!((frame.size, frame.data_ofs), (200, 256));
        // SAFETY: the frame lies in the packet's buffer, and nobody writes it now.
        let bytes = unsafe { std::slice::from_raw_parts(frame.base.add(256), 200) };
        assert!(bytes.iter().all(|&b| b == 0xab));
    }
    let copied = world.port(0).unwrap().state().counters();
    assert!(copied.contains(&("txq0_copied".to_owned(), 4)));
    world.take(usize::MAX).free();
}

/// Ports in different regions exchange frames by copies, and both regions stay whole.
#[test]
fn between_regions_frames_are_copied() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    config::set(Config {
        extra_bufs: 96,
        region_bufs: 4096,
        ..Config::DEFAULT
    });
    let mut world = world();
    world.run(&Op::Open(3));
    // 2048 slots and twice 96 packets each: one pipe a region, beside the null port's 224 buffers.
    world.run(&Op::Open(0));
    world.run(&Op::Open(2));
    let region = |p: usize| fake_ovs::pool_of(world.port(p).unwrap()).id();
    assert_ne!(region(3), region(2), "{}", show());
    for _ in 0..20 {
        world.run(&recv(3, 32));
        world.run(&send(2, 32));
        world.check();
    }
    let counters = world.port(2).unwrap().state().counters();
    let count = |name: &str| counters.iter().find(|c| c.0 == name).unwrap().1;
    assert!(count("txq0_copied") >= 511 && count("txq0_zero_copy") == 0);
}

/// A frame over several slots becomes one packet; one that is longer than any MTU is dropped and counted.
#[test]
#[allow(unsafe_code)]
fn frames_over_several_slots() {
    use netmap_sys::netmap::NS_MOREFRAG;
    use ovs_netmap::test_utils::index::BufIdx;
    use ovs_netmap::test_utils::region::RawBytes;
    use std::sync::Arc;

    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    let open = |text: &str| {
        let name = text.parse().unwrap();
        let mut request = OpenRequest::small(&name);
        request.process.region_bufs = 8192;
        request.process.engine = EngineChoice::Userspace;
        engine::open(&request).unwrap()
    };
    let (mut from, mut to) = (open("netmap:f{1"), open("netmap:f}1"));
    let region = Arc::clone(&from.region);
    let mut out = from.rings[0].tx.take().unwrap();
    let pool = pool::Pool::of(&region, fake_ovs::layout()).unwrap();
    let brought = to.extra.len();
    pool.port_opened(std::mem::take(&mut to.extra));
    let (mut rx, counters) = fake_ovs::rx_queue(&pool, to.rings[0].rx.take().unwrap());

    // Lengths of the slots of each frame, and whether the frame arrives.
    let frames: [(&[u16], bool); 11] = [
        (&[0, 70], true),
        (&[60], true),
        (&[1000, 400, 7], true),
        (&[1500, 300], true),
        (&[100, 100], true),
        (&[1700, 1700, 1700], true),
        (&[900, 892], true),
        // As long as can be, and one more.
        (&[1792, 1792, 1792, 1792, 1792, 278], true),
        (&[1792, 1792, 1792, 1792, 1792, 279], false),
        // As many slots as can be, and one more.
        (&[100; 64], true),
        (&[100; 65], false),
    ];
    let mut fill = 0_u8;
    for (lens, arrives) in frames {
        let mut whole = Vec::new();
        let mut batch = out.ring.batch().unwrap();
        for (i, &len) in lens.iter().enumerate() {
            fill = fill.wrapping_add(1);
            let last = i + 1 == lens.len();
            if last && i > 0 {
                // All but the last slot first: nothing is received until the frame is complete.
                batch.commit();
                out.sync().unwrap();
                assert!(fake_ovs::recv(&mut rx, 32).is_empty());
                batch = out.ring.batch().unwrap();
            }
            let mut slot = batch.slot(0);
            let offset = if i == 0 { 256 } else { 11 };
            let bytes = vec![fill; len as usize];
            slot.len = len;
            slot.ptr = offset;
            slot.flags = if last { 0 } else { NS_MOREFRAG };
            region.write(
                BufIdx(slot.buf_idx),
                offset as u32,
                RawBytes::from(&bytes[..]),
            );
            batch.pass(slot);
            whole.extend(bytes);
        }
        batch.commit();
        out.sync().unwrap();
        let received = fake_ovs::recv(&mut rx, 32);
        assert_eq!(received.len(), arrives as usize, "{lens:?}");
        for packet in received {
            let frame = fake_ovs::frame_of(packet);
            assert_eq!(frame.size as usize, whole.len());
            // SAFETY: they lie in the packet's buffer, and nobody writes them now.
            let bytes = unsafe {
                let data = frame.base.add(frame.data_ofs as usize);
                std::slice::from_raw_parts(data, whole.len())
            };
            assert_eq!(bytes, whole);
            Packets(vec![packet]).free();
        }
    }
    assert_eq!(counters.too_long.get(), 2);
    assert_eq!(counters.packets.get(), 9);
    assert_eq!(counters.several_slots.get(), 8);

    drop((rx, out));
    drop((
        std::mem::take(&mut from.rings),
        std::mem::take(&mut to.rings),
    ));
    from.port.close(from.extra);
    to.port.close(pool.port_closed(brought));
    pool.retire();
    assert!(pool::pools().is_empty());
}

/// What is sent minus what arrives is what is counted.
#[test]
fn a_full_pipe_counts_what_it_drops() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    small_regions();
    let mut world = world();
    world.run(&Op::Open(0));
    world.run(&Op::Open(1));
    for _ in 0..100 {
        world.run(&Op::SendForeign {
            port: 0,
            frames: 32,
            len: 100,
        });
    }
    let mut arrived = 0;
    loop {
        world.run(&recv(1, 32));
        if world.held.is_empty() {
            break;
        }
        arrived += world.held.len() as u64;
        world.take(usize::MAX).free();
    }
    let sender = world.port(0).unwrap().state().stats();
    assert_eq!(sender.tx_packets, arrived);
    assert_eq!(sender.tx_packets + sender.tx_dropped, 3200);
    assert!(sender.tx_dropped > 0);
}

/// The last packet of a pool comes back while the next port of its region is being opened: the region
/// stays, so the buffers must be free again in it.
#[test]
fn a_region_that_stays_gets_its_buffers_back() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    small_regions();
    let mut world = world();
    // Unchecked: there is a port that the report does not know.
    world.step(&Op::Open(3));
    world.step(&recv(3, 8));
    let name = NAMES[4].parse().unwrap();
    let mut request = OpenRequest::small(&name);
    request.process.extra_bufs = 96;
    request.process.region_bufs = 8192;
    request.process.engine = EngineChoice::Userspace;
    let opened = engine::open(&request).unwrap();
    world.close(3);
    world.take(usize::MAX).free();
    assert!(pool::pools().is_empty(), "{}", show());
    let (region, extra) = (opened.region, opened.extra);
    let unassigned = region.backing().unassigned().unwrap();
    let found = unassigned + region.in_rings() + extra.len() as u32;
    assert_eq!(found, region.usable_bufs());
    drop(opened.rings);
    opened.port.close(extra);
}

/// A port that is open cannot be opened again, and says who has it.
#[test]
fn open_twice_is_refused() {
    let _turn = TURN.lock().unwrap_or_else(|e| e.into_inner());
    small_regions();
    let _port = open("null:7", None).unwrap();
    let error = open("null:7", None).err().unwrap();
    assert_eq!(error.errno(), libc::EBUSY);
    assert!(
        error
            .to_string()
            .contains("already open as interface null:7")
    );
}
