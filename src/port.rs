// SPDX-License-Identifier: Apache-2.0
//! A port: its rings split into queues, its options, its counters; open and close.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::clock;
use crate::config::{self, PortConfig, RxsyncInterval};
use crate::counters::{RxCounters, TxCounters};
use crate::engine::{self, EnginePort, FrameRoom, Held, OpenRequest, Opened, RingPair, SyncedRing};
use crate::error::{Error, Result};
use crate::exclusive::Exclusive;
use crate::index::{BufIdx, Owner};
use crate::link::{Link, PortLink};
use crate::name::PortName;
use crate::netif::{self, HostInterface};
use crate::policer::{Limits, Policer};
use crate::pool::{self, Pool};
use crate::rx::RxQueue;
use crate::throttle::Interval;
use crate::tx::TxQueue;
use crate::vlan::VlanGuard;

/// How long threads have to give their packets back before the process ends.
const SURRENDER_TIME: Duration = Duration::from_millis(200);

/// Counters of a port.
#[derive(Debug, Clone, Copy, Default)]
#[repr(C)]
pub struct Stats {
    /// Frames received.
    pub rx_packets: u64,
    /// Their bytes.
    pub rx_bytes: u64,
    /// Frames put into a ring to be sent.
    pub tx_packets: u64,
    /// Their bytes.
    pub tx_bytes: u64,
    /// Frames that came and were dropped, for whatever reason.
    pub rx_dropped: u64,
    /// Frames that were to be sent and were dropped, for whatever reason.
    pub tx_dropped: u64,
    /// Bad slots, bad rings and failed syncs on receive.
    pub rx_errors: u64,
    /// Bad slots, bad rings and failed syncs on send.
    pub tx_errors: u64,
    /// Frames received with a length that is too long or cannot be.
    pub rx_length_errors: u64,
    /// Times that received frames had to wait for a free packet, and overruns of the interface.
    pub rx_over_errors: u64,
    /// Frames with a bad checksum: the host interface's, since the port was opened.
    pub rx_crc_errors: u64,
    /// Frames with bad alignment: the same.
    pub rx_frame_errors: u64,
    /// Overruns of its queue: the same.
    pub rx_fifo_errors: u64,
    /// Frames that it had no room for: the same.
    pub rx_missed_errors: u64,
    /// Collisions: the same.
    pub collisions: u64,
}

/// An open port.
pub struct Port {
    state: Arc<PortState>,
    rxqs: Vec<Exclusive<RxQueue>>,
    txqs: Vec<Exclusive<TxQueue>>,
    /// How many extra buffers it brought.
    brought: usize,
}

/// What of a port may be read at any time, by any thread.
pub struct PortState {
    name: PortName,
    ovs_name: String,
    pool: Arc<Pool>,
    interval: Interval,
    /// No interval of its own: it follows the global one.
    follows_global: AtomicBool,
    opened_ifindex: u32,
    /// Received frames are copied out of memory that others may write.
    copies: bool,
    link: Mutex<PortLink>,
    /// As [`PortLink::max_frame`], for the transmit queues.
    max_frame: Arc<AtomicU32>,
    complete_checksums: bool,
    /// Checksums of what is sent may be left to the other side of the rings.
    offers_csum: bool,
    /// `None` without an interface, and when the port is closed.
    vlan: Mutex<Option<VlanGuard>>,
    /// The limits of its queues.
    ingress: Arc<Policer>,
    egress: Arc<Policer>,
    /// `None` when the port is closed.
    engine: Mutex<Option<Box<dyn EnginePort>>>,
    /// By queue.
    rx: Vec<QueueState<RxCounters>>,
    /// By queue.
    tx: Vec<QueueState<TxCounters>>,
}

/// What of a queue may be read at any time.
pub struct QueueState<C> {
    /// Slots of each of its rings.
    pub slots: Vec<u32>,
    /// Counters; a receive queue has one set a ring.
    pub counters: Vec<Arc<C>>,
}

/// All open ports, oldest first.
static PORTS: Mutex<Vec<Arc<PortState>>> = Mutex::new(Vec::new());

/// All open ports, oldest first.
pub fn ports() -> Vec<Arc<PortState>> {
    PORTS.lock().clone()
}

