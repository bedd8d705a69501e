// SPDX-License-Identifier: Apache-2.0
//! Strings to C and from it.

use std::ffi::{CStr, CString, c_char, c_int};

use crate::error::Result;

/// A C string as UTF-8, bad bytes replaced; `None` for NULL.
///
/// # Safety
///
/// `text` is NULL or a NUL-terminated string that lives as long as the result is used.
pub(super) unsafe fn text(text: *const c_char) -> Option<String> {
    if text.is_null() {
        return None;
    }
    // SAFETY: the caller's promise.
    Some(
        unsafe { CStr::from_ptr(text) }
            .to_string_lossy()
            .into_owned(),
    )
}

/// `text` for C; what follows a NUL inside is cut.
pub(super) fn c_string(text: &str) -> CString {
    let end = text.find('\0').unwrap_or(text.len());
    CString::new(&text[..end]).unwrap_or_default()
}

/// Copies `text` to `to`, cut at `size` bytes with the final NUL.
///
/// # Safety
///
/// `to` has room for `size` bytes, or `size` is 0.
pub(super) unsafe fn put_text(text: &str, to: *mut c_char, size: usize) {
    let Some(room) = size.checked_sub(1).filter(|_| !to.is_null()) else {
        return;
    };
    let text = c_string(text);
    let n = text.as_bytes().len().min(room);
    // SAFETY: `n + 1 <= size` bytes fit by the caller's promise.
    unsafe {
        std::ptr::copy_nonoverlapping(text.as_ptr(), to, n);
        *to.add(n) = 0;
    }
}

/// 0, or the errno of the error, whose message is copied to `to`.
///
/// # Safety
///
/// As for `put_text`.
pub(super) unsafe fn put_error(result: Result<()>, to: *mut c_char, size: usize) -> c_int {
    let Err(error) = result else {
        return 0;
    };
    // SAFETY: passed on with the same promise.
    unsafe { put_text(&error.to_string(), to, size) };
    error.errno()
}
