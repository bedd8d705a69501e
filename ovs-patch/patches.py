# SPDX-License-Identifier: Apache-2.0
"""What "apply" and "series" know about this directory: the releases, the new
files, and how a patch of a series is put together."""

import hashlib
import math
import re
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent


def releases():
    """{"3.1": "bookworm", ...}: each release and its suite of Debian."""
    lines = (HERE / "releases").read_text().splitlines()
    return dict(line.split() for line in lines if line and line[0] != "#")


def series(release):
    """The patches for a release, in their order."""
    return sorted((HERE / release).glob("[0-9]*.patch"))


def new_files():
    """{path in an Open vSwitch tree: source}, for each file that is new there."""
    found = {}
    for directory in "lib", "tests", "Documentation":
        for source in sorted((HERE / directory).rglob("*")):
            if source.is_file():
                found[str(source.relative_to(HERE))] = source
    for source in sorted((ROOT / "tests").glob("system-netmap*.at")):
        found[f"tests/{source.name}"] = source
    found["m4/acinclude-netmap.m4"] = ROOT / "acinclude-netmap.m4"
    return found


class Diff:
    """The part of a patch that changes one file."""

    def __init__(self, text):
        self.text = text
        self.path = re.match(r"diff --git a/(\S+) b/", text)[1]
        self.is_new = "\n--- /dev/null\n" in text

    @classmethod
    def adding(cls, path, source):
        """Adds the file 'path' with the content of 'source'."""
        data = source.read_bytes()
        if not data.endswith(b"\n"):
            raise ValueError(f"{source} does not end with a new line")
        blob = hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()
        lines = data.decode().splitlines()
        return cls(
            f"diff --git a/{path} b/{path}\n"
            f"new file mode 100644\n"
            f"index {'0' * 12}..{blob[:12]}\n"
            f"--- /dev/null\n"
            f"+++ b/{path}\n"
            f"@@ -0,0 +1{f',{len(lines)}' if len(lines) > 1 else ''} @@\n"
            + "".join(f"+{line}\n" for line in lines)
        )

    def counts(self):
        """How many lines are added and removed."""
        body = self.text[self.text.index("\n@@ ") :]
        return (len(re.findall(r"^\+", body, re.M)), len(re.findall(r"^-", body, re.M)))


class Patch:
    """A patch as "git format-patch" writes it: a message, how much changes,
    the changes, and a signature."""

    NOTE = "SPDX-License-Identifier: Apache-2.0\n\n"

    def __init__(self, path):
        self.path = path
        text = path.read_text()
        head, rest = text.split("\n---\n", 1)
        # "git am" takes a folded header, but checkpatch.py does not.
        header, _, message = head.partition("\n\n")
        self.head = re.sub(r"\n[ \t]+", " ", header) + "\n\n" + message
        rest, _, self.signature = rest.rpartition("\n-- \n")
        parts = re.split(r"^(?=diff --git )", rest + "\n", flags=re.M)
        self.diffs = [Diff(part) for part in parts[1:]]

    def stat(self):
        counts = {diff.path: diff.counts() for diff in self.diffs}
        name_width = max(map(len, counts))
        most = max(map(sum, counts.values()))
        width = len(str(most))
        room = 72 - name_width - width
        scale = min(1, room / most)
        lines = [
            f" {path:{name_width}} | {added + removed:{width}} "
            + "+" * math.ceil(added * scale)
            + "-" * math.ceil(removed * scale)
            for path, (added, removed) in counts.items()
        ]
        total = f" {len(counts)} file{'s' * (len(counts) > 1)} changed"
        for i, (name, sign) in enumerate((("insertion", "+"), ("deletion", "-"))):
            n = sum(pair[i] for pair in counts.values())
            if n:
                total += f", {n} {name}{'s' * (n > 1)}({sign})"
        created = [f" create mode 100644 {diff.path}" for diff in self.diffs if diff.is_new]
        return "\n".join([*lines, total, *created]) + "\n\n"

    def __str__(self):
        changes = "".join(diff.text for diff in self.diffs)
        return f"{self.head}\n---\n{self.NOTE}{self.stat()}{changes}-- \n{self.signature}"


def hooks(release):
    """The changes to files that Open vSwitch has, as {path: text}."""
    found = {}
    for path in series(release):
        for diff in Patch(path).diffs:
            if not diff.is_new:
                found[diff.path] = found.get(diff.path, "") + diff.text
    return found
