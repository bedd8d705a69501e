# SPDX-License-Identifier: Apache-2.0
"""A port and its link, one thing at a time; test_events.py plays them all."""

import contextlib
import fcntl
import json
import os
import socket
import statistics
import struct
import time

import pytest

from netmap_testlib.process import run, wait_until

TUNSETIFF = 0x400454CA
IFF_TAP, IFF_NO_PI, IFF_MULTI_QUEUE = 0x0002, 0x1000, 0x0100


@pytest.fixture
def tap():
    """A multi-queue tap device, which nobody has opened."""
    run("ip", "tuntap", "add", "tap0", "mode", "tap", "multi_queue")
    run("ip", "link", "set", "tap0", "up")
    yield "tap0"
    run("ip", "link", "del", "tap0", check=False)


@contextlib.contextmanager
def tap_queues(name, count):
    """Opens queues of a tap device, as a virtual machine does."""
    files = []
    try:
        for _ in range(count):
            files.append(os.open("/dev/net/tun", os.O_RDWR))
            flags = IFF_TAP | IFF_NO_PI | IFF_MULTI_QUEUE
            fcntl.ioctl(files[-1], TUNSETIFF, struct.pack("16sH22x", name.encode(), flags))
        yield files
    finally:
        for file in files:
            os.close(file)


def frame(number):
    return b"\xff" * 6 + b"\x02\0\0\0\0\x01" + b"\x88\xb5" + number.to_bytes(4, "big") + bytes(42)


def link(switch, name):
    row = switch.row("Interface", name)
    return row["link_state"], row["admin_state"]


def test_queues_that_appear_are_received_from(switch, tap):
    switch.add_port("br0", tap)
    with tap_queues(tap, 4) as queues:
        wait_until(
            lambda: switch.status(tap).get("queues") == "4", 30, "the port to have four queues"
        )
        for number in range(100):
            os.write(queues[number % 4], frame(number))
        wait_until(
            lambda: switch.counters("br0")[tap].rx["pkts"] == 100, 30, "all frames to be received"
        )
    wait_until(lambda: switch.status(tap).get("queues") == "1", 30, "the port to have one queue")


def test_nothing_sent_to_a_port_that_is_down_goes_out_later(switch, pair):
    first, second = pair
    switch.flows("br0", "in_port=1,actions=output:2")
    out = first.packet_socket()
    came = second.packet_socket(0x88B5)
    for how in (lambda s: run("ip", "link", "set", "p2", s), lambda s: second.wire_link(state=s)):
        before = switch.counters("br0")["p2"].tx
        how("down")
        for number in range(300):
            out.send(frame(number))
        wait_until(
            lambda before=before: switch.counters("br0")["p2"].tx["drop"] >= before["drop"] + 300,
            30,
            "the frames to be dropped and counted",
        )
        # Until the switch knows that the link is down, they count as sent first.
        after = switch.counters("br0")["p2"].tx
        assert after["pkts"] - before["pkts"] <= after["drop"] - before["drop"]
        how("up")
        wait_until(lambda: link(switch, "p2") == ("up", "up"), 30, "the link to be up")
        out.send(frame(1000))
        with contextlib.suppress(socket.timeout):
            while True:
                number = int.from_bytes(came.recv(100)[14:18], "big")
                assert number == 1000


def test_a_pipe_has_a_link_while_both_ends_are_up(switch):
    switch.add_port("br0", "a", "netmap:x{1", number=1)
    assert link(switch, "a") == ("down", "up")
    switch.add_port("br0", "b", "netmap:x}1", number=2)
    for end, other in (("a", "b"), ("b", "a")):
        wait_until(lambda: link(switch, "a") == link(switch, "b") == ("up", "up"), 30, "a link")
        switch.ofctl("mod-port", "br0", end, "down")
        wait_until(lambda end=end: link(switch, end) == ("down", "down"), 30, f"{end} to be down")
        wait_until(lambda o=other: link(switch, o) == ("down", "up"), 30, f"no carrier at {other}")
        before = switch.counters("br0")
        for name in ("a", "b"):
            switch.ofctl(
                "packet-out", "br0", f"in_port=local,packet={frame(1).hex()},actions={name}"
            )
        after = switch.counters("br0")
        for name in ("a", "b"):
            assert after[name].rx["pkts"] == before[name].rx["pkts"]
            assert after[name].tx["drop"] == before[name].tx["drop"] + 1, name
        switch.ofctl("mod-port", "br0", end, "up")
    switch.del_port("a")
    wait_until(lambda: link(switch, "b") == ("down", "up"), 30, "no carrier without the other end")


def test_ports_that_exchange_their_interfaces_in_one_transaction(switch, make_host):
    hosts = [make_host(f"h{n}", wire=f"p{n}", address=f"10.0.0.{n}/24") for n in (1, 2)]
    switch.add_port("br0", "a", "p1")
    switch.add_port("br0", "b", "p2")
    for a, b in (("p2", "p1"), ("p1", "p2")):
        switch.vsctl(
            *("--", "set", "Interface", "a", f"options:netmap-port={a}"),
            *("--", "set", "Interface", "b", f"options:netmap-port={b}"),
        )
        wait_until(lambda: not switch.error("a") and not switch.error("b"), 30, "both to be open")
        wait_until(lambda: hosts[0].reaches("10.0.0.2"), 30, "a ping")


