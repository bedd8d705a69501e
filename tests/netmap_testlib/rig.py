# SPDX-License-Identifier: Apache-2.0
"""A switch, and what talks to its ports: what suites that run in a VM have in common."""

import re

from .frames import Collector, emit
from .process import Failure, run, wait_until

# Microseconds for which a thread without packets lets others have its CPU, which is an emulated one; by
# the names of Open vSwitch 3.1 and of later ones.
IDLE = {"pmd-maxsleep": 100, "pmd-sleep-max": 100}


def same(what, value, expected):
    """Fails unless they are equal."""
    if value != expected:
        raise Failure(f"{what}: {value}, expected {expected}")


def await_same(what, expected, function, seconds=60):
    """Waits until function() returns `expected`."""
    if not wait_until(lambda: function() == expected, seconds):
        same(what, function(), expected)


class Rig:
    """A running switch, and what talks to its ports."""

    def __init__(self, switch):
        self.switch = switch
        self.running = []

    # ---- the switch ----

    def bridge(self, name="br0", **columns):
        self.switch.add_bridge(name, **columns)

    def flow(self, flow, bridge="br0"):
        self.switch.ofctl("add-flow", bridge, flow)

    def kill_and_restart(self):
        """Ends the switch with SIGKILL, and waits until it has both of its ports again."""
        self.switch.kill_vswitchd()
        for device in ("br0", "ovs-netdev"):
            run("ip", "link", "del", device, check=False)
        self.switch.start_vswitchd()
        wait_until(lambda: len(self.switch.show().ports) == 2, 30, "both ports to be open again")

    def refused(self, name, netmap_port, pattern):
        """It does not open, and the error says `pattern`."""
        self.switch.add_port("br0", name, netmap_port, check=False)
        error = self.switch.error(name)
        if not error:
            raise Failure(f"{netmap_port} opened")
        if not re.search(pattern, error):
            raise Failure(f"the error of {netmap_port} does not say {pattern}: {error}")
        self.switch.del_port(name)

    def status(self, port, key):
        return self.switch.status(port)[key]

    def counter(self, port, way, name="pkts", bridge=None):
        """OpenFlow's counter, straight from the port."""
        bridge = bridge or self.switch.vsctl("port-to-br", port).strip()
        return getattr(self.switch.counters(bridge)[port], way)[name]

    def queue(self, port, kind, name):
        """A counter's sum over the queues in netmap/show."""
        return self.switch.show().total(port, kind, name)

    def counters_agree(self, port, way, name="packets"):
        """OpenFlow counts what the queues count as `name`.  A packet may come between two questions."""
        await_same(
            f"packets ({way}) of {port} in OpenFlow's counter less {name} in netmap/show",
            0,
            lambda: self.counter(port, way) - self.queue(port, f"{way}q", name),
        )

    def empty(self):
        """Whether netmap/show has no port and no region."""
        show = self.switch.show()
        return not show.ports and not show.regions

    def balanced(self):
        """Every buffer of every region is somewhere, and none is on its way."""
        wait_until(
            lambda: self.switch.show().settled,
            10,
            lambda: f"buffers are missing: {self.switch.show().regions}",
        )

    # ---- traffic ----

    def collect(self, port, host=None):
        collector = Collector(port, host)
        self.running.append(collector.close)
        return collector

    def carry(self, source, sink, count, frame, pattern, from_host=None, to_host=None):
        """What is sent there arrives here as `pattern`."""
        collector = self.collect(sink, to_host)
        emit(source, [frame] * count, host=from_host)
        collector.expect(count, pattern)

    @staticmethod
    def ping(host, address):
        """20 pings, all answered."""
        # The first one waits for ARP and for the flow to be made.
        wait_until(lambda: host.reaches(address), 20, "a ping to get through")
        same("pings answered", host.ping(address, 20, wait=5).received, 20)

    def end_traffic(self):
        for end in reversed(self.running):
            end()
        self.running = []
