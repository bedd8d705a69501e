#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# "make install" with PREFIX and DESTDIR: all files in place, no path of the
# build machine in the pkg-config file, links that lead to the library.
. "$(dirname "$0")/lib.sh"

work=$(mktemp -d)
on_exit "rm -rf '$work'"
make -s -C "$ROOT" install PREFIX=/opt/ovs-netmap "DESTDIR=$work"
root=$work/opt/ovs-netmap
for file in lib/libovs_netmap.so lib/libovs_netmap.a include/ovs_netmap.h lib/pkgconfig/ovs_netmap.pc; do
    [ -s "$root/$file" ] || die "$file is missing"
done
soname=$(readelf -d "$root/lib/libovs_netmap.so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
[ -s "$root/lib/$soname" ] || die "no link $soname"
if grep -F -e "$work" -e "$ROOT" "$root/lib/pkgconfig/ovs_netmap.pc"; then
    die "a path of this machine is in ovs_netmap.pc"
fi
export PKG_CONFIG_PATH=$root/lib/pkgconfig
[ "$(pkg-config --variable=prefix ovs_netmap)" = /opt/ovs-netmap ]
pkg-config --libs ovs_netmap | grep -q -- -lovs_netmap

# Libraries in a directory of their own, outside of PREFIX's lib and outside of PREFIX.
for libdir in /opt/ovs-netmap/lib/x86_64-linux-gnu /srv/lib; do
    make -s -C "$ROOT" install PREFIX=/opt/ovs-netmap "LIBDIR=$libdir" "DESTDIR=$work/multiarch"
    [ -s "$work/multiarch$libdir/$soname" ] || die "no $libdir/$soname"
    export PKG_CONFIG_PATH=$work/multiarch$libdir/pkgconfig
    [ "$(pkg-config --variable=libdir ovs_netmap)" = "$libdir" ]
done
case $(pkg-config --static --libs ovs_netmap) in
*-lpthread*) ;;
*) die "Libs.private lacks what the static library needs" ;;
esac
find "$work" -type f -o -type l | sed "s|^$work||" | sort
