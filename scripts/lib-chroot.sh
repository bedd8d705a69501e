# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2016  # apt's and the inner shell's variables
#
# Debian's mirror, and packages and chroots of its suites.  To be sourced after lib.sh, not run.

# debian_mirror [SUFFIX]: where this machine's apt gets its suite, or its suite
# with SUFFIX ("-security"), from.
debian_mirror() {
    command -v apt-get >/dev/null || return 0
    apt-get indextargets --format '$(REPO_URI) $(COMPONENT) $(RELEASE)' 'Created-By: Packages' |
        awk -v suffix="${1:-}" '
            $2 != "main" || $3 ~ /\// { next }
            suffix == "" && $3 !~ /-/ || suffix != "" && index($3, suffix) { print $1; exit }'
}

# private_apt SUITE: an apt with a configuration of its own, apt_options, below build/: the sources
# and the package lists of this machine are not touched.  The mirror is the one that the machine's
# own apt uses.  Signatures are checked; how old they are is not, because a suite may not be signed
# anew for long.
private_apt() {
    local mirror
    need_packages debian-archive-keyring
    mirror=$(debian_mirror)
    [ -n "$mirror" ] || die "no Debian mirror in this machine's apt sources"
    apt_dir=$BUILD/apt/$1
    mkdir -p "$apt_dir"/{state/lists/partial,cache/archives/partial,preferences,sources}
    : >"$apt_dir/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $1 main" >"$apt_dir/sources.list"
    apt_options=(-o "Dir::State=$apt_dir/state" -o "Dir::State::status=$apt_dir/status" -o "Dir::Cache=$apt_dir/cache"
                 -o "Dir::Etc::sourcelist=$apt_dir/sources.list" -o "Dir::Etc::sourceparts=$apt_dir/sources"
                 -o "Dir::Etc::preferences=/dev/null" -o "Dir::Etc::preferencesparts=$apt_dir/preferences"
                 -o Acquire::Check-Valid-Until=false -o Acquire::Languages=none
                 -o "APT::Sandbox::User=$(id -un)" -o APT::Update::Error-Mode=any)
}

# unpack DIR PACKAGE...: a new DIR with what is in these packages of private_apt's suite.
unpack() {
    local dir=$1 deb
    shift
    rm -rf "$dir" "$apt_dir"/*.deb
    mkdir -p "$dir"
    (cd "$apt_dir" && apt-get "${apt_options[@]}" download "$@")
    for deb in "$apt_dir"/*.deb; do dpkg-deb -x "$deb" "$dir"; done
    rm -f "$apt_dir"/*.deb
}

# make_chroot SUITE DIR OPTION...: a chroot of SUITE, with mmdebstrap's OPTIONs.
make_chroot() {
    local suite=$1 dir=$2 mirror sources=()
    shift 2
    mirror=$(debian_mirror)
    [ -n "$mirror" ] || die "no Debian mirror in this machine's apt sources"
    sources+=("deb $mirror $suite main")
    # Its Rust is new enough only there.
    [ "$suite" != bookworm ] || sources+=("deb $(debian_mirror -security) $suite-security main")
    mmdebstrap --mode=root --format=directory --aptopt='Acquire::Check-Valid-Until "false"' \
        --keyring=/usr/share/keyrings/debian-archive-keyring.gpg "$@" "$suite" "$dir" "${sources[@]}"
}

# chroot_removed DIR: it is gone.  Nothing may be mounted in it.
chroot_removed() {
    ! grep -q " $1/" /proc/self/mounts || die "$1: something is mounted in it"
    rm -rf --one-file-system "$1"
}

# in_chroot DIR [NAME=VALUE...] COMMAND...: in namespaces of its own, without
# network.
in_chroot() {
    local dir=$1
    shift
    unshare --mount --propagation private --pid --fork --kill-child --net -- sh -c '
        dir=$1 && shift
        # A mount of its own, as "ip netns exec" wants to have it for its root.
        mount --bind "$dir" "$dir" && mount -t proc proc "$dir/proc" && mount -t sysfs sysfs "$dir/sys" &&
            mount --rbind /dev "$dir/dev" && ip link set lo up &&
            exec chroot "$dir" env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 "$@"' \
        in_chroot "$dir" "$@"
}
