// SPDX-License-Identifier: Apache-2.0
//! Which buffers are a ring's own, and rings that somebody else has written into.
//!
//! A port's rings lie in memory that other processes may map. A slot whose index was overwritten names
//! a buffer that is a packet, another ring's, or none; frames there are lost, and what it named before is
//! in no slot any more. So each ring has a number, and its buffers bear it in the region's table. Just
//! before a sync, the thread that has the ring looks at the slots that it gives away, and now and then at
//! all. Those with a foreign index, or one that another slot has, too, get the ring's buffers that are in no
//! slot.
//!
//! The rings of pipes have no numbers: the module exchanges their buffers with those of the other end.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use netmap_sys::netmap::NS_BUF_CHANGED;

use super::given::GivenAway;
use super::region::KernelRegion;
use crate::clock;
use crate::engine::{HEADROOM, RingSync};
use crate::index::{BufIdx, Owner};
use crate::logger::RateLimit;
use crate::ring::{Ring, Slot};

/// Microseconds between two looks at a whole ring, and at least, while a bad slot finds no buffer.
const PAUSE_US: u64 = 1_000_000;
const PAUSE_FOR_STRAYS_US: u64 = 10_000;

static REPAIRED: RateLimit = RateLimit::new(1, 1);

/// The buffers of one ring. When this goes, they are the module's again.
pub struct RingBuffers {
    region: KernelRegion,
    /// A second handle on the ring.
    ring: Ring,
    owner: Owner,
    /// How many there are: a buffer is only ever exchanged for another one.
    n_bufs: u32,
}

impl RingBuffers {
    /// Those in the slots of `ring`, which gets a number of its own. `None` if there are no more.
    pub fn of(region: &KernelRegion, ring: &mut Ring) -> Option<RingBuffers> {
        let owner = Owner(region.mapping.free_owners.lock().pop()?);
        let mut n_bufs = 0;
        for pos in 0..ring.num_slots() {
            let idx = BufIdx(ring.slot(pos).buf_idx);
            if region.buffers.is_held_by(idx, Owner::OUTSIDE) {
                region.buffers.set_owner(idx, owner);
                n_bufs += 1;
            }
        }
        ring.set_owner(owner);
        Some(RingBuffers {
            region: region.clone(),
            ring: ring.other_side(),
            owner,
            n_bufs,
        })
    }

    /// Looks at all slots.
    fn look(&self) -> Found {
        let (region, n) = (&self.region.buffers, self.ring.num_slots());
        let mut bad = vec![false; n as usize];
        let mut good = Vec::with_capacity(n as usize);
        for pos in 0..n {
            let idx = BufIdx(self.ring.slot(pos).buf_idx);
            match region.is_held_by(idx, self.owner) {
                true => good.push((idx, pos)),
                false => bad[pos as usize] = true,
            }
        }
        good.sort_unstable();
        for pair in good.windows(2) {
            if pair[0].0 == pair[1].0 {
                bad[pair[1].1 as usize] = true;
            }
        }
        // As many buffers as slots, so that without a bad slot no buffer is elsewhere.
        let mut strays = Vec::new();
        if bad.contains(&true) {
            strays = region.owned_by(self.owner);
            strays.retain(|&idx| good.binary_search_by_key(&idx, |&(idx, _)| idx).is_err());
        }
        Found { bad, strays }
    }

    /// Whether the slot at `pos` names a buffer of the ring.
    #[inline]
    fn is_good(&self, pos: u32) -> bool {
        let idx = BufIdx(self.ring.slot(pos).buf_idx);
        self.region.buffers.is_held_by(idx, self.owner)
    }

    /// Gives the slot at `pos` one of `strays`. False if there is none left.
    #[cold]
    fn repair(&self, pos: u32, strays: &mut Vec<BufIdx>) -> bool {
        let ring = &self.ring;
        while let Some(idx) = strays.pop() {
            // It may be a packet's since, if somebody wrote it into a slot.
            if self.region.buffers.is_held_by(idx, self.owner) {
                let slot = Slot {
                    buf_idx: idx.0,
                    // Whatever the frame was, it is not in this buffer.
                    len: 0,
                    flags: NS_BUF_CHANGED,
                    ptr: ring.with_offset(ring.slot(pos).ptr, HEADROOM.min(ring.max_offset())),
                };
                ring.put_slot(pos, slot);
                return true;
            }
        }
        false
    }
}

/// What a look at a ring has found.
#[derive(Default)]
struct Found {
    /// By slot: whether it names a foreign buffer, or one that a slot before has.
    bad: Vec<bool>,
    /// Buffers of the ring that are in no slot.
    strays: Vec<BufIdx>,
}

