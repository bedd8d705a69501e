#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""free-bufs.py MEM_ID: prints how many buffers of a netmap region are free.

The module tells nobody, so all of them are taken for a moment: as the extra
buffers of a null port in that region."""

import ctypes
import fcntl
import os
import struct
import sys

NETMAP_API = 14
NETMAP_REQ_REGISTER = 1
NR_REG_NULL = 7
NIOCCTRL = 0xC0586997               # _IOWR('i', 151, struct nmreq_header)

# struct nmreq_register: offset, memsize, 2 numbers of slots, 4 of rings, mem_id,
# ringid, mode, extra_bufs, flags.
REGISTER = struct.Struct("=QQIIHHHHHHII4xQ")
body = ctypes.create_string_buffer(
    REGISTER.pack(0, 0, 0, 0, 0, 0, 0, 0, int(sys.argv[1]), 0, NR_REG_NULL, 10_000_000, 0))
header = struct.pack("=HHI64sQQ", NETMAP_API, NETMAP_REQ_REGISTER, 0, b"free-bufs", 0,
                     ctypes.addressof(body))
device = os.open("/dev/netmap", os.O_RDWR)
fcntl.ioctl(device, NIOCCTRL, bytearray(header))
print(REGISTER.unpack(body.raw[:REGISTER.size])[-2])
