#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The patched OVS that was built without netmap: netmap-init=true is logged
# once, at ERR, a netmap port is an error in the database, and nothing else
# happens.
. "$(dirname "$0")/lib.sh"

need_root
isolate "$@"
run=$BUILD/run/plain
use_tree "$(ovs_tree -plain)"
on_exit switch_stop
switch_start "$run" set Open_vSwitch . other_config:netmap-init=true

ovs-vsctl --timeout=20 add-br br0 -- set Bridge br0 datapath_type=netdev \
    -- add-port br0 n0 -- set Interface n0 type=netmap options:netmap-port=null:0
# More passes of bridge_run().
for pass in 1 2 3; do
    ovs-vsctl --timeout=20 set Open_vSwitch . other_config:netmap-nextrabufs="$pass"00
done

log=$run/ovs-vswitchd.log
said=$(grep -c '|ERR|.*netmap' "$log" || true)
[ "$said" -eq 1 ] || die "$said lines about netmap at ERR in $log, wanted 1"
error=$(ovs-vsctl get Interface n0 error)
[ "$error" != '[]' ] || die "a netmap port raised no error"
echo "log:   $(grep '|ERR|.*netmap' "$log")"
echo "error: $error"
! ldd "$(command -v ovs-vswitchd)" | grep netmap || die "it is linked with the library"
switch_ctl version
