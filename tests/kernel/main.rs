// SPDX-License-Identifier: Apache-2.0
//! Engine `kernel` against the real module. Without /dev/netmap every test says so and passes.
//!
//! `make check-kernel NETMAP_KO=...` runs these in a VM.
#![allow(unsafe_code)]

mod buffers;
mod interfaces;
mod processes;
mod support;
mod vale;
