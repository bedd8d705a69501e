# SPDX-License-Identifier: Apache-2.0
"""What a sender leaves to a card is complete on each wire, and nothing else is changed."""

from itertools import product

import pytest

from netmap_testlib import run
from netmap_testlib.frames import Collector, emit
from netmap_testlib.segments import MAC, checksummed, internet_sum, ipv4, ipv6

# Frames long enough for nobody to pad them.
FRAMES = [
    checksummed(bytes(range(length)) + b"x" * 30, protocol, ip, tags)
    for length, protocol, ip, tags in product(
        (0, 101, 222),
        ("tcp", "udp"),
        (ipv4, ipv6),
        ((), ((0x8100, 100),), ((0x88A8, 7), (0x8100, 100))),
    )
]
SENT = [form for frame in FRAMES for form in (frame.full, frame.left, frame.wrong)]
ARRIVING = [form for frame in FRAMES for form in (frame.full, frame.full, frame.wrong)]
COMPLETED = {frame.left: frame.full for frame in FRAMES}


@pytest.fixture
def sender(switch, make_host):
    """h1, at the netmap port 1 of br0."""
    host = make_host("h1", wire="p1")
    switch.add_port("br0", host.wire, number=1)
    switch.vsctl("set", "Open_vSwitch", ".", "other_config:vlan-limit=0")
    return host


def collector(name, host=None):
    """Collects at an interface; what the kernel knows to be partial there is as good as complete."""
    found = Collector(name, host)
    found.port.partial_name = lambda frame: COMPLETED.get(frame, b"not partial: " + frame)
    return found


def arriving(sender, at):
    """Sends all; what arrives, and how many of these are partial still."""
    emit(sender.name, SENT, rate=2000, host=sender)
    port = at.port
    return at.finish(len(SENT), 20), port.partial


def check(frames, expected=ARRIVING):
    missing = [frame.hex() for frame in expected if frames[frame] != expected.count(frame)]
    instead = [frame.hex() for frame in frames if frame not in expected]
    assert (missing[:1], instead[:1]) == ([], [])
    assert frames.total() == len(expected)


@pytest.mark.parametrize("tx", ["off", "on"])
@pytest.mark.parametrize("kind", ["netmap", "system"])
def test_veth(switch, sender, make_host, kind, tx):
    h2 = make_host("h2", wire="p2")
    # Without its offload, the kernel has to complete what was left to the interface.
    run("ethtool", "-K", "p2", "tx", tx)
    switch.add_port("br0", "p2", type=kind, number=2)
    switch.flows("br0", "in_port=1,actions=output:2")
    frames, partial = arriving(sender, collector("h2", h2))
    check(frames)
    # Open vSwitch says so from the release on that has such offloads.
    offered = kind == "netmap" and switch.status("p2").get("tx_tcp_csum_offload") == "true"
    assert (partial > 0) == (offered and tx == "on")
    if offered:
        assert switch.show().total("p2", "txq", "csum_offloaded") > 0


def test_local_port(switch, sender):
    """A tap device, to which later releases of Open vSwitch leave the checksum, too."""
    run("ip", "link", "set", "br0", "up")
    switch.flows("br0", "in_port=1,actions=LOCAL")
    frames, _ = arriving(sender, collector("br0"))
    check(frames)


@pytest.mark.parametrize("tx", ["off", "on"])
def test_headers_that_open_vswitch_changes(switch, sender, make_host, tx):
    """The pseudo header is another one then, and those headers go in front that hide the segment."""
    h2 = make_host("h2", wire="p2")
    run("ethtool", "-K", "p2", "tx", tx)
    switch.add_port("br0", "p2", number=2)
    there = collector("h2", h2)
    addresses = bytes([10, 9, 9, 9, 10, 0, 0, 2])
    sent, expected, completed = [], [], {}
    for protocol, length in product(("tcp", "udp"), (30, 333)):
        payload = bytes(n % 256 for n in range(length))
        before = checksummed(payload, protocol)
        after = checksummed(payload, protocol, lambda *a: ipv4(*a, addresses))
        sent += [before.full, before.left]
        expected += [after.full] * 2
        completed[after.left] = after.full
    there.port.partial_name = lambda frame: completed.get(frame, b"not partial: " + frame)
    switch.flows("br0", "in_port=1,ip,actions=mod_nw_src:10.9.9.9,output:2")
    emit("h1", sent, host=sender)
    check(there.finish(len(sent), 20), expected)


