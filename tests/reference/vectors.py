"""Section 13 of FORMAT.md: the test vectors, as their README describes them."""

import hashlib
import json
from pathlib import Path

from basics import U64_MAX, FrameError, Limits
from frame import KINDS, buffer_bytes, read_frame, verify
from metadata import Float, Map, Reference, is_shortest, tree_of

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
    if not same_value(vector["value"], tree_of(frame.metadata)):
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
