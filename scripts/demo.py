#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Two hosts talk to each other through ovs-vswitchd, whose two ports are of type netmap:

    namespace h1          namespace of the switch           namespace h2
    h1 10.90.0.1 ==veth== p1 [netmap] br0 [netmap] p2 ==veth== h2 10.90.0.2

The hosts leave checksums, segmentation and VLAN tags to their interfaces, as hosts do.  A second pair
of hosts does the same with an MTU of 9000.

Then what the ports counted is compared with what the hosts' interfaces counted: not one packet may
be missing without being counted as dropped.  DEMO_TYPE=system runs the same over OVS's own port
type.
"""

import os
import re
import sys
from dataclasses import dataclass

from netmap_testlib import (
    Failure,
    Host,
    Switch,
    run_program,
    say,
    stop,
    wait_until,
)
from netmap_testlib.host import disable_ipv6, linux
from netmap_testlib.switch import BUILD


@dataclass
class Account:
    """What a port, its host and the pair between them counted."""

    sent: int  # By the host.
    rx: int  # By the port ...
    rx_dropped: int
    tx: int
    tx_refused: int
    got: int  # By the host.
    lost: int  # By the veth driver: it refuses a packet when its peer's backlog is full.

    @classmethod
    def of(cls, port, host):
        """Live counters, those of OpenFlow for the port."""
        inside, outside = host.counters(), host.wire_counters()
        return cls(
            sent=inside["tx_packets"],
            got=inside["rx_packets"],
            lost=outside["tx_dropped"],
            rx=port.rx["pkts"],
            rx_dropped=port.rx.get("drop", 0),
            tx=port.tx["pkts"],
            tx_refused=port.tx.get("drop", 0),
        )

    @property
    def agrees(self):
        return self.sent == self.rx + self.rx_dropped and self.tx == self.got + self.lost


def accounts(switch, hosts):
    counters = switch.counters("br0")
    return [Account.of(counters[host.wire], host) for host in hosts]


def settled_accounts(switch, hosts):
    """The accounts, once no counter has moved for half a second."""
    seen = [None]

    def at_rest():
        seen.append(accounts(switch, hosts))
        return seen[-1] == seen[-2]

    wait_until(at_rest, 20, "the counters to come to rest", interval=0.5)
    return seen[-1]


def show_accounts(hosts, books):
    row = "{:<5} {:>12} {:>12} {:>12} {:>12} {:>12} {:>12}".format
    print(row("port", "host sent", "port.rx", "rx.dropped", "port.tx", "tx.dropped", "host got"))
    for host, a in zip(hosts, books, strict=True):
        print(row(host.wire, a.sent, a.rx, a.rx_dropped, a.tx, a.tx_refused + a.lost, a.got))


def traffic(hosts):
    """ping, TCP Mbit/s and UDP packets a second from the first to the second host."""
    sender, receiver = hosts
    say("ping: 20 packets")
    ping = sender.ping("10.90.0.2", 20, wait=2)
    print(f"{ping.sent} sent, {ping.received} answered, {ping.rtt_ms} ms")

    def iperf(*options):
        server = receiver.iperf_server("10.90.0.2")
        end = sender.iperf("10.90.0.2", *options)
        stop(server)
        return end

    say("iperf3: TCP, 5 s")
    tcp = iperf("-t", 5)["sum_received"]["bits_per_second"] / 1e6
    say("iperf3: UDP, 64-byte payload, 3 s")
    udp = iperf("-u", "-b", 0, "-l", 64, "-t", 3)["sum"]
    return ping, int(tcp), int((udp["packets"] - udp["lost_packets"]) / udp["seconds"])


def long_frames(switch):
    """A second pair of hosts, with an MTU of 9000: TCP Mbit/s between them; 0 where the kernel has no
    frames of several buffers."""
    if linux() < (6, 6):
        say("no second pair: an MTU of 9000 needs Linux 6.6")
        return 0
    say("a second pair with an MTU of 9000: ping, and iperf3: TCP, 5 s")
    hosts = [Host(f"h{n}", wire=f"p{n}", address=f"10.91.0.{n}/24", mtu=9000) for n in (3, 4)]
    switch.add_bridge("br1", fail_mode="standalone")
    for n, host in enumerate(hosts, 1):
        switch.add_port("br1", host.wire, type="netmap", number=n)
    sender, receiver = hosts
    ping = sender.ping("10.91.0.4", 20, size=8972, wait=2)
    print(f"{ping.sent} of 9000 bytes sent, {ping.received} answered, {ping.rtt_ms} ms")
    if (ping.sent, ping.received) != (20, 20):
        raise Failure(f"ping lost packets of 9000 bytes: {ping.received}/{ping.sent}")
    server = receiver.iperf_server("10.91.0.4")
    end = sender.iperf("10.91.0.4", "-t", 5)
    stop(server)
    mbps = int(end["sum_received"]["bits_per_second"] / 1e6)
    if mbps <= 0:
        raise Failure(f"no traffic with an MTU of 9000: {mbps} Mbit/s")
    return mbps


def dropped_inside(switch):
    """What the switch itself threw away: a flow miss that found its queue full, say."""
    return sum(
        int(total)
        for total in re.findall(
            r"^datapath_drop_.* total: (\d+)", switch.ctl("coverage/show"), re.MULTILINE
        )
    )


def demo(kind, run_dir):
    say("two network namespaces, a veth pair each")
    disable_ipv6()
    netmap = kind == "netmap"
    # OVS's own port type in user space takes no frames without checksums.
    hosts = [
        Host(f"h{n}", wire=f"p{n}", address=f"10.90.0.{n}/24", offloads=netmap) for n in (1, 2)
    ]

    say(f"ovs-vswitchd with two ports of type {kind}")
    with Switch(run_dir) as switch:
        switch.add_bridge("br0", fail_mode="standalone")
        for n, host in enumerate(hosts, 1):
            switch.add_port("br0", host.wire, type=kind, number=n)
        version = switch.tool("ovs-vswitchd", "--version").split("\n")[0].split()[-1]
        engine = switch.status("p1").get("engine", "none")
        ping, tcp_mbps, udp_pps = traffic(hosts)
        books = settled_accounts(switch, hosts)

        say("ovs-vsctl show")
        print(switch.vsctl("show"), end="")
        say("port statistics")
        print(switch.ofctl("dump-ports", "br0"), end="")
        if kind == "netmap":
            say("ovs-appctl netmap/show")
            print(switch.ctl("netmap/show"), end="")
        say("what the ports counted beside what the hosts counted")
        show_accounts(hosts, books)
        inside = dropped_inside(switch)
        print(f"dropped inside the datapath: {inside}")

        rx, tx = sum(a.rx for a in books), sum(a.tx for a in books)
        refused = sum(a.tx_refused for a in books)
        if kind == "netmap" and rx != tx + refused + inside:
            raise Failure(
                f"of {rx} packets received {tx} were sent, {refused} refused by a full ring, "
                f"{inside} dropped inside: they do not add up"
            )
        if not all(account.agrees for account in books):
            raise Failure(
                "the counters do not agree: sent = port.rx + rx.dropped, "
                "port.tx = got + dropped on the wire"
            )
        if (ping.sent, ping.received) != (20, 20):
            raise Failure(f"ping lost packets: {ping.received}/{ping.sent}")
        if tcp_mbps <= 0 or udp_pps <= 0:
            raise Failure(f"no traffic: tcp_mbps={tcp_mbps} udp_pps={udp_pps}")
        tcp_mbps_9000 = long_frames(switch) if netmap else 0
        if netmap:
            wait_until(
                lambda: switch.show().regions and switch.show().settled,
                10,
                "netmap/show to account for every buffer",
            )
    dropped = sum(a.rx_dropped + a.tx_refused + a.lost for a in books) + inside
    print(
        f"demo: engine={engine} ovs={version} ports=2 ping={ping.received}/{ping.sent} "
        f"tcp_mbps={tcp_mbps} udp_pps={udp_pps} rx_packets={rx} tx_packets={tx} dropped={dropped} "
        f"tcp_mbps_mtu9000={tcp_mbps_9000}"
    )


def main():
    run_dir = BUILD / "run/demo"
    return run_program(
        "demo", lambda: demo(os.environ.get("DEMO_TYPE", "netmap"), run_dir), run_dir
    )


sys.exit(main())
