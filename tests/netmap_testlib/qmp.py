# SPDX-License-Identifier: Apache-2.0
"""The emulator of the virtual machine that this runs in, by its serial port "qmp"."""

import json
import os
from pathlib import Path

from .process import Failure


class Qmp:
    """To be closed; there is one at a time."""

    def __init__(self):
        ports = Path("/sys/class/virtio-ports").glob("*/name")
        found = [name.parent.name for name in ports if name.read_text().strip() == "qmp"]
        if not found:
            raise Failure("there is no serial port qmp: Vm(monitor=True) makes it")
        self.port = os.open(f"/dev/{found[0]}", os.O_RDWR)
        self.rest = b""
        self.ready = False

    def close(self):
        os.close(self.port)

    def _line(self):
        while b"\n" not in self.rest:
            self.rest += os.read(self.port, 4096)
        line, _, self.rest = self.rest.partition(b"\n")
        return json.loads(line)

    def _ask(self, command, **arguments):
        request = {"execute": command, **({"arguments": arguments} if arguments else {})}
        os.write(self.port, json.dumps(request).encode() + b"\n")
        while True:
            answer = self._line()
            if "error" in answer:
                raise Failure(f"QEMU, {command}: {answer['error']['desc']}")
            if "return" in answer:
                return answer["return"]

    def wire(self, card, plugged):
        """Pulls the wire of a card of netmap_testlib.cards, or puts it back."""
        if not self.ready:
            self._ask("qmp_capabilities")
            self.ready = True
        self._ask("set_link", name=f"nic{card}", up=plugged)
