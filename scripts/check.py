# SPDX-License-Identifier: Apache-2.0
"""The steps of "make check"; check.sh tells of them."""

import os
import re
import subprocess
import sys
from xml.etree import ElementTree

from netmap_testlib import autotest, finish_on_signals
from netmap_testlib.steps import LOGS, SKIPPED, long_step
from netmap_testlib.switch import ROOT

HEADER = ROOT / "include/ovs_netmap.h"
TARGETS = ("x86_64-unknown-freebsd", "aarch64-unknown-linux-gnu")
# Tests of what differs between releases: packets and batches, threads, what programs print and how
# they exit.  One release runs all of them.
PER_RELEASE = ("actions", "add-del", "error", "fragments", "headers", "ping", "pmd", "show")
# Their seconds here are few; each script takes more.
FUZZ_SECONDS = os.environ.get("FUZZ_SECONDS") or "10"
HOSTILE_SECONDS = os.environ.get("HOSTILE_SECONDS") or "10"


class Check:
    """What passed, failed and was skipped.  Only steps whose names match `wanted` are run."""

    def __init__(self, wanted):
        self.wanted = re.compile(wanted)
        self.passed = self.failed = self.skipped = 0

    def failure(self, text):
        self.failed += 1
        print(f"FAILED: {text}", file=sys.stderr, flush=True)

    def skip(self, text):
        self.skipped += 1
        print(f"skipped: {text}", flush=True)

    def count(self, passed, failed, skipped):
        self.passed += passed
        self.failed += failed
        self.skipped += skipped

    def step(self, name, text, *command, **environment):
        """One step that passes or fails; what was not wanted counts as good."""
        if not self.wanted.search(name):
            return True
        status = long_step(name, text, *command, cwd=ROOT, env={**os.environ, **environment})
        if status not in (0, SKIPPED):
            self.failure(text)
            return False
        self.count(status == 0, 0, status == SKIPPED)
        return True

    def tests(self, name, text, *command, results, **environment):
        """A step with tests, each of which counts; results() returns how many passed, failed and were
        skipped, and prints what is worth a line."""
        if not self.wanted.search(name):
            return
        status = long_step(name, text, *command, cwd=ROOT, env={**os.environ, **environment})
        passed, failed, skipped = results()
        self.count(passed, failed, skipped)
        # Not a failed test but a failed build, or no tests at all.
        if failed == 0 and (status != 0 or passed == 0):
            self.failure(text)


def cargo_results():
    """Each line "test result:" is one test binary's count."""
    log = (LOGS / "cargo-test.log").read_text(errors="replace")
    for name in re.findall(r"^test (.*) \.\.\. ignored", log, re.MULTILINE):
        print(f"skipped: {name}")
    for name in re.findall(r"^test (.*) \.\.\. FAILED", log, re.MULTILINE):
        print(f"FAILED: {name}", file=sys.stderr)
    counts = re.findall(
        r"^test result:.* (\d+) passed; (\d+) failed; (\d+) ignored", log, re.MULTILINE
    )
    passed, failed, ignored = (
        (sum(map(int, column)) for column in zip(*counts, strict=True)) if counts else (0, 0, 0)
    )
    print(f"    {passed} passed, {failed} failed, {ignored} ignored", flush=True)
    return passed, failed, ignored


def rust(check):
    deny = 'build.rustdocflags=["-Dwarnings"]'
    check.step("fmt", "cargo fmt --check", "cargo", "fmt", "--check")
    check.step(
        "clippy",
        "cargo clippy, warnings denied",
        "cargo",
        "clippy",
        "--all-targets",
        "--all-features",
        "--",
        "-D",
        "warnings",
    )
    # The tests see more of the library than its users do: without them, what nobody uses is dead.
    check.step(
        "dead-code",
        "cargo clippy of the library alone",
        *("cargo", "clippy", "--lib", "--", "-D", "warnings"),
    )
    check.step("doc", "cargo doc, warnings denied", "cargo", "doc", "--no-deps", "--config", deny)
    check.step(
        "rust-version", "the oldest Rust that Cargo.toml promises", "scripts/check-rust-version.sh"
    )
    for tool in ("shellcheck", "ruff", "codespell"):
        check.step(tool, tool, "scripts/lint.sh", tool)
    check.tests(
        "cargo-test", "cargo test", "cargo", "test", "--no-fail-fast", results=cargo_results
    )
    check.skip("tests/kernel: they need netmap's module: make check-kernel")
    for target in TARGETS:
        check.step(
            f"target-{target}", f"cargo clippy for {target}", "scripts/check-targets.sh", target
        )
    check.step("arm64", "unit tests on arm64, under QEMU", "scripts/check-arm64.sh")
    check.step("models", "models of concurrency: pool and depot", "scripts/check-models.sh")
    check.step(
        "asan",
        f"AddressSanitizer: hostile rings for {HOSTILE_SECONDS} s, conservation",
        "scripts/check-asan.sh",
        HOSTILE_SECONDS=HOSTILE_SECONDS,
    )
    check.step("fuzz", f"fuzz targets, {FUZZ_SECONDS} s each", "scripts/fuzz.sh", FUZZ_SECONDS)


def library(check, header):
    """The library as C sees it.  Whether it builds; `header` is that of before cargo ran."""
    (ROOT / "build.rs").touch()  # The header is generated once more.
    if not check.step(
        "lib", "library: build and install into build/prefix", "scripts/build-lib.sh"
    ):
        check.skip("header, C ABI, install: the library does not build")
        return False
    before = LOGS / "ovs_netmap.h.before"
    before.write_bytes(header)
    check.step(
        "header",
        "include/ovs_netmap.h is what cbindgen makes of src/",
        "diff",
        "-u",
        before,
        HEADER,
    )
    for compiler in ("gcc", "clang"):
        check.step(
            f"c-abi-{compiler}", f"C ABI test with {compiler}", "scripts/check-c-abi.sh", compiler
        )
    check.step("valgrind", "C ABI test under valgrind", "scripts/check-valgrind.sh")
    check.step("install", "make install into a DESTDIR", "scripts/check-install.sh")
    return True


