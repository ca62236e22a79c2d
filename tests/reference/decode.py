#!/usr/bin/env python3
"""A second reader of the frame format, version 1, written from FORMAT.md alone.

It is slow and plain on purpose. Each part names the section of the document that it follows, so
that the two can be read side by side. It reads; it does not write.

    python3 decode.py FILE...          print the frames in each file
    python3 decode.py --vectors DIR    compare with the test vectors in DIR/ok and DIR/bad
    python3 decode.py --self-test      try the examples that the document itself gives
"""

import hashlib
import json
import struct
import sys
from dataclasses import dataclass, field
from pathlib import Path

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
        number = hex if self.name == "HeadChecksum" else str
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


# ---------------------------------------------------------------------------------------------
# Section 3: header
# ---------------------------------------------------------------------------------------------

HEADER_LEN = 32
MAGIC = b"\xc1\x50\x4e\x52"
CHECKSUM = 1


@dataclass
class Header:
    must: int
    may: int
    meta_len: int
    buffers: int
    frame_len: int
    tag: int
    head_crc: int

    # Section 2 computes these two.

    @property
    def table_at(self):
        return up(32 + self.meta_len, 32)

    @property
    def head_len(self):
        if self.buffers > 0:
            return self.table_at + 32 * self.buffers
        return 32 + self.meta_len

    @property
    def has_checksum(self):
        return self.must & CHECKSUM != 0


def read_header(data, limits):
    """Steps 1 to 11 of section 9.1, which need the first 32 bytes."""
    need_bytes(data, HEADER_LEN)  # step 1
    if bytes(data[0:4]) != MAGIC:  # step 2
        raise FrameError("BadMagic")
    if data[4] != 1:  # step 3
        raise FrameError("Version", version=data[4])
    must = data[5]
    if must & ~CHECKSUM:  # step 4
        raise FrameError("UnknownFlags", flags=must & 0xFE)
    if data[7] != 0:  # step 5
        raise FrameError("Reserved", at=7)
    header = Header(
        must=must,
        may=data[6],
        meta_len=little(data, 8, 4),
        buffers=little(data, 12, 4),
        frame_len=little(data, 16, 8),
        tag=little(data, 24, 4),
        head_crc=little(data, 28, 4),
    )
    if not header.has_checksum and header.head_crc != 0:  # step 6
        raise FrameError("Reserved", at=28)
    hold_to_limit("meta_len", header.meta_len, limits.meta_len)  # step 7
    hold_to_limit("buffers", header.buffers, limits.buffers)  # step 8
    hold_to_limit("frame_len", header.frame_len, limits.frame_len)  # step 9
    if header.meta_len == 0:  # step 10
        raise FrameError("Meta", at=0, why="Eof")
    least = up(header.head_len, 64)
    if header.frame_len < least or header.frame_len % 64 != 0:  # step 11
        raise FrameError("FrameLen", stated=header.frame_len, computed=least)
    return header


def need_bytes(data, need):
    if len(data) < need:
        raise FrameError("Truncated", need=need, have=len(data))


def hold_to_limit(what, value, limit):
    if value > limit:
        raise FrameError("Limit", what=what, value=value, limit=limit)


# ---------------------------------------------------------------------------------------------
# Section 4: descriptor
# ---------------------------------------------------------------------------------------------

INLINE, SEGMENT, EXTERNAL = 0, 1, 2
WRITABLE = 1


@dataclass
class Descriptor:
    offset: int
    len: int
    segment: int
    generation: int
    crc: int
    location: int
    flags: int
    kind: int
    align: int

    @property
    def end(self):
        return self.offset + self.len

    @property
    def writable(self):
        return self.flags & WRITABLE != 0


def read_descriptor(data, at):
    return Descriptor(
        offset=little(data, at, 8),
        len=little(data, at + 8, 8),
        segment=little(data, at + 16, 4),
        generation=little(data, at + 20, 4),
        crc=little(data, at + 24, 4),
        location=data[at + 28],
        flags=data[at + 29],
        kind=data[at + 30],
        align=data[at + 31],
    )


# Section 4.1: the name of each kind that has elements, and the size of one.
KINDS = {
    0x10: ("u8", 1), 0x11: ("u16", 2), 0x12: ("u32", 4), 0x13: ("u64", 8), 0x14: ("u128", 16),
    0x20: ("i8", 1), 0x21: ("i16", 2), 0x22: ("i32", 4), 0x23: ("i64", 8), 0x24: ("i128", 16),
    0x31: ("f16", 2), 0x32: ("f32", 4), 0x33: ("f64", 8),
    0x43: ("complex64", 8), 0x44: ("complex128", 16),
}  # fmt: skip


def kind_is_reserved(kind):
    # 0 is opaque, and 0x80 and above are advisory: both are bytes to us.
    return kind not in KINDS and kind != 0 and kind < 0x80


# ---------------------------------------------------------------------------------------------
# Sections 5 and 9.2: placement, and the checks of one descriptor
# ---------------------------------------------------------------------------------------------


def read_head(header, data, limits):
    """Steps 12 to 17 of section 9.1, which need the head. Gives the descriptors."""
    need_bytes(data, header.head_len)  # step 12
    if header.has_checksum:  # step 13
        computed = crc32c(data[0:28], data[32 : header.head_len])
        if computed != header.head_crc:
            raise FrameError("HeadChecksum", stated=header.head_crc, computed=computed)
    if header.buffers > 0:  # step 14; without a table there is no padding before it
        check_padding(data, 32 + header.meta_len, header.table_at)

    descriptors = []
    end, a = header.head_len, 6
    for index in range(header.buffers):  # step 15
        d = read_descriptor(data, header.table_at + 32 * index)
        check_descriptor(header, index, d, end, limits)
        if d.location == INLINE:
            end = d.end
            a = max(a, d.align)
        descriptors.append(d)

    exact = min(up(end, 2**a), U64_MAX)
    if header.frame_len != exact:  # step 16
        raise FrameError("FrameLen", stated=header.frame_len, computed=exact)
    check_aliases(descriptors)  # step 17
    return descriptors


