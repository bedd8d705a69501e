// SPDX-License-Identifier: Apache-2.0
//! The engine that users know as `memory`: ports whose other side is this process.
//!
//! `netmap:x{1` and `netmap:x}1` are the ends of a pipe ([`pipe`]); `null:N` is an endless source and
//! sink ([`null`]). Their rings and buffers have netmap's layout, and the syncs here play the
//! kernel's part, so everything above runs on them as on the real thing.
#![forbid(unsafe_code)]

mod null;
mod pipe;

use super::{OpenRequest, Opened};
use crate::error::{Error, Result};
use crate::name::PortKind;

/// Opens a pipe end or a null port.
pub fn open(request: &OpenRequest<'_>) -> Result<Opened> {
    if let Some(region) = request.name.region() {
        return Err(Error::new(
            libc::EOPNOTSUPP,
            format!(
                "{}: only netmap's kernel module has numbered memory regions; leave \"@{region}\" out",
                request.name
            ),
        ));
    }
    match request.name.kind() {
        PortKind::Pipe { base, id, role } => pipe::open(request, &format!("{base}/{id}"), *role),
        PortKind::Null { .. } => null::open(request),
        _ => Err(Error::new(
            libc::EOPNOTSUPP,
            format!("{}: neither a pipe nor a null port", request.name),
        )),
    }
}
