# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What the tests in suite.sh are made of.  To be sourced after scripts/lib.sh.

# An Ethernet broadcast of 60 bytes, and the same in VLAN 100.
FRAME=ffffffffffff02000000000288b5$(printf '%092d' 0)
TAGGED=${FRAME:0:24}81000064${FRAME:24}

# What stands before the command lines of daemons and pkt-gen: (ip netns exec NAME).  VALE switches are
# those of a network namespace.
IN=()

# ---- results ----

result() { printf '%s\n' "$*" | tee -a "$RESULTS/results"; }

fail() {
    tr '\n' ' ' <<<"$*" >"$REASON"
    exit 1
}

skip() {
    echo "$*" >"$REASON"
    exit 77
}

# note TEXT: for the line of a test that passes.
note() { printf '; %s' "$*" >>"$RUN/note"; }

# same WHAT VALUE EXPECTED
same() { [ "$2" = "$3" ] || fail "$1: $2, expected $3"; }

# await WHAT EXPECTED COMMAND...: until COMMAND prints EXPECTED.
await() {
    local what=$1 expected=$2
    shift 2
    wait_until 60 eval "[ \"\$($(printf '%q ' "$@"))\" = '$expected' ]" || same "$what" "$("$@")" "$expected"
}

# run_test NAME: test_NAME in a subshell, then whatever it left is taken away.
run_test() {
    local status=0 start=$SECONDS
    [[ $1 =~ ${TESTS:-.} ]] || return 0
    echo "did not end as it should" >"$REASON"
    rm -f "$RUN/note"
    switch_lives || start_vswitchd
    hold_region_1
    set +e
    (set -eE; trap 'echo "line $LINENO: $BASH_COMMAND" >"$REASON"' ERR; "test_$1") \
        >"$RUN/test.$1.log" 2>&1
    status=$?
    # What it leaves behind matters only if it passed.
    if ! (REASON=$RUN/left; after_test) >>"$RUN/test.$1.log" 2>&1 && [ "$status" -eq 0 ]; then
        status=1
        cp "$RUN/left" "$REASON"
    fi
    set -e
    case $status in
    0) result "ok $1 ($((SECONDS - start)) s$(cat "$RUN/note" 2>/dev/null))" ;;
    77) result "skipped $1: $(cat "$REASON")" ;;
    *)
        result "FAILED $1: $(cat "$REASON")"
        { show || true; grep -E '\|(WARN|ERR|EMER)\|' "$RUN/ovs-vswitchd.log" | tail -n 20; } >>"$RUN/test.$1.log" 2>&1
        ;;
    esac
}

# Nothing of the module's may be left once the ports are gone.
after_test() {
    end_pkt_gens
    switch_lives || fail "ovs-vswitchd has died"
    ovs-vsctl --timeout=60 --if-exists del-br br0 -- --if-exists del-br br1 -- \
        remove Open_vSwitch . other_config pmd-cpu-mask netmap-nextrabufs rxsync-intval \
        tx-flush-interval || true
    local name
    for name in v1 v2; do
        ip link del "$name" 2>/dev/null || true
    done
    for name in h1 h2 s2; do
        ip netns del "$name" 2>/dev/null || true
    done
    wait_until 10 eval '! show | grep -q "^port \|^region "' ||
        fail "without ports there still is: $(show | grep -m 1 '^port \|^region ')"
    same "mappings of /dev/netmap without ports" \
        "$(grep -c /dev/netmap "/proc/$(cat "$RUN/ovs-vswitchd.pid")/maps")" 0
    [ -e "$RUN/region-1" ] || return 0
    await "free buffers of region 1 (before the test, after it)" "$(cat "$RUN/region-1")" \
        "${FREE_BUFS[@]}" 1
}

# hold_region_1: somebody uses it, so that a buffer which does not come back is missed.
hold_region_1() {
    if ! kill -0 "$(cat "$RUN/holder" 2>/dev/null)" 2>/dev/null; then
        "${FRAMES[@]}" hold 1 2>"$RUN/holder.err" &
        echo $! >"$RUN/holder"
        wait_until 60 grep -q Ready "$RUN/holder.err" ||
            die "nobody can hold region 1: $(tail -n 1 "$RUN/holder.err")"
        "${FREE_BUFS[@]}" 1 >"$RUN/region-1"
    fi
}