def check_padding(data, start, end):
    if any(data[start:end]):
        first = next(at for at in range(start, end) if data[at] != 0)
        raise FrameError("Padding", at=first)


def check_descriptor(header, index, d, end, limits):
    """The rules of section 9.2. `end` is where the inline buffer before this one ends."""

    def refuse(why):
        raise FrameError("Descriptor", index=index, why=why)

    inline = d.location == INLINE
    segment = d.location == SEGMENT
    external = d.location == EXTERNAL
    if not (inline or segment or external):  # rule a
        refuse("Location")
    if d.flags & ~WRITABLE:  # rule b
        refuse("Flags")
    if kind_is_reserved(d.kind):  # rule c
        refuse("Kind")
    if d.align > 16 or (inline and d.align < 6):  # rule d
        refuse("Align")
    if segment and d.offset % 2**d.align != 0:  # rule d
        refuse("Align")
    if d.len == 0:  # rule e
        refuse("Empty")
    if d.kind in KINDS and d.len % KINDS[d.kind][1] != 0:  # rule f
        refuse("KindLen")
    if not external and d.end > U64_MAX:  # rule g
        refuse("Overflow")
    if not segment and (d.segment != 0 or d.generation != 0):  # rule h
        refuse("Fields")
    if d.crc != 0 and not (inline and header.has_checksum):  # rule i
        refuse("Crc")
    # A place above 2^64 - 1 equals no offset, so rule j needs no care for overflow here.
    if inline and d.offset != up(end, 2**d.align):  # rule j
        refuse("Offset")
    if segment:
        check_segment(index, d, limits)


def check_segment(index, d, limits):
    """Rules k to o of section 9.2."""

    def refuse(why):
        raise FrameError("Segment", index=index, why=why)

    if limits.segments is None:  # rule k
        refuse("NotPermitted")
    if d.segment not in limits.segments:  # rule l
        refuse("Unknown")
    for block in limits.segments[d.segment]:
        if block.offset <= d.offset and d.end <= block.offset + block.len:
            break
    else:  # rule m
        refuse("Bounds")
    if block.generation != d.generation:  # rule n
        refuse("Stale")
    if not block.ours:  # rule o
        refuse("Unknown")


def check_aliases(descriptors):
    """Step 17: the smallest index whose range meets one before it, one of the two writable."""
    # To look at all pairs is plain, and too slow for tables of many segment ranges.
    if not any(d.writable for d in descriptors if d.location == SEGMENT):
        return
    for index, later in enumerate(descriptors):
        if later.location != SEGMENT:
            continue
        for earlier in descriptors[:index]:
            if earlier.location != SEGMENT or earlier.segment != later.segment:
                continue
            share = earlier.offset < later.end and later.offset < earlier.end
            if share and (earlier.writable or later.writable):
                raise FrameError("Segment", index=index, why="AliasedWritable")


# ---------------------------------------------------------------------------------------------
# Sections 6 and 9.3: metadata
# ---------------------------------------------------------------------------------------------

# What a marker begins. NUMBER covers everything of a fixed size that is no ext.
NUMBER, STR, BIN, ARRAY, MAP, EXT = "number", "string", "bytes", "array", "map", "ext"

REFERENCE_TYPE = 0x70


def form_of(marker):
    """Section 6.1: what the marker begins, the size of its length field, and the length that the
    marker itself states. For ext that is the payload alone, without the type byte."""
    if marker <= 0x7F or marker >= 0xE0:
        return NUMBER, 0, 0
    if marker <= 0x8F:
        return MAP, 0, marker & 0x0F
    if marker <= 0x9F:
        return ARRAY, 0, marker & 0x0F
    if marker <= 0xBF:
        return STR, 0, marker & 0x1F
    return FORMS[marker]


FORMS = {
    0xC0: (NUMBER, 0, 0), 0xC2: (NUMBER, 0, 0), 0xC3: (NUMBER, 0, 0),
    0xC4: (BIN, 1, 0), 0xC5: (BIN, 2, 0), 0xC6: (BIN, 4, 0),
    0xC7: (EXT, 1, 0), 0xC8: (EXT, 2, 0), 0xC9: (EXT, 4, 0),
    0xCA: (NUMBER, 0, 4), 0xCB: (NUMBER, 0, 8),
    0xCC: (NUMBER, 0, 1), 0xCD: (NUMBER, 0, 2), 0xCE: (NUMBER, 0, 4), 0xCF: (NUMBER, 0, 8),
    0xD0: (NUMBER, 0, 1), 0xD1: (NUMBER, 0, 2), 0xD2: (NUMBER, 0, 4), 0xD3: (NUMBER, 0, 8),
    0xD4: (EXT, 0, 1), 0xD5: (EXT, 0, 2), 0xD6: (EXT, 0, 4), 0xD7: (EXT, 0, 8),
    0xD8: (EXT, 0, 16),
    0xD9: (STR, 1, 0), 0xDA: (STR, 2, 0), 0xDB: (STR, 4, 0),
    0xDC: (ARRAY, 2, 0), 0xDD: (ARRAY, 4, 0), 0xDE: (MAP, 2, 0), 0xDF: (MAP, 4, 0),
}  # fmt: skip


def refuse_meta(at, why):
    raise FrameError("Meta", at=at, why=why)


