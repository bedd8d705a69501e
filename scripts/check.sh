#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The whole test suite, from formatting to Open vSwitch's system tests.  Goes on
# after a failure, so that one run shows all there is to see; what depends on a
# failed step is skipped.  The last line is "N passed, N failed, N skipped",
# where each test of cargo's and of OVS's counts, and each other step counts
# as one.
#
# Open vSwitch is built and tested in each release that ovs-patch/releases
# names, or in the one that OVS= or OVS_DIR= names.
asked=${OVS:-}
. "$(dirname "$0")/lib.sh"

passed=0 failed=0 skipped=0
# shellcheck disable=SC2016  # expanded when the script ends
on_exit 'rm -rf "$snapshot"'
snapshot=$(mktemp -d)
cd "$ROOT"

ok() {
    passed=$((passed + 1))
}
failure() {
    failed=$((failed + 1))
    echo "FAILED: $*" >&2
}
skip() {
    skipped=$((skipped + 1))
    echo "skipped: $*"
}

# step NAME TEXT COMMAND...: one step that passes or fails.
step() {
    local status=0
    long "$@" || status=$?
    case $status in
    0) ok ;;
    77) skipped=$((skipped + 1)) ;;
    *)
        failure "$2"
        return 1
        ;;
    esac
}

need_root
need_packages "${BUILD_PACKAGES[@]}" "${RUN_PACKAGES[@]}" clang git
need_rust

# ---- Rust ----

# Before cargo runs for the first time: its build script writes the header.
cp include/ovs_netmap.h "$snapshot/" 2>/dev/null || true

step fmt "cargo fmt --check" cargo fmt --check || true
step clippy "cargo clippy, warnings denied" cargo clippy --all-targets -- -D warnings || true
# The tests see more of the library than its users do: without them, what nobody uses is dead.
step dead-code "cargo clippy of the library alone" cargo clippy --lib -- -D warnings || true
step doc "cargo doc, warnings denied" cargo doc --no-deps --config 'build.rustdocflags=["-Dwarnings"]' || true
step rust-version "the oldest Rust that Cargo.toml promises" scripts/check-rust-version.sh || true

for tool in shellcheck ruff codespell; do
    step "$tool" "$tool" scripts/lint.sh "$tool" || true
done

# Their seconds here are few; each script takes more.
fuzz_seconds=${FUZZ_SECONDS:-10}
hostile_seconds=${HOSTILE_SECONDS:-10}

# Each line "test result:" is one test binary's count.
cargo_tests() {
    local status=0 counts
    long cargo-test "cargo test" cargo test --no-fail-fast || status=$?
    counts=$(awk '/^test result:/ { p += $4; f += $6; i += $8 } END { print p + 0, f + 0, i + 0 }' "$LOGS/cargo-test.log")
    read -r p f i <<<"$counts"
    passed=$((passed + p)) failed=$((failed + f)) skipped=$((skipped + i))
    sed -n 's/^test \(.*\) \.\.\. ignored/skipped: \1/p' "$LOGS/cargo-test.log"
    sed -n 's/^test \(.*\) \.\.\. FAILED/FAILED: \1/p' "$LOGS/cargo-test.log" >&2
    echo "    $p passed, $f failed, $i ignored"
    # Not a failed test but a failed build, or no tests at all.
    if [ "$f" -eq 0 ] && { [ "$status" -ne 0 ] || [ "$p" -eq 0 ]; }; then
        failure "cargo test"
    fi
}
cargo_tests

for target in x86_64-unknown-freebsd aarch64-unknown-linux-gnu; do
    step "target-$target" "cargo clippy for $target" scripts/check-targets.sh "$target" || true
done
step models "models of concurrency: pool and depot" scripts/check-models.sh || true
step asan "AddressSanitizer: hostile rings for $hostile_seconds s, conservation" \
    env HOSTILE_SECONDS="$hostile_seconds" scripts/check-asan.sh || true
step fuzz "fuzz targets, $fuzz_seconds s each" scripts/fuzz.sh "$fuzz_seconds" || true

# ---- the library as C sees it ----

touch build.rs                   # the header is generated once more
library=
if step lib "library: build and install into build/prefix" scripts/build-lib.sh; then
    library=1
    step header "include/ovs_netmap.h is what cbindgen makes of src/" \
        diff -u "$snapshot/ovs_netmap.h" include/ovs_netmap.h || true
    for cc in gcc clang; do
        step "c-abi-$cc" "C ABI test with $cc" scripts/check-c-abi.sh "$cc" || true
    done
    step valgrind "C ABI test under valgrind" scripts/check-valgrind.sh || true
    step install "make install into a DESTDIR" scripts/check-install.sh || true
