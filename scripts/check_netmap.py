# SPDX-License-Identifier: Apache-2.0
"""check_netmap.py [--tso] [--quick | TESTSUITEFLAGS...]: the suites of check-netmap.sh."""

import os
import shlex
import sys
import time

from netmap_testlib import Failure, ovs_tree, run, run_program, say, spawn
from netmap_testlib.autotest import KINDS, Table, finished, missed, numbers
from netmap_testlib.switch import BUILD, ROOT

# Tests that stand for the rest.
QUICK = (
    "datapath - ping between two ports",
    "datapath - http between two ports",
    "datapath - ping between two ports on vlan",
    "datapath - ping6 between two ports with header modify",
    "datapath - ping over vxlan tunnel",
    "datapath - ping vlan over vxlan tunnel",
    "datapath - clone action",
    "datapath - mpls actions",
    "datapath - basic truncate action",
    "conntrack - controller",
    "conntrack - IPv4 ping",
    "conntrack - IPv4 fragmentation",
    "conntrack - IPv6 fragmentation + vlan",
    "conntrack - IPv4 HTTP",
    "conntrack - simple SNAT",
    "nsh - forward",
)
# What each suite is called in OVS.
TARGETS = {"system": "check-system-userspace", "netmap": "check-netmap"}
TSO_TARGETS = {"system": "check-system-tso", "netmap": "check-netmap-tso"}
LOGS = BUILD / "log"
TSO = sys.argv[1:2] == ["--tso"]
NAME = "check-netmap-tso" if TSO else "check-netmap"


def log_of(suite):
    return LOGS / f"{NAME}-{suite}.log"


class Run:
    """One suite, in the background.

    It is in a process namespace, too, which ends with the suite, with the time-out, and with this
    program: no daemon of a test is left.
    """

    def __init__(self, suite, flags, limit):
        self.suite = suite
        self.limit = limit
        target = (TSO_TARGETS if TSO else TARGETS)[suite.removesuffix("-again")]
        say(f"OVS: {target} TESTSUITEFLAGS='{' '.join(flags)}'")
        log_of(suite).write_text("")
        dies = ["setpriv", "--pdeathsig", "KILL"]
        isolated = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--"]
        environment = {key: value for key, value in os.environ.items() if key != "TESTS"}
        self.process = spawn(
            *["timeout", "-s", "KILL", limit, *dies, *isolated],
            ROOT / "scripts/check-system.sh",
            *flags,
            log=log_of(suite),
            env={**environment, "TARGET": target},
        )

    @property
    def complete(self):
        """Whether it was not ended; failed tests make a status of 1 or 2, as make has it."""
        if 0 <= self.process.returncode < 124:
            return True
        say(f'the suite "{self.suite}" was ended after {self.limit} s')
        return False


def run_suites(suites, flags, limit):
    """Runs them at once, and says every half minute how far they are.  Whether all are complete."""
    start = time.monotonic()
    runs = [Run(suite, flags, limit) for suite in suites]
    next_report = 30
    while any(r.process.poll() is None for r in runs):
        time.sleep(0.1)
        if time.monotonic() - start > next_report:
            done = (f", {suite}: {len(finished(log_of(suite)))} tests" for suite in suites)
            print(f"    ... {next_report} s{''.join(done)}", flush=True)
            next_report += 30
    complete = [r.complete for r in runs]
    print(f"    done in {time.monotonic() - start:.0f} s", flush=True)
    return all(complete)


def selected(arguments, tree):
    """What is to be run, as TESTSUITEFLAGS."""
    if arguments == ["--quick"]:
        suite = tree / f"tests/system-{'tso' if TSO else 'userspace'}-testsuite"
        flags, missing = numbers(run("sh", suite, "-C", tree / "tests", "--list"), QUICK)
        for name in missing:
            say(f'this OVS has no test "{name}"')
        return flags
    # The tests of tests/system-netmap.at choose their port types themselves.
    return arguments or shlex.split(os.environ.get("TESTS", "")) or ["-k", "!netmap"]


def check(arguments):
    limit = int(os.environ.get("LIMIT") or (600 if arguments == ["--quick"] else 2700))
    serial = os.environ.get("SERIAL") or len(os.sched_getaffinity(0)) < 4
    flags = selected(arguments, ovs_tree())
    LOGS.mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        log_of(f"{kind}-again").unlink(missing_ok=True)

    batches = [[kind] for kind in KINDS] if serial else [list(KINDS)]
    complete = True
    for batch in batches:
        complete = run_suites(batch, flags, limit) and complete
    results = {kind: finished(log_of(kind)) for kind in KINDS}
    if not results["system"]:
        tail = log_of("system").read_text(errors="replace").splitlines()[-30:]
        raise Failure("\n".join([f"the system suite ran no test, see {log_of('system')}", *tail]))

    table = Table()
    for kind in KINDS:
        table.add(kind, results[kind])
    # What passes on the ports of one type only is run once more on the others.
    for kind, other in (KINDS, reversed(KINDS)):
        again = missed(results[kind], results[other])
        if complete and again:
            complete = run_suites([f"{kind}-again"], again, limit)
            table.add(kind, finished(log_of(f"{kind}-again")))

    print(f"logs: {log_of('*')}")
    lines = list(table.lines(NAME))
    (LOGS / f"{NAME}.txt").write_text("\n".join(lines) + "\n")
    print(*lines, sep="\n")
    return complete and table.counts()["only_system"] == 0


sys.exit(run_program(NAME, lambda: check(sys.argv[2 if TSO else 1 :])))
