#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# fuzz.sh [SECONDS [TARGET...]]: runs each fuzz target for SECONDS (default 10)
# with libFuzzer and AddressSanitizer, starting from the seeds in fuzz/corpus/
# and from what earlier runs found, in build/fuzz/corpus/.  Needs a nightly
# Rust and a C++ compiler; cargo-fuzz is not needed, but runs these targets too.
#
# An input that breaks a target is left in build/fuzz/; to run it again:
#   build/fuzz/target/HOST/release/TARGET build/fuzz/TARGET-crash-...
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/nightly.sh"

seconds=${1:-10}
shift || true
cd "$ROOT/fuzz"
targets=("$@")
[ $# -gt 0 ] || targets=(port_name config hostile)

use_nightly
command -v c++ >/dev/null || skip "libFuzzer is built from source, which needs a C++ compiler (Debian: g++)"

# What cargo-fuzz passes: coverage for libFuzzer, and the sanitizer.  As there
# is a --target, build scripts are compiled without.
flags=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4
       -Cllvm-args=-sanitizer-coverage-inline-8bit-counters
       -Cllvm-args=-sanitizer-coverage-pc-table -Cllvm-args=-sanitizer-coverage-trace-compares
       -Ccodegen-units=1 -Zsanitizer=address)
export RUSTFLAGS="${RUSTFLAGS:-} ${flags[*]}"
export CARGO_TARGET_DIR=$BUILD/fuzz/target
cargo build --release --locked --target "$HOST" --bins

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
    if ! "$CARGO_TARGET_DIR/$HOST/release/$target" $(options "$target") -max_total_time="$seconds" \
        -timeout=20 -rss_limit_mb=2048 -print_final_stats=1 \
        -artifact_prefix="$BUILD/fuzz/$target-" "$found" "corpus/$target" >"$log" 2>&1; then
        tail -n 60 "$log" >&2
        die "$target: see $log"
    fi
    sed -n 's/^stat::number_of_executed_units: *\(.*\)/    \1 inputs, nothing found/p' "$log"
done
