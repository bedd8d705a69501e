// SPDX-License-Identifier: Apache-2.0
//! VLAN tags stay in their frames: a tag that an interface keeps beside the frame never reaches a port,
//! and the frame would be one of another VLAN.
//!
//! Cards take tags out of frames if they are told to (`rx-vlan-offload`). That is turned off as long as
//! a port is open, and turned on again when it is closed. For the case that the process dies meanwhile,
//! it is written down in a file, from which the next process does it.
//!
//! A veth has tags where its other end leaves them, so there the offload is turned off likewise, if the
//! process may. What a crash leaves off costs nothing there, and is not written down.
#![forbid(unsafe_code)]

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::error::Result;
use crate::netif::{self, HostInterface, RxVlan, VethPeer};

/// Name of the file, in the directory that Open vSwitch has for such.
const FILE: &str = "netmap-rx-vlan";

/// What tells network namespaces apart.
const NAMESPACE: &str = "/proc/self/ns/net";

/// Between two looks at the other end of a veth, of which no news comes from another network namespace.
const PEER_INTERVAL: Duration = Duration::from_secs(2);

/// Where the tags of received frames are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum VlanTags {
    /// In the frames, whatever the interface does with them.
    Kept,
    /// Where the interface's driver puts them.
    FromDriver,
    /// Where the network stack puts them, which took the frame before the port gets it.
    FromStack,
}

/// The tags of a port's frames, as long as the port is open.
pub struct VlanGuard {
    offload: Option<Arc<Offload>>,
    far_end: Option<Arc<FarEnd>>,
    /// When it looked there last.
    looked: Instant,
    fault: Option<String>,
}

impl VlanGuard {
    /// For a port on `host`. What must survive a crash is kept in `run_dir`.
    pub fn new(host: &HostInterface, tags: VlanTags, run_dir: Option<&Path>) -> VlanGuard {
        let mut guard = VlanGuard {
            offload: None,
            far_end: None,
            looked: Instant::now(),
            fault: None,
        };
        if tags == VlanTags::Kept {
            return guard;
        }
        let name = &host.name;
        // Its own offload changes nothing.
        if host.driver == "veth" {
            let far_end = FarEnd::of(host);
            guard.fault = far_end.look();
            guard.far_end = Some(far_end);
            return guard;
        }
        if let Some(dir) = run_dir {
            LEDGER.lock().open(dir);
        }
        let state = netif::rx_vlan(name).unwrap_or_default();
        match Offload::turn_off(host, state) {
            Ok(offload) => guard.offload = offload,
            Err(error) => guard.fault = Some(lost(name, &error.to_string())),
        }
        if guard.fault.is_none() {
            guard.fault = fault(host, tags, state);
        }
        guard
    }

    /// What is wrong with the tags, for the user.
    pub fn fault(&self) -> Option<&str> {
        self.fault.as_deref()
    }

    /// Sees to it that the offload is still off, and whether the other end has changed. True when there is
    /// another fault than before, or none any more.
    pub fn refresh(&mut self) -> bool {
        if let Some(offload) = &self.offload {
            offload.keep_off();
        }
        match &self.far_end {
            Some(far_end) if self.looked.elapsed() >= PEER_INTERVAL => {
                self.looked = Instant::now();
                let fault = far_end.look();
                let before = std::mem::replace(&mut self.fault, fault);
                before != self.fault
            }
            _ => false,
        }
    }
}

/// Why tags cannot be seen that are beside their frames, if that may be.
fn fault(host: &HostInterface, tags: VlanTags, state: RxVlan) -> Option<String> {
    let name = &host.name;
    if state.active & !state.changeable != 0 {
        let why = format!("its driver does not let \"ethtool -K {name} rxvlan off\" be done");
        return Some(lost(name, &why));
    }
    // Its frames went through the stack already, as those of another interface.
    if tags == VlanTags::FromStack && host.bus.is_empty() && host.driver != "tun" {
        let why = format!(
            "its driver ({:?}) cannot run an XDP program, and the network stack keeps them beside the \
             frames: use a veth, a tap or a network card instead",
            host.driver
        );
        return Some(lost(name, &why));
    }
    None
}

