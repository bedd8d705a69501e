#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# drive.sh PROGRAM [ARGUMENT...]: runs a Python program of scripts/, such as
# demo.py, or with "pytest" the system tests that the arguments name, on a built
# OVS tree.  Installs and builds what is missing first.  The program has network
# and mount namespaces of its own, in which tests/netmap_testlib makes switches
# and hosts; when its last process is gone, all of it is.
. "$(dirname "$0")/lib.sh"

if [ -z "${NETMAP_ISOLATED:-}" ]; then
    need_root
    need_sources
    need_packages "${BUILD_PACKAGES[@]}" "${RUN_PACKAGES[@]}" "${PYTHON_PACKAGES[@]}"
    "$ROOT/scripts/build-lib.sh"
    "$ROOT/scripts/build-ovs.sh"
    case $1 in
    bench)
        if [ -z "${BENCH_QUICK:-}" ]; then
            need_packages python3-matplotlib
            need_rust
            (cd "$ROOT" && long benches "cargo bench --no-run" cargo bench --no-run)
            "$ROOT/scripts/build-ovs.sh" --afxdp
            "$ROOT/scripts/dpdk-peer.sh"
        fi
        ;;
    # A test runs them; there is no registry to reach from its namespace.
    pytest)
        need_rust
        (cd "$ROOT" && long examples "cargo build --examples" cargo build --examples)
        ;;
    esac
fi
isolate "$@"

use_python
if [ "$1" = pytest ]; then
    shift
    exec "$PYTHON" -m pytest -p no:cacheprovider "$@"
fi
program=$1
shift
exec "$PYTHON" "$ROOT/scripts/$program" "$@"
