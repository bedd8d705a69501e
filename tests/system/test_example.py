# SPDX-License-Identifier: Apache-2.0
"""The programs in examples/."""

import json

import pytest

from netmap_testlib import run, spawn, stop, wait_until
from netmap_testlib.switch import ROOT


@pytest.fixture(scope="module")
def forward():
    """The program that forwards between two ports."""
    command = ["cargo", "build", "--offline", "--example", "forward", "--message-format=json"]
    messages = map(json.loads, run(*command, cwd=ROOT).splitlines())
    artifacts = [m for m in messages if m["reason"] == "compiler-artifact"]
    return next(a["executable"] for a in artifacts if a["target"]["name"] == "forward")


def test_forward_connects_two_hosts(forward, run_dir, make_host):
    h1, h2 = (make_host(f"h{n}", wire=f"p{n}", address=f"10.0.0.{n}/24") for n in (1, 2))
    run_dir.mkdir(parents=True, exist_ok=True)
    log = run_dir / "forward.out"
    log.write_text("")
    program = spawn(forward, "p1", "p2", log=log)
    try:
        wait_until(lambda: "p2: " in log.read_text(), 20, lambda: f"forward: {log.read_text()}")
        wait_until(lambda: h1.reaches("10.0.0.2"), 10, "a ping to get through")
        assert h2.ping("10.0.0.1", 20, 0.02).received == 20
    finally:
        stop(program)


def test_forward_ends_after_so_many_packets(forward):
    assert run(forward, "null:0", "null:1", "--packets", 100000).endswith("packets\n")


def test_forward_says_why_a_port_does_not_open(forward):
    assert "no interface named" in run(forward, "nosuch", "null:1", check=False)
