#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Cargo.toml's rust-version is true: the oldest Rust that it promises compiles
# the library.  rustup installs that one.
. "$(dirname "$0")/lib.sh"

need_rust
cd "$ROOT"
version=$(sed -n 's/^rust-version *= *"\(.*\)"/\1/p' Cargo.toml)
skip() {
    echo "skipped: Rust $version: $1"
    exit 77
}
command -v rustup >/dev/null || skip "there is no rustup to install it with"
rustup run "$version" cargo --version >/dev/null 2>&1 ||
    rustup toolchain install "$version" --profile minimal ||
    skip "rustup cannot install it"
CARGO_TARGET_DIR=$BUILD/rust-version rustup run "$version" cargo check --lib
