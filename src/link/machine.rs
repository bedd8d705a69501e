// SPDX-License-Identifier: Apache-2.0
//! How a port follows its interface, as a state machine: events in, what is to be done out. It asks and
//! touches nothing, so that a test can play any world to it.
//!
//! ```text
//!            opened                        carrier comes and goes
//!   Closed ----------> Running <----------------------------------> LinkDown
//!     |                   |                                            |
//!     | cannot be opened  | the interface is gone, or another one,     |
//!     v                   | or has other queues: closed, and opened    |
//!   CannotOpen <----------+--------------------------------------------+
//!     ^   |               |
//!     |   | timer: opened again, with a growing pause
//!     |   +--------> Running, or CannotOpen again
//!     v                   v
//!   Gone  <---------------+      there is an interface of that name: opened
//! ```
#![forbid(unsafe_code)]

use std::time::Duration;

/// Pause after a first failure. It doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
/// The same when the kernel is about to let go of what is needed.
const FIRST_PAUSE_BUSY: Duration = Duration::from_millis(10);
/// Longest pause.
const LAST_PAUSE: Duration = Duration::from_secs(10);
/// The same when the kernel is about to let go of what is needed.
const LAST_PAUSE_BUSY: Duration = Duration::from_secs(1);
/// Between an attempt to open and the next one, whatever happens: an attempt has effects on the
/// interface, which look like changes.
const LEAST_PAUSE: Duration = Duration::from_millis(100);
/// How long it may take from being asked to open a port until it was tried.
const ANSWER: Duration = Duration::from_secs(1);
/// Between an opening and the next one because of other queues.
const QUEUES_PAUSE: Duration = Duration::from_secs(1);

/// What is known of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Never opened.
    Closed,
    /// Open, and frames can go.
    Running,
    /// Open, but the interface is down or has no carrier.
    LinkDown,
    /// There is no interface of that name.
    Gone,
    /// It could not be opened for another reason.
    CannotOpen,
}

/// An interface as it was seen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seen {
    /// Its number.
    pub ifindex: u32,
    /// Whether frames can go.
    pub running: bool,
    /// Whether it is up, and its MTU: what may keep a port from being opened.
    pub settings: (bool, u32),
    /// Receive and transmit queues.
    pub queues: (u32, u32),
}

/// What was opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opened {
    /// The number of its interface; 0 if it has none.
    pub ifindex: u32,
    /// Queues of the interface, if the port follows their number.
    pub queues: Option<(u32, u32)>,
}

/// Why a port could not be opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// There is no such interface.
    Gone,
    /// The kernel still has what is needed, and is about to let go.
    Busy,
    /// Anything else.
    Other,
}

/// What happens to a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// It was opened.
    Opened(Opened),
    /// It could not be opened, and is closed.
    Failed(Failure),
    /// It was closed.
    Closed,
    /// Its interface was looked at; `None` if there is none of that name.
    Looked(Option<Seen>),
    /// The interface that was opened has left, whatever is there now.
    Lost,
    /// Time has passed.
    Timer,
}

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Actions {
    /// To tell that the link has changed.
    pub changed: bool,
    /// To close the port if it is open, and to open it.
    pub reopen: bool,
}

/// The state of a port.
#[derive(Debug)]
pub struct Machine {
    state: State,
    opened: Option<Opened>,
    opened_at: Duration,
    /// When to be opened again was asked for, until it is done.
    asked: Option<Duration>,
    /// The interface when it was looked at last.
    seen: Option<Seen>,
    /// Attempts that failed one after the other, and what the last one met.
    failures: u32,
    failed: Option<Failure>,
    failed_at: Duration,
    first_failed_at: Duration,
    /// When to try again.
    again: Option<Duration>,
}

impl Default for Machine {
    fn default() -> Machine {
        Machine {
            state: State::Closed,
            opened: None,
            opened_at: Duration::ZERO,
            asked: None,
            seen: None,
            failures: 0,
            failed: None,
            failed_at: Duration::ZERO,
            first_failed_at: Duration::ZERO,
            again: None,
        }
    }
}

impl Machine {
    /// The state.
    pub fn state(&self) -> State {
        self.state
    }

    /// When a [`Event::Timer`] is wanted.
    pub fn again(&self) -> Option<Duration> {
        self.again
    }

    /// For how long it could not be opened, and why.
    pub fn failing(&self, now: Duration) -> Option<(Failure, Duration)> {
        let failed = self.failed?;
        Some((failed, now.saturating_sub(self.first_failed_at)))
    }

