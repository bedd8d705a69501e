# SPDX-License-Identifier: Apache-2.0
"""Private switches, hosts in network namespaces, and traffic between them.

What the demo, the soak and benchmark programs and the system tests are made of:

    from netmap_testlib import Host, Switch, wait_until

    with Switch(run_dir) as switch:
        hosts = [Host(f"h{n}", wire=f"p{n}", address=f"10.0.0.{n}/24") for n in (1, 2)]
        switch.add_bridge("br0")
        switch.add_port("br0", "p1")
        switch.add_port("br0", "p2")
        assert hosts[0].ping("10.0.0.2", count=5).received == 5
        wait_until(lambda: switch.show().settled, 10, "every buffer to be back")

scripts/drive.sh starts a program or pytest with everything that this needs: packages, the library,
the OVS tree, and network and mount namespaces that end with it.  Every process that is started here
dies with the one that started it.
"""

from .host import Host, Ping
from .process import (
    CommandError,
    Failure,
    finish_on_signals,
    lock_directory,
    run,
    run_program,
    say,
    spawn,
    stop,
    wait_until,
)
from .show import Show
from .switch import PortCounters, Switch, ovs_tree

__all__ = [
    "CommandError",
    "Failure",
    "Host",
    "Ping",
    "PortCounters",
    "Show",
    "Switch",
    "finish_on_signals",
    "lock_directory",
    "ovs_tree",
    "run",
    "run_program",
    "say",
    "spawn",
    "stop",
    "wait_until",
]
