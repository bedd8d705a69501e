#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# fetch-kernel.sh SUITE: the kernel of a suite of Debian's and its modules, unpacked into
# build/kernel/SUITE, for a VM.  "rm -r" of that, and the next one is the newest again.
. "$(dirname "$0")/lib.sh"
. "$(dirname "$0")/lib-chroot.sh"

suite=${1:?which suite?}
kernel=$BUILD/kernel/$suite
[ ! -d "$kernel" ] || exit 0
need_packages kmod xz-utils
private_apt "$suite"

# depends PACKAGE PATTERN: on which packages whose names match.
depends() {
    apt-cache "${apt_options[@]}" depends --no-recommends --no-suggests --no-conflicts --no-breaks "$1" |
        sed -n "s/^ *Depends: \($2\)\$/\1/p"
}

download() {
    local image parts
    apt-get "${apt_options[@]}" update
    image=$(depends linux-image-amd64 'linux-image-[0-9].*')
    # Newer suites have its files in two packages of their own.
    mapfile -t parts < <(depends "$image" 'linux-\(binary\|modules\)-[0-9].*')
    unpack "$kernel.new" "$image" "${parts[@]}"
    mv "$kernel.new" "$kernel"
}
long "fetch-kernel-$suite" "kernel of Debian's $suite" download
