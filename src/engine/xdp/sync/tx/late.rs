// SPDX-License-Identifier: Apache-2.0
//! Frames in the transmit ring that cannot go out now, or did not for too long: they are taken back from
//! the kernel, so that none goes out late.
#![forbid(unsafe_code)]

use std::sync::atomic::{Ordering, fence};

use super::{INVALID, Revoked, TxSync};
use crate::clock;
use crate::engine::xdp::socket;

/// How old a frame may get in the transmit ring, in milliseconds. It is dropped then: whoever sent it
/// has sent it again, or needs it no more.
const STALE_MS: u64 = 500;

/// How exactly the age of frames is known, in milliseconds.
const AGE_STEP_MS: u64 = 50;

/// [`STALE_MS`] and [`AGE_STEP_MS`] in ticks of the clock.
pub(super) struct Ages {
    limit: u64,
    step: u64,
}

impl Ages {
    pub(super) fn new() -> Ages {
        Ages {
            limit: clock::us_to_ticks(1000 * STALE_MS),
            step: clock::us_to_ticks(1000 * AGE_STEP_MS),
        }
    }
}

impl TxSync {
    /// Takes the frames that wait in the transmit ring before the position `end` back from the kernel, which
    /// may be taking some of them just now.
    ///
    /// Their descriptors become invalid, the last one first, so that a kernel that is reading them
    /// finds no valid one after an invalid one. It passes over them and counts how many; those that
    /// it had sent before, without having said so yet, are the first, and are completed. So it is
    /// known which are free once the kernel has passed them. That is now, if `unseen`: it never
    /// looked at them.
    #[cold]
    pub(super) fn revoke(&mut self, end: u32, unseen: bool) {
        // Before there is any invalid one: the kernel may be passing over them soon.
        let passed_before = match unseen {
            true => 0,
            false => self.passed(),
        };
        let first = self.consumed();
        let n = end.wrapping_sub(first);
        if n as i32 <= 0 {
            return;
        }
        let mut frames = Vec::with_capacity(n as usize);
        for i in (0..n).rev() {
            let position = first.wrapping_add(i);
            if let Some((idx, _)) = self.frames.at(self.tx.published(position).addr) {
                frames.push(idx);
            }
            self.tx.overwrite(position, INVALID);
        }
        fence(Ordering::SeqCst);
        if unseen {
            self.counters.not_sent.add(frames.len() as u64);
            self.counters.revoked.add(frames.len() as u64);
            self.done.extend(frames);
            return;
        }
        self.revoked = Some(Revoked {
            first,
            end,
            frames,
            passed_before,
        });
    }

    /// The position up to which the kernel says that it has taken frames, or passed over them.
    fn consumed(&self) -> u32 {
        self.tx.produced().wrapping_sub(self.tx.pending())
    }

    /// How many invalid descriptors the kernel has passed over so far.
    fn passed(&self) -> u64 {
        socket::statistics(&self.fd).map_or(0, |s| s.tx_invalid_descs)
    }

    /// Ends a revocation, if the kernel has passed the frames by now.
    #[cold]
    fn settle(&mut self) {
        let consumed = self.consumed();
        let passed_all = |revoked: &mut Revoked| (consumed.wrapping_sub(revoked.end) as i32) >= 0;
        let Some(mut revoked) = self.revoked.take_if(passed_all) else {
            return;
        };
        let free = self.passed().saturating_sub(revoked.passed_before) as usize;
        // The last ones, which come first here.
        revoked.frames.truncate(free);
        self.counters.not_sent.add(revoked.frames.len() as u64);
        self.counters.revoked.add(revoked.frames.len() as u64);
        self.done.append(&mut revoked.frames);
        self.backlog.clear();
    }

    /// Whether the kernel has not passed over all frames that were taken back, and new ones would wait
    /// behind them. With zero copy it tells of those that it passed when it takes a frame to send, and not
    /// before: so new ones are needed when all are passed, told of or not.
    fn has_to_pass(&self) -> bool {
        let Some(revoked) = &self.revoked else {
            return false;
        };
        let consumed = self.consumed();
        let told = consumed.wrapping_sub(revoked.first);
        let passed = self.passed().saturating_sub(revoked.passed_before);
        u64::from(told) + passed < u64::from(revoked.end.wrapping_sub(revoked.first))
    }

    /// Before a sync: takes back what waits for too long. True when new frames must not be sent now.
    #[inline]
    pub(super) fn blocked(&mut self) -> bool {
        if self.waiting.is_empty() && !self.down && self.revoked.is_none() {
            return false;
        }
        self.look_after()
    }

    #[cold]
    fn look_after(&mut self) -> bool {
        let consumed = self.consumed();
        while let Some(&(end, _)) = self.waiting.front()
            && (consumed.wrapping_sub(end) as i32) >= 0
        {
            self.waiting.pop_front();
        }
        if let Some(&(end, since)) = self.waiting.front()
            && self.revoked.is_none()
            && clock::rdtsc().wrapping_sub(since) > self.stale.limit
        {
            self.revoke(end, false);
            self.waiting.pop_front();
        }
        if self.down || self.revoked.is_some() {
            self.pass_revoked();
            self.settle();
        }
        let has_to_pass = self.has_to_pass();
        if has_to_pass {
            self.had_backlog = true;
            let until = clock::rdtsc().wrapping_add(self.stale.limit);
            self.backlog.set_taken_back(until);
        }
        self.down || has_to_pass
    }

    /// Lets the kernel, which may send again, pass over frames that were taken back. Some kernels pass
    /// one in a system call, others all, and say so with the next.
    fn pass_revoked(&mut self) {
        self.down = false;
        let mut left = self.tx.pending();
        let mut idle = 0;
        while left > 0 && idle < 2 && !self.down {
            self.kick(0);
            let now = self.tx.pending();
            idle = if now == left { idle + 1 } else { 0 };
            left = now;
        }
    }

    /// After a sync: remembers since when what is left waits.
    #[inline]
    pub(super) fn note_waiting(&mut self) {
        if self.down || self.tx.pending() == 0 {
            if !self.waiting.is_empty() || !self.backlog.is_empty() {
                self.none_waits();
            }
            return;
        }
        let (end, now) = (self.tx.produced(), clock::rdtsc());
        match self.waiting.back_mut() {
            Some(last) if now.wrapping_sub(last.1) < self.stale.step => last.0 = end,
            _ => self.waiting.push_back((end, now)),
        }
        if let Some(&(_, since)) = self.waiting.front()
            && !self.zero_copy
        {
            self.had_backlog = true;
            self.backlog
                .set_waiting(since.wrapping_add(self.stale.limit));
        }
    }

    /// Forgets since when frames wait.
    #[cold]
    pub(super) fn none_waits(&mut self) {
        self.waiting.clear();
        self.backlog.clear();
    }
}
