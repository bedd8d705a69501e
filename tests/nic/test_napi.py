# SPDX-License-Identifier: Apache-2.0
"""When a driver works: not for a while, so that nothing is completed, or when the PMD thread has it
work."""

import contextlib
from pathlib import Path

import pytest
from rig import same

from netmap_testlib import Failure, run, wait_until
from netmap_testlib.cards import driver_of
from netmap_testlib.host import linux
from netmap_testlib.rig import await_same
from netmap_testlib.stream import Sender, send

BUSY_POLL_SINCE = (5, 11)
STOPPED_FLOW, OTHER_FLOW, NEXT_FLOW = 90, 91, 100


@contextlib.contextmanager
def interrupts_put_off(wire, times, nanoseconds):
    """After a poll that found packets, the driver polls again so many times before it has interrupts
    again, that many nanoseconds later each time."""
    settings = Path(f"/sys/class/net/{wire}")

    def put(defer, timeout):
        (settings / "napi_defer_hard_irqs").write_text(f"{defer}")
        (settings / "gro_flush_timeout").write_text(f"{timeout}")

    put(times, nanoseconds)
    try:
        yield
    finally:
        put(0, 0)


@contextlib.contextmanager
def stopped(wire):
    """The driver does next to nothing: its NAPI contexts are threads, which have 0.1 ms of a processor
    in four seconds."""
    threaded = Path(f"/sys/class/net/{wire}/threaded")
    if not threaded.exists():
        pytest.skip("NAPI threads: Linux 5.12 or newer")
    threaded.write_text("1")
    try:
        names = {path: path.read_text() for path in Path("/proc").glob("[0-9]*/comm")}
        threads = [
            path.parent.name for path, name in names.items() if name.startswith(f"napi/{wire}-")
        ]
        if not threads:
            raise Failure(f"there is no NAPI thread of {wire}")
        for thread in threads:
            run("chrt", "-d", "-T", 100_000, "-P", 4 * 10**9, "-D", 4 * 10**9, "-p", 0, thread)
        yield
        for thread in threads:
            run("chrt", "-o", "-p", 0, thread)
    finally:
        threaded.write_text("0")


def receive_interrupts(wire):
    """How many its card made for frames that came, all of its queues together."""
    device = Path(f"/sys/class/net/{wire}/device").resolve().name
    counts = 0
    for line in Path("/proc/interrupts").read_text().splitlines():
        words = line.split()
        if words[-1].startswith((f"{wire}-rx-", f"{device}-input.")):
            counts += sum(int(word) for word in words[1:] if word.isdigit())
    return counts


@pytest.mark.parametrize(
    "wire, other",
    [("igb1", "virtio0"), ("virtio0", "igb1"), ("e1000", "virtio0")],
    ids=["igb1", "virtio0", "e1000"],
)
def test_completions_stop(rig, note, kernel_log, wire, other):
    """The driver of one port does nothing for a while: it completes no frame, and with zero copy takes
    none either.  What it has no room for is dropped and counted, other ports go on, and afterwards so
    does this one."""
    count = 600
    if wire != "virtio0":
        # What waited comes to the host all at once.
        host = rig.hosts[wire].name
        run("ethtool", "-G", host, "rx", 4096, netns=host)
    rig.ports("igb0", wire, other)
    rig.flow(f"udp,in_port=1,nw_src=10.200.0.{OTHER_FLOW + 1},actions=output:3")
    rig.flow("priority=9,in_port=1,actions=output:2")
    rig.flow("in_port=2,actions=output:1")
    rig.exchange("igb0", wire, flows=2, count=100)
    # Without zero copy this driver completes frames as it sends the next ones.
    stands = driver_of(wire) != "virtio_net" or rig.way(wire)[1] == "yes"
    receiver, beside = rig.receiver(wire), rig.receiver(other)
    dropped = rig.counter(wire, "tx", "drop")
    nudges = 0

    def goes_on():
        """What waited for too long is dropped when the next frame is sent."""
        nonlocal nudges
        send(rig.hosts["igb0"], [NEXT_FLOW + nudges], 1)
        nudges += 1
        return wait_until(lambda: receiver.came[NEXT_FLOW + nudges - 1], 0.5)

    # A driver may say so of its card when it runs again.
    with kernel_log.excusing("Tx Unit Hang"):
        with stopped(wire):
            sender = Sender(rig.hosts["igb0"], [OTHER_FLOW], 200, 200)
            send(rig.hosts["igb0"], [STOPPED_FLOW], count)
            sender.join()
            beside.wait(200, 2)
            beside.check([OTHER_FLOW], 200)
            rig.switch.show()
            if not stands:
                wait_until(lambda: receiver.count == count, 20, "all frames to come")
            came = receiver.count
        wait_until(goes_on, 20, "the port to go on")

    def accounted():
        return receiver.count + rig.counter(wire, "tx", "drop") - dropped

    await_same("frames that came or were counted as dropped", count + nudges, accounted, 20)
    receiver.check([STOPPED_FLOW], count, lossy=True)
    drops = rig.counter(wire, "tx", "drop") - dropped
    note(
        f"{came} of {count} came while it stood, {drops} were dropped, {nudges} more until it went on"
    )
    if stands and not drops:
        raise Failure("no frame was dropped: the driver did not stop")
    rig.exchange("igb0", wire, flows=2, count=100)


def test_busy_for_a_moment(rig):
    """What a driver has no room for goes out when it has, in copy mode, too, where that takes a system
    call: no frame waits for the next one."""
    count = 400
    rig.pair("igb0", "e1000")
    rig.exchange("igb0", "e1000", flows=2, count=100)
    receiver = rig.receiver("e1000")
    with interrupts_put_off("e1000", 1000, 300_000_000):
        # It found a packet, so it polls next in 0.3 s.
        send(rig.hosts["e1000"], [OTHER_FLOW], 1)
        send(rig.hosts["igb0"], [STOPPED_FLOW], count, 4000)
        receiver.wait(count, 10)
    receiver.check([STOPPED_FLOW], count)


@pytest.mark.parametrize("wire", ["igb0", "virtio0"])
def test_busy_polling(rig, note, wire):
    """The PMD thread has the driver work, and nothing is lost, though both drivers here send in another
    NAPI context than they receive in.  The card needs fewer interrupts to receive, but for the emulated
    igb, which makes them whether its driver wants them or not."""
    rig.pair(wire, "igb1")

    def exchange():
        before = receive_interrupts(wire)
        rig.exchange(wire, "igb1")
        return receive_interrupts(wire) - before

    without = exchange()
    rig.switch.vsctl("set", "Interface", wire, "options:busy-poll-budget=64")
    if linux() < BUSY_POLL_SINCE:
        wait_until(lambda: "5.11" in str(rig.switch.error(wire)), 20, "an error that tells why not")
        return
    wait_until(
        lambda: rig.status(wire, "busy-poll-budget") == "64", 20, "the port to have the budget"
    )
    rig.await_carrier(wire)
    # For longer than the PMD thread may have to wait for a processor here.
    with interrupts_put_off(wire, 2, 20_000_000):
        polled = exchange()
    same("error", rig.switch.error(wire), None)
    note(f"{without} receive interrupts, with busy polling {polled}")
    if wire != "igb0" and polled > without / 2:
        raise Failure(f"{polled} receive interrupts with busy polling, {without} without")
