# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034  # variables for the scripts that source this
#
# What is built and tested: the library, the OVS tree, the Python that uses them.
# Sourced by lib.sh.

# library_directory: where build_library leaves it.
library_directory() {
    echo "${CARGO_TARGET_DIR:-$ROOT/target}${CARGO_BUILD_TARGET:+/$CARGO_BUILD_TARGET}/dist"
}

# build_library: the shared and the static library, and the list of what a
# program needs besides the latter.  rustc optimises at link time only if it
# makes no Rust library as well, which "cargo build" would.
build_library() {
    local directory
    directory=$(library_directory)
    mkdir -p "$directory"
    cargo rustc --profile dist --lib --crate-type cdylib,staticlib -- \
        -C "linker=$ROOT/scripts/cc-with-map.sh" \
        --print "native-static-libs=$directory/native-static-libs"
}

# ovs_tree [SUFFIX]: the directory of the OVS tree that OVS and OVS_DIR select.
# shellcheck disable=SC2119,SC2120  # its $1 is not that of the script
ovs_tree() {
    if [ -n "$OVS_DIR" ]; then
        echo "$BUILD/ovs-$(basename "$(realpath "$OVS_DIR")")-dir${1:-}"
    else
        echo "$BUILD/ovs-$OVS${1:-}"
    fi
}

# suite_of RELEASE: the suite of Debian that has it; nothing if there are no
# patches for it.  As text: 3.10 is not 3.1.
suite_of() { awk -v release="$1" '$1 "" == release "" { print $2 }' "$ROOT/ovs-patch/releases"; }

# need_sources: OVS or OVS_DIR names something that there can be a tree of.
need_sources() {
    if [ -n "$OVS_DIR" ]; then
        [ -d "$OVS_DIR" ] || die "OVS_DIR=$OVS_DIR: no such directory"
        [ -e "$OVS_DIR/vswitchd/bridge.c" ] || die "OVS_DIR=$OVS_DIR: not an Open vSwitch source tree, it has no vswitchd/bridge.c"
    elif [ -z "$(suite_of "$OVS")" ]; then
        die "OVS=$OVS: expected one of $(awk '/^[0-9]/ { printf "%s ", $1 }' "$ROOT/ovs-patch/releases")(ovs-patch/releases);" \
            "for another release give a source tree with OVS_DIR=PATH"
    fi
}

# ovs_release TREE: which Open vSwitch it has, "3.1.0".
ovs_release() { sed -n 's/^AC_INIT(openvswitch, \([^,]*\),.*/\1/p' "$1/configure.ac"; }

# use_python: PYTHON, and how it finds tests/netmap_testlib and the OVS tree.
use_python() {
    # Debian's, for which the packages are.
    PYTHON=/usr/bin/python3
    [ -x "$PYTHON" ] || PYTHON=$(command -v python3) || die "no Python 3"
    OVS_TREE=$(ovs_tree)
    export OVS_TREE BUILD
    export PYTHONPATH=$ROOT/tests PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
}
