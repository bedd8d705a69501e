# SPDX-License-Identifier: Apache-2.0
"""blast.py INTERFACE SIZE FLOWS [RATE SECONDS]: UDP frames of SIZE bytes (without checksum) in FLOWS
flows, as fast as the interface takes them; or RATE a second for SECONDS, then it prints how many it was
to send: those that the interface refused count, too.  Without RATE it stops when it is ready to
send, and goes on when it is told to.

One system call sends 64 frames, which go past the queueing discipline, so the time is the kernel's.
"""

import ctypes
import os
import signal
import socket
import struct
import sys
import time

BATCH = 64
SOL_PACKET = 263
PACKET_QDISC_BYPASS = 20
# Locally administered, and nobody's: the receiving host's stack drops the frames first thing.
DESTINATION = bytes.fromhex("02000000b001")
SOURCE = bytes.fromhex("02000000b002")


class Iovec(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


class Msghdr(ctypes.Structure):
    _fields_ = [
        ("name", ctypes.c_void_p),
        ("namelen", ctypes.c_uint),
        ("iov", ctypes.POINTER(Iovec)),
        ("iovlen", ctypes.c_size_t),
        ("control", ctypes.c_void_p),
        ("controllen", ctypes.c_size_t),
        ("flags", ctypes.c_int),
    ]


class Mmsghdr(ctypes.Structure):
    _fields_ = [("header", Msghdr), ("length", ctypes.c_uint)]


def checksum(header):
    total = sum(struct.unpack("!10H", header))
    return 0xFFFF ^ (total % 0xFFFF or 0xFFFF)


def frame(size, flow):
    length = size - 14
    fields = (0x45, 0, length, 0, 0, 64, 17, 0)
    addresses = bytes([10, 9, 0, 1, 10, 9, 0, 2])
    ip = struct.pack("!BBHHHBBH", *fields) + addresses
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    udp = struct.pack("!HHHH", 1024 + flow, 9, length - 20, 0)
    return (DESTINATION + SOURCE + b"\x08\x00" + ip + udp).ljust(size, b"\0")


def batches(size, flows):
    """Arrays of BATCH messages; each flow is in as many."""
    frames = [ctypes.create_string_buffer(frame(size, flow), size) for flow in range(flows)]
    total = -(-flows // BATCH) * BATCH
    vectors = (Iovec * total)()
    messages = [(Mmsghdr * BATCH)() for _ in range(total // BATCH)]
    for i in range(total):
        vectors[i] = Iovec(ctypes.addressof(frames[i % flows]), size)
        header = messages[i // BATCH][i % BATCH].header
        header.iov = ctypes.pointer(vectors[i])
        header.iovlen = 1
    return frames, vectors, messages


def main(interface, size, flows, rate=None, seconds=None):
    packets = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
    packets.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)
    packets.bind((interface, 0))
    sendmmsg = ctypes.CDLL(None, use_errno=True).sendmmsg
    _frames, _vectors, messages = batches(size, flows)
    descriptor, turn, sent = packets.fileno(), 0, 0
    if rate is None:
        os.kill(os.getpid(), signal.SIGSTOP)
    start = time.monotonic()
    while seconds is None or time.monotonic() < start + seconds:
        if rate is not None and sent > (time.monotonic() - start) * rate:
            continue
        # What it refuses is not sent again.
        sendmmsg(descriptor, messages[turn], BATCH, 0)
        turn = (turn + 1) % len(messages)
        sent += BATCH
    print(sent)


main(sys.argv[1], *map(int, sys.argv[2:4]), *map(float, sys.argv[4:6]))
