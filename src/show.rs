// SPDX-License-Identifier: Apache-2.0
//! The report of `ovs-appctl netmap/show`: where every buffer is, and what every queue counted.
//!
//! One value, [`Report`], has all of it. It is printed as text for people or as JSON for programs;
//! the JSON keys are the names of the fields here, so a name that is out is not changed any more.
#![forbid(unsafe_code)]

use std::collections::HashSet;
use std::fmt::{self, Display, Formatter};
use std::sync::Arc;

use serde::{Serialize, Serializer};

use crate::config;
use crate::counters::{RxCounters, TxCounters};
use crate::pool::{self, Pool};
use crate::port::{self, PortState, QueueState};
use crate::region::RegionKind;

/// The report as text.
pub fn show() -> String {
    Report::new().to_string()
}

/// The report as JSON, on one line.
pub fn show_json() -> String {
    Report::new().to_json()
}

/// All of it.
#[derive(Serialize)]
struct Report {
    /// `netmap-engine` in force.
    engine: String,
    /// `netmap-nextrabufs` in force.
    nextrabufs: u32,
    /// The global `rxsync-intval` in force, in microseconds; the shortest there is, if none is set.
    #[serde(rename = "rxsync-intval")]
    rxsync_intval: u64,
    regions: Vec<RegionReport>,
    ports: Vec<PortReport>,
}

/// Where the buffers of a region are. The sum is exact while no packet moves.
#[derive(Serialize)]
struct RegionReport {
    id: u64,
    #[serde(flatten)]
    kind: RegionKind,
    /// Bytes of a buffer.
    buf_size: u32,
    /// Buffers that there should be.
    total: usize,
    /// In the depot, or, where this library hands the buffers out, in nobody's hands.
    free: usize,
    /// In caches of threads.
    cached: usize,
    /// In packets that OVS has.
    in_flight: usize,
    /// In slots of rings.
    in_rings: usize,
    /// `total` minus the sum of the others.
    missing: i64,
    /// Whether nothing is missing.
    balanced: bool,
}

/// How a port was opened, and what it counted.
#[derive(Serialize)]
struct PortReport {
    /// Of the interface in OVS.
    name: String,
    /// As in the `status` column of the interface.
    status: Pairs<String>,
    /// By queue.
    rxq: Vec<QueueReport>,
    /// By queue.
    txq: Vec<QueueReport>,
    /// Drops that the engine's other side counted; empty where it counts none.
    drops: Pairs<u64>,
    /// What else went wrong there.
    events: Pairs<u64>,
}

#[derive(Serialize)]
struct QueueReport {
    /// Of each of its rings.
    slots: Vec<u32>,
    /// Sums over its rings.
    #[serde(flatten)]
    counters: Pairs<u64>,
}

/// Names and values, in a fixed order.
struct Pairs<V>(Vec<(&'static str, V)>);

impl<V: Serialize> Serialize for Pairs<V> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map(self.0.iter().map(|(name, value)| (name, value)))
    }
}

impl Report {
    /// The state of the process now.
    fn new() -> Report {
        let config = config::current();
        let ports = port::ports();
        let pools = pool::pools();
        Report {
            engine: config.engine.to_string(),
            nextrabufs: config.extra_bufs,
            rxsync_intval: config.rxsync_interval.us(),
            regions: pools
                .iter()
                .map(|pool| RegionReport::new(pool, &ports))
                .collect(),
            ports: ports.iter().map(|port| PortReport::new(port)).collect(),
        }
    }

    fn to_json(&self) -> String {
        // No map with a key that is no string, nothing that can fail.
        serde_json::to_string(self).unwrap_or_default()
    }
}

impl RegionReport {
    fn new(pool: &Pool, ports: &[Arc<PortState>]) -> RegionReport {
        let (region, census) = (pool.region(), pool.census());
        let of_pool = |port: &&Arc<PortState>| port.pool().id() == pool.id();
        let (total, free, in_rings) = match region.backing().unassigned() {
            // Every buffer of the region is accounted for here.
            Some(unassigned) => (
                region.usable_bufs() as usize,
                census.free + unassigned as usize,
                region.in_rings() as usize,
            ),
            // The kernel has the rest of the region. Each slot of this process's rings should have a
            // buffer that no other slot has, nor a packet; but both ends of a pipe have theirs together.
            None => {
                let (mut found, mut pipes, mut slots) = (HashSet::new(), HashSet::new(), 0);
                for port in ports.iter().filter(of_pool) {
                    port.walk_rings(&mut |idx, owner| {
                        if region.is_held_by(idx, owner) {
                            found.insert(idx);
                        }
                    });
                    if port.pipe().is_none_or(|pipe| pipes.insert(pipe)) {
                        slots += port.slots();
                    }
                }
                (census.total + slots as usize, census.free, found.len())
            }
        };
        let sum = free + census.cached + census.in_flight + in_rings;
        let missing = total as i64 - sum as i64;
        RegionReport {
            id: pool.id(),
            kind: region.backing().kind(),
            buf_size: region.buf_size(),
            total,
            free,
            cached: census.cached,
            in_flight: census.in_flight,
            in_rings,
            missing,
            balanced: missing == 0,
        }
    }
}

impl PortReport {
    fn new(port: &PortState) -> PortReport {
        PortReport {
            name: port.ovs_name().to_owned(),
            status: Pairs(port.status()),
            rxq: port.rx().iter().map(QueueReport::rx).collect(),
            txq: port.tx().iter().map(QueueReport::tx).collect(),
            drops: Pairs(port.engine_drops()),
            events: Pairs(port.engine_events()),
        }
    }
}

