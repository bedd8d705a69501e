// SPDX-License-Identifier: Apache-2.0
//! What each exported function runs in, and how results and errors become C's.

use std::ffi::c_int;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::error::{Error, Result};
use crate::port::Port;

/// Runs `body`; if it panics, logs that and returns `otherwise`.
#[inline]
pub(super) fn guard<R>(otherwise: R, body: impl FnOnce() -> R) -> R {
    catch_unwind(AssertUnwindSafe(body)).unwrap_or_else(|_| {
        // Logging may be what panicked.
        let _again = catch_unwind(|| log::error!("a bug in libovs_netmap: a call was abandoned"));
        otherwise
    })
}

/// What a call that can say why it failed returns after a panic.
pub(super) fn bug() -> Error {
    Error::new(libc::EINVAL, "a bug in libovs_netmap: see the log")
}

/// Runs `body` on an open port; `otherwise` for NULL.
///
/// # Safety
///
/// `port` is NULL or open.
#[inline]
pub(super) unsafe fn with_port<R: Copy>(
    port: *const Port,
    otherwise: R,
    body: impl FnOnce(&Port) -> R,
) -> R {
    guard(otherwise, || {
        // SAFETY: NULL or open by the caller's promise.
        unsafe { port.as_ref() }.map_or(otherwise, body)
    })
}

/// 0, or the errno of the error, which is logged.
pub(super) fn status(result: Result<()>) -> c_int {
    match result {
        Ok(()) => 0,
        Err(error) => {
            log::warn!("{error}");
            error.errno()
        }
    }
}

/// Writes `value` to `to` and returns 0; EINVAL for NULL.
///
/// # Safety
///
/// `to` is NULL or writable.
pub(super) unsafe fn put<T>(to: *mut T, value: T) -> c_int {
    if to.is_null() {
        return libc::EINVAL;
    }
    // SAFETY: writable by the caller's promise.
    unsafe { to.write(value) };
    0
}