def value_at(meta, p):
    """Rules A to C of section 9.3: the form of the value at `p`, the position `b` behind its
    length field, and its length."""
    if p >= len(meta):  # rule A
        refuse_meta(p, "Eof")
    if meta[p] == 0xC1:  # rule B
        refuse_meta(p, "Reserved")
    form, size, length = form_of(meta[p])
    b = p + 1 + size
    if b > len(meta):  # rule C
        refuse_meta(p + 1, "Eof")
    if size > 0:
        length = int.from_bytes(meta[p + 1 : b], "big")
    return form, b, length


def check_metadata(meta, buffers, limits):
    """Section 9.3. Nothing is decoded here. Gives the number of buffers that are referred to.

    Bare metadata, which has no table, passes None for `buffers`.
    """
    used = 0
    p = 0
    # How many values are still to come at each level. It cannot grow above the limit of depth.
    to_come = [1]
    while to_come:
        if to_come[-1] == 0:
            to_come.pop()
            continue
        to_come[-1] -= 1
        form, b, length = value_at(meta, p)
        left = len(meta) - b
        if form in (NUMBER, STR, BIN):
            if length > left:  # rule D
                refuse_meta(b, "Eof")
            if form == STR:
                check_utf8(meta, b, length)  # rule E
            p = b + length
        elif form == EXT:
            if 1 + length > left:  # rule F
                refuse_meta(b, "Eof")
            index = check_reference(meta, p, b, length)  # rules G and H
            used = count_reference(p, index, used, 2**32 - 1 if buffers is None else buffers)
            p = b + 1 + length
        else:
            depth = len(to_come) - 1
            if depth >= limits.depth:  # rule K
                refuse_meta(b, "Depth")
            items = 2 * length if form == MAP else length
            if items > left:  # rule L
                refuse_meta(b, "Length")
            to_come.append(items)
            p = b
    if p < len(meta):  # rule M
        refuse_meta(p, "Trailing")
    if buffers is not None and used < buffers:  # rule N
        refuse_meta(p, "Unreferenced")
    return used


def check_utf8(meta, b, length):
    # Python's strict decoder refuses surrogates, overlong forms and what is above U+10FFFF.
    try:
        bytes(meta[b : b + length]).decode("utf-8")
    except UnicodeDecodeError:
        refuse_meta(b, "Utf8")


def check_reference(meta, p, b, length):
    """Section 6.2, rules G and H: the index of the reference at `p`."""
    if meta[b] != REFERENCE_TYPE:  # rule G
        refuse_meta(p, "UnknownExt")
    if meta[p] in (0xC8, 0xC9) or length not in (1, 2, 4):  # rule H
        refuse_meta(p, "ExtLen")
    index = little(meta, b + 1, length)
    shortest = 1 if index <= 255 else 2 if index <= 65535 else 4
    if length != shortest:  # rule H
        refuse_meta(p, "ExtLen")
    return index


def count_reference(p, index, used, buffers):
    """Section 6.2, rules I and J: the counter `used` after this reference."""
    if index >= buffers:  # rule I
        refuse_meta(p, "RefRange")
    if index > used:  # rule J
        refuse_meta(p, "RefOrder")
    return used + 1 if index == used else used


def check_bare_metadata(meta, limits):
    """Section 9.1, last paragraph: metadata that travels without a frame."""
    hold_to_limit("meta_len", len(meta), limits.meta_len)
    used = check_metadata(meta, None, limits)
    hold_to_limit("buffers", used, limits.buffers)


# ---------------------------------------------------------------------------------------------
# Sections 9.1 and 9.4: one frame, and its verification
# ---------------------------------------------------------------------------------------------


@dataclass
class Frame:
    header: Header
    descriptors: list
    data: memoryview = field(repr=False)

    @property
    def metadata(self):
        return self.data[32 : 32 + self.header.meta_len]


def read_frame(data, limits=None):
    """Steps 1 to 20 of section 9.1. `data` is expected to be one frame, no more and no less."""
    limits = limits or Limits()
    header = read_header(data, limits)  # steps 1 to 11
    descriptors = read_head(header, data, limits)  # steps 12 to 17
    need_bytes(data, header.frame_len)  # step 18
    if len(data) > header.frame_len:  # step 19
        raise FrameError("Trailing", extra=len(data) - header.frame_len)
    frame = Frame(header, descriptors, memoryview(data))
    check_metadata(frame.metadata, header.buffers, limits)  # step 20
    return frame


def verify(frame):
    """Step 21, which is section 9.4."""
    end = frame.header.head_len
    for index, d in enumerate(frame.descriptors):
        if d.location != INLINE:
            continue
        check_padding(frame.data, end, d.offset)
        if frame.header.has_checksum and crc32c(frame.data[d.offset : d.end]) != d.crc:
            raise FrameError("BufferChecksum", index=index)
        end = d.end
    check_padding(frame.data, end, frame.header.frame_len)


def refuse_external(frame):
    """Step 22, for a caller who wants the bytes of all buffers: nobody here resolves tokens."""
    for index, d in enumerate(frame.descriptors):
        if d.location == EXTERNAL:
            raise FrameError("External", index=index)


def buffer_bytes(frame, index):
    """The bytes of an inline buffer, in place; None for a buffer that lies elsewhere."""
    d = frame.descriptors[index]
    return frame.data[d.offset : d.end] if d.location == INLINE else None


# ---------------------------------------------------------------------------------------------
# Section 11.1: streams
# ---------------------------------------------------------------------------------------------


