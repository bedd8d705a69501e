#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Months of use in minutes: traffic of all kinds through netmap ports, while
# ports are deleted and added, queues and threads reconfigured, interfaces
# flapped, deleted and made again, and flows changed from action to action.
# Then all buffers must be there, all hosts must reach each other, and the
# memory of ovs-vswitchd must not have grown.
#
#   h1 h2 h3 h4     h5                               h6
#    |  |  |  |      |                                |
#   p1 p2 p3 p4     p5                               p6
#    +--br0--+      brx - tunnel - bru - u1 ==== u2 - brv - tunnel - bry
#                     +---- patch ---+                +---- patch ----+
#
# h1 and h2 have two queues, p3 is the port that comes and goes, and the
# interface of p4 does.  SOAK_MINUTES says how long all this takes.  The last
# line is "soak: minutes=M port_cycles=N packets=N lost_buffers=N errors=N".
. "$(dirname "$0")/lib.sh"

minutes=${SOAK_MINUTES:-10}

if [ -z "${NETMAP_ISOLATED:-}" ]; then
    need_root
    [[ $minutes =~ ^[1-9][0-9]*$ ]] || die "SOAK_MINUTES=$minutes: expected a number of minutes"
    need_packages "${BUILD_PACKAGES[@]}" "${RUN_PACKAGES[@]}"
    "$ROOT/scripts/build-lib.sh"
    "$ROOT/scripts/build-ovs.sh"
fi
isolate "$@"

# ovs-vswitchd may have grown by that much from the first fifth on, in kB.  In
# the first minutes all kinds of things happen for the first time.
memory_limit=${SOAK_MEMORY_LIMIT:-$((minutes < 5 ? 8192 : 4096))}
# Each polling thread has 8 MB of flow cache, which malloc keeps or gives back as
# it happens to lie; mapped one by one they go with their thread.
export MALLOC_MMAP_THRESHOLD_=1048576

# The switch polls on two of the CPUs that this script may use (under taskset).
mapfile -t cpus < <(awk '$1 == "Cpus_allowed_list:" {
    for (n = split($2, part, ","); i++ < n;) {
        split(part[i], ends, "-")
        for (cpu = ends[1]; cpu <= (ends[2] == "" ? ends[1] : ends[2]); cpu++) print cpu
    }
}' /proc/self/status)
# threads MASK: as a pmd-cpu-mask; bit 0 of MASK is the first of these CPUs.
threads() {
    local first=$((1 << cpus[0])) second=$((1 << ${cpus[1]:-${cpus[0]}}))
    printf '0x%x' $((($1 & 1 ? first : 0) | ($1 & 2 ? second : 0)))
}

run=$BUILD/run/soak
use_tree "$(ovs_tree)"
mkdir -p "$BUILD/run"
exec {lock}>"$run.lock"
flock -n "$lock" || die "another soak is running in $run"

# ---- errors ----

errors=0
error() {
    errors=$((errors + 1))
    printf 'soak: error after %d s: %s\n' $((SECONDS - start)) "$*" >&2
    # Something is wrong for good; more of it would not say more.
    [ "$errors" -lt 20 ] || exit 1
}

# try COMMAND...: its failure is an error, but not the end.
try() {
    local output
    output=$("$@" 2>&1) || error "$*: status $?: $output"
}

vsctl() { ovs-vsctl --timeout=30 "$@"; }
flows() { ovs-ofctl -O OpenFlow15 --bundle replace-flows "$1" -; }

# ---- hosts ----

hosts=(1 2 3 4 5 6)
mac() { printf '02:00:00:00:00:%02x' "$1"; }

# peers HOST: those that it can reach.
peers() {
    case $1 in
    5) echo 6 ;;
    6) echo 5 ;;
    *) echo 1 2 3 4 | tr -d "$1" ;;
    esac
}

