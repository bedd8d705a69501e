// SPDX-License-Identifier: Apache-2.0
//! Queues that this process gave up, as long as the kernel may still be busy with them.
//!
//! The kernel takes a closed socket off its queue later: when the last frame that it sent is freed, in
//! an RCU callback, from a work queue. Mostly that takes some milliseconds; on a machine that is busy
//! all over, many seconds were seen. Until then
//!
//! - no other socket can be bound to the queue. Whoever wants to is told to come back (`EAGAIN`);
//!   nothing here waits.
//! - with zero copy, the device may still write into buffers that were in the fill ring, and frames
//!   that were to be sent may refer to their buffers, in copy mode too where the driver takes frames
//!   in pieces. So the buffers of such a port stay its own.
#![forbid(unsafe_code)]

use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::bpf::Redirect;
use super::socket::{self, Queue};
use crate::engine::user_region::PortBuffers;

/// How long a queue that this process gave up counts as one.
const MEMORY: Duration = Duration::from_secs(120);
/// Between two attempts to find out whether a queue is free. Each makes a socket, which then has the
/// queue for a moment itself, so there are few.
const PROBE_INTERVAL: Duration = Duration::from_millis(200);

/// A queue, by the number of its interface and its own.
type Id = (u32, u32);

/// Queues that were given up, and when: in the last `MEMORY`.
static RELEASED: Mutex<Vec<(Id, Instant)>> = Mutex::new(Vec::new());

/// Buffers that are to be free when their port's queues are.
static RETIRED: Mutex<Vec<Retired>> = Mutex::new(Vec::new());

struct Retired {
    /// Those that may still be busy.
    queues: Vec<Id>,
    probed: Instant,
    /// Held, as a program without sockets drops what comes.
    _redirect: Arc<Redirect>,
    _buffers: Arc<PortBuffers>,
}

fn id(queue: &Queue) -> Id {
    (queue.ifindex, queue.queue)
}

/// Remembers that a socket of ours on `queue` is closed.
pub(super) fn released(queue: &Queue) {
    let mut list = RELEASED.lock();
    list.retain(|(_, when)| when.elapsed() < MEMORY);
    list.push((id(queue), Instant::now()));
}

/// Whether `queue` is one that this process gave up, and that the kernel may still be busy with.
pub(super) fn was_ours(queue: &Queue) -> bool {
    let list = RELEASED.lock();
    list.iter()
        .any(|(known, when)| *known == id(queue) && when.elapsed() < MEMORY)
}

/// Notes that a socket of ours is on `queue` again, thus the one before is gone.
pub(super) fn taken_again(queue: &Queue) {
    RELEASED.lock().retain(|(known, _)| *known != id(queue));
    let mut list = RETIRED.lock();
    for retired in list.iter_mut() {
        retired.queues.retain(|known| *known != id(queue));
    }
    list.retain(|retired| !retired.queues.is_empty());
}

/// Keeps `buffers` and the program until all of `queues`, whose sockets are closed, are free.
pub(super) fn retire(queues: &[Queue], redirect: Arc<Redirect>, buffers: Arc<PortBuffers>) {
    RETIRED.lock().push(Retired {
        queues: queues.iter().map(id).collect(),
        probed: Instant::now(),
        _redirect: redirect,
        _buffers: buffers,
    });
}

/// Frees what can be freed by now. Returns when to come back, if something is left.
pub fn reap() -> Option<Duration> {
    let mut list = RETIRED.lock();
    for retired in list.iter_mut() {
        if retired.probed.elapsed() >= PROBE_INTERVAL {
            retired.probed = Instant::now();
            let busy = |&(ifindex, queue): &Id| {
                // Not known is not free.
                !socket::is_free(ifindex, queue).unwrap_or(false)
            };
            retired.queues.retain(busy);
        }
    }
    list.retain(|retired| !retired.queues.is_empty());
    (!list.is_empty()).then_some(PROBE_INTERVAL)
}
