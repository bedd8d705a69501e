# SPDX-License-Identifier: Apache-2.0
"""check_nic.py: runs tests/nic in a VM and says what came out.  What is in the environment is told in
check-nic.sh, which has built all that this needs."""

import sys

from netmap_testlib import say
from netmap_testlib.cards import WIRES
from netmap_testlib.vm import Vm
from netmap_testlib.vm_suite import RESULTS, guest, run_suite, setting, suite

NAME = "check-nic"
MODULES = ("tun", "veth", "virtio_net", "e1000", "igb")


def run_in_vm():
    limit = int(setting("LIMIT") or 2220 + 60 * float(setting("MINUTES") or 3))
    cards = [(wire, *model) for wire, model in enumerate(WIRES.values()) for _ in range(2)]
    vm = Vm(
        RESULTS,
        setting("KERNEL"),
        qemu=setting("QEMU"),
        monitor=True,
        cards=cards,
        memory="2G",
    )
    say(f"the suite, in a VM with {vm.kernel}; LIMIT={limit} seconds")
    vm.run(guest([suite("nic")], MODULES, ["MINUTES"]), NAME, limit)


sys.exit(run_suite(NAME, run_in_vm))