# connect HOST: makes its veth pair.
connect() {
    local i=$1 queues=()
    [ "$i" -gt 2 ] || queues=(numrxqueues 2 numtxqueues 2)
    ip link add "p$i" "${queues[@]}" type veth peer name "h$i" "${queues[@]}" netns "h$i"
    ip netns exec "h$i" ethtool -K "h$i" tx off txvlan off >/dev/null 2>&1
    ip -n "h$i" link set "h$i" address "$(mac "$i")" up
    ip -n "h$i" address add "10.90.0.$i/24" dev "h$i"
    neighbours "$i"
    ip link set "p$i" up
}

# neighbours HOST: they are gone when its interface was down.
neighbours() {
    local i=$1 peer
    for peer in $(peers "$i"); do
        ip -n "h$i" neighbour replace "10.90.0.$peer" lladdr "$(mac "$peer")" dev "h$i" nud permanent
    done
    # Who h1 is when br0 translates its address.
    [ "$i" -eq 1 ] || ip -n "h$i" neighbour replace 10.90.0.200 lladdr "$(mac 1)" dev "h$i" nud permanent
}

# A host's own counters, kept when its interface goes.
past=0
count_packets() {
    local i
    for i; do
        cat_counter "$i" tx_packets
        cat_counter "$i" rx_packets
    done | awk '{ n += $1 } END { print n + 0 }'
}
cat_counter() { ip netns exec "h$1" cat "/sys/class/net/h$1/statistics/$2"; }

# ---- traffic ----

traffic_pids=()
# forever HOST COMMAND...: again and again, in the host's namespace.
forever() {
    local host=$1
    shift
    # The loop ends with its file.
    while [ -e "$run/traffic" ]; do
        setpriv --pdeathsig KILL -- ip netns exec "h$host" "$@" || sleep 0.2
    done >/dev/null 2>&1 {lock}>&- &
    traffic_pids+=($!)
}

# UDP of all sizes, up to three fragments, to all peers.
cat_udp() {
    cat <<'END'
import random
import socket
import sys
import time

s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("", 7000))
s.setblocking(False)
peers = ["10.90.0." + host for host in sys.argv[1:]]
data = random.randbytes(4000)
end = time.time() + 20
while time.time() < end:
    for _ in range(random.choice((1, 8, 64))):
        size = random.choice((random.randint(0, 100), random.randint(0, 1472),
                              1472, random.randint(1473, 4000)))
        try:
            s.sendto(data[:size], (random.choice(peers), random.choice((7000, 7001, 9))))
        except OSError:
            pass
    try:
        while True:
            s.recv(65535)
    except OSError:
        pass
    time.sleep(0.004)
END
}

start_traffic() {
    local i
    touch "$run/traffic"
    cat_udp >"$run/udp.py"
    for i in "${hosts[@]}"; do
        # shellcheck disable=SC2046
        forever "$i" timeout 30 python3 "$run/udp.py" $(peers "$i")
        forever "$i" timeout 10 ping -q -i 0.01 -s "$((i * 200))" "10.90.0.$(peers "$i" | tr ' ' '\n' | grep . | tail -n 1)"
    done
    # Both directions at a time.  A server that lost its client ends by itself.
    for i in 2 6; do
        forever "$i" timeout 15 iperf3 -s -1 -B "10.90.0.$i"
        forever $((i - 1)) timeout 14 iperf3 -c "10.90.0.$i" -t 10 --bidir --connect-timeout 1000
    done
}

stop_traffic() {
    local pid
    rm -f "$run/traffic"
    for pid in "${traffic_pids[@]}"; do
        # The loop's child, then the loop.
        pkill -TERM -P "$pid" 2>/dev/null || true
    done
    for pid in "${traffic_pids[@]}"; do
        wait "$pid" 2>/dev/null || true
    done
    traffic_pids=()
}

# ---- the switch ----

# All ports of br0, by the number of their host.
add_port() {
    local i
    for i; do
        try vsctl add-port br0 "p$i" -- set Interface "p$i" type=netmap "ofport_request=$i"
    done
}

