# SPDX-License-Identifier: Apache-2.0
"""Host interfaces: veths with the generic adapter, host rings, network cards."""

import re
import time
from pathlib import Path

import pytest
from rig import await_same, same
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from test_library import nics

from netmap_testlib import Failure, run, spawn, wait_until
from netmap_testlib.frames import FRAME, emit
from netmap_testlib.host import ping

ADMODE = Path("/sys/module/netmap/parameters/admode")
NATIVE, GENERIC = 1, 2


def flows(count):
    """UDP packets of 60 bytes, in 50 flows."""
    header = Ether(src="02:00:00:00:00:02", dst="ff:ff:ff:ff:ff:ff")
    ip = IP(src="10.93.0.1", dst="10.93.0.2")
    kinds = [bytes(header / ip / UDP(sport=40000 + i, dport=4789) / bytes(18)) for i in range(50)]
    return [kinds[i % len(kinds)] for i in range(count)]


def test_veth_ping(rig):
    h1, _ = rig.pair()
    rig.two_ports("netmap:v1", "netmap:v2")
    rig.flow("in_port=1,actions=normal")
    rig.flow("in_port=2,actions=normal")
    rig.ping(h1, "10.91.0.2")
    rig.counters_agree("p1", "rx")
    assert rig.counter("p1", "rx") >= 20
    rig.balanced()


def test_the_peer_of_a_veth_keeps_tags_in_frames(rig):
    """The module does not see tags beside the frames, so nobody is to put them there."""
    h1 = rig.host(1)
    rig.bridge()

    def offload():
        return re.search("^tx-vlan-offload: (.*)", run("ethtool", "-k", "h1", netns="h1"), re.M)[1]

    same("before", offload(), "on")
    rig.port("p1", 1, "netmap:v1")
    same("of a port", offload(), "off")
    run("ethtool", "-K", h1.name, "txvlan", "on", netns=h1.name)
    await_same("of a port, later", "off", offload)
    rig.switch.del_port("p1")
    await_same("after", "on", offload)


def test_rings_are_one_port_s(rig):
    """The same ring by another name, or with another one, is refused."""
    rig.pair()
    rig.bridge()
    rig.port("p1", 1, "netmap:v1")
    for name in ("netmap:v1-0", "v1@1", "netmap:v1@1"):
        rig.refused("p2", name, "open as interface p1; delete p1 first")
    rig.refused("p2", "netmap:v1*", "as two ports")
    rig.port("stack", 3, "netmap:v1^")
    rig.refused("p2", "netmap:v1^@1", "open as interface stack")
    rig.port("p4", 4, "vale8:1")
    rig.refused("p2", "vale8:1@1", "open as interface p4")
    rig.balanced()


def test_host_rings(rig):
    """The host's own stack behind the switch: its packets come out of the host ring."""
    rig.pair()
    run("ip", "address", "add", "10.91.0.9/24", "dev", "v1")
    rig.bridge()
    rig.port("nic", 1, "netmap:v1")
    rig.port("stack", 2, "netmap:v1^")
    rig.flow("in_port=1,actions=output:2")
    rig.flow("in_port=2,actions=output:1")
    wait_until(lambda: ping("10.91.0.1", wait=5).received == 1, 20, "a ping to get through")
    same("pings answered", ping("10.91.0.1", 20, wait=5).received, 20)
    assert rig.counter("stack", "rx") >= 20
    rig.balanced()


def test_two_rings_two_pmd_threads(rig, note):
    rig.two_pmd_threads()
    host = rig.host(1, queues=3)
    rig.port("p1", 1, "netmap:v1", "options:n_rxq=2")
    same("rx queues", len(rig.switch.show().port("p1")["rxq"]), 2)
    polled = rig.switch.ctl("dpif-netdev/pmd-rxq-show")
    same("PMD threads that poll", sum("port: p1 " in line for line in polled.splitlines()), 2)
    rig.port("p2", 2, "vale1:1")
    rig.flow("in_port=1,actions=output:2")
    rig.receive("vale1:2")
    # Flows enough for both.
    emit("h1", flows(1000), 1000, host)
    await_same("packets of p1", 1000, lambda: rig.counter("p1", "rx"))
    await_same("packets sent by p2", 1000, lambda: rig.counter("p2", "tx"))
    rig.await_received(1000)
    packets = rig.switch.show().queues("p1", "rxq", "packets")
    note(f"{packets} packets")
    assert min(packets) > 0, packets
    rig.balanced()


