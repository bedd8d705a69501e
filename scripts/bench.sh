#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Cycles per packet of the whole PMD loop: receive, flow extraction, exact match
# cache, action, send.  One port that is an endless source and a sink, one flow
# that sends each packet back out of it:
#
#   netmap   null:0 of this project          OVS 3.1 built here
#   dpdk     net_null0                       OVS-DPDK 3.1 as Debian ships it
#
# Both sides receive 64-byte frames of zeros, have the same OpenFlow rule, and
# are checked to hit the exact match cache with every packet.  Both are compiled
# with the same flags (scripts/build-ovs.sh).  Both run at the highest ordinary
# priority, because a cycle that another process takes is counted as well.
#
# A pair is a new process of each side, with their PMD threads on the same core.
# They take short turns: one is stopped while the other is measured.  So what
# else goes on in the machine, or beside it where that is a virtual one, meets
# both: speeds that last for seconds were seen, 1.6 times as slow.  The ratio is
# the median of the ratios of turns that follow each other; the cycles of each
# side are the median of its turns.
#
#   BENCH_PAIRS=5        pairs
#   BENCH_SECONDS=3      measured time of each side of a pair, in turns of 0.1 s
#   BENCH_CORE=N         the PMD threads' core (default: the last one)
#   BENCH_LOOKUP=simple  "simple match" instead of the exact match cache: OVS
#                        takes that short cut when rules match on the port only
. "$(dirname "$0")/lib.sh"

pairs=${BENCH_PAIRS:-5}
turns=$((${BENCH_SECONDS:-3} * 10))
case ${BENCH_LOOKUP:=emc} in
emc) match=in_port=1,dl_dst=00:00:00:00:00:00 lookup='emc hits' ;;
simple) match=in_port=1 lookup='simple match hits' ;;
*) die "BENCH_LOOKUP=$BENCH_LOOKUP: emc or simple" ;;
esac
[ "$turns" -gt 0 ] && [ "$pairs" -gt 0 ] || die "BENCH_PAIRS and BENCH_SECONDS: 1 or more"

if [ -z "${NETMAP_ISOLATED:-}" ]; then
    need_root
    need_packages "${BUILD_PACKAGES[@]}" "${RUN_PACKAGES[@]}"
    "$ROOT/scripts/build-lib.sh"
    "$ROOT/scripts/build-ovs.sh"
    "$ROOT/scripts/dpdk-peer.sh"
fi
isolate "$@"

peer=$BUILD/dpdk-peer
run=$BUILD/run/bench
results=$BUILD/run/bench-results
use_tree "$(ovs_tree)"
mkdir -p "$BUILD/run"
exec {lock}>"$run.lock"
flock -n "$lock" || die "another bench is running in $run"

mapfile -t cores < <(python3 -c 'import os; print(*sorted(os.sched_getaffinity(0)), sep="\n")')
core=${BENCH_CORE:-${cores[-1]}}
[ "${#cores[@]}" -gt 1 ] || say "only one core: the PMD threads share it with all else"

# ---- hugepages, for DPDK, for as long as this runs ----

pages=/sys/kernel/mm/hugepages/hugepages-2048kB
dpdk_mb=1024
reserve_hugepages() {
    local before want
    [ -e "$pages/nr_hugepages" ] || die "no 2 MB hugepages on this machine, DPDK needs them"
    before=$(<$pages/nr_hugepages)
    want=$((before - $(<$pages/free_hugepages) + dpdk_mb / 2))
    if [ "$before" -lt "$want" ]; then
        on_exit "echo $before >$pages/nr_hugepages"
        echo "$want" >$pages/nr_hugepages
        [ "$(<$pages/nr_hugepages)" -ge "$want" ] || die "could not reserve $dpdk_mb MB of hugepages"
    fi
}

# ---- two switches ----

# start_netmap, start_dpdk: a switch with port n0 as OpenFlow port 1, in a
# network namespace of its own: both have a tap device "br0".
own_net=(nice -n -20 unshare --net)

start_netmap() {
    VSWITCHD=("${own_net[@]}" ovs-vswitchd)
    switch_start "$run/netmap" set Open_vSwitch . other_config:netmap-init=true \
        other_config:pmd-cpu-mask="$(mask "$core")"
    add_port type=netmap options:netmap-port=null:0 options:rxsync-intval=0
}

start_dpdk() {
    local libs=$peer/usr/lib/x86_64-linux-gnu
    local binary=$peer/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk
    [ -x "$binary" ] || binary=/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk
    # Drivers are preloaded: EAL would refuse to load a plugin from below a
    # directory that others may write to.
    VSWITCHD=("${own_net[@]}" env "LD_LIBRARY_PATH=$libs"
              "LD_PRELOAD=librte_mempool_ring.so.23 librte_net_null.so.23" "$binary")
    switch_start "$run/dpdk" set Open_vSwitch . other_config:dpdk-init=true \
        other_config:dpdk-socket-mem="$dpdk_mb" other_config:dpdk-lcore-mask="$(mask "${cores[0]}")" \
        other_config:dpdk-extra="--in-memory --no-pci --no-telemetry" \
        other_config:pmd-cpu-mask="$(mask "$core")"
    add_port type=dpdk options:dpdk-devargs=net_null0
}