    /// Takes an event at `now`.
    pub fn on(&mut self, now: Duration, event: Event) -> Actions {
        match event {
            Event::Opened(opened) => self.opened(now, opened),
            Event::Failed(failure) => self.failed(now, failure),
            Event::Closed => {
                self.opened = None;
                self.asked = None;
                Actions::default()
            }
            Event::Looked(seen) => self.looked(now, seen),
            Event::Lost => self.reopen(now, State::Gone),
            Event::Timer => self.timer(now),
        }
    }

    fn opened(&mut self, now: Duration, opened: Opened) -> Actions {
        let running = self.seen.is_none_or(|seen| seen.running);
        self.state = match running {
            true => State::Running,
            false => State::LinkDown,
        };
        self.opened = Some(opened);
        self.opened_at = now;
        self.asked = None;
        self.failures = 0;
        self.failed = None;
        self.again = None;
        Actions {
            changed: true,
            reopen: false,
        }
    }

    fn failed(&mut self, now: Duration, failure: Failure) -> Actions {
        if self.failed != Some(failure) {
            self.failures = 0;
        }
        if self.failed.is_none() {
            self.first_failed_at = now;
        }
        let (first, last) = match failure {
            Failure::Busy => (FIRST_PAUSE_BUSY, LAST_PAUSE_BUSY),
            _ => (FIRST_PAUSE, LAST_PAUSE),
        };
        let pause = first.saturating_mul(1 << self.failures.min(20)).min(last);
        self.failures += 1;
        self.failed = Some(failure);
        self.failed_at = now;
        self.again = Some(now + pause);
        self.opened = None;
        self.asked = None;
        self.state = match failure {
            Failure::Gone => State::Gone,
            _ => State::CannotOpen,
        };
        Actions {
            changed: true,
            reopen: false,
        }
    }

    fn looked(&mut self, now: Duration, seen: Option<Seen>) -> Actions {
        let before = std::mem::replace(&mut self.seen, seen);
        let Some(opened) = self.opened else {
            return self.looked_while_closed(now, before);
        };
        let Some(seen) = seen else {
            return self.reopen(now, State::Gone);
        };
        if seen.ifindex != opened.ifindex {
            return self.reopen(now, State::Gone);
        }
        let state = match seen.running {
            true => State::Running,
            false => State::LinkDown,
        };
        let mut actions = Actions {
            changed: before != Some(seen),
            reopen: false,
        };
        if self.waits_for_answer(now) {
            return actions;
        }
        actions.changed |= state != self.state;
        self.state = state;
        if opened.queues.is_some_and(|queues| queues != seen.queues) {
            // Looked at again soon, so nothing is missed by this pause.
            if now >= self.opened_at + QUEUES_PAUSE {
                self.asked = Some(now);
                actions.reopen = true;
            }
        }
        actions
    }

    fn looked_while_closed(&mut self, now: Duration, before: Option<Seen>) -> Actions {
        if self.waits_for_answer(now) || self.failed.is_none() {
            return Actions::default();
        }
        let Some(seen) = self.seen else {
            let changed = self.state != State::Gone;
            self.state = State::Gone;
            return Actions {
                changed,
                reopen: false,
            };
        };
        // Something that may have been the reason is different now.
        let of = |seen: Seen| (seen.ifindex, seen.settings);
        if before.map(of) != Some(of(seen)) {
            let soon = now.max(self.failed_at + LEAST_PAUSE);
            self.again = Some(self.again.map_or(soon, |again| again.min(soon)));
            self.failures = 0;
        }
        self.timer(now)
    }

    fn timer(&mut self, now: Duration) -> Actions {
        let due = self.again.is_some_and(|again| now >= again);
        if self.opened.is_some() || self.waits_for_answer(now) || !due {
            return Actions::default();
        }
        self.again = None;
        if self.state == State::Gone && self.seen.is_none() {
            // There is nothing to open. That there is something is another event.
            return Actions::default();
        }
        self.asked = Some(now);
        // In case that nobody does it.
        self.again = Some(now + ANSWER);
        Actions {
            changed: false,
            reopen: true,
        }
    }

    fn reopen(&mut self, now: Duration, state: State) -> Actions {
        let changed = self.state != state;
        self.state = state;
        let reopen = !self.waits_for_answer(now);
        if reopen {
            self.asked = Some(now);
        }
        Actions { changed, reopen }
    }

    /// Whether to be opened again was asked for a moment ago.
    fn waits_for_answer(&self, now: Duration) -> bool {
        self.asked.is_some_and(|asked| now < asked + ANSWER)
    }
}

#[cfg(test)]
mod tests;
