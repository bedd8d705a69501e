#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Fetches Debian's OVS-DPDK for "make bench", and unpacks it into
# build/dpdk-peer.  It is not installed: no service of Debian's is started, no
# alternative is changed, nothing is left on the machine.
. "$(dirname "$0")/lib.sh"

peer=$BUILD/dpdk-peer
packages=(openvswitch-switch-dpdk librte-net-null23 librte-net-af-packet23 librte-net-af-xdp23
          librte-mempool-ring23)

if [ -e "$peer/.complete" ]; then
    exit 0
fi
command -v apt-get >/dev/null || die "the peer is Debian's package openvswitch-switch-dpdk: no apt-get here"
apt-cache show "${packages[@]}" >/dev/null 2>&1 || long apt-update "apt-get update" apt_update

rm -rf "$peer"
mkdir -p "$peer/debs/partial"
# Asks for a download of the packages and of everything they need that is not
# installed on this machine.
long dpdk-download "OVS-DPDK: download ${packages[*]}" \
    apt-get install -y --no-install-recommends --download-only \
    -o Dir::Cache::archives="$peer/debs" "${packages[@]}"
# A library that is installed already is not downloaded, and not missed.
for deb in "$peer"/debs/*.deb; do
    dpkg-deb -x "$deb" "$peer"
done
[ -x "$peer/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk" ] ||
    [ -x /usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk ] ||
    die "openvswitch-switch-dpdk has no ovs-vswitchd-dpdk"
rm -rf "$peer/debs"
touch "$peer/.complete"
