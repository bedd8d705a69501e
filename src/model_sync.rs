// SPDX-License-Identifier: Apache-2.0
//! What the threads of a pool meet at: `parking_lot`'s lock, the table of who holds a buffer, and std's
//! thread-local storage.
//!
//! With `--cfg shuttle` they are those of [shuttle](https://docs.rs/shuttle), which runs the models
//! in `tests/models.rs` through many interleavings of their threads, and can repeat one that fails.
//! Otherwise this module is names only.
#![forbid(unsafe_code)]

#[cfg(not(shuttle))]
pub use parking_lot::Mutex;
#[cfg(not(shuttle))]
pub use std::sync::atomic::AtomicU16;
#[cfg(not(shuttle))]
pub use std::thread_local;

/// A static. In a model each run has a new one.
#[cfg(not(shuttle))]
macro_rules! per_run {
    ($(#[$attr:meta])* static $name:ident: $type:ty = $init:expr;) => {
        $(#[$attr])*
        static $name: $type = $init;
    };
}

#[cfg(shuttle)]
macro_rules! per_run {
    ($(#[$attr:meta])* static $name:ident: $type:ty = $init:expr;) => {
        shuttle::lazy_static! {
            $(#[$attr])*
            static ref $name: $type = $init;
        }
    };
}

pub(crate) use per_run;
#[cfg(shuttle)]
pub use {model::Mutex, shuttle::sync::atomic::AtomicU16, shuttle::thread_local};

#[cfg(shuttle)]
mod model {
    use std::sync::PoisonError;

    use shuttle::sync::MutexGuard;

    /// shuttle's lock as `parking_lot`'s has it: a panic does not poison it.
    #[derive(Default)]
    pub struct Mutex<T>(shuttle::sync::Mutex<T>);

    impl<T> Mutex<T> {
        /// Wraps `value`.
        pub const fn new(value: T) -> Mutex<T> {
            Mutex(shuttle::sync::Mutex::new(value))
        }

        /// Waits for the lock.
        pub fn lock(&self) -> MutexGuard<'_, T> {
            self.0.lock().unwrap_or_else(PoisonError::into_inner)
        }
    }
}
