// SPDX-License-Identifier: Apache-2.0
//! Configuration of one port: its column `options` of table `Interface`.

use std::path::Path;

use crate::offload::RxCsum;
use crate::pool::PacketLayout;

/// What a port is opened with.
#[derive(Debug, Clone)]
pub struct PortConfig<'a> {
    /// The netmap port.
    pub name: &'a str,
    /// The interface in OVS, for messages.
    pub ovs_name: &'a str,
    /// Receive queues; 0 for the default of one.
    pub n_rxq: u32,
    /// Transmit queues wanted; 0 for one. There are at most as many as rings.
    pub n_txq: u32,
    /// Microseconds between syncs of an idle ring; `None` for the global value.
    pub rxsync_interval_us: Option<u64>,
    /// What a null port delivers; `None` for frames of zeros.
    pub null_source: Option<&'a str>,
    /// Whether OVS may work on frames where others may write them.
    pub trusted_peer: bool,
    /// Whether partial checksums are completed.
    pub rx_csum: RxCsum,
    /// Packets that a network driver handles at most when it is polled by the thread that receives; 0 where
    /// that waits for the driver's interrupts.
    pub busy_poll_budget: u32,
    /// Where to keep what must survive a crash.
    pub run_dir: Option<&'a Path>,
    /// How packets are made.
    pub packet: PacketLayout,
}

impl<'a> PortConfig<'a> {
    /// One queue each way and the default of everything else; the interface in OVS has the port's name.
    pub fn new(name: &'a str, packet: PacketLayout) -> PortConfig<'a> {
        PortConfig {
            name,
            ovs_name: name,
            n_rxq: 0,
            n_txq: 0,
            rxsync_interval_us: None,
            null_source: None,
            trusted_peer: false,
            rx_csum: RxCsum::Auto,
            busy_poll_budget: 0,
            run_dir: None,
            packet,
        }
    }
}