# release_region_1: with nobody in it, the module has all of its buffers again.
release_region_1() {
    [ -e "$RUN/holder" ] || return 0
    local holder
    holder=$(cat "$RUN/holder")
    rm -f "$RUN/holder" "$RUN/region-1"
    kill "$holder" 2>/dev/null || return 0
    wait_until 10 eval "! kill -0 $holder 2>/dev/null"
}

# The crate's own tests, each as a test of this suite.
library_tests() {
    local name log path
    path=$(dirname "$PKT_GEN"):$(dirname "$PKT_GEN")/../vale-ctl:$PATH
    for name in $("$KERNEL_TEST" --list 2>/dev/null | sed -n 's/: test$//p'); do
        [[ library_$name =~ ${TESTS:-.} ]] || continue
        log=$RUN/library.$name.log
        if ! PATH=$path timeout 300 "$KERNEL_TEST" --include-ignored --nocapture --test-threads=1 \
            --exact "$name" >"$log" 2>&1; then
            result "FAILED library_$name: $(grep -m 1 -A 3 panicked "$log" | tr '\n' ' ')"
        elif grep -q 'skipped: ' "$log"; then
            result "skipped library_$name: $(sed -n 's/.*skipped: //p' "$log" | head -n 1)"
        else
            result "ok library_$name"
        fi
    done
}

