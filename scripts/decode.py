#!/usr/bin/env python3
"""Decodes the weights of a Tessera model with nothing but the standard library; see docs/format.md.

decode.py NAME.json            lists the parameters with their types
decode.py NAME.json fc1.bias   prints the values of one, row-major, a number per line"""
import array, hashlib, json, math, pathlib, re, struct, sys, unicodedata


def escaped(text):
    """A name as it may stand in a line: nothing in it moves a terminal's cursor."""
    harmless = lambda c: unicodedata.category(c) not in ("Cc", "Cf", "Zl", "Zp", "Cs")
    return "".join(c if harmless(c) else "".join(
        f"\\x{b:02x}" for b in c.encode("utf-8", "surrogatepass")) for c in text)


def read_weights(path, name):
    """The file of weights: beside what a link leads to, or else beside the link, nowhere else."""
    if not name or name[0] == "." or any(c in name for c in "/\\\0"):
        raise ValueError(f"weights: expected the name of a file in the same folder, got '{name}'")
    for folder in (pathlib.Path(path).resolve().parent, pathlib.Path(path).parent):
        if (folder / name).is_file():
            return (folder / name).read_bytes()
    raise ValueError(f"its weights file {name} is missing")


def read_tensors(data):
    end, out = 8 + struct.unpack("<Q", data[:8])[0], {}
    codes = {"F32": "f", "BF16": "f", "I8": "b", "U8": "B", "I32": "i", "I64": "q"}
    for name, tensor in json.loads(data[8:end]).items():
        if name == "__metadata__":
            continue
        begin, stop = tensor["data_offsets"]
        raw = data[end + begin:end + stop]
        if tensor["dtype"] == "BF16":  # the upper half of an f32
            raw = b"".join(b"\0\0" + raw[i:i + 2] for i in range(0, len(raw), 2))
        out[name] = [v for v, in struct.iter_unpack("<" + codes[tensor["dtype"]], raw)]
    return out


def plane_of(tensors, name):
    return tensors[name] if name in tensors else rans_decode(bytes(tensors[name + ".rans"]))


