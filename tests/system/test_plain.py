# SPDX-License-Identifier: Apache-2.0
"""The patched OVS that was built without netmap."""

import pytest

from netmap_testlib import Switch, ovs_tree, run


@pytest.fixture
def plain_tree():
    tree = ovs_tree().with_name(ovs_tree().name + "-plain")
    if not (tree / "vswitchd/ovs-vswitchd").exists():
        pytest.skip(f"{tree} is not built: scripts/build-ovs.sh --plain")
    return tree


def test_says_once_that_it_has_no_netmap_and_goes_on(plain_tree, run_dir):
    with Switch(run_dir, plain_tree) as switch:
        switch.add_bridge("br0")
        switch.add_port("br0", "n0", "null:0", check=False)
        # More passes of bridge_run().
        for n in (100, 200, 300):
            switch.config(netmap_nextrabufs=n)
        said = [line for line in switch.log_lines(["ERR"]) if "netmap" in line]
        assert len(said) == 1, said
        assert switch.error("n0")
        assert switch.ctl("version")


def test_is_not_linked_with_the_library(plain_tree):
    program = plain_tree / "vswitchd/.libs/ovs-vswitchd"
    if not program.exists():
        program = plain_tree / "vswitchd/ovs-vswitchd"
    assert "netmap" not in run("ldd", program)
