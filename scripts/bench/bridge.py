# SPDX-License-Identifier: Apache-2.0
"""A ceiling for TCP: the kernel's own bridge, which hands a frame from one veth to the other without a
copy, a system call or another thread.  What is left is what the two hosts cost."""

import contextlib

from pyroute2 import netns as namespaces

from netmap_testlib import run
from netmap_testlib.host import disable_ipv6
from sides import BRIDGE


class Bridge:
    """What lanes ask of a Side, of a bridge.  It needs no halt: it has no thread."""

    name = "bridge"
    offloads = False
    forwards_all = True

    def __init__(self):
        self.netns = f"bench-{self.name}"

    def start(self):
        namespaces.create(self.netns)
        disable_ipv6(self.netns)

    def connect(self, wires):
        run("ip", "link", "add", BRIDGE, "up", "type", "bridge", netns=self.netns)
        for wire in wires:
            run("ip", "link", "set", wire, "master", BRIDGE, netns=self.netns)

    def stop(self):
        if self.netns in namespaces.listnetns():
            namespaces.remove(self.netns)

    def halt(self):
        pass

    @contextlib.contextmanager
    def turn(self):
        yield
