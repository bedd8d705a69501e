# SPDX-License-Identifier: Apache-2.0
"""Interfaces that go down and come up under their ports.

Netmap locks the rings of an interface that goes down, and a sync call sleeps until it is up again.
Open vSwitch has to answer all the while."""

import threading
import time

import pytest
from rig import await_same, same

from netmap_testlib import Failure, run, spawn, stop, wait_until
from netmap_testlib.frames import FRAME, open_port

# How long an answer may take: far more than a slow machine needs, far less than for ever.
ANSWER = 60


class Flood:
    """Frames from a host, or from a port of netmap's, until it is closed."""

    def __init__(self, name, host=None):
        self.ending = threading.Event()
        self.port = open_port(name, host)
        self.thread = threading.Thread(target=self.send, daemon=True)
        self.thread.start()

    def send(self):
        while not self.ending.wait(1 / 300):
            try:
                self.port.send(FRAME)
            except OSError:
                # The link is down, or gone.
                time.sleep(0.01)

    def close(self):
        self.ending.set()
        self.thread.join()
        self.port.close()


def flood(rig, name, host=None):
    rig.running.append(Flood(name, host).close)


def answers(rig, what):
    """The main thread and the PMD threads do what they are told."""
    appctl = ["ovs-appctl", f"--timeout={ANSWER}", "-t", rig.switch.dir / "ovs-vswitchd.ctl"]
    for command in ("version", "dpif-netdev/pmd-stats-show", "netmap/show"):
        if not rig.switch.tool(*appctl, command, check=False).strip():
            raise Failure(f"no answer to {command}: {what}")
    # A port that is added makes the main thread wait for all PMD threads.
    rig.switch.vsctl(
        "add-port",
        "br0",
        "null0",
        "--",
        "set",
        "Interface",
        "null0",
        "type=netmap",
        'options:netmap-port="null:1"',
    )
    rig.switch.vsctl("del-port", "null0")


def link(name, state):
    run("ip", "link", "set", name, state)


def gets_through(rig, host, address="10.91.0.2"):
    wait_until(lambda: host.reaches(address), 60, "a ping to get through")


@pytest.fixture
def hosts(rig):
    """Two hosts behind two ports, and a third port; frames from everywhere."""
    hosts = rig.pair()
    rig.two_ports("netmap:v1", "netmap:v2")
    rig.port("p3", 3, "vale1:1")
    rig.flow("in_port=1,actions=normal")
    rig.flow("in_port=2,actions=normal")
    rig.flow("in_port=3,actions=output:1,output:2")
    gets_through(rig, hosts[0])
    return hosts


def test_link_down_and_up_under_traffic(rig, hosts):
    flood(rig, "vale1:2")
    for host in hosts:
        flood(rig, host.name, host)
    for i in range(4):
        name = f"v{i % 2 + 1}"
        link(name, "down")
        answers(rig, f"{name} is down, round {i}")
        assert rig.switch.row("Interface", f"p{i % 2 + 1}")["link_state"] == "down"
        link(name, "up")
        gets_through(rig, hosts[0])
    rig.end_traffic()
    rig.ping(hosts[0], "10.91.0.2")
    rig.balanced()


def test_link_down_and_up_at_once(rig, hosts):
    """Faster than anybody follows."""
    flood(rig, "vale1:2")
    for host in hosts:
        flood(rig, host.name, host)
    for _ in range(10):
        for name in ("v1", "v2"):
            link(name, "down")
            link(name, "up")
    answers(rig, "after links were down")
    gets_through(rig, hosts[0])
    rig.end_traffic()
    rig.balanced()


def test_link_down_by_ovs(rig, hosts):
    """Open vSwitch itself takes it down."""
    flood(rig, "vale1:2")
    for _ in range(2):
        rig.switch.ofctl("mod-port", "br0", "p1", "down")
        answers(rig, "p1 is down")
        rig.switch.ofctl("mod-port", "br0", "p1", "up")
        gets_through(rig, hosts[0])
    rig.end_traffic()
    rig.balanced()