impl Drop for RingBuffers {
    fn drop(&mut self) {
        // The module is about to free what the slots name. It must not free a packet's buffer, or one
        // twice; 0 it leaves alone.
        let Found { bad, mut strays } = self.look();
        for pos in (0..self.ring.num_slots()).filter(|&pos| bad[pos as usize]) {
            if !self.repair(pos, &mut strays) {
                let slot = self.ring.slot(pos);
                self.ring.put_slot(pos, Slot { buf_idx: 0, ..slot });
            }
        }
        let region = &self.region.buffers;
        let mut left = self.n_bufs;
        for pos in 0..self.ring.num_slots() {
            let idx = BufIdx(self.ring.slot(pos).buf_idx);
            if region.is_held_by(idx, self.owner) {
                region.set_owner(idx, Owner::OUTSIDE);
                left -= 1;
            }
        }
        // Those are all, unless somebody wrote into the slots. The number is about to be another ring's.
        if left > 0 {
            for idx in region.owned_by(self.owner) {
                region.set_owner(idx, Owner::OUTSIDE);
            }
        }
        self.region.mapping.free_owners.lock().push(self.owner.0);
    }
}

/// A sync that looks after its ring.
pub struct RepairingSync {
    sync: GivenAway,
    buffers: RingBuffers,
    found: Found,
    looked_at: u64,
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
            sync: GivenAway::new(sync, ring),
            buffers,
            found: Found::default(),
            looked_at: clock::rdtsc(),
            repaired: Arc::clone(repaired),
        }
    }

    /// Looks after the slots that are given away with this sync: until then nobody but this thread uses
    /// them.
    #[inline]
    fn look_after(&mut self, ring: &Ring) {
        let now = clock::rdtsc();
        let Ok((head, tail)) = ring.checked_window() else {
            // The sync sets that right.
            return;
        };
        if now.wrapping_sub(self.looked_at) >= clock::us_to_ticks(PAUSE_US) {
            self.look(now);
            self.repair_ours(ring, tail, now);
        }
        while self.sync.end != head {
            let pos = self.sync.end;
            let known = self.found.bad.get(pos as usize) == Some(&true);
            if known || !self.buffers.is_good(pos) {
                self.repair(pos, now);
            }
            self.sync.end = ring.advance(pos, 1);
        }
    }

    /// Repairs all slots that are this side's: most of a transmit ring.
    #[cold]
    fn repair_ours(&mut self, ring: &Ring, tail: u32, now: u64) {
        let mut pos = self.sync.end;
        while pos != tail {
            if self.found.bad.get(pos as usize) == Some(&true) {
                self.repair(pos, now);
            }
            pos = ring.advance(pos, 1);
        }
    }

    #[cold]
    fn look(&mut self, now: u64) {
        self.looked_at = now;
        self.found = self.buffers.look();
    }

    #[cold]
    fn repair(&mut self, pos: u32, now: u64) {
        let pause = clock::us_to_ticks(PAUSE_FOR_STRAYS_US);
        if self.found.strays.is_empty() && now.wrapping_sub(self.looked_at) >= pause {
            self.look(now);
        }
        if !self.buffers.repair(pos, &mut self.found.strays) {
            return;
        }
        if let Some(bad) = self.found.bad.get_mut(pos as usize) {
            *bad = false;
        }
        self.repaired.fetch_add(1, Ordering::Relaxed);
        REPAIRED.log(
            log::Level::Warn,
            format_args!(
                "a slot of a netmap ring named a buffer that is not the ring's, and has one again: \
                 another process that maps the region writes there, and frames of the port are lost or \
                 garbled meanwhile (see \"repaired_slots\" in netmap/show)"
            ),
        );
    }
}

