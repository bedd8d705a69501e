// SPDX-License-Identifier: Apache-2.0
//! A world that the tests play: an interface, a port on it, and a clock.

use proptest::prelude::*;

use super::*;

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

fn eth(ifindex: u32) -> Seen {
    Seen {
        ifindex,
        running: true,
        settings: (true, 1500),
        queues: (1, 1),
    }
}

fn opened(seen: Seen) -> Event {
    Event::Opened(Opened {
        ifindex: seen.ifindex,
        queues: Some(seen.queues),
    })
}

/// A port that is open on interface 1 since 10 s.
fn running() -> Machine {
    let mut port = Machine::default();
    port.on(ms(10_000), Event::Looked(Some(eth(1))));
    port.on(ms(10_000), opened(eth(1)));
    assert_eq!(port.state(), State::Running);
    port
}

#[test]
fn the_carrier_is_followed() {
    let mut port = running();
    let down = Seen {
        running: false,
        ..eth(1)
    };
    let actions = port.on(ms(10_001), Event::Looked(Some(down)));
    assert!(actions.changed && !actions.reopen);
    assert_eq!(port.state(), State::LinkDown);
    let actions = port.on(ms(10_002), Event::Looked(Some(down)));
    assert_eq!(actions, Actions::default());
    port.on(ms(10_003), Event::Looked(Some(eth(1))));
    assert_eq!(port.state(), State::Running);
}

#[test]
fn an_interface_that_leaves_is_let_go_once_and_taken_when_it_is_back() {
    let mut port = running();
    assert!(port.on(ms(10_001), Event::Looked(None)).reopen);
    assert_eq!(port.state(), State::Gone);
    // What was asked for is not asked for again.
    assert!(!port.on(ms(10_002), Event::Looked(None)).reopen);
    port.on(ms(10_003), Event::Closed);
    port.on(ms(10_003), Event::Failed(Failure::Gone));
    for t in 1..100 {
        assert_eq!(
            port.on(ms(10_003 + 1000 * t), Event::Timer),
            Actions::default()
        );
    }
    assert!(port.on(ms(200_000), Event::Looked(Some(eth(2)))).reopen);
    port.on(ms(200_001), opened(eth(2)));
    assert_eq!(port.state(), State::Running);
}

#[test]
fn one_that_returned_unseen_is_another_one() {
    for event in [Event::Lost, Event::Looked(Some(eth(2)))] {
        let mut port = running();
        assert!(port.on(ms(10_001), event).reopen);
        // Nobody did it.
        assert!(!port.on(ms(10_500), event).reopen);
        assert!(port.on(ms(11_500), event).reopen);
    }
}

#[test]
fn other_queues_have_it_opened_again_but_not_all_the_time() {
    let mut port = running();
    let more = Seen {
        queues: (4, 4),
        ..eth(1)
    };
    assert!(!port.on(ms(10_100), Event::Looked(Some(more))).reopen);
    assert!(port.on(ms(11_000), Event::Looked(Some(more))).reopen);
    port.on(ms(11_001), opened(more));
    assert!(!port.on(ms(13_000), Event::Looked(Some(more))).reopen);
    // A port on one queue does not care.
    let opened = Event::Opened(Opened {
        ifindex: 1,
        queues: None,
    });
    port.on(ms(13_001), opened);
    assert!(!port.on(ms(20_000), Event::Looked(Some(eth(1)))).reopen);
}

#[test]
fn pauses_grow_and_end() {
    for (failure, first, last) in [(Failure::Other, 100, 10_000), (Failure::Busy, 10, 1000)] {
        let mut port = Machine::default();
        port.on(ms(0), Event::Looked(Some(eth(1))));
        let (mut now, mut pauses) = (0, Vec::new());
        for _ in 0..12 {
            port.on(ms(now), Event::Failed(failure));
            let again = port.again().unwrap();
            assert!(!port.on(again - ms(1), Event::Timer).reopen);
            assert!(port.on(again, Event::Timer).reopen);
            pauses.push(again.as_millis() as u64 - now);
            now = again.as_millis() as u64;
        }
        assert_eq!((pauses[0], pauses[1], pauses[11]), (first, 2 * first, last));
        assert_eq!(port.failing(ms(now)).unwrap().1, ms(now));
        port.on(ms(now), opened(eth(1)));
        assert_eq!(port.failing(ms(now)), None);
        assert_eq!(port.again(), None);
    }
}

