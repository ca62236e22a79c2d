"""Sections 3 to 5, 9 and 11.1 of FORMAT.md: header, descriptors, the order of checks, streams."""

import struct
from dataclasses import dataclass, field

from basics import STREAM_FRAME_LEN, U64_MAX, FrameError, Limits, crc32c, little, up
from metadata import check_metadata

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


# How struct names the elements of each kind that it can read.
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


def check_bare_metadata(meta, limits):
    """Section 9.1, last paragraph: metadata that travels without a frame."""
    hold_to_limit("meta_len", len(meta), limits.meta_len)
    used = check_metadata(meta, None, limits)
    hold_to_limit("buffers", used, limits.buffers)


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