# Only what nobody took away may have an error.  The kernel may be slow to give a
# queue free; such a port comes back by itself.
check_errors() {
    local port
    for port in p1 p2 p3 p5 p6 u1 u2; do
        wait_until 30 has_no_error "$port" ||
            error "port $port: $(vsctl get Interface "$port" error)"
    done
}
has_no_error() { [ "$(vsctl get Interface "$1" error)" = '[]' ]; }

# What no interface can do to a port, and no rate of packets: a ring or a
# descriptor that makes no sense.
check_counters() {
    local found
    found=$(switch_ctl netmap/show | awk '
        $1 == "port" { port = $2 }
        {
            for (i = 1; i <= NF; i++)
                if ($i ~ /^([rt]x_)?(bad_|invalid_descs|sync_errors)[a-z]*=[1-9]/) print port, $i
        }')
    [ -z "$found" ] || error "counted: ${found//$'\n'/, }"
}

# The addresses of the tunnel are this host's own, but the packets are not to go
# the short way.
prepare_tunnel() {
    local bridge i
    ip link add u1 type veth peer name u2
    for i in 1 2; do
        ethtool -K "u$i" tx off txvlan off >/dev/null 2>&1
        ip link set "u$i" mtu 1600 up
    done
    try vsctl -- add-port bru u1 -- set Interface u1 type=netmap ofport_request=1 \
        -- add-port brv u2 -- set Interface u2 type=netmap ofport_request=1 \
        -- add-port brx p5 -- set Interface p5 type=netmap ofport_request=1 \
        -- add-port bry p6 -- set Interface p6 type=netmap ofport_request=1 \
        -- add-port brx xu -- set Interface xu type=patch options:peer=ux ofport_request=3 \
        -- add-port bru ux -- set Interface ux type=patch options:peer=xu ofport_request=3 \
        -- add-port bry yv -- set Interface yv type=patch options:peer=vy ofport_request=3 \
        -- add-port brv vy -- set Interface vy type=patch options:peer=yv ofport_request=3
    ip address add 172.31.0.1/16 dev bru
    ip address add 172.31.0.2/16 dev brv
    for bridge in bru brv; do
        ip link set "$bridge" up
    done
    ip route del table local 172.31.0.1
    ip route del table local 172.31.0.2
    wait_until 10 eval '! switch_ctl ovs/route/show | grep -q "172.31.0.[12]/32.*local"' || true
    try vsctl -- add-port brx tunx -- set Interface tunx type=vxlan ofport_request=2 options:remote_ip=172.31.0.2 options:key=5 \
        -- add-port bry tuny -- set Interface tuny type=vxlan ofport_request=2 options:remote_ip=172.31.0.1 options:key=5
    try switch_ctl ovs/route/add 172.31.0.2/32 bru
    try switch_ctl ovs/route/add 172.31.0.1/32 brv
}
tunnel_neighbours() {
    try switch_ctl tnl/neigh/set bru 172.31.0.2 "$(cat /sys/class/net/brv/address)"
    try switch_ctl tnl/neigh/set brv 172.31.0.1 "$(cat /sys/class/net/bru/address)"
}

# ---- what OVS can do to a packet ----

actions=(normal several change truncate controller meter drop conntrack nat
         group mpls clone mirror)
# br0_does ACTION: it, for all or some of the packets of br0.
br0_does() {
    if [ "$1" = mirror ]; then
        try vsctl -- --id=@p get Port p4 -- --id=@m create Mirror name=m select-all=true output-port=@p \
            -- set Bridge br0 mirrors=@m
    else
        try vsctl clear Bridge br0 mirrors
    fi
    try flows br0 <<<"$(br0_flows "$1")"
}
br0_flows() {
    case $1 in
    normal | mirror) echo 'actions=normal' ;;
    several)
        echo 'in_port=1 actions=output:2,output:3,output:4'
        echo 'in_port=2 actions=output:3,output:1,output:4'
        echo 'in_port=3 actions=output:1,in_port,output:2'
        echo 'in_port=4 actions=output:1,output:LOCAL'
        ;;
    change)
        echo 'priority=1,ip actions=set_field:02:00:00:00:00:77->eth_src,dec_ttl,normal'
        echo 'priority=0 actions=normal'
        ;;
    truncate)
        echo 'in_port=1 actions=output(port=3,max_len=100),output:2,output(port=4,max_len=14)'
        echo 'in_port=2 actions=output(port=4,max_len=1000),output:1'
        ;;
    controller)
        echo 'priority=1,udp,tp_dst=9 actions=controller(max_len=128),normal'
        echo 'priority=1,icmp actions=normal,controller'
        echo 'priority=0 actions=normal'
        ;;
    meter)
        echo 'priority=1,icmp actions=normal'
        echo 'priority=0 actions=meter:1,normal'
        ;;
    drop)
        echo 'priority=1,udp actions=drop'
        echo 'priority=0 actions=normal'
        ;;
    conntrack)
        echo 'table=0,priority=1,ip actions=ct(commit,zone=1,table=1)'
        echo 'table=0,priority=0 actions=normal'
        echo 'table=1 actions=normal'
        ;;
    nat)
        echo 'table=0,priority=1,in_port=1,ip actions=ct(commit,zone=2,nat(src=10.90.0.200),table=1)'
        echo 'table=0,priority=1,in_port=2,ip actions=ct(zone=2,nat,table=1)'
        echo 'table=0,priority=0 actions=normal'
        echo 'table=1 actions=normal'
        ;;
    group)
        echo 'priority=1,in_port=1,ip actions=group:1'
        echo 'priority=0 actions=normal'
        ;;
    mpls)
        echo 'table=0,priority=1,ip actions=push_mpls:0x8847,set_field:76->mpls_label,push_mpls:0x8847,set_field:77->mpls_label,pop_mpls:0x8847,pop_mpls:0x0800,goto_table:1'
        echo 'table=0,priority=0 actions=normal'
        echo 'table=1 actions=normal'
        ;;
    clone)
        echo 'priority=1,in_port=1 actions=clone(push_vlan:0x8100,set_field:4196->vlan_vid,output:3),clone(set_field:02:00:00:00:00:04->eth_dst,output:4),normal'
        echo 'priority=0 actions=normal'
        ;;
    esac
}

