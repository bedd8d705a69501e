// SPDX-License-Identifier: Apache-2.0
//! txsync of a socket.
#![forbid(unsafe_code)]

use std::collections::VecDeque;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{Ordering, fence};

use netmap_sys::netmap::NS_MOREFRAG;

use super::super::queue::{Consumer, Desc, Producer};
use super::super::socket;
use super::{Backlog, Frames, checked_head};
use crate::counters::Counter;
use crate::engine::{HEADROOM, NS_TX_METADATA, RingSync};
use crate::index::BufIdx;
use crate::ring::{Ring, Slot};

use late::Ages;

mod late;

/// Shortest frame that is sent: an Ethernet header.
const MIN_FRAME: u32 = 14;

/// How many descriptors the kernel sends in one system call in copy mode (`TX_BATCH_SIZE`; newer
/// kernels let it be raised, which only saves calls).
const TX_BATCH_SIZE: u32 = 32;

/// System calls that a batch may take beyond one for each [`TX_BATCH_SIZE`] frames, when the driver
/// is busy. What is not out then goes with the next txsync.
const TX_RETRIES: u32 = 4;

/// A descriptor that the kernel passes over, whichever of its fields it looks at. It must not say that
/// its frame goes on in the next one (`XDP_PKT_CONTD`): that would go with it.
pub(super) const INVALID: Desc = Desc {
    addr: u64::MAX,
    len: 0,
    options: 1 << 31,
};

/// What a socket's transmit side counts. Written by the thread that syncs it.
#[derive(Debug, Default)]
#[repr(align(64))]
pub(in crate::engine::xdp) struct TxSyncCounters {
    /// Slots that were not sent: no buffer of this port, bytes outside it, or of a frame over too many
    /// slots.
    pub bad_slots: Counter,
    /// Frames that the driver dropped (copy mode; with zero copy, nobody says).
    pub dropped: Counter,
    /// Frames that could not go out when they were to: the interface is down, or its driver took nothing
    /// for too long.
    pub not_sent: Counter,
    /// Descriptors that were made invalid, so that the kernel counts them as that.
    pub revoked: Counter,
    /// Buffers of frames that were not out when the ring was closed.
    pub left_behind: Counter,
    /// Completions of what is no buffer of this port.
    pub bad_completions: Counter,
    /// System calls that failed, but for those that failed because the interface is down.
    pub wakeup_errors: Counter,
}

/// Options of the descriptor for a slot with `flags`: whether there are metadata in front of its frame.
#[inline]
fn tx_options(flags: u16) -> u32 {
    const SHIFT: u32 = NS_TX_METADATA.trailing_zeros() - libc::XDP_TX_METADATA.trailing_zeros();
    u32::from(flags & NS_TX_METADATA) >> SHIFT
}

/// What became of a frame over several slots.
enum Frags {
    /// It is in the transmit ring, with so many descriptors.
    Pushed(u32),
    /// Its last slot was not given away yet.
    Incomplete,
    /// It cannot be sent.
    Bad,
}

/// Frames that were taken back from the kernel.
struct Revoked {
    /// The position of the first of them, and the one after the last.
    first: u32,
    end: u32,
    /// Their buffers, the last one first.
    frames: Vec<BufIdx>,
    /// How many invalid descriptors the kernel had passed over before.
    passed_before: u64,
}

/// txsync.
pub(in crate::engine::xdp) struct TxSync {
    pub(super) frames: Frames,
    tx: Producer<Desc>,
    completion: Consumer<u64>,
    /// All slots before it were sent.
    head: u32,
    /// As handed to the user.
    tail: u32,
    num_slots: u32,
    /// Buffers without a slot: their frames are out. The last one in is the first to be used again,
    /// while it is still in the cache.
    pub(super) done: Vec<BufIdx>,
    /// The slots up to the next one without `NS_MOREFRAG` belong to a frame that is not sent.
    skipping: bool,
    /// The kernel does not send: the interface is down.
    down: bool,
    /// What waits in the transmit ring, oldest first: up to which position, and since when at most, as
    /// the clock's ticks.
    waiting: VecDeque<(u32, u64)>,
    /// What of it is for the receive side to look after.
    backlog: Arc<Backlog>,
    /// There was one: the receive side may be in a system call that sends.
    had_backlog: bool,
    /// Frames that were taken back from the kernel, and that it has not passed over yet.
    revoked: Option<Revoked>,
    stale: Ages,
    zero_copy: bool,
    /// System calls let the driver work, on this thread.
    polls_driver: bool,
    fd: Arc<OwnedFd>,
    counters: Arc<TxSyncCounters>,
}