impl RingSync for RepairingSync {
    fn sync(&mut self, ring: &mut Ring) -> std::result::Result<(), i32> {
        self.look_after(ring);
        self.sync.sync(ring)
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
            write(&ring, pos, 4 + pos);
        }
        let buffers = RingBuffers::of(port.region(), &mut ring).unwrap();
        (ring.other_side(), ring, buffers, port.region().clone())
    }

    /// Writes a frame in buffer `buf_idx` into the slot at `pos`.
    fn write(ring: &Ring, pos: u32, buf_idx: u32) {
        ring.put_slot(
            pos,
            Slot {
                buf_idx,
                len: 60,
                ..Slot::default()
            },
        );
    }

    fn indices(ring: &Ring) -> Vec<u32> {
        (0..10).map(|pos| ring.slot(pos).buf_idx).collect()
    }

    /// Repairs the slots from `first` on as far as a sync would. Returns how many.
    fn repair(buffers: &RingBuffers, first: u32, n: u32) -> usize {
        let mut found = buffers.look();
        let bad = (first..first + n).filter(|&pos| found.bad[pos as usize]);
        bad.filter(|&pos| buffers.repair(pos, &mut found.strays))
            .count()
    }

    #[test]
    fn foreign_and_double_indices_are_replaced() {
        let (_, ring, buffers, _) = ring();
        // None, another's, one that does not exist, and one that slot 1 has.
        for (pos, buf_idx) in [(2, 0), (4, 14), (5, u32::MAX), (7, 5)] {
            write(&ring, pos, buf_idx);
        }
        assert_eq!(repair(&buffers, 0, 10), 4);
        let all: BTreeSet<_> = indices(&ring).into_iter().collect();
        assert_eq!(all, (4..14).collect());
        for pos in [2, 4, 5, 7] {
            assert_eq!(
                (ring.slot(pos).len, ring.slot(pos).flags),
                (0, NS_BUF_CHANGED)
            );
        }
        assert_eq!(ring.slot(1).buf_idx, 5);
        assert_eq!(repair(&buffers, 0, 10), 0);
    }

    #[test]
    fn slots_of_the_module_are_left_alone() {
        let (_, ring, buffers, _) = ring();
        write(&ring, 3, 1);
        write(&ring, 8, 1);
        assert_eq!(repair(&buffers, 5, 5), 1);
        assert_eq!((ring.slot(3).buf_idx, ring.slot(8).buf_idx > 1), (1, true));
        assert_eq!(repair(&buffers, 0, 5), 1);
        let all: BTreeSet<_> = indices(&ring).into_iter().collect();
        assert_eq!(all, (4..14).collect());
    }

    #[test]
    fn a_buffer_that_a_packet_has_is_not_the_ring_s() {
        let (_, ring, buffers, region) = ring();
        let buf = region.buffers.claim(BufIdx(4), ring.owner()).unwrap();
        let given = region.buffers.claim(BufIdx(14), Owner::OUTSIDE).unwrap();
        let idx = region.buffers.release(given, ring.owner());
        write(&ring, 0, idx.0);
        assert_eq!(repair(&buffers, 0, 10), 0);
        // Somebody writes the packet's index back.
        write(&ring, 9, 4);
        assert_eq!(repair(&buffers, 0, 10), 1);
        assert_eq!(ring.slot(9).buf_idx, 13);
        assert_eq!(region.buffers.owner(buf.idx()), Some(Owner::PACKET));
        // All but the packet's is the module's again, and the module does not free that.
        write(&ring, 2, 4);
        write(&ring, 20, 14);
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
    fn each_sync_repairs_what_is_given_away() {
        let (other_side, mut ring, buffers, _) = ring();
        let repaired = Arc::default();
        let mut sync = RepairingSync::new(Box::new(Still), buffers, &ring, &repaired);
        other_side.set_tail(9);
        let sync_at = |sync: &mut RepairingSync, ring: &mut Ring, head| {
            ring.set_head(head);
            sync.sync(ring).unwrap();
            repaired.load(Ordering::Relaxed)
        };
        // As if the last look, which found strays, was just now.
        let long_ago = clock::rdtsc().wrapping_sub(clock::us_to_ticks(PAUSE_FOR_STRAYS_US));
        for (pos, buf_idx) in [(1, 3), (4, 3), (8, 3)] {
            write(&other_side, pos, buf_idx);
        }
        sync.looked_at = long_ago;
        assert_eq!(sync_at(&mut sync, &mut ring, 1), 0);
        assert_eq!(sync_at(&mut sync, &mut ring, 3), 1);
        assert_eq!(sync_at(&mut sync, &mut ring, 4), 1);
        assert_eq!(sync_at(&mut sync, &mut ring, 5), 2);
        assert_eq!((ring.slot(0).buf_idx, ring.slot(8).buf_idx), (4, 3));
    }

    #[test]
    fn a_look_repairs_all_that_is_ours() {
        let (other_side, mut ring, buffers, _) = ring();
        let repaired = Arc::default();
        let mut sync = RepairingSync::new(Box::new(Still), buffers, &ring, &repaired);
        other_side.set_tail(8);
        // Foreign ones, and one that slot 0 has, too; the last one is the module's.
        for (pos, buf_idx) in [(1, 3), (4, 3), (6, 4), (9, 3)] {
            write(&other_side, pos, buf_idx);
        }
        sync.looked_at = clock::rdtsc().wrapping_sub(clock::us_to_ticks(PAUSE_US));
        sync.sync(&mut ring).unwrap();
        assert_eq!(repaired.load(Ordering::Relaxed), 3);
        assert_eq!((ring.slot(0).buf_idx, ring.slot(9).buf_idx), (4, 3));
        let all: BTreeSet<_> = indices(&ring).into_iter().collect();
        assert_eq!(all.len(), 10);
    }

    /// A slot that finds no buffer waits for the next look.
    #[test]
    fn a_slot_without_a_buffer_gets_one_later() {
        let (other_side, mut ring, buffers, _) = ring();
        let repaired = Arc::default();
        let mut sync = RepairingSync::new(Box::new(Still), buffers, &ring, &repaired);
        other_side.set_tail(9);
        write(&other_side, 0, 3);
        sync.looked_at = clock::rdtsc();
        ring.set_head(1);
        sync.sync(&mut ring).unwrap();
        let soon = repaired.load(Ordering::Relaxed);
        // Round the ring, to the same slot.
        other_side.set_tail(3);
        ring.set_head(2);
        sync.looked_at = clock::rdtsc().wrapping_sub(clock::us_to_ticks(PAUSE_US));
        sync.sync.end = 0;
        sync.sync(&mut ring).unwrap();
        assert_eq!(repaired.load(Ordering::Relaxed), 1);
        assert!(soon <= 1);
        assert_eq!(ring.slot(0).buf_idx, 4);
    }
}
