// SPDX-License-Identifier: Apache-2.0
//! Receiving and sending.

use super::guard::{guard, with_port};
use super::host::attached;
use super::types::{DpPacket, NetdevRxq};
use std::mem::MaybeUninit;

use crate::burst::{CsumList, PacketCsum, TxBurst};
use crate::exclusive::Exclusive;
use crate::pool;
use crate::port::Port;
use crate::rx::RxQueue;
use crate::tx::Sent;

/// Makes the calling thread ready to poll a queue: it gets packet caches of its own.
///
/// # Parameters
///
/// * `rxq`: the queue; NULL and queues of other port types do nothing.
///
/// # Threads
///
/// queue.
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
        // SAFETY: NULL, or a handle of `netmap_port_rxq` whose port is open while OVS has the queue, and
        // that only the calling thread polls.
        if let Some(queue) = unsafe { handle.as_ref() } {
            queue.pool().attach_thread();
        }
    });
}

/// Gives the packet caches of the calling thread back. To be called when the queues that it polls are
/// about to change; a thread that ends does it by itself.
///
/// # Threads
///
/// any.
#[unsafe(no_mangle)]
pub extern "C" fn netmap_flush_thread() {
    guard((), pool::flush_thread);
}

/// Finds a receive queue.
///
/// # Parameters
///
/// * `port`: the port; NULL has none.
/// * `i`: number of the queue, from 0.
///
/// # Returns
///
/// The queue, or NULL when there is none of that number.
///
/// # Ownership
///
/// The queue is the port's, and goes with it.
///
/// # Threads
///
/// any.
///
/// # Safety
///
/// `port` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_rxq(port: *mut Port, i: u32) -> *mut RxQueue {
    let none = std::ptr::null_mut();
    let find = |port: &Port| {
        let rxq = port.rxqs().get(i as usize);
        rxq.map_or(none, Exclusive::as_ptr)
    };
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, none, find) }
}

/// Receives frames. A thread that called `netmap_init_port` for the queue does so without a lock.
///
/// # Parameters
///
/// * `rxq`: the queue; NULL has no frames.
/// * `packets` (out): packets with their frames in them.
/// * `max`: room at `packets`, and most frames to receive.
///
/// # Returns
///
/// How many packets were received.
///
/// # Ownership
///
/// The packets are the caller's, to be sent or freed.
///
/// # Threads
///
/// queue.
///
/// # Safety
///
/// `rxq` is NULL or came from `netmap_port_rxq`, and its port is open. `packets` has room for `max`
/// pointers.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_rxq_recv(
    rxq: *mut RxQueue,
    packets: *mut *mut DpPacket,
    max: usize,
) -> usize {
    guard(0, || {
        // SAFETY: an open port's queue by the caller's promise, which only one thread polls.
        let Some(queue) = (unsafe { rxq.as_mut() }) else {
            return 0;
        };
        if packets.is_null() {
            return 0;
        }
        // SAFETY: room for `max` elements by the caller's promise; they need no value yet.
        let out = unsafe { std::slice::from_raw_parts_mut(packets.cast(), max) };
        queue.recv(out)
    })
}

/// As `netmap_rxq_recv`, but partial checksums of plain TCP and UDP packets are not completed: they are listed.
/// A packet is plain when it has one VLAN tag at most, no IP options or extension headers, is no fragment, and
/// ends where its frame does.
///
/// # Parameters
///
/// * `rxq`: the queue; NULL has no frames.
/// * `packets` (out): packets with their frames in them.
/// * `max`: room at `packets` and at `csums`, and most frames to receive.
/// * `csums` (out): those of the packets whose checksums are partial, in the order of the packets.
/// * `n_csums` (out): how many.
///
/// # Returns
///
/// How many packets were received.
///
/// # Ownership
///
/// The packets are the caller's, to be sent or freed.
///
/// # Threads
///
/// queue.
///
/// # Safety
///
/// As for `netmap_rxq_recv`. `csums` has room for `max` structs, `n_csums` is writable.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_rxq_recv_csums(
    rxq: *mut RxQueue,
    packets: *mut *mut DpPacket,
    max: usize,
    csums: *mut PacketCsum,
    n_csums: *mut usize,
) -> usize {
    guard(0, || {
        // SAFETY: an open port's queue by the caller's promise, which only one thread polls.
        let Some(queue) = (unsafe { rxq.as_mut() }) else {
            return 0;
        };
        if packets.is_null() || csums.is_null() || n_csums.is_null() {
            return 0;
        }
        // SAFETY: room for `max` elements each by the caller's promise; they need no value yet.
        let (out, room) = unsafe {
            (
                std::slice::from_raw_parts_mut(packets.cast(), max),
                std::slice::from_raw_parts_mut(csums.cast::<MaybeUninit<PacketCsum>>(), max),
            )
        };
        let mut list = CsumList::new(room);
        let received = queue.recv_csums(out, &mut list);
        // SAFETY: writable by the caller's promise.
        unsafe { n_csums.write(list.count()) };
        received
    })
}

