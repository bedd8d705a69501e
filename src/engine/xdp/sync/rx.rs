// SPDX-License-Identifier: Apache-2.0
//! rxsync of a socket.
#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::sync::Arc;

use netmap_sys::netmap::NS_MOREFRAG;

use super::super::queue::{Consumer, Desc, Producer};
use super::super::socket;
use super::{Backlog, Frames, checked_head};
use crate::counters::Counter;
use crate::engine::RingSync;
use crate::index::BufIdx;
use crate::ring::{Ring, Slot};

/// What a socket's receive side counts. Written by the thread that syncs it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(in crate::engine::xdp) struct RxSyncCounters {
    /// Descriptors that name no buffer of this port, or bytes outside it.
    pub bad_descs: Counter,
    /// Slots given back whose buffer is not this port's, and cannot be posted.
    pub bad_slots: Counter,
    /// Wakeups of the driver that failed.
    pub wakeup_errors: Counter,
    /// Frames of the transmit ring's backlog that the driver dropped.
    pub backlog_dropped: Counter,
}

/// rxsync.
pub(in crate::engine::xdp) struct RxSync {
    frames: Frames,
    fill: Producer<u64>,
    rx: Consumer<Desc>,
    /// All slots before it were posted.
    head: u32,
    /// As handed to the user.
    tail: u32,
    /// Each rxsync lets the driver work, on this thread.
    polls_driver: bool,
    /// Of the socket's transmit ring.
    backlog: Arc<Backlog>,
    fd: Arc<OwnedFd>,
    counters: Arc<RxSyncCounters>,
}

impl RxSync {
    /// Posts the buffers of all slots of the new `ring`, which is the kernel's as a whole then.
    pub(in crate::engine::xdp) fn new(
        ring: &Ring,
        frames: Frames,
        (fill, rx): (Producer<u64>, Consumer<Desc>),
        fd: Arc<OwnedFd>,
        backlog: Arc<Backlog>,
    ) -> RxSync {
        let mut sync = RxSync {
            frames,
            fill,
            rx,
            head: 0,
            tail: 0,
            polls_driver: false,
            backlog,
            fd,
            counters: Arc::default(),
        };
        sync.post(ring, ring.num_slots());
        sync
    }

    /// The socket is one with busy polling.
    pub(in crate::engine::xdp) fn poll_driver(&mut self) {
        self.polls_driver = true;
    }

    /// What it counts.
    pub(in crate::engine::xdp) fn counters(&self) -> Arc<RxSyncCounters> {
        Arc::clone(&self.counters)
    }

    /// Posts the buffers of the next `n` slots from `head`.
    #[inline]
    fn post(&mut self, ring: &Ring, n: u32) {
        if n == 0 {
            return;
        }
        // There is always room (see the module); a kernel that thinks otherwise gets the rest with
        // the next sync.
        let n = n.min(self.fill.room());
        let mut posted = 0;
        for _ in 0..n {
            let idx = BufIdx(ring.slot(self.head).buf_idx);
            self.head = ring.advance(self.head, 1);
            if self.frames.ours(idx) {
                self.fill.put(posted, self.frames.addr(idx));
                posted += 1;
            } else {
                self.counters.bad_slots.add(1);
            }
        }
        self.fill.publish(posted);
    }

    /// Moves what was received into the next slots.
    #[inline]
    fn receive(&mut self, ring: &Ring) {
        // One slot stays behind `head`, or a full ring would look like an empty one.
        let mut room = ring.num_slots() - 1 - ring.distance(self.head, self.tail);
        let mut taken = 0;
        let mut reposted = 0;
        for _ in 0..self.rx.avail() {
            if room == 0 {
                break;
            }
            let desc = self.rx.get(taken);
            taken += 1;
            let Some((idx, offset)) = self.frames.at(desc.addr) else {
                self.counters.bad_descs.add(1);
                self.spoil(ring);
                continue;
            };
            if !self.frames.fits(offset as u64, desc.len) {
                self.counters.bad_descs.add(1);
                self.spoil(ring);
                if reposted < self.fill.room() {
                    self.fill.put(reposted, self.frames.addr(idx));
                    reposted += 1;
                }
                continue;
            }
            let more = desc.options & libc::XDP_PKT_CONTD != 0;
            let slot = Slot {
                buf_idx: idx.0,
                // Fits: at most the buffer size.
                len: desc.len as u16,
                flags: if more { NS_MOREFRAG } else { 0 },
                ptr: ring.with_offset(0, offset),
            };
            ring.put_slot(self.tail, slot);
            self.tail = ring.advance(self.tail, 1);
            room -= 1;
        }
        self.rx.release(taken);
        self.fill.publish(reposted);
        ring.set_tail(self.tail);
    }

    /// A descriptor was passed over. Is it one of a frame over several, whose slot before says that there
    /// is more, that slot gets a length which no frame has: the frame will be dropped as a whole, what
    /// follows of it included.
    #[cold]
    fn spoil(&mut self, ring: &Ring) {
        if self.tail == self.head {
            return;
        }
        let last = ring.advance(self.tail, ring.num_slots() - 1);
        let slot = ring.slot(last);
        if slot.flags & NS_MOREFRAG != 0 {
            ring.put_slot(
                last,
                Slot {
                    len: u16::MAX,
                    ..slot
                },
            );
        }
    }
}

impl RingSync for RxSync {
    fn sync(&mut self, ring: &mut Ring) -> Result<(), i32> {
        let head = checked_head(ring, self.head, self.tail)?;
        self.post(ring, ring.distance(self.head, head));
        // Only zero-copy drivers ever ask. A flag set just now is seen by the next rxsync: no fence.
        let asked = self.fill.needs_wakeup();
        if asked || self.polls_driver {
            let done = socket::wake_rx(&self.fd);
            if asked && done.is_err() {
                self.counters.wakeup_errors.add(1);
            }
            if asked && self.polls_driver && self.fill.needs_wakeup() {
                socket::without_busy_polling(&self.fd, socket::wake_rx);
            }
        }
        self.receive(ring);
        if !self.backlog.is_empty() && self.backlog.send(&self.fd) {
            self.counters.backlog_dropped.add(1);
        }
        Ok(())
    }
}
