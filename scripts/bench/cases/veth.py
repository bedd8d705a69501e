# SPDX-License-Identifier: Apache-2.0
"""A host sends UDP frames to another through the switch, each on a veth pair: frames a second that
arrive, what a frame costs the thread that forwards (its busy cycles), and the rate up to which at most
one frame in a thousand is lost.

The sender and the kernel's receive path run on one core, the PMD thread and the delivery to the other
host on another.  With two cores a sender cannot outrun the faster sides: there the cycles are the
honest figure."""

import contextlib
import signal
import time

import xsk_fwd
from lanes import lanes
from netmap_testlib import stop
from sides import on_interfaces, pmd_value
from turns import Figure

TURN_SECONDS = 0.3
WARM_UP_SECONDS = 0.1
TRIALS = 3
TRIAL_SECONDS = 0.4
LOSS = 0.001


def flood(settings, started, size, flows):
    rate = Figure("veth-rate", {"size": size, "flows": flows}, "packets/s", lower_is_better=False)
    cost = Figure("veth", {"size": size, "flows": flows}, "busy-cycles/packet")
    with contextlib.ExitStack() as stack:
        senders = []
        for lane in started:
            sender = lane.blast(size, flows)
            stack.callback(stop, sender, signal.SIGKILL)
            senders.append(sender)
        for _ in range(settings.turns(TURN_SECONDS)):
            for lane, sender in zip(started, senders, strict=True):
                with lane.side.turn():
                    sender.send_signal(signal.SIGCONT)
                    time.sleep(WARM_UP_SECONDS)
                    before, start = lane.received(), time.monotonic()
                    stats = lane.side.pmd_stats(TURN_SECONDS)
                    count, seconds = lane.received() - before, time.monotonic() - start
                    sender.send_signal(signal.SIGSTOP)
                rate.add(lane.side.name, count / seconds)
                # OVS counts no cycles of ports that the main thread polls.
                if cycles := pmd_value(stats, "avg processing cycles per packet"):
                    cost.add(lane.side.name, cycles)
    return cost, rate


def trial(lane, size, flows, rate):
    """Whether at most LOSS of the frames are lost at that rate, in one of TRIALS: what else the machine
    does can lose frames, but it cannot save any."""
    return any(loses_few(lane, size, flows, rate) for _ in range(TRIALS))


def loses_few(lane, size, flows, rate):
    before = lane.received()
    sender = lane.blast(size, flows, rate, TRIAL_SECONDS, stdout=-1)
    sent = int(sender.communicate()[0])
    time.sleep(0.05)
    return sent - (lane.received() - before) <= LOSS * sent


def highest_rate(lane, size, flows, most):
    """By bisection, as RFC 2544 section 26.1 has it."""
    low, high = 0.0, most
    with lane.side.turn():
        for _ in range(6):
            middle = (low + high) / 2
            low, high = (middle, high) if trial(lane, size, flows, middle) else (low, middle)
    return low


def lossless(settings, started, size, flows, most):
    figure = Figure(
        "veth-lossless", {"size": size, "flows": flows}, "packets/s", lower_is_better=False
    )
    for _ in range(settings.pairs):
        for lane in started:
            figure.add(lane.side.name, highest_rate(lane, size, flows, 1.2 * most))
    return figure


def figures(settings):
    sizes = (64,) if settings.quick else (64, 512, 1500, 9000)
    for mtu in (1500, 9000):
        chosen = [size for size in sizes if (size > 1514) == (mtu > 1500)]
        missing = {}
        if not chosen:
            continue
        makers = [*on_interfaces(settings.quick), *xsk_fwd.makers()]
        with lanes(settings, mtu, missing, makers) as started:
            if not started:
                continue
            for size in chosen:
                for flows in (1, 1000):
                    if flows > 1 and (size > 64 or settings.quick):
                        continue
                    cost, rate = flood(settings, started, size, flows)
                    found = [cost, rate]
                    if not settings.quick:
                        most = max(map(max, rate.values.values()))
                        found.append(lossless(settings, started, size, flows, most))
                    for figure in found:
                        figure.missing = missing
                        yield figure
