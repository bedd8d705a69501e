# SPDX-License-Identifier: Apache-2.0
"""check_kernel.py: runs "check-kernel.sh --suite" in a VM, or here, and says what came out.  What is
in the environment is told in check-kernel.sh, which has built all that this needs."""

import os
import shlex
import shutil
import sys
from pathlib import Path

from netmap_testlib import Failure, finish_on_signals, say
from netmap_testlib.steps import LOGS
from netmap_testlib.switch import ROOT
from netmap_testlib.vm import Vm

RESULTS = Path(os.environ["RESULTS"])
SUITE = [str(ROOT / "scripts/check-kernel.sh"), "--suite"]
# What the suite reads.
HANDED_DOWN = (
    "BUILD",
    "PATH",
    "OVS",
    "OVS_DIR",
    "KERNEL_TEST",
    "NETMAP_KO",
    "PKT_GEN",
    "TESTS",
    "TRAFFIC",
    "TRAFFIC_LIMIT",
)
# Two cards of a kind on one wire.
CARDS = [(0, "e1000"), (0, "e1000"), (1, "virtio-net-pci"), (1, "virtio-net-pci")]


def setting(name):
    return os.environ.get(name, "")


def drivers():
    """Netmap's own network drivers, modules to be loaded instead of the kernel's."""
    path = Path(setting("NETMAP_DRIVERS"))
    if path.is_dir() and setting("NETMAP_DRIVERS"):
        return sorted(module for module in path.rglob("*.ko") if module.name != "netmap.ko")
    return [path] if setting("NETMAP_DRIVERS") else []


def guest():
    """What the VM runs as root."""
    exports = [f"export {name}={shlex.quote(setting(name))}" for name in HANDED_DOWN]

    def insert(module):
        failed = f"echo 'check-kernel: {module} does not load'; dmesg | tail -n 5; exit 1"
        return f"insmod {shlex.quote(str(module))} || {{ {failed}; }}"

    lines = [
        *exports,
        "export IN_VM=1",
        "dmesg -n 1",
        "for module in tun veth virtio_net e1000; do modprobe $module; done",
        insert(setting("NETMAP_KO")),
    ]
    for driver in drivers():
        lines += [f"rmmod {driver.stem}", insert(driver)]
    lines += [shlex.join(SUITE), f"echo $? >{shlex.quote(str(RESULTS))}/status"]
    return "\n".join(lines) + "\n"


def run_in_vm():
    traffic = int(setting("TRAFFIC_LIMIT")) + 900 if setting("TRAFFIC") else 0
    limit = int(setting("LIMIT") or 5400 + traffic)
    # An e1000 reaches memory below 4 GB only, and what is more than 2 GB QEMU puts above that: the
    # module cannot map a region for it then.
    vm = Vm(RESULTS, setting("KERNEL"), cards=CARDS, memory="2G" if drivers() else "3G")
    say(f"the suite, in a VM with {vm.kernel} and {setting('NETMAP_KO')}; LIMIT={limit} seconds")
    vm.run(guest(), "check-kernel", limit)


def run_here():
    say("the suite, on this machine's own module")
    status = os.waitstatus_to_exitcode(os.system(shlex.join(SUITE)))
    (RESULTS / "status").write_text(f"{status}\n")


def report():
    """Whether nothing failed."""
    results, status = RESULTS / "results", RESULTS / "status"
    lines = results.read_text().splitlines() if results.exists() else []
    if not status.exists() or status.read_text().strip() != "0":
        lines.append(f"FAILED suite: it did not come to its end; see {LOGS}/check-kernel.log")
    say(f"results; logs are in {RESULTS}")
    table = RESULTS / "traffic.txt"
    if table.exists():
        print(table.read_text(), end="")
    print(*lines, sep="\n")
    passed, failed, skipped = (
        sum(line.startswith(f"{word} ") for line in lines) for word in ("ok", "FAILED", "skipped")
    )
    print(f"check-kernel: {passed} passed, {failed} failed, {skipped} skipped")
    return failed == 0


def main():
    finish_on_signals()
    shutil.rmtree(RESULTS, ignore_errors=True)
    RESULTS.mkdir(parents=True)
    try:
        if setting("NATIVE"):
            run_here()
        else:
            run_in_vm()
    except Failure as failure:
        print(f"check-kernel: {failure}", file=sys.stderr)
    return 0 if report() else 1


sys.exit(main())
