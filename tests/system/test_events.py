# SPDX-License-Identifier: Apache-2.0
"""Random events against a running switch under traffic.  After each pause, what Open vSwitch says of
its ports is what the kernel says of their interfaces.

EVENTS= events for each of SEEDS= seeds ("7", "1-20"). `make check` plays a few others each time, and
says the seed; `make check-events` 500 for 20 seeds."""

import contextlib
import itertools
import json
import os
import random
import resource
import signal
import time
from pathlib import Path

import pytest

from netmap_testlib.host import disable_offloads
from netmap_testlib.process import CommandError, Failure, run, wait_until

EVENTS = int(os.environ.get("EVENTS") or 60)
PORTS = ("p1", "p2", "p3")
ELSEWHERE = "elsewhere"
# For what follows within a second on a machine that does nothing else.
PATIENCE = 30


def seeds():
    text = os.environ.get("SEEDS") or str(random.SystemRandom().randrange(1, 1_000_000))
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def ip(*words, netns=None, check=True):
    return run("ip", *words, netns=netns, check=check)


def links(netns=None):
    """All interfaces of a namespace, by name."""
    return {link["ifname"]: link for link in json.loads(ip("-j", "-d", "link", netns=netns))}


def queues(name):
    """Receive queues that an interface has."""
    return len(list(Path(f"/sys/class/net/{name}/queues").glob("rx-*")))


