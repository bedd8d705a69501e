# SPDX-License-Identifier: Apache-2.0
"""A switch that was built for another ABI of the library."""

import re

import pytest

from netmap_testlib import Switch, run
from netmap_testlib.jsonrpc import RpcError
from netmap_testlib.switch import ROOT

# Stands between the two: what the switch says about itself is what another one would say.
OTHER = r"""
#define _GNU_SOURCE
#include <dlfcn.h>
#include <ovs_netmap.h>

int
netmap_host_attach(const struct netmap_host *host, char *err, size_t err_size)
{
    int (*attach)(const struct netmap_host *, char *, size_t);
    struct netmap_host other = *host;

    other.abi = OVS_NETMAP_ABI + (DIFFERENCE);
    attach = (int (*)(const struct netmap_host *, char *, size_t))
        dlsym(RTLD_NEXT, "netmap_host_attach");
    return attach(&other, err, err_size);
}
"""


@pytest.mark.parametrize("difference", [-1, 1])
def test_port_type_is_off_and_the_switch_lives(run_dir, tmp_path, make_host, difference):
    source, library = tmp_path / "other.c", tmp_path / "other.so"
    source.write_text(OTHER)
    run(
        "cc",
        *("-shared", "-fPIC", f"-DDIFFERENCE={difference}", f"-I{ROOT}/include"),
        *("-o", library, source, "-ldl"),
    )
    abi = int(
        re.search(
            r"#define OVS_NETMAP_ABI (\d+)", (ROOT / "include/ovs_netmap.h").read_text()
        ).group(1)
    )
    with Switch(run_dir, vswitchd=("env", f"LD_PRELOAD={library}", "ovs-vswitchd")) as switch:
        (said,) = [line for line in switch.log_lines(["ERR"]) if "netmap" in line]
        assert f"built for ABI {abi + difference} " in said and f"ABI {abi}" in said
        switch.add_bridge("br0", fail_mode="standalone")
        switch.add_port("br0", "n0", "null:0", check=False)
        assert f"ABI {abi + difference} " in switch.error("n0")
        # What turns netmap ports on and off, and what shows them.
        for value in ("false", "true"):
            switch.config(netmap_init=value, netmap_nextrabufs=100)
        with pytest.raises(RpcError, match=f"ABI {abi + difference} "):
            switch.ctl("netmap/show")
        hosts = [make_host(f"h{n}", wire=f"p{n}", address=f"10.0.0.{n}/24") for n in (1, 2)]
        for host in hosts:
            switch.add_port("br0", host.wire, type="system")
        assert hosts[0].reaches("10.0.0.2")
        switch.del_port("n0")
