#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check-system.sh [TESTSUITEFLAGS...]: OVS's "make check-system-userspace" in
# the tree that OVS= or OVS_DIR= selects, in namespaces of its own.  TARGET=
# names another of its targets.
. "$(dirname "$0")/lib.sh"

need_root
isolate "$@"
cd "$(ovs_tree)"
suite=${TARGET:-check-system-userspace}
flags=$*
name=system-${suite#check-}-testsuite
name=${name/system-system-/system-}
# Autotest takes the directories of an earlier run away itself, but only of the
# tests that it runs.
rm -rf "tests/$name.dir"
status=0
make "$suite" TESTSUITEFLAGS="$flags" RECHECK=no || status=$?
if [ "$status" -ne 0 ]; then
    # Autotest keeps the directories of the tests that failed.
    for log in tests/"$name".dir/[0-9]*/"$name".log; do
        [ ! -e "$log" ] || { echo "---- $log"; cat "$log"; }
    done
fi
exit "$status"
