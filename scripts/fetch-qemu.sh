#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# fetch-qemu.sh: a QEMU of this system's backports, unpacked into build/qemu.  It needs the libraries
# of the system's own qemu-system-x86.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-chroot.sh"

[ ! -d "$BUILD/qemu" ] || exit 0
suite=$(. /etc/os-release && echo "$VERSION_CODENAME-backports")
private_apt "$suite"

download() {
    apt-get "${apt_options[@]}" update
    unpack "$BUILD/qemu.new" qemu-system-x86 qemu-system-common qemu-system-data seabios
    mv "$BUILD/qemu.new" "$BUILD/qemu"
}
long fetch-qemu "QEMU of Debian's $suite" download
