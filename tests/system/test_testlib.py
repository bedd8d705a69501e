# SPDX-License-Identifier: Apache-2.0
"""What netmap_testlib says is what the tools of the system say."""

import os
import re
import signal
import threading

import pytest

from netmap_testlib import CommandError, Failure, wait_until


def test_hosts_reach_each_other_and_every_packet_is_counted(switch, pair):
    h1, h2 = pair
    assert h1.ping("10.0.0.2", 20, 0.02).received == 20
    counters = switch.counters("br0")
    assert counters["p1"].rx["pkts"] == h1.counters()["tx_packets"] >= 20
    assert counters["p2"].tx["pkts"] == h2.counters()["rx_packets"] >= 20
    show = switch.show()
    assert show.total("p1", "rxq", "packets") == counters["p1"].rx["pkts"]
    wait_until(lambda: switch.show().settled, 10, "every buffer to be back")
    assert switch.status("p1")["engine"] == show.port("p1")["status"]["engine"]


def test_an_answer_is_one_even_if_it_comes_late(switch, pair):
    """The switch stands still from the middle of the requests until long after the last one."""
    assert pair[0].reaches("10.0.0.2")
    timers = [
        threading.Timer(after, os.kill, (switch.pid, number))
        for after, number in ((1, signal.SIGSTOP), (4, signal.SIGCONT))
    ]
    for timer in timers:
        timer.start()
    try:
        assert pair[0].ping("10.0.0.2", 40, 0.05, wait=10).received == 40
    finally:
        for timer in timers:
            timer.join()


def test_text_and_json_of_show_have_the_same_numbers(switch, pair):
    pair[0].ping("10.0.0.2", 3)

    def same_numbers():
        text, show = switch.ctl("netmap/show"), switch.show()
        names = re.findall(r"^port (\S+):", text, re.MULTILINE)
        assert names == [port["name"] for port in show.ports]
        packets = [int(n) for n in re.findall(r" packets=(\d+)", text)]
        return packets == [count for _, name, count in show.counts() if name == "packets"]

    # A packet may come between the two.
    wait_until(same_numbers, 30, "text and JSON with the same numbers")


def test_a_port_that_does_not_open_is_a_failure(switch):
    with pytest.raises(Failure, match="no interface named"):
        switch.add_port("br0", "nosuch")
    with pytest.raises(CommandError):
        switch.ofctl("dump-ports", "nosuch")
    assert switch.alive


def test_a_pair_can_be_taken_away_and_made_again(make_host):
    host = make_host("h9", wire="p9", address="10.0.9.1/24", mac="02:00:00:00:00:09", queues=2)
    host.disconnect()
    with pytest.raises(Failure, match="there is no interface p9"):
        host.wire_link(state="up")
    host.connect()
    assert "02:00:00:00:00:09" in host.run("ip", "link", "show", "h9")
    assert len(host.run("ls", "/sys/class/net/h9/queues").split()) == 4
