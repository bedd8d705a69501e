# SPDX-License-Identifier: Apache-2.0
"""Cycles per packet of the whole PMD loop: receive, flow extraction, lookup, action, send.  One port
that is an endless source and a sink, one flow that sends each packet back out:

  netmap   null:0 of this project
  dpdk     net_null0 of OVS-DPDK 3.1 as Debian ships it

Both sides receive 64-byte frames of zeros, have the same OpenFlow rule, and are checked to hit the
exact match cache with every packet.  Both are compiled with the same flags (scripts/build-ovs.sh).

A pair is a new process of each side, with the stacks of its threads at another place of a page.  Where
a thread's variables have the low 12 bits of the address of something that it reads for each packet, the
processor takes one for the other and waits, up to 7 of 80 cycles: which side it meets depends on the
size of its thread-local variables.  (T. Mytkowicz et al., "Producing Wrong Data Without Doing Anything
Obviously Wrong!", ASPLOS 2009.)

  BENCH_LOOKUP=simple  "simple match" instead of the exact match cache: OVS takes that short cut
                       when rules match on the port only
"""

import contextlib
import os
import re
import time

from netmap_testlib import Failure
from sides import BRIDGE, Side, dpdk, pmd_value
from turns import Figure

TURN_SECONDS = 0.1
# What was stopped finds its caches full of the other side's data.
WARM_UP_SECONDS = 0.03
# The match of the only flow, and the counter of the lookups that it is to take.
LOOKUPS = {
    "emc": ("in_port=1,dl_dst=00:00:00:00:00:00", "emc hits"),
    "simple": ("in_port=1", "simple match hits"),
}


# What glibc adds to the thread-local variables by default, and where stacks are the same again.
STATIC_TLS = 512
PAGE = 4096


def stacks_at(position, positions):
    """The environment of a process with its threads' stacks at one of so many places of a page."""
    size = STATIC_TLS + PAGE * position // positions
    return {"GLIBC_TUNABLES": f"glibc.rtld.optional_static_tls={size}"}


def null_port(name="netmap", source="zero", **side_options):
    options = {"netmap-port": "null:0", "null-source": source, "rxsync-intval": 0}
    columns = ["type=netmap", *(f'options:{key}="{value}"' for key, value in options.items())]
    return Side(name, lambda _: columns, first=True, **side_options)


def sides(quick, environment):
    yield null_port(environment=environment)
    if not quick:
        yield dpdk("dpdk", lambda _: "net_null0", first=True, environment=environment)


def begin(side, match, lookup):
    """Starts the switch and sees that it does what it is to do.  Returns its datapath flow."""
    side.start()
    side.add_bridge(BRIDGE)
    side.attach("n0", 1)
    side.flows(BRIDGE, f"{match},actions=in_port")
    time.sleep(1)
    stats = side.pmd_stats(1)
    flow = datapath_flow(side)
    side.halt()
    received, hits = pmd_value(stats, "packets received"), pmd_value(stats, lookup)
    if received <= 0:
        raise Failure(f"{side.name}: no packets, see {side.dir}")
    # The counters are read while the thread runs: a batch may be under way.
    if received - hits > 64:
        raise Failure(f"{side.name}: of {received:.0f} packets only {hits:.0f} are {lookup}")
    return flow


def datapath_flow(side):
    """The flow that packets take, without what differs between switches that do the same."""
    flows = []
    for line in side.ctl("dpctl/dump-flows", "netdev@ovs-netdev").splitlines():
        if re.search(r"in_port\(\d+\)", line):
            flow = re.sub(r"in_port\(\d+\)", "in_port", line)
            flows.append(re.sub(r", packets:.*actions:\d+$", " actions:in_port", flow))
    return "\n".join(flows)


def cycles(side):
    """What a packet costs, in a time so short that the machine most often has the same speed in the
    next turn."""
    with side.turn():
        time.sleep(WARM_UP_SECONDS)
        return pmd_value(side.pmd_stats(TURN_SECONDS), "avg cycles per packet")


def figures(settings):
    name = os.environ.get("BENCH_LOOKUP") or "emc"
    if name not in LOOKUPS:
        raise Failure(f"BENCH_LOOKUP={name}: {' or '.join(LOOKUPS)}")
    figure = Figure("pmd-loop", {}, "cycles/packet")
    for n in range(settings.pairs):
        with contextlib.ExitStack() as stack:
            pair = list(sides(settings.quick, stacks_at(n, settings.pairs)))
            flows = set()
            for side in pair:
                stack.callback(side.stop)
                flows.add(begin(side, *LOOKUPS[name]))
            if len(flows) > 1:
                raise Failure(f"the sides do not do the same: {' and '.join(flows)}")
            for _ in range(settings.turns(TURN_SECONDS)):
                for side in pair:
                    figure.add(side.name, cycles(side))
    yield figure
