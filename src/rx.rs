// SPDX-License-Identifier: Apache-2.0
//! Receive queues: the rings that a thread polls, when they are synced, and what is done to a burst.
#![forbid(unsafe_code)]

use std::ffi::c_void;
use std::mem::MaybeUninit;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::burst::{CsumList, RxBurst};
use crate::clock;
use crate::counters::RxCounters;
use crate::csum::{self, Found};
use crate::engine::SyncedRing;
use crate::policer::Policer;
use crate::pool::Pool;
use crate::ring::BadRing;
use crate::throttle::{Interval, Throttle};

mod copy;
mod frags;
mod swap;

/// The other side gets slots back when it lacks one in so many, though there is more to receive: what comes in
/// the meantime finds room.
const REFILL_PART: u32 = 16;

/// A receive queue: the rings that one thread polls.
pub struct RxQueue {
    rings: Vec<RxRing>,
    /// The ring to look at first, so that a busy ring does not starve the others.
    next: usize,
    pool: Arc<Pool>,
    /// As that of the transmit queues, of a port without host interface: 0 while its link is down, and
    /// what comes nevertheless is dropped.
    max_frame: Option<Arc<AtomicU32>>,
    /// Whether frames are copied out of their buffers.
    copies: bool,
    /// Whether frames may come with partial checksums.
    complete_checksums: bool,
    /// The limit of the port.
    policer: Arc<Policer>,
}

/// On lines of its own, as the thread that has it writes it in each poll.
#[repr(align(128))]
struct RxRing {
    synced: SyncedRing,
    /// Its `head` at the last sync: the slots from there on are not the other side's yet.
    synced_head: u32,
    throttle: Throttle,
    counters: Arc<RxCounters>,
    copies: bool,
}

impl RxQueue {
    /// A queue of packets of `pool`, without rings.
    pub(crate) fn new(pool: Arc<Pool>) -> RxQueue {
        RxQueue {
            rings: Vec::new(),
            next: 0,
            pool,
            max_frame: None,
            copies: false,
            complete_checksums: false,
            policer: Arc::default(),
        }
    }

    /// Receives nothing while `max_frame` is 0.
    pub fn stop_while_down(&mut self, max_frame: Arc<AtomicU32>) {
        self.max_frame = Some(max_frame);
    }

    /// From now on, frames of the rings that are added are copied into memory that no other process
    /// writes.
    pub(crate) fn copy_frames(&mut self) {
        self.copies = true;
    }

    /// Follows `policer`.
    pub fn police(&mut self, policer: &Arc<Policer>) {
        self.policer = Arc::clone(policer);
    }

    /// Has partial checksums completed ([`crate::csum`]).
    pub fn complete_checksums(&mut self) {
        self.complete_checksums = true;
    }

    /// Adds a ring, synced when it is empty, at most once an `interval`.
    pub(crate) fn add_ring(&mut self, synced: SyncedRing, interval: &Interval) -> Arc<RxCounters> {
        let counters = Arc::new(RxCounters::default());
        self.rings.push(RxRing {
            synced,
            synced_head: 0,
            throttle: Throttle::new(interval),
            counters: Arc::clone(&counters),
            copies: self.copies,
        });
        counters
    }

    /// A ring of it.
    #[cfg(feature = "test-utils")]
    pub(crate) fn ring(&self, i: usize) -> &crate::ring::Ring {
        &self.rings[i].synced.ring
    }

    /// Gives the calling thread, which polls the queue, a packet cache of its own.
    pub fn attach_thread(&self) {
        self.pool.attach_thread();
    }

    /// The pool that its packets come from.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Receives at most `out.len()` frames; returns how many packets, the first ones of `out`, are
    /// the caller's now.
    #[inline]
    pub fn recv(&mut self, out: &mut [MaybeUninit<*mut c_void>]) -> usize {
        self.recv_burst(out, None)
    }

    /// As [`RxQueue::recv`], but partial checksums that Open vSwitch knows how to complete are left as they are,
    /// and listed in `csums`.
    #[inline]
    pub fn recv_csums(
        &mut self,
        out: &mut [MaybeUninit<*mut c_void>],
        csums: &mut CsumList<'_>,
    ) -> usize {
        self.recv_burst(out, Some(csums))
    }