def test_nothing_goes_out_late(rig, hosts):
    """What was sent while the interface was down is gone."""
    collector = rig.collect("h1", hosts[0])
    link("v1", "down")
    answers(rig, "v1 is down")
    dropped = rig.switch.show().total("p1", "txq", "link_down")
    sender = Flood("vale1:2")
    wait_until(
        lambda: rig.switch.show().total("p1", "txq", "link_down") > dropped + 100,
        60,
        "frames to be dropped",
    )
    sender.close()
    link("v1", "up")
    gets_through(rig, hosts[0])
    frames = collector.finish(1, 5)
    same("late frames", frames[FRAME], 0)
    rig.balanced()


def test_port_of_a_link_that_is_down(rig, hosts):
    """Deleted, added, and up again."""
    flood(rig, "vale1:2")
    link("v1", "down")
    answers(rig, "v1 is down")
    rig.switch.del_port("p1")
    rig.port("p1", 1, "netmap:v1")
    answers(rig, "p1 was added while v1 is down")
    link("v1", "up")
    gets_through(rig, hosts[0])
    rig.end_traffic()
    rig.balanced()


def test_interface_deleted_while_it_is_down(rig, hosts):
    flood(rig, "vale1:2")
    link("v1", "down")
    answers(rig, "v1 is down")
    run("ip", "link", "del", "v1")
    answers(rig, "v1 is gone")
    before = rig.counter("p2", "tx")
    await_same("more packets sent by p2", True, lambda: rig.counter("p2", "tx") > before + 100)
    rig.end_traffic()
    rig.switch.del_port("p1")
    rig.balanced()


def test_interface_deleted_under_traffic_and_back(rig, hosts):
    flood(rig, "vale1:2")
    for _ in range(2):
        hosts[0].disconnect()
        answers(rig, "v1 is gone")
        hosts[0].connect()
        gets_through(rig, hosts[0])
    rig.end_traffic()
    rig.balanced()


def test_link_down_with_queues(rig):
    """A descriptor for each ring pair, polled by two threads."""
    rig.two_pmd_threads()
    host = rig.host(1, queues=3)
    rig.port("p1", 1, "netmap:v1", "options:n_rxq=2")
    rig.port("p3", 3, "vale1:1")
    rig.flow("in_port=1,actions=output:3")
    rig.flow("in_port=3,actions=output:1")
    flood(rig, "vale1:2")
    flood(rig, "h1", host)
    for i in range(3):
        link("v1", "down")
        answers(rig, f"v1 is down, round {i}")
        link("v1", "up")
        before = rig.counter("p1", "rx")
        wait_until(
            lambda before=before: rig.counter("p1", "rx") > before + 100, 60, "p1 to receive again"
        )
    rig.end_traffic()
    rig.balanced()


def test_link_down_with_host_rings(rig, hosts):
    """Nothing wakes a sync of a host ring: it sleeps in a thread of its own."""
    run("ip", "address", "add", "10.91.0.9/24", "dev", "v1")
    rig.port("stack", 4, "netmap:v1^")
    rig.flow("in_port=4,actions=normal")
    gets_through(rig, hosts[0], "10.91.0.9")
    flood(rig, "vale1:2")
    flood(rig, "h1", hosts[0])
    # From the host's stack: as long as the address has a route, that is with the link up.
    ping = spawn("ping", "-q", "-i", "0.01", "10.91.0.1")
    rig.running.append(lambda: stop(ping))
    for i in range(4):
        link("v1", "down")
        answers(rig, f"v1 is down, round {i}")
        if i == 2:
            rig.switch.del_port("stack")
            answers(rig, "its host rings are closed")
            # A sync that sleeps has them still.
            rig.switch.add_port("br0", "stack", "netmap:v1^", number=4, check=False)
        link("v1", "up")
        gets_through(rig, hosts[0], "10.91.0.9")
        gets_through(rig, hosts[0])
    rig.end_traffic()
    rig.balanced()
