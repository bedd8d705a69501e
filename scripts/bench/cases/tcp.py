# SPDX-License-Identifier: Apache-2.0
"""TCP between the two hosts (iperf3), one stream and eight, at an MTU of 1500 and of 9000.  The hosts
compute checksums, as most kinds of ports need it; "netmap-offloads" is ours with hosts as they are by
default; "bridge" is the kernel's, as a ceiling."""

from functools import partial

from bridge import Bridge
from lanes import lanes
from netmap_testlib import stop
from sides import netmap, on_interfaces
from turns import Figure

SECONDS = 1


def mbps(lane, streams):
    with lane.side.turn():
        server = lane.hosts[1].iperf_server("10.9.0.2")
        end = lane.hosts[0].iperf("10.9.0.2", "-t", SECONDS, "-P", streams)
        stop(server)
    return end["sum_received"]["bits_per_second"] / 1e6


def figures(settings):
    makers = on_interfaces(settings.quick)
    makers.insert(1, partial(netmap, "netmap-offloads", offloads=True))
    makers.append(Bridge)
    for mtu in (1500,) if settings.quick else (1500, 9000):
        missing = {}
        with lanes(settings, mtu, missing, makers) as started:
            if not started:
                continue
            for streams in (1,) if settings.quick else (1, 8):
                figure = Figure(
                    *("tcp", {"mtu": mtu, "streams": streams}, "Mbit/s"), lower_is_better=False
                )
                figure.missing = missing
                for _ in range(settings.pairs):
                    for lane in started:
                        figure.add(lane.side.name, mbps(lane, streams))
                yield figure
