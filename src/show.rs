// SPDX-License-Identifier: Apache-2.0
//! The text of `ovs-appctl netmap/show`: where every buffer is, and what every queue counted.
#![forbid(unsafe_code)]

use std::fmt::Write;
use std::sync::Arc;

use crate::config;
use crate::counters::{RxCounters, TxCounters};
use crate::pool::{self, Pool};
use crate::port::{self, PortState, QueueState};

/// The whole text.
pub fn show() -> String {
    let config = config::current();
    let mut text = format!(
        "netmap: engine={} nextrabufs={} rxsync-intval={}\n",
        config.engine, config.extra_bufs, config.rxsync_interval_us
    );
    let ports = port::ports();
    for pool in pool::pools() {
        text.push_str(&region(&pool, &ports));
    }
    for port in &ports {
        text.push_str(&one_port(port));
    }
    text
}

/// `region ID: KIND buf_size=N total=N free=N cached=N in_flight=N in_rings=N balanced`.
///
/// `free` counts packets in the depot and, where this library hands the buffers out, those that
/// nobody has. The sum is exact while no packet moves.
fn region(pool: &Pool, ports: &[Arc<PortState>]) -> String {
    let (region, census) = (pool.region(), pool.census());
    let backing = region.backing();
    let of_pool = |port: &&Arc<PortState>| port.pool().id() == pool.id();
    let (total, free, in_rings) = match backing.unassigned() {
        // Every buffer of the region is accounted for here.
        Some(unassigned) => (
            region.usable_bufs() as usize,
            census.free + unassigned as usize,
            region.in_rings() as usize,
        ),
        // The kernel has the rest of the region; the rings of this process are known by their size.
        None => {
            let slots: u32 = ports.iter().filter(of_pool).map(|port| port.slots()).sum();
            (census.total + slots as usize, census.free, slots as usize)
        }
    };
    let sum = free + census.cached + census.in_flight + in_rings;
    let verdict = match total as i64 - sum as i64 {
        0 => "balanced".to_owned(),
        missing => format!("UNBALANCED by {missing}"),
    };
    format!(
        "region {}: {} buf_size={} total={total} free={free} cached={} in_flight={} \
         in_rings={in_rings} {verdict}\n",
        pool.id(),
        backing.describe(),
        region.buf_size(),
        census.cached,
        census.in_flight,
    )
}

fn one_port(port: &PortState) -> String {
    let mut text = format!("port {}\n", port.describe());
    for (name, queues) in [("rxq", rx_lines(port)), ("txq", tx_lines(port))] {
        for (i, line) in queues.into_iter().enumerate() {
            let _infallible = writeln!(text, "  {name} {i}: {line}");
        }
    }
    for (name, counts) in [
        ("drops", port.engine_drops()),
        ("events", port.engine_events()),
    ] {
        if !counts.is_empty() {
            let _infallible = writeln!(text, "  {name}:{}", words(counts));
        }
    }
    text
}

/// ` name=count` for each.
fn words(counts: Vec<(&'static str, u64)>) -> String {
    let words = counts
        .iter()
        .map(|(name, count)| format!(" {name}={count}"));
    words.collect()
}

fn rx_lines(port: &PortState) -> Vec<String> {
    let line = |q: &QueueState<RxCounters>| line(q, q.counters.iter().map(|c| c.list()));
    port.rx().iter().map(line).collect()
}

fn tx_lines(port: &PortState) -> Vec<String> {
    let line = |q: &QueueState<TxCounters>| line(q, q.counters.iter().map(|c| c.list()));
    port.tx().iter().map(line).collect()
}

fn line<C>(
    queue: &QueueState<C>,
    counters: impl Iterator<Item = Vec<(&'static str, u64)>>,
) -> String {
    let slots: Vec<_> = queue.slots.iter().map(u32::to_string).collect();
    format!("slots={}{}", slots.join("+"), words(port::sum(counters)))
}
