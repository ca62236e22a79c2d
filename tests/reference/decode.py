#!/usr/bin/env python3
"""A second reader of the frame format, version 1, written from FORMAT.md alone.

It is slow and plain on purpose. Each part names the section of the document that it follows, so
that the two can be read side by side. It reads; it does not write.

    python3 decode.py FILE...          print the frames in each file
    python3 decode.py --vectors DIR    compare with the test vectors in DIR/ok and DIR/bad
    python3 decode.py --self-test      try the examples that the document itself gives

To be read in this order: basics.py, metadata.py and frame.py are the reader; examples.py and
vectors.py hold it to the document and to the test vectors; this file draws frames for people.
"""

import sys

from basics import FrameError
from examples import self_test
from frame import EXTERNAL, INLINE, KINDS, SEGMENT, buffer_bytes, elements, read_stream, verify
from metadata import Float, Map, Reference, tree_of
from vectors import check_vectors

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
    print(value_text(tree_of(frame.metadata), frame))


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
