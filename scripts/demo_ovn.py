#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""OVN on two chassis whose ports are all of type netmap: the VMs' and the uplinks.

    namespace c1 (a chassis)                      namespace c2 (a chassis)
    vm1 ==veth== [netmap]                                [netmap] ==veth== vm2
                        br-int ~~ Geneve ~~ br-int
    vm3 ==veth== [netmap]                                [netmap] ==veth== vm4
                 br-phys [netmap] u1 ==veth== u2 [netmap] br-phys

vm1 and vm2 are on the logical switch sw0 (10.0.0.0/24), vm3 and vm4 on sw1 (10.0.1.0/24), with the
logical router between them.  sw0 has ACLs with conntrack, sw1 a load balancer in front of vm1 and
vm2.
DEMO_TYPE=system runs the same over OVS's own port type.
"""

import contextlib
import itertools
import os
import shutil
import socket
import sys
from functools import partial
from pathlib import Path

from pyroute2 import netns

from netmap_testlib import (
    Failure,
    Host,
    Switch,
    ovs_tree,
    run,
    run_program,
    say,
    spawn,
    stop,
    wait_until,
)
from netmap_testlib.host import disable_ipv6
from netmap_testlib.switch import BUILD

OVN = Path(os.environ["OVN_DIR"])
KIND = os.environ.get("DEMO_TYPE", "netmap")
VIP = "30.0.0.1"
# A frame of 1500 bytes with Geneve's headers around it.
UPLINK_MTU = 1500 + 100

# Seconds until an answer counts as lost: on a busy machine a thread may not run for some.
PATIENCE = 20

VMS = {
    # name: chassis, logical switch, address
    "vm1": (1, "sw0", "10.0.0.11"),
    "vm2": (2, "sw0", "10.0.0.12"),
    "vm3": (1, "sw1", "10.0.1.13"),
    "vm4": (2, "sw1", "10.0.1.14"),
}


def mac(vm):
    return f"0a:00:00:00:00:{VMS[vm][2].rsplit('.')[-1]:0>2}"


class Central:
    """OVN's two databases and ovn-northd."""

    def __init__(self, directory, tree):
        self.dir = directory
        self.tree = tree
        self.dir.mkdir(parents=True)
        self.environment = {**os.environ, "OVN_RUNDIR": str(self.dir), "OVS_RUNDIR": str(self.dir)}
        self.daemons = []

    def start(self):
        for name in ("nb", "sb"):
            database = self.dir / f"{name}.db"
            run(
                self.tree / "ovsdb/ovsdb-tool",
                "create",
                database,
                OVN / f"share/ovn/ovn-{name}.ovsschema",
            )
            self.daemon(
                f"ovn{name}",
                self.tree / "ovsdb/ovsdb-server",
                database,
                f"--remote=punix:{self.remote(name)[5:]}",
            )
            wait_until(Path(self.remote(name)[5:]).exists, 30, f"the {name} database")
            run(OVN / f"bin/ovn-{name}ctl", f"--db={self.remote(name)}", "--timeout=30", "init")
        self.daemon(
            "ovn-northd",
            OVN / "bin/ovn-northd",
            f"--ovnnb-db={self.remote('nb')}",
            f"--ovnsb-db={self.remote('sb')}",
        )

    def stop(self):
        for daemon in reversed(self.daemons):
            stop(daemon)

    def remote(self, name):
        return f"unix:{self.dir}/{name}.sock"

    def daemon(self, name, *command):
        self.daemons.append(
            spawn(
                *command,
                f"--unixctl={self.dir}/{name}.ctl",
                "-vconsole:off",
                f"--log-file={self.dir}/{name}.log",
                log=self.dir / f"{name}.out",
                env=self.environment,
            )
        )

    def nbctl(self, *arguments):
        return run(
            OVN / "bin/ovn-nbctl",
            f"--db={self.remote('nb')}",
            "--timeout=60",
            *arguments,
            env=self.environment,
        )

    def topology(self):
        commands = [["lr-add", "lr0"]]
        for n, switch in enumerate(("sw0", "sw1")):
            port, gateway = f"lr0-{switch}", f"0a:00:00:01:00:0{n + 1}"
            commands += [
                ["ls-add", switch],
                ["lrp-add", "lr0", port, gateway, f"10.0.{n}.1/24"],
                ["lsp-add", switch, f"{switch}-lr0"],
                ["lsp-set-type", f"{switch}-lr0", "router"],
                ["lsp-set-addresses", f"{switch}-lr0", "router"],
                ["lsp-set-options", f"{switch}-lr0", f"router-port={port}"],
            ]
        for vm, (_, switch, address) in VMS.items():
            commands += [["lsp-add", switch, vm], ["lsp-set-addresses", vm, f"{mac(vm)} {address}"]]
        # To vm1 and vm2: what they asked for, pings, iperf3 and port 80; nothing else.
        ours = '{"vm1", "vm2"}'
        for direction, priority, match, action in (
            ("from-lport", 1000, f"inport == {ours} && ip4", "allow-related"),
            ("to-lport", 1001, f"outport == {ours} && icmp4", "allow-related"),
            ("to-lport", 1001, f"outport == {ours} && tcp.dst == {{80, 5201}}", "allow-related"),
            ("to-lport", 1000, f"outport == {ours} && ip4", "drop"),
        ):
            commands.append(["acl-add", "sw0", direction, priority, match, action])
        commands += [
            ["lb-add", "lb0", f"{VIP}:80", "10.0.0.11:80,10.0.0.12:80", "tcp"],
            ["ls-lb-add", "sw1", "lb0"],
        ]
        self.nbctl(*itertools.chain.from_iterable(["--", *command] for command in commands))


