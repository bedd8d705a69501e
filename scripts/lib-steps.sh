# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# Messages, and steps that take long.  Sourced by lib.sh.

say() { printf '==> %s\n' "$*"; }

die() {
    printf '%s: error: %s\n' "$(basename "$0")" "$*" >&2
    exit 1
}

# long NAME TEXT COMMAND...
#
# Runs COMMAND with its output in build/log/NAME.log.  Says what is going on,
# again every 15 seconds, and how long it took; shows the log's tail when
# COMMAND fails, and returns its status.  77 is that of a script that says
# "skipped: " and why.
long() {
    local text=$2 log=$LOGS/$1.log start=$SECONDS ticker status=0
    shift 2
    mkdir -p "$LOGS"
    say "$text"
    # The ticker's input is a pipe that nobody writes to: it ends as soon as
    # this shell closes the pipe, or dies.
    exec {ticker}> >(
        while read -rt 15 _ || [ $? -gt 128 ]; do
            printf '    ... %d s, %d lines in %s\n' $((SECONDS - start)) \
                "$(wc -l <"$log")" "${log#"$ROOT"/}"
        done)
    "$@" >"$log" 2>&1 {ticker}>&- || status=$?
    exec {ticker}>&-
    if [ "$status" -eq 0 ]; then
        printf '    done in %d s\n' $((SECONDS - start))
    elif [ "$status" -eq 77 ]; then
        grep '^skipped: ' "$log" || true
    else
        tail -n 30 "$log" | sed 's/^/    | /' >&2
        printf '    FAILED with status %d; all of it: %s\n' "$status" "$log" >&2
    fi
    return "$status"
}
