"""Mutations of files: damage of any kind, and lies that keep the checksums right."""

import io
import json
import random
import struct
import zipfile
import zlib

LIES = (0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF, 2**40, 2**63 - 1, 2**63, 2**64 - 1)
WORDS = (
    b"-1", b"0", b"1e999", b"NaN", b"-Infinity", b"null", b"true", b'""', b"[]", b"{}", b"9" * 25, b"9" * 5000,
    b"../../x", b"/dev/zero", b"/etc/passwd", b"\0", b"\xff\xfe", b"\xed\xa0\x80", b"\r\n", b"[" * 3000, b"(" * 300,
    b"a." * 500, b"x" * 70_000, "\N{ROCKET}\u202e".encode(), b"\x1b[31m", b"cos\nsystem\n(S'touch sang'\ntR.",
)  # fmt: skip
VALUES = (
    None, True, False, 0, -1, 1, 255, 256, 1.5, 1e300, float("nan"), float("inf"), 10**30, 10**4000, "", "x" * 10_000,
    "../x", "\ud800", [], {}, [None], [[]], [1, 2], {"a": 1}, [0] * 1000, "1", "nan", "\x00",
)  # fmt: skip
BLOCK = 64
LARGEST = 4_000_000  # bytes of a mutated file


def mutate(data: bytes, other: bytes, rng: random.Random) -> bytes:
    """One to three mutations of a file; `other` is a file of the same kind to splice with."""
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        inside = _container_of(data)
        data = inside(data, other, rng) if inside and rng.random() < 0.7 else _of_bytes(data, other, rng)
    return data[:LARGEST]


# ---------------------------------------------------------------- any bytes


def _of_bytes(data, other, rng):
    return rng.choice(_PLAIN)(data, other, rng)


def _flip(data, other, rng):
    changed = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8)) if data else 0):
        changed[rng.randrange(len(data))] ^= rng.choice((1 << rng.randrange(8), rng.randrange(1, 256)))
    return bytes(changed)


