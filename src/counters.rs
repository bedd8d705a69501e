// SPDX-License-Identifier: Apache-2.0
//! What a queue counts. Each counter has one writer, the thread that owns the queue, and is read by
//! others at any time: plain relaxed loads and stores, no read-modify-write.
#![forbid(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

/// A counter with a single writer.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`; only its one writer may.
    #[inline]
    pub fn add(&self, n: u64) {
        let sum = self.0.load(Ordering::Relaxed).wrapping_add(n);
        self.0.store(sum, Ordering::Relaxed);
    }

    /// The count.
    pub fn get(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Makes a set of counters, on cache lines of its own, with a list of names and values.
macro_rules! counters {
    ($(#[$doc:meta])* $set:ident { $($(#[$field_doc:meta])* $field:ident),* $(,)? }) => {
        $(#[$doc])*
        #[derive(Debug, Default)]
        #[repr(align(64))]
        pub struct $set {
            $($(#[$field_doc])* pub $field: Counter,)*
        }

        impl $set {
            /// Names and values.
            pub fn list(&self) -> Vec<(&'static str, u64)> {
                vec![$((stringify!($field), self.$field.get())),*]
            }
        }
    };
}

counters! {
    /// Counters of one receive ring.
    RxCounters {
        /// Frames received: OVS got them, but for those policed.
        packets,
        /// Their bytes.
        bytes,
        /// Batches that they came in.
        bursts,
        /// Sync calls.
        rxsyncs,
        /// Sync calls that failed.
        sync_errors,
        /// Times that frames had to wait in the ring, because OVS has all packets.
        no_buffer,
        /// Frames that came over several slots.
        several_slots,
        /// Frames whose checksum the sender had left out, and that have one now.
        csum_completed,
        /// Frames whose checksum the sender had left out, and that Open vSwitch got as such.
        csum_partial,
        /// Frames dropped: more than the limit of the port.
        policed,
        /// Frames dropped: longer than any MTU allows, or in too many slots.
        too_long,
        /// Frames dropped: the link of a port without host interface was down.
        link_down,
        /// Frames dropped: no such buffer, or not one of this ring's.
        bad_index,
        /// Frames dropped: empty, or past the end of their buffer.
        bad_length,
        /// Batches not looked at: `head` or `tail` outside the ring.
        bad_ring,
    }
}

impl RxCounters {
    /// Frames that were dropped.
    pub fn dropped(&self) -> u64 {
        let bad = self.too_long.get() + self.bad_index.get() + self.bad_length.get();
        bad + self.link_down.get() + self.policed.get()
    }
}

counters! {
    /// Counters of one transmit queue.
    TxCounters {
        /// Frames put into a ring.
        packets,
        /// Their bytes.
        bytes,
        /// Batches that they came in.
        bursts,
        /// Sync calls.
        txsyncs,
        /// Sync calls that failed.
        sync_errors,
        /// Frames sent by exchanging buffers.
        zero_copy,
        /// Frames sent by copying them.
        copied,
        /// Of these, those that took several slots.
        several_slots,
        /// Frames whose checksum the kernel or the card completes.
        csum_offloaded,
        /// Frames whose checksum was completed here.
        csum_completed,
        /// Frames dropped: more than the limit of the port.
        policed,
        /// Frames dropped: the link was down.
        link_down,
        /// Frames dropped: no free slot in any ring.
        ring_full,
        /// Frames dropped: longer than the MTU allows, or than the port takes.
        too_long,
        /// Slots skipped: their buffer does not exist, or is not this ring's. The frame went into the
        /// next slot.
        bad_index,
        /// Batches refused: `head` or `tail` outside the ring. What found no other ring is in
        /// `ring_full`.
        bad_ring,
    }
}

impl TxCounters {
    /// Frames that were dropped.
    pub fn dropped(&self) -> u64 {
        let late = self.link_down.get() + self.ring_full.get();
        late + self.too_long.get() + self.policed.get()
    }
}

impl RxCounters {
    /// Counts `packets` with that many bytes, if there are any.
    #[inline]
    pub fn count_burst(&self, packets: usize, bytes: u64) {
        if packets > 0 {
            self.packets.add(packets as u64);
            self.bytes.add(bytes);
            self.bursts.add(1);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_that_was_dropped_counts_once() {
        let counters = TxCounters::default();
        // Two rounds over a ring that makes no sense, then the burst is dropped.
        counters.bad_ring.add(2);
        counters.ring_full.add(32);
        // The frame for this slot went into the next one.
        counters.bad_index.add(1);
        assert_eq!(counters.dropped(), 32);
    }

    #[test]
    fn lists_every_counter_by_name() {
        let counters = RxCounters::default();
        counters.bytes.add(60);
        counters.bytes.add(4);
        let list = counters.list();
        assert_eq!(list.len(), 15);
        assert!(list.contains(&("bytes", 64)));
    }
}