ways=(vxlan vlan geneve qinq gre nsh)
# pair_by WAY: how packets get from brx to bry.
pair_by() {
    local side push pop
    case $1 in
    vxlan | geneve | gre)
        try vsctl set Interface tunx "type=$1" -- set Interface tuny "type=$1"
        for side in x y; do
            try flows "br$side" <<<$'in_port=1 actions=output:2\nin_port=2 actions=output:1'
        done
        for side in u v; do
            try flows "br$side" <<<'actions=normal'
        done
        tunnel_neighbours
        return
        ;;
    vlan)
        push=mod_vlan_vid:100
        pop='table=0,in_port=3,dl_vlan=100 actions=strip_vlan,output:1'
        ;;
    qinq)
        push='push_vlan:0x8100,set_field:4396->vlan_vid,push_vlan:0x88a8,set_field:4296->vlan_vid'
        pop='table=0,in_port=3,dl_vlan=200 actions=pop_vlan,resubmit(,1)
table=1,dl_vlan=300 actions=pop_vlan,output:1'
        ;;
    nsh)
        push='encap(nsh(md_type=1)),set_field:0x1234->nsh_spi,encap(ethernet),set_field:02:00:00:00:00:01->eth_dst'
        pop='table=0,in_port=3,dl_type=0x894f actions=decap(),decap(),output:1'
        ;;
    esac
    for side in x y; do
        try flows "br$side" <<<"table=0,in_port=1 actions=$push,output:3"$'\n'"$pop"
    done
    for side in u v; do
        try flows "br$side" <<<$'in_port=3 actions=output:1\nin_port=1 actions=output:3'
    done
}

