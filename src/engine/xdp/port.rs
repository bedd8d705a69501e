// SPDX-License-Identifier: Apache-2.0
//! An open port: a socket a queue, the program, and the buffers of its rings.
#![forbid(unsafe_code)]

use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::bpf::{Mode, Redirect};
use super::program::Fallback;
use super::release;
use super::socket::{self, Bound, Queue, Way};
use super::sync::{Backlog, Frames, RxSync, RxSyncCounters, TxSync, TxSyncCounters};
use crate::engine::user_region::{HEADROOM, PortBuffers};
use crate::engine::{
    Direction, EnginePort, Held, LONGEST_FRAME, RingPair, SyncedRing, TX_METADATA_LEN,
};
use crate::error::Result;
use crate::index::OwnedBuf;
use crate::netif::{self, HostInterface};

/// What a driver's `rx_dropped` contains in native mode. Others have counters of their own for it, which
/// are in no common statistics.
#[derive(Debug, Clone, Copy)]
struct DriverCounts {
    /// Frames that the program wanted to redirect to a socket that had no room for them.
    failed_redirects: bool,
    /// Frames that the program dropped.
    program_drops: bool,
}

impl DriverCounts {
    fn of(driver: &str) -> DriverCounts {
        DriverCounts {
            failed_redirects: ["veth", "tun", "virtio_net"].contains(&driver),
            program_drops: ["tun", "virtio_net"].contains(&driver),
        }
    }
}

/// Whether the kernel looks at metadata when it copies frames for an interface of `driver`. For drivers that
/// take frames in pages (`IFF_TX_SKB_NO_LINEAR`) it does so in late versions only.
fn metadata_are_looked_at(driver: &str) -> bool {
    driver != "virtio_net"
}

/// Slots that a frame may take: those of the longest one in the smallest buffers, and some. Drivers with
/// zero copy take no less, in copy mode it is 17 (`MAX_SKB_FRAGS`).
const MAX_FRAGS: u32 = 8;

const _: () = assert!(LONGEST_FRAME.div_ceil(2048 - TX_METADATA_LEN) <= MAX_FRAGS);

/// A queue of an open port.
struct Socket {
    queue: Queue,
    fd: Arc<OwnedFd>,
    zero_copy: bool,
    several_bufs: bool,
    rx: Option<Arc<RxSyncCounters>>,
    tx: Option<Arc<TxSyncCounters>>,
}

impl Socket {
    /// Whether buffers are in use when it is closed, after its rings: the device's, with zero copy, or
    /// those of frames that were not out yet.
    fn leaves_buffers(&self) -> bool {
        let unsent = self.tx.as_ref().is_some_and(|tx| tx.left_behind.get() > 0);
        self.zero_copy || unsent
    }

    /// Frames to send that the driver dropped.
    fn tx_dropped(&self) -> u64 {
        let tx = self.tx.as_ref().map_or(0, |tx| tx.dropped.get());
        tx + self.rx.as_ref().map_or(0, |rx| rx.backlog_dropped.get())
    }
}

/// An open port. At its end the sockets are closed first; from then on the program, if the port is
/// the whole interface, drops what comes. Then the program goes, and the buffers are free for others,
/// both later where the kernel may still be busy with them.
pub(super) struct XdpPort {
    ifname: String,
    ifindex: u32,
    /// Receive and transmit queues of the interface, all of them.
    queues: (u32, u32),
    /// What its driver counts of other's drops.
    driver_counts: DriverCounts,
    /// Whether the kernel looks at metadata in copy mode.
    looks_at_metadata: bool,
    /// The interface has left.
    lost: AtomicBool,
    sockets: Vec<Socket>,
    redirect: Arc<Redirect>,
    /// What of the program's counter was told, by this port or by those before it.
    told: AtomicU64,
    /// What of it was told by those before it.
    told_before: u64,
    buffers: Arc<PortBuffers>,
}

