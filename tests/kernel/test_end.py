# SPDX-License-Identifier: Apache-2.0
"""After all other tests: what they left in the kernel."""

import os
from pathlib import Path

import pytest

from netmap_testlib import run


def test_module_unloads(switch, region):
    """Nothing has the module in the end: no mapping, no descriptor, no packet."""
    switch.stop()
    region.release()
    if not os.environ.get("IN_VM") or os.environ.get("TRAFFIC"):
        pytest.skip("somebody still needs the module")
    for holder in Path("/sys/module/netmap/holders").iterdir():
        run("rmmod", holder.name, check=False)
    run("rmmod", "netmap")


def test_kernel_log(kernel_log):
    """No warning of the kernel in the whole run."""
    kernel_log.check()