# ---- one round of changes ----

port_cycles=0
round() {
    local i=$1
    local action=${actions[i % ${#actions[@]}]} way=${ways[i % ${#ways[@]}]}
    br0_does "$action"
    pair_by "$way"
    wait_until 10 reach 1 2 || error "h1 does not reach h2 through $action"
    wait_until 10 reach 5 6 || error "h5 does not reach h6 through $way"

    # Ports go and come: one, that with several queues too, all of br0.
    case $((i % 8)) in
    3) cycle 1 2 ;;
    # A mirror without the port that it goes to is an error in the log.
    7) if [ "$action" = mirror ]; then cycle 1 2 3; else cycle 1 2 3 4; fi ;;
    *) cycle 3 ;;
    esac

    # Queues, threads, intervals.
    try vsctl -- set Interface "p$((i / 2 % 2 + 1))" "options:n_rxq=$((i % 2 + 1))" \
        -- set Open_vSwitch . "other_config:rxsync-intval=$((i * 7 % 40))"
    [ $((i % 3)) -ne 0 ] || try vsctl set Open_vSwitch . "other_config:pmd-cpu-mask=$(threads $((i / 3 % 3 + 1)))"

    # The interface of p4: down and up, another MTU, gone and back.
    case $((i % 4)) in
    0)
        try ip link set p4 down
        sleep 0.3
        try ip link set p4 up
        ;;
    1) try ip link set p4 mtu 1400 ;;
    2)
        try ip netns exec h4 ip link set h4 down
        sleep 0.3
        try ip netns exec h4 ip link set h4 up
        ;;
    3)
        past=$((past + $(count_packets 4)))
        try ip link del p4
        sleep 0.3
        connect 4
        ;;
    esac
    neighbours 4
    check_errors
    check_counters
}

