// SPDX-License-Identifier: Apache-2.0
//! Receiving and sending.

use super::guard::{guard, with_port};
use super::host::attached;
use super::types::{DpPacket, NetdevRxq};
use crate::burst::TxBurst;
use crate::pool;
use crate::port::{Port, RxHandle};
use crate::tx::Sent;

/// Makes the calling thread ready to poll 'rxq': it gets packet caches of its own. Does nothing for
/// a queue of another port type.
///
/// # Safety
///
/// `rxq` is NULL or a queue that the host's `rxq_handle` can look at.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_init_port(rxq: *mut NetdevRxq) {
    guard((), || {
        let Some(host) = attached().filter(|_| !rxq.is_null()) else {
            return;
        };
        // SAFETY: the caller's promise.
        let handle = unsafe { host.rxq_handle(rxq) };
        // SAFETY: NULL, or a handle of `netmap_port_rxq` whose port is open while OVS has the queue.
        if let Some(handle) = unsafe { handle.as_ref() } {
            // SAFETY: only the calling thread polls the queue.
            unsafe { handle.assume_unshared(|queue| queue.pool().attach_thread()) };
        }
    });
}

/// Gives the packet caches of the calling thread back. Call it when what the thread polls is about
/// to change; a thread that ends does it by itself.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_flush_thread() {
    guard((), pool::flush_thread);
}

/// Receive queue 'i', or NULL. It is the port's, and goes with it.
///
/// # Safety
///
/// `port` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_rxq(port: *mut Port, i: u32) -> *mut RxHandle {
    let none = std::ptr::null_mut();
    let find = |port: &Port| {
        let rxq = port.rxqs().get(i as usize);
        rxq.map_or(none, |rxq| std::ptr::from_ref(rxq).cast_mut())
    };
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, none, find) }
}

/// Receives at most 'max' frames. Returns how many; their packets, the first ones of 'packets', are the
/// caller's, and have their frames in them.
///
/// Only one thread polls a queue. A thread that called netmap_init_port for it does so without locks.
///
/// # Safety
///
/// `rxq` came from `netmap_port_rxq`, its port is open; `packets` has room for `max` elements.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_rxq_recv(
    rxq: *mut RxHandle,
    packets: *mut *mut DpPacket,
    max: usize,
) -> usize {
    guard(0, || {
        // SAFETY: an open port's queue by the caller's promise.
        let Some(rxq) = (unsafe { rxq.as_ref() }) else {
            return 0;
        };
        if packets.is_null() {
            return 0;
        }
        // SAFETY: room for `max` elements by the caller's promise; they need no value yet.
        let out = unsafe { std::slice::from_raw_parts_mut(packets.cast(), max) };
        // SAFETY: only one thread polls a queue.
        unsafe { rxq.assume_unshared(|queue| queue.recv(out)) }
    })
}

/// Sends 'n' packets on transmit queue 'qid' (modulo their number). Returns how many left; the others
/// were dropped and counted.
///
/// Packets of this library are freed, sent or not. All others stay the caller's: they are the first
/// '*n_returned' of 'packets' then. With 'concurrent', any number of threads may send on the queue at
/// once; else only one.
///
/// # Safety
///
/// `port` is NULL or open; `packets` has `n` elements, which are packets of the caller, each once, with
/// readable frames; `n_returned` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_send(
    port: *mut Port,
    qid: u32,
    packets: *mut *mut DpPacket,
    n: usize,
    n_returned: *mut usize,
    concurrent: bool,
) -> usize {
    let sent = guard(Sent::default(), || {
        let Some(host) = attached().filter(|_| !packets.is_null()) else {
            return Sent::default();
        };
        // SAFETY: `n` elements by the caller's promise.
        let packets = unsafe { std::slice::from_raw_parts_mut(packets.cast(), n) };
        // SAFETY: the packets were handed over and their frames are readable, by the caller's promise.
        let packets = unsafe { TxBurst::new(packets, host.layout()) };
        // SAFETY: NULL or open by the caller's promise.
        let txqs = unsafe { port.as_ref() }.map_or(&[][..], Port::txqs);
        if txqs.is_empty() {
            return Sent {
                frames: 0,
                returned: packets.discard(),
            };
        }
        let txq = &txqs[qid as usize % txqs.len()];
        if concurrent {
            // SAFETY: the others that use the queue now also say `concurrent`.
            unsafe { txq.with_lock(|queue| queue.send(packets)) }
        } else {
            // SAFETY: by the caller's word nobody else uses the queue.
            unsafe { txq.assume_unshared(|queue| queue.send(packets)) }
        }
    });
    if !n_returned.is_null() {
        // SAFETY: writable by the caller's promise.
        unsafe { n_returned.write(sent.returned) };
    }
    sent.frames
}
