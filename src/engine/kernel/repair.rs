// SPDX-License-Identifier: Apache-2.0
//! Which buffers are a ring's own, and rings that somebody else has written into.
//!
//! A port's rings lie in memory that other processes may map. A slot whose index was overwritten names
//! a buffer that is a packet, another ring's, or none; frames there are lost, and what it named before is
//! in no slot any more. So each ring has a number, its buffers bear it in the region's table, and now and
//! then, just before a sync, the thread that has the ring looks for slots with a foreign index or one that
//! another slot has, too, and gives them those of its buffers that are in no slot.
//!
//! The rings of pipes have no numbers: the module exchanges their buffers with those of the other end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use netmap_sys::netmap::NS_BUF_CHANGED;

use super::region::KernelRegion;
use crate::clock;
use crate::engine::{HEADROOM, RingSync};
use crate::index::{BufIdx, Owner};
use crate::logger::RateLimit;
use crate::ring::{Ring, Slot};

/// Microseconds between two looks at a ring, and after a look that found something.
const PAUSE_US: u64 = 1_000_000;
const PAUSE_AFTER_REPAIR_US: u64 = 10_000;

static REPAIRED: RateLimit = RateLimit::new(1, 1);

/// The buffers of one ring. When this goes, they are the module's again.
pub struct RingBuffers {
    region: KernelRegion,
    /// A second handle on the ring.
    ring: Ring,
    owner: Owner,
}

impl RingBuffers {
    /// Those in the slots of `ring`, which gets a number of its own. `None` if there are no more.
    pub fn of(region: &KernelRegion, ring: &mut Ring) -> Option<RingBuffers> {
        let owner = Owner(region.mapping.free_owners.lock().pop()?);
        for pos in 0..ring.num_slots() {
            let idx = BufIdx(ring.slot(pos).buf_idx);
            if region.buffers.is_held_by(idx, Owner::OUTSIDE) {
                region.buffers.set_owner(idx, owner);
            }
        }
        ring.set_owner(owner);
        Some(RingBuffers {
            region: region.clone(),
            ring: ring.other_side(),
            owner,
        })
    }

    /// Gives bad slots among the `n` from `first` on a buffer, as far as some are in no slot. Returns how
    /// many slots that were.
    fn repair(&self, first: u32, n: u32) -> u64 {
        let (region, ring) = (&self.region.buffers, &self.ring);
        let mut bad = self.bad_slots();
        bad.slots.retain(|&pos| ring.distance(first, pos) < n);
        if bad.slots.is_empty() {
            return 0;
        }
        let mut strays = region.owned_by(self.owner);
        strays.retain(|idx| !bad.found[idx.0 as usize]);
        let pairs = bad.slots.into_iter().zip(strays);
        let repaired = pairs.map(|(pos, idx)| {
            let slot = Slot {
                buf_idx: idx.0,
                // Whatever the frame was, it is not in this buffer.
                len: 0,
                flags: NS_BUF_CHANGED,
                ptr: ring.with_offset(ring.slot(pos).ptr, HEADROOM.min(ring.max_offset())),
            };
            ring.put_slot(pos, slot);
        });
        repaired.count() as u64
    }

    /// Which slots are bad, and which buffers of the region are in the others.
    fn bad_slots(&self) -> BadSlots {
        let (region, ring) = (&self.region.buffers, &self.ring);
        let mut found = vec![false; region.n_bufs() as usize];
        let mut slots = Vec::new();
        for pos in 0..ring.num_slots() {
            let idx = BufIdx(ring.slot(pos).buf_idx);
            if region.is_held_by(idx, self.owner) && !found[idx.0 as usize] {
                found[idx.0 as usize] = true;
            } else {
                slots.push(pos);
            }
        }
        BadSlots { slots, found }
    }
}

struct BadSlots {
    slots: Vec<u32>,
    /// By index.
    found: Vec<bool>,
}

