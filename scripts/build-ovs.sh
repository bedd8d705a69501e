#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# build-ovs.sh [--plain|--afxdp]: unpacks, patches, configures and builds the
# OVS tree that OVS= or OVS_DIR= selects, under build/.  The same patched sources
# are built in a tree of their own without --with-netmap, or with OVS's own AF_XDP
# ports as well, which "make bench" compares with.
#
# A tree is built again only when something that goes into it changed, and then
# only the part that changed: ovs-patch/apply brings a patched tree up to date.
# The library itself does not go into it, OVS links with it when it starts; its
# header does, so scripts/build-lib.sh is to be run before.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-configure.sh"

variant=${1:-}
case $variant in
'' | --plain | --afxdp) ;;
*) die "$variant: expected --plain or --afxdp" ;;
esac
tree=$(ovs_tree "${variant#-}")
name=$(basename "$tree")

need_sources
need_packages "${BUILD_PACKAGES[@]}"
[ "$variant" != --afxdp ] || need_packages libbpf-dev libxdp-dev libnuma-dev

set_configure_args "$variant"

# Where the sources come from: other ones mean a new tree.
if [ -n "$OVS_DIR" ]; then
    source=$OVS_DIR
else
    "$ROOT/scripts/fetch-ovs.sh"
    source=$BUILD/source/$OVS
fi
origin=$(cd "$source" && find . -name .git -prune -o -type f -printf '%P %s %T@\n' | sort | sha256sum)

# What the tree is made from, as one checksum.
inputs() {
    printf '%s\n' "$origin" "${configure_args[@]}"
    cd "$ROOT"
    find ovs-patch acinclude-netmap.m4 tests/*.at -type f -print0 | sort -z | xargs -0 sha256sum
    [ "$variant" = --plain ] || sha256sum <"$STAGE/include/ovs_netmap.h"
}
key=$(inputs | sha256sum)
if [ "$(cat "$tree/.built-from" 2>/dev/null)" = "$key" ]; then
    say "OVS tree $name: up to date"
    exit 0
fi

# unpack: the pristine sources, into $tree.
unpack() {
    rm -rf "$tree"
    mkdir -p "$tree"
    tar -C "$source" --exclude=.git -cf - . | tar -C "$tree" -xf -
    [ ! -e "$tree/Makefile" ] || make -s -C "$tree" distclean >/dev/null
    printf '%s\n' "$origin" >"$tree/.origin"
}

rm -f "$tree/.built-from"
if [ "$(cat "$tree/.origin" 2>/dev/null)" != "$origin" ]; then
    say "OVS tree $name: sources"
    unpack
fi
long "patch-$name" "OVS tree $name: ovs-patch/apply" "$ROOT/ovs-patch/apply" "$tree"

cd "$tree"
if [ "$(cat .configured 2>/dev/null)" != "${configure_args[*]}" ]; then
    long "boot-$name" "OVS tree $name: boot.sh" ./boot.sh
    long "configure-$name" "OVS tree $name: configure $variant" ./configure "${configure_args[@]}"
    printf '%s\n' "${configure_args[*]}" >.configured
fi
long "make-$name" "OVS tree $name: make -j$JOBS" make -j"$JOBS"
printf '%s\n' "$key" >.built-from