def test_ring_subsets(rig, note):
    """One port has the first ring pair of an interface, another one the second.

    What a veth sends by its queues 0 and 1, the module takes for its receive ring 0, what it sends by
    queue 2 for ring 1.
    """
    host = rig.host(1, queues=3)
    rig.bridge()
    rig.port("p1", 1, "netmap:v1-0")
    rig.port("p2", 2, "netmap:v1-1")
    rig.port("p3", 3, "vale1:1")
    rig.flow("in_port=1,actions=output:3")
    rig.flow("in_port=2,actions=output:3")
    rig.receive("vale1:2")
    emit("h1", flows(1000), 1000, host)
    await_same("packets sent by p3", 1000, lambda: rig.counter("p3", "tx"))
    rig.await_received(1000)
    came = [rig.counter(port, "rx") for port in ("p1", "p2")]
    same("packets of both", sum(came), 1000)
    note(f"{came[0]} packets came by one, {came[1]} by the other")
    assert min(came) > 0, came
    # The other way, both go to one interface.
    rig.flow("in_port=3,actions=output:1,output:2")
    collector = rig.collect("h1", host)
    emit("vale1:2", [FRAME] * 300, 100)
    await_same("packets sent by p1", 300, lambda: rig.counter("p1", "tx"))
    await_same("packets sent by p2", 300, lambda: rig.counter("p2", "tx"))
    collector.expect(600, FRAME)
    rig.balanced()


@pytest.fixture
def admode():
    """Sets netmap's mode: native or generic, which works with any driver."""
    before = ADMODE.read_text()
    yield lambda mode: ADMODE.write_text(str(mode))
    ADMODE.write_text(before)


def between_nics(rig, note, admode, driver, mode):
    """Two network cards of the VM's on one wire, one of them a port."""
    cards = nics(driver)
    if len(cards) != 2:
        pytest.skip(f"{len(cards)} interfaces of driver {driver} here, not two")
    if mode == NATIVE and not Path(f"/sys/module/netmap/holders/{driver}").exists():
        pytest.skip(f"{driver} is not netmap's own driver: NETMAP_DRIVERS= takes it")
    for card in cards:
        run("sysctl", "-qw", f"net.ipv6.conf.{card}.disable_ipv6=1")
        run("ip", "link", "set", card, "up", "promisc", "on")
    admode(mode)
    rig.bridge()
    rig.port("p1", 1, f"netmap:{cards[0]}")
    rig.port("p2", 2, "vale1:1")
    rig.flow("in_port=1,actions=output:2")
    rig.flow("in_port=2,actions=output:1")
    rig.receive("vale1:2")
    # Wait for the link, and be slow: cards and the generic adapter drop what comes too fast.
    rig.send(f"netmap:{cards[1]}", 600, "-w", 4, "-R", 300)
    await_same("packets of p1", 600, lambda: rig.counter("p1", "rx"))
    await_same("packets sent by p2", 600, lambda: rig.counter("p2", "tx"))
    rig.await_received(600)
    same("bytes received by p1", rig.queue("p1", "rxq", "bytes"), 36000)
    collector = rig.collect(f"netmap:{cards[1]}")
    # A card's link is down for a while when it comes into netmap mode.
    time.sleep(4)
    emit("vale1:2", [FRAME] * 300)
    collector.expect(300, FRAME)
    note(f"headroom {rig.status('p1', 'headroom')}")
    note(
        f"zero_copy {rig.queue('p1', 'txq', 'zero_copy')} and "
        f"copied {rig.queue('p1', 'txq', 'copied')} of 300 sent"
    )
    rig.balanced()


def test_e1000_generic(rig, note, admode):
    between_nics(rig, note, admode, "e1000", GENERIC)


def test_e1000_native(rig, note, admode):
    between_nics(rig, note, admode, "e1000", NATIVE)


def test_virtio_net_generic(rig, note, admode):
    between_nics(rig, note, admode, "virtio_net", GENERIC)


def test_interface_deleted_under_a_port(rig):
    rig.pair()
    rig.bridge()
    rig.port("p1", 1, "netmap:v1")
    rig.port("p2", 2, "vale0:1")
    rig.flow("actions=drop")
    # It returns when the port is closed, which happens by itself.
    spawn("ip", "link", "del", "v1")
    wait_until(lambda: "is gone" in (rig.switch.error("p1") or ""), 60, "p1 to notice")
    rig.send("vale0:2", 500)
    await_same("packets of p2", 500, lambda: rig.counter("p2", "rx"))
    if not wait_until(lambda: not Path("/sys/class/net/v1").exists(), 60):
        raise Failure("the interface does not go away")
    rig.switch.del_port("p1")
    rig.balanced()
