#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# cc-with-map.sh ARGS...: cc, as rustc calls it to link the shared library, but
# with the version map of the C interface.  rustc makes a version script of its
# own, without versions; a linker takes only one.
map=$(dirname "$0")/../src/ovs_netmap.map
for arg; do
    shift
    case $arg in
    -Wl,--version-script=*) arg=-Wl,--version-script=$map ;;
    esac
    set -- "$@" "$arg"
done
exec cc "$@"
