# SPDX-License-Identifier: Apache-2.0
"""What went wrong in the soak, which goes on nevertheless."""

import sys
import time

from pyroute2 import NetlinkError

from netmap_testlib import Failure, wait_until

# Something is wrong for good; more of it would not say more.
MOST_ERRORS = 20


class Errors:
    """Counts errors, and tells of each when it happens."""

    def __init__(self):
        self.count = 0
        self.start = time.monotonic()

    @property
    def elapsed(self):
        """Seconds since the start."""
        return time.monotonic() - self.start

    def add(self, text):
        """An error."""
        self.count += 1
        print(f"soak: error after {self.elapsed:.0f} s: {text}", file=sys.stderr, flush=True)
        if self.count >= MOST_ERRORS:
            raise Failure(f"{self.count} errors")

    def attempt(self, function, *arguments, **options):
        """Calls it; a failure is an error, but not the end."""
        try:
            function(*arguments, **options)
        except (Failure, NetlinkError, OSError) as failure:
            self.add(f"{getattr(function, '__name__', function)} {arguments}: {failure}")

    def expect(self, condition, seconds, text):
        """An error unless condition() becomes true in that time."""
        if not wait_until(condition, seconds):
            self.add(text() if callable(text) else text)
