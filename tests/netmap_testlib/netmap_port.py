# SPDX-License-Identifier: Apache-2.0
"""Ports and regions of netmap's kernel module, as a process that is no switch uses them.

Nothing here asks for slot offsets: frames are read and written at the base of their buffers, as
pkt-gen does it.  The numbers and layouts are those of net/netmap.h.
"""

import ctypes
import fcntl
import mmap
import os
import struct
import time

from .process import Failure

NETMAP_API = 14
NETMAP_REQ_REGISTER = 1
NR_REG_ALL_NIC = 1
NR_REG_NULL = 7
NIOCCTRL = 0xC0586997  # _IOWR('i', 151, struct nmreq_header)
NIOCTXSYNC = 0x6994  # _IO('i', 148)
NIOCRXSYNC = 0x6995
NS_MOREFRAG = 0x20

# struct nmreq_register: offset, memsize, 2 numbers of slots, 4 of rings, mem_id, ringid, mode,
# extra_bufs, flags.
REGISTER = struct.Struct("=QQIIHHHHHHII4xQ")
# struct netmap_if after its name: version, flags, tx rings, rx rings, bufs_head, host rings.
IFACE = struct.Struct("=16sIIIIIII")
RING_OFS = 56  # of ring_ofs[] in it
# struct netmap_ring: buf_ofs, num_slots, buf_size, ringid, dir, head, cur, tail
RING = struct.Struct("=qIIHHIII")
RING_HEAD = 20
SLOTS = 256  # of slot[] in it
SLOT = struct.Struct("=IHHQ")


def register(device, name, mode, mem_id=0, extra_bufs=0):
    """Binds a descriptor of /dev/netmap to a port; returns the answer's fields."""
    request = REGISTER.pack(0, 0, 0, 0, 0, 0, 0, 0, mem_id, 0, mode, extra_bufs, 0)
    body = ctypes.create_string_buffer(request, REGISTER.size)
    address = ctypes.addressof(body)
    header = struct.pack("=HHI64sQQ", NETMAP_API, NETMAP_REQ_REGISTER, 0, name.encode(), 0, address)
    fcntl.ioctl(device, NIOCCTRL, bytearray(header))
    return REGISTER.unpack(body.raw)


def free_buffers(mem_id):
    """How many buffers of a region are free.

    The module tells nobody, so all of them are taken for a moment: as the extra buffers of a null
    port in that region.
    """
    device = os.open("/dev/netmap", os.O_RDWR)
    try:
        return register(device, "free-bufs", NR_REG_NULL, mem_id, 10_000_000)[-2]
    finally:
        os.close(device)


class Region:
    """A descriptor of /dev/netmap that is bound to a port, and its region's mapping."""

    def __init__(self, name, mode, mem_id=0):
        self.device = os.open("/dev/netmap", os.O_RDWR)
        self.memory = None
        try:
            self.offset, size, *_ = register(self.device, name, mode, mem_id)
            self.memory = mmap.mmap(self.device, size)
        except BaseException:
            self.close()
            raise

    def close(self):
        if self.memory:
            self.memory.close()
        os.close(self.device)

    def rings(self, iface, receive):
        """Where the hardware rings of one direction are."""
        _, _, _, tx, rx, _, host_tx, _ = IFACE.unpack_from(self.memory, iface)
        first, count = (tx + host_tx, rx) if receive else (0, tx)
        offsets = struct.unpack_from(f"={count}q", self.memory, iface + RING_OFS + 8 * first)
        return [iface + offset for offset in offsets]


class NetmapPort:
    """One of netmap's ports, all rings of it."""

    def __init__(self, name):
        name, _, mem_id = name.removeprefix("netmap:").partition("@")
        self.region = Region(name, NR_REG_ALL_NIC, int(mem_id or 0))
        self.memory = self.region.memory
        self.tx = self.region.rings(self.region.offset, False)
        self.rx = self.region.rings(self.region.offset, True)

    def close(self):
        self.region.close()

    def sync(self, request):
        fcntl.ioctl(self.region.device, request)

    def buffer(self, ring, index):
        buf_ofs, _, size, *_ = RING.unpack_from(self.memory, ring)
        return ring + buf_ofs + index * size

    def send(self, frame):
        ring = self.tx[0]
        while True:
            _, slots, _, _, _, head, _, tail = RING.unpack_from(self.memory, ring)
            if head != tail:
                break
            self.sync(NIOCTXSYNC)
        at = ring + SLOTS + head * SLOT.size
        index, _, _, ptr = SLOT.unpack_from(self.memory, at)
        base = self.buffer(ring, index)
        self.memory[base : base + len(frame)] = frame
        SLOT.pack_into(self.memory, at, index, len(frame), 0, ptr)
        head = (head + 1) % slots
        struct.pack_into("=II", self.memory, ring + RING_HEAD, head, head)
        self.sync(NIOCTXSYNC)

    def flush(self):
        """Waits until all is sent: until the whole ring is ours again."""
        end = time.monotonic() + 5
        while time.monotonic() < end:
            self.sync(NIOCTXSYNC)
            _, slots, _, _, _, head, _, tail = RING.unpack_from(self.memory, self.tx[0])
            if (head - tail) % slots == 1:
                return
            time.sleep(0.01)
        raise Failure("not everything was sent")

    def receive(self):
        """What has come."""
        self.sync(NIOCRXSYNC)
        for ring in self.rx:
            _, slots, _, _, _, head, _, tail = RING.unpack_from(self.memory, ring)
            frame = b""
            while head != tail:
                at = ring + SLOTS + head * SLOT.size
                index, length, flags, _ = SLOT.unpack_from(self.memory, at)
                base = self.buffer(ring, index)
                frame += self.memory[base : base + length]
                if not flags & NS_MOREFRAG:
                    yield frame
                    frame = b""
                head = (head + 1) % slots
            struct.pack_into("=II", self.memory, ring + RING_HEAD, head, head)
