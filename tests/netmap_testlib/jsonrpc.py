# SPDX-License-Identifier: Apache-2.0
"""JSON-RPC on a Unix socket, as ovsdb-server and every daemon of Open vSwitch speak it.

One connection serves any number of requests, so nothing is started to ask a question: where
everything is slow, as in an emulated VM, an ovs-vsctl or ovs-appctl takes seconds.
"""

import json
import socket

from .process import Failure, wait_until


class RpcError(Failure):
    """What the other side said is wrong."""


class Peer:
    """Somebody who answers."""

    def __init__(self, path, seconds=60):
        self.path = path
        self.decoder = json.JSONDecoder()
        self.received = ""
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(seconds)
        self.socket.connect(str(path))

    def ask(self, method, *params):
        """The result of a request."""
        self._send({"method": method, "params": params, "id": 0})
        while True:
            answer = self._next()
            if answer.get("method") == "echo":
                self._send({"result": answer["params"], "error": None, "id": answer["id"]})
            elif answer.get("error"):
                raise RpcError(f"{method}: {answer['error']}")
            else:
                return answer["result"]

    def close(self):
        self.socket.close()

    def _send(self, message):
        self.socket.sendall(json.dumps(message).encode())

    def _next(self):
        while True:
            try:
                message, end = self.decoder.raw_decode(self.received)
            except ValueError:
                data = self.socket.recv(1 << 16)
                if not data:
                    raise RpcError(f"{self.path}: the connection is closed") from None
                self.received += data.decode()
            else:
                self.received = self.received[end:].lstrip()
                return message


class Database:
    """The Open_vSwitch database behind a socket."""

    def __init__(self, path):
        self.peer = Peer(path)

    def transact(self, *operations):
        """The results of the operations, all of which succeeded."""
        results = self.peer.ask("transact", "Open_vSwitch", *operations)
        for result in results:
            if result and "error" in result:
                raise RpcError(f"transaction: {result}")
        return results

    def rows(self, table, where=(), columns=None):
        """The rows as dictionaries: maps as dictionaries, sets as lists."""
        operation = {"op": "select", "table": table, "where": [list(c) for c in where]}
        if columns:
            operation["columns"] = list(columns)
        found = self.transact(operation)[0]["rows"]
        return [{name: decode(value) for name, value in row.items()} for row in found]

    def change(self, *operations):
        """The operations' results, when ovs-vswitchd has done it; ovs-vsctl waits in the same way."""
        select = {"op": "select", "table": "Open_vSwitch", "where": []}
        step = {
            "op": "mutate",
            "table": "Open_vSwitch",
            "where": [],
            "mutations": [["next_cfg", "+=", 1]],
        }
        results = self.transact(*operations, step, {**select, "columns": ["next_cfg"]})
        wanted = results[-1]["rows"][0]["next_cfg"]

        def done():
            return self.rows("Open_vSwitch", columns=["cur_cfg"])[0]["cur_cfg"] >= wanted

        wait_until(done, 60, "ovs-vswitchd to follow a change of the database", interval=0.005)
        return results[: len(operations)]

    def close(self):
        self.peer.close()


def decode(value):
    """A value of the database's notation as one of Python's."""
    match value:
        case ["map", pairs]:
            return {key: decode(item) for key, item in pairs}
        case ["set", items]:
            return [decode(item) for item in items]
        case ["uuid", uuid]:
            return uuid
    return value
