# SPDX-License-Identifier: Apache-2.0
"""traffic.py: OVS's own datapath tests on ports of the type "system" and on netmap ports with the
module, as scripts/check-netmap.sh has them without it.  In turns, a few at a time, as far as
TRAFFIC_LIMIT seconds go.  TRAFFIC is 1 for all tests, or numbers and keywords as the test suites take
them ("1-20 25", "-k vxlan").

The table is in RESULTS/traffic.txt, one line more in RESULTS/results.
"""

import os
import re
import shlex
import shutil
import sys
import tempfile
import time
from pathlib import Path

from netmap_testlib import finish_on_signals, ovs_tree, run
from netmap_testlib.autotest import KINDS, Table, finished, missed

RESULTS = Path(os.environ["RESULTS"])
TESTS = ovs_tree() / "tests"
SUITES = {"system": "userspace", "netmap": "netmap"}
AT_A_TIME = 2


def suite(kind, *arguments, before=(), **options):
    """Runs a suite; its failures are in what it prints."""
    path = "AUTOTEST_PATH=utilities:vswitchd:ovsdb:vtep:tests:ipsec:"
    program = f"tests/system-{SUITES[kind]}-testsuite"
    return run(
        *before,
        "sh",
        program,
        "-C",
        "tests",
        path,
        *arguments,
        cwd=TESTS.parent,
        check=False,
        **options,
    )


def run_some(log, kind, numbers):
    """Runs these tests, and keeps their own logs with the results."""
    if not numbers:
        return
    isolated = [
        "setpriv",
        "--pdeathsig",
        "KILL",
        "unshare",
        "--pid",
        "--fork",
        "--kill-child",
        "--mount-proc",
        "--",
    ]
    output = suite(kind, *numbers, before=["timeout", "-k", 5, 180 * len(numbers), *isolated])
    with log.open("a") as file:
        file.write(output)
    name = f"system-{SUITES[kind]}-testsuite"
    for number in numbers:
        own = TESTS / f"{name}.dir" / f"{int(number):03}" / f"{name}.log"
        if own.exists():
            shutil.copy(own, RESULTS / f"traffic-{log.stem}-{number}.log")


def prepare(scratch):
    """The tests leave much behind and use sockets where they run: not in the tree."""
    run("mount", "-t", "tmpfs", "tmpfs", scratch)
    for part in ("upper", "work"):
        (scratch / part).mkdir()
    run(
        "mount",
        "-t",
        "overlay",
        "overlay",
        "-o",
        f"lowerdir={TESTS},upperdir={scratch}/upper,workdir={scratch}/work",
        TESTS,
    )
    # Where everything is slow, nothing hangs yet after the usual 30 seconds.
    atlocal = TESTS / "atlocal"
    patient = re.sub("^OVS_CTL_TIMEOUT=.*", "OVS_CTL_TIMEOUT=120", atlocal.read_text(), flags=re.M)
    atlocal.write_text(patient)


def traffic(scratch):
    limit = int(os.environ.get("TRAFFIC_LIMIT") or 3000)
    wanted = shlex.split(os.environ.get("TRAFFIC", "1"))
    # The tests of tests/system-netmap*.at choose their port types themselves.
    flags = ["-k", "!netmap"] if wanted == ["1"] else wanted
    numbers = re.findall(r"^ *(\d+): ", suite("system", "--list", *flags), re.MULTILINE)
    logs = {kind: scratch / f"{kind}.log" for kind in KINDS}
    start, done = time.monotonic(), 0
    while done < len(numbers) and time.monotonic() - start < limit:
        some = numbers[done : done + AT_A_TIME]
        for kind in KINDS:
            run_some(logs[kind], kind, some)
        done += len(some)
        print(f"    ... {time.monotonic() - start:.0f} s, {done} of {len(numbers)} tests")

    table = Table()
    results = {kind: finished(logs[kind]) for kind in KINDS}
    for kind in KINDS:
        table.add(kind, results[kind])
    for kind, other in (KINDS, reversed(KINDS)):
        again = scratch / f"{kind}-again.log"
        run_some(again, kind, missed(results[kind], results[other]))
        table.add(kind, finished(again))
    report(table, done, len(numbers))


def report(table, done, total):
    lines = list(table.lines("traffic"))
    (RESULTS / "traffic.txt").write_text("\n".join(lines) + "\n")
    counts = table.counts()
    sums = " ".join(f"{key}={count}" for key, count in counts.items())
    text = f"OVS's own tests, {done} of {total}, {sums}"
    good = counts["netmap_ok"] > 0 and counts["only_system"] == 0
    line = f"ok traffic ({text})" if good else f"FAILED traffic: {text}"
    print(line)
    with (RESULTS / "results").open("a") as file:
        print(line, file=file)


def main():
    finish_on_signals()
    if not Path("/dev/netmap").exists():
        sys.exit("there is no /dev/netmap")
    scratch = Path(tempfile.mkdtemp(prefix="netmap-traffic.", dir="/tmp"))
    try:
        prepare(scratch)
        traffic(scratch)
    finally:
        for log in scratch.glob("*.log"):
            shutil.copy(log, RESULTS)
        run("umount", TESTS, check=False)
        run("umount", scratch, check=False)
        scratch.rmdir()


main()