/// Makes all ports without an interval of their own follow the configuration.
pub fn follow_global_interval() {
    for port in ports() {
        if port.follows_global.load(Ordering::Relaxed) {
            follow_global(&port.interval);
        }
    }
}

/// Gives all extra buffers back, as far as they come back in [`SURRENDER_TIME`]: the process is about to
/// be ended by a signal. A region that other processes have would lack them for as long as it is there.
/// Nothing is received any more.
pub fn surrender() {
    let pools = pool::pools();
    pools.iter().for_each(|pool| pool.close());
    let deadline = Instant::now() + SURRENDER_TIME;
    let out = |pool: &Arc<Pool>| {
        let census = pool.census();
        census.cached + census.in_flight > 0
    };
    // The threads still poll, and give back what they have.
    while pools.iter().any(out) && Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(1));
    }
    for port in ports() {
        // The first port of a region takes all. One that is just being closed does it by itself.
        if let Some(engine) = port.engine.try_lock()
            && let Some(engine) = &*engine
        {
            engine.surrender(port.pool.surrender());
        }
    }
}

fn follow_global(interval: &Interval) {
    let wanted = config::current().rxsync_interval;
    let ticks = clock::us_to_ticks(wanted.us());
    match wanted {
        RxsyncInterval::Auto => interval.set_growing(ticks),
        RxsyncInterval::Us(_) => interval.set(ticks),
    }
}

/// Refuses a link of another interface than the engine opened, whose name it has by now.
fn same_interface(name: &PortName, link: PortLink, opened: Option<u32>) -> Result<PortLink> {
    if opened.is_none_or(|ifindex| ifindex == link.link().ifindex) {
        return Ok(link);
    }
    Err(Error::new(
        libc::EAGAIN,
        format!("{name}: another interface has got the name: it will be tried again"),
    ))
}

impl Port {
    /// Opens a port.
    pub fn open(wanted: &PortConfig<'_>) -> Result<Port> {
        let name = PortName::parse_on_host(wanted.name, netif::exists)?;
        let taken = |port: &&Arc<PortState>| name.overlaps(&port.name, netif::is_same);
        if let Some(other) = ports().iter().find(taken) {
            let what = if other.name == name {
                "already open".to_owned()
            } else {
                format!("has rings of {}, which is open", other.name)
            };
            return Err(Error::new(
                libc::EBUSY,
                format!(
                    "{name}: {what} as interface {0}; delete {0} first, or choose another port",
                    other.ovs_name
                ),
            ));
        }
        let interval = Interval::new(0);
        set_interval(&interval, wanted.rxsync_interval_us)?;
        let request = OpenRequest {
            name: &name,
            port: wanted.clone(),
            process: config::current(),
        };
        let opened = engine::open(&request)?;
        let n_rxq = request.rings();
        let available = opened.rings.iter().filter(|pair| pair.rx.is_some()).count();
        if n_rxq as usize > available {
            close(opened.port, opened.extra, opened.rings);
            return Err(engine::too_many_queues(n_rxq, available, &name));
        }
        Port::assemble(wanted, name, interval, opened, n_rxq as usize)
    }

