# SPDX-License-Identifier: Apache-2.0
"""Two PMD threads against one: the packets a second of null ports - two, one with two queues, four
pairs - polled by one thread and by two.  What a second thread adds beside the first is what threads do
not share."""

import contextlib
import time

from netmap_testlib import say
from sides import BRIDGE, Side, cores, mask, pmd_value
from turns import Figure

TURN_SECONDS = 0.2


# Ports, and queues of each.
SHAPES = ((2, 1), (1, 2), (8, 1))


def side(name, pmds, n_rxq):
    options = f"options:n_rxq={n_rxq}"
    return Side(
        name,
        lambda port: ["type=netmap", f"options:netmap-port=null:{port[1:]}", options],
        first=True,
        other_config={"pmd-cpu-mask": mask(*pmds), "rxsync-intval": 0},
    )


def begin(one, ports):
    one.start()
    one.add_bridge(BRIDGE)
    for number in range(1, ports + 1):
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
    for ports, n_rxq in SHAPES[:1] if settings.quick else SHAPES:
        variant = {"ports": ports, "n_rxq": n_rxq}
        figure = Figure("threads", variant, "packets/s", lower_is_better=False)
        with contextlib.ExitStack() as stack:
            sides = [side("two", pmds, n_rxq), side("one", pmds[1:], n_rxq)]
            for one in sides:
                stack.callback(one.stop)
                begin(one, ports)
            for _ in range(settings.turns(TURN_SECONDS)):
                for one in sides:
                    figure.add(one.name, packets_per_second(one))
        yield figure