# Nothing has the module in the end: no mapping, no descriptor, no packet.
unload_module() {
    # traffic.sh still needs it.
    [ "${IN_VM:-}" ] && [ -z "${TRAFFIC:-}" ] || return 0
    local holder said
    for holder in /sys/module/netmap/holders/*; do
        [ ! -e "$holder" ] || rmmod "$(basename "$holder")" || true
    done
    if said=$(rmmod netmap 2>&1); then
        result "ok module_unloads"
    else
        result "FAILED module_unloads: $said"
    fi
}

# No warning of the kernel in the whole run.
kernel_log() {
    dmesg 2>/dev/null | sed "1,/netmap suite $$ starts/d" >"$RUN/dmesg.log" || {
        result "skipped kernel_log: dmesg cannot be read"
        return
    }
    local bad
    bad=$(grep -m 1 -iE 'WARNING|BUG:|Oops|Call Trace|general protection|refcount|lockdep|hung task' "$RUN/dmesg.log" || true)
    if [ "$bad" ]; then result "FAILED kernel_log: $bad"; else result "ok kernel_log"; fi
}

# ---- the switch ----

start_switch() {
    export OVS_RUNDIR=$RUN OVS_LOGDIR=$RUN OVS_DBDIR=$RUN OVS_SYSCONFDIR=$RUN
    ovsdb-tool create "$RUN/conf.db" "$OVS_PKGDATADIR/vswitch.ovsschema"
    "${IN[@]}" ovsdb-server "$RUN/conf.db" --detach --no-chdir --remote="punix:$RUN/db.sock" \
        --unixctl="$RUN/ovsdb-server.ctl" --pidfile="$RUN/ovsdb-server.pid" \
        --log-file="$RUN/ovsdb-server.log" -vconsole:off >>"$RUN/daemons.log" 2>&1
    ovs-vsctl --timeout=10 --no-wait init -- set Open_vSwitch . \
        other_config:netmap-init=true other_config:netmap-engine=kernel
    start_vswitchd
}

start_vswitchd() {
    rm -f "$RUN/ovs-vswitchd.ctl"
    "${IN[@]}" ovs-vswitchd "unix:$RUN/db.sock" --detach --no-chdir --unixctl="$RUN/ovs-vswitchd.ctl" \
        --pidfile="$RUN/ovs-vswitchd.pid" --log-file="$RUN/ovs-vswitchd.log" \
        -vconsole:off >>"$RUN/daemons.log" 2>&1
    wait_until 30 eval 'show >/dev/null' || die "netmap ports were not enabled"
}

stop_switch() {
    [ ! -e "$RUN/ovs-vswitchd.pid" ] || switch_ctl exit --cleanup || true
    [ ! -e "$RUN/ovsdb-server.pid" ] ||
        ovs-appctl --timeout=10 -t "$RUN/ovsdb-server.ctl" exit || true
}

switch_lives() { kill -0 "$(cat "$RUN/ovs-vswitchd.pid" 2>/dev/null)" 2>/dev/null; }

show() { switch_ctl netmap/show; }

config() { ovs-vsctl --timeout=60 set Open_vSwitch . "${@/#/other_config:}"; }

bridge() {
    ovs-vsctl --timeout=60 add-br br0 -- set Bridge br0 datapath_type=netdev fail_mode=secure
}

# tunnel NETMAP-PORT: p2, on a bridge of its own, br1, with 10.92.0.1 and 02:00:00:00:00:01; port 10
# of br0 is a VXLAN tunnel with VNI 7 to 10.92.0.2 and 02:00:00:00:00:02 behind p2.
tunnel() {
    ovs-vsctl --timeout=60 add-br br1 -- set Bridge br1 datapath_type=netdev fail_mode=secure \
        'other_config:hwaddr="02:00:00:00:00:01"'
    sysctl -qw net.ipv6.conf.br1.disable_ipv6=1
    ip address add 10.92.0.1/24 dev br1
    ip link set br1 up
    BRIDGE=br1 port p2 2 "$1"
    ovs-ofctl add-flow br1 in_port=LOCAL,actions=output:2
    ovs-ofctl add-flow br1 in_port=2,actions=LOCAL
    ovs-vsctl --timeout=60 add-port br0 vx -- set Interface vx type=vxlan ofport_request=10 \
        options:remote_ip=10.92.0.2 options:key=7
    wait_until 20 eval 'switch_ctl ovs/route/show | grep -q "10.92.0.0/24 dev br1"' ||
        fail "the switch has no route to the tunnel's end"
    switch_ctl tnl/neigh/set br1 10.92.0.2 02:00:00:00:00:02
}

# port NAME NUMBER NETMAP-PORT [SETTING...]
port() {
    local name=$1 number=$2 netmap=$3
    shift 3
    ovs-vsctl --timeout=60 add-port "${BRIDGE:-br0}" "$name" -- set Interface "$name" type=netmap \
        ofport_request="$number" "options:netmap-port=\"$netmap\"" "$@"
    same "error of $name ($netmap)" "$(ovs-vsctl get Interface "$name" error)" '[]'
}

# refused NAME NETMAP-PORT PATTERN: it does not open, and the error says PATTERN.
refused() {
    local error
    ovs-vsctl --timeout=60 add-port br0 "$1" -- set Interface "$1" type=netmap \
        "options:netmap-port=\"$2\"" 2>/dev/null || true
    error=$(ovs-vsctl get Interface "$1" error)
    echo "$2: $error"
    [ "$error" != '[]' ] || fail "$2 opened"
    grep -q "$3" <<<"$error" || fail "the error of $2 does not say $3: $error"
    ovs-vsctl --timeout=60 del-port "$1"
}

flow() { ovs-ofctl add-flow br0 "$1"; }

status() { ovs-vsctl get Interface "$1" "status:$2" | tr -d '"'; }

# counter PORT rx|tx pkts|bytes|drop|errs: OpenFlow's, straight from the port.
counter() {
    ovs-ofctl dump-ports br0 "$1" | tr ',?' '  ' | awk -v way="$2" -v name="$3=" '{
        for (i = 1; i <= NF; i++)
            if ($i == "rx" || $i == "tx") now = $i
            else if (now == way && index($i, name) == 1) print substr($i, length(name) + 1) }'
}

# queue PORT rxq|txq NAME: the sum over its queues in netmap/show.
queue() {
    show | awk -v port="$1:" -v kind="$2" -v name="$3=" '
        /^port / { mine = ($2 == port) }
        mine && $1 == kind { for (i = 3; i <= NF; i++) if (index($i, name) == 1) n += substr($i, length(name) + 1) }
        END { print n + 0 }'
}

# Every buffer of every region is somewhere, and none is on its way.
balanced() {
    wait_until 10 eval '! show | grep "^region " | grep -qv " in_flight=0 .* balanced\$"' ||
        fail "buffers are missing: $(show | grep '^region ')"
}

# in_flight: packets that OVS has.
in_flight() { show | awk -F 'in_flight=' '/^region / { n += $2 } END { print n + 0 }'; }

rxsyncs_in_ten_seconds() {
    local t0 t1 n0 n1
    t0=$(date +%s%N) n0=$(queue "$1" rxq rxsyncs)
    sleep 10
    t1=$(date +%s%N) n1=$(queue "$1" rxq rxsyncs)
    echo $(((n1 - n0) * 10000000000 / (t1 - t0)))
}

# count_module_rxsyncs: counts calls of the module's rxsync of VALE ports, if the kernel has kprobes.
count_module_rxsyncs() {
    local tracing=/sys/kernel/tracing
    [ -e $tracing/kprobe_events ] || mount -t tracefs tracefs $tracing || true
    if ! echo 'p:netmap_suite/netmap_rxsyncs netmap_vp_rxsync' >>$tracing/kprobe_events; then
        note "no kprobes here"
        return 0
    fi
    echo 1 >$tracing/events/netmap_suite/netmap_rxsyncs/enable
    trap "echo 0 >$tracing/events/netmap_suite/netmap_rxsyncs/enable
        echo -:netmap_suite/netmap_rxsyncs >>$tracing/kprobe_events" EXIT
}

# rxsync_sample PORT: the time, netmap/show's count; the time, the module's count.
rxsync_sample() {
    echo "$(date +%s%N) $(queue "$1" rxq rxsyncs) $(date +%s%N) $(
        awk '$1 == "netmap_rxsyncs" { print $2 }' /sys/kernel/tracing/kprobe_profile 2>/dev/null)"
}

# rxsync_rates PORT: in ten seconds, by netmap/show and by the module.
rxsync_rates() {
    local a b
    read -ra a <<<"$(rxsync_sample "$1")"
    sleep 10
    read -ra b <<<"$(rxsync_sample "$1")"
    echo $(((b[1] - a[1]) * 10000000000 / (b[0] - a[0]))) \
        "${b[3]:+$(((b[3] - a[3]) * 10000000000 / (b[2] - a[2])))}"
}

# ---- traffic ----

# pkt_gen NAME ARGUMENTS...: runs on, until end_pkt_gens.
pkt_gen() {
    local name=$1
    shift
    "${IN[@]}" "$PKT_GEN" "$@" >"$RUN/$name.out" 2>&1 &
    echo $! >>"$RUN/pkt-gens"
}

# With SIGINT they close their ports and say what they did.
end_pkt_gens() {
    [ -e "$RUN/pkt-gens" ] || return 0
    local pid
    for pid in $(cat "$RUN/pkt-gens"); do
        kill -INT "$pid" 2>/dev/null || continue
        wait_until 10 eval "! kill -0 $pid 2>/dev/null" || kill -KILL "$pid" 2>/dev/null || true
    done
    rm -f "$RUN/pkt-gens"
}

# receive PORT [OPTION...]: a pkt-gen that counts what arrives there.
receive() {
    local name=$1
    shift
    pkt_gen receive -i "$name" -f rx -w 1 "$@"
    wait_until 60 grep -q 'Ready' "$RUN/receive.out" || fail "pkt-gen does not open $name: $(tail -n 3 "$RUN/receive.out")"
}

# await_received COUNT: what it counted in the end.
await_received() {
    sleep 1
    end_pkt_gens
    same "packets that pkt-gen received" \
        "$(sed -n 's/^Received \([0-9]*\) packets.*/\1/p' "$RUN/receive.out")" "$1"
}

