// SPDX-License-Identifier: Apache-2.0
//! An open port: a socket a queue, the program, and the buffers of its rings.
#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::sync::Arc;

use super::bpf::{Mode, Redirect};
use super::socket::{self, Bound, Queue};
use super::sync::{Frames, RxSync, RxSyncCounters, TxSync, TxSyncCounters};
use crate::engine::user_region::{HEADROOM, PortBuffers};
use crate::engine::{Direction, EnginePort, InterfaceCounts, RingPair, SyncedRing};
use crate::error::Result;
use crate::index::OwnedBuf;

/// Drivers whose `rx_dropped` counts frames that an XDP program wanted to redirect to a socket that had
/// no room for them. Others have counters of their own for it, which are in no common statistics.
const COUNT_FAILED_REDIRECTS: [&str; 3] = ["veth", "tun", "virtio_net"];

/// A queue of an open port.
struct Socket {
    queue: Queue,
    fd: Arc<OwnedFd>,
    zero_copy: bool,
    rx: Option<Arc<RxSyncCounters>>,
    tx: Option<Arc<TxSyncCounters>>,
}

/// An open port. The order of the fields is that of their end: no new packets come, then the
/// sockets let go of the memory, then the buffers are free for others. (Drivers leave zero copy with
/// the program, before the call returns that detaches it.)
pub(super) struct XdpPort {
    ifname: String,
    /// Its driver is one of [`COUNT_FAILED_REDIRECTS`].
    driver_counts: bool,
    redirect: Arc<Redirect>,
    sockets: Vec<Socket>,
    buffers: PortBuffers,
}

impl XdpPort {
    /// A port without queues.
    pub(super) fn new(
        ifname: &str,
        driver: &str,
        redirect: Arc<Redirect>,
        buffers: PortBuffers,
    ) -> XdpPort {
        XdpPort {
            ifname: ifname.to_owned(),
            driver_counts: COUNT_FAILED_REDIRECTS.contains(&driver),
            redirect,
            sockets: Vec::new(),
            buffers,
        }
    }

    /// How its interface runs the program.
    pub(super) fn mode(&self) -> Mode {
        self.redirect.mode()
    }

    /// `n` extra buffers, or as many as there are.
    pub(super) fn extra(&self, n: u32) -> Vec<OwnedBuf> {
        self.buffers.extra(n)
    }

    /// Makes the ring pair of a bound socket, and directs packets to it.
    pub(super) fn add(&mut self, queue: &Queue, bound: Bound) -> Result<RingPair> {
        let region = self.buffers.user_region().region();
        let frames = Frames::new(Arc::clone(region), self.buffers.owner());
        let zero_copy = bound.zero_copy;
        let ringid = queue.queue as u16;
        let ring = |slots, dir| self.buffers.ring(slots, ringid, dir, HEADROOM);
        let mut socket = Socket {
            queue: *queue,
            fd: bound.fd,
            zero_copy: bound.zero_copy,
            rx: None,
            tx: None,
        };
        let mut pair = RingPair { rx: None, tx: None };
        if let (Some(slots), Some(queues)) = (queue.rx_slots, bound.rx) {
            let ring = ring(slots, Direction::Rx)?;
            let sync = RxSync::new(&ring, frames.clone(), queues, Arc::clone(&socket.fd));
            socket.rx = Some(sync.counters());
            let sync = Box::new(sync);
            pair.rx = Some(SyncedRing { ring, sync });
            self.redirect
                .add(queue.queue, &socket.fd)
                .map_err(|e| e.context(&self.ifname))?;
        }
        if let (Some(slots), Some(queues)) = (queue.tx_slots, bound.tx) {
            let ring = ring(slots, Direction::Tx)?;
            let sync = TxSync::new(&ring, frames, queues, Arc::clone(&socket.fd), zero_copy);
            socket.tx = Some(sync.counters());
            let sync = Box::new(sync);
            pair.tx = Some(SyncedRing { ring, sync });
        }
        self.sockets.push(socket);
        Ok(pair)
    }

    fn zero_copy(&self) -> bool {
        self.sockets.iter().all(|s| s.zero_copy)
    }

