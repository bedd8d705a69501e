# SPDX-License-Identifier: Apache-2.0
"""What happens to the interface of a port in the soak, one thing after the other."""

import contextlib
import os
import resource
import signal
import time
from pathlib import Path

from netmap_testlib import run, wait_until
from netmap_testlib.memory_group import MemoryGroup

ELSEWHERE = "elsewhere"
# More than there is room for in a region, with the ports that there are.  Pipes without another end
# carry nothing.
PIPES = [f"pipe{n}" for n in range(16)]


class InterfaceEvents:
    """The interface of port `n`, which has two queues and is as it was after each event."""

    def __init__(self, network, n):
        self.network = network
        self.switch = network.switch
        self.errors = network.errors
        self.number = n
        self.name = f"p{n}"
        self.host = network.hosts[n]
        run("ip", "netns", "add", ELSEWHERE)
        self.events = [
            self.down,
            self.renamed,
            self.mtu,
            self.without_carrier,
            self.elsewhere,
            self.channels,
            self.replaced,
            self.blinking,
            self.renamed_unseen,
            self.replaced_unseen,
            self.other_port_name,
            self.elsewhere_unseen,
            self.names_exchanged,
            self.without_descriptors,
        ]
        if MemoryGroup.available():
            self.events.append(self.without_memory)

    def play(self, i):
        """The next event; then the port is what its interface is, and forwards again."""
        event = self.events[i % len(self.events)]
        self.errors.attempt(event)
        self.errors.attempt(self.network.neighbours, self.number)
        self.errors.expect(
            lambda: self.link_state() == "up",
            30,
            lambda: (
                f"{self.name} after {event.__name__}: link_state {self.link_state()}, "
                f"error {self.switch.error(self.name)}"
            ),
        )

    # ---- helpers ----

    def link_state(self):
        return self.switch.row("Interface", self.name)["link_state"]

    def set(self, *words, name=None):
        run("ip", "link", "set", name or self.name, *words)

    def wait_gone(self):
        """The port says that its interface is gone."""
        self.errors.expect(
            lambda: "is gone" in (self.switch.error(self.name) or ""),
            30,
            lambda: f"{self.name} is not gone: {self.switch.error(self.name)}",
        )

    @contextlib.contextmanager
    def unseen(self):
        """What happens meanwhile the switch sees the end of only."""
        os.kill(self.switch.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.switch.pid, signal.SIGCONT)

    def come_back(self):
        run("ip", "link", "set", self.name, "netns", os.getpid(), netns=ELSEWHERE)
        self.set("up")

    # ---- events ----

    def down(self):
        self.set("down")
        time.sleep(0.3)
        self.set("up")

    def without_carrier(self):
        self.host.link(self.host.name, state="down")
        time.sleep(0.3)
        self.host.link(self.host.name, state="up")

    def blinking(self):
        for _ in range(10):
            self.set("down")
            self.set("up")

    def mtu(self):
        self.set("mtu", "1400")
        # Frames over several buffers, and such that are too long: the port says so.
        self.set("mtu", "9000")
        self.set("mtu", "9300")
        self.errors.expect(
            lambda: "MTU" in (self.switch.error(self.name) or ""), 30, "no error about the MTU"
        )
        self.set("mtu", "1500")

    def channels(self):
        for n in ("1", "2"):
            run("ethtool", "-L", self.host.name, "rx", n, "tx", n, netns=self.host.name)
            with contextlib.suppress(Exception):
                # Refused while a socket has the queue.
                run("ethtool", "-L", self.name, "rx", n, "tx", n)

    def renamed(self):
        self.set("name", "away")
        self.wait_gone()
        self.set("name", self.name, name="away")

    def renamed_unseen(self):
        with self.unseen():
            self.set("name", "away")
            self.set("name", self.name, name="away")

    def names_exchanged(self):
        """Another interface has the name for a while."""
        self.set("name", "away")
        run("ip", "link", "add", self.name, "type", "veth", "peer", "name", "nobody")
        self.set("up")
        self.errors.expect(
            lambda: self.link_state() == "down" and not self.switch.error(self.name),
            30,
            lambda: f"{self.name} is another one: {self.switch.error(self.name)}",
        )
        run("ip", "link", "del", self.name)
        self.set("name", self.name, name="away")

    def elsewhere(self):
        self.set("netns", ELSEWHERE)
        self.wait_gone()
        self.come_back()

    def elsewhere_unseen(self):
        with self.unseen():
            self.set("netns", ELSEWHERE)
            self.come_back()

    def replaced(self):
        self.network.disconnect(self.number)
        self.wait_gone()
        self.host.connect()

    def replaced_unseen(self):
        """By one with the same number."""
        index = Path(f"/sys/class/net/{self.name}/ifindex").read_text().strip()
        with self.unseen():
            self.network.disconnect(self.number)
            self.host.connect(index=int(index))

    def other_port_name(self):
        """The port moves to another interface, and back."""
        run("ip", "link", "add", "other", "type", "veth", "peer", "name", "nobody")
        for name in ("other", self.name):
            self.switch.vsctl("set", "Interface", self.name, f"options:netmap-port={name}")
        run("ip", "link", "del", "other")
        self.switch.vsctl("remove", "Interface", self.name, "options", "netmap-port")

    def without_descriptors(self):
        """The switch can hardly open a file while its interface blinks."""
        pid = self.switch.pid
        _, hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
        few = len(os.listdir(f"/proc/{pid}/fd")) + 2
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (few, hard))
        try:
            self.down()
            time.sleep(0.3)
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, (hard, hard))

    def without_memory(self):
        """There are ports that there is no memory for, then there is."""
        with MemoryGroup() as group:
            group.add(self.switch.pid)
            # Enough for all but another region, which has 64 MB and must leave 32.
            group.leave(90 << 20)
            self.switch.add_bridge("brm")
            for name in PIPES:
                self.switch.add_port("brm", name, f"netmap:{name}{{1", check=False)
            self.errors.expect(
                lambda: any("do not fit" in (self.switch.error(n) or "") for n in PIPES),
                30,
                "no port that there is no memory for",
            )
            self.errors.attempt(self.down)
            group.leave(1 << 30)
            wait_until(lambda: not any(map(self.switch.error, PIPES)), 30, "memory to be used")
            self.switch.vsctl("del-br", "brm")
