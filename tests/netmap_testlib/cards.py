# SPDX-License-Identifier: Apache-2.0
"""Emulated network cards of a VM, as pairs on one wire: the first of a pair is for a port, the second
one for a host behind it."""

import re
from pathlib import Path

from .host import Host
from .process import Failure, run

# Its driver has zero copy only where it maps memory for the device as for one of hardware
# (VIRTIO_F_ACCESS_PLATFORM).
VIRTIO = "virtio-net-pci,disable-legacy=on,iommu_platform=on"
# The names of the first ones, what QEMU calls the model, and how many queues of its wire's end are
# QEMU's to say.
WIRES = {
    "igb0": ("igb", 1),
    "igb1": ("igb", 1),
    "virtio0": (VIRTIO, 3),
    "virtio1": (VIRTIO, 1),
    "e1000": ("e1000", 1),
}


def card_mac(number):
    return f"02:00:00:00:ca:{number:02x}"


def interface_of(number):
    """The name of the interface that the card has."""
    for address in Path("/sys/class/net").glob("*/address"):
        if address.read_text().strip() == card_mac(number):
            return address.parent.name
    raise Failure(f"there is no card with the address {card_mac(number)}: is its driver loaded?")


def driver_of(interface):
    return Path(f"/sys/class/net/{interface}/device/driver").resolve().name


class CardHost(Host):
    """A host with the second card of a wire instead of a veth; the first one is its `wire`."""

    def __init__(self, name, wire, address=None):
        self.number = 2 * list(WIRES).index(wire)
        super().__init__(name, wire=wire, address=address)

    def connect(self):
        """The first card gets the name of its wire, the second one goes to the host."""
        port = interface_of(self.number)
        if port != self.wire:
            run("ip", "link", "set", port, "down")
            run("ip", "link", "set", port, "name", self.wire)
        card = interface_of(self.number + 1)
        run("ip", "link", "set", card, "down")
        run("ip", "link", "set", card, "netns", self.name, "name", self.name)
        # e1000's driver takes the priority out of a frame with its tag, and puts it nowhere.
        run("ethtool", "-K", self.name, "rxvlan", "off", netns=self.name)
        # Frames to any address are for the tests.
        run("ip", "link", "set", self.name, "promisc", "on", "up", netns=self.name)
        if self.address:
            run("ip", "address", "add", self.address, "dev", self.name, netns=self.name)
        self.wire_link(state="up")

    def disconnect(self):
        run("ip", "link", "set", self.name, "netns", "1", netns=self.name, check=False)


def offload(interface, feature, netns=None):
    """Whether ethtool says that a feature is on."""
    text = run("ethtool", "-k", interface, netns=netns)
    said = re.search(rf"^\s*{re.escape(feature)}: (on|off)", text, re.MULTILINE)
    if not said:
        raise Failure(f"ethtool -k {interface} does not know {feature}")
    return said[1] == "on"
