# SPDX-License-Identifier: Apache-2.0
"""The hosts and bridges of the soak.

h1 h2 h3 h4     h5                               h6
 |  |  |  |      |                                |
p1 p2 p3 p4     p5                               p6
 +--br0--+      brx - tunnel - bru - u1 ==== u2 - brv - tunnel - bry
                  +---- patch ---+                +---- patch ----+
"""

import re
import sys
from pathlib import Path

from soak_flows import BR0, GROUP, HEADERS, METER, TUNNELS

import netmap_testlib
from netmap_testlib import Failure, Host, run, wait_until
from netmap_testlib.host import disable_offloads
from netmap_testlib.traffic import Traffic

HOSTS = range(1, 7)
BRIDGES = ("br0", "brx", "bry", "bru", "brv")
# Hosts whose wires have two queues.
TWO_QUEUES = (1, 2, 4)
UDP_BLAST = Path(netmap_testlib.__file__).parent / "udp_blast.py"


def mac(n):
    return f"02:00:00:00:00:{n:02x}"


def address(n):
    return f"10.90.0.{n}"


def peers(n):
    """The hosts that host `n` can reach."""
    return [11 - n] if n > 4 else [peer for peer in (1, 2, 3, 4) if peer != n]


class Network:
    """Hosts h1 to h6, at netmap ports of a switch."""

    def __init__(self, switch, errors):
        self.switch = switch
        self.errors = errors
        self.hosts = {}
        self.traffic = Traffic()
        # Counters of interfaces of hosts that are gone.
        self.past = 0

    def set_up(self):
        for n in HOSTS:
            self.hosts[n] = Host(
                f"h{n}",
                wire=f"p{n}",
                address=f"{address(n)}/24",
                mac=mac(n),
                queues=2 if n in TWO_QUEUES else 1,
            )
            self.neighbours(n)
        for bridge in BRIDGES:
            self.switch.add_bridge(bridge)
        self.add_ports(1, 2, 3, 4)
        self.prepare_tunnel()
        self.switch.ofctl("-O", "OpenFlow15", "add-meter", "br0", METER)
        self.switch.ofctl("-O", "OpenFlow15", "add-group", "br0", GROUP)
        self.br0_does("normal")
        self.pair_by("vxlan")
        self.check_ports()
        if self.errors.count:
            raise Failure("the switch is not set up")

    # ---- hosts ----

    def neighbours(self, n):
        """They are gone when its interface was down."""
        for peer in peers(n):
            self.hosts[n].neighbour(address(peer), mac(peer))
        if n != 1:
            # Who h1 is when br0 translates its address.
            self.hosts[n].neighbour(address(200), mac(1))

    def packets(self):
        """Packets that hosts sent and received."""
        return self.past + sum(map(self.packets_of, HOSTS))

    def packets_of(self, n):
        counters = self.hosts[n].counters()
        return counters["tx_packets"] + counters["rx_packets"]

    def disconnect(self, n):
        """Deletes the wire of a host."""
        self.past += self.packets_of(n)
        self.hosts[n].disconnect()

    def reaches(self, one, other):
        return self.hosts[one].reaches(address(other))

    def start_traffic(self):
        for n, host in self.hosts.items():
            blast = [sys.executable, "-IS", UDP_BLAST, *map(address, peers(n))]
            self.traffic.start(host, "timeout", 30, *blast)
            ping = ["ping", "-q", "-i", 0.01, "-s", n * 200, address(peers(n)[-1])]
            self.traffic.start(host, "timeout", 10, *ping)
        # Both directions at a time.  A server that lost its client ends by itself.
        for server in (2, 6):
            serve = ["iperf3", "-s", "-1", "-B", address(server)]
            self.traffic.start(self.hosts[server], "timeout", 15, *serve)
            ask = ["iperf3", "-c", address(server), "-t", 10, "--bidir", "--connect-timeout", 1000]
            self.traffic.start(self.hosts[server - 1], "timeout", 14, *ask)

    # ---- ports ----

    def add_ports(self, *numbers):
        for n in numbers:
            self.errors.attempt(self.switch.add_port, "br0", f"p{n}", number=n, check=False)

    def delete_ports(self, *numbers):
        for n in numbers:
            self.errors.attempt(self.switch.del_port, f"p{n}")

    def check_ports(self):
        """Each must be in order, by and by: the kernel may be slow to give a queue free, and such a
        port comes back by itself."""
        for port in [f"p{n}" for n in HOSTS] + ["u1", "u2"]:
            self.errors.expect(
                lambda port=port: self.switch.error(port) is None,
                30,
                lambda port=port: f"port {port}: {self.switch.error(port)}",
            )

    # ---- what bridges do ----

    def br0_does(self, action):
        """It, for all or some of the packets of br0."""
        mirror = ["clear", "Bridge", "br0", "mirrors"]
        if action == "mirror":
            port = ["--id=@p", "get", "Port", "p4"]
            settings = ["name=m", "select-all=true", "output-port=@p"]
            create = ["--id=@m", "create", "Mirror", *settings]
            mirror = [*port, "--", *create, "--", "set", "Bridge", "br0", "mirrors=@m"]
        self.errors.attempt(self.switch.vsctl, *mirror)
        self.flows("br0", *BR0[action])

    def flows(self, bridge, *flows):
        self.errors.attempt(self.switch.flows, bridge, *flows)

    def pair_by(self, way):
        """How packets get from brx to bry."""
        if way in TUNNELS:
            ends = [["set", "Interface", end, f"type={way}"] for end in ("tunx", "tuny")]
            self.errors.attempt(self.switch.vsctl, *ends[0], "--", *ends[1])
            for bridge in ("brx", "bry"):
                self.flows(bridge, "in_port=1 actions=output:2", "in_port=2 actions=output:1")
            for bridge in ("bru", "brv"):
                self.flows(bridge, "actions=normal")
            self.tunnel_neighbours()
            return
        push, pop = HEADERS[way]
        for bridge in ("brx", "bry"):
            self.flows(bridge, f"table=0,in_port=1 actions={push},output:3", *pop)
        for bridge in ("bru", "brv"):
            self.flows(bridge, "in_port=3 actions=output:1", "in_port=1 actions=output:3")

    def prepare_tunnel(self):
        """The addresses of the tunnel are this host's own, but the packets are not to go the short
        way."""
        run("ip", "link", "add", "u1", "type", "veth", "peer", "name", "u2")
        for name in ("u1", "u2"):
            disable_offloads(name)
            run("ip", "link", "set", name, "mtu", 1600, "up")
        for bridge, port in (("bru", "u1"), ("brv", "u2"), ("brx", "p5"), ("bry", "p6")):
            self.switch.add_port(bridge, port, number=1, check=False)
        for bridge, port, peer in (
            ("brx", "xu", "ux"),
            ("bru", "ux", "xu"),
            ("bry", "yv", "vy"),
            ("brv", "vy", "yv"),
        ):
            self.add_virtual(bridge, port, 3, "patch", f"options:peer={peer}")
        for bridge, ip in (("bru", "172.31.0.1"), ("brv", "172.31.0.2")):
            run("ip", "address", "add", f"{ip}/16", "dev", bridge)
            run("ip", "link", "set", bridge, "up")
        for ip in ("172.31.0.1", "172.31.0.2"):
            run("ip", "route", "del", "table", "local", ip)
        local = re.compile(r"172\.31\.0\.[12]/32.*local")
        wait_until(lambda: not local.search(self.switch.ctl("ovs/route/show")), 10)
        for bridge, port, remote in (("brx", "tunx", "172.31.0.2"), ("bry", "tuny", "172.31.0.1")):
            options = (f"options:remote_ip={remote}", "options:key=5")
            self.add_virtual(bridge, port, 2, "vxlan", *options)
        self.switch.ctl("ovs/route/add", "172.31.0.2/32", "bru")
        self.switch.ctl("ovs/route/add", "172.31.0.1/32", "brv")

    def add_virtual(self, bridge, port, number, type, *options):
        self.switch.add_port(bridge, port, None, *options, type=type, number=number, check=False)

    def tunnel_neighbours(self):
        for bridge, ip, remote in (("bru", "172.31.0.2", "brv"), ("brv", "172.31.0.1", "bru")):
            peer = Path(f"/sys/class/net/{remote}/address").read_text().strip()
            self.errors.attempt(self.switch.ctl, "tnl/neigh/set", bridge, ip, peer)