class Chassis(Switch):
    """A namespace with a switch, its uplink and ovn-controller."""

    def __init__(self, number, directory, central):
        self.name = f"c{number}"
        self.uplink = f"u{number}"
        self.encap = f"172.31.0.{number}"
        self.remote = central.remote("sb")
        self.controller = None
        # A CPU of its own for each switch's polling thread, which never sleeps.
        cpus = sorted(os.sched_getaffinity(0))
        super().__init__(
            directory / self.name,
            netns=self.name,
            environment={"OVN_RUNDIR": str(directory / self.name)},
            other_config={"pmd-cpu-mask": hex(1 << cpus[number % len(cpus)])},
        )

    def start(self):
        super().start()
        self.vsctl(
            "set",
            "Open_vSwitch",
            ".",
            f"external_ids:system-id={self.name}",
            f"external_ids:ovn-remote={self.remote}",
            "external_ids:ovn-encap-type=geneve",
            f"external_ids:ovn-encap-ip={self.encap}",
            "external_ids:ovn-bridge-datapath-type=netdev",
        )
        self.add_bridge("br-phys", fail_mode="standalone")
        self.add_port("br-phys", self.uplink, type=KIND)
        self.configure_host()
        self.controller = spawn(
            OVN / "bin/ovn-controller",
            f"unix:{self.dir}/db.sock",
            "-vconsole:off",
            f"--pidfile={self.dir}/ovn-controller.pid",
            f"--log-file={self.dir}/ovn-controller.log",
            netns=self.name,
            log=self.dir / "ovn-controller.out",
            env=self.environment,
        )

    def configure_host(self):
        """What the host's own network configuration does, when br-phys is there (again)."""
        run("ip", "address", "replace", f"{self.encap}/24", "dev", "br-phys", netns=self.name)
        run("ip", "link", "set", "br-phys", "up", netns=self.name)

    def stop(self):
        if self.controller:
            stop(self.controller)
        super().stop()

    def plug(self, vm):
        """A VM: a namespace whose interface has its other end here."""
        host = Host(vm, wire=f"p-{vm}", address=f"{VMS[vm][2]}/24", mac=mac(vm))
        run("ip", "link", "set", host.wire, "netns", self.name)
        run("ip", "link", "set", host.wire, "up", netns=self.name)
        host.run("ip", "route", "add", "default", "via", VMS[vm][2].rsplit(".", 1)[0] + ".1")
        self.add_port("br-int", host.wire, None, f"external_ids:iface-id={vm}", type=KIND)
        return host

    def has_integration_bridge(self):
        """ovn-controller makes it."""
        return self.database.rows("Bridge", [("name", "==", "br-int")])

    def sent(self):
        """What the uplink sent: frames without a copy, frames copied, and those that the host's own
        stack sent, such as questions for the other end's MAC address."""
        show = self.show()
        return (
            show.total(self.uplink, "txq", "zero_copy"),
            show.total(self.uplink, "txq", "copied"),
            self.counters("br-phys")["LOCAL"].rx["pkts"],
        )


