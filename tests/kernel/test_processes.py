# SPDX-License-Identifier: Apache-2.0
"""Threads and processes that change, end, and do harm."""

import contextlib
import os
import sys
import time
from pathlib import Path

import pytest
from pyroute2 import netns as namespaces
from rig import Rig, await_same, same

from netmap_testlib import CommandError, Failure, Switch, run, spawn, wait_until
from netmap_testlib.frames import FRAME
from netmap_testlib.host import disable_ipv6
from netmap_testlib.rig import IDLE


def test_pmd_cpu_mask_under_traffic(rig):
    if os.cpu_count() < 2:
        pytest.skip("one CPU")
    rig.two_ports()
    rig.receive("vale1:2")
    rig.pkt_gen("flood", "-i", "vale0:2", "-f", "tx", "-R", 1000, "-w", 1)
    for i in range(1, 13):
        rig.switch.config(pmd_cpu_mask=i % 3 + 1)
        before = rig.counter("p2", "tx")
        if not wait_until(lambda before=before: rig.counter("p2", "tx") > before + 200, 15):
            raise Failure(f"after change {i} of pmd-cpu-mask nothing is forwarded")
    rig.end_traffic()
    rig.switch.config(pmd_cpu_mask=None)
    rig.balanced()


def test_kill_9_and_restart(rig):
    rig.two_ports()
    rig.relay(500)
    rig.kill_and_restart()
    rig.flow("in_port=1,actions=output:2")
    same("error of p1", rig.switch.error("p1"), None)
    rig.relay(1000)
    rig.balanced()


def test_sigterm_gives_the_buffers_back(rig, region):
    """The region is another process's, too, and would lack the extra buffers."""
    rig.bridge()
    rig.port("p1", 1, "vale0:1@1")
    rig.port("p2", 2, "vale1:1@1")
    rig.flow("in_port=1,actions=output:2")
    rig.relay(500)
    rig.switch.vswitchd.terminate()
    rig.switch.vswitchd.wait()
    for device in ("br0", "ovs-netdev"):
        run("ip", "link", "del", device, check=False)
    region.check()
    rig.switch.start_vswitchd()
    wait_until(lambda: len(rig.switch.show().ports) == 2, 30, "both ports to be open again")
    rig.flow("in_port=1,actions=output:2")
    rig.relay(500)
    rig.balanced()


def test_module_unload_under_ports(rig):
    """The module cannot go while it is in use, and nobody notices the attempt."""
    rig.two_ports()
    rig.relay(500)
    if not Path("/sys/module/netmap/holders").is_dir():
        pytest.skip("netmap is not a module here")
    with pytest.raises(CommandError, match="in use"):
        run("rmmod", "netmap")
    rig.relay(500)
    rig.balanced()


def test_module_comes_later(rig, region):
    """A port that was added without the module opens when it is there."""
    module = os.environ.get("NETMAP_KO")
    if not module or not os.environ.get("IN_VM"):
        pytest.skip("the module is not ours to unload")
    if any(Path("/sys/module/netmap/holders").iterdir()):
        pytest.skip("network drivers use the module")
    region.release()
    run("rmmod", "netmap")
    try:
        rig.bridge()
        rig.switch.add_port("br0", "p1", "vale0:1", check=False)
        assert "/dev/netmap" in (rig.switch.error("p1") or ""), "the error does not say why"
    finally:
        run("insmod", module)
    wait_until(lambda: not rig.switch.error("p1"), 60, lambda: rig.switch.error("p1"))
    rig.flow("actions=drop")
    rig.send("vale0:2", 300)
    await_same("packets of p1", 300, lambda: rig.counter("p1", "rx"))
    rig.balanced()


@pytest.fixture
def second(rig, region):
    """A second switch, in a namespace of its own: each has a device "ovs-netdev"."""
    namespaces.create("s2")
    disable_ipv6("s2")
    run("ip", "link", "set", "lo", "up", netns="s2")
    config = {"netmap-engine": "kernel", **IDLE}
    with Switch(rig.switch.dir.parent / "second", netns="s2", other_config=config) as switch:
        second = Rig(switch)
        yield second
        print(switch.ctl("netmap/show"), *switch.log_lines()[-20:], sep="\n")
        second.end_traffic()
    namespaces.remove("s2")


@pytest.fixture
def fresh_region(region):
    """What a test leaves in region 1 is lost until all have left it."""
    yield region
    region.release()


