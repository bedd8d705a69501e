#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# fetch-ovs.sh [RELEASE]: the pristine sources of an Open vSwitch release (OVS=
# without the argument), in build/source/RELEASE, from Debian's package
# openvswitch-source of the suite that ovs-patch/releases names.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-chroot.sh"

release=${1:-$OVS}
source=$BUILD/source/$release
[ ! -d "$source" ] || exit 0

suite=$(suite_of "$release")
[ -n "$suite" ] || die "$release: there is no such release in ovs-patch/releases"
[ -n "$(debian_mirror)" ] ||
    die "no Debian mirror in this machine's apt sources: give a source tree of Open vSwitch $release with OVS_DIR=PATH"
private_apt "$suite"

# download: the package, unpacked into build/source/RELEASE.
download() {
    local unpacked=$apt_dir/unpacked tree
    apt-get "${apt_options[@]}" update
    rm -rf "$source.new"
    unpack "$unpacked" openvswitch-source
    tree=$unpacked/usr/src/openvswitch
    mkdir -p "$source.new"
    # A tarball in older packages, a directory in newer ones.
    if [ -e "$tree/openvswitch.tar.gz" ]; then
        tar -C "$source.new" --strip-components=1 -xzf "$tree/openvswitch.tar.gz"
    else
        cp -a "$tree/." "$source.new"
    fi
    case $(ovs_release "$source.new") in
    "$release" | "$release".*) ;;
    *) die "$suite has Open vSwitch $(ovs_release "$source.new") now, not $release: give a source tree with OVS_DIR=PATH" ;;
    esac
    rm -rf "$unpacked"
    mv "$source.new" "$source"
}
long "fetch-$release" "Open vSwitch $release: sources, from Debian's $suite" download
