#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check-kernel.sh: tests/kernel, which is engine "kernel" and Open vSwitch on the
# real netmap module, in a VM: a Debian kernel with this machine's
# file system, started by virtme-ng.  From the environment (make's command line):
#
#   NETMAP_KO=PATH    netmap.ko, built for KERNEL; nothing here builds it
#   PKT_GEN=PATH      netmap's pkt-gen; by default that of NETMAP_KO's build tree
#   NETMAP_DRIVERS=PATH   netmap's own e1000.ko, or a directory with it, built together with NETMAP_KO
#   KERNEL=PATH       default: the newest /boot/vmlinuz-*
#   TESTS=REGEX       only the tests whose names match
#   TRAFFIC=1         after them, OVS's own datapath tests (tests/kernel/traffic.py); or numbers or
#                     keywords of some of them.  TRAFFIC_LIMIT= is how many seconds they may take
#   NATIVE=1          without a VM, where /dev/netmap is
#
# LIMIT= is how many seconds all that happens in the VM may take.
#
# One line a test, then "check-kernel: N passed, N failed, N skipped".  Exits with
# 77 when it cannot run for want of the module.
. "$(dirname "$0")/lib.sh"

NETMAP_KO=${NETMAP_KO:-}
PKT_GEN=${PKT_GEN:-}
KERNEL=${KERNEL:-}
NATIVE=${NATIVE:-}
TESTS=${TESTS:-}
NETMAP_DRIVERS=${NETMAP_DRIVERS:-}
TRAFFIC=${TRAFFIC:-}
TRAFFIC_LIMIT=${TRAFFIC_LIMIT:-3000}
RESULTS=$BUILD/run/check-kernel

# Called by the rest of this script, in the VM if there is one: the suite itself.
if [ "${1:-}" = --suite ]; then
    # A VM has nobody in it to hide from, and its network cards are in the first namespace.
    if [ "${IN_VM:-}" ]; then ip link set lo up; else isolate "$@"; fi
    use_python
    export RESULTS
    status=0
    "$PYTHON" -m pytest -q --no-header --no-summary -p no:cacheprovider -p netmap_testlib.results "$ROOT/tests/kernel" || status=$?
    # 1: tests failed; 5: there is none of that name.
    case $status in 0 | 1 | 5) ;; *) exit "$status" ;; esac
    [ -z "$TRAFFIC" ] || "$PYTHON" "$ROOT/tests/kernel/traffic.py"
    exit
fi

cannot() {
    cat >&2 <<END
check-kernel: skipped: $*
It needs netmap's kernel module, which is no part of this repository.  Build it from
https://github.com/luigirizzo/netmap for the kernel it is to run on, with its pkt-gen:

    ./configure --kernel-dir=/usr/src/linux-headers-VERSION --no-drivers --apps=pkt-gen,vale-ctl,bridge
    make
    make check-kernel NETMAP_KO=.../netmap.ko [PKT_GEN=.../pkt-gen] [KERNEL=/boot/vmlinuz-VERSION]

or, on a host where the module is loaded:  make check-kernel NATIVE=1 [PKT_GEN=...]
END
    exit 77
}

if [ "$NATIVE" ]; then
    [ -c /dev/netmap ] || cannot "NATIVE=1, and there is no /dev/netmap"
else
    [ "$NETMAP_KO" ] || cannot "no NETMAP_KO="
    [ -e "$NETMAP_KO" ] || cannot "NETMAP_KO=$NETMAP_KO: no such file"
    NETMAP_KO=$(realpath "$NETMAP_KO")
fi
if [ -z "$PKT_GEN" ]; then
    PKT_GEN=$(dirname "${NETMAP_KO:-/}")/build-apps/pkt-gen/pkt-gen
    [ -x "$PKT_GEN" ] || PKT_GEN=$(command -v pkt-gen) || cannot "no pkt-gen in PATH or beside the module; give PKT_GEN="
fi
[ -x "$PKT_GEN" ] || cannot "PKT_GEN=$PKT_GEN: no such program"
PKT_GEN=$(realpath "$PKT_GEN")

if [ "$NETMAP_DRIVERS" ]; then
    [ -e "$NETMAP_DRIVERS" ] || cannot "NETMAP_DRIVERS=$NETMAP_DRIVERS: no such file"
    NETMAP_DRIVERS=$(realpath "$NETMAP_DRIVERS")
fi

need_root
need_rust
need_packages "${BUILD_PACKAGES[@]}" "${RUN_PACKAGES[@]}" "${PYTHON_PACKAGES[@]}" kmod
[ -z "$TRAFFIC" ] || need_packages "${TEST_PACKAGES[@]}"

# ---- what is tested ----

"$ROOT/scripts/build-lib.sh"
"$ROOT/scripts/build-ovs.sh"
tree=$(ovs_tree)
[ -z "$TRAFFIC" ] || long check-netmap-make "OVS tree $(basename "$tree"): test suites" \
    make -C "$tree" tests/system-userspace-testsuite tests/system-netmap-testsuite
cd "$ROOT"
long kernel-test "tests/kernel/*.rs" cargo test --test kernel --no-run
KERNEL_TEST=$(sed -n 's/.*Executable tests\/kernel\/main.rs (\(.*\))/\1/p' "$LOGS/kernel-test.log")
KERNEL_TEST=$(realpath "$KERNEL_TEST")
if [ -z "$NATIVE" ]; then
    need_packages qemu-system-x86 python3-venv busybox-static
    [ "$KERNEL" ] || [ -n "$(ls /boot/vmlinuz-* 2>/dev/null)" ] || need_packages linux-image-amd64
fi

use_python
export RESULTS KERNEL_TEST NETMAP_KO NETMAP_DRIVERS PKT_GEN KERNEL NATIVE TESTS TRAFFIC TRAFFIC_LIMIT
exec "$PYTHON" "$ROOT/scripts/check_kernel.py"
