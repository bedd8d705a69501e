# SPDX-License-Identifier: Apache-2.0
"""Everything at the same time, for some minutes."""

import os
import time

from netmap_testlib import Failure, wait_until
from netmap_testlib.traffic import Traffic

MINUTES = float(os.environ.get("MINUTES") or 3)
FLOWS = {"igb0": range(4), "virtio0": range(40, 44)}


def test_mixed_traffic(rig, note):
    """A switch that learns, with a port of each kind: TCP and pings between all hosts, and numbered
    frames that go round by flows of their own, of which none may be doubled, late or changed."""
    wires = ("igb0", "igb1", "virtio0", "virtio1", "e1000", "veth")
    rig.ports(*wires)
    rig.flow("actions=normal")
    rig.flow("priority=9,udp,in_port=1,nw_src=10.200.0.0/24,actions=output:3")
    rig.flow("priority=9,udp,in_port=3,nw_src=10.200.0.0/24,actions=output:1")
    addresses = {wire: rig.hosts[wire].address.split("/")[0] for wire in wires}
    for wire in wires[1:]:
        rig.ping(rig.hosts[wire], addresses["igb0"])
    receivers = [rig.receiver("virtio0"), rig.receiver("igb0")]
    traffic = Traffic()
    end = time.monotonic() + 60 * MINUTES
    senders = [rig.flood(wire, flows, rate=100) for wire, flows in FLOWS.items()]
    try:
        for client, server in (("igb1", "virtio1"), ("veth", "e1000"), ("virtio1", "veth")):
            traffic.start(rig.hosts[server], "iperf3", "-s", "-1")
            command = ("-c", addresses[server], "-t", "5")
            traffic.start(rig.hosts[client], "timeout", "60", "iperf3", *command)
        while time.monotonic() < end:
            if not rig.switch.alive:
                raise Failure("ovs-vswitchd has died")
            show = rig.switch.show()
            missing = [region for region in show.regions if abs(region["missing"]) > 4096]
            if missing:
                raise Failure(f"buffers are missing: {missing}")
            time.sleep(2)
    finally:
        traffic.stop()
    counts = [sender.stop() for sender in senders]
    for receiver, flows, count in zip(receivers, FLOWS.values(), counts, strict=True):
        receiver.wait(count * len(flows), 30)
        receiver.check(flows, count, lossy=True)
        note(f"{receiver.count} of {count * len(flows)} numbered frames at {receiver.name}")
    for wire in wires[1:]:
        wait_until(lambda host=rig.hosts[wire]: host.reaches(addresses["igb0"]), 20, "a ping")
    packets = {wire: rig.counter(wire, "tx") for wire in wires}
    note(f"packets sent: {packets}")
