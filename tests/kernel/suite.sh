#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# suite.sh RESULTS: the kernel engine and Open vSwitch on the real netmap module.
# Needs root, /dev/netmap and namespaces of its own; scripts/check-kernel.sh sets
# it up and says what is in the environment:
#
#   OVS_TREE      a built OVS tree        KERNEL_TEST   the test binary of tests/kernel/*.rs
#   PKT_GEN       netmap's pkt-gen        TESTS         only tests whose names match (a regex)
#
# One line a test, in RESULTS/results and on standard output: "ok NAME",
# "FAILED NAME: reason" or "skipped NAME: reason".
. "$(dirname "$0")/../../scripts/lib.sh"
. "$(dirname "$0")/helpers.sh"

RESULTS=$1
HERE=$(cd "$(dirname "$0")" && pwd)
RUN=$(mktemp -d /tmp/netmap-suite.XXXXXX)
on_exit 'stop_switch; cp "$RUN"/*.log "$RUN"/*.out "$RESULTS" 2>/dev/null; rm -rf "$RUN"'
use_tree "$OVS_TREE"
: >"$RESULTS/results"

# ---- between VALE switches ----

# Two ports with private regions by default: the second joins the first's.
test_vale_two_switches() {
    vale_to_vale
    same "regions of p1 and p2" "$(status p1 region)" "$(status p2 region)"
    same "regions" "$(show | grep -c '^region ')" 1
    relay 5000
    same "zero_copy of p2" "$(queue p2 txq zero_copy)" 5000
    same "copied of p2" "$(queue p2 txq copied)" 0
    balanced
}

# Region 1 is another one than that of a VALE port.
test_vale_two_regions() {
    bridge
    port p1 1 vale0:1
    port p2 2 vale1:1@1
    flow in_port=1,actions=output:2
    same "regions" "$(show | grep -c '^region ')" 2
    relay 3000
    same "zero_copy of p2" "$(queue p2 txq zero_copy)" 0
    same "copied of p2" "$(queue p2 txq copied)" 3000
    balanced
}

test_vale_two_ports_of_one_switch() {
    bridge
    port p1 1 vale0:1
    port p2 2 vale0:3
    flow actions=drop
    # A broadcast gets to both.
    send vale0:2 3000
    await "packets of p1" 3000 counter p1 rx pkts
    await "packets of p2" 3000 counter p2 rx pkts
    # From one port to the other through the switch that both are on.
    flow in_port=3,actions=output:1
    local i
    for i in $(seq 20); do
        ovs-ofctl packet-out br0 in_port=CONTROLLER,packet="$FRAME",actions=output:1
    done
    await "packets of p2" 3020 counter p2 rx pkts
    same "packets sent by p1" "$(counter p1 tx pkts)" 20
    balanced
}

test_vlan_push() {
    vale_to_vale
    flow in_port=1,actions=mod_vlan_vid:100,output:2
    receive vale1:2 -X
    send vale0:2 1000
    await_received 1000
    same "bytes sent by p2" "$(queue p2 txq bytes)" 64000
    same "copied of p2" "$(queue p2 txq copied)" 1000
    # pkt-gen has no slot offsets: it reads at its buffer's base, and there the tag must be, 0x8100 and VLAN 100.
    local tagged
    tagged=$(grep -ac "ff ff ff ff ff ff .* 81 00 00 64 " "$RUN/receive.out" || true)
    [ "$tagged" -ge 1000 ] || fail "$tagged of 1000 packets have the tag at its place"
    balanced
}

# ---- pipes ----

test_pipe_with_both_ends_in_ovs() {
    bridge
    port p1 1 vale0:1
    port p2 2 vale1:1
    port a 3 'netmap:x{1'
    port b 4 'netmap:x}1'
    flow in_port=1,actions=output:3
    flow in_port=4,actions=output:2
    relay 3000
    same "packets sent into the pipe" "$(counter a tx pkts)" 3000
    same "packets received from it" "$(counter b rx pkts)" 3000
    balanced
}

test_pipes_to_pkt_gen() {
    bridge
    port a 1 'netmap:x{1'
    port b 2 'netmap:y{1'
    flow in_port=1,actions=output:2
    receive 'netmap:y}1'
    send 'netmap:x}1' 3000
    await_received 3000
    same "packets received by a" "$(counter a rx pkts)" 3000
    same "packets sent by b" "$(counter b tx pkts)" 3000
    balanced
}

# ---- interfaces ----

test_veth_ping() {
    hosts
    bridge
    port p1 1 netmap:v1
    port p2 2 netmap:v2
    flow actions=normal
    ping_hosts h1 10.91.0.2
    same "queue counters of p1" "$(queue p1 rxq packets)" "$(counter p1 rx pkts)"
    [ "$(counter p1 rx pkts)" -ge 20 ] || fail "p1 received $(counter p1 rx pkts) packets"
    balanced
}

# The host's own stack behind the switch: its packets come out of the host ring.
test_host_rings() {
    hosts
    ip address add 10.91.0.9/24 dev v1
    bridge
    port nic 1 netmap:v1
    port stack 2 netmap:v1^
    flow in_port=1,actions=output:2
    flow in_port=2,actions=output:1
    ping_hosts '' 10.91.0.1
    [ "$(counter stack rx pkts)" -ge 20 ] || fail "the host ring gave $(counter stack rx pkts) packets"
    balanced
}

