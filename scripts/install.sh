#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# install.sh: puts the library, its header and its pkg-config file under
# $DESTDIR$PREFIX, the libraries into $DESTDIR$LIBDIR (default: $PREFIX/lib).
# Builds the library first if it was not built yet, or is older than its sources.
. "$(dirname "$0")/lib.sh"

PREFIX=${PREFIX:-/usr/local}
while [[ $PREFIX = ?*/ ]]; do
    PREFIX=${PREFIX%/}
done
LIBDIR=${LIBDIR:-$PREFIX/lib}
DESTDIR=${DESTDIR:-}
for name in PREFIX LIBDIR; do
    case ${!name} in
    *[[:space:]]*) die "$name=${!name}: must have no white space, compilers get it from the pkg-config file" ;;
    /*) ;;
    *) die "$name=${!name}: must be an absolute path, it is written into the pkg-config file" ;;
    esac
done

# up_to_date: both libraries are there, and no source is newer.
up_to_date() {
    local library
    for library in "$built"/libovs_netmap.{so,a}; do
        [ -e "$library" ] || return 1
        [ -z "$(cd "$ROOT" && find Cargo.toml Cargo.lock build.rs src -newer "$library" -print -quit)" ] || return 1
    done
}

built=$(library_directory)
if ! up_to_date; then
    need_rust
    (cd "$ROOT" && build_library)
fi

version=$(sed -n 's/^version *= *"\(.*\)"/\1/p' "$ROOT/Cargo.toml" | head -n 1)
soname=$(readelf -d "$built/libovs_netmap.so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
[ -n "$soname" ] || die "$built/libovs_netmap.so has no soname"

lib=$DESTDIR$LIBDIR
include=$DESTDIR$PREFIX/include
mkdir -p "$lib/pkgconfig" "$include"

# -C leaves a file alone that is the same already.
install -C -m 755 "$built/libovs_netmap.so" "$lib/libovs_netmap.so.$version"
ln -sfn "libovs_netmap.so.$version" "$lib/$soname"
ln -sfn "$soname" "$lib/libovs_netmap.so"
install -C -m 644 "$built/libovs_netmap.a" "$lib/libovs_netmap.a"
install -C -m 644 "$ROOT/include/ovs_netmap.h" "$include/ovs_netmap.h"

# Compilers link with their own library, in a static program with another one.
private=$(sed 's/-lgcc_s *//' "$built/native-static-libs")

pc=$(mktemp)
on_exit "rm -f '$pc'"
case $LIBDIR in
"$PREFIX"/*) libdir="\${prefix}${LIBDIR#"$PREFIX"}" ;;
*) libdir=$LIBDIR ;;
esac
cat >"$pc" <<END
prefix=$PREFIX
libdir=$libdir
includedir=\${prefix}/include

Name: ovs_netmap
Description: netmap ports for Open vSwitch
Version: $version
Libs: -L\${libdir} -lovs_netmap
Libs.private: $private
Cflags: -I\${includedir}
END
install -C -m 644 "$pc" "$lib/pkgconfig/ovs_netmap.pc"

say "installed ovs_netmap $version into $DESTDIR$PREFIX"
