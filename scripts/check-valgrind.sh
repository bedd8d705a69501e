#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The C ABI test under valgrind, with the library in build/prefix: no invalid
# access, no use of uninitialised memory, no leak.  What is still reachable at
# the end is not a leak: statics, and the ring and region tables in them.
. "$(dirname "$0")/lib.sh"

need_packages valgrind build-essential
work=$(mktemp -d)
on_exit "rm -rf '$work'"
export PKG_CONFIG_PATH=$STAGE/lib/pkgconfig
[ -e "$PKG_CONFIG_PATH/ovs_netmap.pc" ] || "$ROOT/scripts/build-lib.sh"
read -ra cflags <<<"$(pkg-config --cflags ovs_netmap)"
read -ra libs <<<"$(pkg-config --libs ovs_netmap)"

cc -g "${cflags[@]}" "$ROOT/tests/c_abi.c" -o "$work/c_abi" "${libs[@]}" -pthread
LD_LIBRARY_PATH=$STAGE/lib valgrind --quiet --error-exitcode=99 --track-fds=no \
    --leak-check=full --show-leak-kinds=definite,indirect,possible \
    --errors-for-leak-kinds=definite,indirect,possible \
    --log-file="$work/valgrind" "$work/c_abi" >"$work/out" || {
    status=$?
    grep FAILED "$work/out" >&2 || true
    cat "$work/valgrind" >&2
    die "tests/c_abi.c under valgrind: status $status"
}
cat "$work/valgrind"
say "$(grep -c '^ok' "$work/out") checks, no error, no leak"