else
    skip "header, C ABI, install: the library does not build"
fi

# ---- Open vSwitch ----

if [ -n "$asked$OVS_DIR" ]; then
    releases=("$OVS")
else
    mapfile -t releases < <(sed -n 's/^\([0-9.]*\) .*/\1/p' ovs-patch/releases)
fi
[ -n "$OVS_DIR" ] ||
    step series "OVS: the patch series are up to date, git am, checkpatch.py" ovs-patch/series check "${releases[@]}" ||
    true

# ovs_tests: those of the release OVS.
ovs_tests() {
    local log=$LOGS/system-tests-$OVS.log status=0 good
    if ! scripts/build-ovs.sh; then
        failure "OVS $OVS with netmap does not build"
        skip "system tests: there is no OVS $OVS to run them in"
        return
    fi
    ok
    [ -z "$first" ] || netmap_ports
    long "system-tests-$OVS" "OVS $OVS: make check-system-userspace TESTSUITEFLAGS='-k netmap'" \
        scripts/check-system.sh -k netmap || status=$?
    # " 12: name    ok", the last word telling how it went.
    good=$(grep -cE '^ *[0-9]+: .* ok$' "$log" || true)
    passed=$((passed + good))
    failed=$((failed + $(grep -cE '^ *[0-9]+: .* FAILED ' "$log" || true)))
    skipped=$((skipped + $(grep -cE '^ *[0-9]+: .* skipped ' "$log" || true)))
    sed -nE 's/^ *[0-9]+: /    /p' "$log"
    if [ "$good" -eq 0 ]; then
        failure "OVS $OVS: no system test passed"
    elif [ "$status" -ne 0 ] && ! grep -qE '^ *[0-9]+: .* FAILED ' "$log"; then
        failure "OVS $OVS: make check-system-userspace"
    fi
}

# Some of OVS's own tests on system and on netmap ports.  Those that pass on
# neither, because the machine lacks something, say nothing and are skipped.
netmap_ports() {
    local log=$LOGS/check-netmap.log status=0 rows good bad
    long check-netmap "OVS: make check-netmap, a part of it" scripts/check-netmap.sh --quick || status=$?
    if ! [[ $(tail -n 1 "$log") =~ ^check-netmap:.*\ netmap_ok=([0-9]+)\ only_system=([0-9]+) ]]; then
        failure "make check-netmap"
        return
    fi
    good=${BASH_REMATCH[1]} bad=${BASH_REMATCH[2]}
    sed '1,/^logs: /d; s/^/    /' "$log"
    rows=$(($(sed '1,/^test .* system *netmap$/d' "$log" | wc -l) - 1))
    passed=$((passed + good)) failed=$((failed + bad))
    skipped=$((skipped + rows - good - bad))
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
        failure "make check-netmap"
    fi
}

# pytest_tests PATH: those in tests/system, with switches and hosts; also of the
# OVS without netmap.
pytest_tests() {
    local log=$LOGS/pytest-$OVS.log status=0 bad
    long "pytest-$OVS" "OVS $OVS: pytest $1" scripts/drive.sh pytest -rA "$1" || status=$?
    bad=$(grep -cE '^(FAILED|ERROR) ' "$log" || true)
    passed=$((passed + $(grep -c '^PASSED ' "$log" || true)))
    # One line for all tests that are skipped in one place: "SKIPPED [N] ".
    skipped=$((skipped + $(sed -n 's/^SKIPPED \[\([0-9]*\)\].*/+\1/p' "$log" | tr -d '\n') + 0))
    failed=$((failed + bad))
    grep -E '^(PASSED|FAILED|ERROR|SKIPPED) ' "$log" | sed 's/^/    /' || true
    if [ "$status" -ne 0 ] && [ "$bad" -eq 0 ]; then
        failure "OVS $OVS: pytest $1"
    fi
}

# What is the same in all of them, with the first one only.
first=1
for OVS in "${releases[@]}"; do
    if [ "$library" ]; then
        ovs_tests
    else
        skip "OVS $OVS with netmap: the library does not build"
    fi
    if scripts/build-ovs.sh --plain; then
        ok
    else
        failure "OVS $OVS without netmap does not build"
    fi
    tests=tests/system
    [ "$first" ] || tests+=/test_plain.py
    [ -z "$library" ] || pytest_tests "$tests"
    if [ "$first" ] && [ "$library" ]; then
        step demo-ovn "OVN on two chassis with netmap ports" scripts/demo-ovn.sh || true
    fi
    first=
done

[ "$failed" -eq 0 ] || echo "logs are in $LOGS"
echo "$passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