/// As an attempt to open a port makes the kernel tell of changes, and other interfaces change too.
#[test]
fn looks_that_show_nothing_new_do_not_shorten_a_pause() {
    let mut port = Machine::default();
    port.on(ms(0), Event::Looked(Some(eth(1))));
    let mut attempts = 0;
    port.on(ms(0), Event::Failed(Failure::Other));
    for now in (0..60_000).step_by(300) {
        if port.on(ms(now), Event::Looked(Some(eth(1)))).reopen {
            attempts += 1;
            port.on(ms(now), Event::Failed(Failure::Other));
        }
    }
    assert!(attempts <= 12, "{attempts}");
    // What may have been the reason does.
    let mtu = Seen {
        settings: (true, 1400),
        ..eth(1)
    };
    port.on(ms(60_000), Event::Failed(Failure::Other));
    assert!(!port.on(ms(60_050), Event::Looked(Some(mtu))).reopen);
    assert!(port.on(ms(60_100), Event::Timer).reopen);
}

#[test]
fn an_error_becomes_gone_with_the_interface() {
    let mut port = Machine::default();
    port.on(ms(0), Event::Looked(Some(eth(1))));
    port.on(ms(0), Event::Failed(Failure::Other));
    assert!(port.on(ms(1), Event::Looked(None)).changed);
    assert_eq!(port.state(), State::Gone);
    assert!(!port.on(ms(60_000), Event::Timer).reopen);
    assert!(port.on(ms(60_001), Event::Looked(Some(eth(2)))).reopen);
}

/// What happens in the world.
#[derive(Debug, Clone, Copy)]
enum World {
    Deleted,
    /// With this number and these queues.
    There(u32, u32),
    Up(bool),
    /// The next attempts to open the port fail.
    Refuses(bool),
    Passes(u64),
    /// The main thread forgets what it was asked.
    Forgets(bool),
}

fn world() -> impl Strategy<Value = World> {
    prop_oneof![
        Just(World::Deleted),
        (1..4u32, 1..4u32).prop_map(|(i, q)| World::There(i, q)),
        any::<bool>().prop_map(World::Up),
        any::<bool>().prop_map(World::Refuses),
        (1..3000u64).prop_map(World::Passes),
        any::<bool>().prop_map(World::Forgets),
    ]
}

proptest! {
    /// After any sequence of events and some quiet seconds, the port is what its interface is.
    #[test]
    fn it_ends_as_the_interface_is(events in prop::collection::vec(world(), 0..60)) {
        let mut port = Machine::default();
        let (mut now, mut there, mut refuses, mut forgets) = (0, Some(eth(1)), false, false);
        let mut open: Option<Seen> = None;
        let mut attempts = 0;
        let mut step = |port: &mut Machine, now: u64, there: Option<Seen>, refuses: bool, forgets: bool| {
            let looked = port.on(ms(now), Event::Looked(there));
            let timer = port.on(ms(now), Event::Timer);
            if (looked.reopen || timer.reopen) && !forgets {
                if open.take().is_some() {
                    port.on(ms(now), Event::Closed);
                }
                attempts += 1;
                match there {
                    None => drop(port.on(ms(now), Event::Failed(Failure::Gone))),
                    Some(_) if refuses => drop(port.on(ms(now), Event::Failed(Failure::Other))),
                    Some(seen) => {
                        open = Some(seen);
                        port.on(ms(now), opened(seen));
                    }
                }
            }
            open
        };
        port.on(ms(0), Event::Failed(Failure::Other));
        for event in events {
            match event {
                World::Deleted => there = None,
                World::There(ifindex, n) => {
                    there = Some(Seen { queues: (n, n), ..eth(ifindex) });
                }
                World::Up(up) => {
                    there = there.map(|seen| Seen { running: up, settings: (up, 1500), ..seen });
                }
                World::Refuses(on) => refuses = on,
                World::Forgets(on) => forgets = on,
                World::Passes(time) => now += time,
            }
            now += 1;
            step(&mut port, now, there, refuses, forgets);
        }
        let mut open = None;
        for _ in 0..60 {
            now += 400;
            open = step(&mut port, now, there, false, false);
        }
        match there {
            None => {
                prop_assert_eq!(port.state(), State::Gone);
                prop_assert_eq!(open, None);
            }
            Some(seen) => {
                let state = if seen.running { State::Running } else { State::LinkDown };
                prop_assert_eq!(port.state(), state);
                let open = open.unwrap();
                prop_assert_eq!((open.ifindex, open.queues), (seen.ifindex, seen.queues));
            }
        }
        // And nothing happens any more.
        let before = attempts;
        prop_assert!(before < 200);
    }
}