def read_stream(file, limits=None):
    """Gives the frames of a stream one by one. After an error it ends."""
    limits = limits or Limits(frame_len=STREAM_FRAME_LEN)
    while True:
        data = bytearray()
        fill(file, data, HEADER_LEN)
        if not data:
            return  # the end of the input at the border of a frame
        header = read_header(data, limits)  # steps 1 to 11
        fill(file, data, header.head_len)
        read_head(header, data, limits)  # steps 12 to 17
        fill(file, data, header.frame_len)
        # The steps so far cannot fail any more. To repeat them is slow, and simple.
        yield read_frame(data, limits)


def fill(file, data, need):
    """Reads until `data` has `need` bytes or the input ends. It grows as the bytes come."""
    while len(data) < need:
        piece = file.read(min(need - len(data), 16 << 20))
        if not piece:
            return
        data += piece


# ---------------------------------------------------------------------------------------------
# Section 6: the value itself
# ---------------------------------------------------------------------------------------------


@dataclass
class Float:
    """A float with its width, since `ca` and `cb` are different metadata; NaNs keep their bits."""

    raw: bytes

    @property
    def value(self):
        return struct.unpack(">f" if len(self.raw) == 4 else ">d", self.raw)[0]


@dataclass
class Reference:
    index: int


@dataclass
class Map:
    """Entries in the order of their bytes. A key may be anything, and may occur twice."""

    entries: list


def metadata_tree(frame):
    return tree_of(frame.metadata)


def tree_of(meta):
    """The value of metadata that was checked: None, bool, int, Float, str, bytes, list, Map or
    Reference. It needs no recursion, so it bears every depth that the limits permit."""
    # Each open array or map: what it is, how many values are still to come, those that came.
    # The outermost level stands for an array of one value, which is the result.
    open_values = [[ARRAY, 1, []]]
    p = 0
    while True:
        kind, to_come, items = open_values[-1]
        if to_come > 0:
            open_values[-1][1] -= 1
            form, b, length = value_at(meta, p)
            if form == ARRAY or form == MAP:
                open_values.append([form, 2 * length if form == MAP else length, []])
                p = b
            else:
                payload = length + 1 if form == EXT else length
                items.append(leaf(form, meta[p], bytes(meta[b : b + payload])))
                p = b + payload
        elif len(open_values) == 1:
            return items[0]
        else:
            open_values.pop()
            done = Map(list(zip(items[0::2], items[1::2]))) if kind == MAP else items
            open_values[-1][2].append(done)


def leaf(form, marker, payload):
    """A value that holds no others. `payload` is what follows at `b`."""
    if form == STR:
        return payload.decode("utf-8")
    if form == BIN:
        return payload
    if form == EXT:
        return Reference(int.from_bytes(payload[1:], "little"))
    if marker <= 0x7F:
        return marker
    if marker >= 0xE0:
        return marker - 256
    if marker <= 0xC3:
        return {0xC0: None, 0xC2: False, 0xC3: True}[marker]
    if marker <= 0xCB:
        return Float(payload)
    return int.from_bytes(payload, "big", signed=marker >= 0xD0)


def is_shortest(meta):
    """Section 6: whether checked metadata has the forms that a writer must use. A reader does not
    need this; the test vectors state it."""
    p = 0
    while p < len(meta):
        form, b, length = value_at(meta, p)
        payload = 0 if form in (ARRAY, MAP) else length + 1 if form == EXT else length
        if form == EXT:
            shortest = meta[p] in (0xD4, 0xD5, 0xD6)
        elif form == NUMBER:
            shortest = number_is_shortest(meta[p], bytes(meta[b : b + payload]))
        else:
            shortest = shortest_length_size(form, length) == b - p - 1
        if not shortest:
            return False
        p = b + payload
    return True


def number_is_shortest(marker, payload):
    value = leaf(NUMBER, marker, payload)
    if not isinstance(value, int) or isinstance(value, bool):
        return True  # nil and the booleans have one form, and a float keeps its width
    if value >= 0:
        steps = [(0x7F, None), (0xFF, 0xCC), (0xFFFF, 0xCD), (0xFFFFFFFF, 0xCE), (U64_MAX, 0xCF)]
        wanted = next(m for most, m in steps if value <= most)
    else:
        steps = [(-32, None), (-(2**7), 0xD0), (-(2**15), 0xD1), (-(2**31), 0xD2), (-(2**63), 0xD3)]
        wanted = next(m for least, m in steps if value >= least)
    return marker == wanted if wanted is not None else not payload


def shortest_length_size(form, length):
    """Section 6.1: how many bytes the shortest length field of a string, array or map has."""
    in_marker = {STR: 31, BIN: -1, ARRAY: 15, MAP: 15}[form]
    if length <= in_marker:
        return 0
    if length <= 0xFF and form in (STR, BIN):
        return 1
    return 2 if length <= 0xFFFF else 4


# Section 4.1: how struct names the elements of each kind that it can read.
STRUCT_CODES = {
    0x10: "B", 0x11: "H", 0x12: "I", 0x13: "Q", 0x20: "b", 0x21: "h", 0x22: "i", 0x23: "q",
    0x31: "e", 0x32: "f", 0x33: "d", 0x43: "ff", 0x44: "dd",
}  # fmt: skip


def elements(kind, data, most):
    """The first elements of a buffer, at most so many. Bytes, if the kind names no elements."""
    name, size = KINDS.get(kind, ("bytes", 1))
    out = []
    for at in range(0, min(len(data), most * size), size):
        raw = data[at : at + size]
        if kind in (0x14, 0x24):
            out.append(int.from_bytes(raw, "little", signed=kind == 0x24))
        elif kind in (0x43, 0x44):
            out.append(complex(*struct.unpack("<" + STRUCT_CODES[kind], raw)))
        else:
            out.append(struct.unpack("<" + STRUCT_CODES.get(kind, "B"), raw)[0])
    return name, out


