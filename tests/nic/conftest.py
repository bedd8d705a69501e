# SPDX-License-Identifier: Apache-2.0
"""Open vSwitch on network cards over AF_XDP.  scripts/check-nic.sh sets it up: a VM with the cards that
netmap_testlib.cards names, all of which is ours.  netmap_testlib.results, a plugin, says what came out.
"""

import os
import shutil
import tempfile
from pathlib import Path

import pytest
from rig import Rig

from netmap_testlib import Host, Switch, run
from netmap_testlib.cards import WIRES, CardHost
from netmap_testlib.host import disable_ipv6
from netmap_testlib.qmp import Qmp
from netmap_testlib.results import RESULTS, failed, select
from netmap_testlib.rig import IDLE

# In this order: the last ones look at what the others left.
FILES = ("modes", "frames", "tags", "tcp", "queues", "links", "changes", "napi", "mixed", "end")


def pytest_configure():
    if not os.environ.get("IN_VM"):
        pytest.exit("scripts/check-nic.sh starts these tests, in a VM", 77)
    disable_ipv6()


def pytest_collection_modifyitems(items):
    select(items, FILES)


@pytest.fixture(scope="session")
def hosts():
    """One behind each card, and one behind a veth, with addresses in one network."""
    hosts = {
        wire: CardHost(f"h-{wire}", wire, f"10.90.0.{number}/24")
        for number, wire in enumerate(WIRES, 1)
    }
    hosts["veth"] = Host("h-veth", wire="veth", address="10.90.0.99/24")
    for host in hosts.values():
        print(run("ip", "-br", "link", "show", host.wire), end="")
    return hosts


@pytest.fixture(scope="session")
def switch():
    # Not below RESULTS: there can be no socket on the file system that a VM shares.
    run_dir = Path(tempfile.mkdtemp(prefix="netmap-suite.", dir="/tmp"))
    with Switch(run_dir / "switch", other_config=IDLE) as switch:
        yield switch
    for log in (*switch.dir.glob("*.log"), *switch.dir.glob("*.out")):
        shutil.copy(log, RESULTS)
    shutil.rmtree(run_dir)


@pytest.fixture(scope="session")
def qmp():
    """The VM's emulator."""
    qmp = Qmp()
    yield qmp
    qmp.close()


@pytest.fixture
def rig(switch, hosts, request):
    """A switch with the bridge br0 and no ports; afterwards it is so again, and nothing is lost."""
    if not switch.alive:
        switch.start_vswitchd()
    rig = Rig(switch, hosts)
    rig.bridge()
    yield rig
    if failed(request.node):
        if switch.alive:
            print(switch.ctl("netmap/show"))
        print(*switch.log_lines(("INFO", "WARN", "ERR", "EMER"))[-40:], sep="\n")
        print(run("dmesg").splitlines()[-20:])
    rig.clear()
