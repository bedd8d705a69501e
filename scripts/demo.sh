#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Two hosts (network namespaces) talk to each other through ovs-vswitchd, whose
# two ports are of type netmap:
#
#   namespace h1          namespace of the switch           namespace h2
#   h1 10.90.0.1 ==veth== p1 [netmap] br0 [netmap] p2 ==veth== h2 10.90.0.2
#
# Then what the ports counted is compared with what the hosts' interfaces
# counted: not one packet may be missing without being counted as dropped.
. "$(dirname "$0")/lib.sh"

# DEMO_TYPE=system runs the same over OVS's own port type, for comparison.
type=${DEMO_TYPE:-netmap}

if [ -z "${NETMAP_ISOLATED:-}" ]; then
    need_root
    need_packages "${BUILD_PACKAGES[@]}" "${RUN_PACKAGES[@]}"
    "$ROOT/scripts/build-lib.sh"
    "$ROOT/scripts/build-ovs.sh"
fi
isolate "$@"

tree=$(ovs_tree)
run=$BUILD/run/demo
use_tree "$tree"
mkdir -p "$BUILD/run"
exec {lock}>"$run.lock"
flock -n "$lock" || die "another demo is running in $run"

on_exit 'switch_stop; [ "$ok" ] || show_logs'
ok=
show_logs() {
    grep -E '\|(WARN|ERR|EMER)\|' "$run/ovs-vswitchd.log" 2>/dev/null | tail -n 20 >&2
    echo "demo: FAILED; logs are in $run" >&2
}
fail() {
    echo "demo: $*" >&2
    exit 1
}

# ---- the hosts ----

say "two network namespaces, a veth pair each"
for host in 1 2; do
    ip netns add "h$host"
    # Nothing but the demo's own traffic: IPv6 would send router solicitations.
    ip netns exec "h$host" sysctl -qw net.ipv6.conf.{all,default}.disable_ipv6=1
done
sysctl -qw net.ipv6.conf.{all,default}.disable_ipv6=1
for host in 1 2; do
    ip link add "p$host" type veth peer name "h$host" netns "h$host"
    # A veth's checksums are never computed; a user-space switch sees them.
    ip netns exec "h$host" ethtool -K "h$host" tx off >/dev/null
    ip netns exec "h$host" ip address add "10.90.0.$host/24" dev "h$host"
done

# ---- the switch ----

say "ovs-vswitchd with two ports of type $type"
switch_start "$run" set Open_vSwitch . other_config:netmap-init=true
ovs-vsctl --timeout=20 add-br br0 -- set Bridge br0 datapath_type=netdev \
    -- add-port br0 p1 -- set Interface p1 "type=$type" ofport_request=1 \
    -- add-port br0 p2 -- set Interface p2 "type=$type" ofport_request=2
for port in p1 p2; do
    error=$(ovs-vsctl get Interface "$port" error)
    [ "$error" = '[]' ] || fail "port $port: $error"
    ip link set "$port" up
done
for host in 1 2; do
    ip netns exec "h$host" ip link set "h$host" up
done

version=$(ovs-vswitchd --version | sed -n '1s/.* //p')
engine=$(ovs-vsctl --if-exists get Interface p1 status:engine | tr -d '"')

# ---- traffic ----

say "ping: 20 packets"
exec 3>&1
ping=$(ip netns exec h1 ping -c 20 -i 0.1 -W 2 10.90.0.2 | tee /dev/fd/3 |
       sed -n 's/^\([0-9]*\) packets transmitted, \([0-9]*\) received.*/\2\/\1/p') || true
exec 3>&-

# iperf TEXT ARGUMENTS...: one iperf3 run from h1 to h2, its JSON in $run.
iperf() {
    local name=$1 server
    shift
    setpriv --pdeathsig TERM -- ip netns exec h2 iperf3 -s -1 -B 10.90.0.2 >/dev/null 2>&1 &
    server=$!
    wait_until 5 eval 'ip netns exec h2 ss -Hltn | grep -q :5201' || fail "iperf3 does not listen"
    timeout 60 ip netns exec h1 iperf3 -J -c 10.90.0.2 "$@" >"$run/$name.json" || fail "iperf3 failed, see $run/$name.json"
    wait "$server" || true
}
# number FILE EXPRESSION: a figure from iperf3's end summary "e".
number() {
    python3 -c 'import json, sys
e = json.load(open(sys.argv[1]))["end"]
print(int(eval(sys.argv[2])))' "$run/$1.json" "$2"
}

