# SPDX-License-Identifier: Apache-2.0
"""What a port costs to have: milliseconds to add and to delete one, and the memory that the first and
a second one take."""

import contextlib
import time

from netmap_testlib import Failure, run, say
from sides import BRIDGE, on_interfaces
from turns import Figure


def veth(name, netns):
    run("ip", "link", "add", name, "type", "veth", "peer", "name", f"{name}p", netns=netns)
    for end in (name, f"{name}p"):
        run("ip", "link", "set", end, "up", netns=netns)


def timed(do, *arguments):
    start = time.monotonic()
    do(*arguments)
    return 1000 * (time.monotonic() - start)


def measure(side, names, table):
    side.start()
    for name in names:
        veth(name, side.netns)
    side.add_bridge(BRIDGE)
    before = side.resident_kb()
    for number, name in enumerate(names, 1):
        table["open"].add(side.name, timed(side.attach, name, number))
        after = side.resident_kb()
        table["first" if number == 1 else "second"].add(side.name, (after - before) / 1024)
        before = after
    for name in names:
        table["close"].add(side.name, timed(side.del_port, name))


def figures(settings):
    table = {
        "open": Figure("port-add", {}, "ms"),
        "close": Figure("port-delete", {}, "ms"),
        "first": Figure("port-memory", {"port": 1}, "MiB"),
        "second": Figure("port-memory", {"port": 2}, "MiB"),
    }
    missing = {}
    for _ in range(settings.pairs):
        for make in on_interfaces(settings.quick):
            side = make()
            with contextlib.ExitStack() as stack:
                stack.callback(side.stop)
                try:
                    measure(side, ("m1", "m2"), table)
                except Failure as failure:
                    missing[side.name] = str(failure)
                    say(f"{side.name}: left out: {str(failure).splitlines()[0]}")
    for figure in table.values():
        figure.missing = missing
        yield figure