# ---------------------------------------------------------------------------------------------
# Text for people
# ---------------------------------------------------------------------------------------------

SHOWN = 8  # elements and bytes that the text shows of each buffer and byte string


def buffer_text(frame, index):
    d = frame.descriptors[index]
    data = buffer_bytes(frame, index)
    if data is None:
        where = "segment" if d.location == SEGMENT else "external"
        return f"buffer {index} ({where})"
    name, shown = elements(d.kind, data, SHOWN)
    more = ", ..." if len(data) > SHOWN * KINDS.get(d.kind, ("", 1))[1] else ""
    return f"buffer {index}: {name} [{', '.join(map(str, shown))}{more}]"


def leaf_text(value, frame):
    if isinstance(value, Reference):
        return buffer_text(frame, value.index)
    if isinstance(value, Float):
        return str(value.value)
    if isinstance(value, bytes):
        return f"bytes {value[:SHOWN].hex(' ')}" + (" ..." if len(value) > SHOWN else "")
    if value is None:
        return "nil"
    if isinstance(value, bool):
        return str(value).lower()
    return repr(value)


def value_text(value, frame):
    """The value, one line for each item. A list of lines to come stands for recursion."""
    lines = []
    to_come = [(0, "", value)]
    while to_come:
        depth, label, value = to_come.pop()
        indent = "  " * depth + label
        if isinstance(value, Map):
            lines.append(f"{indent}map of {len(value.entries)}")
            for key, item in reversed(value.entries):
                if isinstance(key, (Map, list)):
                    to_come.append((depth + 1, "has the value ", item))
                    to_come.append((depth + 1, "key ", key))
                else:
                    to_come.append((depth + 1, leaf_text(key, frame) + ": ", item))
        elif isinstance(value, list):
            lines.append(f"{indent}array of {len(value)}")
            to_come += [(depth + 1, "", item) for item in reversed(value)]
        else:
            lines.append(indent + leaf_text(value, frame))
    return "\n".join(lines)


def descriptor_text(index, d):
    where = {
        INLINE: f"at {d.offset}",
        SEGMENT: f"segment {d.segment} generation {d.generation} at {d.offset}",
        EXTERNAL: f"external {d.offset:#x}",
    }[d.location]
    return (
        f"buffer {index}: {where}, {d.len} bytes, kind {d.kind:02x}, align 2^{d.align}"
        + (", writable" if d.writable else "")
        + (f", crc {d.crc:08x}" if d.crc else "")
    )


def print_file(path):
    """Prints the frames of a file. False if one of them is refused."""
    # A file may hold a stream of frames (section 11.2), and one frame is a stream of one.
    number = 0
    try:
        with open(path, "rb") as file:
            for frame in read_stream(file):
                verify(frame)
                print_frame(f"{path}: frame {number}", frame)
                number += 1
    except (FrameError, OSError) as error:
        print(f"{path}: {error}")
        return False
    if number == 0:
        print(f"{path}: no frames")
    return True


def print_frame(title, frame):
    h = frame.header
    checksums = ", checksums" if h.has_checksum else ""
    print(f"{title}: {h.frame_len} bytes, {h.buffers} buffers, tag {h.tag}{checksums}")
    for index, d in enumerate(frame.descriptors):
        print("  " + descriptor_text(index, d))
    print(value_text(metadata_tree(frame), frame))


# ---------------------------------------------------------------------------------------------
# Section 13: the examples of the document itself
# ---------------------------------------------------------------------------------------------

WORKED_EXAMPLE = bytes.fromhex("""
    c1 50 4e 52 01 01 00 00  11 00 00 00 01 00 00 00
    c0 00 00 00 00 00 00 00  07 00 00 00 14 12 f3 4c
    83 a2 69 64 cd 01 2c a1  78 d4 70 00 a1 79 d4 70
    00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00
    80 00 00 00 00 00 00 00  0c 00 00 00 00 00 00 00
    00 00 00 00 00 00 00 00  83 e7 4d 38 00 00 32 06
    00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00
    00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00
    00 00 80 3f 00 00 00 40  00 00 40 40 00 00 00 00
    00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00
    00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00
    00 00 00 00 00 00 00 00  00 00 00 00 00 00 00 00
""")

# Section 13.2: metadata, number of buffers, error.
META_FAULTS = [
    ("a5 61 62", 0, "1, why: Eof"),
    ("d9", 0, "1, why: Eof"),
    ("d9 05 61", 0, "2, why: Eof"),
    ("92 cc 07", 0, "3, why: Eof"),
    ("92 c0", 0, "1, why: Length"),
    ("dd ff ff ff ff 00", 0, "5, why: Length"),
    ("de ff ff 00", 0, "3, why: Length"),
    ("91" * 129 + "c0", 0, "129, why: Depth"),
    ("91" * 128 + "dd ff ff ff ff", 0, "133, why: Depth"),
    ("c1", 0, "0, why: Reserved"),
    ("c0 c1", 0, "1, why: Trailing"),
    ("da 00 02 61 ff", 0, "3, why: Utf8"),
    ("d6 ff 00 00 00 00", 0, "0, why: UnknownExt"),
    ("d6 ff 00", 0, "1, why: Eof"),
    ("c7 00 70", 0, "0, why: ExtLen"),
    ("d5 70 00 00", 1, "0, why: ExtLen"),
    ("d4 70 00", 0, "0, why: RefRange"),
    ("92 d4 70 01 d4 70 00", 2, "1, why: RefOrder"),
    ("92 d4 70 00 d4 70 00", 2, "7, why: Unreferenced"),
]

