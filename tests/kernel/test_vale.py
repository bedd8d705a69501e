# SPDX-License-Identifier: Apache-2.0
"""Between ports of VALE switches."""

import re

from rig import await_same, same
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.layers.vxlan import VXLAN

from netmap_testlib.frames import FRAME, TAGGED

# FRAME in VXLAN as the switch sends it: the checksum of IP and the UDP source port are its choice.
IN_VXLAN = re.compile(
    "020000000002020000000001080045000060000040004011[0-9a-f]{4}0a5c00010a5c0002"
    f"[0-9a-f]{{4}}12b5004c00000800000000000700{FRAME.hex()}"
)


def test_vale_two_switches(rig):
    """Two ports with private regions by default: the second joins the first's."""
    rig.two_ports()
    same("regions of p1 and p2", rig.status("p1", "region"), rig.status("p2", "region"))
    same("regions", len(rig.switch.show().regions), 1)
    rig.relay(5000)
    rig.sent_by("p2", zero_copy=5000)
    rig.balanced()


def test_vale_copies_what_others_may_write(rig):
    """By default a frame is copied when it comes, since its sender may still have it."""
    rig.two_ports(trusted=False)
    same("rx-copy of p1", rig.status("p1", "rx-copy"), "yes")
    rig.relay(3000)
    rig.sent_by("p2", copied=3000)
    rig.flow("in_port=1,actions=mod_vlan_vid:100,output:2")
    rig.carry("vale0:2", "vale1:2", 300, FRAME, TAGGED)
    rig.balanced()


def test_vale_two_regions(rig):
    """Region 1 is another one than that of a VALE port."""
    rig.two_ports("vale0:1", "vale1:1@1")
    same("regions", len(rig.switch.show().regions), 2)
    rig.relay(3000)
    rig.sent_by("p2", copied=3000)
    rig.balanced()


def test_vale_two_ports_of_one_switch(rig):
    rig.bridge()
    rig.port("p1", 1, "vale0:1")
    rig.port("p2", 2, "vale0:3")
    rig.flow("actions=drop")
    # A broadcast gets to both.
    rig.send("vale0:2", 3000)
    await_same("packets of p1", 3000, lambda: rig.counter("p1", "rx"))
    await_same("packets of p2", 3000, lambda: rig.counter("p2", "rx"))
    # From one port to the other through the switch that both are on.
    rig.flow("in_port=3,actions=output:1")
    for _ in range(20):
        rig.switch.ofctl(
            "packet-out", "br0", f"in_port=CONTROLLER,packet={FRAME.hex()},actions=output:1"
        )
    await_same("packets of p2", 3020, lambda: rig.counter("p2", "rx"))
    same("packets sent by p1", rig.counter("p1", "tx"), 20)
    rig.balanced()


def test_vlan_push_and_pop_between_vale_ports(rig):
    """A pushed or popped tag leaves the frame where VALE cannot take it from."""
    rig.two_ports()
    rig.flow("in_port=1,actions=mod_vlan_vid:100,output:2")
    rig.carry("vale0:2", "vale1:2", 300, FRAME, TAGGED)
    rig.flow("in_port=1,actions=strip_vlan,output:2")
    rig.carry("vale0:2", "vale1:2", 300, TAGGED, FRAME)
    same("copied of p2", rig.queue("p2", "txq", "copied"), 600)
    # What was not changed is not copied, tagged or not.
    rig.flow("in_port=1,actions=output:2")
    rig.carry("vale0:2", "vale1:2", 300, TAGGED, TAGGED)
    same("zero_copy of p2", rig.queue("p2", "txq", "zero_copy"), 300)
    rig.balanced()


def through_vxlan(rig, source, sink, count, from_host=None, to_host=None):
    """With a header of 50 bytes; and back, as the tunnel's other end sends it."""
    rig.flow("in_port=1,actions=output:10")
    rig.flow("in_port=10,actions=output:1")
    rig.carry(source, sink, count, FRAME, IN_VXLAN, from_host, to_host)
    header = (
        Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01")
        / IP(src="10.92.0.2", dst="10.92.0.1", id=0, flags="DF")
        / UDP(sport=40000, dport=4789, chksum=0)
        / VXLAN(vni=7, flags=8)
    )
    rig.carry(sink, source, count, bytes(header / FRAME), FRAME, to_host, from_host)


def test_vxlan_push_and_pop_between_vale_ports(rig):
    rig.bridge()
    rig.port("p1", 1, "vale0:1")
    rig.tunnel("vale1:1")
    through_vxlan(rig, "vale0:2", "vale1:2", 300)
    same("copied of p1", rig.queue("p1", "txq", "copied"), 300)
    same("copied of p2", rig.queue("p2", "txq", "copied"), 300)
    same("bytes sent by p2", rig.queue("p2", "txq", "bytes"), 300 * 110)
    same("bytes sent by p1", rig.queue("p1", "txq", "bytes"), 300 * 60)
    rig.balanced()


def test_vxlan_push_and_pop_between_veths(rig):
    h1, h2 = rig.pair()
    rig.bridge()
    rig.port("p1", 1, "netmap:v1")
    rig.tunnel("netmap:v2")
    through_vxlan(rig, "h1", "h2", 300, h1, h2)
    for port in ("p1", "p2"):
        rig.sent_by(port, zero_copy=300)
    rig.balanced()


def test_vlan_push_and_pop_between_veths(rig):
    """The generic adapter takes a frame from any offset."""
    h1, h2 = rig.pair()
    rig.two_ports("netmap:v1", "netmap:v2")
    rig.flow("in_port=1,actions=mod_vlan_vid:100,output:2")
    rig.carry("h1", "h2", 300, FRAME, TAGGED, h1, h2)
    rig.flow("in_port=1,actions=strip_vlan,output:2")
    rig.carry("h1", "h2", 300, TAGGED, FRAME, h1, h2)
    rig.sent_by("p2", zero_copy=600)
    rig.balanced()


def test_failing_opens(rig):
    rig.bridge()
    rig.port("p1", 1, "vale0:1")
    rig.refused("p2", "vale0:1", "in use|busy|already")
    rig.refused("p3", "netmap:nosuch", "no interface named")
    rig.refused("p4", "vale0:5@4711", "no memory region 4711")
    rig.refused("p5", "netmap:x{", "x{")
    rig.flow("actions=drop")
    rig.send("vale0:2", 500)
    await_same("packets of p1", 500, lambda: rig.counter("p1", "rx"))
    rig.balanced()
