# SPDX-License-Identifier: Apache-2.0
"""What the tests here are made of: a switch with cards, and hosts behind them."""

import contextlib
from pathlib import Path

from netmap_testlib import Failure, run, wait_until
from netmap_testlib.cards import driver_of
from netmap_testlib.host import linux
from netmap_testlib.rig import Rig as BaseRig
from netmap_testlib.rig import same
from netmap_testlib.stream import SHORTEST, Receiver, Sender, exchange, send

# Since which Linux a driver has zero copy.
ZERO_COPY_SINCE = {"igb": (6, 14), "virtio_net": (6, 13)}
# The flow of frames that only see whether they get through.
PROBE = 99


def expected_way(wire):
    """(mode, zero-copy) that a port has with this kernel and default settings."""
    driver = driver_of(wire)
    since = ZERO_COPY_SINCE.get(driver)
    zero_copy = since is not None and linux() >= since
    return "generic" if driver == "e1000" else "native", "yes" if zero_copy else "no"


class Rig(BaseRig):
    """A running switch; a port has its wire's name, and so has the host behind it in `hosts`."""

    def __init__(self, switch, hosts):
        super().__init__(switch)
        self.hosts = hosts

    def ports(self, *wires, settings=()):
        """Adds them as ports 1, 2 and so on, and waits until frames get through to their hosts."""
        for number, wire in enumerate(wires, 1):
            self.switch.add_port("br0", wire, None, *settings, number=number)
        for wire in wires:
            self.await_carrier(wire)

    def await_carrier(self, wire):
        """A card's link is down for a while when its queues are made anew."""

        host = self.hosts[wire]

        def links():
            theirs = host.routes.link("get", ifname=host.name)[0].get_attr("IFLA_CARRIER")
            ours = "down"
            # The kernel does not tell it of an interface that is down.
            with contextlib.suppress(OSError):
                ours = Path(f"/sys/class/net/{wire}/carrier").read_text().strip()
            return self.switch.row("Interface", wire)["link_state"], ours, str(theirs)

        wait_until(
            lambda: links() == ("up", "1", "1"),
            60,
            lambda: f"the link of {wire}: switch, interface and host say {links()}",
        )

    def pair(self, one, other, *settings):
        """What comes in at one of two ports goes out at the other one."""
        self.ports(one, other, settings=settings)
        self.flow("in_port=1,actions=output:2")
        self.flow("in_port=2,actions=output:1")

    def way(self, wire):
        """(mode, zero-copy) of a port."""
        status = self.switch.status(wire)
        return status["mode"], status["zero-copy"]

    def exchange(self, *wires, **options):
        """Numbered frames both ways between the hosts behind two ports."""
        one, other = (self.hosts[wire] for wire in wires)
        self.reach(one, other, **options)
        self.reach(other, one, **options)
        try:
            exchange([(one, other), (other, one)], **options)
        except Failure:
            for wire in wires:
                self.say_counters(wire)
            raise

    @staticmethod
    def reach(source, sink, tag=None, untag=None, **_):
        """Waits until frames get through.  A card that was reset has no link for a while, and those who
        watch it need not have seen yet that it is up again."""
        receiver = Receiver(sink, *([untag] if untag else []))
        tagging = {"tag": tag} if tag else {}

        def arrives():
            send(source, [PROBE], 1, patient=True, size=SHORTEST, **tagging)
            return wait_until(lambda: receiver.count, 0.5)

        try:
            wait_until(arrives, 30, f"frames from {source.name} to arrive at {sink.name}")
        finally:
            receiver.close()

    def say_counters(self, wire):
        """What the card of a port counts, and the one of the host behind it."""
        host = self.hosts[wire]
        for interface, netns in ((wire, None), (host.name, host.name)):
            lines = run("ethtool", "-S", interface, netns=netns, check=False).splitlines()
            print(interface, *(line.strip() for line in lines if not line.endswith(": 0")))

    def send(self, wire, flows, count, **options):
        """Numbered frames from the host behind a port."""
        send(self.hosts[wire], flows, count, **options)

    def flood(self, wire, flows=(80,), rate=300):
        """Numbered frames from the host behind a port, until they are stopped."""
        sender = Sender(self.hosts[wire], flows, None, rate, patient=True)
        self.running.append(sender.until.set)
        return sender

    def receiver(self, wire):
        receiver = Receiver(self.hosts[wire])
        self.running.append(receiver.close)
        return receiver

    def same_region(self, *wires):
        """Whether these ports share their buffers."""
        return len({self.switch.status(wire)["region"] for wire in wires}) == 1

    def zero_copied(self, *wires):
        """Each frame that these ports sent was sent without a copy; returns how many."""
        for wire in wires:
            self.counters_agree(wire, "tx", "zero_copy")
            same(f"frames that {wire} copied", self.queue(wire, "txq", "copied"), 0)
        return {wire: self.queue(wire, "txq", "zero_copy") for wire in wires}

    def clear(self):
        """Takes away what a test made.  No buffer may be missing, and nothing be left of the ports."""
        self.end_traffic()
        if not self.switch.alive:
            raise Failure("ovs-vswitchd has died")
        self.balanced()
        self.switch.vsctl("--if-exists", "del-br", "br0")
        self.switch.config(pmd_cpu_mask=None)
        show = self.switch.show
        wait_until(self.empty, 20, lambda: f"without ports there still is: {show().data}")
