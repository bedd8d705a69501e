# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034  # variables for the scripts that source this
#
# What the scripts here share: paths, progress, packages, and isolation.  To be
# sourced, not run.

set -euo pipefail
export LC_ALL=C

# make hands its command line variables (PREFIX=, DESTDIR=) and its job server
# down to every make below it; OVS's own makefiles must not see them.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${BUILD:-$ROOT/build}
LOGS=$BUILD/log
STAGE=$BUILD/prefix              # where OVS finds the library
export OVS=${OVS:-3.1} OVS_DIR=${OVS_DIR:-}
JOBS=${JOBS:-$(nproc)}

# ---- messages and long steps ----

say() { printf '==> %s\n' "$*"; }

die() {
    printf '%s: error: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# long NAME TEXT COMMAND...
#
# Runs COMMAND with its output in build/log/NAME.log.  Says what is going on,
# again every 15 seconds, and how long it took; shows the log's tail when
# COMMAND fails, and returns its status.  77 is that of a script that says
# "skipped: " and why.
long() {
    local text=$2 log=$LOGS/$1.log start=$SECONDS ticker status=0
    shift 2
    mkdir -p "$LOGS"
    say "$text"
    # The ticker's input is a pipe that nobody writes to: it ends as soon as
    # this shell closes the pipe, or dies.
    exec {ticker}> >(
        while read -rt 15 _ || [ $? -gt 128 ]; do
            printf '    ... %d s, %d lines in %s\n' $((SECONDS - start)) \
                "$(wc -l <"$log")" "${log#"$ROOT"/}"
        done)
    "$@" >"$log" 2>&1 {ticker}>&- || status=$?
    exec {ticker}>&-
    if [ "$status" -eq 0 ]; then
        printf '    done in %d s\n' $((SECONDS - start))
    elif [ "$status" -eq 77 ]; then
        grep '^skipped: ' "$log" || true
    else
        tail -n 30 "$log" | sed 's/^/    | /' >&2
        printf '    FAILED with status %d; all of it: %s\n' "$status" "$log" >&2
    fi
    return "$status"
}

# ---- cleaning up ----

# on_exit COMMAND: to be run when the script ends, however it ends, last
# registered first.
exit_commands=()
on_exit() { exit_commands=("$1" "${exit_commands[@]}"); }

run_exit_commands() {
    local status=$? command
    trap '' INT TERM HUP
    set +e
    for command in "${exit_commands[@]}"; do
        eval "$command"
    done
    exit "$status"
}
trap run_exit_commands EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# ---- what the machine must have ----

need_root() {
    [ "$(id -u)" -eq 0 ] || die "this needs root: it makes network namespaces, AF_XDP sockets and packages"
}

# need_rust: cargo and rustc.  Debian's own ones are too old, but it has newer
# ones for the programs that it updates within a release.
need_rust() {
    PATH=$PATH:${CARGO_HOME:-$HOME/.cargo}/bin
    command -v cargo >/dev/null || need_packages cargo-web rustc-web
    command -v cargo >/dev/null || die "no Rust toolchain: cargo is not in PATH (see https://rustup.rs)"
}

# ---- the library ----

# library_directory: where build_library leaves it.
library_directory() {
    echo "${CARGO_TARGET_DIR:-$ROOT/target}${CARGO_BUILD_TARGET:+/$CARGO_BUILD_TARGET}/dist"
}

# build_library: the shared and the static library, and the list of what a
# program needs besides the latter.  rustc optimises at link time only if it
# makes no Rust library as well, which "cargo build" would.
build_library() {
    local directory
    directory=$(library_directory)
    mkdir -p "$directory"
    cargo rustc --profile dist --lib --crate-type cdylib,staticlib -- \
        -C "linker=$ROOT/scripts/cc-with-map.sh" \
        --print "native-static-libs=$directory/native-static-libs"
}

have_package() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# need_packages PACKAGE...: installs those that are missing.  None of the
# packages that the scripts ask for starts a service.
need_packages() {
    local package missing=()
    command -v dpkg-query >/dev/null || {
        say "not a Debian system; expected to be there: $*"
        return 0
    }
    for package; do
        have_package "$package" || missing+=("$package")
    done
    [ ${#missing[@]} -gt 0 ] || return 0
    [ "$(id -u)" -eq 0 ] || die "missing packages, and only root can install them: ${missing[*]}"
    long apt-update "apt-get update" apt-get update
    long apt-install "apt-get install ${missing[*]}" \
        env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "${missing[@]}"
}

BUILD_PACKAGES=(build-essential autoconf automake libtool pkg-config python3
                libssl-dev libcap-ng-dev)
RUN_PACKAGES=(iproute2 iputils-ping iperf3 ethtool procps)
# What tests of OVS's own are skipped without.
TEST_PACKAGES=(curl lftp net-tools netcat-openbsd python3-pyftpdlib tcpdump wget)

# What tests/netmap_testlib and those who use it import.
PYTHON_PACKAGES=(python3-pyroute2 python3-pytest python3-scapy)

# use_python: PYTHON, and how it finds tests/netmap_testlib and the OVS tree.
use_python() {
    # Debian's, for which the packages are.
    PYTHON=/usr/bin/python3
    [ -x "$PYTHON" ] || PYTHON=$(command -v python3) || die "no Python 3"
    OVS_TREE=$(ovs_tree)
    export OVS_TREE BUILD
    export PYTHONPATH=$ROOT/tests PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
}

# ---- isolation ----

# isolate "$@": goes on in network and mount namespaces of its own, so that
# neither taps, veths and namespaces of an OVS on this machine and ours meet,
# nor anything outlives the script: when the last process is gone, all of it
# is.  To be called first thing in a script, with the script's arguments.
isolate() {
    if [ -z "${NETMAP_ISOLATED:-}" ]; then
        NETMAP_ISOLATED=1 exec unshare --net --mount --propagation private -- "$0" "$@"
    fi
    unset NETMAP_ISOLATED
    mkdir -p /run/netns
    mount -t tmpfs netns /run/netns      # "ip netns" names are ours alone
    mount -t sysfs sysfs /sys            # /sys/class/net of this namespace
    ip link set lo up
}

# ---- trees ----

# ovs_tree [SUFFIX]: the directory of the OVS tree that OVS and OVS_DIR select.
# shellcheck disable=SC2119,SC2120  # its $1 is not that of the script
ovs_tree() {
    if [ -n "$OVS_DIR" ]; then
        echo "$BUILD/ovs-$(basename "$(realpath "$OVS_DIR")")-dir${1:-}"
    else
        echo "$BUILD/ovs-$OVS${1:-}"
    fi
}

# suite_of RELEASE: the suite of Debian that has it; nothing if there are no
# patches for it.  As text: 3.10 is not 3.1.
suite_of() { awk -v release="$1" '$1 "" == release "" { print $2 }' "$ROOT/ovs-patch/releases"; }

# need_sources: OVS or OVS_DIR names something that there can be a tree of.
need_sources() {
    if [ -n "$OVS_DIR" ]; then
        [ -d "$OVS_DIR" ] || die "OVS_DIR=$OVS_DIR: no such directory"
        [ -e "$OVS_DIR/vswitchd/bridge.c" ] || die "OVS_DIR=$OVS_DIR: not an Open vSwitch source tree, it has no vswitchd/bridge.c"
    elif [ -z "$(suite_of "$OVS")" ]; then
        die "OVS=$OVS: expected one of $(awk '/^[0-9]/ { printf "%s ", $1 }' "$ROOT/ovs-patch/releases")(ovs-patch/releases);" \
            "for another release give a source tree with OVS_DIR=PATH"
    fi
}

# ovs_release TREE: which Open vSwitch it has, "3.1.0".
ovs_release() { sed -n 's/^AC_INIT(openvswitch, \([^,]*\),.*/\1/p' "$1/configure.ac"; }
