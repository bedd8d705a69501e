# SPDX-License-Identifier: Apache-2.0
"""When idle rings are synced, and what that costs; throughput beside others."""

import os
import re
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
from rig import PKT_GEN

from netmap_testlib import Failure, run, spawn, stop, wait_until
from netmap_testlib.host import disable_offloads
from netmap_testlib.rig import IDLE

TRACING = Path("/sys/kernel/tracing")
EVENT = "netmap_suite/netmap_rxsyncs"


@pytest.fixture(autouse=True)
def never_idle(switch):
    """The threads whose work is measured here do not sleep."""
    switch.config(**dict.fromkeys(IDLE))
    yield
    switch.config(**IDLE)


def change_kprobes(command):
    """Leaves those of others alone.  Not by open("a"): it seeks the end, and this file has none."""
    events = os.open(TRACING / "kprobe_events", os.O_WRONLY | os.O_APPEND)
    try:
        os.write(events, f"{command}\n".encode())
    finally:
        os.close(events)


@pytest.fixture
def module_rxsyncs(note):
    """A function that counts the calls of the module's rxsync of VALE ports; None without kprobes."""
    if not (TRACING / "kprobe_events").exists():
        run("mount", "-t", "tracefs", "tracefs", TRACING, check=False)
    try:
        change_kprobes(f"p:{EVENT} netmap_vp_rxsync")
    except OSError as error:
        note(f"no kprobes here: {error}")
        yield None
        return
    enable = TRACING / "events" / EVENT / "enable"
    enable.write_text("1")

    def count():
        profile = (TRACING / "kprobe_profile").read_text()
        return int(re.search(r"netmap_rxsyncs\s+(\d+)", profile)[1])

    yield count
    enable.write_text("0")
    change_kprobes(f"-:{EVENT}")


@dataclass
class Sample:
    time: float
    count: int

    @classmethod
    def of(cls, counter):
        return cls(time.monotonic(), counter())

    def rate_since(self, other):
        """Counts a second."""
        return (self.count - other.count) / (self.time - other.time)


def rxsync_rates(*counters):
    """What these count a second, in ten seconds."""
    before = [Sample.of(counter) for counter in counters]
    time.sleep(10)
    return [Sample.of(c).rate_since(b) for c, b in zip(counters, before, strict=True)]


def test_rxsync_interval(rig, note, module_rxsyncs):
    """Never more often than the interval says.

    In an emulated VM a pass of the PMD thread alone may take longer than a short one, so only a long
    one must be reached as well.
    """
    rig.bridge()
    rig.port("p1", 1, "vale0:1")

    def own():
        return rig.queue("p1", "rxq", "rxsyncs")

    counters = [own, module_rxsyncs] if module_rxsyncs else [own]
    for us in (500, 5000, 50000):
        rig.switch.vsctl("set", "Interface", "p1", f"options:rxsync-intval={us}")
        wanted = 1_000_000 / us
        rate, *module = rxsync_rates(*counters)
        note(
            f"{us} us: {rate:.1f} a second of {wanted:.0f}"
            + "".join(f", by the module {m:.1f}" for m in module)
        )
        assert rate <= 1.1 * wanted, "too often"
        assert all(abs(m - rate) <= rate / 10 for m in module), f"the module counts {module}"
    for _ in range(3):
        if rate >= 0.9 * wanted:
            return
        rate, *_ = rxsync_rates(own)
    raise Failure(f"too seldom: {rate:.1f} a second of {wanted:.0f}")


