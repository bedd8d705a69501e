#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check-asan.sh: the hostile-ring and conservation tests with the library under
# AddressSanitizer, the former for HOSTILE_SECONDS (default 60).
#
# check-asan.sh ovs [TESTSUITEFLAGS...]: Open vSwitch and the library under
# AddressSanitizer, and OVS's system tests on them (default: -k netmap), in a
# build directory of their own.
#
# A process can have only one sanitizer runtime.  rustc links its own into
# programs, not into shared libraries, so here the library uses that of the C
# compiler, which comes with ovs-vswitchd.  The interface between compiled code
# and runtime is the same for GCC, clang and rustc; that the runtime has all the
# functions that the library calls is checked first.
#
# Needs a nightly Rust.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/nightly.sh"

cd "$ROOT"
use_nightly
export RUSTFLAGS="${RUSTFLAGS:-} -Zsanitizer=address -Cforce-frame-pointers=yes"
export CARGO_TARGET_DIR=$BUILD/asan/target

if [ "${1:-}" != ovs ]; then
    export HOSTILE_SECONDS=${HOSTILE_SECONDS:-60}
    exec cargo test --target "$HOST" --test hostile --test conservation -- --nocapture "$@"
fi
shift
[ $# -gt 0 ] || set -- -k netmap

need_root
need_packages "${BUILD_PACKAGES[@]}" "${RUN_PACKAGES[@]}"
export CC=${CC:-gcc}
# Programs that configure makes leak, and so does OVS when it ends; whether the
# library leaks, the tests see in netmap/show.  Some watch the memory of
# ovs-vswitchd: only the last of what was freed is kept from being used again.
export ASAN_OPTIONS=detect_leaks=0:quarantine_size_mb=2:thread_local_quarantine_size_kb=64
export BUILD=$BUILD/asan
stage=$BUILD/prefix
export CARGO_BUILD_TARGET=$HOST
long asan-lib "library: cargo rustc, under AddressSanitizer" build_library
PREFIX=$stage LIBDIR='' DESTDIR='' scripts/install.sh
unset RUSTFLAGS RUSTUP_TOOLCHAIN

# A program that has the runtime links with the library only if the runtime has
# all that the library calls.
fits() {
    echo 'int main(void) { return 0; }' >"$BUILD/empty.c"
    "$CC" -fsanitize=address "$BUILD/empty.c" -o "$BUILD/empty" -Wl,--no-as-needed \
        "-L$stage/lib" -lovs_netmap "-Wl,-rpath,$stage/lib" && "$BUILD/empty"
}
nm -D --undefined-only "$stage/lib/libovs_netmap.so" | grep __asan_report >/dev/null ||
    die "the library is not compiled for AddressSanitizer"
fits || die "the AddressSanitizer runtime of $CC does not fit this Rust; another compiler may: CC="

CC="$CC -fsanitize=address -fno-omit-frame-pointer" DEB_CPPFLAGS_APPEND=-U_FORTIFY_SOURCE \
    scripts/build-ovs.sh
scripts/check-system.sh "$@"