impl Drop for RingBuffers {
    fn drop(&mut self) {
        // The module is about to free what the slots name. It must not free a packet's buffer, or one
        // twice; 0 it leaves alone.
        self.repair(0, self.ring.num_slots());
        for pos in self.bad_slots().slots {
            let slot = self.ring.slot(pos);
            self.ring.put_slot(pos, Slot { buf_idx: 0, ..slot });
        }
        let region = &self.region.buffers;
        for idx in region.owned_by(self.owner) {
            region.set_owner(idx, Owner::OUTSIDE);
        }
        self.region.mapping.free_owners.lock().push(self.owner.0);
    }
}

/// A sync that looks after its ring.
pub struct RepairingSync {
    sync: Box<dyn RingSync>,
    buffers: RingBuffers,
    /// First slot that the module has not seen since the last sync.
    synced: u32,
    looked_at: u64,
    /// Ticks until the next look.
    pause: u64,
    repaired: Arc<AtomicU64>,
}

impl RepairingSync {
    /// `sync` of the ring whose buffers are `buffers`; `repaired` counts slots.
    pub fn new(
        sync: Box<dyn RingSync>,
        buffers: RingBuffers,
        ring: &Ring,
        repaired: &Arc<AtomicU64>,
    ) -> RepairingSync {
        RepairingSync {
            sync,
            buffers,
            synced: ring.checked_window().map_or(0, |(head, _)| head),
            looked_at: clock::rdtsc(),
            pause: clock::us_to_ticks(PAUSE_US),
            repaired: Arc::clone(repaired),
        }
    }

    /// From the slots that the module saw last up to those that are its own, nobody but this thread uses
    /// the slots until the next sync.
    #[cold]
    fn look(&mut self, ring: &Ring, now: u64) {
        self.looked_at = now;
        self.pause = clock::us_to_ticks(PAUSE_US);
        let Ok((_, tail)) = ring.checked_window() else {
            // The sync sets that right.
            return;
        };
        let ours = ring.distance(self.synced, tail);
        let n = self.buffers.repair(self.synced, ours);
        if n > 0 {
            self.pause = clock::us_to_ticks(PAUSE_AFTER_REPAIR_US);
            self.repaired.fetch_add(n, Ordering::Relaxed);
            REPAIRED.log(
                log::Level::Warn,
                format_args!(
                    "{n} slots of a netmap ring named buffers that are not the ring's, and have \
                     buffers again: another process that maps the region writes there, and frames \
                     of the port are lost or garbled meanwhile (see \"repaired_slots\" in netmap/show)"
                ),
            );
        }
    }
}