# Section 13.3: the example without checksums, how much of it, what follows, changes, error.
WHOLE = 192
HEAD_FAULTS = [
    (31, "", {}, "Truncated { need: 32, have: 31 }"),
    (32, "", {}, "Truncated { need: 96, have: 32 }"),
    (96, "", {}, "Truncated { need: 192, have: 96 }"),
    (WHOLE, "00" * 64, {}, "Trailing { extra: 64 }"),
    (0, "93" * 20, {}, "Truncated { need: 32, have: 20 }"),
    (0, "93" * 40, {}, "BadMagic"),
    (WHOLE, "", {4: "02"}, "Version(2)"),
    (WHOLE, "", {5: "81"}, "UnknownFlags(128)"),
    (WHOLE, "", {5: "01"}, "HeadChecksum { stated: 0x0, computed: 0x6efbf92c }"),
    (WHOLE, "", {6: "ff"}, "none"),
    (WHOLE, "", {7: "01"}, "Reserved { at: 7 }"),
    (WHOLE, "", {31: "01"}, "Reserved { at: 28 }"),
    (WHOLE, "", {8: "ff ff ff ff"}, "Limit { what: meta_len, value: 4294967295, limit: 67108864 }"),
    (WHOLE, "", {8: "00"}, "Meta { at: 0, why: Eof }"),
    (WHOLE, "", {8: "31"}, "Padding { at: 94 }"),
    (WHOLE, "", {12: "ff ff ff ff"}, "Limit { what: buffers, value: 4294967295, limit: 65536 }"),
    (WHOLE, "", {12: "05"}, "FrameLen { stated: 192, computed: 256 }"),
    (WHOLE, "", {12: "02"}, "Descriptor { index: 1, why: Align }"),
    (WHOLE, "", {12: "00"}, "FrameLen { stated: 192, computed: 64 }"),
    (WHOLE, "", {16: "c1"}, "FrameLen { stated: 193, computed: 128 }"),
    (WHOLE, "", {16: "00 01"}, "FrameLen { stated: 256, computed: 192 }"),
    (
        WHOLE, "", {23: "80"},
        "Limit { what: frame_len, value: 9223372036854776000, limit: 1099511627776 }",
    ),
    (WHOLE, "", {63: "01"}, "Padding { at: 63 }"),
    (WHOLE, "", {64: "c0"}, "Descriptor { index: 0, why: Offset }"),
    (WHOLE, "", {64: "f8 ff ff ff ff ff ff ff"}, "Descriptor { index: 0, why: Overflow }"),
    (WHOLE, "", {72: "00"}, "Descriptor { index: 0, why: Empty }"),
    (WHOLE, "", {72: "0d"}, "Descriptor { index: 0, why: KindLen }"),
    (WHOLE, "", {72: "0d", 94: "80"}, "none"),
    (WHOLE, "", {72: "4c"}, "FrameLen { stated: 192, computed: 256 }"),
    (WHOLE, "", {80: "01"}, "Descriptor { index: 0, why: Fields }"),
    (WHOLE, "", {88: "01"}, "Descriptor { index: 0, why: Crc }"),
    (WHOLE, "", {92: "01"}, "Segment { index: 0, why: NotPermitted }"),
    (WHOLE, "", {92: "02"}, "FrameLen { stated: 192, computed: 128 }"),
    (WHOLE, "", {92: "03"}, "Descriptor { index: 0, why: Location }"),
    (WHOLE, "", {93: "01"}, "none"),
    (WHOLE, "", {93: "02"}, "Descriptor { index: 0, why: Flags }"),
    (WHOLE, "", {94: "30"}, "Descriptor { index: 0, why: Kind }"),
    (WHOLE, "", {95: "05"}, "Descriptor { index: 0, why: Align }"),
    (WHOLE, "", {95: "07"}, "FrameLen { stated: 192, computed: 256 }"),
    (WHOLE, "", {95: "0c"}, "Descriptor { index: 0, why: Offset }"),
    (WHOLE, "", {63: "01", 92: "03", 93: "02"}, "Padding { at: 63 }"),
    (WHOLE, "", {191: "01"}, "Padding { at: 191 }"),
]  # fmt: skip


def with_changes(data, changes):
    out = bytearray(data)
    for at, text in changes.items():
        new = bytes.fromhex(text)
        out[at : at + len(new)] = new
    return bytes(out)


def small_frame(meta, buffers):
    """A frame without checksums, whose buffers have one byte each. Only for the self-test."""
    table_at = up(32 + len(meta), 32)
    end = table_at + 32 * buffers if buffers else 32 + len(meta)
    table = b""
    for _ in range(buffers):
        offset = up(end, 64)
        table += struct.pack("<QQIIIBBBB", offset, 1, 0, 0, 0, INLINE, 0, 0, 6)
        end = offset + 1
    frame_len = up(end, 64)
    head = MAGIC + struct.pack("<BBBBIIQII", 1, 0, 0, 0, len(meta), buffers, frame_len, 0, 0)
    return ((head + meta).ljust(table_at, b"\0") + table).ljust(frame_len, b"\0")[:frame_len]


def outcome(data):
    """What reading and verifying says."""
    try:
        verify(read_frame(data))
        return "none"
    except FrameError as error:
        return str(error)


