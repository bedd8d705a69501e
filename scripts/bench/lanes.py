# SPDX-License-Identifier: Apache-2.0
"""Two hosts with a side's switch between them: what most cases measure."""

import contextlib
import os
import sys
from pathlib import Path

from netmap_testlib import Failure, Host, say
from sides import cores, on_interfaces

BLAST = Path(__file__).with_name("blast.py")


class Lane:
    """Host 1 == this side == host 2, a veth pair each.  start() leaves it halted."""

    def __init__(self, make_side, tag, mtu):
        self.side = make_side()
        self.mtu = mtu
        self.names = [f"b{tag}{n}" for n in (1, 2)]
        self.hosts = []

    def start(self):
        self.side.start()
        for n, name in enumerate(self.names, 1):
            where = {"wire": f"{name}w", "wire_netns": self.side.netns}
            self.hosts.append(
                Host(
                    name,
                    **where,
                    address=f"10.9.0.{n}/24",
                    mtu=self.mtu,
                    offloads=self.side.offloads,
                )
            )
        self.side.connect([host.wire for host in self.hosts])
        if self.side.forwards_all and not self.hosts[0].ping("10.9.0.2", 20, 0.05, wait=2).received:
            raise Failure(f"{self.side.name}: nothing passes")
        self.side.halt()

    def stop(self):
        for host in self.hosts:
            host.remove()
        self.side.stop()

    def blast(self, size, flows, *options, **kwargs):
        """Starts a sender; without a rate, it stops itself when it is ready."""
        main, _ = cores()
        command = (sys.executable, BLAST, self.names[0], size, flows, *options)
        sender = self.hosts[0].spawn("taskset", "-c", main, *command, **kwargs)
        if not options:
            os.waitpid(sender.pid, os.WUNTRACED)
        return sender

    def received(self):
        return self.hosts[1].counters()["rx_packets"]


@contextlib.contextmanager
def lanes(settings, mtu, missing, makers=None):
    """All sides that can be started; why the others cannot goes into `missing`."""
    with contextlib.ExitStack() as stack:
        started = []
        for tag, make in enumerate(makers or on_interfaces(settings.quick)):
            lane = Lane(make, tag, mtu)
            stack.callback(lane.stop)
            try:
                lane.start()
            except Failure as failure:
                missing[lane.side.name] = str(failure)
                say(f"{lane.side.name}: left out: {str(failure).splitlines()[0]}")
            else:
                started.append(lane)
        # Not all ports take large frames, but something is to be measured.
        if not started and mtu <= 1500:
            raise Failure("no side could be started")
        yield started
