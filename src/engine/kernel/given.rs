// SPDX-License-Identifier: Apache-2.0
//! A sync that remembers up to where its ring was given away: what lies between there and the head is about to
//! be, and nobody but this thread uses it yet.

use crate::engine::RingSync;
use crate::ring::Ring;

/// A sync, and what it gave away.
pub struct GivenAway {
    sync: Box<dyn RingSync>,
    /// First slot that was not given away with the last sync.
    pub end: u32,
}

impl GivenAway {
    /// `sync` of `ring`, of which nothing before its head is ours.
    pub fn new(sync: Box<dyn RingSync>, ring: &Ring) -> GivenAway {
        GivenAway {
            sync,
            end: ring.checked_window().map_or(0, |(head, _)| head),
        }
    }
}

impl RingSync for GivenAway {
    #[inline]
    fn sync(&mut self, ring: &mut Ring) -> std::result::Result<(), i32> {
        let result = self.sync.sync(ring);
        if let Ok((head, _)) = ring.checked_window() {
            self.end = head;
        }
        result
    }
}
