"""TIFF files written by hand, for samples that Pillow does not write."""

import struct

import numpy as np

SHORT, LONG = 3, 4


def write_tiff(path, samples, bits=16, order="<", photometric=None, tags=()):
    """Writes samples (H, W) or (H, W, 3) of 8, 12 or 16 bits, uncompressed; `tags`: further (number, value)."""
    height, width = samples.shape[:2]
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    if bits == 12:  # two samples in three bytes, each row begins with a byte of its own
        digits = (samples.reshape(height, width)[..., None] >> np.arange(12)[::-1] & 1).astype(np.uint8)
        data = np.packbits(digits.reshape(height, width * 12), axis=1).tobytes()
    else:
        data = samples.astype(f"{order}u{bits // 8}").tobytes()
    entries = [
        (256, LONG, [width]), (257, LONG, [height]), (258, SHORT, [bits] * channels), (259, SHORT, [1]),
        (262, SHORT, [photometric if photometric is not None else 2 if channels == 3 else 1]), (273, LONG, [8]),
        (277, SHORT, [channels]), (278, LONG, [height]), (279, LONG, [len(data)]), *((n, LONG, [v]) for n, v in tags),
    ]  # fmt: skip
    start = 8 + len(data) + len(data) % 2
    more, table = start + 2 + 12 * len(entries) + 4, b""
    extra = b""
    for number, kind, values in sorted(entries):
        packed = struct.pack(f"{order}{len(values)}{'H' if kind == SHORT else 'I'}", *values)
        if len(packed) > 4:
            packed, extra = struct.pack(f"{order}I", more + len(extra)), extra + packed
        table += struct.pack(f"{order}HHI", number, kind, len(values)) + packed.ljust(4, b"\0")
    head = (b"II" if order == "<" else b"MM") + struct.pack(f"{order}HI", 42, start)
    directory = struct.pack(f"{order}H", len(entries)) + table + bytes(4)
    path.write_bytes(head + data + bytes(len(data) % 2) + directory + extra)
    return path