# send PORT COUNT [NAMESPACE]: that many UDP packets of 60 bytes, at a rate that every VM takes: VALE
# drops what a full ring has no room for, and tells nobody.  GEN has further options for pkt-gen.
GEN=()
send() {
    local from=("${IN[@]}")
    [ -z "${3:-}" ] || from=(ip netns exec "$3")
    timeout 120 "${from[@]}" "$PKT_GEN" -i "$1" -f tx -n "$2" -l 60 -w 1 -R 2000 "${GEN[@]}" \
        >"$RUN/send.out" 2>&1 || fail "pkt-gen on $1: $(tail -n 3 "$RUN/send.out")"
    same "packets that pkt-gen sent" "$(sed -n 's/^Sent \([0-9]*\) packets.*/\1/p' "$RUN/send.out")" "$2"
}

# p1 on one VALE switch, p2 on another, and what comes in at p1 goes out at p2.
vale_to_vale() {
    bridge
    port p1 1 vale0:1
    port p2 2 vale1:1
    flow in_port=1,actions=output:2
}

# relay COUNT [PORT PORT]: so many from pkt-gen through p1 and p2 to pkt-gen, and all agree.
relay() {
    local in out
    in=$(counter p1 rx pkts) out=$(counter p2 tx pkts)
    receive "${3:-vale1:2}"
    send "${2:-vale0:2}" "$1"
    await "packets received by p1" $((in + $1)) counter p1 rx pkts
    await "packets sent by p2" $((out + $1)) counter p2 tx pkts
    await_received "$1"
    same "bytes received by p1" "$(queue p1 rxq bytes)" $(((in + $1) * 60))
    same "packets of p1 in netmap/show" "$(queue p1 rxq packets)" $((in + $1))
    same "packets of p2 in netmap/show" "$(queue p2 txq packets)" $((out + $1))
}

