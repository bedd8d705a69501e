// SPDX-License-Identifier: Apache-2.0
//! What the receive side of a socket does for frames in its transmit ring, since it is synced all the time,
//! and txsync comes with the next frame only, which may be never.
#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::socket;
use crate::clock;

/// It makes system calls:
///
/// * for frames that a busy driver had no room for, which in copy mode go out in system calls only;
/// * for frames that were taken back: a driver with zero copy passes over one of them each time that it is
///   woken.
///
/// Both sides may be in the kernel at once, which takes its own lock there.
#[derive(Debug, Default)]
pub(in crate::engine::xdp) struct Backlog {
    /// Until when the oldest frame that waits may go out, in ticks of the clock; 0: none waits.
    waiting: AtomicU64,
    /// Until when the driver is woken for frames that were taken back; 0: it is not.
    taken_back: AtomicU64,
}

impl Backlog {
    /// Frames wait, the oldest of which may go out until then.
    pub(super) fn set_waiting(&self, until: u64) {
        self.waiting.store(until.max(1), Ordering::Relaxed);
    }

    /// Frames were taken back, and the driver is to pass over them.
    pub(super) fn set_taken_back(&self, until: u64) {
        self.taken_back.store(until.max(1), Ordering::Relaxed);
    }

    /// There is nothing to do.
    pub(super) fn clear(&self) {
        self.waiting.store(0, Ordering::Relaxed);
        self.taken_back.store(0, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.waiting.load(Ordering::Relaxed) | self.taken_back.load(Ordering::Relaxed) == 0
    }

    /// Makes a system call, unless it is too late for it: the next txsync sees to what is left. Returns
    /// whether the driver dropped a frame.
    #[cold]
    pub(super) fn send(&self, fd: &OwnedFd) -> bool {
        let waiting = self.waiting.load(Ordering::Relaxed);
        let taken_back = self.taken_back.load(Ordering::Relaxed);
        let now = clock::rdtsc();
        let done = match now < waiting.max(taken_back) {
            true => socket::wake_tx(fd),
            false => Ok(()),
        };
        // What was set anew since then stays.
        let reset = |until: &AtomicU64, seen| {
            let order = Ordering::Relaxed;
            let _ = until.compare_exchange(seen, 0, order, order);
        };
        if now >= taken_back {
            reset(&self.taken_back, taken_back);
        }
        // Otherwise all was sent, or nothing can be sent now.
        if !matches!(done, Err(libc::EAGAIN | libc::EBUSY)) {
            reset(&self.waiting, waiting);
        }
        done == Err(libc::EBUSY)
    }
}
