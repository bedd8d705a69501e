// SPDX-License-Identifier: Apache-2.0
//! Interfaces that go down.
//!
//! When an interface is about to go down, netmap locks its rings (`NETDEV_GOING_DOWN`), before anybody can
//! see that in its flags. A sync call then sleeps until the interface is up again, deaf to signals, and Open
//! vSwitch waits for the thread that made it. poll(2) sleeps just the same, and no call tells whether it
//! would. So a call that sleeps cannot be prevented: it is woken. A thread that uses nothing that others
//! hold hears from the kernel that the interface is down, and
//!
//! 1. shuts the gate of each port on it: no further sync is called until the interface is up again;
//! 2. opens and closes a monitor of the port's rings, which unlocks them: there is no other request that
//!    does. A call that slept ends with its sync. The driver is down by then, and the generic adapter and
//!    netmap's own drivers ask for the carrier first.
//!
//! If the interface is deleted, netmap wakes the calls itself, and they fail.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use netmap_sys::netmap::NS_MOREFRAG;
use parking_lot::Mutex;

use super::device::Device;
use super::given::GivenAway;
use crate::abi::{NR_MONITOR_RX, NR_MONITOR_TX, NR_REG_ALL_NIC, NR_REG_SW, nmreq_register};
use crate::engine::{Direction, RingSync};
use crate::logger::RateLimit;
use crate::netif::LinkEvents;
use crate::ring::Ring;

/// Between two looks at interfaces that nothing was heard of.
const LOOK_INTERVAL: Duration = Duration::from_millis(400);

static STILL_LOCKED: RateLimit = RateLimit::new(1, 1);

/// The open gates of all ports on interfaces, and whether a thread watches them.
static WATCHED: Mutex<Watched> = Mutex::new(Watched {
    gates: Vec::new(),
    by_a_thread: false,
});

struct Watched {
    gates: Vec<Arc<Gate>>,
    by_a_thread: bool,
}

/// What the syncs of a port pass, while its interface is up.
#[derive(Debug)]
pub struct Gate {
    ifindex: u32,
    /// `nr_mode` of the port.
    mode: u32,
    shut: AtomicBool,
    /// Since it was shut, the rings were unlocked.
    unlocked: AtomicBool,
    /// Frames that were in a transmit ring, and not sent, as it was shut.
    dropped: AtomicU64,
}

/// Makes the gate's thread look after it. Dropped, it does not any more.
pub struct Watch(Arc<Gate>);

impl Watch {
    /// The gate of a port with `nr_mode` on interface number `ifindex`, which is up or not.
    pub fn new(ifindex: u32, up: bool, mode: u32) -> std::io::Result<Watch> {
        let gate = Arc::new(Gate {
            ifindex,
            mode,
            shut: AtomicBool::new(!up),
            // To open a port unlocks its rings.
            unlocked: AtomicBool::new(true),
            dropped: AtomicU64::new(0),
        });
        let mut watched = WATCHED.lock();
        if !watched.by_a_thread {
            let links = LinkEvents::new()?;
            let thread = thread::Builder::new().name("netmap-link".into());
            thread.spawn(move || watch(links))?;
            watched.by_a_thread = true;
        }
        watched.gates.push(Arc::clone(&gate));
        Ok(Watch(gate))
    }

    /// The gate.
    pub fn gate(&self) -> &Arc<Gate> {
        &self.0
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        let mut watched = WATCHED.lock();
        watched.gates.retain(|gate| !Arc::ptr_eq(gate, &self.0));
    }
}

/// Looks after all gates, as long as there are any.
fn watch(mut links: LinkEvents) {
    loop {
        let gates = {
            let mut watched = WATCHED.lock();
            watched.by_a_thread = !watched.gates.is_empty();
            if !watched.by_a_thread {
                return;
            }
            watched.gates.clone()
        };
        for gate in gates {
            gate.look(&mut links);
        }
        links.wait(LOOK_INTERVAL);
    }
}

impl Gate {
    fn look(&self, links: &mut LinkEvents) {
        // If it is gone, the calls fail; if it cannot be asked for, it is what it was.
        let Ok(Some((name, up))) = links.look(self.ifindex) else {
            return;
        };
        if up {
            self.shut.store(false, Ordering::Relaxed);
            return;
        }
        if !self.shut.swap(true, Ordering::Relaxed) {
            self.unlocked.store(false, Ordering::Relaxed);
        }
        if self.unlocked.load(Ordering::Relaxed) {
            return;
        }
        match unlock(&name, self.mode) {
            Ok(()) => self.unlocked.store(true, Ordering::Relaxed),
            Err(e) => STILL_LOCKED.log(
                log::Level::Error,
                format_args!(
                    "interface {name:?} is down, and its netmap rings cannot be unlocked ({e}): \
                     threads that poll it may hang until it is up again"
                ),
            ),
        }
    }

