# SPDX-License-Identifier: Apache-2.0
"""A suite that a shell script has built all things for, and that runs in a VM by "SCRIPT --suite":
what the script's Python part does."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from .process import Failure, finish_on_signals, say
from .steps import LOGS
from .switch import ROOT

RESULTS = Path(os.environ.get("RESULTS", "."))
# What every suite reads.
COMMON = ("BUILD", "PATH", "OVS", "OVS_DIR", "TESTS")


def setting(name):
    return os.environ.get(name, "")


def suite(name):
    """The command that is the suite `name`, which is in its file's name."""
    return [str(ROOT / f"scripts/{name}.sh"), "--suite"]


def guest(name, modules, handed_down=(), before=()):
    """What the VM runs as root: `modules` loaded, the lines `before`, and the suite."""
    exports = [f"export {key}={shlex.quote(setting(key))}" for key in (*COMMON, *handed_down)]
    lines = [
        *exports,
        "export IN_VM=1",
        "dmesg -n 1",
        f"for module in {shlex.join(modules)}; do modprobe $module; done",
        *before,
        shlex.join(suite(name)),
        f"echo $? >{shlex.quote(str(RESULTS))}/status",
    ]
    return "\n".join(lines) + "\n"


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
