# SPDX-License-Identifier: Apache-2.0
"""What the tests here are made of: a switch, netmap's pkt-gen, and senders and receivers of frames."""

import os
import re
import signal
import time
from pathlib import Path

import pytest

from netmap_testlib import CommandError, Failure, Host, run, spawn, stop, wait_until
from netmap_testlib.netmap_port import NR_REG_NULL, Region, free_buffers
from netmap_testlib.rig import Rig as BaseRig
from netmap_testlib.rig import await_same, same
from netmap_testlib.switch import assignments, quoted

PKT_GEN = os.environ.get("PKT_GEN", "pkt-gen")


class HeldRegion:
    """The module's global region, which somebody uses, so that a buffer which does not come back is
    missed: with nobody in it, the module has all of its buffers again."""

    def __init__(self):
        self.region = self.free = None

    def hold(self):
        if not self.region:
            self.region = Region("holder", NR_REG_NULL, 1)
            self.free = free_buffers(1)

    def release(self):
        if self.region:
            self.region.close()
        self.region = self.free = None

    def check(self):
        """As many buffers are free as when it was taken."""
        if self.region:
            await_same("free buffers of region 1", self.free, lambda: free_buffers(1))


class PktGen:
    """A pkt-gen that runs on until stop()."""

    def __init__(self, log, netns, *arguments):
        self.log = Path(log)
        self.log.write_text("")
        self.process = spawn(PKT_GEN, *arguments, netns=netns, log=self.log)

    @property
    def output(self):
        return self.log.read_text(errors="replace")

    def last_lines(self):
        return " ".join(self.output.splitlines()[-3:])

    def stop(self):
        """With SIGINT it closes its port and says what it did."""
        stop(self.process, signal.SIGINT, 10)

    @property
    def received(self):
        """(packets, seconds), once it is stopped."""
        said = re.search(
            r"^Received (\d+) packets.* in ([\d.]+) seconds", self.output, re.MULTILINE
        )
        if not said:
            raise Failure(f"pkt-gen says: {self.last_lines()}")
        return int(said[1]), float(said[2])


