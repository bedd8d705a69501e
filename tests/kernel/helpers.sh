# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What the tests in suite.sh are made of.  To be sourced after scripts/lib.sh.

# An Ethernet broadcast of 60 bytes.
FRAME=ffffffffffff02000000000288b5$(printf '%092d' 0)

# ---- results ----

result() { printf '%s\n' "$*" | tee -a "$RESULTS/results"; }

fail() {
    echo "$*" >"$RUN/reason"
    exit 1
}

skip() {
    echo "$*" >"$RUN/reason"
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
    wait_until 20 eval "[ \"\$($(printf '%q ' "$@"))\" = '$expected' ]" || same "$what" "$("$@")" "$expected"
}

# run_test NAME: test_NAME in a subshell, then whatever it left is taken away.
run_test() {
    local status=0 start=$SECONDS
    [[ $1 =~ ${TESTS:-.} ]] || return 0
    echo "did not end as it should" >"$RUN/reason"
    rm -f "$RUN/note"
    switch_lives || start_vswitchd
    set +e
    (set -eE; trap 'echo "line $LINENO: $BASH_COMMAND" >"$RUN/reason"' ERR; "test_$1") \
        >"$RUN/test.$1.log" 2>&1
    status=$?
    (after_test) >>"$RUN/test.$1.log" 2>&1
    [ $? -eq 0 ] || [ "$status" -ne 0 ] || status=1
    set -e
    case $status in
    0) result "ok $1 ($((SECONDS - start)) s$(cat "$RUN/note" 2>/dev/null))" ;;
    77) result "skipped $1: $(cat "$RUN/reason")" ;;
    *)
        result "FAILED $1: $(cat "$RUN/reason")"
        { show || true; grep -E '\|(WARN|ERR|EMER)\|' "$RUN/ovs-vswitchd.log" | tail -n 20; } >>"$RUN/test.$1.log" 2>&1
        ;;
    esac
}

# Nothing of the module's may be left once the ports are gone.
after_test() {
    end_pkt_gens
    switch_lives || fail "ovs-vswitchd has died"
    ovs-vsctl --timeout=60 --if-exists del-br br0 || true
    local name
    for name in v1 v2; do
        ip link del "$name" 2>/dev/null || true
    done
    for name in h1 h2; do
        ip netns del "$name" 2>/dev/null || true
    done
    wait_until 10 eval '! show | grep -q "^port \|^region "' ||
        fail "without ports there still is: $(show | grep -m 1 '^port \|^region ')"
    same "mappings of /dev/netmap without ports" \
        "$(grep -c /dev/netmap "/proc/$(cat "$RUN/ovs-vswitchd.pid")/maps")" 0
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
    ovsdb-server "$RUN/conf.db" --detach --no-chdir --remote="punix:$RUN/db.sock" \
        --unixctl="$RUN/ovsdb-server.ctl" --pidfile="$RUN/ovsdb-server.pid" \
        --log-file="$RUN/ovsdb-server.log" -vconsole:off >>"$RUN/daemons.log" 2>&1
    ovs-vsctl --timeout=10 --no-wait init -- set Open_vSwitch . \
        other_config:netmap-init=true other_config:netmap-engine=kernel
    start_vswitchd
}

start_vswitchd() {
    rm -f "$RUN/ovs-vswitchd.ctl"
    ovs-vswitchd "unix:$RUN/db.sock" --detach --no-chdir --unixctl="$RUN/ovs-vswitchd.ctl" \
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

# port NAME NUMBER NETMAP-PORT [SETTING...]
port() {
    local name=$1 number=$2 netmap=$3
    shift 3
    ovs-vsctl --timeout=60 add-port br0 "$name" -- set Interface "$name" type=netmap \
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

rxsyncs_in_ten_seconds() {
    local t0 t1 n0 n1
    t0=$(date +%s%N) n0=$(queue "$1" rxq rxsyncs)
    sleep 10
    t1=$(date +%s%N) n1=$(queue "$1" rxq rxsyncs)
    echo $(((n1 - n0) * 10000000000 / (t1 - t0)))
}

# ---- traffic ----

# pkt_gen NAME ARGUMENTS...: runs on, until end_pkt_gens.
pkt_gen() {
    local name=$1
    shift
    "$PKT_GEN" "$@" >"$RUN/$name.out" 2>&1 &
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
    wait_until 20 grep -q 'Ready' "$RUN/receive.out" || fail "pkt-gen does not open $name: $(tail -n 3 "$RUN/receive.out")"
}

# await_received COUNT: what it counted in the end.
await_received() {
    sleep 1
    end_pkt_gens
    same "packets that pkt-gen received" \
        "$(sed -n 's/^Received \([0-9]*\) packets.*/\1/p' "$RUN/receive.out")" "$1"
}

# send PORT COUNT: that many UDP packets of 60 bytes, at a rate that every VM
# takes: VALE drops what a full ring has no room for, and tells nobody.
send() {
    timeout 120 "$PKT_GEN" -i "$1" -f tx -n "$2" -l 60 -w 1 -R 2000 >"$RUN/send.out" 2>&1 ||
        fail "pkt-gen on $1: $(tail -n 3 "$RUN/send.out")"
    same "packets that pkt-gen sent" "$(sed -n 's/^Sent \([0-9]*\) packets.*/\1/p' "$RUN/send.out")" "$2"
}

# p1 on one VALE switch, p2 on another, and what comes in at p1 goes out at p2.
vale_to_vale() {
    bridge
    port p1 1 vale0:1
    port p2 2 vale1:1
    flow in_port=1,actions=output:2
}

# relay COUNT: so many from pkt-gen through p1 and p2 to pkt-gen, and all agree.
relay() {
    local in out
    in=$(counter p1 rx pkts) out=$(counter p2 tx pkts)
    receive vale1:2
    send vale0:2 "$1"
    await "packets received by p1" $((in + $1)) counter p1 rx pkts
    await "packets sent by p2" $((out + $1)) counter p2 tx pkts
    await_received "$1"
    same "bytes received by p1" "$(queue p1 rxq bytes)" $(((in + $1) * 60))
    same "packets of p1 in netmap/show" "$(queue p1 rxq packets)" $((in + $1))
    same "packets of p2 in netmap/show" "$(queue p2 txq packets)" $((out + $1))
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
