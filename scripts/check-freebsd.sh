#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Open vSwitch's new C files compile with FreeBSD's headers, which the compiler
# of PyPI's package "ziglang" has.  What configure would say there of Linux's
# own functions is taken out of config.h; the rest is that of the tree that OVS=
# or OVS_DIR= selects, which must have been built.  Skipped without ziglang.
. "$(dirname "$0")/lib.sh"

if command -v zig >/dev/null; then
    zig=(zig)
elif python3 -m ziglang version >/dev/null 2>&1; then
    zig=(python3 -m ziglang)
else
    echo "skipped: no compiler with FreeBSD's headers: pip install ziglang"
    exit 77
fi
tree=$(ovs_tree)
[ -e "$tree/config.h" ] || die "$tree is not built: make ovs OVS=$OVS"

work=$(mktemp -d)
on_exit "rm -rf '$work'"
export ZIG_GLOBAL_CACHE_DIR=$work/cache ZIG_LOCAL_CACHE_DIR=$work/cache
linux='HAVE_(LINUX|NETLINK|TCA|NLA|AVX512|LIBCAPNG|LD_AVX512|SENDMMSG|STRUCT_MMSGHDR|MNTENT_H|SYS_RANDOM_H|GLIBC_PTHREAD|STRUCT_TC)[A-Z0-9_]*'
mkdir "$work/include"
sed -E "/^#define $linux /d" "$tree/config.h" >"$work/include/config.h"
for target in x86_64-freebsd aarch64-freebsd; do
    for file in "$ROOT"/ovs-patch/lib/*.c; do
        echo "$target: ${file##*/}"
        "${zig[@]}" cc -target "$target" -std=gnu11 -DHAVE_CONFIG_H -Wall -Wextra -Werror \
            -Wno-sign-compare -Wno-unused-parameter -I "$work/include" -I "$tree" \
            -I "$tree/include" -I "$tree/lib" -I "$STAGE/include" -c -o "$work/out.o" \
            "$tree/lib/${file##*/}"
    done
done
