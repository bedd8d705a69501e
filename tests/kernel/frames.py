#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Frames in hex to and from a port, and what else tests want of a region.

  frames.py send PORT COUNT HEX [RATE]   the same frame COUNT times, at most RATE a second (1000)
  frames.py flows PORT COUNT             UDP packets of 60 bytes, in 50 flows
  frames.py receive PORT COUNT SECONDS   until COUNT frames came and none for half a second, or the
                                         time is up; prints "NUMBER HEX" for each different frame
  frames.py hold MEM_ID                  keeps a region until it is killed
  frames.py scribble MEM_ID NAME SECONDS writes rubbish into all rings of the port NAME (as the module
                                         calls it) in that region
  frames.py vxlan SRC-MAC DST-MAC SRC-IP DST-IP VNI HEX   prints HEX in VXLAN

PORT is one of netmap's (vale0:1, netmap:x}1), or else an interface, whose packet socket is used.
"receive", "hold" and "scribble" say "Ready" on standard error.  This program asks for no slot
offsets: it reads and writes frames at the base of their buffers, as pkt-gen does."""

import collections
import ctypes
import fcntl
import mmap
import os
import signal
import socket
import struct
import sys
import time

NETMAP_API = 14
NETMAP_REQ_REGISTER = 1
NR_REG_ALL_NIC = 1
NR_REG_NULL = 7
NIOCCTRL = 0xC0586997               # _IOWR('i', 151, struct nmreq_header)
NIOCTXSYNC = 0x6994                 # _IO('i', 148)
NIOCRXSYNC = 0x6995
NS_BUF_CHANGED = 1
NS_MOREFRAG = 0x20

# struct nmreq_register: offset, memsize, 2 numbers of slots, 4 of rings, mem_id, ringid, mode,
# extra_bufs, flags.
REGISTER = struct.Struct("=QQIIHHHHHHII4xQ")
# struct netmap_if after its name: version, flags, tx rings, rx rings, bufs_head, host rings.
IFACE = struct.Struct("=16sIIIIIII")
RING_OFS = 56                       # of ring_ofs[] in it
# struct netmap_ring: buf_ofs, num_slots, buf_size, ringid, dir, head, cur, tail
RING = struct.Struct("=qIIHHIII")
RING_HEAD = 20
SLOTS = 256                         # of slot[] in it
SLOT = struct.Struct("=IHHQ")

# For packet sockets.
ETH_P_ALL = 3
SOL_PACKET = 263
PACKET_AUXDATA = 8
PACKET_OUTGOING = 4
TP_STATUS_VLAN_VALID = 0x10


def ready():
    print("Ready", file=sys.stderr, flush=True)


class Region:
    """A descriptor of /dev/netmap that is bound to a port, and its region's mapping."""

    def __init__(self, name, mode, mem_id=0):
        self.device = os.open("/dev/netmap", os.O_RDWR)
        body = ctypes.create_string_buffer(
            REGISTER.pack(0, 0, 0, 0, 0, 0, 0, 0, mem_id, 0, mode, 0, 0), REGISTER.size)
        header = struct.pack("=HHI64sQQ", NETMAP_API, NETMAP_REQ_REGISTER, 0, name.encode(), 0,
                             ctypes.addressof(body))
        fcntl.ioctl(self.device, NIOCCTRL, bytearray(header))
        self.offset, size, *_ = REGISTER.unpack(body.raw)
        self.memory = mmap.mmap(self.device, size)

    def rings(self, iface, receive):
        """Where the hardware rings of one direction are."""
        _, _, _, tx, rx, _, host_tx, _ = IFACE.unpack_from(self.memory, iface)
        first, count = (tx + host_tx, rx) if receive else (0, tx)
        return [iface + ofs for ofs in struct.unpack_from(
            f"={count}q", self.memory, iface + RING_OFS + 8 * first)]


class NetmapPort:
    """One of netmap's ports, all rings of it."""

    def __init__(self, name):
        name, _, mem_id = name.removeprefix("netmap:").partition("@")
        self.region = Region(name, NR_REG_ALL_NIC, int(mem_id or 0))
        self.memory = self.region.memory
        self.tx = self.region.rings(self.region.offset, False)
        self.rx = self.region.rings(self.region.offset, True)

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
        self.memory[base:base + len(frame)] = frame
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
        sys.exit("not everything was sent")

    def receive(self):
        """What has come."""
        self.sync(NIOCRXSYNC)
        for ring in self.rx:
            _, slots, _, _, _, head, _, tail = RING.unpack_from(self.memory, ring)
            frame = b""
            while head != tail:
                index, length, flags, _ = SLOT.unpack_from(
                    self.memory, ring + SLOTS + head * SLOT.size)
                base = self.buffer(ring, index)
                frame += self.memory[base:base + length]
                if not flags & NS_MOREFRAG:
                    yield frame
                    frame = b""
                head = (head + 1) % slots
            struct.pack_into("=II", self.memory, ring + RING_HEAD, head, head)