impl TxSync {
    /// Hands all slots of the new `ring` but one to the user.
    pub(in crate::engine::xdp) fn new(
        ring: &Ring,
        frames: Frames,
        (tx, completion): (Producer<Desc>, Consumer<u64>),
        fd: Arc<OwnedFd>,
        zero_copy: bool,
        backlog: Arc<Backlog>,
    ) -> TxSync {
        let tail = ring.num_slots() - 1;
        let mut done = Vec::with_capacity(ring.num_slots() as usize);
        done.push(BufIdx(ring.slot(tail).buf_idx));
        ring.set_tail(tail);
        TxSync {
            frames,
            tx,
            completion,
            head: 0,
            tail,
            num_slots: ring.num_slots(),
            done,
            skipping: false,
            down: false,
            waiting: VecDeque::new(),
            backlog,
            had_backlog: false,
            revoked: None,
            stale: Ages::new(),
            zero_copy,
            polls_driver: false,
            fd,
            counters: Arc::default(),
        }
    }

    /// The socket is one with busy polling.
    pub(in crate::engine::xdp) fn poll_driver(&mut self) {
        self.polls_driver = true;
    }

    /// What it counts.
    pub(in crate::engine::xdp) fn counters(&self) -> Arc<TxSyncCounters> {
        Arc::clone(&self.counters)
    }

    /// Puts the next `n` slots from `head` into the transmit ring. Returns how many frames that are.
    #[inline]
    fn push(&mut self, ring: &Ring, n: u32) -> u32 {
        if n == 0 {
            return 0;
        }
        // As in `RxSync::post`, there is room.
        let mut left = n.min(self.tx.room());
        let mut pushed = 0;
        while left > 0 {
            let slot = ring.slot(self.head);
            let idx = BufIdx(slot.buf_idx);
            let (offset, len) = (ring.offset_of(&slot), slot.len as u32);
            let more = slot.flags & NS_MOREFRAG != 0;
            let part = more || self.skipping;
            let ours = self.frames.ours(idx);
            if more && !self.skipping {
                match self.push_frags(ring, left, pushed, slot) {
                    Frags::Pushed(frags) => {
                        pushed += frags;
                        left -= frags;
                        continue;
                    }
                    Frags::Incomplete => break,
                    Frags::Bad => {}
                }
            }
            left -= 1;
            self.head = ring.advance(self.head, 1);
            // What the kernel refuses it does not complete either, so the buffer would be lost:
            // nothing must reach it that it refuses.
            if len < MIN_FRAME || !self.frames.fits(offset, len) || part || !ours {
                // An empty slot was passed over: no frame is lost with it, and who left it empty
                // counted why.
                if len > 0 {
                    self.skipping = more;
                    self.counters.bad_slots.add(1);
                } else {
                    self.skipping &= more;
                }
                if ours {
                    self.done.push(idx);
                }
                continue;
            }
            let desc = Desc {
                addr: self.frames.addr(idx) + offset,
                len,
                options: tx_options(slot.flags),
            };
            self.tx.put(pushed, desc);
            pushed += 1;
        }
        self.tx.publish(pushed);
        pushed
    }

    /// Puts a frame over several slots, the first of which is `first` at `head`, into the transmit ring, if all
    /// of it is within the next `n` slots, and the kernel will not refuse it.
    #[cold]
    fn push_frags(&mut self, ring: &Ring, n: u32, pushed: u32, first: Slot) -> Frags {
        let most = n.min(ring.max_frags());
        let mut descs = Vec::with_capacity(most as usize);
        for i in 0..most {
            // Each slot is read once.
            let slot = match i {
                0 => first,
                _ => ring.slot(ring.advance(self.head, i)),
            };
            let idx = BufIdx(slot.buf_idx);
            let (offset, len) = (ring.offset_of(&slot), slot.len as u32);
            let least = if i == 0 { MIN_FRAME } else { 1 };
            if len < least || !self.frames.fits(offset, len) || !self.frames.ours(idx) {
                return Frags::Bad;
            }
            let more = slot.flags & NS_MOREFRAG != 0;
            descs.push(Desc {
                addr: self.frames.addr(idx) + offset,
                len,
                options: if more { libc::XDP_PKT_CONTD } else { 0 },
            });
            if !more {
                for (i, &desc) in (0..).zip(&descs) {
                    self.tx.put(pushed + i, desc);
                }
                self.head = ring.advance(self.head, i + 1);
                return Frags::Pushed(i + 1);
            }
        }
        match n < ring.max_frags() {
            true => Frags::Incomplete,
            false => Frags::Bad,
        }
    }

    /// Drops the frames of the next `n` slots from `head`.
    #[cold]
    fn discard(&mut self, ring: &Ring, n: u32) {
        for _ in 0..n {
            let slot = ring.slot(self.head);
            self.head = ring.advance(self.head, 1);
            let more = slot.flags & NS_MOREFRAG != 0;
            // A frame over several slots counts once.
            if slot.len > 0 && !more {
                self.counters.not_sent.add(1);
            }
            self.skipping = false;
            let idx = BufIdx(slot.buf_idx);
            if self.frames.ours(idx) {
                self.done.push(idx);
            }
        }
    }

