#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check-netmap.sh [--tso] [--quick | TESTSUITEFLAGS...]
#
# Runs OVS's own datapath tests, those of "make check-system-userspace", twice:
# on ports of the type "system" and, in "make check-netmap" of the OVS tree, on
# netmap ports.  Prints a table of both and, as the last line,
#
#   check-netmap: system_ok=N netmap_ok=N only_system=N only_netmap=N
#
# Succeeds only if every test that passes with "system" passes with netmap.
# What passes on the ports of one type only is run once more on the others: many
# tests count on the time that things take, and one that fails may leave its tap
# devices in the way of the next.  A line above the table tells of each.
#
# TESTSUITEFLAGS, or TESTS= in the environment, select tests: numbers ("1-20
# 25"), which are the same in both suites, or keywords ("-k conntrack").
# --quick takes some that stand for the rest.  --tso takes the tests of "make
# check-system-tso" instead, where hosts leave segmentation to Open vSwitch.  LIMIT= is the time-out of one
# suite in seconds.  SERIAL=1 runs one suite after the other; without it both
# run at once on four CPUs or more.
. "$(dirname "$0")/lib.sh"

need_root
need_packages "${BUILD_PACKAGES[@]}" "${RUN_PACKAGES[@]}" "${TEST_PACKAGES[@]}" "${PYTHON_PACKAGES[@]}"
"$ROOT/scripts/build-lib.sh"
"$ROOT/scripts/build-ovs.sh"

# Both suites read these, so neither may find itself in need of making them.
# TESTS is a variable of automake's, too.
tree=$(ovs_tree)
long check-netmap-make "OVS tree $(basename "$tree"): test suites" env -u TESTS \
    make -C "$tree" all tests/system-userspace-testsuite tests/system-netmap-testsuite \
    tests/system-tso-testsuite tests/system-netmap-tso-testsuite

use_python
exec "$PYTHON" "$ROOT/scripts/check_netmap.py" "$@"