    /// Splits the rings of an open port into queues.
    fn assemble(
        wanted: &PortConfig<'_>,
        name: PortName,
        interval: Interval,
        opened: Opened,
        n_rxq: usize,
    ) -> Result<Port> {
        let Opened {
            region,
            rings,
            extra,
            others_write,
            vlan,
            port: engine,
        } = opened;
        let copies = others_write && !wanted.trusted_peer;
        let room = match engine.takes_several_slots() {
            true => FrameRoom::SeveralSlots,
            false => FrameRoom::Buffer(region.buf_size()),
        };
        let prepared = PortLink::new(&name.to_string(), engine.host_interface(), room)
            .and_then(|link| same_interface(&name, link, engine.ifindex()))
            .and_then(|link| Ok((link, Pool::of(&region, wanted.packet)?)));
        let (link, pool) = match prepared {
            Ok(prepared) => prepared,
            Err(error) => {
                close(engine, extra, rings);
                return Err(error);
            }
        };
        let host = engine.host_interface().map(HostInterface::read);
        let host = host.and_then(Result::ok);
        let complete_checksums = wanted.rx_csum.applies(host.as_ref());
        if let Some(fault) = vlan.as_ref().and_then(VlanGuard::fault) {
            log::warn!("{}: {fault}", wanted.ovs_name);
        }
        let max_frame = Arc::new(AtomicU32::new(link.max_frame()));
        let brought = extra.len();
        pool.port_opened(extra);

        let (ingress, egress) = (Arc::<Policer>::default(), Arc::<Policer>::default());
        let (rx_rings, tx_rings) = split(rings);
        let mut rxqs = Vec::new();
        let mut rx = Vec::new();
        for rings in deal(rx_rings, n_rxq) {
            let mut queue = RxQueue::new(Arc::clone(&pool));
            queue.police(&ingress);
            if complete_checksums {
                queue.complete_checksums();
            }
            if link.link().ifindex == 0 {
                queue.stop_while_down(Arc::clone(&max_frame));
            }
            if copies {
                queue.copy_frames();
            }
            rx.push(QueueState {
                slots: rings.iter().map(|r| r.ring.num_slots()).collect(),
                counters: rings
                    .into_iter()
                    .map(|ring| queue.add_ring(ring, &interval))
                    .collect(),
            });
            rxqs.push(Exclusive::new(queue));
        }
        let n_txq = (wanted.n_txq.max(1) as usize).min(tx_rings.len());
        let mut txqs = Vec::new();
        let mut offers_csum = n_txq > 0;
        let mut tx = Vec::new();
        for rings in deal(tx_rings, n_txq) {
            let slots = rings.iter().map(|r| r.ring.num_slots()).collect();
            let mut queue = TxQueue::new(Arc::clone(&pool), rings, Arc::clone(&max_frame));
            queue.police(&egress);
            offers_csum &= queue.takes_csum();
            tx.push(QueueState {
                slots,
                counters: vec![queue.counters()],
            });
            txqs.push(Exclusive::new(queue));
        }
        let state = Arc::new(PortState {
            name,
            ovs_name: wanted.ovs_name.to_owned(),
            pool,
            interval,
            follows_global: AtomicBool::new(wanted.rxsync_interval_us.is_none()),
            opened_ifindex: link.link().ifindex,
            copies,
            link: Mutex::new(link),
            max_frame,
            complete_checksums,
            offers_csum,
            vlan: Mutex::new(vlan),
            ingress,
            egress,
            engine: Mutex::new(Some(engine)),
            rx,
            tx,
        });
        PORTS.lock().push(Arc::clone(&state));
        if state.opened_ifindex == 0 {
            state.update_carrier();
        }
        log::info!("{}", state.describe());
        Ok(Port {
            state,
            rxqs,
            txqs,
            brought,
        })
    }

    /// What may be read of it at any time.
    pub fn state(&self) -> &PortState {
        &self.state
    }

    /// Its receive queues.
    pub fn rxqs(&self) -> &[Exclusive<RxQueue>] {
        &self.rxqs
    }

    /// Whether checksums of what it sends may be left to the other side of its rings.
    pub fn offers_csum(&self) -> bool {
        self.state.offers_csum
    }

    /// Its transmit queues.
    pub fn txqs(&self) -> &[Exclusive<TxQueue>] {
        &self.txqs
    }
}

impl Port {
    /// Closes the port. Packets that OVS still holds stay valid. What it returns keeps frames of its
    /// interface from the host until the port is opened again.
    pub fn close(mut self) -> Option<Held> {
        self.end()
    }

    fn end(&mut self) -> Option<Held> {
        let engine = self.state.engine.lock().take()?;
        PORTS.lock().retain(|port| !Arc::ptr_eq(port, &self.state));
        // The rings go first: the engine takes their buffers back when it closes.
        self.rxqs.clear();
        self.txqs.clear();
        let pool = &self.state.pool;
        let extra = pool.port_closed(self.brought);
        let held = engine.close(extra);
        self.state.vlan.lock().take();
        Arc::clone(pool).retire();
        log::info!("{}: closed {}", self.state.ovs_name, self.state.name);
        held
    }
}

impl Drop for Port {
    fn drop(&mut self) {
        drop(self.end());
    }
}

impl PortState {
    /// The interface in OVS.
    pub fn ovs_name(&self) -> &str {
        &self.ovs_name
    }

