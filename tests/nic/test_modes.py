# SPDX-License-Identifier: Apache-2.0
"""How cards open with default settings, as netmap/show says."""

import pytest
from rig import expected_way

from netmap_testlib.rig import same


@pytest.mark.parametrize("wire", ["igb0", "virtio0", "e1000", "veth"])
def test_open(rig, note, wire):
    rig.ports(wire)
    shown = rig.switch.show().port(wire)["status"]
    same("mode and zero-copy", rig.way(wire), expected_way(wire))
    same("what netmap/show says", (shown["mode"], shown["zero-copy"]), expected_way(wire))
    note(f"{shown['mode']}, zero-copy={shown['zero-copy']}, {shown['queues']} queues")
