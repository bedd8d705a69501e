#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# Removes all that the other scripts made.
. "$(dirname "$0")/lib.sh"

[ "$BUILD" != / ] && [ "$BUILD" != "$ROOT" ] || die "BUILD=$BUILD: that cannot be removed"
rm -rf "$BUILD"
need_rust
cd "$ROOT" && cargo clean --quiet
