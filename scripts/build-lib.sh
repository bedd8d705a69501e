#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Builds the library and installs it into build/prefix, where the OVS trees
# under build/ find it.  Files that did not change keep their time stamps, so
# that nothing is compiled again for them.
. "$(dirname "$0")/lib.sh"

need_packages build-essential
need_rust
cd "$ROOT"
long cargo-build "library: cargo rustc, with link-time optimisation" build_library
PREFIX=$STAGE LIBDIR='' DESTDIR='' scripts/install.sh >/dev/null
