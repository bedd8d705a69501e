# SPDX-License-Identifier: Apache-2.0
"""check_kernel.py: runs tests/kernel in a VM, or here, and says what came out.  What is in the
environment is told in check-kernel.sh, which has built all that this needs."""

import os
import shlex
import sys
from pathlib import Path

from netmap_testlib import say
from netmap_testlib.switch import ROOT
from netmap_testlib.vm import Vm
from netmap_testlib.vm_suite import RESULTS, guest, run_suite, script, setting, suite

NAME = "check-kernel"
# What the suite reads.
HANDED_DOWN = ("KERNEL_TEST", "NETMAP_KO", "PKT_GEN", "TRAFFIC", "TRAFFIC_LIMIT")
# Two cards of a kind on one wire.
CARDS = [(0, "e1000", 1)] * 2 + [(1, "virtio-net-pci", 1)] * 2


def commands():
    traffic = [sys.executable, ROOT / "tests/kernel/traffic.py"]
    return [suite("kernel"), *([traffic] if setting("TRAFFIC") else [])]


def drivers():
    """Netmap's own network drivers, modules to be loaded instead of the kernel's."""
    path = Path(setting("NETMAP_DRIVERS"))
    if path.is_dir() and setting("NETMAP_DRIVERS"):
        return sorted(module for module in path.rglob("*.ko") if module.name != "netmap.ko")
    return [path] if setting("NETMAP_DRIVERS") else []


def insert(module):
    failed = f"echo '{NAME}: {module} does not load'; dmesg | tail -n 5; exit 1"
    return f"insmod {shlex.quote(str(module))} || {{ {failed}; }}"


def run_in_vm():
    traffic = int(setting("TRAFFIC_LIMIT")) + 900 if setting("TRAFFIC") else 0
    limit = int(setting("LIMIT") or 5400 + traffic)
    # An e1000 reaches memory below 4 GB only, and what is more than 2 GB QEMU puts above that: the
    # module cannot map a region for it then.
    vm = Vm(RESULTS, setting("KERNEL"), cards=CARDS, memory="2G" if drivers() else "3G")
    say(f"the suite, in a VM with {vm.kernel} and {setting('NETMAP_KO')}; LIMIT={limit} seconds")
    before = [insert(setting("NETMAP_KO"))]
    for driver in drivers():
        before += [f"rmmod {driver.stem}", insert(driver)]
    modules = ("tun", "veth", "virtio_net", "e1000")
    vm.run(guest(commands(), modules, HANDED_DOWN, before), NAME, limit)


def run_here():
    say("the suite, on this machine's own module")
    os.system(script(*commands()))


sys.exit(run_suite(NAME, run_here if setting("NATIVE") else run_in_vm))