# ---- traffic ----

# Answers each connection with a name.
SERVER = """
import socket, sys
listener = socket.create_server(("", int(sys.argv[2])), backlog=64)
while True:
    connection, _ = listener.accept()
    connection.sendall(sys.argv[1].encode())
    connection.close()
"""


def serve(host, port):
    server = host.spawn(sys.executable, "-c", SERVER, host.name, port)
    wait_until(
        lambda: f":{port} " in host.run("ss", "-Hltn"), 10, f"{host.name} to listen on port {port}"
    )
    return server


def ask(host, address, port, seconds=PATIENCE):
    """The answer of a server, None when there is none in time."""
    with host.entered():
        connection = socket.socket()
    with connection:
        connection.settimeout(seconds)
        try:
            connection.connect((address, port))
            return connection.recv(100).decode()
        except TimeoutError:
            return None


def address(vm):
    return VMS[vm][2]


class Pings:
    """Counts what the demo's pings were answered."""

    def __init__(self):
        self.sent = self.received = 0

    def __call__(self, source, target, count, **options):
        got = source.ping(address(target), count, 0.05, wait=PATIENCE, **options)
        print(f"{source.name} -> {target}: {got.received}/{got.sent}, {got.rtt_ms} ms")
        self.sent += got.sent
        self.received += got.received


def iperf(source, target):
    server = target.iperf_server(address(target.name))
    end = source.iperf(address(target.name), "-t", 5)
    stop(server)
    return int(end["sum_received"]["bits_per_second"] / 1e6)


def forwarding(vms):
    """Pings and TCP, switched and routed; what was pinged, and Mbit/s."""
    pings = Pings()
    say("ping: switched and routed, within a chassis and between the two")
    for source, target in (
        ("vm1", "vm2"),
        ("vm2", "vm1"),
        ("vm1", "vm3"),
        ("vm3", "vm2"),
        ("vm4", "vm1"),
    ):
        pings(vms[source], target, 10)
    say("ping: frames of 1500 bytes that may not be fragmented")
    for source, target in (("vm1", "vm2"), ("vm3", "vm2")):
        pings(vms[source], target, 10, size=1472)
    say("iperf3: TCP, switched and routed, 5 s each")
    mbps = iperf(vms["vm1"], vms["vm2"])
    routed = iperf(vms["vm3"], vms["vm2"])
    print(f"switched {mbps} Mbit/s, routed {routed} Mbit/s")
    if not mbps or not routed:
        raise Failure("iperf3: nothing arrived")
    return pings, mbps


def filtering(vms):
    """The ACLs, whose answer depends on who began."""
    say("ACLs: only pings, iperf3 and port 80 may begin towards vm1 and vm2")
    servers = [serve(vms["vm2"], 80), serve(vms["vm2"], 81), serve(vms["vm3"], 81)]
    for source, target, port, expected in (
        ("vm1", "vm2", 80, "vm2"),  # Allowed.
        ("vm1", "vm2", 81, None),  # Not allowed.
        ("vm1", "vm3", 81, "vm3"),  # Its answers are not allowed but for conntrack.
        ("vm4", "vm2", 81, None),
    ):
        answer = ask(vms[source], address(target), port, PATIENCE if expected else 2)
        print(f"{source} -> {target}:{port}: {answer}")
        if answer != expected:
            raise Failure(
                f"{source} -> {target}:{port}: the answer is {answer}, expected {expected}"
            )
    for server in servers:
        stop(server)


def balancing(vms):
    """The load balancer: its address is answered by both backends."""
    say(f"load balancer: 20 connections to {VIP}")
    servers = [serve(vms[vm], 80) for vm in ("vm1", "vm2")]
    answers = [ask(vms[vm], VIP, 80) for vm in ("vm3", "vm4") for _ in range(10)]
    print({name: answers.count(name) for name in sorted(set(answers), key=str)})
    if set(answers) != {"vm1", "vm2"}:
        raise Failure(f"load balancer: answers from {set(answers)}, expected both backends")
    for server in servers:
        stop(server)


