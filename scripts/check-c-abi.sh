#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check-c-abi.sh COMPILER: the installed header and library, as a C program
# meets them: every warning is an error.
. "$(dirname "$0")/lib.sh"

cc=$1
work=$(mktemp -d)
on_exit "rm -rf '$work'"
export PKG_CONFIG_PATH=$STAGE/lib/pkgconfig
strict=(-Wall -Wextra -Wpedantic -Werror)
read -ra cflags <<<"$(pkg-config --cflags ovs_netmap)"
read -ra libs <<<"$(pkg-config --libs ovs_netmap)"
read -ra private <<<"$(sed -n 's/^Libs.private: *//p' "$STAGE/lib/pkgconfig/ovs_netmap.pc")"

say "the header stands alone"
echo '#include <ovs_netmap.h>' >"$work/alone.c"
"$cc" -std=c99 "${strict[@]}" "${cflags[@]}" -c "$work/alone.c" -o "$work/alone.o"
"$cc" -x c++ -std=c++11 "${strict[@]}" "${cflags[@]}" -c "$work/alone.c" -o "$work/alone.o"

say "the library exports what the header declares, and nothing else"
nm -D --defined-only "$STAGE/lib/libovs_netmap.so" | awk '$2 != "A" { sub("@.*", "", $3); print $3 }' |
    sort >"$work/exported"
"$cc" -E -P "${cflags[@]}" "$work/alone.c" | tr '\n' ' ' | grep -oE '\b(netmap|netdev_netmap)_[a-z0-9_]+ *\(' |
    tr -d ' (' | sort -u >"$work/declared"
diff "$work/declared" "$work/exported"

say "symbols, prototypes and structs are those of the record"
CC=$cc "$ROOT/scripts/abi_record.py" "$STAGE"

say "tests/c_abi.c with the shared library"
"$cc" -g "${strict[@]}" "${cflags[@]}" "$ROOT/tests/c_abi.c" -o "$work/shared" "${libs[@]}" -pthread
readelf -d "$work/shared" | grep 'NEEDED.*libovs_netmap\.so\.[0-9]' >/dev/null
# Each symbol with its version, so that an older library is refused at start.
readelf --dyn-syms -W "$work/shared" | grep ' netmap_host_attach@OVS_NETMAP_[0-9]' >/dev/null
LD_LIBRARY_PATH=$STAGE/lib "$work/shared"

say "tests/c_abi.c with the static library"
"$cc" -g "${strict[@]}" "${cflags[@]}" "$ROOT/tests/c_abi.c" -o "$work/static" \
    "$STAGE/lib/libovs_netmap.a" "${private[@]}" -pthread
"$work/static"