def rans_decode(coded):
    """The indices of an entropy-coded plane, packed as a plain file holds them."""
    version, bits, size, count = struct.unpack_from("<BBHQ", coded)
    words_at = 12 + 2 * size + 32
    if version != 1 or not 1 <= bits <= 8 or len(coded) < words_at or len(coded) % 2:
        raise ValueError("not a coded plane of version 1")
    frequencies = struct.unpack_from(f"<{size}H", coded, 12) + (0,) * ((1 << bits) - size)
    states = list(struct.unpack_from("<8I", coded, 12 + 2 * size))
    words = iter(struct.unpack_from(f"<{(len(coded) - words_at) // 2}H", coded, words_at))
    if sum(frequencies) != 1 << 15 or min(states) < 1 << 16:
        raise ValueError("frequencies or states out of range")
    below = [sum(frequencies[:i]) for i in range((1 << bits) + 1)]
    together = 8 // bits  # indices of a symbol
    free = (1 << 14) - sum(f > 0 for f in frequencies) ** together
    table, starts, sizes = [], {}, {}
    for symbol in range(1 << bits * together):
        low, high, once = 0, free, 1
        for i in reversed(range(together)):
            index, wide = symbol >> i * bits & (1 << bits) - 1, high - low
            low, high = low + (wide * below[index] >> 15), low + (wide * below[index + 1] >> 15)
            once &= frequencies[index] > 0
        starts[symbol], sizes[symbol] = len(table), high - low + once
        table += [symbol] * sizes[symbol]
    plane, total = 0, -(-count // together)
    packed = bytearray()
    for i in range(total):
        slot = states[i % 8] & (1 << 14) - 1
        symbol = table[slot]
        state = sizes[symbol] * (states[i % 8] >> 14) + slot - starts[symbol]
        if state < 1 << 16:
            state = state << 16 | next(words)
        states[i % 8] = state
        plane |= symbol << i % 8 * bits * together
        if i % 8 == 7 or i == total - 1:  # 8 symbols fill whole bytes
            packed += plane.to_bytes(bits * together, "little")
            plane = 0
    if states != [1 << 16] * 8 or next(words, None) is not None:
        raise ValueError("the states or the words do not end where they should")
    return packed[:-(-count * bits // 8)]


def decode(type_text, indices, entries, scale=None):
    """Values of a codebook tensor; type_text is such as f32[300,784]@cb4:bf16/g64s32v2."""
    shape, bits, group, block, d = re.fullmatch(
        r"f32\[([\d,]+)\]@cb(\d)(?::\w+)?(?:/(?:g(\d+))?(?:s(\d+|row))?(?:v(\d+))?)?",
        type_text).groups()
    shape, bits, d = [int(n) for n in shape.split(",")], int(bits), int(d or 1)
    row_length = math.prod(shape[1:])
    group = int(group or shape[0])
    block = row_length if block in (None, "row") else int(block)
    group_size = len(entries) // -(-shape[0] // group)  # numbers in one group's codebook
    values = array.array("f")
    for i in range(math.prod(shape)):
        (row, column), bit = divmod(i, row_length), i // d * bits
        word = int.from_bytes(bytes(indices[bit // 8:bit // 8 + 2]), "little")
        index = word >> bit % 8 & (1 << bits) - 1
        value = entries[row // group * group_size + index * d + i % d]
        if scale:
            value *= scale[row * -(-row_length // block) + column // block]
        values.append(value)
    return values


def positions(stream):
    """Places of a sparse correction: gaps of one byte, or 255 and the rest of the gap as LEB128."""
    stream, at = iter(stream), -1
    for gap in stream:
        byte, shift = 128 if gap == 255 else 0, 0
        while byte & 128:
            byte = next(stream)
            gap, shift = gap + ((byte & 127) << shift), shift + 7
        at += 1 + gap
        yield at


def fail(message):
    sys.exit(escaped(message))


def main(path, wanted=None):
    model = json.loads(pathlib.Path(path).read_text(encoding="utf-8"))
    if model["weights"].get("coding", "rans") != "rans":
        fail(f"{path}: its planes are coded by {model['weights']['coding']}, expected rans")
    data = read_weights(path, model["weights"]["file"])
    if hashlib.sha256(data).hexdigest() != model["weights"]["sha256"]:
        fail(f"{model['weights']['file']}: its sha256 is not the one in {path}")
    tensors, nodes, found = read_tensors(data), {n["id"]: n for n in model["nodes"]}, {}
    corrections = {}
    for node in nodes.values():
        if node["op"] == "sparse":
            planes = [nodes[i]["name"] for i in node["inputs"]]
            for plane in planes:
                found.pop(plane, None)
            corrections[planes[0].removesuffix(".sparse.positions")] = planes
        elif node["op"] == "codebook":
            planes = [nodes[i]["name"] for i in node["inputs"] if i is not None]
            for plane in planes:
                found.pop(plane, None)
            found[planes[0].removesuffix(".indices")] = (node["type"], planes)
        elif node["op"] in ("param", "state"):
            found[node["name"]] = (node["type"], None)
    if wanted is None:
        return [escaped(f"{name} {found[name][0]}{' + sparse' if name in corrections else ''}")
                for name in found]
    if wanted not in found:
        fail(f"{path}: no parameter '{wanted}'")
    type_text, planes = found[wanted]
    try:
        if planes:
            values = decode(type_text, *(plane_of(tensors, plane) for plane in planes))
        else:
            values = tensors[wanted]
        if wanted in corrections:
            places, added = (tensors[p] for p in corrections[wanted])
            for i, value in zip(positions(places), added):
                values[i] += value
    except (ValueError, StopIteration, struct.error) as error:
        fail(f"{model['weights']['file']}: the planes of '{wanted}' are damaged: {error}")
    return [f"{value:.9g}" for value in values]


if __name__ == "__main__":
    if {"-h", "--help"} & set(sys.argv[1:]):
        print(__doc__)
        sys.exit()
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    try:
        lines = main(*sys.argv[1:])
    except KeyError as error:
        fail(f"{sys.argv[1]}: field {error} is missing; expected a model with weights")
    except (OSError, ValueError, TypeError, AttributeError, LookupError, RecursionError,
            struct.error) as error:
        fail(f"{sys.argv[1]}: {error}")
    try:
        print("\n".join(lines))
    except BrokenPipeError:  # of head
        sys.stderr.close()