def test_a_busy_queue_holds_up_nobody(switch, pair):
    """The queue is in use by another process, as it seems: a second switch's port."""
    switch.add_port("br0", "again", "netmap:p1-0", check=False)
    assert switch.error("again")
    waits = []
    for _ in range(30):
        run("ip", "link", "add", "storm0", "type", "veth", "peer", "name", "storm1")
        run("ip", "link", "del", "storm0")
        start = time.monotonic()
        switch.ctl("version")
        waits.append(time.monotonic() - start)
    # It used to be the second and a half that was waited for the queue, almost always.
    assert statistics.median(waits) < 1.2, waits
    assert pair[0].reaches("10.0.0.2")


def test_a_change_is_acknowledged_while_a_port_gets_an_error(switch, pair):
    """Two transactions of Open vSwitch about one port's error, one of which has more to tell."""
    for number in range(60):
        run("ip", "link", "set", "p1", "down")
        run("ip", "link", "set", "p1", "name", "away")
        # Waits until ovs-vswitchd says that it has done it.
        switch.vsctl("set", "Interface", "p2", f"external_ids:number={number}")
        run("ip", "link", "set", "away", "name", "p1")
        run("ip", "link", "set", "p1", "up")
        switch.vsctl("set", "Interface", "p2", "external_ids={}")
    wait_until(lambda: link(switch, "p1") == ("up", "up"), 30, "the link to be up")
    assert pair[0].reaches("10.0.0.2")


@pytest.mark.parametrize("name", ["veth-1", "vale7", "wire@1"])
def test_an_interface_whose_name_looks_like_something_else(switch, make_host, name):
    host, other = (make_host(f"h{n}", wire=f"p{n}", address=f"10.0.0.{n}/24") for n in (1, 2))
    run("ip", "link", "set", "p1", "down")
    run("ip", "link", "set", "p1", "name", name)
    run("ip", "link", "set", name, "up")
    switch.add_port("br0", name)
    switch.add_port("br0", "p2")
    assert other.reaches("10.0.0.1")
    run("ip", "link", "set", name, "name", "away")
    wait_until(lambda: f'interface "{name}" is gone' in (switch.error(name) or ""), 30, "the error")
    run("ip", "link", "set", "away", "name", name)
    wait_until(lambda: link(switch, name) == ("up", "up"), 30, "the link to be up")
    wait_until(lambda: not switch.error(name), 30, "the error to go")
    assert host.reaches("10.0.0.2")


def test_an_interface_by_its_alternative_name(switch, make_host):
    host, _ = (make_host(f"h{n}", wire=f"p{n}", address=f"10.0.0.{n}/24") for n in (1, 2))
    long = "a-name-that-is-longer-than-names-of-interfaces"
    run("ip", "link", "property", "add", "dev", "p1", "altname", long)
    switch.add_port("br0", "a", long)
    switch.add_port("br0", "p2")
    assert host.reaches("10.0.0.2")
    run("ip", "link", "set", "p1", "name", "renamed")
    switch.vsctl("set", "Interface", "a", "options:rxsync-intval=1")
    assert link(switch, "a") == ("up", "up") and host.reaches("10.0.0.2")
    run("ip", "link", "property", "del", "dev", "renamed", "altname", long)
    wait_until(lambda: "is gone" in (switch.error("a") or ""), 30, "the error")
    run("ip", "link", "property", "add", "dev", "renamed", "altname", long)
    wait_until(lambda: link(switch, "a") == ("up", "up"), 30, "the link to be up")
    wait_until(lambda: host.reaches("10.0.0.2"), 30, "a ping")


def test_an_interface_that_leaves_is_as_it_was(switch, pair):
    def flags(name):
        return json.loads(run("ip", "-j", "-d", "link", "show", "dev", name))[0]["flags"]

    assert "PROMISC" in flags("p1") and "PROMISC" in flags("p2")
    run("ip", "link", "set", "p1", "name", "away")
    wait_until(lambda: "PROMISC" not in flags("away"), 30, "the interface to be let go")
    wait_until(
        lambda: "xdp" not in run("ip", "-d", "link", "show", "dev", "away"),
        30,
        "the program to be taken away",
    )
    # Another one by that name is the port's while it is there.
    run("ip", "link", "add", "p1", "type", "veth", "peer", "name", "nobody")
    wait_until(lambda: "PROMISC" in flags("p1"), 30, "the other interface to be taken")
    run("ip", "link", "set", "p1", "name", "other")
    run("ip", "link", "set", "away", "name", "p1")
    wait_until(lambda: "PROMISC" in flags("p1"), 30, "the interface to be taken again")
    wait_until(lambda: "PROMISC" not in flags("other"), 30, "the other interface to be let go")
    run("ip", "link", "del", "other")
    wait_until(lambda: pair[0].reaches("10.0.0.2"), 30, "a ping")
