# SPDX-License-Identifier: Apache-2.0
"""Numbered frames of 60 to 1514 bytes, both ways: none lost, doubled, late or changed."""

import pytest

KINDS = [
    ("igb0", "igb1"),
    ("virtio0", "igb0"),
    ("virtio0", "virtio1"),
    ("igb0", "veth"),
    ("virtio0", "e1000"),
]


@pytest.mark.parametrize("one, other", KINDS, ids=["-".join(kind) for kind in KINDS])
def test_frames(rig, note, one, other):
    rig.pair(one, other)
    rig.exchange(one, other)
    both = [rig.way(wire)[1] for wire in (one, other)]
    if both == ["yes", "yes"]:
        note(f"zero copy: {rig.zero_copied(one, other)}")
    else:
        copied = {wire: rig.queue(wire, "txq", "copied") for wire in (one, other)}
        note(f"zero-copy={both}, copied={copied}")
