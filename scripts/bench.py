# SPDX-License-Identifier: Apache-2.0
"""Cycles per packet of the whole PMD loop: receive, flow extraction, exact match cache, action,
send.  One port that is an endless source and a sink, one flow that sends each packet back out:

  netmap   null:0 of this project          the OVS built here
  dpdk     net_null0                       OVS-DPDK 3.1 as Debian ships it

Both sides receive 64-byte frames of zeros, have the same OpenFlow rule, and are checked to hit the
exact match cache with every packet.  Both are compiled with the same flags (scripts/build-ovs.sh).
Both run at the highest ordinary priority, because a cycle that another process takes is counted as
well.

A pair is a new process of each side, with their PMD threads on the same core.  They take short
turns: one is stopped while the other is measured.  So what else goes on in the machine, or beside
it where that is a virtual one, meets both: speeds that last for seconds were seen, 1.6 times as
slow.
The ratio is the median of the ratios of turns that follow each other; the cycles of each side are
the median of its turns.

  BENCH_PAIRS=5        pairs
  BENCH_SECONDS=3      measured time of each side of a pair, in turns of 0.1 s
  BENCH_CORE=N         the PMD threads' core (default: the last one)
  BENCH_LOOKUP=simple  "simple match" instead of the exact match cache: OVS takes that short cut
                       when rules match on the port only
"""

import contextlib
import os
import re
import signal
import sys
import time
from pathlib import Path
from statistics import median

from netmap_testlib import Failure, Switch, finish_on_signals, lock_directory, say
from netmap_testlib.switch import BUILD

RUN = BUILD / "run/bench"
TURN_SECONDS = 0.1
# What was stopped finds its caches full of the other side's data.
WARM_UP_SECONDS = 0.03
DPDK_MB = 1024
PAGES = Path("/sys/kernel/mm/hugepages/hugepages-2048kB")
# The match of the only flow, and the counter of the lookups that it is to take.
LOOKUPS = {
    "emc": ("in_port=1,dl_dst=00:00:00:00:00:00", "emc hits"),
    "simple": ("in_port=1", "simple match hits"),
}
# Each side in a network namespace of its own: both have a tap device "br0".
OWN_NET = ("nice", "-n", "-20", "unshare", "--net")


def mask(cpu):
    return f"{1 << cpu:#x}"


@contextlib.contextmanager
def hugepages():
    """For DPDK, for as long as this runs."""
    number = PAGES / "nr_hugepages"
    if not number.exists():
        raise Failure("no 2 MB hugepages on this machine, DPDK needs them")
    before = int(number.read_text())
    wanted = before - int((PAGES / "free_hugepages").read_text()) + DPDK_MB // 2
    try:
        if before < wanted:
            number.write_text(str(wanted))
            if int(number.read_text()) < wanted:
                raise Failure(f"could not reserve {DPDK_MB} MB of hugepages")
        yield
    finally:
        if before < wanted:
            number.write_text(str(before))


class Side(Switch):
    """A switch with n0 as OpenFlow port 1, stopped but while it is measured."""

    def __init__(self, name, lookup, vswitchd, other_config, port):
        super().__init__(RUN / name, vswitchd=[*OWN_NET, *vswitchd], other_config=other_config)
        self.name = name
        self.match, self.lookup = LOOKUPS[lookup]
        self.port = port
        self.cycles = []
        self.flow = None

    def start(self):
        """Starts the switch, and sees that it does what it is to do."""
        super().start()
        self.add_bridge("br0")
        self.vsctl(
            "add-port", "br0", "n0", "--", "set", "Interface", "n0", "ofport_request=1", *self.port
        )
        if error := self.error("n0"):
            raise Failure(f"port n0 ({' '.join(self.port)}): {error}")
        self.flows("br0", f"{self.match},actions=in_port")
        time.sleep(1)
        stats = self.stats(1)
        self.flow = self.datapath_flow()
        self.halt()
        received, hits = pmd_value(stats, "packets received"), pmd_value(stats, self.lookup)
        if received <= 0:
            raise Failure(f"{self.name}: no packets, see {self.dir}")
        # The counters are read while the thread runs: a batch may be under way.
        if received - hits > 64:
            raise Failure(
                f"{self.name}: of {received:.0f} packets only {hits:.0f} are {self.lookup}"
            )

    def stop(self):
        self.go()
        super().stop()

    def halt(self):
        self.vswitchd.send_signal(signal.SIGSTOP)

    def go(self):
        if self.alive:
            self.vswitchd.send_signal(signal.SIGCONT)

    def stats(self, seconds):
        """What the PMD thread counts in that time."""
        self.ctl("dpif-netdev/pmd-stats-clear")
        time.sleep(seconds)
        return self.ctl("dpif-netdev/pmd-stats-show").split("main thread")[0]

    def datapath_flow(self):
        """The flow that packets take, without what differs between switches that do the same."""
        flows = []
        for line in self.ctl("dpctl/dump-flows", "netdev@ovs-netdev").splitlines():
            if re.search(r"in_port\(\d+\)", line):
                flow = re.sub(r"in_port\(\d+\)", "in_port", line)
                flows.append(re.sub(r", packets:.*actions:\d+$", " actions:in_port", flow))
        return "\n".join(flows)

    def turn(self):
        """What a packet costs, in a time so short that the machine most often has the same speed in
        the next turn."""
        self.go()
        time.sleep(WARM_UP_SECONDS)
        stats = self.stats(TURN_SECONDS)
        self.halt()
        self.cycles.append(pmd_value(stats, "avg cycles per packet"))


