// SPDX-License-Identifier: Apache-2.0
//! Pipes: what one end sends, the other receives, by exchanging the buffers of two slots.
//!
//! As with netmap's own pipes, opening one end makes the rings of both. Other than with these, the link
//! of both ends is down as long as one of them is closed or down: what is sent meanwhile is dropped and
//! counted, as nobody wants it later.
//!
//! Each direction has a lock, taken in each sync: the two ends belong to different threads, and
//! either may move what waits. All that the two share is in [`Wire`]; ring memory is never the only
//! place of a position.

use std::sync::{Arc, Weak};

use netmap_sys::netmap::{NS_BUF_CHANGED, NS_MOREFRAG};
use parking_lot::Mutex;

use super::super::user_region::{PortBuffers, UserRegion};
use super::super::{
    Direction, EnginePort, HEADROOM, Held, OpenRequest, Opened, RingPair, RingSync, SyncedRing,
};
use crate::config::SMALLEST_BUF_SIZE;
use crate::error::{Error, Result};
use crate::index::OwnedBuf;
use crate::name::PipeRole;
use crate::ring::{Ring, Slot};

/// Slots of a ring: 16 bursts, as netmap's pipes have by default half of that at least.
const SLOTS: u32 = 512;

/// Slots that a frame may take: those of the longest one in the smallest buffers, and some.
const MAX_FRAGS: u32 = 8;

/// Pipes with an open end, and their names. There are few, so a list will do.
static PIPES: Mutex<Vec<(String, Weak<Pipe>)>> = Mutex::new(Vec::new());

/// Both ends of a pipe.
struct Pipe {
    /// By end: the wires that it sends into, one a ring pair.
    wires: [Vec<Arc<Mutex<Wire>>>; 2],
    /// By end.
    ends: Mutex<[EndState; 2]>,
    /// After the wires, so that it is dropped last: it frees all buffers in the rings.
    buffers: PortBuffers,
}

/// Whether an end is open, and up.
#[derive(Debug, Clone, Copy, Default)]
struct EndState {
    open: bool,
    up: bool,
}

/// One direction of one ring pair: from a transmit ring of one end to a receive ring of the other.
struct Wire {
    tx: Ring,
    rx: Ring,
    /// The sender's head, as of its last sync.
    tx_head: u32,
    /// First slot of the sender that was not moved yet.
    tx_moved: u32,
    /// First slot of the receiver's ring that is free to be filled.
    rx_fill: u32,
    /// The receiver's head, as of its last sync: the slots before it can be filled.
    rx_head: u32,
    /// Whether both ends are open and up.
    live: bool,
    /// Frames that were dropped because it was not.
    dropped: u64,
}

impl Wire {
    /// Moves what waits in the transmit ring and finds room in the receive ring.
    fn carry(&mut self) {
        if !self.live {
            self.drop_all();
            return;
        }
        let mut room = self.rx.num_slots() - 1 - self.rx.distance(self.rx_head, self.rx_fill);
        while self.tx_moved != self.tx_head && room > 0 {
            let sent = self.tx.slot(self.tx_moved);
            let free = self.rx.slot(self.rx_fill);
            let full = Slot {
                flags: sent.flags & NS_MOREFRAG | NS_BUF_CHANGED,
                ..sent
            };
            let empty = Slot {
                len: 0,
                flags: NS_BUF_CHANGED,
                ..free
            };
            self.rx.put_slot(self.rx_fill, full);
            self.tx.put_slot(self.tx_moved, empty);
            self.rx_fill = self.rx.advance(self.rx_fill, 1);
            self.tx_moved = self.tx.advance(self.tx_moved, 1);
            room -= 1;
        }
    }
}

impl Wire {
    /// Drops what waits in the transmit ring.
    #[cold]
    fn drop_all(&mut self) {
        while self.tx_moved != self.tx_head {
            let sent = self.tx.slot(self.tx_moved);
            if sent.len > 0 && sent.flags & NS_MOREFRAG == 0 {
                self.dropped += 1;
            }
            let empty = Slot {
                len: 0,
                flags: 0,
                ..sent
            };
            self.tx.put_slot(self.tx_moved, empty);
            self.tx_moved = self.tx.advance(self.tx_moved, 1);
        }
    }

    /// Forgets what was delivered: the receiver is another one.
    fn forget_delivered(&mut self) {
        self.rx_head = self.rx_fill;
        self.rx.reset(self.rx_fill, self.rx_fill);
    }
}

/// txsync.
struct SendEnd(Arc<Mutex<Wire>>);

impl RingSync for SendEnd {
    fn sync(&mut self, ring: &mut Ring) -> std::result::Result<(), i32> {
        let mut wire = self.0.lock();
        let last = |wire: &Wire| wire.tx.advance(wire.tx_moved, wire.tx.num_slots() - 1);
        // What the owner gives away starts where it gave away last, and ends before the last slot
        // that is its own.
        let head = ring.head();
        let given = wire.tx.distance_checked(wire.tx_head, head);
        if given.is_none_or(|given| given > wire.tx.distance(wire.tx_head, last(&wire))) {
            ring.reset(wire.tx_head, last(&wire));
            return Err(libc::EINVAL);
        }
        wire.tx_head = head;
        wire.carry();
        ring.set_tail(last(&wire));
        Ok(())
    }
}

/// rxsync.
struct ReceiveEnd(Arc<Mutex<Wire>>);