impl XdpPort {
    /// A port without queues.
    pub(super) fn new(
        ifname: &str,
        interface: &HostInterface,
        redirect: Arc<Redirect>,
        buffers: PortBuffers,
    ) -> XdpPort {
        let told_before = redirect.told();
        XdpPort {
            ifname: ifname.to_owned(),
            ifindex: interface.ifindex,
            queues: (interface.n_rx_queues, interface.n_tx_queues),
            driver_counts: DriverCounts::of(&interface.driver),
            looks_at_metadata: metadata_are_looked_at(&interface.driver),
            lost: AtomicBool::new(false),
            sockets: Vec::new(),
            redirect,
            told: AtomicU64::new(told_before),
            told_before,
            buffers: Arc::new(buffers),
        }
    }

    /// Whether its interface has the program.
    pub(super) fn has_program(&self) -> bool {
        self.redirect.is_on(self.ifindex)
    }

    /// The program of its interface.
    pub(super) fn redirect(&self) -> &Redirect {
        &self.redirect
    }

    /// How its interface runs the program.
    fn mode(&self) -> Mode {
        self.redirect.mode()
    }

    /// `n` extra buffers, or as many as there are.
    pub(super) fn extra(&self, n: u32) -> Vec<OwnedBuf> {
        self.buffers.extra(n)
    }

    /// Makes the ring pair of a bound socket. It gets no packets yet.
    pub(super) fn add(&mut self, queue: &Queue, bound: Bound) -> Result<RingPair> {
        let region = self.buffers.user_region().region();
        let frames = Frames::new(Arc::clone(region), self.buffers.owner());
        let Way {
            zero_copy,
            several_bufs,
        } = bound.way;
        let ringid = queue.queue as u16;
        let ring = |slots, dir| self.buffers.ring(slots, ringid, dir, HEADROOM);
        let mut socket = Socket {
            queue: *queue,
            fd: bound.fd,
            zero_copy,
            several_bufs,
            rx: None,
            tx: None,
        };
        let backlog = Arc::<Backlog>::default();
        let mut pair = RingPair { rx: None, tx: None };
        if let (Some(slots), Some(queues)) = (queue.rx_slots, bound.rx) {
            let ring = ring(slots, Direction::Rx)?;
            let fd = Arc::clone(&socket.fd);
            let mut sync = RxSync::new(&ring, frames.clone(), queues, fd, Arc::clone(&backlog));
            if queue.busy_poll_budget > 0 {
                sync.poll_driver();
            }
            socket.rx = Some(sync.counters());
            let sync = Box::new(sync);
            pair.rx = Some(SyncedRing { ring, sync });
        }
        if let (Some(slots), Some(queues)) = (queue.tx_slots, bound.tx) {
            let mut ring = ring(slots, Direction::Tx)?;
            if several_bufs {
                ring.set_max_frags(MAX_FRAGS);
            }
            let mut frames = frames;
            if bound.tx_metadata {
                ring.set_min_offset(TX_METADATA_LEN);
                frames = frames.beginning_at(TX_METADATA_LEN);
                if self.completes_csum(zero_copy) {
                    ring.set_takes_csum();
                }
            }
            let fd = Arc::clone(&socket.fd);
            let mut sync = TxSync::new(&ring, frames, queues, fd, zero_copy, backlog);
            if queue.busy_poll_budget > 0 {
                sync.poll_driver();
            }
            socket.tx = Some(sync.counters());
            let sync = Box::new(sync);
            pair.tx = Some(SyncedRing { ring, sync });
        }
        self.sockets.push(socket);
        Ok(pair)
    }

    /// Directs packets to its sockets.
    pub(super) fn start(&self) -> Result<()> {
        let receiving = self.sockets.iter().filter(|socket| socket.rx.is_some());
        for Socket { queue, fd, .. } in receiving {
            let added = self.redirect.add(queue.queue, fd);
            added.map_err(|e| e.context(&self.ifname))?;
        }
        Ok(())
    }

    /// Whether frames may take several buffers.
    pub(super) fn several_bufs(&self) -> bool {
        self.sockets.iter().all(|s| s.several_bufs)
    }

