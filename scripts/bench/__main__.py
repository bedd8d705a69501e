# SPDX-License-Identifier: Apache-2.0
"""make bench: what a packet costs on netmap ports, beside other ports and programs.

Prints each figure as it is measured, and once more at the end; build/bench/ has results.json, table.md
and plots.

  ONLY=veth,tcp        these cases only: pmd-loop flows library threads veth tcp latency ports
  BENCH_QUICK=1        two minutes, which show that it all works, without plots, the library alone, and
                       peers that would have to be built or fetched
  BENCH_PAIRS=5        how often new processes are started, or a longer measurement is repeated
  BENCH_SECONDS=3      measured time of each side, in short turns
  BENCH_CORE=N         the PMD threads' core (default: the last one)
  XSK_FWD=PATH         a program of xdp-project, as one more side of the case veth
"""

import contextlib
import importlib
import os
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import report
from netmap_testlib import Failure, run_program, say
from netmap_testlib.host import disable_ipv6
from netmap_testlib.switch import BUILD
from sides import RUN, cores, hugepages

CASES = ("pmd-loop", "flows", "library", "threads", "veth", "tcp", "latency", "ports")


@dataclass
class Settings:
    """How long to measure."""

    quick: bool
    pairs: int
    seconds: float

    @classmethod
    def from_environment(cls):
        quick = bool(os.environ.get("BENCH_QUICK"))
        settings = cls(
            quick,
            int(os.environ.get("BENCH_PAIRS") or (1 if quick else 5)),
            float(os.environ.get("BENCH_SECONDS") or (0.6 if quick else 3)),
        )
        if settings.pairs < 1 or settings.seconds <= 0:
            raise Failure("BENCH_PAIRS and BENCH_SECONDS: 1 or more")
        return settings

    def turns(self, seconds):
        """How many turns of so many seconds a side has."""
        return max(1, round(self.seconds / seconds))


def chosen(quick):
    wanted = os.environ.get("ONLY") or ""
    names = wanted.replace(",", " ").split() or [
        case for case in CASES if not (quick and case == "library")
    ]
    for name in names:
        if name not in CASES:
            raise Failure(f"ONLY={name}: there is no such case: {' '.join(CASES)}")
    return names


def machine():
    """What the figures are of."""
    text = Path("/proc/cpuinfo").read_text()
    models = [
        line.partition(": ")[2] for line in text.splitlines() if line.startswith("model name")
    ]
    return {
        "cpu": models[0] if models else platform.machine(),
        "cores": len(os.sched_getaffinity(0)),
        "kernel": platform.release(),
        "load": Path("/proc/loadavg").read_text().split()[0],
    }


def bench(settings, names):
    here = machine()
    main, pmd = cores()
    say(f"{here['cpu']}, {here['cores']} cores, Linux {here['kernel']}; PMD threads on core {pmd}")
    if main == pmd:
        say("only one core: the PMD threads share it with all else")
    if float(here["load"]) > 0.3 * here["cores"]:
        say(
            f"load average {here['load']}: others are at work here; go by the ratios and their spread"
        )
    figures = []
    with contextlib.ExitStack() as stack:
        if not settings.quick:
            stack.enter_context(hugepages())
        for name in names:
            say(name)
            case = importlib.import_module(f"cases.{name.replace('-', '_')}")
            for figure in case.figures(settings):
                print("\n".join(figure.lines()), flush=True)
                figures.append(figure)
    report.write(BUILD / "bench", figures, here)
    if not settings.quick:
        # A quick run goes without matplotlib.
        importlib.import_module("plots").write(BUILD / "bench", figures)
    say(f"results.json and table.md are in {BUILD / 'bench'}")
    for figure in figures:
        print("\n".join(figure.lines()))


def body():
    settings = Settings.from_environment()
    names = chosen(settings.quick)
    disable_ipv6()
    bench(settings, names)


sys.exit(run_program("bench", body, RUN))
