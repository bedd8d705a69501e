#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check-nic.sh: tests/nic, which is Open vSwitch on network cards over AF_XDP, with zero copy where the
# drivers have it, in a VM whose cards QEMU emulates: a Debian kernel with this machine's file system,
# started by virtme-ng.  From the environment (make's command line):
#
#   KERNEL=PATH|SUITE   a vmlinuz, or the suite of Debian whose kernel is fetched; default: forky
#   QEMU=PATH           a qemu-system-x86_64; default: the system's, or backports' if that is older than 8
#   TESTS=REGEX         only the tests whose names match
#   MINUTES=N           how long everything happens at the same time in the last of them; default: 3
#
# LIMIT= is how many seconds all that happens in the VM may take.
#
# One line a test, then "check-nic: N passed, N failed, N skipped".  Exits with 77 and the reason when it
# cannot run.
. "$(dirname "$0")/lib.sh"

export KERNEL=${KERNEL:-forky} QEMU=${QEMU:-} RESULTS=$BUILD/run/check-nic
# Without this one it has no igb.
QEMU_NEEDED=8

cannot() {
    echo "skipped: check-nic: $*" >&2
    exit 77
}

# qemu_version PROGRAM: the first number of it.
qemu_version() { "$1" --version 2>/dev/null | sed -n 's/^QEMU emulator version \([0-9]*\).*/\1/p'; }

[ "$(uname -m)" = x86_64 ] || cannot "the cards are those of an x86-64 machine"
need_root
need_rust
need_packages "${BUILD_PACKAGES[@]}" "${RUN_PACKAGES[@]}" "${PYTHON_PACKAGES[@]}" \
    kmod python3-venv busybox-static qemu-system-x86

if [ -z "$QEMU" ]; then
    QEMU=$(command -v qemu-system-x86_64) || cannot "there is no qemu-system-x86_64: give QEMU="
    if [ "$(qemu_version "$QEMU")" -lt $QEMU_NEEDED ]; then
        "$ROOT/scripts/fetch-qemu.sh" || cannot "QEMU is older than $QEMU_NEEDED, and a newer one cannot be had: give QEMU="
        QEMU=$BUILD/qemu/usr/bin/qemu-system-x86_64
    fi
fi
version=$(qemu_version "$QEMU")
[ "$version" ] || cannot "QEMU=$QEMU: no QEMU that runs"
[ "$version" -ge $QEMU_NEEDED ] || cannot "QEMU=$QEMU: this is QEMU $version, expected $QEMU_NEEDED or newer, which has igb"

case $KERNEL in
*/*) [ -e "$KERNEL" ] || cannot "KERNEL=$KERNEL: no such file" ;;
*)
    "$ROOT/scripts/fetch-kernel.sh" "$KERNEL" || cannot "KERNEL=$KERNEL: the kernel of that suite cannot be had; give a path"
    # Debian has it in one place or the other.
    KERNEL=$(find "$BUILD/kernel/$KERNEL" -type f -name 'vmlinuz*' -print -quit)
    ;;
esac

"$ROOT/scripts/build-lib.sh"
"$ROOT/scripts/build-ovs.sh"
use_python
exec "$PYTHON" "$ROOT/scripts/check_nic.py"