@pytest.mark.parametrize("kind", ["netmap", "system"])
@pytest.mark.parametrize(
    "actions",
    [
        "push_mpls:0x8847",
        "push_vlan:0x8100,set_field:4103->vlan_vid,push_vlan:0x88a8,set_field:4104->vlan_vid",
    ],
    ids=["mpls", "vlan"],
)
def test_segments_out_of_sight(switch, sender, make_host, actions, kind):
    """Open vSwitch looks at the frame again when it has recirculated, and finds no segment in it."""
    h2 = make_host("h2", wire="p2")
    switch.add_port("br0", "p2", type=kind, number=2)
    switch.vsctl("set", "Open_vSwitch", ".", "other_config:vlan-limit=1")
    # To choose a bucket by a hash, the frame recirculates.
    group = "group_id=1,type=select,selection_method=dp_hash,bucket=output:2,bucket=output:2"
    switch.ofctl("-O", "OpenFlow15", "add-group", "br0", group)
    switch.flows("br0", f"in_port=1,tcp,actions={actions},group:1")
    frame = checksummed(b"abc" * 40)
    there = Collector("h2", h2)
    emit("h1", [frame.full, frame.left], host=sender)
    frames = there.finish(2, 20)
    assert frames.total() == 2
    assert all(found.endswith(frame.full[14:]) for found in frames), list(frames)


@pytest.mark.parametrize("tx", ["off", "on"])
@pytest.mark.parametrize("kind", ["vxlan", "vxlan csum", "geneve", "gre"])
def test_tunnel(switch, sender, make_host, kind, tx):
    h2 = make_host("h2", wire="p2")
    run("ethtool", "-K", "p2", "tx", tx)
    switch.add_bridge("br1", fail_mode="standalone")
    switch.add_port("br1", "p2")
    run("ip", "address", "add", "172.16.0.1/24", "dev", "br1")
    run("ip", "link", "set", "br1", "up")
    kind, *options = kind.split()
    settings = [f"options:{option}=true" for option in options]
    switch.add_port(
        "br0", "t0", None, "options:remote_ip=172.16.0.2", *settings, type=kind, number=2
    )
    switch.ctl("tnl/neigh/set", "br1", "172.16.0.2", "02:00:00:00:07:01")
    switch.flows("br0", "in_port=1,actions=output:2")
    # Ethernet, IPv4, and the tunnel's own.
    header = 14 + 20 + (4 if kind == "gre" else 16)
    there = Collector("h2", h2)
    port = there.port

    def completed(frame):
        inner = frame[header:]
        if inner in COMPLETED:
            return frame[:header] + COMPLETED[inner]
        # The tunnel's own then, with the sum of the pseudo header where the checksum is to be.
        checksum = internet_sum(frame[34:]) ^ 0xFFFF
        return frame[:40] + checksum.to_bytes(2) + frame[42:]

    port.partial_name = completed
    emit("h1", SENT, rate=2000, host=sender)
    outer = there.finish(len(SENT), 20)
    inner = outer.__class__()
    for frame, count in outer.items():
        assert internet_sum(frame[14:34]) == 0xFFFF
        if options:
            udp = frame[34:]
            pseudo = frame[26:34] + bytes([0, 17]) + udp[4:6]
            assert internet_sum(pseudo + udp) == 0xFFFF
        if frame[header : header + len(MAC)] == MAC:
            inner[frame[header:]] += count
    check(inner)
    assert port.partial == 0 or tx == "on"
