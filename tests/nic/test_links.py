# SPDX-License-Identifier: Apache-2.0
"""Links that go down and come up: nothing goes out late, and all goes on afterwards."""

import time

import pytest

from netmap_testlib import Failure, run, wait_until
from netmap_testlib.stream import Receiver, send

STALE_FLOW = 90


def link_state(rig, wire, state):
    wait_until(
        lambda: rig.switch.row("Interface", wire)["link_state"] == state,
        15,
        f"the link of {wire} to be {state}",
    )


def nothing_late(rig, wire, other, down, up):
    """While the link of `wire` is down, frames to it are dropped and counted."""
    rig.pair(wire, other)
    rig.exchange(wire, other, flows=2, count=100)
    down()
    link_state(rig, wire, "down")
    before = rig.counter(wire, "tx", "drop")
    send(rig.hosts[other], [STALE_FLOW], 200)
    wait_until(
        lambda: rig.counter(wire, "tx", "drop") >= before + 200,
        20,
        lambda: f"{rig.counter(wire, 'tx', 'drop') - before} of 200 frames dropped and counted",
    )
    receiver = Receiver(rig.hosts[wire])
    up()
    link_state(rig, wire, "up")
    rig.await_carrier(wire)
    time.sleep(3)
    receiver.close()
    if receiver.came[STALE_FLOW]:
        raise Failure(f"{len(receiver.came[STALE_FLOW])} frames went out late")
    rig.exchange(wire, other, flows=2, count=100)


PAIRS = [("igb0", "igb1"), ("virtio0", "igb0"), ("e1000", "virtio0")]
NAMES = ["-".join(pair) for pair in PAIRS]


@pytest.mark.parametrize("one, other", PAIRS, ids=NAMES)
def test_interface_down_and_up(rig, one, other):
    def set_link(state):
        return lambda: run("ip", "link", "set", one, state)

    nothing_late(rig, one, other, set_link("down"), set_link("up"))


@pytest.mark.parametrize("one, other", PAIRS, ids=NAMES)
def test_wire_pulled(rig, qmp, one, other):
    card = rig.hosts[one].number
    try:
        nothing_late(rig, one, other, lambda: qmp.wire(card, False), lambda: qmp.wire(card, True))
    finally:
        qmp.wire(card, True)


def test_down_and_up_under_traffic(rig, qmp):
    """Ten times, with frames on their way in both directions."""
    rig.pair("igb0", "virtio0")
    flood = [rig.flood("igb0"), rig.flood("virtio0")]
    card = rig.hosts["igb0"].number
    for _ in range(5):
        run("ip", "link", "set", "igb0", "down")
        time.sleep(0.3)
        run("ip", "link", "set", "igb0", "up")
        rig.await_carrier("igb0")
        qmp.wire(card, False)
        time.sleep(0.3)
        qmp.wire(card, True)
        rig.await_carrier("igb0")
    for sender in flood:
        sender.stop()
    rig.exchange("igb0", "virtio0", flows=2, count=100)
