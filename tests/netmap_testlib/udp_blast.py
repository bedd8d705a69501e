#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""udp_blast.py ADDRESS...: UDP packets of all sizes, up to three fragments, to all of these
addresses for 20 seconds, some to ports that nobody listens on; reads what comes."""

import contextlib
import random
import socket
import sys
import time


def size():
    return random.choice(
        (random.randint(0, 100), random.randint(0, 1472), 1472, random.randint(1473, 4000))
    )


def main(peers):
    udp = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    udp.bind(("", 7000))
    udp.setblocking(False)
    data = random.randbytes(4000)
    end = time.monotonic() + 20
    while time.monotonic() < end:
        for _ in range(random.choice((1, 8, 64))):
            with contextlib.suppress(OSError):
                udp.sendto(data[: size()], (random.choice(peers), random.choice((7000, 7001, 9))))
        with contextlib.suppress(OSError):
            while True:
                udp.recv(65535)
        time.sleep(0.004)


main(sys.argv[1:])
