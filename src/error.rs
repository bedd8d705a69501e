// SPDX-License-Identifier: Apache-2.0
//! One error type: an errno for C, and a sentence for the log and for `ovs-vsctl`'s error column.

use std::fmt;

/// What went wrong, as a positive errno and a message that names the input and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    errno: i32,
    message: String,
}

/// Result of everything in this crate that can fail.
pub type Result<T> = std::result::Result<T, Error>;

impl Error {
    /// An error with `errno` (positive, as in `libc::EINVAL`) and `message`.
    pub fn new(errno: i32, message: impl Into<String>) -> Error {
        Error {
            errno,
            message: message.into(),
        }
    }

    /// The last error of the operating system, as `context: its own text`.
    pub fn last_os(context: impl fmt::Display) -> Error {
        Error::from_io(context, &std::io::Error::last_os_error())
    }

    /// An I/O error, as `context: its own text`.
    pub fn from_io(context: impl fmt::Display, error: &std::io::Error) -> Error {
        let errno = error.raw_os_error().unwrap_or(libc::EIO);
        Error::new(errno, format!("{context}: {error}"))
    }

    /// The same error with `context: ` in front of its message.
    pub fn context(self, context: impl fmt::Display) -> Error {
        Error::new(self.errno, format!("{context}: {}", self.message))
    }

    /// The positive errno.
    pub fn errno(&self) -> i32 {
        self.errno
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