def pmd_value(stats, name):
    found = re.search(rf"^ *{name}: *([\d.]+)", stats, re.MULTILINE)
    return float(found[1]) if found else 0.0


def netmap_side(lookup, core):
    return Side(
        "netmap",
        lookup,
        ["ovs-vswitchd"],
        {"pmd-cpu-mask": mask(core)},
        ["type=netmap", "options:netmap-port=null:0", "options:rxsync-intval=0"],
    )


def dpdk_side(lookup, core, other_core):
    peer = BUILD / "dpdk-peer"
    binary = Path("usr/lib/openvswitch-switch-dpdk/ovs-vswitchd-dpdk")
    program = peer / binary if (peer / binary).exists() else "/" / binary
    # Drivers are preloaded: EAL would refuse to load a plugin from below a directory that others
    # may write to.
    environment = [
        f"LD_LIBRARY_PATH={peer}/usr/lib/x86_64-linux-gnu",
        "LD_PRELOAD=librte_mempool_ring.so.23 librte_net_null.so.23",
    ]
    other_config = {
        "netmap-init": "false",
        "dpdk-init": "true",
        "dpdk-socket-mem": DPDK_MB,
        "dpdk-lcore-mask": mask(other_core),
        "dpdk-extra": '"--in-memory --no-pci --no-telemetry"',
        "pmd-cpu-mask": mask(core),
    }
    return Side(
        "dpdk",
        lookup,
        ["env", *environment, program],
        other_config,
        ["type=dpdk", "options:dpdk-devargs=net_null0"],
    )


def pair_of_turns(sides, turns):
    """A new process of each side; adds to their cycles.  Returns the flow that both have."""
    with contextlib.ExitStack() as stack:
        for side in sides:
            stack.callback(side.stop)
            side.start()
        if sides[0].flow != sides[1].flow:
            raise Failure(
                "the two sides do not do the same: "
                + " and ".join(f'"{side.flow}"' for side in sides)
            )
        for _ in range(turns):
            for side in sides:
                side.turn()
    return sides[0].flow


def ratio(netmap, dpdk):
    return median(n / d for n, d in zip(netmap, dpdk, strict=True))


def bench(pairs, turns, lookup):
    cores = sorted(os.sched_getaffinity(0))
    core = int(os.environ.get("BENCH_CORE") or cores[-1])
    if len(cores) == 1:
        say("only one core: the PMD threads share it with all else")
    load = " ".join(Path("/proc/loadavg").read_text().split()[:3])
    say(f"PMD loop on core {core}, {pairs} pairs, {turns} turns of each side; load average: {load}")
    print(f"{'pair':>6} {'netmap':>10} {'dpdk':>10} {'ratio':>10}")
    sides = netmap_side(lookup, core), dpdk_side(lookup, core, cores[0])
    for pair in range(pairs):
        flow = pair_of_turns(sides, turns)
        netmap, dpdk = (side.cycles[-turns:] for side in sides)
        print(
            f"{pair + 1:>6} {median(netmap):>10.1f} {median(dpdk):>10.1f} "
            f"{ratio(netmap, dpdk):>10.3f}"
        )
    say(f"flow on both sides: {flow}")
    netmap, dpdk = (side.cycles for side in sides)
    print(
        f"bench: pmd-loop netmap={median(netmap):.1f} dpdk={median(dpdk):.1f} "
        f"ratio={ratio(netmap, dpdk):.3f}"
    )


def main():
    finish_on_signals()
    lookup = os.environ.get("BENCH_LOOKUP") or "emc"
    pairs = int(os.environ.get("BENCH_PAIRS") or 5)
    turns = int(float(os.environ.get("BENCH_SECONDS") or 3) / TURN_SECONDS)
    try:
        if lookup not in LOOKUPS:
            raise Failure(f"BENCH_LOOKUP={lookup}: {' or '.join(LOOKUPS)}")
        if pairs < 1 or turns < 1:
            raise Failure("BENCH_PAIRS and BENCH_SECONDS: 1 or more")
        lock_directory(RUN)
        with hugepages():
            bench(pairs, turns, lookup)
    except Failure as failure:
        print(f"bench: {failure}", file=sys.stderr)
        return 1
    return 0


sys.exit(main())
