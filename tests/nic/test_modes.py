# SPDX-License-Identifier: Apache-2.0
"""How cards open with default settings, as netmap/show says."""

import os

import pytest
from rig import ZERO_COPY

from netmap_testlib.cards import driver_of
from netmap_testlib.rig import same

# Since which Linux a driver has zero copy.
SINCE = {"igb": (6, 14), "virtio_net": (6, 13)}


def linux():
    return tuple(map(int, os.uname().release.split(".")[:2]))


def has_zero_copy(wire):
    since = SINCE.get(driver_of(wire)) if wire in ZERO_COPY else None
    return since is not None and linux() >= since


@pytest.mark.parametrize("wire", ["igb0", "virtio0", "e1000", "veth"])
def test_open(rig, note, wire):
    rig.ports(wire)
    shown = rig.switch.show().port(wire)["status"]
    mode = "generic" if wire == "e1000" else "native"
    zero_copy = "yes" if has_zero_copy(wire) else "no"
    same("mode and zero-copy", rig.way(wire), (mode, zero_copy))
    same("what netmap/show says", (shown["mode"], shown["zero-copy"]), (mode, zero_copy))
    note(f"{mode}, zero-copy={zero_copy}, {shown['queues']} queues")