fn lost(ifname: &str, why: &str) -> String {
    format!("frames with VLAN tags lose them on interface {ifname:?}: {why}")
}

/// The other end of a veth whose tags nobody puts back into the frames: it does not take them out as long
/// as this lives.
struct FarEnd {
    ifindex: u32,
    ifname: String,
    state: Mutex<FarState>,
}

#[derive(Default)]
struct FarState {
    /// Where it was seen last.
    netns: Option<PathBuf>,
    /// Kinds of tags that were turned off there.
    kinds: u8,
}

/// Those of this process: ports on different queues of a veth share one.
static FAR_ENDS: Mutex<Vec<Weak<FarEnd>>> = Mutex::new(Vec::new());

impl FarEnd {
    fn of(host: &HostInterface) -> Arc<FarEnd> {
        let mut far_ends = FAR_ENDS.lock();
        let is_its =
            |far_end: &FarEnd| far_end.ifindex == host.ifindex && far_end.ifname == host.name;
        shared(&mut far_ends, is_its).unwrap_or_else(|| {
            let far_end = Arc::new(FarEnd {
                ifindex: host.ifindex,
                ifname: host.name.clone(),
                state: Mutex::default(),
            });
            far_ends.push(Arc::downgrade(&far_end));
            far_end
        })
    }

    fn peer(&self, state: &mut FarState, change: Option<(u8, bool)>) -> Option<VethPeer> {
        // By that name, there may be another one by now.
        if HostInterface::read(&self.ifname).ok()?.ifindex != self.ifindex {
            return None;
        }
        let peer = netif::veth_peer(&self.ifname, state.netns.as_deref(), change)?;
        state.netns.clone_from(&peer.netns);
        Some(peer)
    }

    /// Turns its offload off, if it is on. Returns what is wrong with it.
    fn look(&self) -> Option<String> {
        let state = &mut *self.state.lock();
        let Some(peer) = self.peer(state, None) else {
            let why = "its peer may keep them beside the frames, and is where ovs-vswitchd cannot look: \
                       there, run \"ethtool -K PEER txvlan off tx-vlan-stag-hw-insert off\"";
            return Some(lost(&self.ifname, why));
        };
        let kinds = peer.tags_beside;
        if kinds == 0 {
            return None;
        }
        let now = self.peer(state, Some((kinds, false)))?;
        if now.tags_beside != 0 {
            let why = format!("its peer {:?} does not let txvlan be off", peer.ifname);
            return Some(lost(&self.ifname, &why));
        }
        state.kinds |= kinds;
        let (ifname, peer) = (&self.ifname, peer.ifname);
        log::info!(
            "{ifname}: tx-vlan-offload of its peer {peer} is off as long as it is a port, so that VLAN tags \
             stay in their frames"
        );
        None
    }
}

impl Drop for FarEnd {
    fn drop(&mut self) {
        let state = &mut *self.state.lock();
        if state.kinds == 0 {
            return;
        }
        let change = Some((state.kinds, true));
        if let Some(peer) = self.peer(state, change) {
            let ifname = &self.ifname;
            let peer = peer.ifname;
            log::info!(
                "{ifname}: tx-vlan-offload of its peer {peer} is on again: its port is closed"
            );
        }
    }
}

/// The one of `all` that is looked for. Those that nobody has any more are left out.
fn shared<T>(all: &mut Vec<Weak<T>>, is_it: impl Fn(&T) -> bool) -> Option<Arc<T>> {
    all.retain(|one| one.strong_count() > 0);
    all.iter().filter_map(Weak::upgrade).find(|one| is_it(one))
}

