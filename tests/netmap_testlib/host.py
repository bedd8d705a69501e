# SPDX-License-Identifier: Apache-2.0
"""A host: a network namespace with one end of a veth pair, whose other end is in ours or a third."""

import contextlib
import json
import os
import re
import socket
from collections import namedtuple

from pyroute2 import IPRoute
from pyroute2 import netns as namespaces

from .process import Failure, run, spawn, wait_until

ETH_P_ALL = 3

Ping = namedtuple("Ping", "sent received rtt_ms")


def disable_ipv6(netns=None):
    """IPv6 would send packets that no test asked for."""
    run(
        "sysctl",
        "-qw",
        "net.ipv6.conf.all.disable_ipv6=1",
        "net.ipv6.conf.default.disable_ipv6=1",
        netns=netns,
    )


def disable_offloads(ifname, netns=None):
    """What leaves by the interface is complete: checksums, segments and VLAN tags."""
    off = [word for name in ("tx", "txvlan", "tx-vlan-stag-hw-insert") for word in (name, "off")]
    run("ethtool", "-K", ifname, *off, netns=netns)


def linux():
    """The kernel's version, as (6, 1)."""
    return tuple(map(int, os.uname().release.split(".")[:2]))


@contextlib.contextmanager
def entered(netns):
    """This thread is in that network namespace; None leaves it where it is."""
    if netns is None:
        yield
        return
    namespaces.pushns(netns)
    try:
        yield
    finally:
        namespaces.popns()


class Host:
    """Namespace `name` with interface `name`; the other end of its veth pair is `wire`, in ours or in
    the one called `wire_netns`.

    `address` is "10.0.0.1/24"; `queues` the queues of both ends.  `offloads`: whether it leaves
    checksums and VLAN tags to its interface, as hosts do.
    """

    def __init__(
        self,
        name,
        *,
        wire,
        wire_netns=None,
        address=None,
        mac=None,
        queues=1,
        mtu=None,
        offloads=True,
    ):
        self.name = name
        self.wire = wire
        self.address = address
        self.mac = mac
        self.queues = queues
        self.mtu = mtu
        self.offloads = offloads
        namespaces.create(name)
        disable_ipv6(name)
        with self.entered():
            # A socket belongs to the namespace that it was made in.
            self.routes = IPRoute()
        with entered(wire_netns):
            self.outside = IPRoute()
        self.link("lo", state="up")
        self.connect()

    def connect(self, index=None):
        """Makes the veth pair; again after disconnect().  `index` is the number of our end."""
        pair = {"num_tx_queues": self.queues, "num_rx_queues": self.queues}
        self.outside.link(
            "add",
            ifname=self.wire,
            kind="veth",
            **pair,
            **({"index": index} if index else {}),
            peer={"ifname": self.name, "net_ns_fd": self.name, **pair},
        )
        if not self.offloads:
            disable_offloads(self.name, self.name)
        for attributes in (
            {"address": self.mac} if self.mac else {},
            {"mtu": self.mtu} if self.mtu else {},
        ):
            if attributes:
                self.link(self.name, **attributes)
        if self.mtu:
            self.wire_link(mtu=self.mtu)
        if self.address:
            ip, prefix = self.address.split("/")
            self.routes.addr(
                "add", index=self._index(self.routes, self.name), address=ip, prefixlen=int(prefix)
            )
        self.link(self.name, state="up")
        self.wire_link(state="up")

    def disconnect(self):
        """Deletes the veth pair."""
        self.outside.link("del", index=self._index(self.outside, self.wire))

    def remove(self):
        """Takes the pair away, and the namespace, for which the kernel takes its time."""
        with contextlib.suppress(Failure):
            self.disconnect()
        self.routes.close()
        self.outside.close()
        namespaces.remove(self.name)

    def link(self, interface, **attributes):
        """Changes an interface of the host: state="down", mtu=1400, address=..."""
        self.routes.link("set", index=self._index(self.routes, interface), **attributes)

    def wire_link(self, **attributes):
        """The same of the other end of the pair."""
        self.outside.link("set", index=self._index(self.outside, self.wire), **attributes)

    def neighbour(self, address, mac):
        """A permanent neighbour."""
        self.routes.neigh(
            "replace",
            dst=address,
            lladdr=mac,
            state=0x80,
            ifindex=self._index(self.routes, self.name),
        )

    def counters(self):
        """rx_packets, tx_packets, rx_bytes, ... of its interface, as the kernel counts them."""
        return self._counters(self.routes, self.name)

    def wire_counters(self):
        """The same of the other end of the pair."""
        return self._counters(self.outside, self.wire)

    @staticmethod
    def _counters(routes, interface):
        return routes.link("get", ifname=interface)[0].get_attr("IFLA_STATS64")

    @staticmethod
    def _index(routes, interface):
        found = routes.link_lookup(ifname=interface)
        if not found:
            raise Failure(f"there is no interface {interface}")
        return found[0]

    # ---- what runs on it ----

    @contextlib.contextmanager
    def entered(self):
        """This thread is in the host's namespace: sockets that it makes are the host's."""
        with entered(self.name):
            yield

    def run(self, *command, **options):
        """As process.run()."""
        return run(*command, netns=self.name, **options)

    def spawn(self, *command, **options):
        """As process.spawn()."""
        return spawn(*command, netns=self.name, **options)

    def packet_socket(self, ethertype=ETH_P_ALL, seconds=0.05):
        """A packet socket of its interface, for frames of an EtherType."""
        with self.entered():
            packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ethertype))
        packets.bind((self.name, ethertype))
        packets.settimeout(seconds)
        return packets

    # ---- traffic ----

    def ping(self, address, *arguments, **options):
        """As ping() below."""
        return ping(address, *arguments, netns=self.name, **options)

    def reaches(self, address):
        """Whether one ping is answered within a second."""
        return self.ping(address).received == 1

    def iperf_server(self, address):
        """A server for one run of iperf()."""
        server = self.spawn("iperf3", "-s", "-1", "-B", address)
        wait_until(lambda: ":5201 " in self.run("ss", "-Hltn"), 60, "iperf3 to listen")
        return server

    def iperf(self, address, *options, seconds=60):
        """A run to the server there; its end summary as iperf3's JSON has it."""
        report = json.loads(self.run("timeout", seconds, "iperf3", "-J", "-c", address, *options))
        return report["end"]


def ping(address, count=1, interval=0.1, *, size=56, wait=1, netns=None):
    """Sends `count` echo requests with `size` bytes each, which may not be fragmented, and tells how
    many were sent and answered.

    Each has `wait` seconds to be answered in.  ping(8) waits for twice the longest round trip only
    when it has sent the last one, and on a busy machine that is not enough.
    """
    every, patience = (round(seconds * 1000) for seconds in (interval, wait))
    text = run(
        *("fping", "-q", "-M", "-c", count, "-p", every, "-i", 1, "-t", patience, "-b", size),
        address,
        netns=netns,
        check=False,
    )
    counts = re.search(r"xmt/rcv/%loss = (\d+)/(\d+)/", text)
    if not counts:
        raise Failure(f"fping: {text.strip()}")
    rtt = re.search(r"min/avg/max = [\d.]+/([\d.]+)/", text)
    return Ping(int(counts[1]), int(counts[2]), float(rtt[1]) if rtt else None)