class Rig(BaseRig):
    """A running switch, and what talks to its ports."""

    def __init__(self, switch):
        super().__init__(switch)
        self.hosts = []
        self.receiver = None

    # ---- the switch ----

    def port(self, name, number, netmap_port, *settings, bridge="br0", trusted=True):
        """Its peers are our own, so that OVS may work on frames where the peers wrote them, unless
        `trusted` is false."""
        if trusted:
            settings = ("options:trusted-peer=true", *settings)
        self.switch.add_port(bridge, name, netmap_port, *settings, number=number)

    def tunnel(self, netmap_port, trusted=True):
        """p2, on a bridge of its own, br1, with 10.92.0.1 and 02:00:00:00:00:01; port 10 of br0 is a
        VXLAN tunnel with VNI 7 to 10.92.0.2 and 02:00:00:00:00:02 behind p2."""
        self.bridge("br1", **{"other_config:hwaddr": quoted("02:00:00:00:00:01")})
        run("sysctl", "-qw", "net.ipv6.conf.br1.disable_ipv6=1")
        run("ip", "address", "add", "10.92.0.1/24", "dev", "br1")
        run("ip", "link", "set", "br1", "up")
        self.port("p2", 2, netmap_port, bridge="br1", trusted=trusted)
        self.flow("in_port=LOCAL,actions=output:2", "br1")
        self.flow("in_port=2,actions=LOCAL", "br1")
        columns = {
            "type": "vxlan",
            "ofport_request": 10,
            "options:remote_ip": "10.92.0.2",
            "options:key": 7,
        }
        self.switch.vsctl(
            "add-port", "br0", "vx", "--", "set", "Interface", "vx", *assignments(columns)
        )
        wait_until(
            lambda: "10.92.0.0/24 dev br1" in self.switch.ctl("ovs/route/show"),
            20,
            "a route to the tunnel's end",
        )
        self.switch.ctl("tnl/neigh/set", "br1", "10.92.0.2", "02:00:00:00:00:02")

    def two_ports(self, first="vale0:1", second="vale1:1", trusted=True):
        """p1 and p2, by default on two VALE switches; what comes in at p1 goes out at p2."""
        self.bridge()
        self.port("p1", 1, first, trusted=trusted)
        self.port("p2", 2, second, trusted=trusted)
        self.flow("in_port=1,actions=output:2")

    def sent_by(self, port, *, zero_copy=0, copied=0):
        """How many packets it has sent by either way."""
        same(f"zero_copy of {port}", self.queue(port, "txq", "zero_copy"), zero_copy)
        same(f"copied of {port}", self.queue(port, "txq", "copied"), copied)

    def two_pmd_threads(self):
        """A bridge whose ports may be polled by two threads.  Skips the test on one CPU."""
        if os.cpu_count() < 2:
            pytest.skip("one CPU")
        self.bridge()
        self.switch.config(pmd_cpu_mask=3)

    # ---- pkt-gen ----

    def pkt_gen(self, name, *arguments):
        generator = PktGen(self.switch.dir / f"{name}.out", self.switch.netns, *arguments)
        self.running.append(generator.stop)
        return generator

    def receive(self, port, *options):
        """A pkt-gen that counts what arrives there."""
        self.receiver = self.pkt_gen("receive", "-i", port, "-f", "rx", "-w", 1, *options)
        if not wait_until(lambda: "Ready" in self.receiver.output, 60):
            raise Failure(f"pkt-gen does not open {port}: {self.receiver.last_lines()}")

    def await_received(self, count):
        """What it counted in the end."""
        time.sleep(1)
        self.receiver.stop()
        same("packets that pkt-gen received", self.receiver.received[0], count)

    def send(self, port, count, *options):
        """So many UDP packets of 60 bytes, at a rate that every VM takes: VALE drops what a full ring
        has no room for, and tells nobody."""
        rate = () if "-R" in options else ("-w", 1, "-R", 2000)
        output = run(
            "timeout",
            120,
            PKT_GEN,
            "-i",
            port,
            "-f",
            "tx",
            "-n",
            count,
            "-l",
            60,
            *rate,
            *options,
            netns=self.switch.netns,
            check=False,
        )
        said = re.search(r"^Sent (\d+) packets", output, re.MULTILINE)
        if not said:
            raise Failure(f"pkt-gen on {port}: {output.splitlines()[-3:]}")
        same("packets that pkt-gen sent", int(said[1]), count)

    def relay(self, count, source="vale0:2", sink="vale1:2"):
        """So many from pkt-gen through p1 and p2 to pkt-gen, and all agree."""
        came, went = self.counter("p1", "rx"), self.counter("p2", "tx")
        self.receive(sink)
        self.send(source, count)
        await_same("packets received by p1", came + count, lambda: self.counter("p1", "rx"))
        await_same("packets sent by p2", went + count, lambda: self.counter("p2", "tx"))
        self.await_received(count)
        same("bytes received by p1", self.queue("p1", "rxq", "bytes"), (came + count) * 60)
        same("packets of p1 in netmap/show", self.queue("p1", "rxq", "packets"), came + count)
        same("packets of p2 in netmap/show", self.queue("p2", "txq", "packets"), went + count)

    def throughput(self):
        """Packets a second that pkt-gen gets at vale1:2, of as many as it can send at vale0:2."""
        self.receive("vale1:2")
        flood = self.pkt_gen("flood", "-i", "vale0:2", "-f", "tx", "-w", 1)
        time.sleep(10)
        flood.stop()
        self.receiver.stop()
        packets, seconds = self.receiver.received
        return packets / seconds

    # ---- hosts ----

    def host(self, number, queues=1, address=None):
        """h1 behind v1, and so on; they leave checksums and VLAN tags to their interfaces."""
        host = Host(f"h{number}", wire=f"v{number}", address=address, queues=queues)
        self.hosts.append(host)
        return host

    def pair(self):
        """v1 with 10.91.0.1 behind it, and v2 with 10.91.0.2."""
        return [self.host(n, address=f"10.91.0.{n}/24") for n in (1, 2)]

    # ---- afterwards ----

    def clear(self):
        """Takes away what a test made.  Nothing of the module's may be left once the ports are
        gone."""
        self.end_traffic()
        if not self.switch.alive:
            raise Failure("ovs-vswitchd has died")
        try:
            self.switch.vsctl(
                "--if-exists",
                "del-br",
                "br0",
                "--",
                "--if-exists",
                "del-br",
                "br1",
                "--",
                "remove",
                "Open_vSwitch",
                ".",
                "other_config",
                "pmd-cpu-mask",
                "netmap-nextrabufs",
                "rxsync-intval",
                "tx-flush-interval",
            )
        except CommandError as error:
            print(error)
        for host in self.hosts:
            run("ip", "link", "del", host.wire, check=False)
            host.remove()
        self.hosts = []
        show = self.switch.show
        wait_until(self.empty, 10, lambda: f"without ports there still is: {show().data}")
        maps = Path(f"/proc/{self.switch.pid}/maps").read_text()
        same("mappings of /dev/netmap without ports", maps.count("/dev/netmap"), 0)
