# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2034  # variables for the scripts that source this
#
# What the scripts here share: paths, cleaning up and isolation here, progress in
# lib-steps.sh, packages in lib-needs.sh, what is built in lib-trees.sh.  To be
# sourced, not run.

set -euo pipefail
export LC_ALL=C

# make hands its command line variables (PREFIX=, DESTDIR=) and its job server
# down to every make below it; OVS's own makefiles must not see them.
unset MAKEFLAGS MFLAGS MAKELEVEL MAKEOVERRIDES

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
BUILD=${BUILD:-$ROOT/build}
LOGS=$BUILD/log
STAGE=$BUILD/prefix              # where OVS finds the library
export OVS=${OVS:-3.1} OVS_DIR=${OVS_DIR:-}
JOBS=${JOBS:-$(nproc)}

# ---- cleaning up ----

# on_exit COMMAND: to be run when the script ends, however it ends, last
# registered first.
exit_commands=()
on_exit() { exit_commands=("$1" "${exit_commands[@]}"); }

run_exit_commands() {
    local status=$? command
    trap '' INT TERM HUP
    set +e
    for command in "${exit_commands[@]}"; do
        eval "$command"
    done
    exit "$status"
}
trap run_exit_commands EXIT
trap 'exit 130' INT
trap 'exit 143' TERM
trap 'exit 129' HUP

# ---- isolation ----

# isolate "$@": goes on in network and mount namespaces of its own, so that
# neither taps, veths and namespaces of an OVS on this machine and ours meet,
# nor anything outlives the script: when the last process is gone, all of it
# is.  To be called first thing in a script, with the script's arguments.
isolate() {
    if [ -z "${NETMAP_ISOLATED:-}" ]; then
        NETMAP_ISOLATED=1 exec unshare --net --mount --propagation private -- "$0" "$@"
    fi
    unset NETMAP_ISOLATED
    mkdir -p /run/netns
    mount -t tmpfs netns /run/netns      # "ip netns" names are ours alone
    mount -t sysfs sysfs /sys            # /sys/class/net of this namespace
    ip link set lo up
}

# shellcheck source=scripts/lib-steps.sh
. "$ROOT/scripts/lib-steps.sh"
# shellcheck source=scripts/lib-needs.sh
. "$ROOT/scripts/lib-needs.sh"
# shellcheck source=scripts/lib-trees.sh
. "$ROOT/scripts/lib-trees.sh"
