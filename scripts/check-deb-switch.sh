#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
#
# check-deb-switch.sh stock|netmap: starts the Open vSwitch that is installed, with
# two netmap ports and a ping between them, or, with the stock one, to see that
# it has no such ports.  check-deb.sh runs it in a chroot.
set -e
die() { echo "error: $*" >&2; tail -n 20 /run/openvswitch/*.log >&2; exit 1; }
export OVS_RUNDIR=/run/openvswitch OVS_LOGDIR=/run/openvswitch
mount -t tmpfs run /run
mkdir -p "$OVS_RUNDIR"
sysctl -qw net.ipv6.conf.all.disable_ipv6=1 net.ipv6.conf.default.disable_ipv6=1
ovsdb-tool create /run/conf.db /usr/share/openvswitch/vswitch.ovsschema
ovsdb-server /run/conf.db --remote=punix:/run/openvswitch/db.sock --detach --pidfile --log-file -vconsole:off
ovs-vsctl --no-wait init -- set Open_vSwitch . other_config:netmap-init=true
/usr/sbin/ovs-vswitchd --detach --pidfile --log-file -vconsole:off
ovs-vsctl --timeout=20 add-br br0 -- set Bridge br0 datapath_type=netdev
if [ "$1" = stock ]; then
    ovs-vsctl --timeout=20 add-port br0 p1 -- set Interface p1 type=netmap 2>/dev/null || [ $? -eq 65 ]
    grep 'unknown type netmap' "$OVS_LOGDIR/ovs-vswitchd.log" || die "the stock binary has netmap ports"
    ovs-appctl exit
    exit 0
fi
for host in 1 2; do
    ip netns add "h$host"
    ip link add "p$host" type veth peer name "h$host" netns "h$host"
    ip netns exec "h$host" ip address add "10.90.0.$host/24" dev "h$host"
    ip netns exec "h$host" ip link set "h$host" up
    ip link set "p$host" up
    ovs-vsctl --timeout=20 add-port br0 "p$host" -- set Interface "p$host" type=netmap
    [ "$(ovs-vsctl get Interface "p$host" error)" = '[]' ] || die "$(ovs-vsctl get Interface "p$host" error)"
done
# ping(8) would wait for the last answer for two round trips only.
pings=$(ip netns exec h1 fping -q -c 20 -p 100 -t 10000 10.90.0.2 2>&1) || true
echo "$pings"
echo "$pings" | grep -q ' = 20/20/0%' || die "pings are lost"
ovs-appctl netmap/show
ovs-appctl netmap/show | grep '^region ' | grep -q ' balanced' || die "buffers are missing"
ovs-appctl exit
