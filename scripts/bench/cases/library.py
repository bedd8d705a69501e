# SPDX-License-Identifier: Apache-2.0
"""The library alone (benches/forward.rs): receive, send and free beside a bare loop that does nothing
but exchange the indices of slots, in ticks of the time stamp counter."""

import re

from netmap_testlib import Failure, run
from netmap_testlib.switch import ROOT
from turns import Figure


def figures(settings):
    figure = Figure("library", {}, "ticks/packet")
    for _ in range(settings.pairs):
        text = run("cargo", "bench", "--offline", "--bench", "forward", cwd=ROOT)
        best = re.search(
            r"^at best: library ([\d.]+) ticks a packet, bare swap ([\d.]+)", text, re.M
        )
        if not best:
            raise Failure(f"cargo bench: no result in {text[-500:]!r}")
        figure.add("library", best[1])
        figure.add("bare-swap", best[2])
    yield figure
