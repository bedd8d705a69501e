# SPDX-License-Identifier: Apache-2.0
"""The PMD loop with many flows: UDP frames of K flows from a null port, which the exact match cache
(8192 entries) holds or not.  How far the port's own share of a packet is from what lookups cost."""

import contextlib
import time

from netmap_testlib import Failure
from sides import BRIDGE, pmd_value
from turns import Figure

from .pmd_loop import null_port

TURN_SECONDS = 0.1


def begin(side):
    side.start()
    side.add_bridge(BRIDGE)
    side.attach("n0", 1)
    # Matching the address keeps OVS from "simple match", which asks for the port only.
    side.flows(
        BRIDGE, "in_port=1,udp,nw_dst=0.0.0.0/1,actions=in_port", "in_port=1,actions=in_port"
    )
    time.sleep(1)
    if pmd_value(side.pmd_stats(0.5), "packets received") <= 0:
        raise Failure(f"{side.name}: no packets, see {side.dir}")
    side.halt()


def figures(settings):
    counts = (1, 1000) if settings.quick else (1, 1000, 65536)
    sides = [null_port(f"udp:{count}", f"udp:{count}") for count in counts]
    figure = Figure("flows", {}, "cycles/packet")
    with contextlib.ExitStack() as stack:
        for side in sides:
            stack.callback(side.stop)
            begin(side)
        for _ in range(settings.turns(TURN_SECONDS)):
            for side in sides:
                with side.turn():
                    stats = side.pmd_stats(TURN_SECONDS)
                figure.add(side.name, pmd_value(stats, "avg cycles per packet"))
    yield figure
