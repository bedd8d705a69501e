# SPDX-License-Identifier: Apache-2.0
"""The floor: xdp-project's xsk_fwd, which moves frames from one AF_XDP socket to the other and does
nothing else.  It is no switch: it exchanges the two MAC addresses and holds frames until it has 64,
so nothing can be sent through it but floods.  XSK_FWD names the program; it is not fetched."""

import contextlib
import os
import signal
import time
from pathlib import Path

from pyroute2 import netns as namespaces

from netmap_testlib import Failure, spawn, stop
from netmap_testlib.host import disable_ipv6
from sides import RUN, cores


class XskFwd:
    """What lanes ask of a Side, of this program."""

    name = "xsk_fwd"
    offloads = False
    forwards_all = False

    def __init__(self, program):
        self.program = program
        self.netns = f"bench-{self.name}"
        self.process = None

    def start(self):
        namespaces.create(self.netns)
        disable_ipv6(self.netns)

    def connect(self, wires):
        _, core = cores()
        RUN.mkdir(parents=True, exist_ok=True)
        log = RUN / f"{self.name}.log"
        ports = [word for wire in wires for word in ("-i", wire)]
        self.process = spawn(self.program, "-c", core, *ports, netns=self.netns, log=log)
        time.sleep(1)
        if self.process.poll() is not None:
            raise Failure(f"{self.name} did not start, see {log}")

    def stop(self):
        if self.process:
            self.process.send_signal(signal.SIGCONT)
            stop(self.process)
        if self.netns in namespaces.listnetns():
            namespaces.remove(self.netns)

    def halt(self):
        self.process.send_signal(signal.SIGSTOP)

    @contextlib.contextmanager
    def turn(self):
        self.process.send_signal(signal.SIGCONT)
        try:
            yield
        finally:
            self.halt()

    def pmd_stats(self, seconds):
        """It counts no cycles."""
        time.sleep(seconds)
        return ""


def makers():
    """It, where XSK_FWD says where it is."""
    program = os.environ.get("XSK_FWD")
    if not program:
        return []
    if not os.access(program, os.X_OK):
        raise Failure(f"XSK_FWD={program}: there is no such program")
    return [lambda: XskFwd(Path(program).resolve())]
