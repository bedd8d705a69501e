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
results=$BUILD/run/check-kernel
# Seconds, for all that happens in the VM.
limit=${LIMIT:-$((5400 + (${#TRAFFIC} > 0 ? TRAFFIC_LIMIT + 900 : 0)))}

# Called by the rest of this script, in the VM if there is one: the suite itself.
if [ "${1:-}" = --suite ]; then
    # A VM has nobody in it to hide from, and its network cards are in the first namespace.
    if [ "${IN_VM:-}" ]; then ip link set lo up; else isolate "$@"; fi
    use_python
    export RESULTS=$results
    status=0
    "$PYTHON" -m pytest -q --no-header --no-summary -p no:cacheprovider "$ROOT/tests/kernel" || status=$?
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

drivers=()
if [ -d "$NETMAP_DRIVERS" ]; then
    mapfile -t drivers < <(find "$(realpath "$NETMAP_DRIVERS")" -name '*.ko' ! -name netmap.ko)
elif [ "$NETMAP_DRIVERS" ]; then
    [ -e "$NETMAP_DRIVERS" ] || cannot "NETMAP_DRIVERS=$NETMAP_DRIVERS: no such file"
    drivers=("$(realpath "$NETMAP_DRIVERS")")
fi

need_root
need_rust
need_packages "${BUILD_PACKAGES[@]}" "${RUN_PACKAGES[@]}" "${PYTHON_PACKAGES[@]}" kmod
[ -z "$TRAFFIC" ] || need_packages "${TEST_PACKAGES[@]}"

# ---- what is tested ----

"$ROOT/scripts/build-lib.sh"
"$ROOT/scripts/build-ovs.sh"
OVS_TREE=$(ovs_tree)
[ -z "$TRAFFIC" ] || long check-netmap-make "OVS tree $(basename "$OVS_TREE"): test suites" \
    make -C "$OVS_TREE" tests/system-userspace-testsuite tests/system-netmap-testsuite
cd "$ROOT"
long kernel-test "tests/kernel/*.rs" cargo test --test kernel --no-run
KERNEL_TEST=$(sed -n 's/.*Executable tests\/kernel\/main.rs (\(.*\))/\1/p' "$LOGS/kernel-test.log")
KERNEL_TEST=$(realpath "$KERNEL_TEST")
rm -rf "$results"
mkdir -p "$results"

# ---- where ----

# guest: the script that the VM runs as root.
guest() {
    local driver
    printf 'export %s\n' "BUILD=${BUILD@Q}" "PATH=${PATH@Q}" "OVS_TREE=${OVS_TREE@Q}" \
        "KERNEL_TEST=${KERNEL_TEST@Q}" "PKT_GEN=${PKT_GEN@Q}" "TESTS=${TESTS@Q}" \
        "TRAFFIC=${TRAFFIC@Q}" "TRAFFIC_LIMIT=${TRAFFIC_LIMIT@Q}" IN_VM=1
    cat <<END
dmesg -n 1
for module in tun veth virtio_net e1000; do modprobe \$module; done
insmod ${NETMAP_KO@Q} || { echo "check-kernel: the module does not load"; dmesg | tail -n 5; exit 1; }
END
    for driver in "${drivers[@]}"; do
        echo "rmmod $(basename "$driver" .ko)"
        echo "insmod ${driver@Q} || { echo 'check-kernel: $driver does not load'; dmesg | tail -n 5; exit 1; }"
    done
    cat <<END
${ROOT@Q}/scripts/check-kernel.sh --suite
echo \$? >${results@Q}/status
END
}

# Two cards of a kind on one wire.
nics=
for nic in 0:e1000 0:e1000 1:virtio-net-pci 1:virtio-net-pci; do
    id=nic${#nics}
    nics+=" -netdev hubport,id=$id,hubid=${nic%%:*} -device ${nic#*:},netdev=$id,romfile="
done

if [ "$NATIVE" ]; then
    say "the suite, on this machine's own module"
    export OVS_TREE KERNEL_TEST PKT_GEN TESTS TRAFFIC TRAFFIC_LIMIT
    status=0
    "$0" --suite || status=$?
    echo "$status" >"$results/status"
else
    need_packages qemu-system-x86 python3-venv
    if [ -z "$KERNEL" ]; then
        [ -n "$(ls /boot/vmlinuz-* 2>/dev/null)" ] || need_packages linux-image-amd64
        KERNEL=$(printf '%s\n' /boot/vmlinuz-* | sort -V | tail -n 1)
    fi
    [ -e "$KERNEL" ] || die "KERNEL=$KERNEL: no such file"
    vng=$BUILD/virtme/bin/vng
    if [ ! -x "$vng" ]; then
        long venv "virtme-ng: a venv for it" python3 -m venv "$BUILD/virtme"
        long virtme "virtme-ng: pip install" "$BUILD/virtme/bin/pip" install -q virtme-ng
    fi
    guest >"$results/guest.sh"
    # An e1000 reaches memory below 4 GB only, and what is more than 2 GB QEMU puts above that: the
    # module cannot map a region for it then.
    memory=3G
    [ ${#drivers[@]} -eq 0 ] || memory=2G
    vm=(--cpus 3 --memory "$memory" --force-9p "--qemu-opts=$nics")
    # Where this machine is a VM itself, there may be a /dev/kvm that boots nothing.
    if [ ! -w /dev/kvm ] || ! long kvm "a VM with KVM, to see whether it boots" \
        timeout 40 "$vng" -r "$KERNEL" "${vm[@]}" -- true </dev/null; then
        vm+=(--disable-kvm)
        say "no KVM: the VM is emulated, which is slow; LIMIT=$limit seconds"
    fi
    say "the suite, in a VM with $KERNEL and $NETMAP_KO"
    # Its console goes through a pipe: a terminal would be left in raw mode.
    PATH=$BUILD/virtme/bin:$PATH timeout "$limit" "$vng" -r "$KERNEL" "${vm[@]}" "--rwdir=$results" \
        -- bash "$results/guest.sh" </dev/null 2>&1 | tee "$LOGS/check-kernel.log" || true
fi

# ---- what came out ----

count() { grep -c "^$1 " "$results/results" 2>/dev/null || true; }
touch "$results/results"
passed=$(count ok) failed=$(count FAILED) skipped=$(count skipped)
say "results; logs are in $results"
[ ! -e "$results/traffic.txt" ] || cat "$results/traffic.txt"
cat "$results/results"
if [ "$(cat "$results/status" 2>/dev/null)" != 0 ]; then
    echo "FAILED suite: it did not come to its end; see $LOGS/check-kernel.log"
    failed=$((failed + 1))
fi
echo "check-kernel: $passed passed, $failed failed, $skipped skipped"
[ "$failed" -eq 0 ]
