"""PNG files written by hand, for bit depths that Pillow does not write."""

import struct
import zlib

import numpy as np

GREY, PALETTE = 0, 3


def write_png(path, samples, depth, kind=GREY, palette=None):
    """Writes one channel of samples (H, W) of 1, 2, 4, 8 or 16 bits as they are; `palette`: (n, 3) uint8."""
    height, width = samples.shape
    bits = (samples[..., None].astype(np.int64) >> np.arange(depth)[::-1] & 1).astype(np.uint8)
    rows = np.packbits(bits.reshape(height, width * depth), axis=1)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, kind, 0, 0, 0))]
    chunks += [(b"PLTE", palette.tobytes())] if palette is not None else []
    chunks += [(b"IDAT", zlib.compress(b"".join(b"\0" + row.tobytes() for row in rows))), (b"IEND", b"")]
    with open(path, "wb") as file:
        file.write(b"\x89PNG\r\n\x1a\n")
        for name, data in chunks:
            file.write(struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)))