    /// Where its packets come from.
    pub(crate) fn pool(&self) -> &Pool {
        &self.pool
    }

    /// Its receive queues.
    pub(crate) fn rx(&self) -> &[QueueState<RxCounters>] {
        &self.rx
    }

    /// Its transmit queues.
    pub(crate) fn tx(&self) -> &[QueueState<TxCounters>] {
        &self.tx
    }

    /// As [`PortName::pipe`].
    pub(crate) fn pipe(&self) -> Option<(&str, &str)> {
        self.name.pipe()
    }

    /// Slots of all its rings.
    pub(crate) fn slots(&self) -> u32 {
        let rx = self.rx.iter().flat_map(|q| &q.slots);
        let tx = self.tx.iter().flat_map(|q| &q.slots);
        rx.chain(tx).sum()
    }

    /// Fewest microseconds between syncs of an idle ring.
    pub fn rxsync_interval_us(&self) -> u64 {
        clock::ticks_to_us(self.interval.get())
    }

    /// Changes them; `None` follows the global value.
    pub fn set_rxsync_interval_us(&self, us: Option<u64>) -> Result<()> {
        set_interval(&self.interval, us)?;
        self.follows_global.store(us.is_none(), Ordering::Relaxed);
        Ok(())
    }

    /// The link, as of the last [`PortState::refresh`].
    pub fn link(&self) -> Link {
        self.link.lock().link()
    }

    /// Reads the link's state anew. True when it changed.
    pub fn refresh(&self) -> bool {
        self.change_link(PortLink::refresh)
    }

    /// Takes the state of the host interface as it was just read; `None` if it is gone. True when it
    /// changed.
    pub fn update(&self, host: Option<&HostInterface>) -> bool {
        self.change_link(|link| link.update(host))
    }

    /// Asks the engine of a port without host interface for the carrier. True when it changed.
    pub fn update_carrier(&self) -> bool {
        let carrier = self.engine.lock().as_ref().is_none_or(|e| e.carrier());
        self.change_link(|link| link.set_carrier(carrier))
    }

    /// Changes the link by `change`, which says whether it did. The transmit queues are told.
    fn change_link(&self, change: impl FnOnce(&mut PortLink) -> bool) -> bool {
        let mut link = self.link.lock();
        let old_fault = link.fault();
        let changed = change(&mut link);
        self.max_frame.store(link.max_frame(), Ordering::Relaxed);
        let fault = link.fault();
        if let Some(fault) = fault.filter(|fault| Some(fault) != old_fault.as_ref()) {
            log::warn!("{}: {fault}", self.ovs_name);
        }
        drop(link);
        let mut vlan = self.vlan.lock();
        let other_fault = vlan.as_mut().is_some_and(VlanGuard::refresh);
        if let Some(fault) = vlan.as_ref().and_then(VlanGuard::fault)
            && other_fault
        {
            log::warn!("{}: {fault}", self.ovs_name);
        }
        changed || other_fault
    }

    /// The number of the host interface that was opened; 0 if there is none.
    pub fn opened_ifindex(&self) -> u32 {
        self.opened_ifindex
    }

    /// Queues of the host interface when it was opened, if the port is to follow their number.
    pub fn queues(&self) -> Option<(u32, u32)> {
        self.engine.lock().as_ref()?.queues()
    }

    /// Whether the host interface that was opened has left, even if there is one like it again.
    pub fn lost(&self) -> bool {
        self.engine.lock().as_ref().is_some_and(|e| e.lost())
    }

    /// What keeps the port from working as its interface is now, for the user.
    pub fn fault(&self) -> Option<String> {
        let of_link = self.link.lock().fault();
        of_link.or_else(|| Some(self.vlan.lock().as_ref()?.fault()?.to_owned()))
    }

    /// Sets the MTU.
    pub fn set_mtu(&self, mtu: u32) -> Result<()> {
        let mut link = self.link.lock();
        link.set_mtu(mtu)?;
        self.max_frame.store(link.max_frame(), Ordering::Relaxed);
        Ok(())
    }

    /// Sets the MAC address.
    pub fn set_mac(&self, mac: [u8; 6]) -> Result<()> {
        self.link.lock().set_mac(mac)
    }

