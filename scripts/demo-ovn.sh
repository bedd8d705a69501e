#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# OVN over netmap ports: demo_ovn.py, with OVN's programs from Debian's packages.
# Those are unpacked below build/, not installed: they would start services.
. "$(dirname "$0")/lib.sh"

need_root
need_packages libcap-ng0 libssl3 libunbound8 libudev1
ovn=$BUILD/ovn
if [ ! -e "$ovn/.unpacked" ]; then
    rm -rf "$ovn"
    mkdir -p "$ovn"
    # apt fetches as a user of its own, who needs a directory to write to.
    download=$(mktemp -d)
    on_exit "rm -rf '$download'"
    chmod 777 "$download"
    (cd "$download" && long ovn-download "apt-get download: OVN" apt-get download ovn-central ovn-common ovn-host)
    for package in "$download"/*.deb; do
        dpkg -x "$package" "$ovn"
    done
    touch "$ovn/.unpacked"
fi
export OVN_DIR=$ovn/usr
exec "$ROOT/scripts/drive.sh" demo_ovn.py