def build_ovs(check, release, *options):
    """Builds the tree, with what it says shown here.  Whether that succeeds."""
    if not check.wanted.search(f"ovs-{release}"):
        return True
    command = [ROOT / "scripts/build-ovs.sh", *options]
    if subprocess.run(command, env={**os.environ, "OVS": release}, check=False).returncode == 0:
        check.count(1, 0, 0)
        return True
    check.failure(f"OVS {release} {'without' if options else 'with'} netmap does not build")
    return False


def autotest_results(release):
    outcomes = autotest.finished(LOGS / f"system-tests-{release}.log")
    for result in outcomes:
        print(f"    {result.name:<60} {result.outcome}")
    names = [result.outcome for result in outcomes]
    return tuple(names.count(outcome) for outcome in ("ok", "FAILED", "skipped"))


def table_results():
    """Tests that pass on neither type of port, because the machine lacks something, say nothing and
    are skipped."""
    lines = (LOGS / "check-netmap.log").read_text(errors="replace").splitlines()
    last = (
        re.match(r"check-netmap:.* netmap_ok=(\d+) only_system=(\d+)", lines[-1]) if lines else None
    )
    if not last:
        return 0, 0, 0
    start = next(i for i, line in enumerate(lines) if line.startswith("logs: "))
    for line in lines[start + 1 :]:
        print(f"    {line}")
    header = next(i for i, line in enumerate(lines) if re.match("test .* system +netmap$", line))
    good, bad = int(last[1]), int(last[2])
    return good, bad, len(lines) - header - 2 - good - bad


def pytest_results(path):
    counts = {"ok": 0, "FAILED": 0, "skipped": 0}
    cases = ElementTree.parse(path).iter("testcase") if path.exists() else ()
    for case in cases:
        outcome = "ok"
        for child in case:
            outcome = {"failure": "FAILED", "error": "FAILED", "skipped": "skipped"}.get(
                child.tag, outcome
            )
        counts[outcome] += 1
        print(f"    {outcome} {case.get('classname')}.{case.get('name')}")
    return tuple(counts.values())


def open_vswitch(check, release, first, has_library):
    """What is the same in all releases is done with the first one only."""
    there = has_library and build_ovs(check, release)
    if not there:
        check.skip(f"OVS {release}: no netmap ports to test")
    keywords = ["netmap"] if first else [f"netmap,{word}" for word in PER_RELEASE]
    select = [argument for keyword in keywords for argument in ("-k", keyword)]
    if there and first:
        check.tests(
            "check-netmap",
            "OVS: make check-netmap, a part of it",
            "scripts/check-netmap.sh",
            "--quick",
            results=table_results,
            OVS=release,
        )
    if there:
        check.tests(
            f"system-tests-{release}",
            f"OVS {release}: make check-system-userspace TESTSUITEFLAGS='{' '.join(select)}'",
            "scripts/check-system.sh",
            *select,
            results=lambda: autotest_results(release),
            OVS=release,
        )
    if there and first:
        check.step(
            "freebsd",
            "OVS: the new files compile with FreeBSD's headers",
            "scripts/check-freebsd.sh",
            OVS=release,
        )
        check.step(
            "demo-ovn",
            "OVN on two chassis with netmap ports",
            "scripts/demo-ovn.sh",
            OVS=release,
        )
        # That it works: times are not judged.
        check.step(
            "bench",
            "make bench, its quick form",
            "scripts/drive.sh",
            "bench",
            OVS=release,
            BENCH_QUICK="1",
        )
    build_ovs(check, release, "--plain")
    if there:
        tests = "tests/system" if first else "tests/system/test_plain.py"
        path = LOGS / f"pytest-{release}.xml"
        path.unlink(missing_ok=True)
        check.tests(
            f"pytest-{release}",
            f"OVS {release}: pytest {tests}",
            "scripts/drive.sh",
            "pytest",
            f"--junitxml={path}",
            tests,
            results=lambda: pytest_results(path),
            OVS=release,
        )


def releases():
    """Those that there are patches for, or the one that was asked for."""
    if os.environ.get("ASKED_OVS") or os.environ.get("OVS_DIR"):
        return [os.environ["OVS"]]
    lines = (ROOT / "ovs-patch/releases").read_text().splitlines()
    return [line.split()[0] for line in lines if line and not line.startswith("#")]


def main():
    finish_on_signals()
    LOGS.mkdir(parents=True, exist_ok=True)
    check = Check(os.environ.get("STEPS") or ".")
    # Before cargo runs for the first time: its build script writes the header.
    header = HEADER.read_bytes() if HEADER.exists() else b""
    rust(check)
    has_library = library(check, header)
    wanted = releases()
    if not os.environ.get("OVS_DIR"):
        check.step(
            "series",
            "OVS: the patch series are up to date, git am, checkpatch.py",
            "ovs-patch/series",
            "check",
            *wanted,
        )
    for i, release in enumerate(wanted):
        open_vswitch(check, release, i == 0, has_library)
    if check.failed:
        print(f"logs are in {LOGS}")
    print(f"{check.passed} passed, {check.failed} failed, {check.skipped} skipped")
    return 1 if check.failed else 0


sys.exit(main())