    /// Slots of its first receive and transmit ring; the others have as many.
    fn slots(&self) -> (u32, u32) {
        let first = |slots: fn(&Queue) -> Option<u32>| {
            let found = self.sockets.iter().find_map(|s| slots(&s.queue));
            found.unwrap_or(0)
        };
        (first(|q| q.rx_slots), first(|q| q.tx_slots))
    }

    /// A sum over the kernel's statistics of all sockets.
    fn kernel(&self, field: fn(&libc::xdp_statistics) -> u64) -> u64 {
        let statistics = self.sockets.iter().map(|s| socket::statistics(&s.fd));
        statistics.flatten().map(|s| field(&s)).sum()
    }

    fn rx(&self, field: fn(&RxSyncCounters) -> u64) -> u64 {
        let counters = self.sockets.iter().filter_map(|s| s.rx.as_deref());
        counters.map(field).sum()
    }

    fn tx(&self, field: fn(&TxSyncCounters) -> u64) -> u64 {
        let counters = self.sockets.iter().filter_map(|s| s.tx.as_deref());
        counters.map(field).sum()
    }

    /// How it was opened, for the log.
    pub(super) fn summary(&self) -> String {
        let (rx, tx) = self.slots();
        format!(
            "over AF_XDP: {} mode, {}, {} queue(s) of {rx} receive and {tx} transmit slots",
            self.mode().name(),
            if self.zero_copy() {
                "zero copy"
            } else {
                "copy"
            },
            self.sockets.len(),
        )
    }
}

impl Drop for XdpPort {
    fn drop(&mut self) {
        let queues = self.sockets.iter().map(|socket| &socket.queue);
        queues.for_each(super::released);
    }
}

impl EnginePort for XdpPort {
    fn engine(&self) -> &'static str {
        "xdp"
    }

    fn status(&self) -> Vec<(&'static str, String)> {
        let zero_copy = if self.zero_copy() { "yes" } else { "no" };
        let (rx, tx) = self.slots();
        vec![
            ("mode", self.mode().name().into()),
            ("zero-copy", zero_copy.into()),
            ("queues", self.sockets.len().to_string()),
            ("rx-ring-slots", rx.to_string()),
            ("tx-ring-slots", tx.to_string()),
            ("need-wakeup", "yes".into()),
        ]
    }

    fn host_interface(&self) -> Option<&str> {
        Some(&self.ifname)
    }

    /// Each packet that was lost counts once. What XDP counts as dropped in copy mode: no buffer in
    /// the fill ring, or longer than a buffer.
    fn drops(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("rx_dropped", self.kernel(|s| s.rx_dropped)),
            ("rx_ring_full", self.kernel(|s| s.rx_ring_full)),
            ("rx_invalid_descs", self.kernel(|s| s.rx_invalid_descs)),
            ("rx_bad_descs", self.rx(|c| c.bad_descs.get())),
            ("tx_invalid_descs", self.kernel(|s| s.tx_invalid_descs)),
            ("tx_dropped", self.tx(|c| c.dropped.get())),
            ("tx_bad_slots", self.tx(|c| c.bad_slots.get())),
        ]
    }

    /// In copy mode the kernel's transmit path counts each frame that it drops. What becomes of a
    /// redirection that fails is up to the driver, and in generic mode nobody counts it.
    fn interface_counts(&self) -> InterfaceCounts {
        InterfaceCounts {
            rx: self.mode() == Mode::Native && self.driver_counts,
            tx: !self.zero_copy(),
        }
    }

    fn events(&self) -> Vec<(&'static str, u64)> {
        vec![
            (
                "rx_fill_ring_empty",
                self.kernel(|s| s.rx_fill_ring_empty_descs),
            ),
            ("rx_bad_slots", self.rx(|c| c.bad_slots.get())),
            ("rx_wakeup_errors", self.rx(|c| c.wakeup_errors.get())),
            ("tx_bad_completions", self.tx(|c| c.bad_completions.get())),
            ("tx_wakeup_errors", self.tx(|c| c.wakeup_errors.get())),
        ]
    }

    fn close(self: Box<Self>, extra: Vec<OwnedBuf>) {
        self.buffers.give_back(extra);
        // The rest is `XdpPort`'s fields, in their order.
    }
}
