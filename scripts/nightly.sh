# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# For scripts that need a nightly compiler: the sanitizers are not in stable
# Rust.  To be sourced after lib.sh, not run.  Nothing is installed.

# skip REASON: ends the script with the exit status that says "skipped" to
# automake, autotest and check.sh.
skip() {
    echo "skipped: $*"
    exit 77
}

# use_nightly: makes cargo and rustc a nightly one, and HOST its target.
use_nightly() {
    need_rust
    export RUSTUP_AUTO_INSTALL=0
    if [[ $(RUSTUP_TOOLCHAIN=nightly rustc --version 2>/dev/null) == *nightly* ]]; then
        export RUSTUP_TOOLCHAIN=nightly
    elif [[ $(rustc --version) != *nightly* ]]; then
        skip "this needs a nightly Rust; for instance: rustup toolchain install nightly --profile minimal"
    fi
    # shellcheck disable=SC2034  # for the scripts that source this
    HOST=$(rustc -vV | sed -n 's/^host: //p')
    export RUST_BACKTRACE=1
}