def cpu_ticks(task):
    """User and system time of a thread."""
    fields = (task / "stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[11]), int(fields[12])


def test_latency_and_idle_cpu_by_interval(rig, note):
    """Shown, not judged: an emulated CPU has times of its own."""
    h1, _ = rig.pair()
    rig.bridge()
    rig.port("p1", 1, "netmap:v1")
    rig.port("p2", 2, "netmap:v2")
    rig.flow("actions=normal")
    tasks = Path(f"/proc/{rig.switch.pid}/task").iterdir()
    task = next(t for t in tasks if (t / "comm").read_text().startswith("pmd-"))
    for us in (0, 5, 50, 500):
        rig.switch.config(rxsync_intval=us)
        wait_until(lambda: h1.reaches("10.91.0.2"), 20, "a ping to get through")
        rtt = h1.ping("10.91.0.2", 100, 0.02).rtt_ms
        user0, system0 = cpu_ticks(task)
        (rate,) = rxsync_rates(lambda: rig.queue("p1", "rxq", "rxsyncs"))
        user1, system1 = cpu_ticks(task)
        busy = user1 + system1 - user0 - system0
        note(
            f"{us} us: ping {rtt} ms, idle {rate:.0f} rxsyncs a second and a port and "
            f"{100 * (system1 - system0) / max(busy, 1):.0f} % of the thread's time in the kernel"
        )
    rig.switch.config(rxsync_intval=None)
    rig.balanced()


def test_throughput_beside_bridge(rig, note):
    """Shown, not judged: as many packets as there can be from pkt-gen to pkt-gen, by the switch and
    by netmap's own bridge between the same two ports, in turns."""
    beside = Path(PKT_GEN).parent.parent / "bridge/bridge"
    bridge = beside if os.access(beside, os.X_OK) else shutil.which("bridge-netmap")
    if not bridge:
        pytest.skip("no bridge of netmap's beside pkt-gen")
    ratios = []
    for _ in range(3):
        log = rig.switch.dir / "bridge.out"
        log.write_text("")
        process = spawn(bridge, "-w", 1, "-i", "vale0:1@1", "-i", "vale1:1@1", log=log)
        rig.running.append(lambda process=process: stop(process))
        wait_until(lambda log=log: "Ready to go" in log.read_text(), 60, "the bridge to be ready")
        its = rig.throughput()
        stop(process)
        rig.bridge()
        rig.port("p1", 1, "vale0:1@1")
        rig.port("p2", 2, "vale1:1@1")
        rig.flow("in_port=1,actions=output:2")
        ours = rig.throughput()
        rig.balanced()
        rig.switch.vsctl("del-br", "br0")
        print(f"OVS {ours:.0f}, bridge {its:.0f} packets a second")
        ratios.append(f"{ours / its:.2f}")
    note(f"OVS / bridge: {' '.join(ratios)}")


def udp_packets_per_second(sender, receiver, address):
    """That arrive, of as many of 64 bytes as it can send."""
    server = receiver.iperf_server(address)
    end = sender.iperf(address, "-u", "-b", 0, "-l", 64, "-t", 5)["sum"]
    stop(server)
    return (end["packets"] - end["lost_packets"]) / end["seconds"]


def test_throughput_beside_system(rig, note):
    """Shown, not judged: UDP from host to host, by the generic adapters of two veths and by ports of
    type system on them, in turns."""
    hosts = rig.pair()
    for host in hosts:
        # Open vSwitch 3.1 does not complete checksums for a system port.
        disable_offloads(host.name, host.name)
    ratios = []
    for _ in range(3):
        rates = []
        for kind in ("netmap", "system"):
            rig.bridge()
            for number in (1, 2):
                if kind == "netmap":
                    rig.port(f"p{number}", number, f"netmap:v{number}")
                else:
                    rig.switch.add_port("br0", f"v{number}", type=kind, number=number)
            rig.flow("actions=normal")
            rates.append(udp_packets_per_second(*hosts, "10.91.0.2"))
            rig.switch.vsctl("del-br", "br0")
        ours, its = rates
        print(f"netmap {ours:.0f}, system {its:.0f} packets a second")
        ratios.append(f"{ours / its:.2f}")
    note(f"netmap / system: {' '.join(ratios)}")


def test_price_of_the_copy(rig, note):
    """Shown, not judged: as many packets as there can be, with frames that are copied when they
    come, and with a peer that is trusted, in turns."""
    ratios = []
    for _ in range(3):
        rates = []
        for trusted in (False, True):
            rig.bridge()
            rig.port("p1", 1, "vale0:1@1", trusted=trusted)
            rig.port("p2", 2, "vale1:1@1")
            rig.flow("in_port=1,actions=output:2")
            rates.append(rig.throughput())
            rig.balanced()
            rig.switch.vsctl("del-br", "br0")
        copied, trusted = rates
        print(f"copied {copied:.0f}, trusted {trusted:.0f} packets a second")
        ratios.append(f"{copied / trusted:.2f}")
    note(f"copied / trusted: {' '.join(ratios)}")