class World:
    """Hosts, their wires, and a switch between them."""

    def __init__(self, switch, hosts, seed):
        self.switch = switch
        self.hosts = dict(zip(PORTS, hosts, strict=True))
        self.random = random.Random(seed)
        self.played = []
        self.n_rxq = dict.fromkeys(PORTS, 1)

    # ---- events: each leaves the world in a state that a user could have made ----

    def play(self):
        event = self.random.choice(EVERYTHING)
        port = self.random.choice(PORTS)
        self.played.append(f"{event.__name__}({port})")
        try:
            event(self, port)
        except (FileNotFoundError, KeyError):
            """What an interface that is away refuses is no event."""
        except CommandError as error:
            if error.command[0] not in ("ip", "ethtool"):
                raise

    def down(self, port):
        ip("link", "set", port, "down")

    def up(self, port):
        ip("link", "set", port, "up")

    def host_down(self, port):
        ip("link", "set", self.hosts[port].name, "down", netns=self.hosts[port].name)

    def host_up(self, port):
        ip("link", "set", self.hosts[port].name, "up", netns=self.hosts[port].name)

    def blink(self, port):
        for _ in range(3):
            ip("link", "set", port, "down")
            ip("link", "set", port, "up")

    def mtu(self, port):
        ip("link", "set", port, "mtu", str(self.random.choice((1400, 1500, 1700))))

    def channels(self, port):
        n = self.random.choice(("1", "2"))
        run("ethtool", "-L", port, "rx", n, "tx", n)

    def rename(self, port):
        ip("link", "set", port, "name", f"x{port}")

    def rename_back(self, port):
        ip("link", "set", f"x{port}", "name", port)

    def swap_names(self, port):
        other = self.random.choice([name for name in PORTS if name != port])
        ip("link", "set", port, "name", "swapping")
        try:
            ip("link", "set", other, "name", port)
            ip("link", "set", "swapping", "name", other)
        except CommandError:
            ip("link", "set", "swapping", "name", port)

    def leave(self, port):
        ip("link", "set", port, "netns", ELSEWHERE)

    def come_back(self, port):
        ip("link", "set", port, "netns", str(os.getpid()), netns=ELSEWHERE)

    def leave_unseen(self, port):
        """It is back, with the same number, before the main thread looks."""
        with self.stopped():
            self.leave(port)
            self.come_back(port)
            self.up(port)

    def delete(self, port):
        ip("link", "del", port)

    def create(self, port):
        if port not in links() and f"x{port}" not in links() and port not in links(ELSEWHERE):
            self.new(port)

    def replace(self, port):
        index = links()[port]["ifindex"]
        with self.stopped():
            self.delete(port)
            self.new(port, index)

    def new(self, port, index=None):
        host = self.hosts[port]
        # A far end of old may be left, of a wire that now has another name.
        ip("link", "del", host.name, netns=host.name, check=False)
        many = ("numrxqueues", "2", "numtxqueues", "2")
        number = ("index", str(index)) if index else ()
        peer = ("peer", "name", host.name, *many, "netns", host.name)
        ip("link", "add", port, *number, *many, "type", "veth", *peer)
        disable_offloads(host.name, host.name)
        ip("addr", "add", host.address, "dev", host.name, netns=host.name)
        self.host_up(port)
        self.up(port)

    def kill(self, _port):
        self.switch.kill_vswitchd()
        for device in ("ovs-netdev", "br0"):
            ip("link", "del", device, check=False)
        self.switch.start_vswitchd()

    def option(self, port):
        us = self.random.choice((0, 5, 100))
        self.switch.vsctl("set", "Interface", port, f"options:rxsync-intval={us}")

    def receive_queues(self, port):
        self.n_rxq[port] = self.random.choice((1, 2))
        self.switch.vsctl(
            "--no-wait", "set", "Interface", port, f"options:n_rxq={self.n_rxq[port]}"
        )

    def threads(self, _port):
        mask = self.random.randrange(1, 1 << min(2, os.cpu_count()))
        self.switch.config(pmd_cpu_mask=hex(mask))

    def delete_port(self, port):
        self.switch.del_port(port)
        self.add_port(port)

    def add_port(self, port):
        n_rxq = f"options:n_rxq={self.n_rxq[port]}"
        self.switch.add_port("br0", port, None, n_rxq, check=False)

    def without_descriptors(self):
        """For a moment, the switch can hardly open a file.

        It gets two, too few to open a port: Open vSwitch itself ends when a thread cannot seed its
        random numbers or be told to wake up.  So only what needs no new thread happens meanwhile.
        """
        self.played.append("without_descriptors()")
        self.limit(len(os.listdir(f"/proc/{self.switch.pid}/fd")) + 2)
        for _ in range(3):
            event = self.random.choice((World.blink, World.mtu, World.down, World.up))
            with contextlib.suppress(CommandError):
                event(self, self.random.choice(PORTS))
            time.sleep(0.3)
        self.limit(resource.prlimit(self.switch.pid, resource.RLIMIT_NOFILE)[1])

    def limit(self, files):
        hard = resource.prlimit(self.switch.pid, resource.RLIMIT_NOFILE)[1]
        resource.prlimit(self.switch.pid, resource.RLIMIT_NOFILE, (files, hard))

    @contextlib.contextmanager
    def stopped(self):
        """The switch is busy with something else."""
        os.kill(self.switch.pid, signal.SIGSTOP)
        try:
            yield
        finally:
            os.kill(self.switch.pid, signal.SIGCONT)

    # ---- what must hold after a pause ----

    def differences(self):
        """What Open vSwitch says that the kernel does not."""
        there = links()
        report = {port["name"]: port for port in self.switch.show().ports}
        found = []
        for name in PORTS:
            row = self.switch.row("Interface", name)
            link = there.get(name)
            said = (row["error"] or "", row["link_state"], row["admin_state"])
            if link is None:
                right = "gone" in said[0] or "no interface" in said[0] or "No such" in said[0]
                if not right or said[1] == "up" or name in report:
                    found.append(f"{name} is gone, and OVS says {said}, open: {name in report}")
                continue
            up, running = "UP" in link["flags"], "LOWER_UP" in link["flags"]
            too_many = self.n_rxq[name] > queues(name)
            if too_many and "n_rxq" in said[0]:
                continue
            wanted = ("", "up" if up and running else "down", "up" if up else "down")
            if said != wanted or name not in report:
                found.append(f"{name} is {wanted[1:]}, and OVS says {said}, open: {name in report}")
                continue
            if row["mtu"] != link["mtu"]:
                found.append(f"{name} has the MTU {link['mtu']}, and OVS says {row['mtu']}")
            opened = int(row["status"].get("queues", 0))
            if opened != queues(name):
                found.append(f"{name} has {queues(name)} queues, {opened} are open")
        for netns in (None, ELSEWHERE):
            for name, link in links(netns).items():
                program = "xdp" in link
                if program != (netns is None and name in report):
                    found.append(f"{name} in {netns or 'ours'}: XDP program: {program}")
        if not self.switch.show().balanced:
            found.append("a region is not balanced")
        return found

    def settle(self):
        found = []

        def same():
            found[:] = self.differences()
            return not found

        if not wait_until(same, PATIENCE, interval=0.2):
            raise Failure("; ".join(found))

    def pings_pass(self):
        """Frames go between all hosts whose wires are up."""
        report = {port["name"] for port in self.switch.show().ports}
        numbers = json.loads(ip("-j", "netns", "list-id"))
        namespaces = {known["nsid"]: known.get("name") for known in numbers}
        able = []
        for name, link in links().items():
            if name in report and {"UP", "LOWER_UP"} <= set(link["flags"]):
                # Names are swapped, so this is not always the host that began there.
                far_end = namespaces.get(link.get("link_netnsid"))
                able += [host for host in self.hosts.values() if host.name == far_end]
        for a, b in itertools.pairwise(able):
            address = b.address.split("/")[0]
            wait_until(
                lambda a=a, address=address: a.reaches(address),
                PATIENCE,
                f"{a.name} to reach {b.name}",
                interval=0.1,
            )