    /// Frames that were in a transmit ring when the interface went down.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }
}

/// Unlocks the rings of the port called `name`, as opening and closing a monitor does it.
fn unlock(name: &str, mode: u32) -> std::io::Result<()> {
    if mode == NR_REG_SW {
        unlock_host_rings(name);
        return Ok(());
    }
    let mut monitor = nmreq_register {
        nr_mode: mode,
        nr_flags: NR_MONITOR_TX | NR_MONITOR_RX,
        // Nobody reads them.
        nr_rx_slots: 2,
        nr_tx_slots: 2,
        ..nmreq_register::default()
    };
    Device::open()?.register(name, &mut monitor)
}

/// A monitor does not unlock host rings. All rings are unlocked when the card's own are opened or closed; so
/// opens and closes them, if nobody has them. Otherwise the syncs sleep, in threads of their own
/// ([`super::aside`]).
fn unlock_host_rings(name: &str) {
    let mut all = nmreq_register {
        nr_mode: NR_REG_ALL_NIC,
        ..nmreq_register::default()
    };
    let opened = Device::open().and_then(|device| device.register(name, &mut all));
    if let Err(e) = opened {
        log::debug!("interface {name:?} is down, and its host rings stay locked: {e}");
    }
}

/// A sync that passes a gate.
pub struct GatedSync {
    sync: GivenAway,
    gate: Arc<Gate>,
    direction: Direction,
}

impl GatedSync {
    /// `sync` of `ring`.
    pub fn new(
        sync: Box<dyn RingSync>,
        ring: &Ring,
        gate: &Arc<Gate>,
        direction: Direction,
    ) -> GatedSync {
        GatedSync {
            sync: GivenAway::new(sync, ring),
            gate: Arc::clone(gate),
            direction,
        }
    }

    /// Takes back what is to be sent, so that nothing goes out late.
    #[cold]
    fn take_back(&mut self, ring: &mut Ring) {
        if let (Direction::Tx, Ok((head, _))) = (self.direction, ring.checked_window()) {
            let slots = (0..ring.distance(self.sync.end, head)).map(|i| self.sync.end + i);
            // The last slot of a frame says that no more follow.
            let frames = slots
                .filter(|pos| ring.slot(pos % ring.num_slots()).flags & NS_MOREFRAG == 0)
                .count() as u64;
            self.gate.dropped.fetch_add(frames, Ordering::Relaxed);
            ring.set_head(self.sync.end);
        }
    }
}

impl RingSync for GatedSync {
    #[inline]
    fn sync(&mut self, ring: &mut Ring) -> std::result::Result<(), i32> {
        if self.gate.shut.load(Ordering::Relaxed) {
            self.take_back(ring);
            return Ok(());
        }
        self.sync.sync(ring)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::kernel::netmap_if::tests::port;

    /// Counts its calls, and takes everything.
    struct Counting(Arc<AtomicU64>);

    impl RingSync for Counting {
        fn sync(&mut self, _: &mut Ring) -> std::result::Result<(), i32> {
            self.0.fetch_add(1, Ordering::Relaxed);
            Ok(())
        }
    }

    #[test]
    fn nothing_is_synced_or_goes_out_late_while_the_gate_is_shut() {
        for direction in [Direction::Tx, Direction::Rx] {
            let mut ring = port(0).ring(direction, 0, 0).unwrap();
            let gate = Arc::new(Gate {
                ifindex: 0,
                mode: 0,
                shut: AtomicBool::new(false),
                unlocked: AtomicBool::new(true),
                dropped: AtomicU64::new(0),
            });
            let calls = Arc::default();
            let counting = Box::new(Counting(Arc::clone(&calls)));
            ring.reset(0, ring.num_slots() - 1);
            let mut sync = GatedSync::new(counting, &ring, &gate, direction);
            ring.set_head(3);
            sync.sync(&mut ring).unwrap();
            ring.set_head(5);
            gate.shut.store(true, Ordering::Relaxed);
            sync.sync(&mut ring).unwrap();
            sync.sync(&mut ring).unwrap();
            assert_eq!(calls.load(Ordering::Relaxed), 1);
            let expected = match direction {
                Direction::Tx => (3, 2),
                // What was received is not given back twice.
                Direction::Rx => (5, 0),
            };
            assert_eq!((ring.head(), gate.dropped()), expected);
            gate.shut.store(false, Ordering::Relaxed);
            sync.sync(&mut ring).unwrap();
            assert_eq!(calls.load(Ordering::Relaxed), 2);
        }
    }
}