@contextlib.contextmanager
def scribbling(rig, note, seconds):
    """Somebody writes rubbish into the rings of vale6:victim, which gets frames meanwhile."""
    rig.pkt_gen("flood", "-i", "vale6:2", "-f", "tx", "-R", 500, "-w", 1)
    log = rig.switch.dir / "scribble.out"
    log.write_text("")
    command = [sys.executable, "-m", "netmap_testlib.scribble", 1, "vale6:victim", seconds]
    scribbler = spawn(*command, log=log)
    wait_until(lambda: "Ready" in log.read_text(), 300, lambda: f"the scribbler: {log.read_text()}")
    yield
    same(f"status of the scribbler, which said {log.read_text()}", scribbler.wait(), 0)
    rig.end_traffic()
    assert rig.switch.alive, "the switch has died"
    note(log.read_text().split("\n", 1)[1].strip())
    bad = sum(
        count
        for port, name, count in rig.switch.show().counts()
        if port == "victim" and name in ("bad_index", "bad_length", "bad_ring")
    )
    assert bad > 0, "nothing bad was counted"
    note(f"{bad} counted as bad")


def gets_well(rig, note):
    """The victim gets well: once all slots have come by, nothing is lost any more."""
    rig.flow("in_port=1,actions=output:2,output:3")
    # The flood went on when the scribbler had gone, so that bad slots may be anywhere in the
    # receive ring: a round is more than its 1024 slots.
    frames = 1200

    def lost():
        before = rig.queue("victim", "rxq", "packets")
        rig.send("vale6:2", frames)
        time.sleep(2)
        rig.send("vale0:2", 300)
        return before + frames - rig.queue("victim", "rxq", "packets")

    losses = []
    wait_until(
        lambda: losses.append(lost()) or losses[-1] == 0,
        300,
        lambda: f"the victim still loses frames: {losses} of {frames}",
    )
    note(f"{losses} frames of {frames} lost afterwards")
    assert rig.switch.show().port("victim")["events"]["repaired_slots"] > 0
    assert any("named a buffer that is not the ring's" in line for line in rig.switch.log_lines())


def with_a_victim(rig):
    """Two ports, and a third one whose rings are to be scribbled on, all in region 1."""
    rig.bridge()
    rig.port("p1", 1, "vale0:1@1")
    rig.port("p2", 2, "vale1:1@1")
    rig.port("victim", 3, "vale6:victim@1")
    rig.flow("in_port=1,actions=output:2")
    rig.flow("in_port=3,actions=output:2,output:3")


def test_scribbled_rings_get_well(fresh_region, rig, note):
    """Nothing is lost any more once the scribbler has gone, and no frame is another one's."""
    with_a_victim(rig)
    rig.relay(300)
    with scribbling(rig, note, 20):
        pass
    gets_well(rig, note)
    rig.flow("in_port=3,actions=output:2")
    rig.carry("vale6:2@1", "vale1:2@1", 300, FRAME, FRAME)
    rig.carry("vale0:2@1", "vale1:2@1", 300, FRAME, FRAME)
    rig.balanced()


def test_scribbler_in_a_region_of_two_switches(fresh_region, rig, second, note):
    """Two switches in region 1, and somebody who writes rubbish into the rings of a port of the first
    one.  The first survives and counts it; the second one loses nothing."""
    with_a_victim(rig)
    second.bridge()
    second.port("p1", 1, "vale2:1@1")
    second.port("p2", 2, "vale3:1@1")
    second.flow("in_port=1,actions=output:2")
    rig.relay(300)
    second.relay(300, "vale2:2", "vale3:2")

    with scribbling(rig, note, 40):
        second.relay(500, "vale2:2", "vale3:2")
    assert second.switch.alive, "the second switch has died"
    # The rubbish may have named buffers in rings of p1's: the victim does not get them.
    rig.send("vale0:2", 300)
    await_same("packets of p1", 600, lambda: rig.queue("p1", "rxq", "packets"))
    same("bad indices of p1", rig.queue("p1", "rxq", "bad_index"), 0)

    gets_well(rig, note)
    rig.balanced()

    # What the module finds in the rings of the victim when it closes is lost until all leave the
    # region.
    rig.switch.del_port("victim")
    second.switch.vsctl("del-br", "br0")
    rig.switch.vsctl("del-br", "br0")
    fresh_region.release()
    wait_until(rig.empty, 10, lambda: f"something is left: {rig.switch.show().data}")
    fresh_region.hold()
    rig.bridge()
    rig.port("p1", 1, "vale0:1@1")
    rig.port("p2", 2, "vale1:1@1")
    rig.flow("in_port=1,actions=output:2")
    rig.relay(300)
    rig.balanced()
