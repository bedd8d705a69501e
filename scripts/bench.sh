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
# The two take turns on the same core; each turn is a new ovs-vswitchd.  Both
# sides receive 64-byte frames of zeros, have the same OpenFlow rule, and are
# checked to hit the exact match cache with every packet.  Both are compiled
# with the same flags (scripts/build-ovs.sh).  Both run at the highest ordinary
# priority, because a cycle that another process takes is counted as well.
#
#   BENCH_PAIRS=5        turns of each side
#   BENCH_SECONDS=3      measured time of a turn
#   BENCH_CORE=N         the PMD thread's core (default: the last one)
#   BENCH_LOOKUP=simple  "simple match" instead of the exact match cache: OVS
#                        takes that short cut when rules match on the port only
#   BENCH_SIDES=dpdk     that side only
. "$(dirname "$0")/lib.sh"

pairs=${BENCH_PAIRS:-5}
seconds=${BENCH_SECONDS:-3}
sides=${BENCH_SIDES:-netmap dpdk}
case ${BENCH_LOOKUP:=emc} in
emc) match=in_port=1,dl_dst=00:00:00:00:00:00 lookup='emc hits' ;;
simple) match=in_port=1 lookup='simple match hits' ;;
*) die "BENCH_LOOKUP=$BENCH_LOOKUP: emc or simple" ;;
esac

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
use_tree "$(ovs_tree)"
mkdir -p "$BUILD/run"
exec {lock}>"$run.lock"
flock -n "$lock" || die "another bench is running in $run"
on_exit switch_stop

mapfile -t cores < <(python3 -c 'import os; print(*sorted(os.sched_getaffinity(0)), sep="\n")')
core=${BENCH_CORE:-${cores[-1]}}
[ "${#cores[@]}" -gt 1 ] || say "only one core: the PMD thread shares it with all else"

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

# ---- one turn ----

# start_netmap, start_dpdk: a switch with port n0 as OpenFlow port 1.
start_netmap() {
    VSWITCHD=(nice -n -20 ovs-vswitchd)
    switch_start "$run" set Open_vSwitch . other_config:netmap-init=true \
        other_config:pmd-cpu-mask="$(mask "$core")"
    add_port type=netmap options:netmap-port=null:0 options:rxsync-intval=0
}

start_dpdk() {
    local libs=$peer/usr/lib/x86_64-linux-gnu
    local binary=$peer/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk
    [ -x "$binary" ] || binary=/usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk
    # Drivers are preloaded: EAL would refuse to load a plugin from below a
    # directory that others may write to.
    VSWITCHD=(nice -n -20 env "LD_LIBRARY_PATH=$libs"
              "LD_PRELOAD=librte_mempool_ring.so.23 librte_net_null.so.23" "$binary")
    switch_start "$run" set Open_vSwitch . other_config:dpdk-init=true \
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

pmd_value() { sed -n "s|^ *$1: *\([0-9.]*\).*|\1|p" "$run/pmd-stats" | head -n 1; }

# turn SIDE: sets "cycles" to what a packet cost.
turn() {
    local received hits flow
    "start_$1"
    sleep 1
    switch_ctl dpif-netdev/pmd-stats-clear
    sleep "$seconds"
    switch_ctl dpif-netdev/pmd-stats-show | sed '/^main thread/,$d' >"$run/pmd-stats"
    flow=$(switch_ctl dpctl/dump-flows netdev@ovs-netdev |
           sed -n '/in_port/s/in_port([0-9]*)/in_port/; s/, packets:.*actions:[0-9]*$/ actions:in_port/p')
    cycles=$(pmd_value 'avg cycles per packet')
    received=$(pmd_value 'packets received')
    hits=$(pmd_value "$lookup")
    cp "$run/pmd-stats" "$run/ovs-vswitchd.log" "$results/$1/"
    switch_stop
    [ "${received:-0}" -gt 0 ] || die "$1: no packets, see $results/$1"
    # The counters are read while the thread runs: a batch may be under way.
    [ $((received - hits)) -le 64 ] || die "$1: of $received packets only $hits are $lookup"
    if [ -z "${seen_flow:=$flow}" ] || [ "$seen_flow" != "$flow" ]; then
        die "the two sides do not do the same: \"$seen_flow\" and \"$flow\""
    fi
}

# ---- the turns ----

results=$BUILD/run/bench-results
rm -rf "$results"
mkdir -p "$results/netmap" "$results/dpdk"
case $sides in *dpdk*) reserve_hugepages ;; esac

say "PMD loop on core $core, $pairs pairs of $seconds s; load average: $(cut -d ' ' -f 1-3 /proc/loadavg)"
printf '%6s %16s %16s\n' pair netmap dpdk
for ((pair = 1; pair <= pairs; pair++)); do
    printf '%6d' "$pair"
    for side in netmap dpdk; do
        case $sides in
        *$side*) turn "$side" ;;
        *) cycles=- ;;
        esac
        echo "$cycles" >>"$results/$side.cycles"
        printf ' %16s' "$cycles"
    done
    echo
done
say "flow on both sides: $seen_flow"

median() { sort -n "$results/$1.cycles" | awk '{ v[NR] = $1 } END { print (v[int((NR + 1) / 2)] + v[int(NR / 2) + 1]) / 2 }'; }
netmap=$(median netmap)
dpdk=$(median dpdk)
echo "bench: pmd-loop netmap=$netmap dpdk=$dpdk ratio=$(awk -v a="$netmap" -v b="$dpdk" 'BEGIN { printf "%.3f", b ? a / b : 0 }')"
