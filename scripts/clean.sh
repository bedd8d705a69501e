#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Removes all that the other scripts made.
. "$(dirname "$0")/lib.sh"

case $BUILD in
/ | "$ROOT") die "BUILD=$BUILD: that cannot be removed" ;;
esac
rm -rf "$BUILD"
need_rust
cd "$ROOT" && cargo clean --quiet
