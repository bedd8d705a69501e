#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# install.sh: puts the library, its header and its pkg-config file under
# $DESTDIR$PREFIX.  Builds the library first if it was not built yet.
. "$(dirname "$0")/lib.sh"

PREFIX=${PREFIX:-/usr/local}
DESTDIR=${DESTDIR:-}
case $PREFIX in
/*) ;;
*) die "PREFIX=$PREFIX: must be an absolute path, it is written into the pkg-config file" ;;
esac

built=${CARGO_TARGET_DIR:-$ROOT/target}/release
if [ ! -e "$built/libovs_netmap.so" ] || [ ! -e "$built/libovs_netmap.a" ]; then
    need_rust
    (cd "$ROOT" && cargo build --release)
fi

version=$(sed -n 's/^version *= *"\(.*\)"/\1/p' "$ROOT/Cargo.toml" | head -n 1)
soname=$(readelf -d "$built/libovs_netmap.so" | sed -n 's/.*SONAME.*\[\(.*\)\]/\1/p')
[ -n "$soname" ] || die "$built/libovs_netmap.so has no soname"

lib=$DESTDIR$PREFIX/lib
include=$DESTDIR$PREFIX/include
mkdir -p "$lib/pkgconfig" "$include"

# -C leaves a file alone that is the same already.
install -C -m 755 "$built/libovs_netmap.so" "$lib/libovs_netmap.so.$version"
ln -sfn "libovs_netmap.so.$version" "$lib/$soname"
ln -sfn "$soname" "$lib/libovs_netmap.so"
install -C -m 644 "$built/libovs_netmap.a" "$lib/libovs_netmap.a"
install -C -m 644 "$ROOT/include/ovs_netmap.h" "$include/ovs_netmap.h"

pc=$(mktemp)
on_exit "rm -f '$pc'"
cat >"$pc" <<END
prefix=$PREFIX
libdir=\${prefix}/lib
includedir=\${prefix}/include

Name: ovs_netmap
Description: netmap ports for Open vSwitch
Version: $version
Libs: -L\${libdir} -lovs_netmap
Libs.private: -lgcc_s -lpthread -ldl -lm -lc
Cflags: -I\${includedir}
END
install -C -m 644 "$pc" "$lib/pkgconfig/ovs_netmap.pc"

say "installed ovs_netmap $version into $DESTDIR$PREFIX"
