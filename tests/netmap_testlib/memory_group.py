# SPDX-License-Identifier: Apache-2.0
"""A memory control group, of version 1 or 2."""

import contextlib
import os
import tempfile
from pathlib import Path

from .process import CommandError, run


class MemoryGroup:
    """A group for as long as the `with` block lasts, for processes that are moved into it."""

    def __init__(self):
        self.top = self.group = None
        # Its limit and what it uses.
        self.limit_file = self.usage_file = None

    @classmethod
    def available(cls):
        """Whether this machine has such groups, and lets us make one."""
        try:
            with cls():
                return True
        except (OSError, CommandError):
            return False

    def __enter__(self):
        self.top = Path(tempfile.mkdtemp())
        try:
            self._mount()
            self.group.mkdir()
        except BaseException:
            self._unmount()
            raise
        return self

    def _mount(self):
        try:
            run("mount", "-t", "cgroup", "-o", "memory", "memory", self.top)
            limit, usage = "memory.limit_in_bytes", "memory.usage_in_bytes"
        except CommandError:
            run("mount", "-t", "cgroup2", "memory", self.top)
            limit, usage = "memory.max", "memory.current"
            (self.top / "cgroup.subtree_control").write_text("+memory")
        self.group = self.top / f"netmap-{os.getpid()}"
        self.limit_file, self.usage_file = self.group / limit, self.group / usage

    def __exit__(self, *_):
        for pid in (self.group / "cgroup.procs").read_text().split():
            # It may have ended.
            with contextlib.suppress(OSError):
                (self.top / "cgroup.procs").write_text(pid)
        self.group.rmdir()
        self._unmount()

    def _unmount(self):
        run("umount", self.top, check=False)
        self.top.rmdir()

    def add(self, pid):
        """Moves a process, all its threads, into the group.  What it has counts where it was."""
        (self.group / "cgroup.procs").write_text(str(pid))

    def leave(self, size):
        """Limits the group to so many bytes more than it has."""
        self.limit_file.write_text(str(int(self.usage_file.read_text()) + size))
