# SPDX-License-Identifier: Apache-2.0
"""Steps that take long: each with its output in a log, and a word now and then about how far it is."""

import subprocess
import sys
import threading
import time

from .process import Failure, say
from .switch import BUILD, ROOT

LOGS = BUILD / "log"
# What a script ends with that says "skipped: " and why.
SKIPPED = 77


def long_step(name, text, *command, **options):
    """Runs a command with its output in build/log/NAME.log, and returns its status.

    Says what is going on, again every 15 seconds, how long it took, and the log's tail when it fails.
    The other options are those of subprocess.Popen().
    """
    LOGS.mkdir(parents=True, exist_ok=True)
    log = LOGS / f"{name}.log"
    shown = log.relative_to(ROOT) if log.is_relative_to(ROOT) else log
    say(text)
    start = time.monotonic()
    ended = threading.Event()

    def tick():
        while not ended.wait(15):
            lines = log.read_text(errors="replace").count("\n")
            print(f"    ... {time.monotonic() - start:.0f} s, {lines} lines in {shown}", flush=True)

    ticker = threading.Thread(target=tick, daemon=True)
    with log.open("w") as output:
        process = subprocess.Popen(
            ["setpriv", "--pdeathsig", "TERM", "--", *map(str, command)],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            **options,
        )
        ticker.start()
        status = process.wait()
    ended.set()
    ticker.join()
    lines = log.read_text(errors="replace").splitlines()
    if status == 0:
        print(f"    done in {time.monotonic() - start:.0f} s", flush=True)
    elif status == SKIPPED:
        print(*[line for line in lines if line.startswith("skipped: ")], sep="\n", flush=True)
    else:
        print(*[f"    | {line}" for line in lines[-30:]], sep="\n", file=sys.stderr)
        print(f"    FAILED with status {status}; all of it: {log}", file=sys.stderr, flush=True)
    return status


def must(name, text, *command, **options):
    """As long_step(), and Failure if it fails."""
    if status := long_step(name, text, *command, **options):
        raise Failure(f"{text}: status {status}")
