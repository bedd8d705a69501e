# SPDX-License-Identifier: Apache-2.0
"""Extra buffers: as few as there may be, as many as there are, and none lost."""

import threading
import time

from rig import same

from netmap_testlib.frames import FRAME, open_port


def test_fewest_extra_buffers(rig):
    rig.switch.config(netmap_nextrabufs=32)
    rig.two_ports()
    rig.relay(2000)
    rig.balanced()


def test_more_buffers_than_there_are(rig):
    rig.switch.config(netmap_nextrabufs=1048576)
    rig.bridge()
    # Region 1: a private one would be made larger for them, a GB or more.
    rig.port("p1", 1, "vale0:1@1")
    extra = rig.status("p1", "extra_bufs").split("/")[0]
    said = f"the module gave {extra} of the 1048576 extra buffers"
    assert any(said in line for line in rig.switch.log_lines(["INFO", "WARN"])), said
    rig.balanced()


class OpenAndClose:
    """Adds a port to br0 and deletes it again, over one connection to ovsdb-server: an ovs-vsctl for
    each takes longer than all the rest."""

    def __init__(self, switch, netmap_port):
        self.switch = switch
        self.interface = {
            "op": "insert",
            "table": "Interface",
            "uuid-name": "interface",
            "row": {
                "name": "p1",
                "type": "netmap",
                "ofport_request": 1,
                "options": ["map", [["netmap-port", netmap_port]]],
            },
        }
        self.looked = self.held = self.most = 0

    def open(self):
        """Returns the port's row."""
        port = {
            "op": "insert",
            "table": "Port",
            "uuid-name": "port",
            "row": {"name": "p1", "interfaces": ["named-uuid", "interface"]},
        }
        added = self.of_bridge("insert", ["named-uuid", "port"])
        return self.switch.database.change(self.interface, port, added)[1]["uuid"]

    def close(self, port):
        self.switch.database.change(self.of_bridge("delete", port))

    @staticmethod
    def of_bridge(what, port):
        return {
            "op": "mutate",
            "table": "Bridge",
            "where": [["name", "==", "br0"]],
            "mutations": [["ports", what, port]],
        }

    def look(self):
        """Waits for a second at most until OVS has a packet."""
        end = time.monotonic() + 1
        while (now := self.switch.show().in_flight) == 0 and time.monotonic() < end:
            time.sleep(0.01)
        self.looked += 1
        self.held += now > 0
        self.most = max(self.most, now)


def test_open_and_close_1000_times(rig, note):
    """OVS keeps packets of the port in the output batch of another one: it sends them when the first
    one is about to be closed.  (The crate's own tests close ports whose packets come back later.)"""
    rig.switch.config(tx_flush_interval=1000000)
    rig.bridge()
    rig.port("p2", 2, "vale8:1@1")
    rig.flow("in_port=1,actions=output:2")
    ending = threading.Event()

    def send():
        sender = open_port("vale9:2")
        while not ending.wait(1 / 300):
            sender.send(FRAME)
        sender.close()

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    try:
        ports = OpenAndClose(rig.switch, "vale9:1@1")
        for i in range(1000):
            port = ports.open()
            same(f"error of p1 in round {i}", rig.switch.error("p1"), None)
            if i % 10 == 9:
                ports.look()
            ports.close(port)
    finally:
        ending.set()
        thread.join()
    note(f"packets held at {ports.held} of {ports.looked} closings, at most {ports.most}")
    assert ports.held > 0, "no packet was ever held"
    note(f"{rig.counter('p2', 'tx')} packets were forwarded")
    rig.balanced()
