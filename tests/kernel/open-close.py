#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""open-close.py RUNDIR BRIDGE NETMAP-PORT ROUNDS: adds a port to the bridge and deletes it again, so
many times, over one connection to ovsdb-server: an ovs-vsctl for each takes longer than all the rest.

Each time it waits until ovs-vswitchd has done it, and each tenth time, with the port open, for a second
at most, until it holds a packet.  Prints how often there was one, and how many at most."""

import json
import re
import socket
import sys
import time


class Peer:
    """Somebody who answers JSON-RPC on a Unix socket."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(path)
        self.socket.settimeout(60)
        self.decoder = json.JSONDecoder()
        self.received = ""

    def ask(self, method, *params):
        request = {"method": method, "params": params, "id": 0}
        self.socket.sendall(json.dumps(request).encode())
        while True:
            try:
                answer, end = self.decoder.raw_decode(self.received)
            except ValueError:
                data = self.socket.recv(65536)
                if not data:
                    sys.exit(f"{method}: the connection is closed")
                self.received += data.decode()
                continue
            self.received = self.received[end:].lstrip()
            if answer.get("method") == "echo":
                reply = {"result": answer["params"], "error": None, "id": answer["id"]}
                self.socket.sendall(json.dumps(reply).encode())
            elif answer.get("error"):
                sys.exit(f"{method}: {answer['error']}")
            else:
                return answer["result"]


def transact(database, *operations):
    results = database.ask("transact", "Open_vSwitch", *operations)
    for result in results:
        if result and "error" in result:
            sys.exit(f"transaction: {result}")
    return results


def change(database, *operations):
    """Makes the change, and waits for ovs-vswitchd, as ovs-vsctl does it."""
    one = {"op": "select", "table": "Open_vSwitch", "where": [], "columns": ["next_cfg", "cur_cfg"]}
    step = {"op": "mutate", "table": "Open_vSwitch", "where": [],
            "mutations": [["next_cfg", "+=", 1]]}
    results = transact(database, *operations, step, one)
    wanted = results[len(operations) + 1]["rows"][0]["next_cfg"]
    end = time.monotonic() + 60
    while transact(database, one)[0]["rows"][0]["cur_cfg"] < wanted:
        if time.monotonic() > end:
            sys.exit("ovs-vswitchd does not follow")
        time.sleep(0.005)
    return results


def open_and_close(rundir, bridge, netmap_port, rounds):
    database, switch = Peer(f"{rundir}/db.sock"), Peer(f"{rundir}/ovs-vswitchd.ctl")

    def in_flight():
        return sum(map(int, re.findall(r" in_flight=(\d+)", switch.ask("netmap/show"))))

    of_bridge = {"op": "mutate", "table": "Bridge", "where": [["name", "==", bridge]]}
    looked = held = most = 0
    for i in range(rounds):
        results = change(
            database,
            {"op": "insert", "table": "Interface", "uuid-name": "interface",
             "row": {"name": "p1", "type": "netmap", "ofport_request": 1,
                     "options": ["map", [["netmap-port", netmap_port]]]}},
            {"op": "insert", "table": "Port", "uuid-name": "port",
             "row": {"name": "p1", "interfaces": ["named-uuid", "interface"]}},
            {**of_bridge, "mutations": [["ports", "insert", ["named-uuid", "port"]]]})
        row = transact(database, {"op": "select", "table": "Interface", "where": [["name", "==", "p1"]],
                                  "columns": ["error"]})[0]["rows"][0]
        if row["error"] != ["set", []]:
            sys.exit(f"round {i}: {row['error']}")
        if i % 10 == 9:
            end = time.monotonic() + 1
            while (now := in_flight()) == 0 and time.monotonic() < end:
                time.sleep(0.01)
            looked, held, most = looked + 1, held + (now > 0), max(most, now)
        change(database, {**of_bridge, "mutations": [["ports", "delete", results[1]["uuid"]]]})
    print(f"{rounds} rounds, packets held at {held} of {looked} closings, at most {most}")


open_and_close(sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4]))