impl RingSync for RepairingSync {
    fn sync(&mut self, ring: &mut Ring) -> std::result::Result<(), i32> {
        let now = clock::rdtsc();
        if now.wrapping_sub(self.looked_at) >= self.pause {
            self.look(ring, now);
        }
        let result = self.sync.sync(ring);
        if let Ok((head, _)) = ring.checked_window() {
            self.synced = head;
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::engine::Direction;
    use crate::engine::kernel::netmap_if::tests::port;

    /// A ring whose slots 0 to 9 have the buffers 4 to 13, the others none; and a second handle on it.
    fn ring() -> (Ring, Ring, RingBuffers, KernelRegion) {
        let port = port(0);
        let mut ring = port.ring(Direction::Rx, 0, 0).unwrap();
        for pos in 0..10 {
            let buf_idx = 4 + pos;
            ring.put_slot(
                pos,
                Slot {
                    buf_idx,
                    ..Slot::default()
                },
            );
        }
        let buffers = RingBuffers::of(port.region(), &mut ring).unwrap();
        (ring.other_side(), ring, buffers, port.region().clone())
    }

    fn indices(ring: &Ring) -> Vec<u32> {
        (0..10).map(|pos| ring.slot(pos).buf_idx).collect()
    }

    #[test]
    fn foreign_and_double_indices_are_replaced() {
        let (_, ring, buffers, _) = ring();
        let set = |pos, buf_idx| {
            ring.put_slot(
                pos,
                Slot {
                    buf_idx,
                    len: 60,
                    ..Slot::default()
                },
            )
        };
        // None, another's, one that does not exist, and one that slot 1 has.
        for (pos, buf_idx) in [(2, 0), (4, 14), (5, u32::MAX), (7, 5)] {
            set(pos, buf_idx);
        }
        assert_eq!(buffers.repair(0, 10), 4);
        let all: BTreeSet<_> = indices(&ring).into_iter().collect();
        assert_eq!(all, (4..14).collect());
        for pos in [2, 4, 5, 7] {
            assert_eq!(
                (ring.slot(pos).len, ring.slot(pos).flags),
                (0, NS_BUF_CHANGED)
            );
        }
        assert_eq!(ring.slot(1).buf_idx, 5);
        assert_eq!(buffers.repair(0, 10), 0);
    }

    #[test]
    fn slots_of_the_module_are_left_alone() {
        let (_, ring, buffers, _) = ring();
        let set = |pos, buf_idx| {
            ring.put_slot(
                pos,
                Slot {
                    buf_idx,
                    ..Slot::default()
                },
            )
        };
        set(3, 1);
        set(8, 1);
        assert_eq!(buffers.repair(5, 5), 1);
        assert_eq!((ring.slot(3).buf_idx, ring.slot(8).buf_idx > 1), (1, true));
        assert_eq!(buffers.repair(0, 5), 1);
        let all: BTreeSet<_> = indices(&ring).into_iter().collect();
        assert_eq!(all, (4..14).collect());
    }

    #[test]
    fn a_buffer_that_a_packet_has_is_not_the_ring_s() {
        let (_, ring, buffers, region) = ring();
        let buf = region.buffers.claim(BufIdx(4), ring.owner()).unwrap();
        let given = region.buffers.claim(BufIdx(14), Owner::OUTSIDE).unwrap();
        let idx = region.buffers.release(given, ring.owner());
        ring.put_slot(
            0,
            Slot {
                buf_idx: idx.0,
                ..Slot::default()
            },
        );
        assert_eq!(buffers.repair(0, 10), 0);
        // Somebody writes the packet's index back.
        ring.put_slot(
            9,
            Slot {
                buf_idx: 4,
                ..Slot::default()
            },
        );
        assert_eq!(buffers.repair(0, 10), 1);
        assert_eq!(ring.slot(9).buf_idx, 13);
        assert_eq!(region.buffers.owner(buf.idx()), Some(Owner::PACKET));
        // All but the packet's is the module's again, and the module does not free that.
        ring.put_slot(
            2,
            Slot {
                buf_idx: 4,
                ..Slot::default()
            },
        );
        ring.put_slot(
            20,
            Slot {
                buf_idx: 14,
                ..Slot::default()
            },
        );
        drop(buffers);
        assert_eq!(ring.slot(20).buf_idx, 0);
        assert!(!indices(&ring).contains(&4));
        assert!(region.buffers.owned_by(ring.owner()).is_empty());
        assert_eq!(region.buffers.owner(BufIdx(14)), Some(Owner::OUTSIDE));
    }

    struct Still;

    impl RingSync for Still {
        fn sync(&mut self, _: &mut Ring) -> std::result::Result<(), i32> {
            Ok(())
        }
    }

    #[test]
    fn a_sync_repairs_what_was_released_since_the_last_one() {
        let (other_side, mut ring, buffers, _) = ring();
        let repaired = Arc::default();
        let mut sync = RepairingSync::new(Box::new(Still), buffers, &ring, &repaired);
        sync.pause = 0;
        other_side.set_tail(6);
        sync.sync(&mut ring).unwrap();
        other_side.put_slot(
            1,
            Slot {
                buf_idx: 3,
                ..Slot::default()
            },
        );
        other_side.put_slot(
            8,
            Slot {
                buf_idx: 3,
                ..Slot::default()
            },
        );
        // Passed, with what it names as it is.
        ring.set_head(4);
        sync.pause = 0;
        sync.sync(&mut ring).unwrap();
        assert!(ring.slot(1).buf_idx > 3);
        assert_eq!(ring.slot(8).buf_idx, 3);
        assert_eq!(repaired.load(Ordering::Relaxed), 1);
        assert_eq!(sync.pause, clock::us_to_ticks(PAUSE_AFTER_REPAIR_US));
    }
}
