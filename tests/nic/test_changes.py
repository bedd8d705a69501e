# SPDX-License-Identifier: Apache-2.0
"""Ports that come and go, a switch that dies, an MTU that changes; and other kinds of ports."""

import time

import pytest
from rig import expected_way, same

from netmap_testlib import Failure, run, wait_until
from netmap_testlib.stream import Receiver


@pytest.mark.parametrize("wire", ["igb0", "virtio0"])
def test_deleted_and_added_20_times(rig, note, wire):
    rig.pair(wire, "igb1")
    flood = [rig.flood(wire), rig.flood("igb1")]
    deleted, added = [], []
    for _ in range(20):
        start = time.monotonic()
        rig.switch.del_port(wire)
        deleted.append(time.monotonic() - start)
        start = time.monotonic()
        rig.switch.add_port("br0", wire, number=1, check=False)
        wait_until(lambda: not rig.switch.error(wire), 20, lambda: rig.switch.error(wire))
        added.append(time.monotonic() - start)
    for sender in flood:
        sender.stop()
    rig.exchange(wire, "igb1", flows=2, count=100)
    note(f"{sum(deleted) / 20:.1f} s to delete it, {sum(added) / 20:.1f} s to add it")


def test_kill_9_and_restart(rig):
    rig.pair("igb0", "virtio0")
    rig.exchange("igb0", "virtio0", flows=2, count=100)
    rig.kill_and_restart()
    rig.flow("in_port=1,actions=output:2")
    rig.flow("in_port=2,actions=output:1")
    for wire in ("igb0", "virtio0"):
        rig.await_carrier(wire)
        same(f"error of {wire}", rig.switch.error(wire), None)
        same(f"mode and zero-copy of {wire}", rig.way(wire), expected_way(wire))
    rig.exchange("igb0", "virtio0", flows=2, count=100)


@pytest.mark.parametrize("wire", ["igb0", "virtio0", "veth"])
def test_mtu(rig, note, wire):
    """A smaller MTU is followed; a larger one, too, or the error tells why it cannot be had."""
    rig.pair(wire, "igb1")

    def mtu():
        return rig.switch.row("Interface", wire)["mtu"]

    def changed(value):
        try:
            run("ip", "link", "set", wire, "mtu", value)
        except Failure as failure:
            return str(failure).split(":")[-1].strip()
        wait_until(lambda: mtu() == value, 15, lambda: f"MTU {value} to be seen, not {mtu()}")
        rig.await_carrier(wire)
        rig.exchange(wire, "igb1", flows=2, count=100, longest=min(value, 1500) + 14)
        return "followed"

    note(", ".join(f"{value}: {changed(value)}" for value in (1400, 1500, 1700)))
    run("ip", "link", "set", wire, "mtu", 1500)
    wait_until(lambda: mtu() == 1500, 15, lambda: f"MTU 1500 to be seen, not {mtu()}")
    rig.await_carrier(wire)
    rig.exchange(wire, "igb1", flows=2, count=100)


def test_mtu_asked_of_the_switch(rig, note):
    """mtu_request is followed, or the log tells what to do."""
    rig.pair("igb0", "igb1")
    rig.switch.vsctl("set", "Interface", "igb0", "mtu_request=1700")

    def told():
        return any("igb0" in line and "MTU" in line for line in rig.switch.log_lines())

    wait_until(
        lambda: rig.switch.row("Interface", "igb0")["mtu"] == 1700 or told(), 20, "an answer"
    )
    if told():
        note(next(line for line in rig.switch.log_lines() if "igb0" in line and "MTU" in line))
    rig.await_carrier("igb0")
    rig.exchange("igb0", "igb1", flows=2, count=100)
    rig.switch.vsctl("clear", "Interface", "igb0", "mtu_request")
    rig.switch.del_port("igb0")
    run("ip", "link", "set", "igb0", "mtu", 1500)


def test_by_a_pipe(rig, note):
    """Cards with zero copy on two sides of a pipe in the switch's memory: no frame is copied."""
    rig.ports("igb0", "igb1")
    for number, end in ((3, "netmap:inner{1"), (4, "netmap:inner}1")):
        rig.switch.add_port("br0", f"pipe{number}", end, number=number)
    for one, other in ((1, 3), (4, 2)):
        rig.flow(f"in_port={one},actions=output:{other}")
        rig.flow(f"in_port={other},actions=output:{one}")
    rig.exchange("igb0", "igb1")
    sent = rig.zero_copied("igb0", "igb1", "pipe3", "pipe4")
    note(f"zero copy: {sent}")


def test_to_two_ports(rig):
    """Each of two gets its own copy of a frame, and both are right."""
    rig.ports("igb0", "igb1", "virtio0")
    rig.flow("in_port=1,actions=output:2,output:3")
    receivers = [Receiver(rig.hosts[wire]) for wire in ("igb1", "virtio0")]
    rig.send("igb0", [0, 1], 300)
    for receiver in receivers:
        receiver.wait(600)
    for receiver in receivers:
        receiver.check([0, 1], 300)
