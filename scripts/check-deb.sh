#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check-deb.sh: installs the packages that "make deb" built for SUITE= over the
# stock Open vSwitch in a chroot of their own, selects the binary with netmap
# ports, sends pings through two of them, and removes the packages: the stock
# binary must be back.
# shellcheck disable=SC2016  # the variables of other programs
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-chroot.sh"

SUITE=${SUITE:-trixie}
debs=$BUILD/deb/$SUITE
root=$debs/check
stock=/usr/lib/openvswitch-switch/ovs-vswitchd
netmap=/usr/lib/openvswitch-switch-netmap/ovs-vswitchd-netmap

need_root
need_packages mmdebstrap binutils debian-archive-keyring
ls "$debs"/openvswitch-switch-netmap_*.deb >/dev/null 2>&1 || die "there are no packages: make deb SUITE=$SUITE"

# Services must not start in a chroot.
chroot_removed "$root"
long "check-deb-chroot-$SUITE" "$SUITE: a chroot with the stock openvswitch-switch" \
    make_chroot "$SUITE" "$root" --variant=minbase \
    --essential-hook='printf "#!/bin/sh\nexit 101\n" >"$1/usr/sbin/policy-rc.d" && chmod +x "$1/usr/sbin/policy-rc.d"' \
    --include=openvswitch-switch,iproute2,fping,procps
mkdir "$root/debs"
cp "$debs"/*.deb "$root/debs/"

# binary WANTED: which one runs as ovs-vswitchd.
binary() {
    local found
    found=$(chroot "$root" readlink -f /usr/sbin/ovs-vswitchd)
    [ "$found" = "$1" ] || die "ovs-vswitchd is $found, not $1"
    echo "    ovs-vswitchd is $found"
}

version=$(chroot "$root" dpkg-query -W -f '${Version}' openvswitch-switch)
binary "$stock"
# What the packages need beside Open vSwitch must be there or in the mirror.
long "check-deb-install-$SUITE" "$SUITE: apt-get install the packages" \
    chroot "$root" sh -c 'apt-get -y --no-install-recommends install /debs/libovs-netmap[0-9]*.deb /debs/openvswitch-switch-netmap*.deb'
binary "$stock"
! readelf -d "$root$netmap" | grep -E 'R(UN)?PATH' || die "$netmap has an rpath"
chroot "$root" update-alternatives --set ovs-vswitchd "$netmap"
binary "$netmap"

cp "$ROOT/scripts/check-deb-switch.sh" "$root/switch.sh"
run_switch() { in_chroot "$root" sh /switch.sh "$1"; }

long "check-deb-netmap-$SUITE" "$SUITE: two netmap ports, 20 pings" run_switch netmap
sed 's/^/    /' "$LOGS/check-deb-netmap-$SUITE.log"
long "check-deb-remove-$SUITE" "$SUITE: apt-get remove" chroot "$root" apt-get -y --autoremove purge openvswitch-switch-netmap
binary "$stock"
[ ! -e "$root$netmap" ] || die "$netmap is still there"
long "check-deb-stock-$SUITE" "$SUITE: the stock binary starts" run_switch stock
sed 's/^/    /' "$LOGS/check-deb-stock-$SUITE.log"
chroot_removed "$root"
echo "check-deb: suite=$SUITE openvswitch-switch=$version installed, switched, forwarded, removed"
