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

# What pkg-config says is enough for a program, with the shared and with the static library.
cat >"$work/program.c" <<'END'
#include <ovs_netmap.h>
#include <stdio.h>

int
main(void)
{
    char *text = netmap_show();

    fputs(text ? text : "out of memory\n", stdout);
    netmap_string_free(text);
    return 0;
}
END
export PKG_CONFIG_PATH=$root/lib/pkgconfig PKG_CONFIG_SYSROOT_DIR=$work
for option in "" -static; do
    # shellcheck disable=SC2046,SC2086  # many words, and perhaps none
    cc $option "$work/program.c" -o "$work/program" \
        $(pkg-config ${option:+--static} --cflags --libs ovs_netmap)
    LD_LIBRARY_PATH=$root/lib "$work/program" | grep -q '^netmap: ' || die "a program linked ${option:-with the shared library} does not run"
done

for prefix in relative "$work/a b"; do
    ! PREFIX=$prefix DESTDIR='' "$ROOT/scripts/install.sh" 2>/dev/null || die "PREFIX=$prefix was taken"
done
find "$work" -type f -o -type l | sed "s|^$work||" | sort
