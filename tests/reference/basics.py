"""Sections 1, 10, 7 and 8 of FORMAT.md: what all other parts use."""

import struct
from dataclasses import dataclass

# ---------------------------------------------------------------------------------------------
# Section 1: conventions
# ---------------------------------------------------------------------------------------------

U64_MAX = 2**64 - 1


def up(n, a):
    """The smallest multiple of `a` that is not below `n`. Python's integers do not overflow."""
    return (n + a - 1) // a * a


def little(data, at, size):
    """An integer of the header or of a descriptor."""
    return int.from_bytes(data[at : at + size], "little")


# ---------------------------------------------------------------------------------------------
# Section 10: errors
# ---------------------------------------------------------------------------------------------


class FrameError(Exception):
    """One error of section 10: its name, and its fields by name."""

    def __init__(self, name, **fields):
        super().__init__(name)
        self.name = name
        self.fields = fields

    def __str__(self):
        """As the document writes it."""
        if not self.fields:
            return self.name
        if self.name in ("Version", "UnknownFlags"):
            return f"{self.name}({list(self.fields.values())[0]})"
        number = "{:#010x}".format if self.name == "HeadChecksum" else str
        inner = ", ".join(f"{key}: {number(value)}" for key, value in self.fields.items())
        return f"{self.name} {{ {inner} }}"


# ---------------------------------------------------------------------------------------------
# Section 7: checksums
# ---------------------------------------------------------------------------------------------


def crc_table():
    """What each byte does to the checksum: eight steps of the reflected polynomial."""
    table = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
        table.append(byte)
    return table


def two_byte_tables():
    """What two bytes do, and what they do when 2, 4 and 6 more bytes of zero come behind them."""
    tables = [[]]
    for pair in range(65536):
        crc = CRC_TABLE[pair & 0xFF]
        tables[0].append(CRC_TABLE[(crc ^ pair >> 8) & 0xFF] ^ crc >> 8)
    for _ in range(3):
        tables.append([tables[0][crc & 0xFFFF] ^ crc >> 16 for crc in tables[-1]])
    return tables


CRC_TABLE = crc_table()
CRC_0, CRC_2, CRC_4, CRC_6 = two_byte_tables()


def crc32c(*parts):
    """CRC-32C of the parts as one run of bytes.

    The second loop says all that there is to say. The first does the same for eight bytes at a
    time, only because Python would take too long for a large buffer.
    """
    crc = 0xFFFFFFFF
    for part in parts:
        whole = len(part) // 8 * 8
        for (word,) in struct.iter_unpack("<Q", part[:whole]):
            word ^= crc
            crc = (
                CRC_6[word & 0xFFFF]
                ^ CRC_4[word >> 16 & 0xFFFF]
                ^ CRC_2[word >> 32 & 0xFFFF]
                ^ CRC_0[word >> 48]
            )
        for byte in part[whole:]:
            crc = CRC_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


# ---------------------------------------------------------------------------------------------
# Section 8: limits
# ---------------------------------------------------------------------------------------------


@dataclass
class Block:
    """A block of a segment, as whoever keeps the segments knows it. `ours` is rule o of 9.2."""

    offset: int
    len: int
    generation: int
    ours: bool = True


@dataclass
class Limits:
    meta_len: int = 64 << 20
    buffers: int = 65536
    frame_len: int = 1 << 40
    depth: int = 128
    # This reader shares the memory of a buffer among all its uses, so it has nothing to count
    # here and never says `RepeatBudget`.
    repeat_bytes: int = 64 << 20
    # None permits no segments. Else a dict from the number of a segment to its list of blocks.
    segments: dict | None = None


STREAM_FRAME_LEN = 1 << 30
