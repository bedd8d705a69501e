// SPDX-License-Identifier: Apache-2.0
//! The C interface, the only place where raw pointers from C become Rust values. One file a noun.
//!
//! Each function is a null check, a call, and a mapping of the result. Each runs in `guard`, so that no
//! panic unwinds into C.
//!
//! The header is made of what is documented here, by the build script. A function has a summary and
//! the sections Parameters, Returns, Ownership, Threads (main, any or queue) and Safety; arguments are
//! the object, inputs, outputs. A new function also goes into `src/ovs_netmap.map`, and what changes the
//! interface into its record (`scripts/abi_record.py`) and CHANGELOG.md.
#![allow(unsafe_code)]

mod abi;
mod guard;
mod text;
mod types;

// In the header's order.
mod host;
mod init;

mod follower;
mod packet;
mod port;
mod queue;

mod clock;
mod limits;
mod link;
mod show;

#[cfg(test)]
mod tests;
