// SPDX-License-Identifier: Apache-2.0
//! Frames that a busy driver left in a transmit ring.
#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicU64, Ordering};

use super::super::socket;
use crate::clock;

/// In copy mode frames go out in system calls only. Those for which the driver had no room wait for the
/// next txsync, which comes with the next frame: that may be never. So the receive side of the socket, which
/// is synced all the time, makes the calls meanwhile.
///
/// Both sides may be in the kernel at once, which takes its own lock there.
#[derive(Debug, Default)]
pub(in crate::engine::xdp) struct Backlog {
    /// Until when the oldest frame may go out, in ticks of the clock; 0: none waits.
    until: AtomicU64,
}

impl Backlog {
    /// Frames wait, the oldest of which may go out until then.
    pub(super) fn set(&self, until: u64) {
        self.until.store(until.max(1), Ordering::Relaxed);
    }

    /// No frame waits.
    pub(super) fn clear(&self) {
        self.until.store(0, Ordering::Relaxed);
    }

    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        self.until.load(Ordering::Relaxed) == 0
    }

    /// Has the kernel send some of them, unless they are too old: the next txsync sees to these. Returns
    /// whether the driver dropped one.
    #[cold]
    pub(super) fn send(&self, fd: &OwnedFd) -> bool {
        let until = self.until.load(Ordering::Relaxed);
        if clock::rdtsc() < until {
            match socket::wake_tx(fd) {
                Err(libc::EAGAIN) => return false,
                Err(libc::EBUSY) => return true,
                // All sent, or nothing can be sent now.
                _ => {}
            }
        }
        // Not if more wait since.
        let order = Ordering::Relaxed;
        let _ = self.until.compare_exchange(until, 0, order, order);
        false
    }
}