impl RingSync for ReceiveEnd {
    fn sync(&mut self, ring: &mut Ring) -> std::result::Result<(), i32> {
        let mut wire = self.0.lock();
        // A head beyond what was delivered would hand slots out twice.
        let head = ring.head();
        let delivered = wire.rx.distance(wire.rx_head, wire.rx_fill);
        let given = wire.rx.distance_checked(wire.rx_head, head);
        if given.is_none_or(|given| given > delivered) {
            ring.reset(wire.rx_head, wire.rx_fill);
            return Err(libc::EINVAL);
        }
        wire.rx_head = head;
        wire.carry();
        ring.set_tail(wire.rx_fill);
        Ok(())
    }
}

/// Opens the end `role` of the pipe `key`.
pub fn open(request: &OpenRequest<'_>, key: &str, role: PipeRole) -> Result<Opened> {
    let mut pipes = PIPES.lock();
    pipes.retain(|(_, pipe)| pipe.strong_count() > 0);
    let found = pipes.iter().find(|(name, _)| name == key);
    let pipe = match found.and_then(|(_, pipe)| pipe.upgrade()) {
        Some(pipe) => pipe,
        None => {
            let pipe = Arc::new(Pipe::new(request)?);
            pipes.push((key.to_owned(), Arc::downgrade(&pipe)));
            pipe
        }
    };
    let end = role as usize;
    if pipe.ends.lock()[end].open {
        return Err(Error::new(
            libc::EBUSY,
            format!("{}: this end of the pipe is already open", request.name),
        ));
    }
    for wire in &pipe.wires[1 - end] {
        wire.lock().forget_delivered();
    }
    pipe.change(end, |state| {
        *state = EndState {
            open: true,
            up: true,
        };
    });
    let pairs = pipe.wires[end].iter().zip(&pipe.wires[1 - end]);
    let rings = pairs.map(|(out, back)| RingPair {
        rx: Some(SyncedRing {
            ring: back.lock().rx.other_side(),
            sync: Box::new(ReceiveEnd(Arc::clone(back))),
        }),
        tx: Some(SyncedRing {
            ring: out.lock().tx.other_side(),
            sync: Box::new(SendEnd(Arc::clone(out))),
        }),
    });
    Ok(Opened {
        others_write: false,
        vlan: None,
        region: Arc::clone(pipe.buffers.user_region().region()),
        rings: rings.collect(),
        extra: pipe.buffers.extra(request.process.extra_bufs),
        port: Box::new(PipeEnd { pipe, end }),
    })
}

impl Pipe {
    fn new(request: &OpenRequest<'_>) -> Result<Pipe> {
        let rings = request.rings();
        // The other end brings extra buffers too.
        let needed = rings * 4 * SLOTS + 2 * request.process.extra_bufs;
        let buffers = UserRegion::get(request, needed, SMALLEST_BUF_SIZE, |_| true)?.port()?;
        let wire = |i: u32| -> Result<Arc<Mutex<Wire>>> {
            let mut tx = buffers.ring(SLOTS, i as u16, Direction::Tx, HEADROOM)?;
            tx.set_max_frags(MAX_FRAGS);
            tx.set_tail(SLOTS - 1);
            Ok(Arc::new(Mutex::new(Wire {
                tx,
                rx: buffers.ring(SLOTS, i as u16, Direction::Rx, HEADROOM)?,
                tx_head: 0,
                tx_moved: 0,
                rx_fill: 0,
                rx_head: 0,
                live: false,
                dropped: 0,
            })))
        };
        let wires = || (0..rings).map(wire).collect::<Result<Vec<_>>>();
        Ok(Pipe {
            wires: [wires()?, wires()?],
            ends: Mutex::default(),
            buffers,
        })
    }
}

impl Pipe {
    /// Changes the state of an end, and tells the wires what it means for them.
    fn change(&self, end: usize, change: impl FnOnce(&mut EndState)) {
        let mut ends = self.ends.lock();
        change(&mut ends[end]);
        let live = is_live(&ends);
        for wire in self.wires.iter().flatten() {
            wire.lock().live = live;
        }
    }
}

fn is_live(ends: &[EndState; 2]) -> bool {
    ends.iter().all(|end| end.open && end.up)
}

struct PipeEnd {
    pipe: Arc<Pipe>,
    end: usize,
}

impl EnginePort for PipeEnd {
    fn engine(&self) -> &'static str {
        "memory"
    }

    fn status(&self) -> Vec<(&'static str, String)> {
        let peer = self.pipe.ends.lock()[1 - self.end].open;
        vec![
            ("kind", "pipe".into()),
            ("peer", if peer { "open" } else { "closed" }.into()),
        ]
    }

    fn host_interface(&self) -> Option<&str> {
        None
    }

    fn takes_several_slots(&self) -> bool {
        true
    }

    fn drops(&self) -> Vec<(&'static str, u64)> {
        let wires = self.pipe.wires[self.end].iter();
        vec![("tx_link_down", wires.map(|wire| wire.lock().dropped).sum())]
    }

    fn set_up(&self, up: bool) {
        self.pipe.change(self.end, |state| state.up = up);
    }

    fn carrier(&self) -> bool {
        is_live(&self.pipe.ends.lock())
    }

    fn close(self: Box<Self>, extra: Vec<OwnedBuf>) -> Option<Held> {
        self.pipe.buffers.give_back(extra);
        None
    }
}

impl Drop for PipeEnd {
    fn drop(&mut self) {
        self.pipe.change(self.end, |state| state.open = false);
    }
}
