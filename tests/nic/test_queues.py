# SPDX-License-Identifier: Apache-2.0
"""Several queues, several PMD threads."""

import pytest
from rig import expected_way, same

from netmap_testlib import run
from netmap_testlib.stream import MOST_FLOWS


@pytest.mark.parametrize("wire", ["igb0", "virtio0"])
def test_two_pmd_threads(rig, note, wire):
    """Each flow keeps its order, whichever queue its frames come by, and both threads have some."""
    rig.switch.config(pmd_cpu_mask=6)
    rig.pair(wire, "igb1", "options:n_rxq=2")
    polled = rig.switch.ctl("dpif-netdev/pmd-rxq-show")
    same("queues that PMD threads poll", polled.count("queue-id:"), 4)
    rig.exchange(wire, "igb1", flows=MOST_FLOWS, count=50)
    shares = rig.switch.show().queues(wire, "rxq", "packets")
    note(f"{shares} packets in the queues of {wire}, zero copy {rig.zero_copied(wire, 'igb1')}")
    assert min(shares) > 0, shares


def test_threads_come_and_go(rig):
    rig.pair("igb0", "virtio0")
    for mask in (2, 6, 4):
        rig.switch.config(pmd_cpu_mask=mask)
        rig.exchange("igb0", "virtio0", flows=2, count=100)


def test_rings_of_another_size(rig):
    """ethtool -G resets the card under the port."""
    rig.pair("igb0", "igb1")
    rig.exchange("igb0", "igb1", flows=2, count=100)
    for size in (512, 256):
        run("ethtool", "-G", "igb0", "rx", size, "tx", size)
        rig.await_carrier("igb0")
        rig.exchange("igb0", "igb1", flows=2, count=100)
    same("mode and zero-copy", rig.way("igb0"), expected_way("igb0"))
