# SPDX-License-Identifier: Apache-2.0
"""Frames with TCP and UDP segments, whose checksums are as they should be, partial, or wrong."""

import struct
from dataclasses import dataclass

MAC = bytes.fromhex("020000000002 020000000001")


def internet_sum(data):
    """RFC 1071, neither inverted nor anything else."""
    data += b"\0" * (len(data) % 2)
    total = sum(struct.unpack(f"!{len(data) // 2}H", data))
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return total


@dataclass(frozen=True)
class Checksummed:
    """A frame as its sender means it, with the checksum at `at`.

    `partial` is what the sender leaves there for somebody else to complete.
    """

    full: bytes
    at: int
    partial: int

    def with_checksum(self, checksum):
        return self.full[: self.at] + struct.pack("!H", checksum) + self.full[self.at + 2 :]

    @property
    def left(self):
        """The frame with a partial checksum."""
        return self.with_checksum(self.partial)

    @property
    def wrong(self):
        """With one that is neither."""
        return self.with_checksum((self.partial + 0x1111) & 0xFFFF)


ADDRESSES_V4 = bytes([10, 0, 0, 1, 10, 0, 0, 2])
ADDRESSES_V6 = bytes([0xFD, *[0] * 14, 1, 0xFD, *[0] * 14, 2])


def ipv4(segment, protocol, addresses=ADDRESSES_V4):
    header = struct.pack("!BBHHHBBH", 0x45, 0, 20 + len(segment), 1, 0x4000, 64, protocol, 0)
    header += addresses
    checksum = internet_sum(header) ^ 0xFFFF
    return header[:10] + struct.pack("!H", checksum) + header[12:] + segment, addresses, 0x0800


def ipv6(segment, protocol, addresses=ADDRESSES_V6):
    header = struct.pack("!IHBB", 0x60000000, len(segment), protocol, 64) + addresses
    return header + segment, addresses, 0x86DD


def checksummed(payload, protocol="tcp", ip=ipv4, tags=()):
    """An Ethernet frame with a segment of that payload."""
    if protocol == "tcp":
        number, at = 6, 16
        segment = struct.pack("!HHIIBBHHH", 1, 2, 3, 4, 5 << 4, 16, 99, 0, 0) + payload
    else:
        number, at = 17, 6
        segment = struct.pack("!HHHH", 53, 5353, 8 + len(payload), 0) + payload
    packet, addresses, ethertype = ip(segment, number)
    pseudo = addresses + struct.pack("!II", len(segment), number)
    ethernet = MAC + b"".join(struct.pack("!HH", *tag) for tag in tags)
    ethernet += struct.pack("!H", ethertype)
    frame = Checksummed(
        ethernet + packet,
        len(ethernet) + len(packet) - len(segment) + at,
        internet_sum(pseudo),
    )
    full = internet_sum(pseudo + segment) ^ 0xFFFF or 0xFFFF
    return Checksummed(frame.with_checksum(full), frame.at, frame.partial)
