# SPDX-License-Identifier: Apache-2.0
"""What system tests are given.  Run them with: scripts/drive.sh pytest tests/system [-k NAME]"""

import os
import re

import pytest

from netmap_testlib import Host, Switch
from netmap_testlib.host import disable_ipv6
from netmap_testlib.switch import BUILD


@pytest.fixture(scope="session", autouse=True)
def quiet_namespace():
    """The switch's namespace, in which nobody sends what no test asked for."""
    if "OVS_TREE" not in os.environ:
        pytest.exit(
            "start these tests with scripts/drive.sh pytest: they make network namespaces", 2
        )
    disable_ipv6()


@pytest.fixture
def run_dir(request):
    """A directory that keeps the logs of the test."""
    return BUILD / "run/system" / re.sub(r"\W+", "-", request.node.name).strip("-")


@pytest.fixture
def switch(run_dir):
    """A running switch with the bridge br0, which forwards as a learning switch does."""
    with Switch(run_dir) as switch:
        switch.add_bridge("br0", fail_mode="standalone")
        yield switch


@pytest.fixture
def make_host():
    """Makes hosts, as Host does, that go with the test."""
    hosts = []

    def make(*arguments, **options):
        hosts.append(Host(*arguments, **options))
        return hosts[-1]

    yield make
    for host in hosts:
        host.remove()


@pytest.fixture
def pair(switch, make_host):
    """Hosts h1, 10.0.0.1, and h2, 10.0.0.2, at the netmap ports p1 and p2 of br0."""
    hosts = [make_host(f"h{n}", wire=f"p{n}", address=f"10.0.0.{n}/24") for n in (1, 2)]
    for n, host in enumerate(hosts, 1):
        switch.add_port("br0", host.wire, number=n)
    return hosts
