# SPDX-License-Identifier: Apache-2.0
"""Numbered frames: whether any was lost, doubled, overtaken by another one of its flow, or changed."""

import collections
import contextlib
import itertools
import os
import random
import struct
import threading
import time

from .frames import Listener, open_port
from .process import Failure

# UDP to an address that no host has, so that nobody answers.
HEADER = bytes.fromhex("0200000000fe 0200000000ff 0800")
FIRST_PORT = 10000
SHORTEST, LONGEST = 60, 1514
PAYLOAD = 42
MOST_FLOWS = 32
NOISE = random.Random(1).randbytes(2 * LONGEST)


def checksum(header):
    total = sum(struct.unpack(f"!{len(header) // 2}H", header))
    total = (total & 0xFFFF) + (total >> 16)
    return ~(total + (total >> 16)) & 0xFFFF


def numbered(flow, number, size=None, longest=LONGEST):
    """Frame `number` of a flow, by default of a size that differs from frame to frame."""
    if size is None:
        size = SHORTEST + number * 97 % (longest - SHORTEST + 1)
    # Cards that deal flows out to queues look at the addresses at least, at all of their bits.
    addresses = bytes([10, 200, 0, flow + 1, 10, 200, flow * 37 % 256, flow * 101 % 256])
    ip = struct.pack("!BBHHHBBH8s", 0x45, 0, size - 14, 0, 0, 64, 17, 0, addresses)
    ip = ip[:10] + struct.pack("!H", checksum(ip)) + ip[12:]
    udp = struct.pack("!HHHHI", FIRST_PORT + flow, 9, size - 34, 0, number)
    start = (number * 31 + flow * 7) % LONGEST
    return HEADER + ip + udp + NOISE[start : start + size - PAYLOAD - 4]


def parse(frame):
    """(flow, number) of a frame that numbered() made, else None."""
    if len(frame) < SHORTEST or frame[: len(HEADER)] != HEADER:
        return None
    port, _, _, _, number = struct.unpack_from("!HHHHI", frame, 34)
    return port - FIRST_PORT, number


class Receiver(Listener):
    """What comes to the interface of a host from now on.  `untag` makes of a frame that came the one
    that was sent, or None if it is none."""

    PAUSE = 0

    def __init__(self, host, untag=lambda frame: frame):
        self.untag = untag
        self.came = collections.defaultdict(list)
        self.changed = []
        super().__init__(host.name, host)

    @property
    def count(self):
        return sum(map(len, self.came.values()))

    def take(self, frame):
        sent = self.untag(frame)
        found = sent and parse(sent)
        if not found:
            # What of ours has the wrong tags is changed; the rest is other programs'.
            if HEADER[:12] in frame:
                self.changed.append(frame)
            return
        self.last = time.monotonic()
        if sent != numbered(*found, len(sent)):
            self.changed.append(frame)
        self.came[found[0]].append(found[1])

    def check(self, flows, count, lossy=False):
        """`count` frames of each of these flows came, or fewer if `lossy`, each once, in their order
        and as they were sent."""
        faults = []
        if self.changed:
            faults.append(f"{len(self.changed)} changed, one to {self.changed[0].hex()}")
        for flow in flows:
            numbers = self.came[flow]
            different = set(numbers)
            doubled = len(numbers) - len(different)
            late = [f"{b} after {a}" for a, b in itertools.pairwise(numbers) if a > b]
            lost = count - len(different & set(range(count)))
            if doubled or late or (lost and not lossy):
                missing = sorted(set(range(count)) - different)[:5]
                faults.append(
                    f"flow {flow}: {lost} of {count} lost {missing}, {doubled} doubled,"
                    f" {len(late)} late {late[:5]}"
                )
        if faults:
            raise Failure(f"at {self.name}: {'; '.join(faults)}")


@contextlib.contextmanager
def pinned():
    """This thread stays on one CPU, and so sends by one queue of a card: what it sends by two may come
    in another order."""
    cpus = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(cpus)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cpus)


def send(
    host,
    flows,
    count,
    rate=1000,
    *,
    tag=lambda frame: frame,
    size=None,
    longest=LONGEST,
    until=None,
    patient=False,
):
    """Sends `count` frames of each of these flows from a host, at most `rate` a second; fewer if the
    event `until` comes.  Returns how many of each it sent.  If `patient`, a link may be down."""
    with pinned(), contextlib.closing(open_port(host.name, host)) as port:
        port.keep_order()
        start, sent = time.monotonic(), 0
        for number in range(count):
            if until and until.is_set():
                return number
            for flow in flows:
                while time.monotonic() - start < sent / rate:
                    time.sleep(0.001)
                frame = tag(numbered(flow, number, size, longest))
                if patient:
                    with contextlib.suppress(OSError):
                        port.send(frame, 0)
                else:
                    port.send(frame)
                sent += 1
    return count


class Sender:
    """send() in the background, without an end if `count` is None."""

    def __init__(self, host, flows, count=None, rate=500, **options):
        self.until = threading.Event()
        self.sent = self.error = None
        arguments = (host, flows, count or 1 << 30, rate)
        self.thread = threading.Thread(
            target=self._run, args=arguments, kwargs=options, daemon=True
        )
        self.thread.start()

    def _run(self, *arguments, **options):
        try:
            self.sent = send(*arguments, until=self.until, **options)
        except OSError as error:
            self.error = error

    def join(self):
        """Waits until all is sent."""
        self.thread.join()
        if self.error:
            raise Failure(f"sending: {self.error}")
        return self.sent

    def stop(self):
        self.until.set()
        return self.join()


def exchange(pairs, flows=4, count=400, rate=1000, untag=lambda frame: frame, **options):
    """Sends numbered frames for each (from, to) of `pairs` at the same time, and checks what came.

    Each way has flows of its own: some interfaces deal out a flow as the one in the other direction.
    """
    numbers = [range(MOST_FLOWS * way, MOST_FLOWS * way + flows) for way in range(len(pairs))]
    receivers = [Receiver(sink, untag) for _, sink in pairs]
    senders = [
        Sender(source, way, count, rate, **options)
        for (source, _), way in zip(pairs, numbers, strict=True)
    ]
    try:
        for sender in senders:
            sender.join()
        for receiver in receivers:
            receiver.wait(flows * count, 20)
    finally:
        for receiver in receivers:
            receiver.close()
    for receiver, way in zip(receivers, numbers, strict=True):
        receiver.check(way, count)
