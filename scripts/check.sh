#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The whole test suite, from formatting to Open vSwitch's system tests.  Goes on
# after a failure, so that one run shows all there is to see; what depends on a
# failed step is skipped.  The last line is "N passed, N failed, N skipped",
# where each test of cargo's, of OVS's and of pytest's counts, and each other
# step counts as one.
#
# Open vSwitch is built and tested in each release that ovs-patch/releases
# names, or in the one that OVS= or OVS_DIR= names: with the first one all tests,
# with the others those of what differs between releases.  STEPS= is a regular
# expression for the names of the steps to do, which are those of their logs:
# STEPS='fmt|clippy', STEPS=pytest.
export ASKED_OVS=${OVS:-}
. "$(dirname "$0")/lib.sh"

need_root
need_sources
need_packages "${BUILD_PACKAGES[@]}" "${RUN_PACKAGES[@]}" "${PYTHON_PACKAGES[@]}" clang git
need_rust
cd "$ROOT"
use_python
export OVS OVS_DIR
exec "$PYTHON" scripts/check.py
