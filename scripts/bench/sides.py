# SPDX-License-Identifier: Apache-2.0
"""The switches that are compared: each with ports of one kind, and stopped while another is
measured."""

import contextlib
import os
import re
import signal
import time
from pathlib import Path

from pyroute2 import netns as namespaces

from netmap_testlib import Failure, Switch
from netmap_testlib.host import disable_ipv6
from netmap_testlib.switch import BUILD

RUN = BUILD / "run/bench"
DPDK = BUILD / "dpdk-peer"
DPDK_PROGRAM = Path("usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk")
DPDK_MB = 1024
DPDK_SIDES = 2
# Preloaded: EAL would refuse to load a plugin from below a directory that others may write to.
DPDK_DRIVERS = ("mempool_ring", "net_null", "net_af_packet", "net_af_xdp")
PAGES = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
AFXDP_TREE = BUILD / "ovs-3.1-afxdp"
BRIDGE = "br0"
# For switches that need nobody else, least of all the kernel's softirq threads: a cycle that another
# process takes would count as theirs.
FIRST = ("nice", "-n", "-20")


def cores():
    """Two of the cores that this may use: one for all other work, and that of the PMD threads, which is
    the last one or BENCH_CORE."""
    available = sorted(os.sched_getaffinity(0))
    pmd = int(os.environ.get("BENCH_CORE") or available[-1])
    return next((core for core in available if core != pmd), pmd), pmd


def mask(*cpus):
    return f"{sum(1 << cpu for cpu in cpus):#x}"


@contextlib.contextmanager
def hugepages():
    """For the sides with DPDK, for as long as this runs."""
    number = PAGES / "nr_hugepages"
    if not number.exists():
        raise Failure("no 2 MB hugepages on this machine, DPDK needs them")
    before = int(number.read_text())
    wanted = before - int((PAGES / "free_hugepages").read_text()) + DPDK_SIDES * DPDK_MB // 2
    try:
        if before < wanted:
            number.write_text(str(wanted))
            if int(number.read_text()) < wanted:
                raise Failure(f"could not reserve {DPDK_SIDES * DPDK_MB} MB of hugepages")
        yield
    finally:
        if before < wanted:
            number.write_text(str(before))


class Side(Switch):
    """A switch that is halted but while it is measured.

    `port(interface)` gives the columns of a port on a host interface.  `first`: before all others.
    """

    # Single frames, too, as they came.
    forwards_all = True

    def __init__(
        self, name, port, *, vswitchd=("ovs-vswitchd",), first=False, other_config=None, **options
    ):
        _, pmd = cores()
        super().__init__(
            RUN / name,
            vswitchd=[*(FIRST if first else ()), *vswitchd],
            other_config={"pmd-cpu-mask": mask(pmd), **(other_config or {})},
            # Every switch has a tap device "ovs-netdev".
            netns=f"bench-{name}",
            **options,
        )
        self.name = name
        self.port = port
        # Whether its hosts leave checksums to their interfaces, which most ports cannot do with.
        self.offloads = False

    def start(self):
        namespaces.create(self.netns)
        disable_ipv6(self.netns)
        super().start()

    def stop(self):
        self.go()
        super().stop()
        if self.netns in namespaces.listnetns():
            namespaces.remove(self.netns)

    def halt(self):
        self.vswitchd.send_signal(signal.SIGSTOP)

    def go(self):
        if self.alive:
            self.vswitchd.send_signal(signal.SIGCONT)

    @contextlib.contextmanager
    def turn(self):
        self.go()
        try:
            yield
        finally:
            self.halt()

    def attach(self, interface, number):
        """A port of this kind on `interface`, in the bridge."""
        columns = self.port(interface)
        self.vsctl(
            *("add-port", BRIDGE, interface, "--", "set", "Interface", interface),
            *(f"ofport_request={number}", *columns),
        )
        if error := self.error(interface):
            raise Failure(f"port {interface} ({' '.join(columns)}): {error}")

    def connect(self, wires):
        """The interfaces of two hosts, in one bridge."""
        self.add_bridge(BRIDGE)
        for n, wire in enumerate(wires, 1):
            self.attach(wire, n)
        # The address keeps OVS from "simple match", which asks for the port only.
        self.flows(
            BRIDGE,
            *(f"in_port={i},ip,nw_dst=10.9.0.0/16,actions=output:{o}" for i, o in ((1, 2), (2, 1))),
            *(f"in_port={i},arp,actions=output:{o}" for i, o in ((1, 2), (2, 1))),
        )

    def pmd_stats(self, seconds):
        """What the thread that forwards counts in that time.  Ports that no PMD thread polls are the
        main thread's."""
        self.ctl("dpif-netdev/pmd-stats-clear")
        time.sleep(seconds)
        text = self.ctl("dpif-netdev/pmd-stats-show")
        threads = re.split(r"(?m)^(?=pmd thread|main thread)", text)
        return max(threads, key=lambda thread: pmd_value(thread, "packets received"))


def pmd_value(stats, name):
    found = re.search(rf"^ *{name}: *([\d.]+)", stats, re.MULTILINE)
    return float(found[1]) if found else 0.0


def netmap(name="netmap", intval=None, offloads=False, **other_config):
    settings = {"rxsync-intval": intval} if intval is not None else {}
    side = Side(name, lambda _: ["type=netmap"], other_config={**settings, **other_config})
    side.offloads = offloads
    return side


def netmap_fixed():
    """With an interval that does not grow with the load."""
    return netmap("netmap-5us", intval=5)


def system():
    return Side("system", lambda _: ["type=system"])


def afxdp():
    """OVS's own AF_XDP ports, in the same release compiled with them."""
    return Side(
        "afxdp",
        lambda _: ["type=afxdp"],
        tree=AFXDP_TREE,
        other_config={"netmap-init": "false"},
    )


def dpdk(name, devargs, **options):
    """Debian's OVS-DPDK.  `devargs(interface)` says what DPDK opens for a port."""
    main, _ = cores()
    program = DPDK / DPDK_PROGRAM
    drivers = " ".join(f"librte_{driver}.so.23" for driver in DPDK_DRIVERS)
    environment = [f"LD_LIBRARY_PATH={DPDK}/usr/lib/x86_64-linux-gnu", f"LD_PRELOAD={drivers}"]
    return Side(
        name,
        lambda interface: ["type=dpdk", f"options:dpdk-devargs={devargs(interface)}"],
        vswitchd=["env", *environment, program if program.exists() else f"/{DPDK_PROGRAM}"],
        other_config={
            "netmap-init": "false",
            "dpdk-init": "true",
            "dpdk-socket-mem": DPDK_MB,
            "dpdk-lcore-mask": mask(main),
            "dpdk-extra": '"--in-memory --no-pci --no-telemetry"',
        },
        **options,
    )


def dpdk_af_xdp():
    return dpdk("dpdk-af_xdp", lambda interface: f"net_af_xdp_{interface},iface={interface}")


def dpdk_af_packet():
    return dpdk("dpdk-af_packet", lambda interface: f"net_af_packet_{interface},iface={interface}")


def on_interfaces(quick):
    """The sides that can have ports on host interfaces, ours first."""
    sides = [netmap, system]
    if not quick:
        sides[1:1] = [netmap_fixed, afxdp]
        sides += [dpdk_af_xdp, dpdk_af_packet]
    return sides
