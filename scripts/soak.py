#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Months of use in minutes: traffic of all kinds through netmap ports, while ports are deleted and
added, queues and threads reconfigured, interfaces flapped, deleted and made again, and flows
changed from action to action.  Then all buffers must be there, all hosts must reach each other, and
the memory of ovs-vswitchd must not have grown.

  h1 h2 h3 h4     h5                               h6
   |  |  |  |      |                                |
  p1 p2 p3 p4     p5                               p6
   +--br0--+      brx - tunnel - bru - u1 ==== u2 - brv - tunnel - bry
                    +---- patch ---+                +---- patch ----+

h1 and h2 have two queues, p3 is the port that comes and goes, and the interface of p4 does.
SOAK_MINUTES says how long all this takes.  The last line is "soak: minutes=M port_cycles=N
packets=N lost_buffers=N errors=N".
"""

import os
import re
import statistics
import sys
import time
from pathlib import Path

from pyroute2 import NetlinkError
from soak_flows import BR0, GROUP, HEADERS, METER, TUNNELS, WAYS

import netmap_testlib
from netmap_testlib import (
    Failure,
    Host,
    Switch,
    finish_on_signals,
    lock_directory,
    run,
    say,
    stop,
    wait_until,
)
from netmap_testlib.host import disable_ipv6
from netmap_testlib.switch import BUILD
from netmap_testlib.traffic import Traffic

HOSTS = range(1, 7)
BRIDGES = ("br0", "brx", "bry", "bru", "brv")
UDP_BLAST = Path(netmap_testlib.__file__).parent / "udp_blast.py"
# Something is wrong for good; more of it would not say more.
MOST_ERRORS = 20
# What no interface can do to a port, and no rate of packets: a ring or a descriptor that makes no
# sense.
NONSENSE = re.compile(r"([rt]x_)?(bad_|invalid_descs|sync_errors)")


def mac(n):
    return f"02:00:00:00:00:{n:02x}"


def address(n):
    return f"10.90.0.{n}"


def peers(n):
    """The hosts that host `n` can reach."""
    return [11 - n] if n > 4 else [peer for peer in (1, 2, 3, 4) if peer != n]


def pmd_cpu_mask(bits):
    """Bit 0 is the first CPU that this process may use (under taskset), bit 1 the second."""
    cpus = sorted(os.sched_getaffinity(0))
    mask = 0
    for bit, cpu in ((1, cpus[0]), (2, cpus[min(1, len(cpus) - 1)])):
        if bits & bit:
            mask |= 1 << cpu
    return f"{mask:#x}"


class Soak:
    def __init__(self, switch):
        self.switch = switch
        self.hosts = {}
        self.traffic = Traffic()
        self.errors = self.port_cycles = 0
        # A host's own counters, kept when its interface goes.
        self.past = 0
        # (part of the time, polling threads, kB).
        self.memory = []
        self.threads = 1
        self.start = time.monotonic()

    @property
    def elapsed(self):
        return time.monotonic() - self.start

    def error(self, text):
        self.errors += 1
        print(f"soak: error after {self.elapsed:.0f} s: {text}", file=sys.stderr, flush=True)
        if self.errors >= MOST_ERRORS:
            raise Failure(f"{self.errors} errors")

    def attempt(self, function, *arguments, **options):
        """Calls it; a failure is an error, but not the end."""
        try:
            function(*arguments, **options)
        except (Failure, NetlinkError, OSError) as failure:
            self.error(f"{getattr(function, '__name__', function)} {arguments}: {failure}")

    def expect(self, condition, seconds, text):
        """An error unless condition() becomes true in that time."""
        if not wait_until(condition, seconds):
            self.error(text() if callable(text) else text)

    # ---- hosts ----

    def add_host(self, n):
        self.hosts[n] = Host(
            f"h{n}", wire=f"p{n}", address=f"{address(n)}/24", mac=mac(n), queues=2 if n <= 2 else 1
        )
        self.neighbours(n)

    def neighbours(self, n):
        """They are gone when its interface was down."""
        for peer in peers(n):
            self.hosts[n].neighbour(address(peer), mac(peer))
        if n != 1:
            # Who h1 is when br0 translates its address.
            self.hosts[n].neighbour(address(200), mac(1))

    def packets(self, *numbers):
        """Packets that hosts sent and received."""
        counters = [self.hosts[n].counters() for n in numbers or HOSTS]
        return sum(c["tx_packets"] + c["rx_packets"] for c in counters)

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
            self.traffic.start(
                self.hosts[server], "timeout", 15, "iperf3", "-s", "-1", "-B", address(server)
            )
            self.traffic.start(
                self.hosts[server - 1],
                "timeout",
                14,
                "iperf3",
                "-c",
                address(server),
                "-t",
                10,
                "--bidir",
                "--connect-timeout",
                1000,
            )

    # ---- the switch ----

    def set_up(self):
        for n in HOSTS:
            self.add_host(n)
        for bridge in BRIDGES:
            self.switch.add_bridge(bridge)
        self.add_ports(1, 2, 3, 4)
        self.prepare_tunnel()
        self.switch.ofctl("-O", "OpenFlow15", "add-meter", "br0", METER)
        self.switch.ofctl("-O", "OpenFlow15", "add-group", "br0", GROUP)
        self.br0_does("normal")
        self.pair_by("vxlan")
        self.check_errors()
        if self.errors:
            raise Failure("the switch is not set up")

    def add_ports(self, *numbers):
        for n in numbers:
            self.attempt(self.switch.add_port, "br0", f"p{n}", number=n, check=False)

    def cycle(self, *numbers):
        """Deletes ports of br0, then adds them again."""
        for n in numbers:
            self.attempt(self.switch.del_port, f"p{n}")
        self.add_ports(*numbers)
        self.port_cycles += len(numbers)

    def check_errors(self):
        """Only what nobody took away may have an error.

        The kernel may be slow to give a queue free; such a port comes back by itself.
        """
        for port in ("p1", "p2", "p3", "p5", "p6", "u1", "u2"):
            self.expect(
                lambda port=port: self.switch.error(port) is None,
                30,
                lambda port=port: f"port {port}: {self.switch.error(port)}",
            )

    def check_counters(self):
        found = [
            f"{port} {name}={count}"
            for port, name, count in self.switch.show().counts()
            if count and NONSENSE.match(name)
        ]
        if found:
            self.error(f"counted: {', '.join(found)}")

    def prepare_tunnel(self):
        """The addresses of the tunnel are this host's own, but the packets are not to go the short
        way."""
        run("ip", "link", "add", "u1", "type", "veth", "peer", "name", "u2")
        for name in ("u1", "u2"):
            run("ethtool", "-K", name, "tx", "off", "txvlan", "off")
            run("ip", "link", "set", name, "mtu", 1600, "up")
        for bridge, port in (("bru", "u1"), ("brv", "u2"), ("brx", "p5"), ("bry", "p6")):
            self.switch.add_port(bridge, port, number=1, check=False)
        for bridge, port, peer in (
            ("brx", "xu", "ux"),
            ("bru", "ux", "xu"),
            ("bry", "yv", "vy"),
            ("brv", "vy", "yv"),
        ):
            self.switch.add_port(
                bridge, port, None, f"options:peer={peer}", type="patch", number=3, check=False
            )
        for bridge, ip in (("bru", "172.31.0.1"), ("brv", "172.31.0.2")):
            run("ip", "address", "add", f"{ip}/16", "dev", bridge)
            run("ip", "link", "set", bridge, "up")
        for ip in ("172.31.0.1", "172.31.0.2"):
            run("ip", "route", "del", "table", "local", ip)
        local = re.compile(r"172\.31\.0\.[12]/32.*local")
        wait_until(lambda: not local.search(self.switch.ctl("ovs/route/show")), 10)
        for bridge, port, remote in (("brx", "tunx", "172.31.0.2"), ("bry", "tuny", "172.31.0.1")):
            self.switch.add_port(
                bridge,
                port,
                None,
                f"options:remote_ip={remote}",
                "options:key=5",
                type="vxlan",
                number=2,
                check=False,
            )
        self.switch.ctl("ovs/route/add", "172.31.0.2/32", "bru")
        self.switch.ctl("ovs/route/add", "172.31.0.1/32", "brv")

    def tunnel_neighbours(self):
        for bridge, ip, remote in (("bru", "172.31.0.2", "brv"), ("brv", "172.31.0.1", "bru")):
            peer = Path(f"/sys/class/net/{remote}/address").read_text().strip()
            self.attempt(self.switch.ctl, "tnl/neigh/set", bridge, ip, peer)

    def br0_does(self, action):
        """It, for all or some of the packets of br0."""
        if action == "mirror":
            self.attempt(
                self.switch.vsctl,
                "--id=@p",
                "get",
                "Port",
                "p4",
                "--",
                "--id=@m",
                "create",
                "Mirror",
                "name=m",
                "select-all=true",
                "output-port=@p",
                "--",
                "set",
                "Bridge",
                "br0",
                "mirrors=@m",
            )
        else:
            self.attempt(self.switch.vsctl, "clear", "Bridge", "br0", "mirrors")
        self.attempt(self.switch.flows, "br0", *BR0[action])

    def pair_by(self, way):
        """How packets get from brx to bry."""
        if way in TUNNELS:
            self.attempt(
                self.switch.vsctl,
                "set",
                "Interface",
                "tunx",
                f"type={way}",
                "--",
                "set",
                "Interface",
                "tuny",
                f"type={way}",
            )
            for bridge in ("brx", "bry"):
                self.attempt(
                    self.switch.flows,
                    bridge,
                    "in_port=1 actions=output:2",
                    "in_port=2 actions=output:1",
                )
            for bridge in ("bru", "brv"):
                self.attempt(self.switch.flows, bridge, "actions=normal")
            self.tunnel_neighbours()
            return
        push, pop = HEADERS[way]
        for bridge in ("brx", "bry"):
            self.attempt(
                self.switch.flows, bridge, f"table=0,in_port=1 actions={push},output:3", *pop
            )
        for bridge in ("bru", "brv"):
            self.attempt(
                self.switch.flows,
                bridge,
                "in_port=3 actions=output:1",
                "in_port=1 actions=output:3",
            )

    # ---- one round of changes ----

    def round(self, i):
        action = list(BR0)[i % len(BR0)]
        way = WAYS[i % len(WAYS)]
        self.br0_does(action)
        self.pair_by(way)
        self.expect(lambda: self.reaches(1, 2), 10, f"h1 does not reach h2 through {action}")
        self.expect(lambda: self.reaches(5, 6), 10, f"h5 does not reach h6 through {way}")
        self.change_ports(i, action)
        self.change_queues(i)
        self.change_interface(i)
        self.check_errors()
        self.check_counters()

    def change_ports(self, i, action):
        """Ports go and come: one, that with several queues too, all of br0."""
        if i % 8 == 3:
            self.cycle(1, 2)
        elif i % 8 != 7:
            self.cycle(3)
        elif action == "mirror":
            # A mirror without the port that it goes to is an error in the log.
            self.cycle(1, 2, 3)
        else:
            self.cycle(1, 2, 3, 4)

    def change_queues(self, i):
        """Queues, intervals, threads."""
        self.attempt(
            self.switch.vsctl,
            "set",
            "Interface",
            f"p{i // 2 % 2 + 1}",
            f"options:n_rxq={i % 2 + 1}",
            "--",
            "set",
            "Open_vSwitch",
            ".",
            f"other_config:rxsync-intval={i * 7 % 40}",
        )
        if i % 3 == 0:
            bits = i // 3 % 3 + 1
            self.threads = bits.bit_count()
            self.attempt(self.switch.config, pmd_cpu_mask=pmd_cpu_mask(bits))

    def change_interface(self, i):
        """The interface of p4: down and up, another MTU, gone and back."""
        host = self.hosts[4]
        match i % 4:
            case 0:
                self.attempt(host.wire_link, state="down")
                time.sleep(0.3)
                self.attempt(host.wire_link, state="up")
            case 1:
                self.attempt(host.wire_link, mtu=1400)
            case 2:
                self.attempt(host.link, "h4", state="down")
                time.sleep(0.3)
                self.attempt(host.link, "h4", state="up")
            case 3:
                self.past += self.packets(4)
                self.attempt(host.disconnect)
                time.sleep(0.3)
                self.attempt(host.connect)
        self.attempt(self.neighbours, 4)

    def run(self, minutes):
        total, next_report, i = minutes * 60, 60, 0
        self.start_traffic()
        self.start = time.monotonic()
        while self.elapsed < total:
            self.round(i)
            i += 1
            if not self.switch.alive:
                said = (self.switch.dir / "ovs-vswitchd.out").read_text().splitlines()[-3:]
                raise Failure(f"ovs-vswitchd ended: {said}")
            self.memory.append((self.elapsed / total, self.threads, self.switch.resident_kb()))
            if self.elapsed >= next_report:
                print(
                    f"    ... {next_report} s, {i} rounds, {self.port_cycles} port cycles, "
                    f"{self.past + self.packets()} packets, {self.memory[-1][2]} kB, "
                    f"{self.errors} errors",
                    flush=True,
                )
                next_report += 60

    # ---- is all there? ----

    def counts(self):
        """All that is counted but the syncs of idle rings."""
        return [count for count in self.switch.show().counts() if count[1] != "rxsyncs"]

    def quiet(self):
        before = self.counts()
        time.sleep(0.5)
        return before == self.counts()

    def finish(self):
        """Returns packets and lost buffers."""
        self.traffic.stop()
        packets = self.past + self.packets()
        self.br0_does("normal")
        self.pair_by("vxlan")
        for n in HOSTS:
            for peer in peers(n):
                self.expect(
                    lambda n=n, peer=peer: self.reaches(n, peer),
                    10,
                    f"h{n} does not reach h{peer} any more",
                )
        self.expect(self.quiet, 20, "the ports do not come to rest")
        # A packet that is on its way just now is not lost; one that waits for the rest of its
        # fragments goes after a while.
        wait_until(lambda: self.switch.show().lost == 0, 30)
        lost = self.switch.show().lost
        print(
            *[
                line
                for line in self.switch.ctl("netmap/show").splitlines()
                if line.startswith("region ")
            ],
            sep="\n",
        )
        # With the last port and the datapath, every region goes.
        for bridge in BRIDGES:
            self.attempt(self.switch.vsctl, "del-br", bridge)
        self.expect(
            lambda: not self.switch.show().regions,
            20,
            lambda: f"a region is left without ports: {self.switch.show().regions}",
        )
        return packets, lost

    def check_log(self):
        logged = self.switch.log_lines(["ERR", "EMER"])
        if logged:
            print(*logged[:5], sep="\n", file=sys.stderr)
            self.error(f"{len(logged)} errors in {self.switch.dir}/ovs-vswitchd.log")

    def check_memory(self, limit):
        """Like is compared with like: each polling thread has 8 MB of flow cache."""

        def middle(*windows):
            """The median with one polling thread, in the first window that has any."""
            for start, end in windows:
                if found := [kb for part, n, kb in self.memory if n == 1 and start <= part <= end]:
                    return int(statistics.median(found))
            raise Failure("too few rounds to tell whether the memory of ovs-vswitchd grows")

        # In the first minutes all kinds of things happen for the first time.
        first = middle((0.20, 0.35), (0.20, 0.50))
        last = middle((0.85, 1.0), (0.70, 1.0), (0.50, 1.0))
        print(
            f"memory of ovs-vswitchd: {first} kB after the first fifth, {last} kB at the end, "
            f"{last - first} kB more; the limit is {limit} kB"
        )
        if last - first > limit:
            self.error("the memory of ovs-vswitchd grows")


def soak(minutes, run_dir):
    """Whether all went well."""
    say("six hosts, and a switch with netmap ports")
    disable_ipv6()
    # Each polling thread has 8 MB of flow cache, which malloc keeps or gives back as it happens to
    # lie; mapped one by one they go with their thread.
    environment = {"MALLOC_MMAP_THRESHOLD_": "1048576"}
    other_config = {"pmd-cpu-mask": pmd_cpu_mask(1), "vlan-limit": 0}
    with Switch(run_dir, environment=environment, other_config=other_config) as switch:
        test = Soak(switch)
        monitor = None
        try:
            test.set_up()
            monitor = switch.spawn("ovs-ofctl", "monitor", "br0", 65534)
            say(f"{minutes} minutes of traffic and changes")
            test.run(minutes)
            say("the traffic stops; is all there?")
            packets, lost = test.finish()
        finally:
            test.traffic.stop()
            if monitor:
                stop(monitor)
        test.check_log()
        test.check_memory(
            int(os.environ.get("SOAK_MEMORY_LIMIT") or (8192 if minutes < 5 else 4096))
        )
        if not packets:
            test.error("no packets")
    print(
        f"soak: minutes={minutes} port_cycles={test.port_cycles} packets={packets} "
        f"lost_buffers={lost} errors={test.errors}"
    )
    return test.errors == 0 and lost == 0


def main():
    run_dir = BUILD / "run/soak"
    minutes = os.environ.get("SOAK_MINUTES") or "10"
    finish_on_signals()
    try:
        if not re.fullmatch("[1-9][0-9]*", minutes):
            raise Failure(f"SOAK_MINUTES={minutes}: expected a number of minutes")
        lock_directory(run_dir)
        return 0 if soak(int(minutes), run_dir) else 1
    except Failure as failure:
        print(f"soak: {failure}", file=sys.stderr)
        print(f"soak: FAILED; logs are in {run_dir}", file=sys.stderr)
        return 1


sys.exit(main())