    /// Brings it up or down.
    pub fn set_up(&self, up: bool) -> Result<()> {
        self.link.lock().set_up(up)?;
        if let Some(engine) = &*self.engine.lock() {
            engine.set_up(up);
        }
        if self.opened_ifindex == 0 {
            self.update_carrier();
        }
        Ok(())
    }

    /// Switches promiscuous mode on or off.
    pub fn set_promisc(&self, promisc: bool) -> Result<()> {
        self.link.lock().set_promisc(promisc)
    }

    /// Leaves the host interface, which is not the port's any more, as it was found.
    pub fn let_go(&self) {
        self.link.lock().let_go();
    }

    /// Changes how much is received.
    pub fn set_ingress_limits(&self, limits: Limits) {
        self.ingress.set(limits);
    }

    /// Changes how much is sent.
    pub fn set_egress_limits(&self, limits: Limits) {
        self.egress.set(limits);
    }

    /// How it was opened, as keys and values.
    pub fn status(&self) -> Vec<(&'static str, String)> {
        let mut status = vec![
            ("port", self.name.to_string()),
            ("region", self.pool.id().to_string()),
            ("n_rxq", self.rx.len().to_string()),
            ("n_txq", self.tx.len().to_string()),
            ("rxsync-intval", self.rxsync_interval_us().to_string()),
            (
                "rx-csum",
                if self.complete_checksums { "on" } else { "off" }.into(),
            ),
            (
                "tx-csum",
                if self.offers_csum { "on" } else { "off" }.into(),
            ),
        ];
        if let Some(engine) = &*self.engine.lock() {
            status.insert(1, ("engine", engine.engine().into()));
            status.extend(engine.status());
        }
        if self.copies {
            status.push(("rx-copy", "yes".into()));
        }
        status
    }

    /// Drops that the engine's other side counted.
    pub fn engine_drops(&self) -> Vec<(&'static str, u64)> {
        let engine = self.engine.lock();
        engine.as_ref().map_or_else(Vec::new, |e| e.drops())
    }

    /// How many of these the host interface has counted, too.
    fn counted_by_interface(&self) -> (u64, u64) {
        let engine = self.engine.lock();
        engine.as_ref().map_or((0, 0), |e| e.counted_by_interface())
    }

    /// As [`EnginePort::walk_rings`].
    pub fn walk_rings(&self, visit: &mut dyn FnMut(BufIdx, Owner)) {
        if let Some(engine) = &*self.engine.lock() {
            engine.walk_rings(visit);
        }
    }

    /// What else went wrong on the engine's other side.
    pub fn engine_events(&self) -> Vec<(&'static str, u64)> {
        let engine = self.engine.lock();
        engine.as_ref().map_or_else(Vec::new, |e| e.events())
    }

    /// Sums over all queues.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        for c in self.rx.iter().flat_map(|queue| &queue.counters) {
            let bad_slots = c.bad_index.get() + c.bad_length.get();
            stats.rx_packets += c.packets.get();
            stats.rx_bytes += c.bytes.get();
            stats.rx_dropped += c.dropped();
            stats.rx_errors += bad_slots + c.bad_ring.get() + c.sync_errors.get();
            stats.rx_length_errors += c.bad_length.get() + c.too_long.get();
            stats.rx_over_errors += c.no_buffer.get();
        }
        for c in self.tx.iter().flat_map(|queue| &queue.counters) {
            stats.tx_packets += c.packets.get();
            stats.tx_bytes += c.bytes.get();
            stats.tx_dropped += c.dropped();
            stats.tx_errors += c.bad_index.get() + c.bad_ring.get() + c.sync_errors.get();
        }
        let (mut rx, mut tx) = (0, 0);
        for (name, count) in self.engine_drops() {
            match name.starts_with("rx_") {
                true => rx += count,
                false => tx += count,
            }
        }
        let (rx_twice, tx_twice) = self.counted_by_interface();
        let interface = self.link.lock().counted();
        // Each frame once: what both have counted is in the larger count.
        stats.rx_dropped += rx.saturating_sub(rx_twice) + interface.rx_dropped.max(rx_twice);
        stats.tx_dropped += tx.saturating_sub(tx_twice) + interface.tx_dropped.max(tx_twice);
        stats.rx_errors += interface.rx_errors;
        stats.tx_errors += interface.tx_errors;
        stats.rx_length_errors += interface.rx_length_errors;
        stats.rx_over_errors += interface.rx_over_errors;
        stats.rx_crc_errors = interface.rx_crc_errors;
        stats.rx_frame_errors = interface.rx_frame_errors;
        stats.rx_fifo_errors = interface.rx_fifo_errors;
        stats.rx_missed_errors = interface.rx_missed_errors;
        stats.collisions = interface.collisions;
        stats
    }

    /// Every counter of every queue, by name, and what the engine counts, whose names would otherwise
    /// be those of counters that every interface of OVS has.
    pub fn counters(&self) -> Vec<(String, u64)> {
        let rx = self.rx.iter().enumerate().flat_map(|(i, queue)| {
            let list = sum(queue.counters.iter().map(|c| c.list()));
            list.into_iter()
                .map(move |(name, n)| (format!("rxq{i}_{name}"), n))
        });
        let tx = self.tx.iter().enumerate().flat_map(|(i, queue)| {
            let list = sum(queue.counters.iter().map(|c| c.list()));
            list.into_iter()
                .map(move |(name, n)| (format!("txq{i}_{name}"), n))
        });
        let engine = self.engine_drops().into_iter().chain(self.engine_events());
        rx.chain(tx)
            .chain(engine.map(|(name, n)| (format!("engine_{name}"), n)))
            .collect()
    }

    /// One line: the interface and its status.
    pub fn describe(&self) -> String {
        let status = self.status().into_iter();
        let words: Vec<_> = status
            .map(|(key, value)| format!("{key}={value}"))
            .collect();
        format!("{}: {}", self.ovs_name, words.join(" "))
    }
}

