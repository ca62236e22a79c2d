"""Sections 6 and 9.3 of FORMAT.md: metadata, its checks, and the value in it."""

import struct
from dataclasses import dataclass

from basics import U64_MAX, FrameError, little

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
