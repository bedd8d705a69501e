# SPDX-License-Identifier: Apache-2.0
"""Two PMD threads against one: the packets a second of two null ports, polled by one thread and by
two.  What a second thread adds beside the first is what threads do not share."""

import contextlib
import time

from netmap_testlib import say
from sides import BRIDGE, Side, cores, mask, pmd_value
from turns import Figure

TURN_SECONDS = 0.2


def side(name, pmds):
    return Side(
        name,
        lambda port: ["type=netmap", f"options:netmap-port=null:{port[1:]}"],
        first=True,
        other_config={"pmd-cpu-mask": mask(*pmds), "rxsync-intval": 0},
    )


def begin(one):
    one.start()
    one.add_bridge(BRIDGE)
    for number in (1, 2):
        one.attach(f"n{number - 1}", number)
    one.flows(BRIDGE, "dl_dst=00:00:00:00:00:00,actions=in_port")
    time.sleep(1)
    one.halt()


def packets_per_second(one):
    with one.turn():
        one.ctl("dpif-netdev/pmd-stats-clear")
        start = time.monotonic()
        time.sleep(TURN_SECONDS)
        text = one.ctl("dpif-netdev/pmd-stats-show")
        seconds = time.monotonic() - start
    threads = text.split("pmd thread")[1:]
    return sum(pmd_value(thread, "packets received") for thread in threads) / seconds


def figures(settings):
    pmds = sorted(set(cores()))
    if len(pmds) < 2:
        say("threads: only one core, nothing to compare")
        return
    figure = Figure("threads", {"ports": 2}, "packets/s", lower_is_better=False)
    with contextlib.ExitStack() as stack:
        sides = [side("two", pmds), side("one", pmds[1:])]
        for one in sides:
            stack.callback(one.stop)
            begin(one)
        for _ in range(settings.turns(TURN_SECONDS)):
            for one in sides:
                figure.add(one.name, packets_per_second(one))
    yield figure
