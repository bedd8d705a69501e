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

export NETMAP_KO=${NETMAP_KO:-} PKT_GEN=${PKT_GEN:-} NETMAP_DRIVERS=${NETMAP_DRIVERS:-} KERNEL=${KERNEL:-} \
    TRAFFIC=${TRAFFIC:-} TRAFFIC_LIMIT=${TRAFFIC_LIMIT:-3000} NATIVE=${NATIVE:-} RESULTS=$BUILD/run/check-kernel

cannot() {
    echo "skipped: check-kernel: $*; docs/kernel-module.md tells how netmap's module and pkt-gen are built" >&2
    exit 77
}

if [ "$NATIVE" ]; then
    [ -c /dev/netmap ] || cannot "NATIVE=1, and there is no /dev/netmap"
else
    [ "$NETMAP_KO" ] || cannot "no NETMAP_KO="
fi
beside=$(dirname "${NETMAP_KO:-/}")/build-apps/pkt-gen
PKT_GEN=${PKT_GEN:-$(PATH=$beside:$PATH command -v pkt-gen)} || cannot "no pkt-gen beside the module or in PATH, no PKT_GEN="
for setting in NETMAP_KO NETMAP_DRIVERS PKT_GEN; do
    [ -z "${!setting}" ] || [ -e "${!setting}" ] || cannot "$setting=${!setting}: no such file"
    [ -z "${!setting}" ] || declare "$setting=$(realpath "${!setting}")"
done

need_root
need_rust
need_packages "${BUILD_PACKAGES[@]}" "${RUN_PACKAGES[@]}" "${PYTHON_PACKAGES[@]}" kmod
[ "$NATIVE" ] || need_packages qemu-system-x86 python3-venv busybox-static
[ "$NATIVE$KERNEL" ] || [ "$(ls /boot/vmlinuz-* 2>/dev/null)" ] || need_packages linux-image-amd64
[ -z "$TRAFFIC" ] || need_packages "${TEST_PACKAGES[@]}"

"$ROOT/scripts/build-lib.sh"
"$ROOT/scripts/build-ovs.sh"
use_python
[ -z "$TRAFFIC" ] || long check-netmap-make "OVS tree $(basename "$OVS_TREE"): test suites" \
    make -C "$OVS_TREE" tests/system-userspace-testsuite tests/system-netmap-testsuite
cd "$ROOT"
long kernel-test "tests/kernel/*.rs" cargo test --test kernel --features netmap-module --no-run
KERNEL_TEST=$(realpath "$(sed -n 's/.*Executable tests\/kernel\/main.rs (\(.*\))/\1/p' "$LOGS/kernel-test.log")")
export KERNEL_TEST
# Namespaces of its own are for the machine that it does not have to itself.
[ -z "$NATIVE" ] || exec "$ROOT/scripts/drive.sh" check_kernel.py
exec "$PYTHON" "$ROOT/scripts/check_kernel.py"