/// Whether checksums of what a port sends may be left partial at no cost: `netmap_port_send_csums` leaves them
/// to the kernel or the card.
///
/// # Parameters
///
/// * `port`: the port; NULL does not.
///
/// # Returns
///
/// Whether it does. It is the same as long as the port is open.
///
/// # Threads
///
/// any.
///
/// # Safety
///
/// `port` is NULL or open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_offers_csum(port: *mut Port) -> bool {
    // SAFETY: passed on with the same promise.
    unsafe { with_port(port, false, Port::offers_csum) }
}

/// Sends packets. What finds no room is dropped and counted.
///
/// # Parameters
///
/// * `port`: the port; NULL drops all.
/// * `qid`: number of the transmit queue, modulo how many there are.
/// * `concurrent`: whether other threads may be sending on the same queue, all with true.
/// * `packets` (in,out): the packets; those that stay the caller's come first afterwards.
/// * `n`: how many.
/// * `n_returned` (out): how many stay the caller's; NULL is fine.
///
/// # Returns
///
/// How many frames were sent.
///
/// # Ownership
///
/// Packets of the library are the library's again, sent or not. All others stay the caller's.
///
/// # Threads
///
/// any.
///
/// # Safety
///
/// `port` is NULL or open. `packets` has `n` pointers to packets of the caller, each once, with
/// readable frames. `n_returned` is NULL or writable. Without `concurrent` no other thread is sending
/// on the same queue.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_send(
    port: *mut Port,
    qid: u32,
    concurrent: bool,
    packets: *mut *mut DpPacket,
    n: usize,
    n_returned: *mut usize,
) -> usize {
    guard(0, || {
        // SAFETY: passed on with the same promise.
        unsafe { send(port, qid, concurrent, (packets, n), &[], n_returned) }
    })
}

/// As `netmap_port_send`, with packets whose checksums are partial: each is completed before the frame
/// leaves, or when, as `netmap_port_offers_csum` says.
///
/// # Parameters
///
/// * `port`: the port; NULL drops all.
/// * `qid`: number of the transmit queue, modulo how many there are.
/// * `concurrent`: whether other threads may be sending on the same queue, all with true.
/// * `packets` (in,out): the packets; those that stay the caller's come first afterwards.
/// * `n`: how many.
/// * `csums`: those of the packets whose checksums are partial, each at most once.
/// * `n_csums`: how many.
/// * `n_returned` (out): how many packets stay the caller's; NULL is fine.
///
/// # Returns
///
/// How many frames were sent.
///
/// # Ownership
///
/// Packets of the library are the library's again, sent or not. All others stay the caller's.
///
/// # Threads
///
/// any.
///
/// # Safety
///
/// As for `netmap_port_send`. `csums` has `n_csums` structs, whose packets' frames, and the memory in front of
/// these from the base on, are writable and the packets' own.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn netmap_port_send_csums(
    port: *mut Port,
    qid: u32,
    concurrent: bool,
    packets: *mut *mut DpPacket,
    n: usize,
    csums: *const PacketCsum,
    n_csums: usize,
    n_returned: *mut usize,
) -> usize {
    guard(0, || {
        let csums = match csums.is_null() {
            true => &[],
            // SAFETY: so many structs by the caller's promise.
            false => unsafe { std::slice::from_raw_parts(csums, n_csums) },
        };
        // SAFETY: passed on with the same promise.
        unsafe { send(port, qid, concurrent, (packets, n), csums, n_returned) }
    })
}

/// # Safety
///
/// As for `netmap_port_send_csums`.
#[inline]
unsafe fn send(
    port: *mut Port,
    qid: u32,
    concurrent: bool,
    (packets, n): (*mut *mut DpPacket, usize),
    csums: &[PacketCsum],
    n_returned: *mut usize,
) -> usize {
    let returned = |n| {
        if !n_returned.is_null() {
            // SAFETY: writable by the caller's promise.
            unsafe { n_returned.write(n) };
        }
    };
    // What a panic leaves is nobody's.
    returned(0);
    let Some(host) = attached().filter(|_| !packets.is_null()) else {
        return 0;
    };
    // SAFETY: `n` elements by the caller's promise.
    let packets = unsafe { std::slice::from_raw_parts_mut(packets.cast(), n) };
    // SAFETY: `new`: the packets were handed over and their frames are readable, by the caller's promise;
    // `with_csums`: what is in `csums` may be written, too, by that of `netmap_port_send_csums`.
    let packets = unsafe { TxBurst::new(packets, host.layout()).with_csums(csums) };
    // SAFETY: NULL or open by the caller's promise.
    let txqs = unsafe { port.as_ref() }.map_or(&[][..], Port::txqs);
    let sent = if txqs.is_empty() {
        Sent {
            frames: 0,
            returned: packets.discard(),
        }
    } else {
        let txq = &txqs[qid as usize % txqs.len()];
        if concurrent {
            // SAFETY: the others that use the queue now also say `concurrent`.
            unsafe { txq.with_lock(|queue| queue.send(packets)) }
        } else {
            // SAFETY: by the caller's word nobody else uses the queue.
            unsafe { txq.assume_unshared(|queue| queue.send(packets)) }
        }
    };
    returned(sent.returned);
    sent.frames
}