cycle() {
    local i
    for i; do
        try vsctl del-port "p$i"
    done
    add_port "$@"
    port_cycles=$((port_cycles + $#))
}

# ---- memory and buffers ----

memory() { awk '$1 == "VmRSS:" { print $2 }' "/proc/$VSWITCHD_PID/status"; }

# middle FROM TO: the median of the samples in between, which are parts of the
# whole in percent.
middle() {
    awk -v from="$1" -v to="$2" -v total="$total" \
        '$1 * 100 >= from * total && $1 * 100 <= to * total { print $2 }' "$run/memory" | sort -n |
        awk '{ v[NR] = $1 } END { print NR ? v[int((NR + 1) / 2)] : 0 }'
}

# lost: buffers that are missing or in nobody's hands but the switch's.
lost() {
    switch_ctl netmap/show | awk '
        /^region / {
            for (i = 1; i <= NF; i++) {
                if (sub(/^in_flight=/, "", $i)) n += $i
                if ($i == "UNBALANCED") n += $(i + 2) < 0 ? -$(i + 2) : $(i + 2)
            }
        }
        END { print n + 0 }'
}
nothing_lost() { [ "$(lost)" -eq 0 ]; }

quiet() {
    local before
    before=$(switch_ctl netmap/show | sed 's/rxsyncs=[0-9]*//')
    sleep 0.5
    [ "$before" = "$(switch_ctl netmap/show | sed 's/rxsyncs=[0-9]*//')" ]
}

reach() { ip netns exec "h$1" ping -q -c 1 -W 1 "10.90.0.$2" >/dev/null; }

# ---- all of it ----

start=$SECONDS
done=
on_exit 'stop_traffic; switch_stop; [ "$done" ] || echo "soak: FAILED; logs are in $run" >&2'

say "six hosts, and a switch with netmap ports"
sysctl -qw net.ipv6.conf.{all,default}.disable_ipv6=1
for i in "${hosts[@]}"; do
    ip netns add "h$i"
    ip netns exec "h$i" sysctl -qw net.ipv6.conf.{all,default}.disable_ipv6=1
    connect "$i"
done
switch_start "$run" set Open_vSwitch . other_config:netmap-init=true \
    "other_config:pmd-cpu-mask=$(threads 1)" other_config:vlan-limit=0
for bridge in br0 brx bry bru brv; do
    try vsctl add-br "$bridge" -- set Bridge "$bridge" datapath_type=netdev fail-mode=secure
done
add_port 1 2 3 4
prepare_tunnel
try ovs-ofctl -O OpenFlow15 add-meter br0 'meter=1 pktps burst stats bands=type=drop rate=3000 burst_size=100'
try ovs-ofctl -O OpenFlow15 add-group br0 'group_id=1,type=select,selection_method=dp_hash,bucket=bucket_id=1,actions=output:2,bucket=bucket_id=2,actions=output:2,bucket=bucket_id=3,actions=output:3,output:2,output:4'
ovs-ofctl monitor br0 65534 --detach --no-chdir --pidfile="$run/monitor.pid" >/dev/null 2>&1
on_exit 'pid=$(cat "$run/monitor.pid" 2>/dev/null) && kill "$pid"'
br0_does normal
pair_by vxlan
check_errors
[ "$errors" -eq 0 ] || exit 1

total=$((minutes * 60))
say "$minutes minutes of traffic and changes"
start_traffic
start=$SECONDS
i=0 next=60
while [ $((SECONDS - start)) -lt "$total" ]; do
    round "$i"
    i=$((i + 1))
    kill -0 "$VSWITCHD_PID" 2>/dev/null || {
        error "ovs-vswitchd ended: $(tail -n 3 "$run/ovs-vswitchd.out")"
        exit 1
    }
    echo "$((SECONDS - start)) $(memory)" >>"$run/memory"
    if [ $((SECONDS - start)) -ge "$next" ]; then
        printf '    ... %d s, %d rounds, %d port cycles, %d packets, %d kB, %d errors\n' \
            "$next" "$i" "$port_cycles" $((past + $(count_packets "${hosts[@]}"))) "$(memory)" "$errors"
        next=$((next + 60))
    fi
done

say "the traffic stops; is all there?"
stop_traffic
packets=$((past + $(count_packets "${hosts[@]}")))
br0_does normal
pair_by vxlan
for i in "${hosts[@]}"; do
    for peer in $(peers "$i"); do
        wait_until 10 reach "$i" "$peer" || error "h$i does not reach h$peer any more"
    done
done
wait_until 20 quiet || error "the ports do not come to rest"
# A packet that is on its way just now is not lost; one that waits for the rest
# of its fragments goes after a while.
lost_buffers=0
wait_until 30 nothing_lost || lost_buffers=$(lost)
switch_ctl netmap/show | grep '^region '

# With the last port and the datapath, every region goes.
for bridge in br0 brx bry bru brv; do
    try vsctl del-br "$bridge"
done
wait_until 20 eval '[ -z "$(switch_ctl netmap/show | grep "^region ")" ]' || {
    error "a region is left without ports: $(switch_ctl netmap/show | grep '^region ')"
}
logged=$(grep -cE '\|(ERR|EMER)\|' "$run/ovs-vswitchd.log" || true)
if [ "$logged" -ne 0 ]; then
    grep -m 5 -E '\|(ERR|EMER)\|' "$run/ovs-vswitchd.log" >&2
    error "$logged errors in $run/ovs-vswitchd.log"
fi

first=$(middle 20 35) last=$(middle 85 100)
echo "memory of ovs-vswitchd: $first kB after the first fifth, $last kB at the end," \
     "$((last - first)) kB more; the limit is $memory_limit kB"
[ $((last - first)) -le "$memory_limit" ] || error "the memory of ovs-vswitchd grows"
[ "$packets" -gt 0 ] || error "no packets"

done=1
echo "soak: minutes=$minutes port_cycles=$port_cycles packets=$packets lost_buffers=$lost_buffers errors=$errors"
[ "$errors" -eq 0 ] && [ "$lost_buffers" -eq 0 ]