/// An offload that is off as long as this lives.
struct Offload {
    entry: Entry,
}

/// Those of this process: ports on different queues of an interface share one.
static OFFLOADS: Mutex<Vec<Weak<Offload>>> = Mutex::new(Vec::new());

impl Offload {
    /// Turns it off, if it is on or was before another port turned it off.
    fn turn_off(host: &HostInterface, state: RxVlan) -> Result<Option<Arc<Offload>>> {
        let mut offloads = OFFLOADS.lock();
        let is_its = |offload: &Offload| offload.entry.ifindex == host.ifindex;
        if let Some(offload) = shared(&mut offloads, is_its) {
            offload.keep_off();
            return Ok(Some(offload));
        }
        let kinds = state.active & state.changeable;
        if kinds == 0 {
            return Ok(None);
        }
        let entry = Entry {
            namespace: namespace(),
            ifindex: host.ifindex,
            kinds,
            ifname: host.name.clone(),
        };
        // Written down first: a crash in between turns on what is on.
        LEDGER.lock().add(entry.clone());
        let offload = Arc::new(Offload { entry });
        netif::set_rx_vlan(&host.name, offload.entry.kinds, false)?;
        log::info!(
            "{}: rx-vlan-offload is off as long as it is a port, so that VLAN tags stay in their frames",
            host.name
        );
        offloads.push(Arc::downgrade(&offload));
        Ok(Some(offload))
    }

    fn keep_off(&self) {
        let Entry { ifname, kinds, .. } = &self.entry;
        let on = netif::rx_vlan(ifname).is_ok_and(|now| now.active & kinds != 0);
        if !on || !self.entry.is_there() {
            return;
        }
        match netif::set_rx_vlan(ifname, *kinds, false) {
            Ok(()) => log::warn!("{ifname}: somebody turned rx-vlan-offload on: it is off again"),
            Err(error) => log::warn!("{error}: VLAN tags get lost"),
        }
    }
}

impl Drop for Offload {
    fn drop(&mut self) {
        self.entry.restore("its port is closed");
        LEDGER.lock().remove(&self.entry);
    }
}

/// An offload that was on, and is off.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Entry {
    namespace: String,
    ifindex: u32,
    kinds: u8,
    /// Last, because anything may be in it.
    ifname: String,
}

impl Entry {
    fn parse(line: &str) -> Option<Entry> {
        let mut words = line.splitn(4, ' ');
        Some(Entry {
            namespace: words.next()?.to_owned(),
            ifindex: words.next()?.parse().ok()?,
            kinds: words.next()?.parse().ok()?,
            ifname: words.next()?.to_owned(),
        })
    }

    fn line(&self) -> String {
        let Entry {
            namespace,
            ifindex,
            kinds,
            ifname,
        } = self;
        format!("{namespace} {ifindex} {kinds} {ifname}\n")
    }

    /// Whether the interface is still the one that it was.
    fn is_there(&self) -> bool {
        let now = HostInterface::read(&self.ifname);
        self.namespace == namespace() && now.is_ok_and(|host| host.ifindex == self.ifindex)
    }

    /// Turns it on again.
    fn restore(&self, why: &str) {
        if !self.is_there() {
            return;
        }
        match netif::set_rx_vlan(&self.ifname, self.kinds, true) {
            Ok(()) => log::info!("{}: rx-vlan-offload is on again: {why}", self.ifname),
            Err(error) => log::warn!("cannot turn rx-vlan-offload on again: {error}"),
        }
    }
}

fn namespace() -> String {
    let link = fs::read_link(NAMESPACE).unwrap_or_default();
    link.to_string_lossy().replace(' ', "_")
}

/// What is written down.
#[derive(Default)]
struct Ledger {
    /// `None` as long as nobody said where.
    path: Option<PathBuf>,
    entries: Vec<Entry>,
}

static LEDGER: Mutex<Ledger> = Mutex::new(Ledger {
    path: None,
    entries: Vec::new(),
});