    /// Whether somebody completes checksums where metadata ask for it: in copy mode the kernel, which does what
    /// the device cannot; with zero copy the driver, if it says so.
    fn completes_csum(&self, zero_copy: bool) -> bool {
        match zero_copy {
            false => self.looks_at_metadata,
            true => netif::completes_csum(self.ifindex).unwrap_or(false),
        }
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

    /// Frames that the program dropped for lack of a socket, since the port before this one told.
    fn without_socket(&self) -> u64 {
        let dropped = self.redirect.dropped();
        self.told.store(dropped, Ordering::Relaxed);
        dropped.saturating_sub(self.told_before)
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
        self.redirect.set_told(self.told.load(Ordering::Relaxed));
        if self.lost() {
            self.redirect.detach();
        }
        let sockets = std::mem::take(&mut self.sockets);
        let in_use = sockets.iter().any(Socket::leaves_buffers);
        let queues: Vec<Queue> = sockets.iter().map(|socket| socket.queue).collect();
        drop(sockets);
        queues.iter().for_each(release::released);
        if in_use {
            let (redirect, buffers) = (Arc::clone(&self.redirect), Arc::clone(&self.buffers));
            release::retire(&queues, redirect, buffers);
        }
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
            (
                "busy-poll-budget",
                self.sockets
                    .first()
                    .map_or(0, |s| s.queue.busy_poll_budget)
                    .to_string(),
            ),
            (
                "multi-buffer",
                if self.several_bufs() { "yes" } else { "no" }.into(),
            ),
        ]
    }

    fn host_interface(&self) -> Option<&str> {
        Some(&self.ifname)
    }

    fn ifindex(&self) -> Option<u32> {
        Some(self.ifindex)
    }

    fn takes_several_slots(&self) -> bool {
        self.several_bufs()
    }

    /// Each packet that was lost counts once. What XDP counts as dropped in copy mode: no buffer in
    /// the fill ring, or longer than a buffer.
    fn drops(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("rx_dropped", self.kernel(|s| s.rx_dropped)),
            ("rx_ring_full", self.kernel(|s| s.rx_ring_full)),
            ("rx_invalid_descs", self.kernel(|s| s.rx_invalid_descs)),
            ("rx_bad_descs", self.rx(|c| c.bad_descs.get())),
            ("rx_without_socket", self.without_socket()),
            ("tx_invalid_descs", {
                let revoked = self.tx(|c| c.revoked.get());
                self.kernel(|s| s.tx_invalid_descs).saturating_sub(revoked)
            }),
            (
                "tx_dropped",
                self.sockets.iter().map(Socket::tx_dropped).sum(),
            ),
            ("tx_bad_slots", self.tx(|c| c.bad_slots.get())),
            ("tx_not_sent", self.tx(|c| c.not_sent.get())),
        ]
    }

    /// In copy mode the kernel's transmit path counts each frame that it drops. What becomes of a
    /// redirection that fails is up to the driver, and in generic mode nobody counts it.
    fn counted_by_interface(&self) -> (u64, u64) {
        let mut rx = 0;
        if self.mode() == Mode::Native {
            if self.driver_counts.failed_redirects {
                rx += self.kernel(|s| s.rx_dropped + s.rx_ring_full);
            }
            if self.driver_counts.program_drops {
                rx += self.without_socket();
            }
        }
        let copies = self.sockets.iter().filter(|s| !s.zero_copy);
        (rx, copies.map(Socket::tx_dropped).sum())
    }

    fn queues(&self) -> Option<(u32, u32)> {
        // One queue alone does not follow their number.
        (self.redirect.fallback() == Fallback::Drop).then_some(self.queues)
    }

    fn lost(&self) -> bool {
        let lost = |socket: &Socket| socket::has_lost_interface(&socket.fd);
        // The kernel tells some of it only once.
        if self.sockets.iter().any(lost) {
            self.lost.store(true, Ordering::Relaxed);
        }
        self.lost.load(Ordering::Relaxed)
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

    fn close(self: Box<Self>, extra: Vec<OwnedBuf>) -> Option<Held> {
        self.buffers.give_back(extra);
        let redirect = Arc::clone(&self.redirect);
        drop(self);
        // Kept, it drops what comes until the port is open again.
        (redirect.fallback() == Fallback::Drop).then(|| Box::new(redirect) as Held)
    }
}
