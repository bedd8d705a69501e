#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Compares the C interface with the record of it, tests/abi-NUMBER.txt.

The record has each exported symbol with its version, each prototype, and the
size, alignment and members of each struct.  Old programs depend on all of it.
What was released under a number (CHANGELOG.md says so) stays as it is; there
may only be more.  Anything else needs a new number: src/ffi/abi.rs."""

import argparse
import difflib
import os
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parent.parent


def run(*command):
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def squeeze(text):
    return re.sub(r"\s+", " ", text).strip()


def symbols(library):
    """Exported symbols, as name@@version."""
    lines = run("nm", "-D", "--defined-only", library).splitlines()
    versions = [line.split() for line in lines]
    # The versions themselves are absolute symbols.
    return sorted(f"symbol {v[2]}" for v in versions if v[1] != "A")


def member_name(declaration):
    """'uint8_t mac[6]' -> mac, 'void (*log)(int level)' -> log."""
    pointer = re.search(r"\(\*(\w+)\)", declaration)
    return (pointer or re.search(r"(\w+)(?:\[\w+\])?$", declaration)).group(1)


def layouts(code, include):
    """Sizes, alignments and offsets, as the compiler has them."""
    lines = ["#include <ovs_netmap.h>", "#include <stdio.h>", "int main(void) {"]

    def show(text, *values):
        values = "".join(f", (size_t) ({value})" for value in values)
        lines.append(f'printf("{text}\\n"{values});')

    for kind, name, body in re.findall(r"(struct|enum) (\w+) \{(.*?)\};", code):
        if kind == "enum":
            for value in re.findall(r"\w+(?= =)", body):
                show(f"enum {name} {value} %zu", value)
            continue
        show(
            f"struct {name} size %zu align %zu",
            f"sizeof(struct {name})",
            f"_Alignof(struct {name})",
        )
        for declaration in filter(None, map(squeeze, body.split(";"))):
            member = member_name(declaration)
            show(
                f"struct {name} %zu %zu {declaration}",
                f"offsetof(struct {name}, {member})",
                f"sizeof(((struct {name} *) 0)->{member})",
            )
    lines.append("return 0; }")
    with tempfile.TemporaryDirectory() as directory:
        source = pathlib.Path(directory, "layout.c")
        source.write_text("\n".join(lines))
        program = source.with_suffix("")
        run(os.environ.get("CC", "cc"), f"-I{include}", str(source), "-o", str(program))
        return run(str(program)).splitlines()


def make_record(prefix):
    include, library = prefix / "include", prefix / "lib/libovs_netmap.so"
    text = (include / "ovs_netmap.h").read_text()
    code = re.sub(r"/\*.*?\*/", "", text, flags=re.S)
    number = int(re.search(r"#define OVS_NETMAP_ABI (\d+)", code).group(1))
    code = squeeze(re.sub(r"^ *#.*$", "", code, flags=re.M))
    typedefs = re.findall(r"typedef .*?;", code)
    functions = re.findall(r"(?<=[;{] )[\w *]+\w\([^()]*\);", code.split('extern "C"')[1])
    return number, (symbols(str(library)) + sorted(functions) + typedefs + layouts(code, include))


def releases():
    """Version, number and date of each release in CHANGELOG.md."""
    text = (ROOT / "CHANGELOG.md").read_text()
    return re.findall(r"^## (\S+), ABI (\d+), (.*)$", text, flags=re.M)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("prefix", type=pathlib.Path, help="where the library was installed to")
    parser.add_argument(
        "--update", action="store_true", help="write the record anew, if that is allowed"
    )
    args = parser.parse_args()

    number, record = make_record(args.prefix)
    version = re.search(r'^version = "(.*)"', (ROOT / "Cargo.toml").read_text(), flags=re.M).group(
        1
    )
    latest = releases()[0]
    if latest[:2] != (version, str(number)):
        sys.exit(
            f"CHANGELOG.md begins with {latest[0]}, ABI {latest[1]}; "
            f"Cargo.toml has {version}, src/ffi/abi.rs {number}: a new "
            "version or number needs an entry of its own"
        )

    path = ROOT / f"tests/abi-{number}.txt"
    old = path.read_text().splitlines() if path.exists() else []
    if old == record:
        print(f"ABI {number}: {len(record)} lines, as recorded")
        return
    name = path.relative_to(ROOT)
    print("\n".join(difflib.unified_diff(old, record, str(name), "now", lineterm="", n=0)))
    released = any(n == str(number) and date != "unreleased" for _, n, date in releases())
    if released and set(old) - set(record):
        sys.exit(
            f"what ABI {number} had in a release is not there any more: "
            "another number is due, and another minor version while the "
            "major is 0 (src/ffi/abi.rs, Cargo.toml, CHANGELOG.md)"
        )
    if not args.update:
        sys.exit(
            f"the C interface is not what {name} says: if that is "
            f"wanted, run scripts/abi_record.py {args.prefix} --update "
            "and say in CHANGELOG.md what changed"
        )
    path.write_text("\n".join(record) + "\n")
    print(f"{name} written")


if __name__ == "__main__":
    main()
