#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# drive.sh PROGRAM [ARGUMENT...]: runs a Python program of scripts/, such as
# demo.py, or with "pytest" the system tests that the arguments name, on a built
# OVS tree.  Installs and builds what is missing first.  The program has network
# and mount namespaces of its own, in which tests/netmap_testlib makes switches
# and hosts; when its last process is gone, all of it is.
. "$(dirname "$0")/lib.sh"

PYTHON_PACKAGES=(python3-pyroute2 python3-pytest python3-scapy)
if [ -z "${NETMAP_ISOLATED:-}" ]; then
    need_root
    need_packages "${BUILD_PACKAGES[@]}" "${RUN_PACKAGES[@]}" "${PYTHON_PACKAGES[@]}"
    "$ROOT/scripts/build-lib.sh"
    "$ROOT/scripts/build-ovs.sh"
fi
isolate "$@"

OVS_TREE=$(ovs_tree)
export OVS_TREE BUILD
export PYTHONPATH=$ROOT/tests PYTHONDONTWRITEBYTECODE=1 PYTHONUNBUFFERED=1
# Debian's, for which the packages are.
python=/usr/bin/python3
[ -x "$python" ] || python=$(command -v python3) || die "no Python 3"
if [ "$1" = pytest ]; then
    shift
    exec "$python" -m pytest -p no:cacheprovider "$@"
fi
program=$1
shift
exec "$python" "$ROOT/scripts/$program" "$@"
