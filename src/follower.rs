// SPDX-License-Identifier: Apache-2.0
//! What of a port outlives its being open: which interface it is to have, how it follows it, and why it
//! is not open. Used by the main thread; what it says may be asked by any.
#![forbid(unsafe_code)]

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::config::PortConfig;
use crate::engine::Held;
use crate::error::{Error, Result};
use crate::link::{Actions, Event, Failure, Machine, Opened, Seen, State};
use crate::name::{PortKind, PortName, Rings};
use crate::netif::{self, HostInterface};
use crate::port::{Port, PortState};

/// Between two looks at an interface that nothing was heard of. Not all that changes is announced:
/// queues of a tap device, for one.
const LOOK_INTERVAL: Duration = Duration::from_millis(400);

/// How long a port that is about to be opened is not called an error.
const GRACE: Duration = Duration::from_secs(1);

/// Follows the interface of one port.
pub struct Follower {
    /// The interface in OVS.
    ovs_name: String,
    /// Times are counted from here.
    start: Instant,
    inner: Mutex<Inner>,
}

struct Inner {
    machine: Machine,
    /// The port as it is configured, and its interface, if it has one.
    name: String,
    ifname: Option<String>,
    /// Why it could not be opened last.
    error: Option<String>,
    /// Why its interface could not be looked at last.
    unread: Option<String>,
    /// Keeps frames from the host while the port is closed, to be opened again.
    held: Option<Held>,
    next_look: Duration,
}

impl Follower {
    /// Follows nothing yet, for the interface `ovs_name` of OVS.
    pub fn new(ovs_name: &str) -> Follower {
        Follower {
            ovs_name: ovs_name.to_owned(),
            start: Instant::now(),
            inner: Mutex::new(Inner {
                machine: Machine::default(),
                name: String::new(),
                ifname: None,
                error: None,
                unread: None,
                held: None,
                next_look: Duration::ZERO,
            }),
        }
    }

    fn now(&self) -> Duration {
        self.start.elapsed()
    }

    /// Opens the port. What fails now is to be tried again when [`Follower::run`] says so.
    pub fn open(&self, wanted: &PortConfig<'_>) -> Result<Port> {
        self.forget_another(wanted.name);
        let opened = Port::open(wanted).map_err(|error| explain(wanted.name, error));
        let mut inner = self.inner.lock();
        inner.resolve();
        let event = match &opened {
            Ok(port) => inner.opened(port.state()),
            Err(error) => inner.failed(error),
        };
        inner.machine.on(self.now(), event);
        inner.next_look = self.now() + LOOK_INTERVAL;
        opened
    }

    /// Closes the port, to be opened again if its interface is still there: until then nothing of it
    /// reaches the host.
    pub fn close(&self, port: Port) {
        // An interface that has left is not ours any more.
        let gone = self.inner.lock().machine.state() == State::Gone;
        if gone {
            port.state().let_go();
        }
        let held = port.close();
        let mut inner = self.inner.lock();
        inner.held = held.filter(|_| !gone);
        inner.machine.on(self.now(), Event::Closed);
    }

    /// What was held for a port of another name is free.
    fn forget_another(&self, name: &str) {
        let mut inner = self.inner.lock();
        if inner.name != name {
            name.clone_into(&mut inner.name);
            inner.ifname = None;
            inner.held = None;
        }
    }

    /// Looks at the interface, if it is time or `heard` says that something has changed, and tells what
    /// is to be done. `port` is the port, if it is open.
    pub fn run(&self, port: Option<&PortState>, heard: bool) -> Actions {
        let mut inner = self.inner.lock();
        let now = self.now();
        let before = inner.machine.state() == State::Gone;
        let mut actions = Actions::default();
        if heard || now >= inner.next_look {
            inner.next_look = now + LOOK_INTERVAL;
            actions = inner.look(now, &self.ovs_name, port);
        }
        if port.is_some_and(PortState::lost) {
            merge(&mut actions, inner.machine.on(now, Event::Lost));
        }
        merge(&mut actions, inner.machine.on(now, Event::Timer));
        let gone = inner.machine.state() == State::Gone;
        if gone {
            inner.held = None;
        }
        if gone && !before {
            let ifname = inner.ifname.as_deref().unwrap_or_default();
            log::warn!("{}: {}", self.ovs_name, gone_message(ifname));
        }
        actions
    }