mask() { printf '0x%x' $((1 << $1)); }

add_port() {
    local error
    ovs-vsctl --timeout=30 add-br br0 -- set Bridge br0 datapath_type=netdev fail-mode=secure \
        -- add-port br0 n0 -- set Interface n0 ofport_request=1 "$@"
    error=$(ovs-vsctl get Interface n0 error)
    [ "$error" = '[]' ] || die "port n0 ($*): $error"
    ovs-ofctl del-flows br0
    ovs-ofctl add-flow br0 "$match,actions=in_port"
}

# switch_to SIDE: the functions of lib.sh and OVS's tools mean that switch now.
declare -A vswitchd_pid ovsdb_pid
switch_to() {
    VSWITCHD_PID=${vswitchd_pid[$1]:-} OVSDB_PID=${ovsdb_pid[$1]:-}
    export OVS_RUNDIR=$run/$1
}

# set_up SIDE: starts the switch, and sees that it does what it is to do.
set_up() {
    local flow hits received
    "start_$1"
    vswitchd_pid[$1]=$VSWITCHD_PID ovsdb_pid[$1]=$OVSDB_PID
    sleep 1
    stats "$1" 1
    flow=$(switch_ctl dpctl/dump-flows netdev@ovs-netdev |
           sed -n '/in_port/s/in_port([0-9]*)/in_port/; s/, packets:.*actions:[0-9]*$/ actions:in_port/p')
    received=$(pmd_value 'packets received')
    hits=$(pmd_value "$lookup")
    kill -STOP "$VSWITCHD_PID"
    [ "${received:-0}" -gt 0 ] || die "$1: no packets, see $run/$1"
    # The counters are read while the thread runs: a batch may be under way.
    [ $((received - hits)) -le 64 ] || die "$1: of $received packets only $hits are $lookup"
    if [ -z "${seen_flow:=$flow}" ] || [ "$seen_flow" != "$flow" ]; then
        die "the two sides do not do the same: \"$seen_flow\" and \"$flow\""
    fi
}

# tear_down SIDE: after a start that failed, too; without a switch, nothing.
tear_down() {
    [ -z "${ovsdb_pid[$1]:-}" ] || switch_to "$1"
    [ -z "${VSWITCHD_PID:-}" ] || kill -CONT "$VSWITCHD_PID"
    switch_stop
    vswitchd_pid[$1]='' ovsdb_pid[$1]=''
}
on_exit 'tear_down netmap'
on_exit 'tear_down dpdk'

# stats SIDE SECONDS: what the PMD thread counts in that time.
stats() {
    switch_ctl dpif-netdev/pmd-stats-clear
    sleep "$2"
    switch_ctl dpif-netdev/pmd-stats-show | sed '/^main thread/,$d' >"$results/$1.stats"
    pmd_stats=$results/$1.stats
}

pmd_value() { sed -n "s|^ *$1: *\([0-9.]*\).*|\1|p" "$pmd_stats" | head -n 1; }

# turn SIDE: what a packet costs there, in a time so short that the machine most
# often has the same speed in the next turn.
turn() {
    switch_to "$1"
    kill -CONT "$VSWITCHD_PID"
    stats "$1" 0.1
    kill -STOP "$VSWITCHD_PID"
    pmd_value 'avg cycles per packet' >>"$results/$1.cycles"
}

# median [FIRST]: of the numbers on standard input, from line FIRST on.
median() {
    tail -n "+${1:-1}" | sort -n |
        awk '{ v[NR] = $1 } END { printf "%.1f", (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'
}

# ratios [FIRST]: of the turns of both sides that followed each other.
ratios() { paste "$results/netmap.cycles" "$results/dpdk.cycles" | awk '{ print 1000 * $1 / $2 }'; }

ratio() { ratios | median "${1:-1}" | awk '{ printf "%.3f", $1 / 1000 }'; }

# ---- the turns ----

rm -rf "$results"
mkdir -p "$results"
reserve_hugepages
say "PMD loop on core $core, $pairs pairs, $turns turns of each side; load average: $(cut -d ' ' -f 1-3 /proc/loadavg)"
printf '%6s %10s %10s %10s\n' pair netmap dpdk ratio
for ((pair = 0; pair < pairs; pair++)); do
    set_up netmap
    set_up dpdk
    for ((i = 0; i < turns; i++)); do
        turn netmap
        turn dpdk
    done
    tear_down netmap
    tear_down dpdk
    first=$((pair * turns + 1))
    printf '%6d %10s %10s %10s\n' $((pair + 1)) "$(median $first <"$results/netmap.cycles")" \
        "$(median $first <"$results/dpdk.cycles")" "$(ratio $first)"
done
say "flow on both sides: $seen_flow"
echo "bench: pmd-loop netmap=$(median <"$results/netmap.cycles") dpdk=$(median <"$results/dpdk.cycles") ratio=$(ratio)"
