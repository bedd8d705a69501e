# SPDX-License-Identifier: Apache-2.0
"""The crate's own tests, each as a test of this suite."""

import os
import re
from pathlib import Path

import pytest

from netmap_testlib import Failure, run

KERNEL_TEST = os.environ.get("KERNEL_TEST")
TOOLS = Path(os.environ.get("PKT_GEN", "/")).parent


def nics(driver):
    """The interfaces of a driver."""
    devices = sorted(Path("/sys/class/net").glob("*/device"))
    return [d.parent.name for d in devices if (d / "driver").resolve().name == driver]


def pytest_generate_tests(metafunc):
    listed = run(KERNEL_TEST, "--list").splitlines() if KERNEL_TEST else []
    names = [line.removesuffix(": test") for line in listed if line.endswith(": test")]
    metafunc.parametrize("name", names)


def test_library(name):
    environment = {**os.environ, "PATH": f"{TOOLS}:{TOOLS.parent}/vale-ctl:{os.environ['PATH']}"}
    if Path("/sys/module/netmap/holders/e1000").exists():
        # For the test of native drivers.
        environment["NETMAP_TEST_IFS"] = " ".join(nics("e1000"))
    options = ["--nocapture", "--test-threads=1", "--exact", name]
    output = run("timeout", 300, KERNEL_TEST, *options, env=environment, check=False)
    print(output)
    if "test result: ok. 1 passed" not in output:
        panic = re.search(r"panicked at (.*\n.*)", output)
        raise Failure(panic[1] if panic else output[-200:])
    if skipped := re.search("skipped: (.*)", output):
        pytest.skip(skipped[1])
