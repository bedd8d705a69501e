# SPDX-License-Identifier: Apache-2.0
"""A suite of tests that a shell script has built all things for, and that runs in a VM: what the
script's Python part does."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from .process import Failure, finish_on_signals, say
from .steps import LOGS
from .switch import ROOT

RESULTS = Path(os.environ.get("RESULTS", "."))
# What every suite reads, and what scripts/lib.sh sets for all Python.
COMMON = ["BUILD", "LC_ALL", "OVS_TREE", "PATH", "RESULTS", "TESTS"]
COMMON += ["PYTHONPATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED"]


def setting(name):
    return os.environ.get(name, "")


def suite(name):
    """The command that is the suite in tests/NAME.  Its status is 0 if it came to its end."""
    options = "-q --no-header --no-summary -p no:cacheprovider -p netmap_testlib.results"
    return [sys.executable, "-m", "pytest", *options.split(), str(ROOT / "tests" / name)]


def script(*commands):
    """A shell script of commands that go on until one fails; its last status is in RESULTS/status."""
    joined = " && ".join(shlex.join(map(str, command)) for command in commands)
    return f"{joined}; echo $? >{shlex.quote(str(RESULTS))}/status\n"


def guest(commands, modules, handed_down=(), before=()):
    """What the VM runs as root: `modules` loaded, the lines `before`, and the commands."""
    exports = [f"export {key}={shlex.quote(setting(key))}" for key in (*COMMON, *handed_down)]
    lines = [
        *exports,
        "export IN_VM=1",
        "dmesg -n 1",
        "ip link set lo up",
        f"for module in {shlex.join(modules)}; do modprobe $module; done",
        *before,
        script(*commands),
    ]
    return "\n".join(lines)


def report(name):
    """Prints the results of the suite, and returns whether nothing failed."""
    results, status = RESULTS / "results", RESULTS / "status"
    lines = results.read_text().splitlines() if results.exists() else []
    if not status.exists() or status.read_text().strip() != "0":
        lines.append(f"FAILED suite: it did not come to its end; see {LOGS}/{name}.log")
    say(f"results; logs are in {RESULTS}")
    table = RESULTS / "traffic.txt"
    if table.exists():
        print(table.read_text(), end="")
    print(*lines, sep="\n")
    passed, failed, skipped = (
        sum(line.startswith(f"{word} ") for line in lines) for word in ("ok", "FAILED", "skipped")
    )
    print(f"{name}: {passed} passed, {failed} failed, {skipped} skipped")
    return failed == 0


def run_suite(name, body):
    """Runs `body`, which runs the suite; returns the exit status of the program."""
    finish_on_signals()
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir(parents=True)
    try:
        body()
    except Failure as failure:
        print(f"{name}: {failure}", file=sys.stderr)
    return 0 if report(name) else 1