def self_test():
    """Gives the number of examples and the list of those that came out otherwise."""
    plain = with_changes(WORKED_EXAMPLE, {5: "00", 28: "00 00 00 00", 88: "00 00 00 00"})
    smallest = small_frame(b"\xc0", 0)
    cases = [
        ("13.1", outcome(WORKED_EXAMPLE), "none"),
        ("13.1, smallest", outcome(smallest), "none"),
        ("13.1, smallest, length", str(len(smallest)), "64"),
        ("13.1, without checksums", outcome(plain), "none"),
        ("7, nine digits", hex(crc32c(b"123456789")), "0xe3069283"),
        ("7, no bytes", hex(crc32c(b"")), "0x0"),
        (
            "13.3, byte 24",
            outcome(with_changes(WORKED_EXAMPLE, {24: "06"})),
            "HeadChecksum { stated: 0x4cf31214, computed: 0x50ea362f }",
        ),
        (
            "13.3, byte 130",
            outcome(with_changes(WORKED_EXAMPLE, {130: "81"})),
            "BufferChecksum { index: 0 }",
        ),
    ]
    frame = read_frame(WORKED_EXAMPLE)
    value = metadata_tree(frame)
    expected = Map([("id", 300), ("x", Reference(0)), ("y", Reference(0))])
    cases.append(("13.1, value", value, expected))
    floats = elements(0x32, buffer_bytes(frame, 0), SHOWN)
    cases.append(("13.1, floats", floats, ("f32", [1.0, 2.0, 3.0])))
    for text, buffers, error in META_FAULTS:
        said = outcome(small_frame(bytes.fromhex(text), buffers))
        cases.append((f"13.2, {text[:24]}", said, f"Meta {{ at: {error} }}"))
    for first, behind, changes, error in HEAD_FAULTS:
        data = with_changes(plain[:first] + bytes.fromhex(behind), changes)
        cases.append((f"13.3, {first} {behind[:4]} {changes}", outcome(data), error))
    return len(cases), [f"{name}: {said}, not {it}" for name, said, it in cases if said != it]


# ---------------------------------------------------------------------------------------------
# Section 13: the test vectors
# ---------------------------------------------------------------------------------------------


def xorshift(seed, length):
    """The bytes of xorshift64*: each number after a step, as eight bytes, little-endian."""
    out = bytearray()
    x = seed
    while len(out) < length:
        x ^= x >> 12
        x ^= x << 25 & U64_MAX
        x ^= x >> 27
        out += (x * 0x2545F4914F6CDD1D & U64_MAX).to_bytes(8, "little")
    return bytes(out[:length])


def generate(rules):
    """The bytes of a vector that is stated as a rule, piece after piece."""
    out = bytearray()
    for rule in rules:
        if "xorshift" in rule:
            out += xorshift(rule["xorshift"]["seed"], rule["xorshift"]["len"])
            continue
        piece = bytearray.fromhex(rule["hex"])
        times = rule.get("times", 1)
        if "count" not in rule:
            out += piece * times
            continue
        # A number inside the piece, little-endian, which goes on by `step` each time.
        at, size = rule["count"]["at"], rule["count"]["size"]
        for n in range(times):
            number = number_of(rule["count"]["from"]) + n * rule["count"]["step"]
            piece[at : at + size] = number.to_bytes(size, "little")
            out += piece
    return bytes(out)


def vector_limits(vector):
    limits = Limits()
    for name, value in vector.get("limits", {}).items():
        if name == "segments":
            # Permitted, and there are none.
            value = {} if value else None
        else:
            value = number_of(value)
        setattr(limits, name, value)
    return limits


def vector_data(path, vector):
    """The bytes of a vector, and what is wrong with them themselves."""
    if "generated" in vector:
        data = generate(vector["generated"])
    else:
        data = path.with_suffix(".bin").read_bytes()
    same = len(data) == vector["len"] and sha256(data) == vector["sha256"]
    return data, [] if same else ["the bytes of the vector are not those of its hash"]


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def number_of(value):
    """JSON has numbers up to 2^53 only; larger ones are digits."""
    return int(value["int"]) if isinstance(value, dict) else value


def same_value(wanted, found):
    """Whether the value is what the vector states. Pairs still to compare stand for recursion."""
    pairs = [(wanted, found)]
    while pairs:
        wanted, found = pairs.pop()
        more = compare_one(wanted, found)
        if more is None:
            return False
        pairs += more
    return True


def compare_one(wanted, found):
    """The pairs that are left to compare in these two; None if the two differ."""
    if not isinstance(wanted, (dict, list)):
        return [] if type(wanted) is type(found) and wanted == found else None
    if isinstance(wanted, list):
        if not isinstance(found, list) or len(wanted) != len(found):
            return None
        return list(zip(wanted, found))
    name, inner = next(iter(wanted.items()))
    if name == "int":
        same = type(found) is int and found == int(inner)
    elif name in ("f32", "f64"):
        same = isinstance(found, Float) and found.raw.hex() == inner
        same = same and len(found.raw) == (4 if name == "f32" else 8)
    elif name == "bytes":
        same = isinstance(found, bytes) and same_bytes(inner, found)
    elif name == "text":
        same = isinstance(found, str) and same_bytes(inner, found.encode())
    elif name == "buffer":
        same = found == Reference(inner)
    elif name == "buffers":
        indices = range(inner["from"], inner["from"] + inner["count"])
        same = found == [Reference(index) for index in indices]
    elif name == "map":
        if not isinstance(found, Map) or len(found.entries) != len(inner):
            return None
        pairs = []
        for (wanted_key, wanted_item), (key, item) in zip(inner, found.entries):
            pairs += [(wanted_key, key), (wanted_item, item)]
        return pairs
    elif name == "repeat":
        if not isinstance(found, list) or len(found) != inner["count"]:
            return None
        return [(inner["item"], item) for item in found]
    elif name == "map_repeat":
        if not isinstance(found, Map) or len(found.entries) != inner["count"]:
            return None
        pairs = []
        for key, item in found.entries:
            pairs += [(inner["key"], key), (inner["value"], item)]
        return pairs
    elif name == "deep":
        return compare_deep(inner, found)
    else:
        same = False
    return [] if same else None


