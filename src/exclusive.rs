// SPDX-License-Identifier: Apache-2.0
//! A value that one thread at a time uses, by OVS's promise, and by a lock only where OVS makes none.
//!
//! OVS polls a receive queue from one thread, and says with each send whether other threads send on
//! the same queue (`concurrent_txq`). A mutex on every burst would pay for a conflict that cannot be.

use std::cell::UnsafeCell;

use parking_lot::Mutex;

/// A value behind that promise. On cache lines of its own (two, as processors fetch them in pairs):
/// its neighbour is another thread's.
#[repr(align(128))]
pub struct Exclusive<T> {
    value: UnsafeCell<T>,
    lock: Mutex<()>,
}

// SAFETY: the value is only reached by `assume_unshared`, `with_lock` and the pointer of `as_ptr`, whose
// users promise that no two threads use it at once; between threads it moves, hence `T: Send`.
#[allow(unsafe_code)]
unsafe impl<T: Send> Sync for Exclusive<T> {}

impl<T> Exclusive<T> {
    /// Wraps `value`.
    pub fn new(value: T) -> Exclusive<T> {
        Exclusive {
            value: UnsafeCell::new(value),
            lock: Mutex::new(()),
        }
    }

    /// The value, for whoever keeps the promise by other means: C code, which has it as a handle.
    pub fn as_ptr(&self) -> *mut T {
        self.value.get()
    }

    /// Uses the value without a lock.
    ///
    /// # Safety
    ///
    /// No other thread is in `assume_unshared` or `with_lock` of this value, and `work` does not come back here.
    #[inline]
    #[allow(unsafe_code)]
    pub unsafe fn assume_unshared<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        // SAFETY: the caller promises to be alone.
        work(unsafe { &mut *self.value.get() })
    }

    /// Uses the value under its lock.
    ///
    /// # Safety
    ///
    /// No other thread is in `assume_unshared` of this value, and `work` does not come back here.
    #[inline]
    #[allow(unsafe_code)]
    pub unsafe fn with_lock<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let _held = self.lock.lock();
        // SAFETY: the lock keeps the others in `with_lock` out, the caller promises the rest.
        work(unsafe { &mut *self.value.get() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_share_no_cache_line() {
        let queues = [Exclusive::new(0_u8), Exclusive::new(0)];
        let at = queues.each_ref().map(|queue| queue.value.get() as usize);
        assert_ne!(at[0] / 128, at[1] / 128);
    }
}