    /// In how long [`Follower::run`] is to be called, at the latest.
    pub fn wait(&self) -> Duration {
        let inner = self.inner.lock();
        let next = match inner.machine.again() {
            Some(again) => again.min(inner.next_look),
            None => inner.next_look,
        };
        next.saturating_sub(self.now())
    }

    /// What keeps the port from working, for the user.
    pub fn error(&self, port: Option<&PortState>) -> Option<String> {
        let inner = self.inner.lock();
        match inner.machine.state() {
            State::Gone => inner.ifname.as_deref().map(gone_message),
            State::CannotOpen => {
                let (failure, time) = inner.machine.failing(self.now())?;
                let error = inner.error.as_ref()?;
                if failure == Failure::Busy {
                    return (time >= GRACE).then(|| error.clone());
                }
                Some(format!("{error} (it is tried again from time to time)"))
            }
            State::Closed | State::Running | State::LinkDown => port.and_then(PortState::fault),
        }
    }
}

impl Inner {
    /// Finds out which interface the port's name stands for. Which one that is depends on those that
    /// exist; while there is none, it is the one that it was.
    fn resolve(&mut self) {
        let Ok(name) = PortName::parse_on_host(&self.name, netif::exists) else {
            return;
        };
        let found = interface_of(&name);
        let exists = found.as_deref().is_none_or(netif::exists);
        if exists || self.ifname.is_none() {
            self.ifname = found;
        }
    }

    fn opened(&mut self, port: &PortState) -> Event {
        self.error = None;
        self.held = None;
        Event::Opened(Opened {
            ifindex: port.link().ifindex,
            queues: port.queues(),
        })
    }

    fn failed(&mut self, error: &Error) -> Event {
        let failure = match error.errno() {
            libc::ENODEV if self.ifname.is_some() => Failure::Gone,
            libc::EAGAIN => Failure::Busy,
            _ => Failure::Other,
        };
        if failure == Failure::Gone {
            self.held = None;
        }
        self.error = Some(error.to_string());
        Event::Failed(failure)
    }

    fn look(&mut self, now: Duration, ovs_name: &str, port: Option<&PortState>) -> Actions {
        if port.is_none() {
            self.resolve();
        }
        let Some(ifname) = self.ifname.as_deref() else {
            let changed = port.is_some_and(|port| port.update_carrier());
            return Actions {
                changed,
                reopen: false,
            };
        };
        let host = match HostInterface::read(ifname) {
            Ok(host) => Some(host),
            Err(error) if error.errno() == libc::ENODEV => None,
            Err(error) => {
                // What it is now is not known, so nothing changes by that.
                let error = error.to_string();
                if self.unread.as_ref() != Some(&error) {
                    log::warn!("{ovs_name}: {error}: its state is taken to be what it was");
                    self.unread = Some(error);
                }
                return Actions::default();
            }
        };
        self.unread = None;
        // Another interface of that name is not the port's.
        let ours = |port: &&PortState| {
            let same = |host: &HostInterface| host.ifindex == port.opened_ifindex();
            host.as_ref().is_none_or(same)
        };
        let changed = match port {
            Some(port) if ours(&port) => port.update(host.as_ref()),
            Some(port) => port.update(None),
            None => false,
        };
        let seen = host.map(|host| Seen {
            ifindex: host.ifindex,
            running: host.up && host.carrier,
            settings: (host.up, host.mtu),
            queues: (host.n_rx_queues, host.n_tx_queues),
        });
        let mut actions = self.machine.on(now, Event::Looked(seen));
        actions.changed |= changed;
        actions
    }
}

/// Says what else a name could have meant whose interface there is not.
fn explain(text: &str, error: Error) -> Error {
    let kind = PortName::parse(text).map(|name| name.kind().clone());
    match kind {
        Ok(PortKind::Hardware {
            rings: Rings::One(ring),
            ..
        }) if error.errno() == libc::ENODEV => Error::new(
            libc::ENODEV,
            format!("{error} ({text:?} is ring {ring} of it, as no interface has that name)"),
        ),
        _ => error,
    }
}

fn gone_message(ifname: &str) -> String {
    format!("interface {ifname:?} is gone: the port works again when there is one of that name")
}

/// The host interface that a port is on.
fn interface_of(name: &PortName) -> Option<String> {
    match name.kind() {
        PortKind::Hardware { ifname, .. } => Some(ifname.clone()),
        _ => None,
    }
}

fn merge(actions: &mut Actions, more: Actions) {
    actions.changed |= more.changed;
    actions.reopen |= more.reopen;
}