def same_bytes(wanted, found):
    """Byte strings are stated in hex, long ones by length and hash."""
    if isinstance(wanted, str):
        return found.hex() == wanted
    return len(found) == wanted["len"] and sha256(found) == wanted["sha256"]


def compare_deep(wanted, found):
    """So many arrays of one item, or maps of one entry with the stated key, in each other."""
    shell = wanted["shell"]
    pairs = []
    for _ in range(wanted["levels"]):
        if shell == "array":
            if not isinstance(found, list) or len(found) != 1:
                return None
            found = found[0]
        else:
            if not isinstance(found, Map) or len(found.entries) != 1:
                return None
            key, found = found.entries[0]
            pairs.append((shell["key"], key))
    return pairs + [(wanted["item"], found)]


def check_buffers(wanted, frame):
    if isinstance(wanted, dict):
        yield from check_many_buffers(wanted, frame)
        return
    if len(wanted) != len(frame.descriptors):
        yield f"buffers: {len(frame.descriptors)}, not {len(wanted)}"
        return
    for index, (stated, d) in enumerate(zip(wanted, frame.descriptors)):
        for name, value in stated.items():
            if name == "location":
                found = ["inline", "segment", "external"][d.location]
            elif name == "kind_name":
                found = kind_name(d.kind)
            elif name == "sha256":
                found = sha256(buffer_bytes(frame, index))
            else:
                found = getattr(d, name)
            if found != number_of(value):
                yield f"buffer {index}: {name} is {found}, not {value}"
        if d.crc != 0 and "crc" not in stated:
            yield f"buffer {index}: has a checksum"


def kind_name(kind):
    if kind in KINDS:
        return KINDS[kind][0]
    return "opaque" if kind == 0 else "advisory"


def check_many_buffers(wanted, frame):
    """Many buffers of one sort: they are stated together."""
    if len(frame.descriptors) != wanted["count"]:
        yield f"buffers: {len(frame.descriptors)}, not {wanted['count']}"
        return
    if frame.descriptors[0].offset != wanted["first_offset"]:
        yield f"buffer 0: offset is {frame.descriptors[0].offset}"
    for index, d in enumerate(frame.descriptors):
        for name in ("align", "kind", "len"):
            if getattr(d, name) != wanted[name]:
                yield f"buffer {index}: {name} is {getattr(d, name)}, not {wanted[name]}"
    everything = b"".join(buffer_bytes(frame, i) for i in range(len(frame.descriptors)))
    if sha256(everything) != wanted["sha256_of_all"]:
        yield "buffers: other bytes"


def check_ok(path, vector):
    """Gives the disagreements with a vector of a sound frame."""
    data, faults = vector_data(path, vector)
    try:
        frame = read_frame(data, vector_limits(vector))
        verify(frame)
    except FrameError as error:
        return faults + [f"refused: {error}"]
    header = frame.header
    stated = {
        "tag": header.tag,
        "may": header.may,
        "checksum": header.has_checksum,
        "shortest": is_shortest(frame.metadata),
    }
    for name, found in stated.items():
        if found != vector[name]:
            faults.append(f"{name} is {found}, not {vector[name]}")
    if not same_value(vector["value"], metadata_tree(frame)):
        faults.append("other value")
    return faults + list(check_buffers(vector["buffers"], frame))


def check_bad(path, vector):
    """Gives the disagreements with a vector of a refused frame."""
    data, faults = vector_data(path, vector)
    wanted = {name: value for name, value in vector["error"].items() if name != "name"}
    wanted = FrameError(vector["error"]["name"], **{k: number_of(v) for k, v in wanted.items()})
    read = False
    try:
        frame = read_frame(data, vector_limits(vector))
        read = True
        verify(frame)
        return faults + [f"accepted, not {wanted}"]
    except FrameError as error:
        if (error.name, error.fields) != (wanted.name, wanted.fields):
            faults.append(f"{error}, not {wanted}")
    # What only verification finds must be said to be so, and must not be found before.
    if read != vector.get("verify", False):
        faults.append("refused " + ("by verification only" if read else "without verification"))
    return faults


def check_vectors(directory):
    """Prints the disagreements and the counts. True if there were vectors, and all agree."""
    counts = {}
    disagreements = 0
    for sort, check in (("ok", check_ok), ("bad", check_bad)):
        paths = sorted((Path(directory) / sort).glob("*.json"))
        counts[sort] = len(paths)
        for path in paths:
            try:
                faults = check(path, json.loads(path.read_text(encoding="utf-8")))
            except (KeyError, OSError, TypeError, ValueError) as error:
                faults = [f"the vector itself cannot be read: {error!r}"]
            for fault in faults:
                print(f"{sort}/{path.stem}: {fault}")
            disagreements += len(faults) > 0
    print(f"vectors: {counts['ok']} ok, {counts['bad']} bad, {disagreements} disagree")
    return disagreements == 0 and all(counts.values())


# ---------------------------------------------------------------------------------------------


def main(arguments):
    # A string may hold what the terminal cannot show.
    sys.stdout.reconfigure(errors="backslashreplace")
    if arguments == ["--self-test"]:
        count, faults = self_test()
        print("\n".join(faults + [f"examples: {count}, {len(faults)} disagree"]))
        return not faults
    if len(arguments) == 2 and arguments[0] == "--vectors":
        return check_vectors(arguments[1])
    if not arguments or arguments[0].startswith("-"):
        print(__doc__)
        return False
    return all([print_file(path) for path in arguments])


if __name__ == "__main__":
    sys.exit(0 if main(sys.argv[1:]) else 1)
