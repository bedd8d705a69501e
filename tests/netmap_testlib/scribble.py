#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""scribble.py MEM_ID NAME SECONDS: writes rubbish into all rings of the port NAME (as the module calls
it) in that region.  Prints "Ready" when it begins, and how many words it wrote."""

import random
import struct
import sys
import time

from netmap_testlib.netmap_port import NR_REG_NULL, RING, SLOTS, Region


def rings_of(region, name):
    """All places that look like the port's; the pool of interfaces is the first one, and buffers hold
    frames, whatever is in them."""
    rings, at = [], 0
    key = name.encode() + b"\0"
    while (at := region.memory.find(key, at, 1 << 20)) >= 0:
        if at % 64 == 0:
            rings += region.rings(at, False) + region.rings(at, True)
        at += 1
    return rings


def victim(mem_id, name):
    """That region, and the port's rings in it."""
    region = Region("victim", NR_REG_NULL, mem_id)
    rings = rings_of(region, name)
    if not rings:
        sys.exit(f"no port {name} in region {mem_id}")
    return region, rings


def scribble(mem_id, name, seconds):
    region, rings = victim(mem_id, name)
    rubbish = random.Random(4711)
    sizes = [RING.unpack_from(region.memory, ring)[1] for ring in rings]
    print("Ready", flush=True)
    writes = 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for _ in range(100):
            which = rubbish.randrange(len(rings))
            ring, slots = rings[which], sizes[which]
            near = [0, 1, 2, rubbish.randrange(slots), rubbish.randrange(1 << 17)]
            value = rubbish.choice([*near, rubbish.getrandbits(32), 0xFFFFFFFF])
            if rubbish.randrange(8) == 0:
                # Anything of the header, the constants too.
                word = rubbish.choice(range(0, 72, 4))
            else:
                word = SLOTS + 4 * rubbish.randrange(4 * slots)
            struct.pack_into("=I", region.memory, ring + word, value)
            writes += 1
        time.sleep(0.001)
    print(writes, "words")


if __name__ == "__main__":
    scribble(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
