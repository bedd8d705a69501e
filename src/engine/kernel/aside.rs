// SPDX-License-Identifier: Apache-2.0
//! Host rings, whose syncs are made by threads of their own.
//!
//! A sync of a ring that netmap has locked, as its interface goes down, sleeps until that is up again. What
//! wakes the syncs of a card's rings does not always unlock host rings ([`super::gate`]). So the thread that polls
//! does not call it: it lends the ring to another one, which may sleep, and has an empty one meanwhile.

use std::mem;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use crate::engine::{Direction, RingSync};
use crate::ring::Ring;

/// How long sending waits for the ring. A sync takes a few microseconds a frame.
const TX_WAIT: Duration = Duration::from_millis(1);
/// Between two looks at a receive ring that was empty: doubled from the first to the second.
const SHORT_PAUSE: Duration = Duration::from_micros(10);
const LONG_PAUSE: Duration = Duration::from_micros(200);
/// How long closing waits for the thread; it is left alone if it sleeps in a sync.
const CLOSE_WAIT: Duration = Duration::from_millis(100);

/// A ring that comes back from its sync.
type Synced = (Ring, Result<(), i32>);

/// A sync that another thread makes.
pub struct SyncAside {
    direction: Direction,
    /// Ends the thread when it is dropped.
    lend: Option<Sender<Ring>>,
    back: Receiver<Synced>,
    /// Whether the thread has the ring.
    lent: bool,
    /// Whether it has had it for longer than anybody waits.
    late: bool,
    /// To stand in for the ring.
    empty: Ring,
    closing: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl SyncAside {
    /// Starts a thread that makes `sync`, of a ring of this direction.
    pub fn new(sync: Box<dyn RingSync>, direction: Direction) -> std::io::Result<SyncAside> {
        let (lend, lent) = channel();
        let (give_back, back) = channel();
        let closing = Arc::new(AtomicBool::new(false));
        let worker = Worker {
            sync,
            direction,
            closing: Arc::clone(&closing),
        };
        let thread = thread::Builder::new().name("netmap-host".into());
        Ok(SyncAside {
            direction,
            lend: Some(lend),
            back,
            lent: false,
            late: false,
            empty: Ring::empty(),
            closing,
            thread: thread.spawn(move || worker.run(&lent, &give_back))?,
        })
    }
}

impl RingSync for SyncAside {
    fn sync(&mut self, ring: &mut Ring) -> Result<(), i32> {
        if !self.lent {
            let ring = mem::replace(ring, self.empty.other_side());
            self.lent = true;
            let lend = self.lend.as_ref().ok_or(libc::EIO)?;
            lend.send(ring).map_err(|_| libc::EIO)?;
        }
        let wait = match self.direction {
            Direction::Tx if !self.late => TX_WAIT,
            // What comes is received by a later poll.
            _ => Duration::ZERO,
        };
        match self.back.recv_timeout(wait) {
            Ok((synced, result)) => {
                *ring = synced;
                self.lent = false;
                self.late = false;
                result
            }
            Err(RecvTimeoutError::Timeout) => {
                self.late = true;
                Ok(())
            }
            Err(RecvTimeoutError::Disconnected) => Err(libc::EIO),
        }
    }
}

impl Drop for SyncAside {
    /// Afterwards the port is free, unless the thread sleeps in a sync: then it is when the interface is up
    /// again, or gone.
    fn drop(&mut self) {
        self.closing.store(true, Ordering::Relaxed);
        self.lend = None;
        let end = Instant::now() + CLOSE_WAIT;
        while !self.thread.is_finished() && Instant::now() < end {
            thread::sleep(SHORT_PAUSE);
        }
    }
}

/// The thread's side.
struct Worker {
    sync: Box<dyn RingSync>,
    direction: Direction,
    closing: Arc<AtomicBool>,
}

impl Worker {
    fn run(mut self, lent: &Receiver<Ring>, back: &Sender<Synced>) {
        while let Ok(mut ring) = lent.recv() {
            let result = self.sync(&mut ring);
            if back.send((ring, result)).is_err() {
                break;
            }
        }
    }

    /// Syncs `ring`; a receive ring again and again, until there is something in it.
    fn sync(&mut self, ring: &mut Ring) -> Result<(), i32> {
        let mut pause = SHORT_PAUSE;
        loop {
            let result = self.sync.sync(ring);
            let nothing = ring.checked_window().is_ok_and(|(head, tail)| head == tail);
            let again = self.direction == Direction::Rx && result.is_ok() && nothing;
            if !again || self.closing.load(Ordering::Relaxed) {
                return result;
            }
            thread::sleep(pause);
            pause = (2 * pause).min(LONG_PAUSE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::kernel::netmap_if::tests::port;

    /// A sync that ends when it is told to, and then leaves `slots` to the ring's owner.
    struct Told {
        told: Receiver<()>,
        slots: u32,
    }

    impl RingSync for Told {
        fn sync(&mut self, ring: &mut Ring) -> Result<(), i32> {
            self.told.recv().map_err(|_| libc::EIO)?;
            ring.set_tail(self.slots);
            Ok(())
        }
    }

    fn aside(direction: Direction, slots: u32) -> (Ring, SyncAside, Sender<()>) {
        let (tell, told) = channel();
        let ring = port(0).ring(direction, 0, 0).unwrap();
        ring.reset(0, 0);
        let sync = SyncAside::new(Box::new(Told { told, slots }), direction).unwrap();
        (ring, sync, tell)
    }

    /// Calls `sync` until the ring is back.
    fn until_back(sync: &mut SyncAside, ring: &mut Ring) {
        while sync.lent {
            thread::yield_now();
            sync.sync(ring).unwrap();
        }
    }

    #[test]
    fn a_sync_that_sleeps_leaves_an_empty_ring_and_comes_back() {
        for direction in [Direction::Rx, Direction::Tx] {
            let (mut ring, mut sync, tell) = aside(direction, 3);
            let slots = ring.num_slots();
            for _ in 0..3 {
                sync.sync(&mut ring).unwrap();
                assert_eq!(ring.batch().unwrap().left(), 0);
                assert_ne!(ring.num_slots(), slots);
            }
            tell.send(()).unwrap();
            until_back(&mut sync, &mut ring);
            assert_eq!(ring.num_slots(), slots);
            assert_eq!(ring.batch().unwrap().left(), 3);
        }
    }

    #[test]
    fn a_receive_ring_comes_back_when_there_is_something_in_it() {
        let (mut ring, mut sync, tell) = aside(Direction::Rx, 0);
        sync.sync(&mut ring).unwrap();
        for _ in 0..5 {
            tell.send(()).unwrap();
        }
        sync.sync(&mut ring).unwrap();
        assert!(sync.lent);
        // The next sync fails: that is told.
        drop(tell);
        let failed = loop {
            if let Err(errno) = sync.sync(&mut ring) {
                break errno;
            }
        };
        assert_eq!((failed, sync.lent), (libc::EIO, false));
    }

    #[test]
    fn closing_ends_the_thread_or_leaves_it_where_it_sleeps() {
        let (mut ring, mut sync, tell) = aside(Direction::Rx, 0);
        sync.sync(&mut ring).unwrap();
        drop(sync);
        // The thread has the other end as long as it sleeps, and not much longer.
        tell.send(()).unwrap();
        while tell.send(()).is_ok() {
            thread::yield_now();
        }
        let (_, sync, tell) = aside(Direction::Tx, 1);
        drop(sync);
        while tell.send(()).is_ok() {
            thread::yield_now();
        }
    }
}
