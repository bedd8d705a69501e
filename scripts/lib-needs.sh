# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034  # variables for the scripts that source this
#
# What the machine must have: root, Rust, packages.  Sourced by lib.sh.

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

have_package() {
    [ "$(dpkg-query -W -f='${db:Status-Status}' "$1" 2>/dev/null)" = installed ]
}

# How many seconds others may have apt's locks: Debian's own updates, on a
# machine that was just started.
APT_WAIT=600

# apt-get waits for dpkg's locks if it is told to, but not for that of its lists.
apt_update() {
    local output status end=$((SECONDS + APT_WAIT))
    while
        status=0
        output=$(LC_ALL=C apt-get update 2>&1) || status=$?
        [[ $status -ne 0 && $output == *"Could not get lock"* && $SECONDS -lt $end ]]
    do
        sleep 2
    done
    printf '%s\n' "$output"
    return "$status"
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
    long apt-update "apt-get update" apt_update
    long apt-install "apt-get install ${missing[*]}" \
        env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout="$APT_WAIT" \
        install -y --no-install-recommends "${missing[@]}"
}

BUILD_PACKAGES=(build-essential autoconf automake libtool pkg-config python3
                libssl-dev libcap-ng-dev)
RUN_PACKAGES=(iproute2 iputils-ping fping iperf3 ethtool procps)
# What tests of OVS's own are skipped without.
TEST_PACKAGES=(curl lftp net-tools netcat-openbsd python3-pyftpdlib tcpdump wget)

# What tests/netmap_testlib and those who use it import.
PYTHON_PACKAGES=(python3-pyroute2 python3-pytest python3-scapy)