impl QueueReport {
    fn rx(queue: &QueueState<RxCounters>) -> QueueReport {
        QueueReport::new(queue, queue.counters.iter().map(|c| c.list()))
    }

    fn tx(queue: &QueueState<TxCounters>) -> QueueReport {
        QueueReport::new(queue, queue.counters.iter().map(|c| c.list()))
    }

    fn new<C>(
        queue: &QueueState<C>,
        counters: impl Iterator<Item = Vec<(&'static str, u64)>>,
    ) -> QueueReport {
        QueueReport {
            slots: queue.slots.clone(),
            counters: Pairs(port::sum(counters)),
        }
    }
}

// ---- as text ----

impl Display for Report {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "netmap: engine={} nextrabufs={} rxsync-intval={}",
            self.engine, self.nextrabufs, self.rxsync_intval
        )?;
        self.regions.iter().try_for_each(|r| writeln!(f, "{r}"))?;
        self.ports.iter().try_for_each(|port| port.fmt(f))
    }
}

impl Display for RegionReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "region {}: {} buf_size={} total={} free={} cached={} in_flight={} in_rings={} ",
            self.id,
            self.kind,
            self.buf_size,
            self.total,
            self.free,
            self.cached,
            self.in_flight,
            self.in_rings,
        )?;
        match self.missing {
            0 => f.write_str("balanced"),
            missing => write!(f, "UNBALANCED by {missing}"),
        }
    }
}

impl Display for PortReport {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        writeln!(f, "port {}:{}", self.name, self.status)?;
        for (kind, queues) in [("rxq", &self.rxq), ("txq", &self.txq)] {
            for (i, queue) in queues.iter().enumerate() {
                let slots: Vec<_> = queue.slots.iter().map(u32::to_string).collect();
                let slots = slots.join("+");
                writeln!(f, "  {kind} {i}: slots={slots}{}", queue.counters)?;
            }
        }
        for (kind, counts) in [("drops", &self.drops), ("events", &self.events)] {
            if !counts.0.is_empty() {
                writeln!(f, "  {kind}:{counts}")?;
            }
        }
        Ok(())
    }
}

/// ` name=value` for each.
impl<V: Display> Display for Pairs<V> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let mut pairs = self.0.iter();
        pairs.try_for_each(|(name, value)| write!(f, " {name}={value}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn region(missing: i64, kind: RegionKind) -> RegionReport {
        RegionReport {
            id: 1,
            kind,
            buf_size: 2048,
            total: 100,
            free: 40,
            cached: 30,
            in_flight: 20,
            in_rings: 10,
            missing,
            balanced: missing == 0,
        }
    }

    fn report() -> Report {
        let queue = |name| QueueReport {
            slots: vec![512, 256],
            counters: Pairs(vec![("packets", 3), (name, 7)]),
        };
        Report {
            engine: "auto".into(),
            nextrabufs: 2048,
            rxsync_intval: 5,
            regions: vec![
                region(0, RegionKind::Userspace),
                region(-2, RegionKind::Kernel { mem_id: 4 }),
            ],
            ports: vec![PortReport {
                name: "p\"1".into(),
                status: Pairs(vec![("port", "netmap:x{1".into()), ("n_rxq", "1".into())]),
                rxq: vec![queue("rxsyncs")],
                txq: vec![queue("ring_full"), queue("ring_full")],
                drops: Pairs(vec![("rx_dropped", 1)]),
                events: Pairs(vec![]),
            }],
        }
    }

    #[test]
    fn text_has_a_line_for_each_region_and_queue() {
        assert_eq!(
            report().to_string(),
            "netmap: engine=auto nextrabufs=2048 rxsync-intval=5\n\
             region 1: userspace buf_size=2048 total=100 free=40 cached=30 in_flight=20 \
             in_rings=10 balanced\n\
             region 1: kernel mem_id=4 buf_size=2048 total=100 free=40 cached=30 in_flight=20 \
             in_rings=10 UNBALANCED by -2\n\
             port p\"1: port=netmap:x{1 n_rxq=1\n  \
             rxq 0: slots=512+256 packets=3 rxsyncs=7\n  \
             txq 0: slots=512+256 packets=3 ring_full=7\n  \
             txq 1: slots=512+256 packets=3 ring_full=7\n  \
             drops: rx_dropped=1\n"
        );
    }

    #[test]
    fn json_has_the_documented_keys() {
        let queue = |name: &str| serde_json::json!({"slots": [512, 256], "packets": 3, name: 7});
        let region = |kind: serde_json::Value, missing: i64| {
            let mut region = serde_json::json!({
                "id": 1, "buf_size": 2048, "total": 100, "free": 40, "cached": 30, "in_flight": 20,
                "in_rings": 10, "missing": missing, "balanced": missing == 0,
            });
            for (key, value) in kind.as_object().expect("an object") {
                region[key] = value.clone();
            }
            region
        };
        let wanted = serde_json::json!({
            "engine": "auto",
            "nextrabufs": 2048,
            "rxsync-intval": 5,
            "regions": [
                region(serde_json::json!({"kind": "userspace"}), 0),
                region(serde_json::json!({"kind": "kernel", "mem_id": 4}), -2),
            ],
            "ports": [{
                "name": "p\"1",
                "status": {"port": "netmap:x{1", "n_rxq": "1"},
                "rxq": [queue("rxsyncs")],
                "txq": [queue("ring_full"), queue("ring_full")],
                "drops": {"rx_dropped": 1},
                "events": {},
            }],
        });
        let json: serde_json::Value = serde_json::from_str(&report().to_json()).expect("JSON");
        assert_eq!(json, wanted);
    }
}
