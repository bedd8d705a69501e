# SPDX-License-Identifier: Apache-2.0
"""Round trips of 1000 pings a second, and the processor time that an idle switch takes: for each side,
and for ours with longer pauses between the looks at an idle ring (rxsync-intval, in microseconds), and
with PMD threads that may sleep (pmd-maxsleep, Open vSwitch 3.1 and newer)."""

import os
import re
import time
from functools import partial
from pathlib import Path

from lanes import lanes
from sides import netmap, on_interfaces
from turns import Figure

PINGS = 400
IDLE_SECONDS = 0.5
PERCENTILES = (50, 99, 99.9)


def variants(quick):
    """Ours first, as it is by default, which is 5 us without load."""
    makers = on_interfaces(quick)
    if not quick:
        makers[1:1] = [
            partial(netmap, "netmap-0us", intval=0),
            partial(netmap, "netmap-50us", intval=50),
            partial(netmap, "netmap-sleep", **{"pmd-maxsleep": 100}),
        ]
    return makers


def percentile(values, percent):
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(len(ordered) * percent / 100))]


def round_trips(lane):
    """Microseconds of each."""
    with lane.side.turn():
        text = lane.hosts[0].run("ping", "-i", "0.001", "-c", PINGS, "10.9.0.2", check=False)
    return [1000 * float(ms) for ms in re.findall(r"time=([\d.]+) ms", text)]


def idle_percent(lane):
    """Of one processor."""

    def ticks():
        fields = Path(f"/proc/{lane.side.pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[11]) + int(fields[12])

    with lane.side.turn():
        before, start = ticks(), time.monotonic()
        time.sleep(IDLE_SECONDS)
        used, seconds = ticks() - before, time.monotonic() - start
    return 100 * used / os.sysconf("SC_CLK_TCK") / seconds


def figures(settings):
    missing = {}
    with lanes(settings, 1500, missing, variants(settings.quick)) as started:
        trips = [Figure("latency", {"percentile": p}, "us") for p in PERCENTILES]
        idle = Figure("idle", {}, "percent-cpu")
        for _ in range(settings.pairs):
            for lane in started:
                times = round_trips(lane)
                for figure, percent in zip(trips, PERCENTILES, strict=True):
                    figure.add(lane.side.name, percentile(times, percent))
                idle.add(lane.side.name, idle_percent(lane))
    for figure in (*trips, idle):
        figure.missing = missing
        yield figure
