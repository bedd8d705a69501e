#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# check-netmap.sh [--quick | TESTSUITEFLAGS...]
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
# --quick takes some that stand for the rest.  LIMIT= is the time-out of one
# suite in seconds.  SERIAL=1 runs one suite after the other; without it both
# run at once on four CPUs or more.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-traffic.sh"

quick=
[ "${1:-}" != --quick ] || quick=1
LIMIT=${LIMIT:-$((quick ? 600 : 2700))}
SERIAL=${SERIAL:-}
tests=${TESTS:-}
unset TESTS                      # Automake has a variable of this name.
[ "$(nproc)" -ge 4 ] || SERIAL=1

QUICK=('datapath - ping between two ports'
       'datapath - http between two ports'
       'datapath - ping between two ports on vlan'
       'datapath - ping6 between two ports with header modify'
       'datapath - ping over vxlan tunnel'
       'datapath - ping vlan over vxlan tunnel'
       'datapath - clone action'
       'datapath - mpls actions'
       'datapath - basic truncate action'
       'conntrack - controller'
       'conntrack - IPv4 ping'
       'conntrack - IPv4 fragmentation'
       'conntrack - IPv6 fragmentation + vlan'
       'conntrack - IPv4 HTTP'
       'conntrack - simple SNAT'
       'nsh - forward')

need_root
need_packages "${RUN_PACKAGES[@]}" "${TEST_PACKAGES[@]}"
"$ROOT/scripts/build-lib.sh"
"$ROOT/scripts/build-ovs.sh"
tree=$(ovs_tree)

# What each suite is called in OVS.
declare -A target=([system]=check-system-userspace [netmap]=check-netmap)
suites=(system netmap)

# Both suites read these, so neither may find itself in need of making them.
long check-netmap-make "OVS tree $(basename "$tree"): test suites" \
    make -C "$tree" all tests/system-userspace-testsuite tests/system-netmap-testsuite

# numbers NAME...: those of the tests with these names.
numbers() {
    local name number
    for name; do
        number=$(sh "$tree/tests/system-userspace-testsuite" -C "$tree/tests" --list 2>/dev/null |
            NAME=$name awk '
                { line = $0; sub(/^ *[0-9]+: [^ ]+ +/, "", line); sub(/ +$/, "", line) }
                line == ENVIRON["NAME"] { sub(/:/, "", $1); print $1 }')
        if [ -n "$number" ]; then
            echo "$number"
        else
            say "OVS $OVS has no test \"$name\"" >&2
        fi
    done
}

if [ "$quick" ]; then
    mapfile -t flags < <(numbers "${QUICK[@]}")
elif [ $# -gt 0 ]; then
    flags=("$@")
else
    read -ra flags <<<"$tests"
fi
# The tests of tests/system-netmap.at choose their port types themselves.
[ ${#flags[@]} -gt 0 ] || flags=(-k '!netmap')

mkdir -p "$LOGS"
suite_log() { echo "$LOGS/check-netmap-$1.log"; }

# run_suite SUITE TESTSUITEFLAGS...: in a process namespace, too, which ends with
# the suite, with the time-out, and with this script: no daemon of a test is
# left.  To be run in the background, as it replaces its shell.
run_suite() {
    SUITE=${target[${1%-*}]} exec setpriv --pdeathsig KILL timeout -s KILL "$LIMIT" \
        setpriv --pdeathsig KILL unshare --pid --fork --kill-child --mount-proc -- \
        "$ROOT/scripts/check-system.sh" "${@:2}" </dev/null >"$(suite_log "$1")" 2>&1
}

# run_suites SUITE...: at once.  Says every half minute how far they are.
run_suites() {
    local suite start=$SECONDS status pids=()
    for suite; do
        say "OVS: ${target[${suite%-*}]} TESTSUITEFLAGS='${flags[*]}'"
        : >"$(suite_log "$suite")"
        run_suite "$suite" "${flags[@]}" &
        pids+=($!)
    done
    while wait_until 30 none_runs "${pids[@]}" || progress "$start" "$@"; do
        ! none_runs "${pids[@]}" || break
    done
    for suite; do
        status=0
        wait "${pids[0]}" || status=$?
        pids=("${pids[@]:1}")
        # Failed tests make a status of 1 or 2, as make has it.
        [ "$status" -lt 124 ] || { say "the suite \"$suite\" was ended after $LIMIT s"; incomplete=1; }
    done
    printf '    done in %d s\n' $((SECONDS - start))
}

none_runs() {
    local pid
    for pid; do
        ! kill -0 "$pid" 2>/dev/null || return 1
    done
}

progress() {
    local start=$1 suite text=
    shift
    for suite; do
        text+=", $suite: $(finished "$(suite_log "$suite")" | wc -l) tests"
    done
    printf '    ... %d s%s\n' $((SECONDS - start)) "$text"
}

incomplete=
if [ -n "$SERIAL" ]; then
    for suite in "${suites[@]}"; do
        run_suites "$suite"
    done
else
    run_suites "${suites[@]}"
fi

# again SUITE OTHER: runs them once more.
again() {
    : >"$(suite_log "$1-again")"
    mapfile -t flags < <(missed "$(suite_log "$1")" "$(suite_log "$2")")
    [ -n "$incomplete" ] || [ ${#flags[@]} -eq 0 ] || run_suites "$1-again"
}
again system netmap
again netmap system

if [ -z "$(finished "$(suite_log system)")" ]; then
    tail -n 30 "$(suite_log system)" | sed 's/^/    | /' >&2
    die "the system suite ran no test, see $(suite_log system)"
fi

echo "logs: $(suite_log '*')"
traffic_table check-netmap "$(suite_log system)" "$(suite_log netmap)" "$(suite_log system-again)" \
    "$(suite_log netmap-again)" | tee "$LOGS/check-netmap.txt"
[ -z "$incomplete" ] && tail -n 1 "$LOGS/check-netmap.txt" | grep -q ' only_system=0 '
