# SPDX-License-Identifier: Apache-2.0
"""The kernel engine and Open vSwitch on the real netmap module.  scripts/check-kernel.sh sets it up,
and says what is in the environment:

  OVS_TREE      a built OVS tree          KERNEL_TEST   the test binary of tests/kernel/*.rs
  PKT_GEN       netmap's pkt-gen          TESTS         only tests whose names match (a regex)
  RESULTS       a directory for results   IN_VM         the machine is ours: the module may go

One line a test, in RESULTS/results and on standard output: "ok NAME", "FAILED NAME: reason" or
"skipped NAME: reason".
"""

import os
import re
import shutil
import tempfile
from pathlib import Path

import pytest
from rig import HeldRegion, Rig

from netmap_testlib import Switch, spawn, stop, wait_until

RESULTS = Path(os.environ.get("RESULTS", "."))
# In this order: the last ones look at what the others left.
FILES = (
    "library",
    "vale",
    "pipes",
    "interfaces",
    "links",
    "buffers",
    "processes",
    "flipper",
    "timing",
    "end",
)
# Each test, and what became of it so far.
outcomes = {}


def pytest_configure(config):
    if not Path("/dev/netmap").exists():
        pytest.exit("there is no /dev/netmap: scripts/check-kernel.sh starts these tests", 77)
    (RESULTS / "results").write_text("")
    config.kernel_switch = None


def name_of(item):
    name = item.originalname.removeprefix("test_")
    return f"{name}_{item.callspec.id}" if hasattr(item, "callspec") else name


def pytest_collection_modifyitems(items):
    wanted = re.compile(os.environ.get("TESTS") or ".")
    items[:] = [item for item in items if wanted.search(name_of(item))]
    items.sort(key=lambda item: FILES.index(item.path.stem.removeprefix("test_")))


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
    """No dots: each test has its line."""
    return report.outcome, "", ""


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

    def __call__(self, what):
        """Waits until all that was said until now is in the file."""
        mark = f"netmap suite {os.getpid()} {what}"

        def arrived():
            # Again and again, as the kernel drops some of what programs write there.
            Path("/dev/kmsg").write_text(mark)
            return mark in self.log.read_text(errors="replace")

        wait_until(arrived, 120, f"dmesg to say {mark!r}", interval=1)


@pytest.fixture(scope="session", autouse=True)
def kernel_log():
    """What the kernel says from now on."""
    log = KernelLog()
    log("starts")
    yield log
    stop(log.follower)


@pytest.fixture(scope="session")
def region():
    region = HeldRegion()
    yield region
    region.release()


@pytest.fixture(scope="session")
def switch(region):
    # Not below RESULTS: there can be no socket on the file system that a VM shares.
    run_dir = Path(tempfile.mkdtemp(prefix="netmap-suite.", dir="/tmp"))
    with Switch(run_dir / "switch", other_config={"netmap-engine": "kernel"}) as switch:
        yield switch
    region.release()
    for log in (*switch.dir.glob("*.log"), *switch.dir.glob("*.out")):
        shutil.copy(log, RESULTS)
    shutil.rmtree(run_dir)


@pytest.fixture
def rig(switch, region, request):
    """A switch without ports; afterwards it is so again, and nothing is lost."""
    if not switch.alive:
        switch.start_vswitchd()
    region.hold()
    rig = Rig(switch)
    yield rig
    if outcomes[request.node.nodeid]["failed"] is not None:
        if switch.alive:
            print(switch.ctl("netmap/show"))
        print(*switch.log_lines()[-20:], sep="\n")
    rig.clear()
    region.check()
