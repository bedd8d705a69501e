# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# The results of OVS's datapath tests on ports of the type "system" and on netmap
# ports, side by side.  To be sourced after lib.sh.

# finished LOG: "NUMBER<tab>NAME<tab>ok|FAILED|skipped" for each test that has
# ended.
finished() {
    sed -nE 's/^ *([0-9]+): (.*[^ ]) +(ok|FAILED|skipped|expected failure|unexpected pass)( .*)?$/\1\t\2\t\3/p' "$1"
}

# missed LOG OTHER: the numbers of the tests that pass in OTHER only.
missed() {
    awk -F '\t' 'FILENAME == ARGV[1] { if ($3 == "ok") number[$2] = $1; next }
                $3 == "ok" { delete number[$2] }
                END { for (name in number) print number[name] }' <(finished "$2") <(finished "$1")
}

# traffic_table NAME SYSTEM NETMAP SYSTEM-AGAIN NETMAP-AGAIN: from four logs.  What
# was run twice counts as the second run has it.  The last line is
# "NAME: system_ok=N netmap_ok=N only_system=N only_netmap=N".
traffic_table() {
    awk -F '\t' -v name="$1" '
        !($2 in seen) { seen[$2] = 1; names[++count] = $2 }
        (type, $2) in result {
            printf "run twice on %s: %s: %s, then %s\n", type, $2, result[type, $2], $3
        }
        { result[type, $2] = $3 }
        END {
            row = "%-75s %-8s %s\n"
            printf row, "test", "system", "netmap"
            for (i = 1; i <= count; i++) {
                s = ("system", names[i]) in result ? result["system", names[i]] : "not run"
                n = ("netmap", names[i]) in result ? result["netmap", names[i]] : "not run"
                printf row, names[i], s, n
                system_ok += s == "ok"
                netmap_ok += n == "ok"
                only_system += s == "ok" && n != "ok"
                only_netmap += n == "ok" && s != "ok"
            }
            printf "%s: system_ok=%d netmap_ok=%d only_system=%d only_netmap=%d\n",
                   name, system_ok, netmap_ok, only_system, only_netmap
        }' type=system <(finished "$2") type=netmap <(finished "$3") \
           type=system <(finished "$4") type=netmap <(finished "$5")
}
