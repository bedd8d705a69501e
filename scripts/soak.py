#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Months of use in minutes: traffic of all kinds through netmap ports, while ports are deleted and
added, queues and threads reconfigured, flows changed from action to action, and interfaces taken
down, renamed, moved, deleted and made again.  Then all buffers must be there, all hosts must reach
each other, and the memory of ovs-vswitchd must not have grown.

soak_network.py has the hosts and bridges, and their picture.  p3 is the port that comes and goes, and
the interface of p4 does.  SOAK_MINUTES says how long all this takes.  The last line is "soak:
minutes=M port_cycles=N packets=N lost_buffers=N errors=N".
"""

import os
import re
import statistics
import sys
import time

from soak_errors import Errors
from soak_flows import BR0, WAYS
from soak_interface import InterfaceEvents
from soak_network import BRIDGES, HOSTS, Network, peers

from netmap_testlib import Failure, Switch, run_program, say, stop, wait_until
from netmap_testlib.host import disable_ipv6
from netmap_testlib.switch import BUILD

# What no interface can do to a port, and no rate of packets: a ring or a descriptor that makes no
# sense.
NONSENSE = re.compile(r"([rt]x_)?(bad_|invalid_descs|sync_errors)")

# Open vSwitch 4.0 keeps the packet of a fragment, where earlier releases keep a copy.  If the others do
# not come and nothing else goes through conntrack, it frees it after the 15 seconds that it waits for
# them, 10 more, and one round of 60 of the thread that looks (lib/ipf.c).
FRAGMENT_SECONDS = 90


def pmd_cpu_mask(bits):
    """Bit 0 is the first CPU that this process may use (under taskset), bit 1 the second."""
    cpus = sorted(os.sched_getaffinity(0))
    mask = 0
    for bit, cpu in ((1, cpus[0]), (2, cpus[min(1, len(cpus) - 1)])):
        if bits & bit:
            mask |= 1 << cpu
    return f"{mask:#x}"


class Soak:
    def __init__(self, switch):
        self.switch = switch
        self.errors = Errors()
        self.network = Network(switch, self.errors)
        self.interface = None
        self.port_cycles = 0
        # (part of the time, polling threads, kB).
        self.memory = []
        self.threads = 1

    def set_up(self):
        self.network.set_up()
        self.interface = InterfaceEvents(self.network, 4)

    # ---- one round of changes ----

    def round(self, i):
        network, expect = self.network, self.errors.expect
        action = list(BR0)[i % len(BR0)]
        way = WAYS[i % len(WAYS)]
        network.br0_does(action)
        network.pair_by(way)
        expect(lambda: network.reaches(1, 2), 30, f"h1 does not reach h2 through {action}")
        expect(lambda: network.reaches(5, 6), 30, f"h5 does not reach h6 through {way}")
        self.change_ports(i, action)
        self.change_queues(i)
        self.interface.play(i)
        network.check_ports()
        self.check_counters()

    def cycle(self, *numbers):
        """Deletes ports of br0, then adds them again."""
        self.network.delete_ports(*numbers)
        self.network.add_ports(*numbers)
        self.port_cycles += len(numbers)

    def check_counters(self):
        found = [
            f"{port} {name}={count}"
            for port, name, count in self.switch.show().counts()
            if count and NONSENSE.match(name)
        ]
        if found:
            self.errors.add(f"counted: {', '.join(found)}")

    def change_ports(self, i, action):
        """Ports go and come: one, that with several queues too, all of br0."""
        if i % 8 == 3:
            self.cycle(1, 2)
        elif i % 8 != 7:
            self.cycle(3)
        elif action == "mirror":
            # A mirror without the port that it goes to is an error in the log.
            self.cycle(1, 2, 3)
        else:
            self.cycle(1, 2, 3, 4)

    def change_queues(self, i):
        """Queues, intervals, threads."""
        port = ["set", "Interface", f"p{i // 2 % 2 + 1}", f"options:n_rxq={i % 2 + 1}"]
        interval = ["set", "Open_vSwitch", ".", f"other_config:rxsync-intval={i * 7 % 40}"]
        self.errors.attempt(self.switch.vsctl, *port, "--", *interval)
        if i % 3 == 0:
            bits = i // 3 % 3 + 1
            self.threads = bits.bit_count()
            self.errors.attempt(self.switch.config, pmd_cpu_mask=pmd_cpu_mask(bits))

    @property
    def elapsed(self):
        return self.errors.elapsed

    def run(self, minutes):
        total, next_report, i = minutes * 60, 60, 0
        self.network.start_traffic()
        self.errors.start = time.monotonic()
        while self.elapsed < total:
            self.round(i)
            i += 1
            if not self.switch.alive:
                said = (self.switch.dir / "ovs-vswitchd.out").read_text().splitlines()[-3:]
                raise Failure(f"ovs-vswitchd ended: {said}")
            self.memory.append((self.elapsed / total, self.threads, self.switch.resident_kb()))
            if self.elapsed >= next_report:
                print(
                    f"    ... {next_report} s, {i} rounds, {self.port_cycles} port cycles, "
                    f"{self.network.packets()} packets, {self.memory[-1][2]} kB, "
                    f"{self.errors.count} errors",
                    flush=True,
                )
                next_report += 60

    # ---- is all there? ----

    def counts(self):
        """All that is counted but the syncs of idle rings."""
        return [count for count in self.switch.show().counts() if count[1] != "rxsyncs"]

    def quiet(self):
        before = self.counts()
        time.sleep(0.5)
        return before == self.counts()

    def finish(self):
        """Returns packets and lost buffers."""
        network = self.network
        network.traffic.stop()
        packets = network.packets()
        network.br0_does("normal")
        network.pair_by("vxlan")
        for n in HOSTS:
            for peer in peers(n):
                self.errors.expect(
                    lambda n=n, peer=peer: network.reaches(n, peer),
                    30,
                    f"h{n} does not reach h{peer} any more",
                )
        self.errors.expect(self.quiet, 20, "the ports do not come to rest")
        # A packet that is on its way just now is not lost, nor one that waits for the rest of its
        # fragments.
        wait_until(lambda: self.switch.show().lost == 0, FRAGMENT_SECONDS)
        lost = self.switch.show().lost
        print(
            *[
                line
                for line in self.switch.ctl("netmap/show").splitlines()
                if line.startswith("region ")
            ],
            sep="\n",
        )
        # With the last port and the datapath, every region goes.
        for bridge in BRIDGES:
            self.errors.attempt(self.switch.vsctl, "del-br", bridge)
        self.errors.expect(
            lambda: not self.switch.show().regions,
            20,
            lambda: f"a region is left without ports: {self.switch.show().regions}",
        )
        return packets, lost

    def check_log(self):
        logged = self.switch.log_lines(["ERR", "EMER"])
        if logged:
            print(*logged[:5], sep="\n", file=sys.stderr)
            self.errors.add(f"{len(logged)} errors in {self.switch.dir}/ovs-vswitchd.log")

    def check_memory(self, limit):
        """Like is compared with like: each polling thread has 8 MB of flow cache."""

        def middle(*windows):
            """The median with one polling thread, in the first window that has any."""
            for start, end in windows:
                if found := [kb for part, n, kb in self.memory if n == 1 and start <= part <= end]:
                    return int(statistics.median(found))
            raise Failure("too few rounds to tell whether the memory of ovs-vswitchd grows")

        # In the first minutes all kinds of things happen for the first time.
        first = middle((0.20, 0.35), (0.20, 0.50))
        last = middle((0.85, 1.0), (0.70, 1.0), (0.50, 1.0))
        print(
            f"memory of ovs-vswitchd: {first} kB after the first fifth, {last} kB at the end, "
            f"{last - first} kB more; the limit is {limit} kB"
        )
        if last - first > limit:
            self.errors.add("the memory of ovs-vswitchd grows")


def soak(minutes, run_dir):
    """Whether all went well."""
    say("six hosts, and a switch with netmap ports")
    disable_ipv6()
    # Each polling thread has 8 MB of flow cache, which malloc keeps or gives back as it happens to
    # lie; mapped one by one they go with their thread.
    environment = {"MALLOC_MMAP_THRESHOLD_": "1048576"}
    other_config = {"pmd-cpu-mask": pmd_cpu_mask(1), "vlan-limit": 0}
    with Switch(run_dir, environment=environment, other_config=other_config) as switch:
        test = Soak(switch)
        monitor = None
        try:
            test.set_up()
            monitor = switch.spawn("ovs-ofctl", "monitor", "br0", 65534)
            say(f"{minutes} minutes of traffic and changes")
            test.run(minutes)
            say("the traffic stops; is all there?")
            packets, lost = test.finish()
        finally:
            test.network.traffic.stop()
            if monitor:
                stop(monitor)
        test.check_log()
        test.check_memory(
            int(os.environ.get("SOAK_MEMORY_LIMIT") or (8192 if minutes < 5 else 4096))
        )
        if not packets:
            test.errors.add("no packets")
    print(
        f"soak: minutes={minutes} port_cycles={test.port_cycles} packets={packets} "
        f"lost_buffers={lost} errors={test.errors.count}"
    )
    return test.errors.count == 0 and lost == 0


def main():
    run_dir = BUILD / "run/soak"
    minutes = os.environ.get("SOAK_MINUTES") or "10"

    def body():
        if not re.fullmatch("[1-9][0-9]*", minutes):
            raise Failure(f"SOAK_MINUTES={minutes}: expected a number of minutes")
        return soak(int(minutes), run_dir)

    return run_program("soak", body, run_dir)


sys.exit(main())
