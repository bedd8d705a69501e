# SPDX-License-Identifier: Apache-2.0
"""Frames to and from a port: one of netmap's (vale0:1, netmap:x}1), or the packet socket of an
interface."""

import collections
import contextlib
import errno
import socket
import struct
import threading
import time

from .host import ETH_P_ALL
from .netmap_port import NetmapPort
from .process import Failure

# An Ethernet broadcast of 60 bytes, and the same in VLAN 100.
FRAME = bytes.fromhex("ffffffffffff 020000000002 88b5") + bytes(46)
TAGGED = FRAME[:12] + bytes.fromhex("8100 0064") + FRAME[12:]

# Beyond net.core.rmem_max, which holds too few frames for a receiver that has to wait for a CPU.
SO_RCVBUFFORCE = 33
SOL_PACKET = 263
PACKET_AUXDATA = 8
PACKET_OUTGOING = 4
PACKET_QDISC_BYPASS = 20
TP_STATUS_CSUMNOTREADY = 0x8
TP_STATUS_VLAN_VALID = 0x10


class PacketSocket:
    """The packet socket of an interface in the namespace of this thread."""

    def __init__(self, name):
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_P_ALL))
        self.socket.bind((name, ETH_P_ALL))
        self.socket.setsockopt(SOL_PACKET, PACKET_AUXDATA, 1)
        self.socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, 1 << 23)
        self.socket.settimeout(0.05)
        # How many of the frames that came have a checksum which the kernel knows to be partial.
        self.partial = 0
        # What those are called instead, if not by their bytes.
        self.partial_name = lambda frame: frame

    def close(self):
        self.socket.close()

    def keep_order(self):
        """What is sent goes straight to the queue of this CPU.  Otherwise the kernel may deal tagged
        frames of one flow out to several queues."""
        self.socket.setsockopt(SOL_PACKET, PACKET_QDISC_BYPASS, 1)

    def send(self, frame, seconds=10):
        """Tries for so long as the interface takes no frame."""
        end = time.monotonic() + seconds
        while True:
            try:
                self.socket.send(frame)
                return
            except OSError as error:
                full = isinstance(error, TimeoutError) or error.errno == errno.ENOBUFS
                if not full or time.monotonic() > end:
                    raise
            time.sleep(0.001)

    def flush(self):
        """What send() took is sent."""

    def receive(self):
        """What has come."""
        while True:
            try:
                frame, auxiliary, _, sender = self.socket.recvmsg(65536, 256)
            except TimeoutError:
                return
            if sender[2] == PACKET_OUTGOING:
                continue
            frame, status = put_tag_back(frame, auxiliary)
            if status & TP_STATUS_CSUMNOTREADY:
                self.partial += 1
                frame = self.partial_name(frame)
            yield frame


def put_tag_back(frame, auxiliary):
    """The frame as it was on the wire, where its outer tag was in it; and the status."""
    for level, kind, data in auxiliary:
        if (level, kind) == (SOL_PACKET, PACKET_AUXDATA):
            status, _, _, _, _, tci, tpid = struct.unpack_from("=IIIHHHH", data)
            if status & TP_STATUS_VLAN_VALID:
                frame = frame[:12] + struct.pack("!HH", tpid or 0x8100, tci) + frame[12:]
            return frame, status
    return frame, 0


def open_port(name, host=None):
    """The port of that name, in the namespace of a Host if one is given."""
    with host.entered() if host else contextlib.nullcontext():
        return NetmapPort(name) if ":" in name else PacketSocket(name)


def emit(name, frames, rate=500, host=None):
    """Sends the frames, at most `rate` a second."""
    with contextlib.closing(open_port(name, host)) as port:
        start = time.monotonic()
        for i, frame in enumerate(frames):
            while time.monotonic() - start < i / rate:
                time.sleep(0.001)
            port.send(frame)
        port.flush()


class Listener:
    """Hands the frames that arrive at a port to take(), in the background, from now on.  `count` is how
    many came that were waited for."""

    # Seconds between two looks at the port.
    PAUSE = 0.001

    def __init__(self, name, host=None):
        self.name = name
        self.port = open_port(name, host)
        self.last = time.monotonic()
        self.ending = threading.Event()
        self.thread = threading.Thread(target=self._listen, daemon=True)
        self.thread.start()

    def _listen(self):
        while not self.ending.is_set():
            for frame in self.port.receive():
                self.take(frame)
            time.sleep(self.PAUSE)

    def wait(self, count, seconds=60):
        """Waits for so many frames, and half a second without one more; then it ends."""
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.thread.is_alive():
            if self.count >= count and time.monotonic() - self.last > 0.5:
                break
            time.sleep(0.01)
        self.close()

    def close(self):
        """Ends it; may be called again."""
        if self.port:
            self.ending.set()
            self.thread.join()
            self.port.close()
            self.port = None


class Collector(Listener):
    """Counts the frames that arrive at a port, by their bytes."""

    def __init__(self, name, host=None):
        self.frames = collections.Counter()
        super().__init__(name, host)

    @property
    def count(self):
        return self.frames.total()

    def take(self, frame):
        self.frames[frame] += 1
        self.last = time.monotonic()

    def finish(self, count, seconds=120):
        """Waits for `count` frames and half a second without one more; returns them, counted."""
        self.wait(count, seconds)
        return self.frames

    def expect(self, count, pattern):
        """So many frames came, and each one is `pattern`: bytes, or a compiled regex for its hex."""
        frames = self.finish(count)
        if isinstance(pattern, bytes):
            others = [frame.hex() for frame in frames if frame != pattern]
            pattern = pattern.hex()
        else:
            others = [frame.hex() for frame in frames if not pattern.fullmatch(frame.hex())]
            pattern = pattern.pattern
        if others:
            raise Failure(f"at {self.name}: instead of {pattern} there came {others[:3]}")
        if frames.total() != count:
            raise Failure(f"at {self.name}: {frames.total()} frames received, expected {count}")
