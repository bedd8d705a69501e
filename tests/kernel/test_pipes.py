# SPDX-License-Identifier: Apache-2.0
"""Netmap pipes, which have no slot offsets at all."""

from rig import same

from netmap_testlib.frames import FRAME, TAGGED


def test_vlan_push_and_pop_between_pipes(rig):
    rig.two_ports("netmap:x{1", "netmap:y{1")
    rig.flow("in_port=1,actions=mod_vlan_vid:100,output:2")
    rig.carry("netmap:x}1", "netmap:y}1", 300, FRAME, TAGGED)
    rig.flow("in_port=1,actions=strip_vlan,output:2")
    rig.carry("netmap:x}1", "netmap:y}1", 300, TAGGED, FRAME)
    rig.sent_by("p2", copied=600)
    rig.balanced()


def test_pipe_with_both_ends_in_ovs(rig):
    rig.two_ports()
    rig.port("a", 3, "netmap:x{1")
    rig.port("b", 4, "netmap:x}1")
    rig.flow("in_port=1,actions=output:3")
    rig.flow("in_port=4,actions=output:2")
    rig.relay(3000)
    same("packets sent into the pipe", rig.counter("a", "tx"), 3000)
    same("packets received from it", rig.counter("b", "rx"), 3000)
    rig.balanced()


def test_pipes_to_pkt_gen(rig):
    rig.two_ports("netmap:x{1", "netmap:y{1")
    rig.receive("netmap:y}1")
    rig.send("netmap:x}1", 3000)
    rig.await_received(3000)
    same("packets received by p1", rig.counter("p1", "rx"), 3000)
    same("packets sent by p2", rig.counter("p2", "tx"), 3000)
    rig.balanced()