class PacketSocket:
    """The packet socket of an interface."""

    def __init__(self, name):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.bind((name, ETH_P_ALL))
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 23)
        self.socket.settimeout(0.05)

    def send(self, frame):
        self.socket.send(frame)

    def flush(self):
        pass

    def receive(self):
        while True:
            try:
                frame, auxiliary, _, sender = self.socket.recvmsg(65536, 256)
            except TimeoutError:
                return
            if sender[2] == PACKET_OUTGOING:
                continue
            for level, kind, data in auxiliary:
                if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
                    status, _, _, _, _, tci, tpid = struct.unpack_from("=IIIHHHH", data)
                    if status & TP_STATUS_VLAN_VALID:
                        # The kernel takes a frame's tag out.
                        frame = frame[:12] + struct.pack("!HH", tpid or 0x8100, tci) + frame[12:]
            yield frame


def open_port(name):
    if ":" in name:
        return NetmapPort(name)
    return PacketSocket(name)


def send(name, count, frame, rate="1000"):
    port = open_port(name)
    frame = bytes.fromhex(frame)
    start = time.monotonic()
    for i in range(int(count)):
        while time.monotonic() - start < i / int(rate):
            time.sleep(0.001)
        port.send(frame)
    port.flush()
    print("sent", count)


def receive(name, count, seconds):
    port = open_port(name)
    ready()
    frames = collections.Counter()
    end = time.monotonic() + float(seconds)
    last = None
    while time.monotonic() < end:
        before = frames.total()
        frames.update(frame.hex() for frame in port.receive())
        now = time.monotonic()
        if last is None or frames.total() > before:
            last = now
        if frames.total() >= int(count) and now - last > 0.5:
            break
        time.sleep(0.001)
    for frame, number in frames.most_common():
        print(number, frame)


def hold(mem_id):
    region = Region("holder", NR_REG_NULL, int(mem_id))
    ready()
    while region:
        time.sleep(1000)


def scribble(mem_id, name, seconds):
    import random                   # Takes long to load, where everything is slow.
    region = Region("scribbler", NR_REG_NULL, int(mem_id))
    memory = region.memory
    at, rings = 0, []
    key = name.encode() + b"\0"
    # The pool of interfaces is the first one; buffers hold frames, whatever is in them.
    while (at := memory.find(key, at, 1 << 20)) >= 0:
        if at % 64 == 0:
            rings += region.rings(at, False) + region.rings(at, True)
        at += 1
    if not rings:
        sys.exit(f"no port {name} in region {mem_id}")
    rubbish = random.Random(4711)
    sizes = [RING.unpack_from(memory, ring)[1] for ring in rings]
    ready()
    writes = 0
    end = time.monotonic() + float(seconds)
    while time.monotonic() < end:
        for _ in range(100):
            which = rubbish.randrange(len(rings))
            ring, slots = rings[which], sizes[which]
            value = rubbish.choice([0, 1, 2, rubbish.randrange(slots), rubbish.randrange(1 << 17),
                                    rubbish.getrandbits(32), 0xFFFFFFFF])
            if rubbish.randrange(8) == 0:
                # Anything of the header, the constants too.
                word = rubbish.choice(range(0, 72, 4))
            else:
                word = SLOTS + 4 * rubbish.randrange(4 * slots)
            struct.pack_into("=I", memory, ring + word, value)
            writes += 1
        time.sleep(0.001)
    print("wrote", writes)


def udp_in_ip(source, destination, payload, port=40000):
    """An IPv4 header and a UDP packet of this port to 4789."""
    def header(checksum):
        return struct.pack("!BBHHHBBH4s4s", 0x45, 0, 28 + len(payload), 0, 0x4000, 64, 17, checksum,
                           socket.inet_aton(source), socket.inet_aton(destination))
    total = sum(struct.unpack("!10H", header(0)))
    total = (total & 0xFFFF) + (total >> 16)
    udp = struct.pack("!HHHH", port, 4789, 8 + len(payload), 0)
    return header(~total & 0xFFFF) + udp + payload


def flows(name, count):
    port = open_port(name)
    for i in range(int(count)):
        packet = udp_in_ip("10.93.0.1", "10.93.0.2", bytes(18), 40000 + i % 50)
        port.send(bytes.fromhex("ffffffffffff0200000000020800") + packet)
        time.sleep(0.001)
    port.flush()


def vxlan(source, destination, source_ip, destination_ip, vni, inner):
    header = struct.pack("!II", 0x08000000, int(vni) << 8)
    packet = udp_in_ip(source_ip, destination_ip, header + bytes.fromhex(inner))
    print(destination + source + "0800" + packet.hex())


def main():
    commands = {f.__name__: f for f in (send, flows, receive, hold, scribble, vxlan)}
    if len(sys.argv) < 2 or sys.argv[1] not in commands:
        sys.exit(__doc__)
    # A shell starts what is to run in the background with SIGINT ignored.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    commands[sys.argv[1]](*sys.argv[2:])


main()
