# SPDX-License-Identifier: Apache-2.0
"""TCP with all settings as they are by default: of the switch, the cards and the hosts."""

import pytest

from netmap_testlib import Failure
from netmap_testlib.cards import offload

PAIRS = [
    ("igb0", "igb1"),
    ("virtio0", "virtio1"),
    ("igb0", "virtio0"),
    ("igb0", "veth"),
    ("veth", "virtio0"),
    ("e1000", "igb0"),
]


@pytest.mark.parametrize("one, other", PAIRS, ids=["-".join(pair) for pair in PAIRS])
def test_tcp(rig, note, one, other):
    rig.pair(one, other)
    client, server = (rig.hosts[wire] for wire in (one, other))
    address = server.address.split("/")[0]
    rig.ping(client, address)
    rates = []
    for options in ((), ("-R",)):
        process = server.iperf_server(address)
        end = client.iperf(address, "-t", 4, *options)
        process.wait(20)
        received, seconds = end["sum_received"]["bytes"], end["sum_received"]["seconds"]
        rates.append(f"{received * 8 / seconds / 1e6:.0f}")
        if received < 1e6:
            raise Failure(f"{client.name} {options}: {received} bytes received")
    checksums = [offload(host.name, "tx-checksumming", host.name) for host in (client, server)]
    note(f"{' and '.join(rates)} Mbit/s; hosts' tx-checksumming {checksums}")
    for wire in (one, other):
        if rig.way(wire)[1] == "yes" and rig.same_region(one, other):
            rig.zero_copied(wire)