test_two_rings_two_pmd_threads() {
    [ "$(nproc)" -ge 2 ] || skip "one CPU"
    veth v1 h1 2
    bridge
    ovs-vsctl set Open_vSwitch . other_config:pmd-cpu-mask=3
    port p1 1 netmap:v1 options:n_rxq=2
    same "rx queues" "$(show | grep -c '^  rxq ')" 2
    same "PMD threads that poll" "$(switch_ctl dpif-netdev/pmd-rxq-show | grep -c 'port: p1 .*queue-id')" 2
    ovs-vsctl remove Open_vSwitch . other_config pmd-cpu-mask
}

test_interface_deleted_under_a_port() {
    hosts
    bridge
    port p1 1 netmap:v1
    port p2 2 vale0:1
    flow actions=drop
    # It returns when the port is closed.
    ip link del v1 &
    wait_until 10 eval '[ "$(queue p1 rxq sync_errors)" -gt 0 ]' || fail "p1 does not notice"
    send vale0:2 500
    await "packets of p2" 500 counter p2 rx pkts
    ovs-vsctl --timeout=20 del-port p1
    wait_until 20 eval '! [ -e /sys/class/net/v1 ]' || fail "the interface does not go away"
    balanced
}

# ---- buffers ----

test_fewest_extra_buffers() {
    config netmap-nextrabufs=32
    vale_to_vale
    relay 2000
    balanced
    config netmap-nextrabufs=2048
}

test_more_buffers_than_there_are() {
    config netmap-nextrabufs=1048576
    bridge
    # Region 1: a private one would be made larger for them, a GB or more.
    port p1 1 vale0:1@1
    config netmap-nextrabufs=2048
    local extra
    extra=$(status p1 extra_bufs)
    grep -q "the module gave ${extra%/*} of the 1048576 extra buffers" "$RUN/ovs-vswitchd.log" ||
        fail "no message with ${extra%/*} and 1048576 in the log"
    balanced
}

test_open_and_close_100_times() {
    # Keeps region 1 between the rounds.
    receive vale9:9@1
    local before i
    before=$("$HERE/free-bufs.py" 1)
    bridge
    for i in $(seq 100); do
        port p1 1 vale0:1@1
        ovs-vsctl --timeout=20 del-port p1
    done
    await "free buffers of region 1 (before the 100 rounds, after them)" "$before" "$HERE/free-bufs.py" 1
}

# ---- threads and processes ----

test_pmd_cpu_mask_under_traffic() {
    [ "$(nproc)" -ge 2 ] || skip "one CPU"
    vale_to_vale
    receive vale1:2
    pkt_gen flood -i vale0:2 -f tx -R 1000 -w 1
    local i before
    for i in $(seq 12); do
        ovs-vsctl --timeout=20 set Open_vSwitch . other_config:pmd-cpu-mask=$((i % 3 + 1))
        before=$(counter p2 tx pkts)
        wait_until 15 eval "[ \$(counter p2 tx pkts) -gt $((before + 200)) ]" ||
            fail "after change $i of pmd-cpu-mask nothing is forwarded"
    done
    end_pkt_gens
    ovs-vsctl --timeout=20 remove Open_vSwitch . other_config pmd-cpu-mask
    balanced
}

test_kill_9_and_restart() {
    vale_to_vale
    relay 500
    kill -KILL "$(cat "$RUN/ovs-vswitchd.pid")"
    wait_until 10 eval "! switch_lives" || fail "it survives SIGKILL"
    ip link del br0 2>/dev/null || true
    ip link del ovs-netdev 2>/dev/null || true
    start_vswitchd
    flow in_port=1,actions=output:2
    same "error of p1" "$(ovs-vsctl get Interface p1 error)" '[]'
    relay 1000
    balanced
}

# Never more often than the interval says.  In an emulated VM a pass of the PMD
# thread alone may take longer than a short one, so only a long one must be
# reached as well.
test_rxsync_interval() {
    bridge
    port p1 1 vale0:1
    local us wanted rate
    for us in 500 5000 50000; do
        ovs-vsctl --timeout=20 set Interface p1 options:rxsync-intval=$us
        wanted=$((1000000 / us))
        rate=$(rxsyncs_in_ten_seconds p1)
        note "$us us: $((rate / 10)).$((rate % 10)) a second of $wanted"
        [ "$rate" -le $((wanted * 11)) ] || fail "too often: $(cat "$RUN/note")"
    done
    for _ in 1 2 3; do
        [ "$rate" -lt $((wanted * 9)) ] || return 0
        rate=$(rxsyncs_in_ten_seconds p1)
    done
    fail "too seldom: $(cat "$RUN/note"), then $rate in ten seconds"
}

test_failing_opens() {
    bridge
    port p1 1 vale0:1
    refused p2 vale0:1 "in use\|busy\|already"
    refused p3 netmap:nosuch "no interface named"
    refused p4 vale0:5@4711 "no memory region 4711"
    refused p5 'netmap:x{' "x{"
    flow actions=drop
    send vale0:2 500
    await "packets of p1" 500 counter p1 rx pkts
    balanced
}

# ---- all of them ----

[ -c /dev/netmap ] || die "there is no /dev/netmap"
echo "netmap suite $$ starts" >/dev/kmsg 2>/dev/null || true
library_tests
start_switch
for name in $(declare -F | sed -n 's/^declare -f test_//p' ); do
    run_test "$name"
done
stop_switch
kernel_log