def restarting(chassis, vms):
    """A switch is killed and started again while a VM of the other chassis pings one of its own."""
    say("the switch of c2 is killed and started again, under traffic")
    traffic = vms["vm1"].spawn("ping", "-q", "-i", "0.005", address("vm2"))
    wait_until(lambda: vms["vm1"].reaches(address("vm2")), 10, "vm2 to answer")
    victim = chassis[2]
    victim.kill_vswitchd()
    if vms["vm1"].reaches(address("vm2")):
        raise Failure("vm2 answers without a switch")
    victim.start_vswitchd()
    victim.configure_host()
    # Flows come one after the other, so both pairs of VMs that are pinged next.
    for source, target in (("vm1", "vm2"), ("vm4", "vm3")):
        wait_until(
            partial(vms[source].reaches, address(target)), 60, f"{target} to answer {source} again"
        )
    stop(traffic)


class Books:
    """What the uplinks sent, over the lives of their switches."""

    def __init__(self):
        self.zero_copy = self.copied = 0

    def add(self, chassis):
        """Counts a switch's frames: to be called once in its life, when its ports are idle."""
        if KIND != "netmap":
            return
        wait_until(lambda: chassis.show().settled, 20, f"every buffer of {chassis.name} to be back")
        zero_copy, copied, by_host = chassis.sent()
        print(f"{chassis.name}: zero_copy={zero_copy} copied={copied} sent_by_host={by_host}")
        if copied > by_host or not zero_copy:
            raise Failure(
                f"{chassis.name}: {copied} frames were copied, but only {by_host} came from the "
                "host's own stack; VMs' frames cross the uplink without a copy"
            )
        self.zero_copy += zero_copy
        self.copied += copied


def build(stack, directory):
    """Both chassis and the VMs, by number and by name."""
    say("OVN's databases and northd")
    central = Central(directory / "central", ovs_tree())
    stack.callback(central.stop)
    central.start()

    say(f"two chassis, uplinks and VM ports of type {KIND}")
    for name in ("c1", "c2"):
        netns.create(name)
        disable_ipv6(name)
    run(
        "ip",
        "link",
        "add",
        "u1",
        "mtu",
        UPLINK_MTU,
        "netns",
        "c1",
        "type",
        "veth",
        "peer",
        "name",
        "u2",
        "mtu",
        UPLINK_MTU,
        "netns",
        "c2",
    )
    chassis = {n: Chassis(n, directory, central) for n in (1, 2)}
    for one in chassis.values():
        for link in ("lo", one.uplink):
            run("ip", "link", "set", link, "up", netns=one.name)
        stack.enter_context(one)
    for one in chassis.values():
        wait_until(one.has_integration_bridge, 60, f"br-int of {one.name}")
    central.topology()
    vms = {vm: chassis[n].plug(vm) for vm, (n, _, _) in VMS.items()}
    for vm in VMS:
        central.nbctl("wait-until", "Logical_Switch_Port", vm, "up=true")
    central.nbctl("--wait=hv", "sync")
    # The first packet of a tunnel is lost: Open vSwitch asks for the other end's MAC address then.
    # Here the hosts ask, and the switch sees the answers.
    run("ping", "-c", 1, "-W", 5, chassis[2].encap, netns="c1")
    return chassis, vms


def demo(directory):
    disable_ipv6()
    shutil.rmtree(directory, ignore_errors=True)
    with contextlib.ExitStack() as stack:
        chassis, vms = build(stack, directory)
        version = chassis[1].tool("ovs-vswitchd", "--version").split("\n")[0].split()[-1]
        pings, tcp_mbps = forwarding(vms)
        filtering(vms)
        balancing(vms)
        books = Books()
        books.add(chassis[2])
        restarting(chassis, vms)
        say("after the restart")
        pings(vms["vm1"], "vm2", 10)
        pings(vms["vm4"], "vm3", 10)
        iperf(vms["vm2"], vms["vm1"])
        say("the uplinks' frames")
        for one in chassis.values():
            books.add(one)
    if pings.received != pings.sent:
        raise Failure(f"ping: {pings.received} of {pings.sent} were answered")
    balanced = " balanced" if KIND == "netmap" else ""
    print(
        f"demo-ovn: ovs={version} chassis=2 ping={pings.received}/{pings.sent} tcp_mbps={tcp_mbps} "
        f"zero_copy={books.zero_copy} copied={books.copied}{balanced}"
    )


def main():
    directory = BUILD / "run/demo-ovn"
    return run_program("demo-ovn", lambda: demo(directory), directory)


sys.exit(main())
