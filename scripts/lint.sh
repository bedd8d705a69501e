#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# lint.sh [shellcheck | ruff | codespell]: what these say about all shell,
# Python and text of the project; nothing, or it fails.  What they are told is in
# .shellcheckrc, ruff.toml and .codespellrc.
. "$(dirname "$0")/lib.sh"

RUFF_VERSION=0.17.6
cd "$ROOT"

# files PATTERN...: what git has, or would take, and is there.
files() {
    git ls-files -z --cached --others --exclude-standard -- "$@" | xargs -0 ls -d 2>/dev/null
}

run_shellcheck() {
    need_packages shellcheck
    files '*.sh' .ci/run | xargs shellcheck
}

# Debian 12 has no ruff.
run_ruff() {
    local ruff=$BUILD/ruff-$RUFF_VERSION/bin/ruff
    if [ ! -x "$ruff" ]; then
        need_packages python3-venv
        long ruff-venv "ruff: a venv for it" /usr/bin/python3 -m venv "$BUILD/ruff-$RUFF_VERSION"
        long ruff-pip "ruff: pip install" "$BUILD/ruff-$RUFF_VERSION/bin/pip" install -q "ruff==$RUFF_VERSION"
    fi
    "$ruff" check --no-cache
    "$ruff" format --no-cache --diff
}

run_codespell() {
    need_packages codespell
    files | xargs codespell
}

[ $# -gt 0 ] || set -- shellcheck ruff codespell
for tool; do
    say "$tool"
    "run_$tool"
done
