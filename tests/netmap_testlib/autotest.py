# SPDX-License-Identifier: Apache-2.0
"""Results of OVS's own datapath tests, which GNU Autotest runs, on ports of the type "system" and
on netmap ports, side by side."""

import re
from dataclasses import dataclass
from pathlib import Path

# "  12: datapath - ping between two ports          ok", or "skipped (system-traffic.at:30)".
FINISHED = re.compile(
    r" *(\d+): (.*\S) +(ok|FAILED|skipped|expected failure|unexpected pass)(?: .*)?$"
)
# What --list says: " 12: system-traffic.at:30   datapath - ping between two ports", then keywords.
LISTED = re.compile(r" *(\d+): \S+ +(.*\S)")

KINDS = ("system", "netmap")


@dataclass
class Result:
    """How one test ended."""

    number: str
    name: str
    outcome: str

    @property
    def ok(self):
        return self.outcome == "ok"


def finished(log):
    """A Result for each test that has ended, in the log of a run; there may be no log."""
    path = Path(log)
    lines = path.read_text(errors="replace").splitlines() if path.exists() else []
    return [Result(*match.groups()) for line in lines if (match := FINISHED.match(line))]


def numbers(listing, names):
    """The numbers of the tests with these names, and the names that there are not."""
    known = {}
    for line in listing.splitlines():
        if match := LISTED.match(line):
            known.setdefault(match[2], []).append(match[1])
    missing = [name for name in names if name not in known]
    return [number for name in names for number in known.get(name, ())], missing


def missed(results, others):
    """The numbers of the tests that pass in `others` only."""
    passed = {result.name for result in results if result.ok}
    return sorted({o.number for o in others if o.ok and o.name not in passed}, key=int)


class Table:
    """Both types' results by test.  What ran twice counts as the second run has it."""

    def __init__(self):
        self.outcomes = {kind: {} for kind in KINDS}
        self.names = {}
        self.twice = []

    def add(self, kind, results):
        """The results of one run."""
        outcomes = self.outcomes[kind]
        for result in results:
            self.names[result.name] = None
            if result.name in outcomes:
                self.twice.append(
                    f"run twice on {kind}: {result.name}: {outcomes[result.name]}, "
                    f"then {result.outcome}"
                )
            outcomes[result.name] = result.outcome

    def counts(self):
        """How many pass by type, and with one type only."""
        ok = {kind: {n for n, o in self.outcomes[kind].items() if o == "ok"} for kind in KINDS}
        system, netmap = ok["system"], ok["netmap"]
        return {
            "system_ok": len(system),
            "netmap_ok": len(netmap),
            "only_system": len(system - netmap),
            "only_netmap": len(netmap - system),
        }

    def lines(self, name):
        """The table; its last line is "NAME: " with all counts."""
        row = "{:<75} {:<8} {}".format
        yield from self.twice
        yield row("test", *KINDS)
        for test in self.names:
            yield row(test, *(self.outcomes[kind].get(test, "not run") for kind in KINDS))
        yield f"{name}: " + " ".join(f"{key}={count}" for key, count in self.counts().items())