impl Ledger {
    /// Opens the file in `dir`, once. What stands in it, a process left that had no time to restore it.
    fn open(&mut self, dir: &Path) {
        let path = dir.join(FILE);
        if self.path.as_ref() == Some(&path) {
            return;
        }
        let text = fs::read_to_string(&path).unwrap_or_default();
        self.path = Some(path);
        for entry in text.lines().filter_map(Entry::parse) {
            if entry.namespace == namespace() {
                entry.restore("the process that had turned it off is gone");
            } else {
                // Somebody else's, who sees those interfaces.
                self.entries.push(entry);
            }
        }
        self.save();
    }

    fn add(&mut self, entry: Entry) {
        self.entries.push(entry);
        self.save();
    }

    fn remove(&mut self, entry: &Entry) {
        self.entries.retain(|other| other != entry);
        self.save();
    }

    fn save(&self) {
        let Some(path) = &self.path else { return };
        let saved = if self.entries.is_empty() {
            match fs::remove_file(path) {
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(()),
                done => done,
            }
        } else {
            // In one step, so that a crash leaves the old file or the new one.
            let draft = path.with_extension("new");
            let text: String = self.entries.iter().map(Entry::line).collect();
            fs::write(&draft, text).and_then(|()| fs::rename(&draft, path))
        };
        if let Err(error) = saved {
            log::warn!(
                "cannot write {}: {error}: after a crash, rx-vlan-offload stays as it is",
                path.display()
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    fn host(driver: &str, bus: &str) -> HostInterface {
        let mut host = HostInterface::read("lo").unwrap();
        host.driver = driver.into();
        host.bus = bus.into();
        host
    }

    #[test]
    fn entries_are_read_as_they_were_written() {
        for ifname in ["eth0", "a b c"] {
            let entry = Entry {
                namespace: namespace(),
                ifindex: 7,
                kinds: 3,
                ifname: ifname.into(),
            };
            assert_eq!(Entry::parse(entry.line().trim_end()), Some(entry));
        }
        for bad in [
            "",
            "net:[1]",
            "net:[1] x 3 eth0",
            "net:[1] 3 300 eth0",
            "a 1 2",
        ] {
            assert_eq!(Entry::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn faults_name_what_to_do() {
        let none = RxVlan::default();
        let fixed = RxVlan {
            active: 1,
            changeable: 2,
        };
        let text = |driver, bus, tags, state| fault(&host(driver, bus), tags, state);
        let of_card = text("cxgb", "0000:01:00.0", VlanTags::FromDriver, fixed).unwrap();
        assert!(of_card.contains("rxvlan off"), "{of_card}");
        let of_macvlan = text("macvlan", "", VlanTags::FromStack, none).unwrap();
        assert!(of_macvlan.contains("macvlan"), "{of_macvlan}");
        assert_eq!(text("tun", "tap", VlanTags::FromStack, none), None);
        assert_eq!(
            text("e1000", "0000:01:00.0", VlanTags::FromStack, none),
            None
        );
        assert_eq!(
            text("ixgbe", "0000:01:00.0", VlanTags::FromDriver, none),
            None
        );
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_peer_of_a_veth_leaves_tags_in_frames_while_a_port_is_open() {
        let Some(card) = Card::new() else { return };
        let veth = HostInterface::read(&card.0).unwrap();
        let beside = |change| netif::veth_peer(&card.0, None, change).unwrap().tags_beside;
        assert_eq!(beside(None), 3);
        assert_eq!(beside(Some((2, false))), 1);
        let open = |tags| VlanGuard::new(&veth, tags, None);
        let mut guard = open(VlanTags::FromDriver);
        assert!(guard.fault().is_none() && beside(None) == 0);

        // Somebody turns it on. It is not looked at all the time.
        assert_eq!(beside(Some((1, true))), 1);
        assert!(!guard.refresh() && beside(None) == 1);
        guard.looked -= PEER_INTERVAL;
        assert!(!guard.refresh() && beside(None) == 0);
        // What was off stays off, and all of it until the last port is closed.
        let other = open(VlanTags::FromStack);
        drop(guard);
        assert_eq!(beside(None), 0);
        drop(other);
        assert_eq!(beside(None), 1);
        drop(open(VlanTags::Kept));
        assert_eq!(beside(None), 1);
    }

    #[test]
    fn the_file_has_what_is_off_and_goes_with_the_last() {
        let dir = std::env::temp_dir().join(format!("netmap-vlan-{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        let path = dir.join(FILE);
        let other = "net:[0] 5 1 eth7\n";
        fs::write(
            &path,
            format!("rubbish\n{other}{} 0 1 gone0\n", namespace()),
        )
        .unwrap();
        let mut ledger = Ledger::default();
        // What is ours is restored, or gone with its interface; what is another namespace's stays.
        ledger.open(&dir);
        assert_eq!(fs::read_to_string(&path).unwrap(), other);
        let entry = Entry {
            namespace: namespace(),
            ifindex: 9,
            kinds: 1,
            ifname: "eth9".into(),
        };
        ledger.add(entry.clone());
        assert_eq!(
            fs::read_to_string(&path).unwrap(),
            format!("{other}{}", entry.line())
        );
        ledger.remove(&entry);
        let entries = std::mem::take(&mut ledger.entries);
        entries.iter().for_each(|entry| ledger.remove(entry));
        assert!(!path.exists());
        fs::remove_dir(&dir).unwrap();
    }

    /// A veth that says it is a card, gone when dropped.
    struct Card(String);

    impl Card {
        fn new() -> Option<Card> {
            let name = format!("vlan{}", std::process::id());
            let args = ["link", "add", &name, "type", "veth"];
            let made = Command::new("ip").args(args).status();
            let made = made.is_ok_and(|status| status.success());
            if !made {
                println!("skipped: cannot make a veth pair");
            }
            made.then_some(Card(name))
        }

        fn host(&self) -> HostInterface {
            let mut host = HostInterface::read(&self.0).unwrap();
            host.driver = "card".into();
            host.bus = "0000:01:00.0".into();
            host
        }

        fn active(&self) -> u8 {
            netif::rx_vlan(&self.0).unwrap().active
        }
    }

    impl Drop for Card {
        fn drop(&mut self) {
            let _ = Command::new("ip").args(["link", "del", &self.0]).status();
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn the_offload_is_off_while_a_port_is_open_and_on_again_after_a_crash() {
        let Some(card) = Card::new() else { return };
        let dir = std::env::temp_dir().join(format!("netmap-vlan-c{}", std::process::id()));
        fs::create_dir_all(&dir).unwrap();
        netif::set_rx_vlan(&card.0, 2, false).unwrap();
        let open = || VlanGuard::new(&card.host(), VlanTags::FromDriver, Some(&dir));

        // Two ports on it: off until both are closed.  What was off stays off.
        let (first, mut second) = (open(), open());
        assert!(first.fault().is_none() && card.active() == 0);
        drop(first);
        assert_eq!(card.active(), 0);
        netif::set_rx_vlan(&card.0, 1, true).unwrap();
        second.refresh();
        assert_eq!(card.active(), 0);
        drop(second);
        assert_eq!(card.active(), 1);
        assert!(!dir.join(FILE).exists());

        // Where tags are seen anyway, nothing is changed.
        drop(VlanGuard::new(&card.host(), VlanTags::Kept, Some(&dir)));
        assert_eq!(card.active(), 1);

        std::mem::forget(open());
        assert!(card.active() == 0 && dir.join(FILE).exists());
        Ledger::default().open(&dir);
        assert!(card.active() == 1 && !dir.join(FILE).exists());
        fs::remove_dir(&dir).unwrap();
    }
}
