#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# fetch-ovs.sh [RELEASE]: the pristine sources of an Open vSwitch release (OVS=
# without the argument), in build/source/RELEASE, from Debian's package
# openvswitch-source of the suite that ovs-patch/releases names.
#
# apt gets it with a configuration of its own, below build/: the sources and
# the package lists of this machine are not touched.  The mirror is the one that
# the machine's own apt uses.  Signatures are checked; how old they are is not,
# because a suite may not be signed anew for long.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-chroot.sh"

release=${1:-$OVS}
source=$BUILD/source/$release
[ ! -d "$source" ] || exit 0

suite=$(suite_of "$release")
[ -n "$suite" ] || die "$release: there is no such release in ovs-patch/releases"
command -v apt-get >/dev/null ||
    die "apt-get is missing: give a source tree of Open vSwitch $release with OVS_DIR=PATH"
need_packages debian-archive-keyring

mirror=$(debian_mirror)
[ -n "$mirror" ] || die "no Debian mirror in this machine's apt sources: give a source tree with OVS_DIR=PATH"

apt=$BUILD/apt/$suite
mkdir -p "$apt"/{state/lists/partial,cache/archives/partial,preferences,sources}
: >"$apt/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$apt/sources.list"
options=(-o "Dir::State=$apt/state" -o "Dir::State::status=$apt/status" -o "Dir::Cache=$apt/cache"
         -o "Dir::Etc::sourcelist=$apt/sources.list" -o "Dir::Etc::sourceparts=$apt/sources"
         -o "Dir::Etc::preferences=/dev/null" -o "Dir::Etc::preferencesparts=$apt/preferences"
         -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none
         -o "APT::Sandbox::User=$(id -un)" -o APT::Update::Error-Mode=any)

# download: the package, unpacked into build/source/RELEASE.
download() {
    local unpacked=$apt/unpacked tree
    apt-get "${options[@]}" update
    rm -rf "$unpacked" "$source.new" "$apt"/*.deb
    (cd "$apt" && apt-get "${options[@]}" download openvswitch-source)
    dpkg-deb -x "$apt"/openvswitch-source_*.deb "$unpacked"
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
    rm -rf "$unpacked" "$apt"/*.deb
    mv "$source.new" "$source"
}
long "fetch-$release" "Open vSwitch $release: sources, from Debian's $suite" download
