#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The models of what threads do to a pool at the same time (tests/models.rs),
# run by shuttle: the smaller ones through all interleavings of their threads,
# the others through MODEL_RUNS random ones.  When one fails, shuttle prints
# how to replay it.
. "$(dirname "$0")/lib.sh"

need_rust
cd "$ROOT"
# With a directory of its own, as the other flags mean other objects; with a
# little optimisation, which it earns back many times.
export CARGO_TARGET_DIR=$BUILD/models CARGO_PROFILE_DEV_OPT_LEVEL=1 CARGO_PROFILE_DEV_DEBUG=line-tables-only
export RUSTFLAGS="${RUSTFLAGS:-} --cfg shuttle"
cargo test --test models -- --nocapture "$@"
