#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check-targets.sh TARGET: the library compiles for another system or processor
# without a warning.  Nothing is linked, so no cross compiler is needed; rustup
# adds Rust's own library for the target.
. "$(dirname "$0")/lib.sh"

target=$1
need_rust
if ! [ -d "$(rustc --print sysroot)/lib/rustlib/$target/lib" ]; then
    if ! command -v rustup >/dev/null; then
        echo "skipped: no Rust library for $target, and no rustup to add it"
        exit 77
    fi
    rustup target add "$target" || {
        echo "skipped: rustup cannot add the target $target here"
        exit 77
    }
fi
cd "$ROOT"
cargo clippy --lib --target "$target" -- -D warnings
