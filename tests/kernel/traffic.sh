#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# traffic.sh RESULTS: OVS's own datapath tests on ports of the type "system" and
# on netmap ports with the module, as scripts/check-netmap.sh has them without it.
# In turns, a few at a time, as far as TRAFFIC_LIMIT seconds go.  From the
# environment: OVS_TREE, and TRAFFIC, which is 1 for all tests, or numbers and
# keywords as the test suites take them ("1-20 25", "-k vxlan").
#
# The table is in RESULTS/traffic.txt, one line more in RESULTS/results.
. "$(dirname "$0")/../../scripts/lib.sh"
. "$(dirname "$0")/../../scripts/lib-traffic.sh"

RESULTS=$1
limit=${TRAFFIC_LIMIT:-3000}
[ -c /dev/netmap ] || die "there is no /dev/netmap"
# The tests leave much behind and use sockets where they run: not in the tree.
scratch=$(mktemp -d /tmp/netmap-traffic.XXXXXX)
on_exit 'cp "$scratch"/*.log "$RESULTS"; umount "$OVS_TREE/tests"; umount "$scratch"; rmdir "$scratch"'
mount -t tmpfs tmpfs "$scratch"
mkdir "$scratch/upper" "$scratch/work"
mount -t overlay overlay \
    -o "lowerdir=$OVS_TREE/tests,upperdir=$scratch/upper,workdir=$scratch/work" "$OVS_TREE/tests"
cd "$OVS_TREE"
# Where everything is slow, nothing hangs yet after the usual 30 seconds.
sed -i "s/^OVS_CTL_TIMEOUT=.*/OVS_CTL_TIMEOUT=120/" tests/atlocal

suite() {
    local name=$1
    shift
    sh "tests/system-$name-testsuite" -C tests AUTOTEST_PATH=utilities:vswitchd:ovsdb:vtep:tests:ipsec: "$@"
}

# run LOG SUITE NUMBER...: with its failures' logs in the results.
run() {
    local log=$1 name=$2 number
    shift 2
    [ $# -gt 0 ] || return 0
    timeout -k 5 $((180 * $#)) setpriv --pdeathsig KILL unshare --pid --fork --kill-child --mount-proc -- \
        sh "tests/system-$name-testsuite" -C tests AUTOTEST_PATH=utilities:vswitchd:ovsdb:vtep:tests:ipsec: \
        "$@" </dev/null >>"$scratch/$log.log" 2>&1 || true
    for number; do
        cp "tests/system-$name-testsuite.dir/$(printf %03d "$number")/system-$name-testsuite.log" \
            "$RESULTS/traffic-$log-$number.log" 2>/dev/null || true
    done
}

read -ra flags <<<"${TRAFFIC:-1}"
# The tests of tests/system-netmap*.at choose their port types themselves.
[ "${flags[*]}" != 1 ] || flags=(-k '!netmap')
mapfile -t numbers < <(suite userspace --list "${flags[@]}" | sed -nE 's/^ *([0-9]+): .*/\1/p')
touch "$scratch"/{system,netmap}{,-again}.log
start=$SECONDS done=0
while [ $done -lt ${#numbers[@]} ] && [ $((SECONDS - start)) -lt "$limit" ]; do
    some=("${numbers[@]:done:2}")
    run system userspace "${some[@]}"
    run netmap netmap "${some[@]}"
    done=$((done + ${#some[@]}))
    printf '    ... %d s, %d of %d tests\n' $((SECONDS - start)) $done ${#numbers[@]}
done
mapfile -t some < <(missed "$scratch/system.log" "$scratch/netmap.log")
run system-again userspace "${some[@]}"
mapfile -t some < <(missed "$scratch/netmap.log" "$scratch/system.log")
run netmap-again netmap "${some[@]}"

traffic_table traffic "$scratch"/{system,netmap}.log "$scratch"/{system,netmap}-again.log >"$RESULTS/traffic.txt"
sums=$(tail -n 1 "$RESULTS/traffic.txt")
text="OVS's own tests, $done of ${#numbers[@]}, ${sums#traffic: }"
case $sums in
*netmap_ok=0*) echo "FAILED traffic: $text" ;;
*only_system=0*) echo "ok traffic ($text)" ;;
*) echo "FAILED traffic: $text" ;;
esac | tee -a "$RESULTS/results"