# throughput: packets a second that pkt-gen gets at vale1:2, of as many as it can send at vale0:2.
throughput() {
    receive vale1:2
    pkt_gen flood -i vale0:2 -f tx -w 1
    sleep 10
    end_pkt_gens
    sed -n 's/^Received \([0-9]*\) packets.* in \([0-9.]*\) seconds.*/\1 \2/p' "$RUN/receive.out" |
        awk '{ printf "%d", $1 / $2 }'
}

# collect PORT COUNT [NAMESPACE]: counts the frames that arrive there, for `collected`.
collect() {
    local in=()
    [ -z "${3:-}" ] || in=(ip netns exec "$3")
    "${in[@]}" "${FRAMES[@]}" receive "$1" "$2" 120 >"$RUN/frames.out" 2>"$RUN/frames.err" &
    COLLECTOR=$!
    echo "$COLLECTOR" >>"$RUN/pkt-gens"
    wait_until 60 grep -q Ready "$RUN/frames.err" || fail "$1 does not open: $(tail -n 1 "$RUN/frames.err")"
}

# collected COUNT PATTERN: so many came, and each one, in hex, is PATTERN (an extended regex).
collected() {
    wait "$COLLECTOR" || fail "the receiver ended: $(tail -n 1 "$RUN/frames.err")"
    ! grep -qvxE "[0-9]+ $2" "$RUN/frames.out" ||
        fail "instead of $2 there came: $(grep -vxE "[0-9]+ $2" "$RUN/frames.out" | head -n 3)"
    same "frames received" "$(awk '{ n += $1 } END { print n + 0 }' "$RUN/frames.out")" "$1"
}

# emit PORT COUNT HEX [NAMESPACE]: RATE frames a second.
emit() {
    local in=()
    [ -z "${4:-}" ] || in=(ip netns exec "$4")
    timeout 120 "${in[@]}" "${FRAMES[@]}" send "$1" "$2" "$3" "${RATE:-500}"
}

# carry FROM TO COUNT HEX PATTERN [NAMESPACE NAMESPACE]: what is sent there arrives here as PATTERN.
carry() {
    collect "$2" "$3" "${7:-}"
    emit "$1" "$3" "$4" "${6:-}"
    collected "$3" "$5"
}

# ---- hosts ----

# veth NAME HOST [QUEUES]: a pair with its other end in namespace HOST.
veth() {
    local name=$1 host=$2 queues=${3:-1}
    ip netns add "$host"
    ip link add "$name" numtxqueues "$queues" numrxqueues "$queues" type veth \
        peer name "$host" netns "$host" numtxqueues "$queues" numrxqueues "$queues"
    sysctl -qw "net.ipv6.conf.$name.disable_ipv6=1"
    ip netns exec "$host" sysctl -qw "net.ipv6.conf.$host.disable_ipv6=1"
    ip link set "$name" up
    ip netns exec "$host" ip link set "$host" up
}

# v1 with 10.91.0.1 behind it, and v2 with 10.91.0.2.
hosts() {
    local n
    for n in 1 2; do
        veth "v$n" "h$n"
        ip netns exec "h$n" ip address add "10.91.0.$n/24" dev "h$n"
    done
}

# ping_hosts NAMESPACE ADDRESS: 20 pings, all answered; from here without NAMESPACE.
ping_hosts() {
    local from=()
    [ -z "$1" ] || from=(ip netns exec "$1")
    # The first one waits for ARP and for the flow to be made.
    wait_until 20 "${from[@]}" ping -q -c 1 -W 1 "$2" || fail "no ping gets through"
    same "pings answered" "$("${from[@]}" ping -c 20 -i 0.1 -W 5 "$2" |
        sed -n 's/.* \([0-9]*\) received.*/\1/p')" 20
}