    #[inline]
    fn recv_burst(
        &mut self,
        out: &mut [MaybeUninit<*mut c_void>],
        mut csums: Option<&mut CsumList<'_>>,
    ) -> usize {
        if let Some(max_frame) = &self.max_frame
            && max_frame.load(Ordering::Relaxed) == 0
        {
            self.rings.iter_mut().for_each(RxRing::discard);
            return 0;
        }
        let mut burst = RxBurst::new(&self.pool, out);
        for _ in 0..self.rings.len() {
            let ring = &mut self.rings[self.next];
            let before = burst.given();
            ring.recv(&mut burst);
            if self.policer.is_active() {
                ring.police(&mut burst, before, &self.policer);
            }
            if self.complete_checksums {
                match &mut csums {
                    None => ring.complete_checksums(&burst, before),
                    Some(csums) => ring.find_checksums(&burst, before, csums),
                }
            }
            self.next += 1;
            if self.next >= self.rings.len() {
                self.next = 0;
            }
            if burst.room() == 0 {
                break;
            }
        }
        burst.given()
    }
}

impl RxRing {
    /// Drops what is in the ring, so that nobody receives it later.
    #[cold]
    fn discard(&mut self) {
        self.rxsync();
        if let Ok(mut batch) = self.synced.ring.batch() {
            let n = batch.left();
            self.counters.link_down.add(n.into());
            batch.skip(n);
            batch.commit();
        }
    }

    /// Receives what is in the ring. If that is nothing - it is empty, or has only the beginning of a
    /// frame, or makes no sense, which the other side sets right in a sync - syncs and tries again. If it is
    /// something, syncs when the other side lacks a good part of its buffers.
    #[inline]
    fn recv(&mut self, burst: &mut RxBurst<'_>) {
        if self.drain(burst) > 0 {
            let passed = self.unsynced();
            if passed >= self.synced.ring.num_slots() / REFILL_PART && self.rxsync() {
                self.throttle.found(passed as usize);
            }
        } else if self.rxsync() {
            let frames = self.drain(burst);
            self.throttle.found(frames);
            if frames == 0 {
                idle(burst.pool());
            }
        }
    }

    /// Slots that were passed since the last sync.
    #[inline]
    fn unsynced(&self) -> u32 {
        let ring = &self.synced.ring;
        let passed = ring.distance_checked(self.synced_head, ring.head());
        passed.unwrap_or(0)
    }

    /// Receives what is in the ring; returns how many frames.
    #[inline]
    fn drain(&mut self, burst: &mut RxBurst<'_>) -> usize {
        match self.synced.ring.batch() {
            Ok(batch) if batch.left() == 0 => 0,
            Ok(batch) if self.copies => copy::take(batch, burst, &self.counters),
            Ok(batch) => swap::take(batch, burst, &self.counters),
            Err(BadRing) => {
                self.counters.bad_ring.add(1);
                0
            }
        }
    }

    /// Drops what is too much of the frames that came since there were `before`.
    fn police(&self, burst: &mut RxBurst<'_>, before: usize, policer: &Policer) {
        let dropped = burst.police(before, policer);
        if dropped > 0 {
            self.counters.policed.add(dropped as u64);
        }
    }

    /// Completes the checksums in the frames that came since there were `before`.
    fn complete_checksums(&self, burst: &RxBurst<'_>, before: usize) {
        let frames = burst.frames_since(before);
        let completed = frames.filter(|&frame| csum::complete(frame)).count();
        if completed > 0 {
            self.counters.csum_completed.add(completed as u64);
        }
    }

    /// Likewise, but lists in `csums` those that Open vSwitch completes.
    fn find_checksums(&self, burst: &RxBurst<'_>, before: usize, csums: &mut CsumList<'_>) {
        let (mut left, mut completed) = (0, 0);
        for (packet, frame) in (before..).zip(burst.frames_since(before)) {
            if !csums.has_room(packet) {
                completed += u64::from(csum::complete(frame));
                continue;
            }
            match csum::find(frame) {
                Found::Nothing => {}
                Found::Completed => completed += 1,
                Found::Left(partial) => {
                    csums.push(packet, partial);
                    left += 1;
                }
            }
        }
        if left + completed > 0 {
            self.counters.csum_partial.add(left);
            self.counters.csum_completed.add(completed);
        }
    }

    /// Syncs the ring, if the throttle lets it. False when nothing can have come.
    #[inline]
    fn rxsync(&mut self) -> bool {
        if !self.throttle.due(clock::rdtsc()) {
            return false;
        }
        self.counters.rxsyncs.add(1);
        if self.synced.sync().is_err() {
            self.counters.sync_errors.add(1);
            return false;
        }
        let head = self.synced.ring.head();
        if head < self.synced.ring.num_slots() {
            self.synced_head = head;
        }
        true
    }
}

/// A thread without work must not keep what others lack.
#[cold]
fn idle(pool: &Pool) {
    pool.trim_cache();
}