/// Adds up lists of the same counters.
pub fn sum(lists: impl Iterator<Item = Vec<(&'static str, u64)>>) -> Vec<(&'static str, u64)> {
    let add = |mut sums: Vec<(&'static str, u64)>, list: Vec<(&'static str, u64)>| {
        for (sum, (_, count)) in sums.iter_mut().zip(list) {
            sum.1 += count;
        }
        sums
    };
    lists.reduce(add).unwrap_or_default()
}

fn set_interval(interval: &Interval, us: Option<u64>) -> Result<()> {
    match us {
        None => follow_global(interval),
        Some(us) if us <= config::MAX_RXSYNC_INTERVAL_US => interval.set(clock::us_to_ticks(us)),
        Some(us) => {
            return Err(Error::new(
                libc::EINVAL,
                format!(
                    "rxsync-intval={us} is out of range: 0 to {} microseconds",
                    config::MAX_RXSYNC_INTERVAL_US
                ),
            ));
        }
    }
    Ok(())
}

/// Undoes an open.
fn close(engine: Box<dyn EnginePort>, extra: Vec<crate::index::OwnedBuf>, rings: Vec<RingPair>) {
    drop(rings);
    engine.close(extra);
}

fn split(pairs: Vec<RingPair>) -> (Vec<SyncedRing>, Vec<SyncedRing>) {
    let (rx, tx): (Vec<_>, Vec<_>) = pairs.into_iter().map(|pair| (pair.rx, pair.tx)).unzip();
    (
        rx.into_iter().flatten().collect(),
        tx.into_iter().flatten().collect(),
    )
}

/// Deals `rings` out to `n` queues, like cards.
fn deal(rings: Vec<SyncedRing>, n: usize) -> Vec<Vec<SyncedRing>> {
    let mut queues: Vec<Vec<SyncedRing>> = (0..n).map(|_| Vec::new()).collect();
    for (i, ring) in rings.into_iter().enumerate() {
        queues[i % n].push(ring);
    }
    queues
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_an_interval_that_nobody_set_grows() {
        let interval = Interval::new(0);
        let grows = |us| set_interval(&interval, us).map(|()| interval.doublings(1) > 0);
        assert_eq!(grows(None), Ok(true));
        assert_eq!(interval.get(), clock::us_to_ticks(5));
        assert_eq!(grows(Some(5)), Ok(false));
        assert_eq!(interval.get(), clock::us_to_ticks(5));
        assert_eq!(grows(None), Ok(true));
        assert!(grows(Some(config::MAX_RXSYNC_INTERVAL_US + 1)).is_err());
        assert_eq!(grows(None), Ok(true));
    }
}
