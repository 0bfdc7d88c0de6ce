"""Files of others: whatever they hold, a DataError that names them, soon and with little memory."""

import io
import os
import struct
import time
import tracemalloc
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from minideeplab.data import read_image, read_mask
from minideeplab.errors import DataError

PIXELS = np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8)
BOMB = zlib.compress(bytes(100_000_000), 9)


def encoded(kind, pixels=PIXELS, **options):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(name, data, length=None):
    size = len(data) if length is None else length
    return struct.pack(">I", size) + name + data + struct.pack(">I", zlib.crc32(name + data))


def png(width, height, data, more=b"", length=None):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + header + more + chunk(b"IDAT", data, length) + chunk(b"IEND", b"")


def of_size(jpeg, width, height):
    place = jpeg.index(b"\xff\xc0") + 5
    return jpeg[:place] + struct.pack(">HH", height, width) + jpeg[place + 4 :]


GREY = zlib.compress(bytes(51 * 40))[:-9]
HOSTILE = {
    "more pixels than there are": png(8000, 7900, GREY),
    "more pixels than are allowed": png(40_000, 40_000, GREY),
    "a chunk of 2 GB": png(50, 40, GREY, length=2**31 - 1),
    "a chunk of 4 GB": png(50, 40, GREY, length=2**32 - 1),
    "a text of 2 GB": png(50, 40, GREY, chunk(b"tEXt", b"a\0b", 2**31 - 1)),
    "a text that unpacks to 100 MB": png(50, 40, GREY, chunk(b"zTXt", b"a\0\0" + BOMB)),
    "a profile that unpacks to 100 MB": png(50, 40, GREY, chunk(b"iCCP", b"a\0\0" + BOMB)),
    "no pixels": png(0, 0, GREY),
    "a JPEG file of 691 bytes and 63 megapixels": of_size(encoded("JPEG"), 8000, 7900),
    "a BMP file of 54 bytes and 63 megapixels": b"BM"
    + struct.pack("<IHHI", 10**9, 0, 0, 54)
    + struct.pack("<IiiHHIIiiII", 40, 8000, 7900, 1, 24, 0, 0, 0, 0, 0, 0),
}


@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.parametrize("read", [read_image, read_mask])
def test_a_file_that_lies_is_refused_at_once(tmp_path, read, name):
    (tmp_path / "x.png").write_bytes(HOSTILE[name])
    tracemalloc.start()
    start = time.perf_counter()
    with pytest.raises(DataError, match=r"x\.png: .*; ") as caught:
        read(tmp_path / "x.png")
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert seconds < 1 and peak < 20e6 and len(str(caught.value)) < 600


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "BMP", "WEBP", "TIFF"])
def test_a_file_that_is_cut_off_is_refused_wherever_that_is(tmp_path, kind):
    whole = encoded(kind)
    for end in range(0, len(whole) - 16, 64):
        (tmp_path / "x.png").write_bytes(whole[:end])
        for read in (read_image, read_mask):
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of Pillow, about tags
                with pytest.raises(DataError, match=r"x\.png"):
                    read(tmp_path / "x.png")


@pytest.mark.parametrize("quality", [1, 30, 95])
def test_the_smallest_jpeg_files_are_possible(tmp_path, quality):
    """A block of one colour takes the fewest bits that there are."""
    flat = np.zeros((800, 1000, 3), np.uint8)
    for options in ({}, {"progressive": True}, {"optimize": True}):
        (tmp_path / "x.jpg").write_bytes(encoded("JPEG", flat, quality=quality, **options))
        assert read_image(tmp_path / "x.jpg").shape == flat.shape


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no named pipes")
@pytest.mark.parametrize("read", [read_image, read_mask])
def test_a_pipe_is_refused_and_not_waited_for(tmp_path, read):
    os.mkfifo(tmp_path / "x.png")
    with pytest.raises(DataError, match=r"x\.png: a pipe or a device, not an image file"):
        read(tmp_path / "x.png")
    if os.path.exists("/dev/zero"):
        with pytest.raises(DataError, match="/dev/zero: a pipe or a device"):
            read("/dev/zero")


def test_names_that_no_file_has(tmp_path):
    with pytest.raises(DataError, match=r"cannot be opened \(File name too long\); check its name"):
        read_image(tmp_path / ("x" * 300 + ".png"))
    with pytest.raises(DataError, match=r"cannot be opened \(.*null.*\)"):
        read_image(tmp_path / "a\0b.png")
    with pytest.raises(DataError, match=r": a folder, not an image file; give a file in it"):
        read_image(tmp_path)


@pytest.mark.skipif(os.name == "nt", reason="names are text there")
def test_a_name_that_is_not_utf_8_is_read_or_refused_as_any_other(tmp_path):
    path = os.fsencode(tmp_path) + b"/\xff\xfe.png"
    with open(path, "wb") as file:
        file.write(encoded("PNG"))
    np.testing.assert_array_equal(read_image(os.fsdecode(path)), PIXELS)
    with open(path, "wb") as file:
        file.write(b"nothing")
    with pytest.raises(DataError, match="not a JPEG") as caught:
        read_image(os.fsdecode(path))
    assert str(caught.value).encode(errors="backslashreplace")


def test_a_file_that_may_not_be_read(tmp_path):
    (tmp_path / "x.png").write_bytes(encoded("PNG"))
    (tmp_path / "x.png").chmod(0)
    try:
        with open(tmp_path / "x.png", "rb"):
            pytest.skip("this user may read every file")
    except PermissionError:
        pass
    with pytest.raises(DataError, match=r"cannot be opened \(Permission denied\); check its name and permissions"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize("mode", ["1", "L", "P", "RGB", "RGBA", "LA", "I;16"])
def test_a_png_that_declares_more_than_its_bytes_can_hold_is_refused_before_it_is_decoded(tmp_path, mode):
    path = tmp_path / "a.png"
    picture = Image.new("L", (4000, 4000)).convert(mode) if mode != "I;16" else Image.new(mode, (4000, 4000))
    picture.save(path, compress_level=9)  # of one colour: the most that deflate can do
    assert read_image(path).shape == (4000, 4000, 3)
    data = bytearray(path.read_bytes())
    data[20:24] = (15_000).to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    path.write_bytes(data)
    with pytest.raises(DataError, match=r"declares 4000 x 15000 pixels in [0-9]+ bytes, which is not possible"):
        read_image(path)


def test_a_webp_of_a_few_bytes_and_many_pixels_is_refused(tmp_path):
    path = tmp_path / "a.webp"
    Image.new("RGB", (2000, 3000), (9, 8, 7)).save(path, lossless=True)
    assert read_image(path).shape == (3000, 2000, 3)
    Image.new("RGB", (4000, 3000), (9, 8, 7)).save(path, lossless=True)
    with pytest.raises(DataError, match=r"declares 4000 x 3000 pixels in [0-9]+ bytes, which is not possible"):
        read_image(path)