EVERYTHING = [
    World.down,
    World.up,
    World.up,
    World.host_down,
    World.host_up,
    World.host_up,
    World.blink,
    World.mtu,
    World.channels,
    World.rename,
    World.rename_back,
    World.swap_names,
    World.leave,
    World.come_back,
    World.leave_unseen,
    World.delete,
    World.create,
    World.create,
    World.replace,
    World.kill,
    World.option,
    World.receive_queues,
    World.threads,
    World.delete_port,
]


@pytest.fixture
def elsewhere():
    ip("netns", "add", ELSEWHERE)
    yield
    # The kernel takes its time to take away what is in a namespace.
    for netns in (None, ELSEWHERE):
        for name, link in links(netns).items():
            if link.get("linkinfo", {}).get("info_kind") == "veth":
                ip("link", "del", name, netns=netns, check=False)
    ip("netns", "del", ELSEWHERE)


@pytest.mark.parametrize("seed", seeds())
def test_events(switch, make_host, elsewhere, seed, capsys):
    with capsys.disabled():
        print(f"SEEDS={seed} EVENTS={EVENTS}", flush=True)
    hosts = [
        make_host(f"h{n}", wire=f"p{n}", address=f"10.0.0.{n}/24", queues=2)
        for n in range(1, len(PORTS) + 1)
    ]
    switch.config(pmd_maxsleep="300")
    world = World(switch, hosts, seed)
    for port in PORTS:
        world.add_port(port)
    traffic = [
        host.spawn("ping", "-q", "-i", "0.01", "10.0.0.1" if host is not hosts[0] else "10.0.0.2")
        for host in hosts
    ]
    try:
        for number in range(EVENTS):
            world.play()
            if number % 10 == 9 or number == EVENTS - 1:
                world.settle()
                world.pings_pass()
                if world.random.random() < 0.2:
                    world.without_descriptors()
    except (Failure, CommandError, KeyError) as error:
        played = " ".join(world.played)
        pytest.fail(f"seed {seed}, after {len(world.played)} events: {error!r}\n{played}")
    finally:
        for process in traffic:
            process.kill()