    /// Makes the kernel send what is in the transmit ring, `pushed` frames of which are new.
    #[inline]
    fn kick(&mut self, pushed: u32) {
        let pending = self.tx.pending();
        let asked = if self.zero_copy {
            // The driver sets the flag, then looks at the ring a last time; `push` stored the ring's
            // position, and the flag is read next. Store before load on both sides is what lets one of
            // them notice the other, and only a full fence orders that.
            fence(Ordering::SeqCst);
            // Some drivers complete frames only when they are woken, too. In kernels before 6.0, 5.15.72
            // and 5.10.148 only the first socket of a UMEM has its flag cleared, and all others call.
            self.tx.needs_wakeup() && (pending > 0 || self.with_kernel() > 0)
        } else {
            // Frames go out in this call and no other, whatever the flag says.
            pending > 0
        };
        if !asked {
            return;
        }
        let (mut calls, mut dropped) = (pending / TX_BATCH_SIZE + 1 + TX_RETRIES, 0);
        let mut first_call = true;
        while calls > 0 && dropped <= pending {
            match socket::wake_tx(&self.fd) {
                // All sent, or, with zero copy, the driver is awake.
                Ok(()) => break,
                // A batch is out and there is more; or the driver's queue is full. Kernels before
                // 6.17 publish the ring's position late, so there is no telling which.
                Err(libc::EAGAIN) if !self.zero_copy => calls -= 1,
                // The driver dropped one frame (and completed it).
                Err(libc::EBUSY) if !self.zero_copy => dropped += 1,
                // Down, or gone.
                Err(libc::ENETDOWN | libc::ENXIO) => {
                    self.down = true;
                    break;
                }
                Err(_) => {
                    self.counters.wakeup_errors.add(1);
                    break;
                }
            }
            first_call = false;
            if self.tx.pending() == 0 {
                break;
            }
        }
        self.counters.dropped.add(dropped as u64);
        if self.polls_driver && !self.down && self.polled_in_vain() {
            socket::without_busy_polling(&self.fd, socket::wake_tx);
        }
        let left = self.tx.pending();
        if self.down && left > 0 && self.revoked.is_none() {
            // In copy mode the kernel looks at the ring in a system call only, and in one that found the
            // interface down it did not.
            let unseen = !self.zero_copy && !self.had_backlog && left == pushed && first_call;
            self.revoke(self.tx.produced(), unseen);
            self.none_waits();
        }
    }

    /// Whether the driver did not do all that there was to do for it.
    fn polled_in_vain(&self) -> bool {
        self.tx.pending() > 0 || (self.zero_copy && self.completion.avail() == 0)
    }

    /// Buffers that have no slot and are not free: they are with the kernel.
    #[inline]
    fn with_kernel(&self) -> u32 {
        let owned = match self.tail.checked_sub(self.head) {
            Some(owned) => owned,
            None => self.tail + self.num_slots - self.head,
        };
        self.num_slots
            .saturating_sub(owned)
            .saturating_sub(self.done.len() as u32)
    }

    /// Collects the buffers of frames that are out.
    #[inline]
    fn reap(&mut self) {
        let n = self.completion.avail();
        for i in 0..n {
            match self.frames.at(self.completion.get(i)) {
                // Newer kernels complete what was revoked, too, when they pass over it.
                _ if self.completion.get(i) == INVALID.addr => {}
                // Never more than slots, unless the kernel completes a frame twice.
                Some((idx, _)) if self.done.len() < self.done.capacity() => self.done.push(idx),
                _ => self.counters.bad_completions.add(1),
            }
        }
        self.completion.release(n);
    }

    /// Gives the user as many slots as there are buffers for, less the one that stays behind
    /// `head`.
    #[inline]
    fn hand_back(&mut self, ring: &Ring) {
        let most = ring.num_slots() - 1 - ring.distance(self.head, self.tail);
        for _ in 0..most {
            let Some(idx) = self.done.pop() else { break };
            let slot = Slot {
                buf_idx: idx.0,
                ptr: ring.with_offset(0, HEADROOM),
                ..Slot::default()
            };
            ring.put_slot(self.tail, slot);
            self.tail = ring.advance(self.tail, 1);
        }
        ring.set_tail(self.tail);
    }
}

impl Drop for TxSync {
    fn drop(&mut self) {
        self.reap();
        self.counters.left_behind.add(self.with_kernel().into());
    }
}

impl RingSync for TxSync {
    fn sync(&mut self, ring: &mut Ring) -> Result<(), i32> {
        let head = checked_head(ring, self.head, self.tail)?;
        let given = ring.distance(self.head, head);
        if self.blocked() {
            self.discard(ring, given);
        } else {
            let pushed = self.push(ring, given);
            self.kick(pushed);
            self.note_waiting();
        }
        self.reap();
        self.hand_back(ring);
        Ok(())
    }
}
