"""The examples of FORMAT.md: the tables of section 13, read out of the document itself, and some
that it gives in its text."""

import re
import struct
from pathlib import Path

from basics import FrameError, Limits, crc32c, up
from frame import (
    INLINE,
    MAGIC,
    buffer_bytes,
    check_bare_metadata,
    elements,
    read_frame,
    refuse_external,
    verify,
)
from metadata import Map, Reference, tree_of

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "FORMAT.md"

# ---------------------------------------------------------------------------------------------
# From the document to examples
# ---------------------------------------------------------------------------------------------


def section(title):
    """The lines of one section, from its title to the next."""
    text = DOCUMENT.read_text(encoding="utf-8")
    return re.split(r"^##+ ", text.split(f"\n### {title}\n")[1], flags=re.MULTILINE)[0]


def rows(title):
    """The cells of the one table of a section, without its two head lines."""
    lines = [line for line in section(title).split("\n") if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def worked_example():
    """The bytes of 13.1: sixteen on each line, behind their position."""
    line = re.compile(r"^ {4}[0-9a-f]{4} ((?: {1,2}[0-9a-f]{2}){16})", flags=re.MULTILINE)
    return bytes.fromhex("".join(line.findall(section("13.1 A worked example"))))


def metadata_of(cell):
    """What a row of 13.2 says: metadata, and how many buffers."""
    parts = re.findall(r"(?:(\d+) times )?`([0-9a-f ]+)`", cell)
    meta = b"".join(bytes.fromhex(text) * int(times or 1) for times, text in parts)
    buffers = {"one buffer": 1, "two buffers": 2}
    return meta, buffers.get(cell.split(", ")[-1], 0)


def changed(cell, data):
    """What a row of 13.3 makes of the example."""
    if found := re.fullmatch(r"the first (\d+) bytes", cell):
        return data[: int(found[1])]
    if found := re.fullmatch(r"(\d+) zeros behind it", cell):
        return data + bytes(int(found[1]))
    if found := re.fullmatch(r"(\d+) bytes `([0-9a-f]{2})`, nothing else", cell):
        return bytes.fromhex(found[2]) * int(found[1])
    for change in cell.split(", "):
        at, text = re.fullmatch(r"(\d+): `([0-9a-f ]+)`", change).groups()
        data = with_change(data, int(at), text)
    return data


def with_change(data, at, text):
    new = bytes.fromhex(text)
    return data[:at] + new + data[at + len(new) :]


def small_frame(meta, buffers):
    """A frame without checksums, whose buffers have one byte each."""
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


# ---------------------------------------------------------------------------------------------
# What this reader says of them
# ---------------------------------------------------------------------------------------------


def outcome(step, *arguments):
    try:
        step(*arguments)
        return "none"
    except FrameError as error:
        return str(error)


def outcomes(data):
    """What reading says, and what verification says behind it; as the tables write them."""
    read = outcome(read_frame, data)
    verified = outcome(verify, read_frame(data)) if read == "none" else "none"
    if verified != "none":
        return f"none; `{verified}` with verification"
    return read if read == "none" else f"`{read}`"


def self_test():
    """Gives the number of examples and the list of those that came out otherwise."""
    example = worked_example()
    plain = example
    for at, text in ((5, "00"), (28, "00 00 00 00"), (88, "00 00 00 00")):
        plain = with_change(plain, at, text)
    cases = [("13.1", outcomes(example), "none"), ("13.3, unchanged", outcomes(plain), "none")]
    for cell, error, _ in rows("13.2 Faults in metadata"):
        cases.append((f"13.2, {cell}", outcomes(small_frame(*metadata_of(cell))), error))
    for cell, error, _ in rows("13.3 Faults in the head"):
        cases.append((f"13.3, {cell}", outcomes(changed(cell, plain)), error))
    cases += with_checksums(example) + in_the_text(example, plain)
    return len(cases), [f"{name}: {said}, not {it}" for name, said, it in cases if said != it]


def with_checksums(example):
    """The two faults below the table of 13.3. The second is one for verification."""
    text = " ".join(section("13.3 Faults in the head").split())
    found = re.findall(r"byte (\d+) `([0-9a-f]{2})` is `([^`]+)`", text)
    wanted = [f"`{found[0][2]}`", f"none; `{found[1][2]}` with verification"]
    data = [with_change(example, int(at), byte) for at, byte, _ in found]
    return [(f"13.3, byte {f[0]}", outcomes(d), w) for f, d, w in zip(found, data, wanted)]


def in_the_text(example, plain):
    """What the document says outside of its tables."""
    frame = read_frame(example)
    value = Map([("id", 300), ("x", Reference(0)), ("y", Reference(0))])
    smallest = small_frame(b"\xc0", 0)
    spoiled = with_change(smallest, 33, "01")
    external = read_frame(with_change(with_change(plain, 92, "02"), 16, "80")[:128])
    two = bytes.fromhex("92 d4 70 00 d4 70 01")
    limit = "Limit { what: buffers, value: 2, limit: 1 }"
    eof = "Meta { at: 0, why: Eof }"
    return [
        ("5, byte 33", outcomes(spoiled), "none; `Padding { at: 33 }` with verification"),
        ("7, nine digits", crc32c(b"123456789"), 0xE3069283),
        ("7, no bytes", crc32c(b""), 0),
        ("9.1, step 22", outcome(refuse_external, external), "External { index: 0 }"),
        ("9.1, bare", outcome(check_bare_metadata, two, Limits()), "none"),
        ("9.1, bare, buffers", outcome(check_bare_metadata, two, Limits(buffers=1)), limit),
        ("9.1, bare, empty", outcome(check_bare_metadata, b"", Limits()), eof),
        ("13.1, value", tree_of(frame.metadata), value),
        ("13.1, floats", elements(0x32, buffer_bytes(frame, 0), 8), ("f32", [1.0, 2.0, 3.0])),
        ("13.1, smallest", outcomes(smallest), "none"),
        ("13.1, smallest, length", len(smallest), 64),
    ]
