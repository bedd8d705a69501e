# SPDX-License-Identifier: Apache-2.0
"""The kernel engine and Open vSwitch on the real netmap module.  scripts/check-kernel.sh sets it up,
and says what is in the environment:

  OVS_TREE      a built OVS tree          KERNEL_TEST   the test binary of tests/kernel/*.rs
  PKT_GEN       netmap's pkt-gen          TESTS         only tests whose names match (a regex)
  RESULTS       a directory for results   IN_VM         the machine is ours: the module may go

netmap_testlib.results, a plugin, says what came out.
"""

import shutil
import tempfile
from pathlib import Path

import pytest
from rig import HeldRegion, Rig

from netmap_testlib import Switch
from netmap_testlib.results import RESULTS, failed, select
from netmap_testlib.rig import IDLE

# In this order: the last ones look at what the others left.
FILES = (
    "library",
    "vale",
    "pipes",
    "interfaces",
    "links",
    "buffers",
    "processes",
    "flipper",
    "timing",
    "end",
)


def pytest_configure():
    if not Path("/dev/netmap").exists():
        pytest.exit("there is no /dev/netmap: scripts/check-kernel.sh starts these tests", 77)


def pytest_collection_modifyitems(items):
    select(items, FILES)


@pytest.fixture(scope="session")
def region():
    region = HeldRegion()
    yield region
    region.release()


@pytest.fixture(scope="session")
def switch(region):
    # Not below RESULTS: there can be no socket on the file system that a VM shares.
    run_dir = Path(tempfile.mkdtemp(prefix="netmap-suite.", dir="/tmp"))
    config = {"netmap-engine": "kernel", **IDLE}
    with Switch(run_dir / "switch", other_config=config) as switch:
        yield switch
    region.release()
    for log in (*switch.dir.glob("*.log"), *switch.dir.glob("*.out")):
        shutil.copy(log, RESULTS)
    shutil.rmtree(run_dir)


@pytest.fixture
def rig(switch, region, request):
    """A switch without ports; afterwards it is so again, and nothing is lost."""
    if not switch.alive:
        switch.start_vswitchd()
    region.hold()
    rig = Rig(switch)
    yield rig
    if failed(request.node):
        if switch.alive:
            print(switch.ctl("netmap/show"))
        print(*switch.log_lines()[-20:], sep="\n")
    rig.clear()
    region.check()
