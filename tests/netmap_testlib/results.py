# SPDX-License-Identifier: Apache-2.0
"""A plugin of pytest for a suite that runs in a VM.

One line a test, in RESULTS/results and on standard output: "ok NAME", "FAILED NAME: reason" or
"skipped NAME: reason".  TESTS, a regex, selects tests by their names.
"""

import contextlib
import os
import re
from pathlib import Path

import pytest

from .process import Failure, spawn, stop, wait_until

RESULTS = Path(os.environ.get("RESULTS", "."))
# What of the kernel's words is a fault.  A "Warning" of netmap's is none: it drops what is sent on a
# link that is down.
BAD = re.compile(
    "(?-i:WARNING)|BUG:|Oops|Call Trace|general protection|refcount|lockdep|hung task"
    "|NETDEV WATCHDOG|Tx Unit Hang",
    re.IGNORECASE,
)
# Each test, and what became of it so far.
outcomes = {}


def name_of(item):
    name = item.originalname.removeprefix("test_")
    return f"{name}_{item.callspec.id}" if hasattr(item, "callspec") else name


def select(items, files):
    """Keeps the tests that are wanted, in the order of their files."""
    wanted = re.compile(os.environ.get("TESTS") or ".")
    items[:] = [item for item in items if wanted.search(name_of(item))]
    items.sort(key=lambda item: files.index(item.path.stem.removeprefix("test_")))


def failed(item):
    """Whether the test failed; to be asked when it has run."""
    return outcomes[item.nodeid]["failed"] is not None


def pytest_configure():
    (RESULTS / "results").write_text("")


def pytest_sessionfinish(session, exitstatus):
    """Tests that fail have their lines.  The status only tells whether pytest came to its end."""
    if exitstatus in (pytest.ExitCode.TESTS_FAILED, pytest.ExitCode.NO_TESTS_COLLECTED):
        session.exitstatus = pytest.ExitCode.OK


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    outcome = outcomes.setdefault(item.nodeid, {"seconds": 0, "failed": None, "skipped": None})
    outcome["seconds"] += report.duration
    if report.failed and outcome["failed"] is None:
        outcome["failed"] = str(call.excinfo.value) or call.excinfo.typename
        log = [report.longreprtext, *(f"---- {title}\n{text}" for title, text in report.sections)]
        (RESULTS / f"test.{name_of(item)}.log").write_text("\n".join(log))
    elif report.skipped:
        outcome["skipped"] = str(call.excinfo.value)
    if report.when == "teardown":
        if outcome["failed"] is not None:
            with (RESULTS / f"test.{name_of(item)}.log").open("a") as log:
                print(*(text for title, text in report.sections if "teardown" in title), file=log)
        line = line_of(name_of(item), outcome, [text for _, text in item.user_properties])
        with (RESULTS / "results").open("a") as results:
            print(line, file=results)
        item.config.pluginmanager.getplugin("terminalreporter").write_line(line)


def line_of(name, outcome, notes):
    if outcome["failed"] is not None:
        return f"FAILED {name}: {' '.join(outcome['failed'].split())}"
    if outcome["skipped"] is not None:
        return f"skipped {name}: {outcome['skipped']}"
    remarks = [f"{outcome['seconds']:.0f} s", *notes]
    return f"ok {name} ({'; '.join(remarks)})"


def pytest_report_teststatus(report):
    """No dots, as each test has its line; and it counts once, not once a phase."""
    counts = report.when == "call" or not report.passed
    return report.outcome if counts else "", "", ""


@pytest.fixture
def note(record_property):
    """Adds a text to the line of a test that passes."""
    return lambda text: record_property("note", text)


class KernelLog:
    """A file with what the kernel says: its own buffer keeps only the end of that."""

    def __init__(self):
        self.log = RESULTS / "kernel.log"
        self.log.write_text("")
        self.follower = spawn("dmesg", "--follow-new", log=self.log)
        self.excused = []

    def __call__(self, what):
        """Waits until all that was said until now is in the file."""
        mark = f"netmap suite {os.getpid()} {what}"

        def arrived():
            # Again and again, as the kernel drops some of what programs write there.
            Path("/dev/kmsg").write_text(mark)
            return mark in self.log.read_text(errors="replace")

        wait_until(arrived, 120, f"dmesg to say {mark!r}", interval=1)

    @contextlib.contextmanager
    def excusing(self, text):
        """Lines with this text are no fault now."""
        self("excuses")
        begin = self.log.stat().st_size
        try:
            yield
        finally:
            self("excuses no more")
            lines = self.log.read_bytes()[begin:].decode(errors="replace").splitlines()
            self.excused += [line for line in lines if text in line]

    def check(self):
        """No warning in the whole run."""
        self("ends")
        text = self.log.read_text(errors="replace")
        bad = [line for line in text.splitlines() if BAD.search(line)]
        bad = [line for line in bad if line not in self.excused]
        if bad:
            raise Failure(bad[0])


@pytest.fixture(scope="session", autouse=True)
def kernel_log():
    """What the kernel says from now on."""
    log = KernelLog()
    log("starts")
    yield log
    stop(log.follower)
