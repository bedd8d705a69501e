// SPDX-License-Identifier: Apache-2.0
//! The caches of the calling thread, one for each pool that it polls.
//!
//! Only the thread itself touches them. They go back to the depots when the thread ends, and when
//! OVS is about to change what the thread polls ([`flush`]), so that no packet waits in a cache that
//! nobody uses any more.

use std::cell::RefCell;

use super::depot::Cache;
use super::{MAX_POOLS, Pool};
use crate::model_sync::thread_local;

/// One thread's caches, by the slot of their pool.
struct Caches([Option<Cache>; MAX_POOLS]);

thread_local! {
    static CACHES: RefCell<Caches> = const { RefCell::new(Caches([const { None }; MAX_POOLS])) };
}

impl Caches {
    fn flush(&mut self) {
        for (slot, cache) in self.0.iter_mut().enumerate() {
            if cache.take().is_some() {
                super::retire_slot(slot);
            }
        }
    }
}

impl Drop for Caches {
    fn drop(&mut self) {
        self.flush();
    }
}

/// Runs `work` with the calling thread's cache of the pool `id` in `slot`, if it has one.
#[inline]
pub fn with_thread<R>(slot: usize, id: u64, work: impl FnOnce(Option<&mut Cache>) -> R) -> R {
    // A thread that is ending has no caches any more.
    let mut work = Some(work);
    let result = CACHES.try_with(|caches| {
        let work = work.take()?;
        let mut caches = caches.borrow_mut();
        let cache = caches.0.get_mut(slot).and_then(Option::as_mut);
        Some(work(cache.filter(|cache| cache.pool_id() == id)))
    });
    match (result, work) {
        (Ok(Some(result)), _) => result,
        (_, Some(work)) => work(None),
        (_, None) => unreachable!("work was either run or kept"),
    }
}

/// Gives the calling thread a cache of `pool`.
pub fn attach(pool: &Pool) {
    let attached = CACHES.try_with(|caches| {
        let cache = &mut caches.borrow_mut().0[pool.slot];
        if cache.as_ref().is_none_or(|c| c.pool_id() != pool.id) {
            // What was there belonged to a pool that is gone: it was empty.
            *cache = Some(Cache::new(pool.id, pool.slot, &pool.depot));
        }
    });
    if attached.is_err() {
        log::debug!("a thread that is ending asked for a packet cache");
    }
}

/// Gives all packets of the calling thread back to their depots.
pub fn flush() {
    // On a thread that is ending they went back already.
    let _ended = CACHES.try_with(|caches| caches.borrow_mut().flush());
}
