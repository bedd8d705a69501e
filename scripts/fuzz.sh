#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# fuzz.sh [SECONDS [TARGET...]]: runs each fuzz target for SECONDS (default 10)
# by cargo-fuzz, with AddressSanitizer, starting from the seeds in fuzz/corpus/
# and from what earlier runs found, in build/fuzz/corpus/.  Needs a nightly
# Rust and a C++ compiler; cargo-fuzz is installed into build/tools/ if it is
# missing.
#
# An input that breaks a target is left in build/fuzz/; to run it again:
#   cargo +nightly fuzz run TARGET build/fuzz/TARGET-crash-...
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/nightly.sh"

seconds=${1:-10}
shift || true
cd "$ROOT/fuzz"
targets=("$@")
[ $# -gt 0 ] || targets=(port_name config hostile)

use_nightly
command -v c++ >/dev/null || skip "libFuzzer is built from source, which needs a C++ compiler (Debian: g++)"

if ! command -v cargo-fuzz >/dev/null; then
    PATH=$PATH:$BUILD/tools/bin
    [ -x "$BUILD/tools/bin/cargo-fuzz" ] ||
        # By a stable Rust: some of its dependencies take a nightly one for an older nightly one.
        long cargo-fuzz "cargo-fuzz: cargo install" env -u RUSTUP_TOOLCHAIN \
            cargo install cargo-fuzz@0.13.1 --locked --root "$BUILD/tools"
fi

# options TARGET: what suits its input.
options() {
    case $1 in
    hostile) echo -max_len=256 -len_control=0 ;;
    *) echo -max_len=256 ;;
    esac
}

for target in "${targets[@]}"; do
    found=$BUILD/fuzz/corpus/$target
    log=$BUILD/fuzz/$target.log
    mkdir -p "$found"
    say "fuzz $target: $seconds s"
    # shellcheck disable=SC2046  # several words
    if ! cargo fuzz run --fuzz-dir . --target "$HOST" --target-dir "$BUILD/fuzz/target" \
        "$target" "$found" "corpus/$target" -- $(options "$target") -max_total_time="$seconds" \
        -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$BUILD/fuzz/$target-" >"$log" 2>&1; then
        tail -n 60 "$log" >&2
        die "$target: see $log"
    fi
    sed -n 's/^stat::number_of_executed_units: *\(.*\)/    \1 inputs, nothing found/p' "$log"
done
