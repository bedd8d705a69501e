#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""flip.py MEM_ID NAME SECONDS: changes bytes of frames in the rings of the port NAME (as the module
calls it) in that region, as whoever sent them may do.  Prints "Ready" when it begins, and how many
it changed."""

import random
import sys
import time

from netmap_testlib.netmap_port import RING, SLOT, SLOTS
from netmap_testlib.scribble import victim

# Of the frame: types, lengths and everything else of the headers.
FIRST, LAST = 12, 90
# Bits of a slot's `ptr` that are the offset of its frame.
OFFSET_MASK = 0xFFFF


def flip(mem_id, name, seconds):
    region, rings = victim(mem_id, name)
    chance = random.Random(4711)
    changes = [(chance.randrange(FIRST, LAST), chance.randrange(1, 256)) for _ in range(4093)]
    print("Ready", flush=True)
    memory, count = region.memory, 0
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for ring in rings:
            buf_ofs, slots, size, *_ = RING.unpack_from(memory, ring)
            for slot in range(slots):
                index, _, _, ptr = SLOT.unpack_from(memory, ring + SLOTS + slot * SLOT.size)
                byte, change = changes[count % len(changes)]
                at = ring + buf_ofs + index * size + (ptr & OFFSET_MASK) + byte
                memory[at] ^= change
                count += 1
    print(count, "bytes")


flip(int(sys.argv[1]), sys.argv[2], float(sys.argv[3]))
