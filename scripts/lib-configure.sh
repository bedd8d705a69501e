# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# How Open vSwitch is configured.  Sourced by build-ovs.sh.

# Compiled as Debian compiles its own OVS, OVS-DPDK included: -O2 with the
# hardening flags and -fPIC, no -march.  "make bench" compares with Debian's
# binary, so neither side may have a better compiler command line.
flags() {
    if command -v dpkg-buildflags >/dev/null; then
        DEB_BUILD_MAINT_OPTIONS=hardening=+all DEB_CFLAGS_MAINT_APPEND=-fPIC \
            dpkg-buildflags --get "$1" | sed 's/-ffile-prefix-map=[^ ]* *//'
    elif [ "$1" = CFLAGS ]; then
        echo "-g -O2"
    fi
}

# set_configure_args VARIANT: configure_args, for a variant of build-ovs.sh.
set_configure_args() {
    configure_args=(--prefix=/usr --localstatedir=/var --sysconfdir=/etc --enable-ssl
                    "CFLAGS=$(flags CFLAGS)" "CPPFLAGS=$(flags CPPFLAGS)" "LDFLAGS=$(flags LDFLAGS)")
    # Debian's Python, because what the tests need of it is installed with apt.
    [ ! -x /usr/bin/python3 ] || configure_args+=(PYTHON3=/usr/bin/python3)
    if [ "$1" = --afxdp ]; then
        configure_args+=(--enable-afxdp)
    else
        configure_args+=(--disable-afxdp)
    fi
    if [ "$1" != --plain ]; then
        [ -e "$STAGE/lib/libovs_netmap.so" ] || die "the library comes first: make lib"
        configure_args+=("--with-netmap=$STAGE")
    fi
}