say "iperf3: TCP, 5 s"
iperf tcp -t 5
tcp_mbps=$(number tcp 'e["sum_received"]["bits_per_second"] / 1e6')
say "iperf3: UDP, 64-byte payload, 3 s"
iperf udp -u -b 0 -l 64 -t 3
udp_pps=$(number udp '(e["sum"]["packets"] - e["sum"]["lost_packets"]) / e["sum"]["seconds"]')

# ---- the books ----

# host_counter HOST NAME, and the same of the switch's end of the pair.
host_counter() { ip netns exec "h$1" cat "/sys/class/net/h$1/statistics/$2"; }
pair_counter() { cat "/sys/class/net/p$1/statistics/$2"; }

# port_counters PORT: rx packets, rx drops and errors, tx packets, tx drops and
# errors, live from the port.
port_counters() {
    ovs-ofctl dump-ports br0 "p$1" | tr -d '?' | awk -F '[=, ]+' '
        { for (i = 1; i < NF; i++) value[$i] = $(i + 1) }
        / rx / { rx = value["pkts"]; rxd = value["drop"] }
        / tx / { tx = value["pkts"]; txd = value["drop"] }
        END { print rx + 0, rxd + 0, tx + 0, txd + 0 }'
}

all_counters() {
    local host
    for host in 1 2; do
        echo "$(port_counters $host) $(host_counter $host tx_packets) $(host_counter $host rx_packets)" \
             "$(pair_counter $host tx_dropped)"
    done
}
# Quiet means: no counter moved for half a second.
quiet() {
    local before
    before=$(all_counters)
    sleep 0.5
    [ "$before" = "$(all_counters)" ]
}
wait_until 20 quiet || fail "the counters never come to rest"

say "ovs-vsctl show"
ovs-vsctl show
say "port statistics"
ovs-ofctl dump-ports br0
if [ "$type" = netmap ]; then
    say "ovs-appctl netmap/show"
    switch_ctl netmap/show
fi

say "what the ports counted beside what the hosts counted"
row='%-5s %12s %12s %12s %12s %12s %12s\n'
printf "$row" port 'host sent' port.rx rx.dropped port.tx tx.dropped 'host got'
rx_total=0 tx_total=0 refused=0 dropped=0 wrong=0
for host in 1 2; do
    read -r rx rx_dropped tx tx_dropped sent got lost <<<"$(all_counters | sed -n "${host}p")"
    # A veth refuses a packet when the peer's backlog is full; the driver
    # counts that, after the port has sent it.
    printf "$row" "p$host" "$sent" "$rx" "$rx_dropped" "$tx" "$((tx_dropped + lost))" "$got"
    [ "$sent" -eq $((rx + rx_dropped)) ] || wrong=1
    [ "$tx" -eq $((got + lost)) ] || wrong=1
    rx_total=$((rx_total + rx)) tx_total=$((tx_total + tx)) refused=$((refused + tx_dropped))
    dropped=$((dropped + rx_dropped + tx_dropped + lost))
done

# What the switch itself threw away (a flow miss that found its queue full,
# say) is in its coverage counters.
inside=$(switch_ctl coverage/show | awk '/^datapath_drop_/ { n += $NF } END { print n + 0 }')
echo "dropped inside the datapath: $inside"
dropped=$((dropped + inside))
if [ "$type" = netmap ] && [ "$rx_total" -ne $((tx_total + refused + inside)) ]; then
    fail "of $rx_total packets received $tx_total were sent, $refused refused by a full ring," \
         "$inside dropped inside: they do not add up"
fi

[ "$wrong" -eq 0 ] || fail "the counters do not agree: sent = port.rx + rx.dropped, port.tx = got + dropped on the wire"
[ "$ping" = 20/20 ] || fail "ping lost packets: $ping"
[ "$tcp_mbps" -gt 0 ] && [ "$udp_pps" -gt 0 ] || fail "no traffic: tcp_mbps=$tcp_mbps udp_pps=$udp_pps"
if [ "$type" = netmap ]; then
    switch_ctl netmap/show |
        awk '/^region / { n++; if ($0 !~ / in_flight=0 .* balanced$/) bad = 1 } END { exit bad || !n }' ||
        fail "netmap/show: not every buffer is accounted for"
fi

ok=1
switch_stop
echo "demo: engine=${engine:-none} ovs=$version ports=2 ping=$ping tcp_mbps=$tcp_mbps udp_pps=$udp_pps" \
     "rx_packets=$rx_total tx_packets=$tx_total dropped=$dropped"
