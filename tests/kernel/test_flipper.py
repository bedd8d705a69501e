# SPDX-License-Identifier: Apache-2.0
"""A peer that changes frames while Open vSwitch works on them."""

import sys
import time

import pytest
from rig import same
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6ND_NS, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.layers.l2 import ARP, Dot1Q, Ether
from scapy.layers.vxlan import VXLAN

from netmap_testlib import spawn, wait_until
from netmap_testlib.frames import FRAME, open_port

SECONDS = 60
INNER = bytes(
    Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01")
    / IP(src="10.93.0.1", dst="10.93.0.2")
    / UDP(sport=1, dport=2)
    / bytes(18)
)
TO_BRIDGE = Ether(src="02:00:00:00:00:02", dst="02:00:00:00:00:01")
TO_TUNNEL = TO_BRIDGE / IP(src="10.92.0.2", dst="10.92.0.1")


def nsh(md_type, words, rest):
    """An NSH header of that many words, in an Ethernet frame."""
    header = (63 << 6 | words).to_bytes(2, "big") + bytes([md_type, 3]) + bytes.fromhex("000123ff")
    return INNER[:12] + bytes.fromhex("894f") + header + rest + INNER


def mpls(*labels):
    stack = b"".join(
        (label << 12 | (label == labels[-1]) << 8 | 64).to_bytes(4, "big") for label in labels
    )
    return INNER[:12] + bytes.fromhex("8847") + stack + INNER[14:]


TLV = bytes.fromhex("0001 0103 01020304") + bytes(4)
FRAMES = [
    nsh(1, 6, bytes(range(16))),
    nsh(2, 2, b""),
    nsh(2, 5, TLV),
    mpls(1, 2, 3),
    mpls(7),
    bytes(TO_BRIDGE / Dot1Q(vlan=5) / Dot1Q(vlan=6) / IP() / UDP() / bytes(18)),
    bytes(TO_TUNNEL / UDP(sport=40000, dport=4789, chksum=0) / VXLAN(vni=7, flags=8) / INNER),
    bytes(TO_BRIDGE / IP(src="10.93.0.1", dst="10.93.0.2") / TCP(flags="S") / bytes(20)),
    bytes(TO_BRIDGE / IP(src="10.93.0.1", dst="10.93.0.2", flags="MF", id=7) / UDP() / bytes(24)),
    bytes(TO_BRIDGE / IP(src="10.93.0.1", dst="10.93.0.2", frag=4, id=7) / bytes(24)),
    bytes(TO_BRIDGE / IP(src="10.93.0.1", dst="10.93.0.2") / ICMP(type=3) / INNER[14:]),
    bytes(TO_BRIDGE / IPv6(dst="fe80::1") / IPv6ExtHdrDestOpt() / TCP() / bytes(20)),
    bytes(TO_BRIDGE / IPv6(dst="fe80::1") / IPv6ExtHdrFragment(m=1, id=9) / UDP() / bytes(24)),
    bytes(TO_BRIDGE / IPv6(dst="ff02::1") / ICMPv6ND_NS(tgt="fe80::1")),
    bytes(TO_BRIDGE / ARP(psrc="10.92.0.2", pdst="10.92.0.1")),
]
FLOWS = [
    "dl_type=0x894f,nsh_mdtype=1,actions=decap(),decap(),output:3",
    "dl_type=0x894f,actions=decap(),decap(),output:3",
    "dl_type=0x8847,actions=pop_mpls:0x0800,dec_ttl,output:3",
    "vlan_tci=0x1000/0x1000,actions=strip_vlan,output:3",
    "udp,tp_dst=4789,actions=LOCAL",
    "ip,actions=ct(commit,zone=1),push_vlan:0x8100,output:3",
    "ipv6,actions=ct(commit,zone=2),push_mpls:0x8847,output:3",
    "arp,actions=controller(max_len=65535),LOCAL",
    "dl_type=0x88b5,actions=output:3",
]


@pytest.mark.parametrize(
    ("port", "peer", "ring"),
    [
        pytest.param("vale6:victim@1", "vale6:2", "vale6:victim", id="vale"),
        pytest.param("netmap:x{1@1", "netmap:x}1", "x{1", id="pipe"),
    ],
)
def test_flipper(rig, note, port, peer, ring):
    """By default frames are copied before Open vSwitch looks at them."""
    rig.bridge()
    rig.port("out", 1, "vale5:1@1")
    rig.tunnel(port, trusted=False)
    rig.flow("in_port=10,ip,actions=ct(commit,zone=3),output:1")
    rig.port("sink", 3, "vale7:1@1", bridge="br1")
    for flow in FLOWS:
        command = ["-O", "OpenFlow13", "add-flow", "br1", f"priority=40000,in_port=2,{flow}"]
        rig.switch.ofctl(*command)
    same("rx-copy of the victim", rig.status("p2", "rx-copy"), "yes")
    log = rig.switch.dir / "flip.out"
    log.write_text("")
    flipper = spawn(sys.executable, "-m", "netmap_testlib.flip", 1, ring, SECONDS, log=log)
    wait_until(lambda: "Ready" in log.read_text(), 300, lambda: f"the flipper: {log.read_text()}")
    collector = rig.collect("vale7:2@1")
    sender = open_port(f"{peer}@1")
    sent = 0
    while flipper.poll() is None:
        for frame in FRAMES:
            sender.send(frame)
            sender.send(FRAME)
            sent += 2
        time.sleep(0.01)
    sender.close()
    same(f"status of the flipper, which said {log.read_text()}", flipper.wait(), 0)
    assert rig.switch.alive, "the switch has died"
    arrived = collector.finish(1)
    changed = sum(
        count
        for frame, count in arrived.items()
        if frame[12:14] == FRAME[12:14] and len(frame) == 60 and frame != FRAME
    )
    note(
        f"{log.read_text().split()[1]} bytes changed; {sent} frames sent, {arrived.total()} arrived"
    )
    assert changed > 0, "no frame was changed on its way"
    note(f"{changed} of those to be forwarded as they are were changed")
    assert arrived[FRAME] > 0, "no frame arrived as it was sent"
    rig.carry(f"{peer}@1", "vale7:2@1", 300, FRAME, FRAME)
    rig.balanced()
