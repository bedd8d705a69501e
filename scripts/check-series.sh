#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds each step of the patch series, with and without --with-netmap, and runs
# some of Open vSwitch's unit tests on it (TESTS=): for the release that OVS=
# names, or all in ovs-patch/releases.
asked=${OVS:-}
. "$(dirname "$0")/lib.sh"

[ -z "$OVS_DIR" ] || die "OVS_DIR=$OVS_DIR: the series are for the releases in ovs-patch/releases: give OVS= instead"
need_sources
need_packages "${BUILD_PACKAGES[@]}" git
"$ROOT/scripts/build-lib.sh"
exec "$ROOT/ovs-patch/series" steps ${asked:+"$asked"}
