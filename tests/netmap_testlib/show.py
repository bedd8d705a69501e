# SPDX-License-Identifier: Apache-2.0
"""What "netmap/show --json" says.  Its keys are described in netmap.rst."""

import json


class Show:
    """One answer: `regions` and `ports` are lists of dictionaries."""

    def __init__(self, text):
        self.data = json.loads(text)
        self.regions = self.data["regions"]
        self.ports = self.data["ports"]

    @property
    def balanced(self):
        """Whether no buffer of any region is missing."""
        return all(region["balanced"] for region in self.regions)

    @property
    def settled(self):
        """Whether every buffer is accounted for, and none is in a packet."""
        return self.balanced and self.in_flight == 0

    @property
    def in_flight(self):
        """Packets that Open vSwitch has."""
        return sum(region["in_flight"] for region in self.regions)

    @property
    def lost(self):
        """Buffers that are missing, or in nobody's hands but the switch's."""
        return sum(region["in_flight"] + abs(region["missing"]) for region in self.regions)

    def port(self, name):
        """The port of that name."""
        return next(port for port in self.ports if port["name"] == name)

    def queues(self, name, kind, counter):
        """A counter of each queue; `kind` is rxq or txq."""
        return [queue[counter] for queue in self.port(name)[kind]]

    def total(self, name, kind, counter):
        """A counter's sum over the queues of a port."""
        return sum(self.queues(name, kind, counter))

    def counts(self):
        """(port, counter, count) for all that is counted, queues, drops and events."""
        for port in self.ports:
            for kind in ("rxq", "txq"):
                for queue in port[kind]:
                    for name, count in queue.items():
                        if name != "slots":
                            yield port["name"], name, count
            for kind in ("drops", "events"):
                for name, count in port[kind].items():
                    yield port["name"], name, count