def _cut(data, other, rng):
    return data[: BLOCK * rng.randrange(len(data) // BLOCK + 1)] if rng.random() < 0.7 else data[: _place(data, rng)]


def _splice(data, other, rng):
    return data[: _place(data, rng)] + other[_place(other, rng) :]


def _block(data, rng):
    start = _place(data, rng)
    return start, min(len(data), start + rng.choice((1, 4, 16, 64, 512)))


def _repeat(data, other, rng):
    start, stop = _block(data, rng)
    return data[:start] + data[start:stop] * rng.choice((2, 3, 100)) + data[stop:]


def _remove(data, other, rng):
    start, stop = _block(data, rng)
    return data[:start] + data[stop:]


def _swap(data, other, rng):
    a, b, c = sorted(_place(data, rng) for _ in range(3))
    return data[:a] + data[b:c] + data[a:b] + data[c:]


def _lie(data, other, rng):
    """A number of 1 to 8 bytes, such as a length, somewhere; more often near the start, where headers are."""
    size, order = rng.choice((1, 2, 4, 8)), rng.choice("<>")
    value = rng.choice(LIES) & (2 ** (8 * size) - 1)
    start = min(_place(data, rng), rng.choice((64, 512, len(data))))
    return data[:start] + struct.pack(order + {1: "B", 2: "H", 4: "I", 8: "Q"}[size], value) + data[start + size :]


def _insert(data, other, rng):
    start = _place(data, rng)
    return data[:start] + rng.choice(WORDS) + data[start + rng.choice((0, 0, 1, 4)) :]


def _number(data, other, rng):
    """Another number in place of one in a text."""
    places = [i for i, byte in enumerate(data[:100_000]) if 48 <= byte <= 57]
    if not places:
        return _insert(data, other, rng)
    start = stop = rng.choice(places)
    while stop < len(data) and 48 <= data[stop] <= 57:
        stop += 1
    return data[:start] + rng.choice(WORDS[:12]) + data[stop:]


def _lines(data, other, rng):
    lines = data.split(b"\n")
    i, j = rng.randrange(len(lines)), rng.randrange(len(lines))
    lines[i : i + 1] = rng.choice(([lines[j]], [lines[i]] * 2, [], [lines[i]] * 3000, [lines[i] + lines[j]]))
    return b"\n".join(lines)


def _nothing(data, other, rng):
    return rng.choice((b"", b"\0" * len(data), b"\n" * 1000, other))


_PLAIN = (_flip, _flip, _cut, _splice, _repeat, _remove, _swap, _lie, _lie, _insert, _number, _lines, _nothing)


def _place(data, rng):
    return rng.randrange(len(data) + 1)


# ---------------------------------------------------------------- containers


def _container_of(data):
    """The function that knows the structure of these bytes, if one does."""
    if data.startswith(b"PK\x03\x04"):
        return _in_zip
    if data.startswith(b"\x89PNG"):
        return _in_png
    if data.startswith(b"\x93NUMPY"):
        return _in_npy
    return _in_json if data[:1] in (b"{", b"[") else None


def _in_zip(data, other, rng):
    """Members changed, renamed, swapped, left out or claimed to be larger; all checksums are right."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            members = [[info.filename, archive.read(info)] for info in archive.infolist()]
    except Exception:  # damaged by an earlier mutation
        return _of_bytes(data, other, rng)
    if not members:
        return _of_bytes(data, other, rng)
    one, two = rng.choice(members), rng.choice(members)
    if rng.random() < 0.3:  # small members describe the others
        one = min(members, key=lambda member: len(member[1]) + 50 * rng.randrange(50))
    match rng.randrange(8):
        case 0:
            one[1], two[1] = two[1], one[1]
        case 1:
            one[0] = rng.choice(("../x.npy", "meta.npy", "palette.npy", two[0], one[0] + "x", "", "\x1b[31m.npy"))
        case 2:
            members.remove(one)
        case _:
            inside = _container_of(one[1])
            one[1] = inside(one[1], two[1], rng) if inside and rng.random() < 0.8 else _of_bytes(one[1], two[1], rng)
    stream = io.BytesIO()
    method = zipfile.ZIP_DEFLATED if rng.random() < 0.05 else zipfile.ZIP_STORED
    with zipfile.ZipFile(stream, "w", method) as archive:
        for name in dict.fromkeys(name for name, _ in members):
            archive.writestr(zipfile.ZipInfo(name), next(text for each, text in members if each == name), method)
    return stream.getvalue() if rng.random() < 0.8 else _lie_of_directory(stream.getvalue(), rng)


def _lie_of_directory(data, rng):
    """Another size, offset or count in the directory at the end of an archive."""
    start = data.find(b"PK\x01\x02")
    size, value = rng.choice((2, 4)), rng.choice(LIES)
    place = min(start + rng.choice((4, 8, 10, 20, 24, 28, 30, 32, 42)), len(data) - size)
    if rng.random() < 0.3:
        place = len(data) - rng.choice((14, 12, 10, 6))
    return data[:place] + (value & (2 ** (8 * size) - 1)).to_bytes(size, "little") + data[place + size :]


def _in_png(data, other, rng):
    """Chunks changed, swapped, left out or repeated; all checksums are right, and lengths too but for one."""
    chunks, place = [], 8
    while place + 12 <= len(data):
        length = int.from_bytes(data[place : place + 4], "big")
        chunks.append([data[place + 4 : place + 8], data[place + 8 : place + 8 + length]])
        place += 12 + length
    if not chunks:
        return _of_bytes(data, other, rng)
    one, two = rng.choice(chunks), rng.choice(chunks)
    match rng.randrange(6):
        case 0:
            one[:], two[:] = two[:], one[:]
        case 1:
            chunks.remove(one)
        case 2:
            chunks.insert(rng.randrange(len(chunks)), one)
        case _:
            one[1] = _of_bytes(one[1], two[1], rng)[:1_000_000]
    out = [data[:8]]
    for name, content in chunks:
        length = rng.choice(LIES) & 0xFFFFFFFF if rng.random() < 0.02 else len(content)
        out += [struct.pack(">I", length), name, content, struct.pack(">I", zlib.crc32(name + content))]
    return b"".join(out)


def _in_npy(data, other, rng):
    """Another shape, type or order; or, in an array of bytes that is JSON, another value."""
    length = int.from_bytes(data[8:10], "little")
    header, content = data[10 : 10 + length], data[10 + length :]
    if content[:1] == b"{" and rng.random() < 0.8:
        content = _in_json(content, other, rng)
        header = str({"descr": "|u1", "fortran_order": False, "shape": (len(content),)}).encode() + b"\n"
        return data[:8] + len(header).to_bytes(2, "little") + header + content
    kinds = (b"'<f4'", b"'>f8'", b"'|O'", b"'<U9'", b"'<c8'", b"'|b1'", b"'<i8'", b"[('a','<f4')]")
    shapes = (b"()", b"(0,)", b"(-1,)", b"(99999999999,)", b"(2, 0, 9)", b"(" + b"1, " * 40 + b")", b"(" * 500)
    for old, new in ((b"'<f4'", kinds), (b"'|u1'", kinds), (b"False", (b"True", b"2")), (header[-60:], shapes)):
        if rng.random() < 0.4:
            header = header.replace(old, rng.choice(new))
    return data[:8] + (len(header) & 0xFFFF).to_bytes(2, "little") + header + content


def _in_json(data, other, rng):
    """Another value in place of one anywhere in the text; or a key that is missing, or new."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return _of_bytes(data, other, rng)
    place, depth = value, 0
    while isinstance(place, dict | list) and place:
        keys = list(place) if isinstance(place, dict) else range(len(place))
        key = rng.choice(keys)
        if not isinstance(place[key], dict | list) or not place[key] or rng.random() < 0.2 + 0.1 * depth:
            match rng.randrange(8):
                case 0:
                    del place[key]
                case 1 if isinstance(place, dict):
                    place[rng.choice(("x", "", *place))] = place[key]
                case _:
                    place[key] = rng.choice(VALUES)
            break
        place, depth = place[key], depth + 1
    else:
        value = rng.choice(VALUES)
    try:
        return json.dumps(value).encode()
    except ValueError:  # a number of thousands of digits, which is worth a text of its own
        return _number(data, other, rng)
