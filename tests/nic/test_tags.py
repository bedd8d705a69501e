# SPDX-License-Identifier: Apache-2.0
"""VLAN tags, with the offloads that cards have by default."""

import struct

import pytest
from rig import same

from netmap_testlib.cards import offload
from netmap_testlib.stream import LONGEST

PAIRS = [("igb0", "igb1"), ("virtio0", "e1000"), ("igb0", "veth")]
# Tags of two kinds, the outer one first.
TAGS = {"vlan": ((0x8100, 0x2064),), "qinq": ((0x88A8, 0x0007), (0x8100, 0x2064))}


def tagging(tags):
    """What puts the tags into a frame, and what takes them out if they are the right ones."""
    inside = b"".join(struct.pack("!HH", *tag) for tag in tags)
    end = 12 + len(inside)

    def untag(frame):
        return frame[:12] + frame[end:] if frame[12:end] == inside else None

    return {"tag": lambda frame: frame[:12] + inside + frame[12:], "untag": untag}


@pytest.mark.parametrize("kind", TAGS)
@pytest.mark.parametrize("one, other", PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_tags(rig, one, other, kind):
    rig.pair(one, other)
    # A packet socket sends one tag beyond the MTU.
    longest = LONGEST + 4 - 4 * len(TAGS[kind])
    rig.exchange(one, other, flows=2, count=200, longest=longest, **tagging(TAGS[kind]))


def test_offload_comes_back(rig):
    """What the port turned off is on again when it is gone."""
    same("rx-vlan-offload before", offload("igb0", "rx-vlan-offload"), True)
    rig.ports("igb0")
    same("rx-vlan-offload of a port", offload("igb0", "rx-vlan-offload"), False)
    rig.clear()
    same("rx-vlan-offload after", offload("igb0", "rx-vlan-offload"), True)
