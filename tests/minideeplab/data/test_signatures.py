"""Files that are not what their name says: the message names what they are, and the next step."""

import io

import numpy as np
import pytest
from PIL import Image

from minideeplab.data import read_image, read_mask
from minideeplab.data.signatures import SIGNATURES, kind_of_bytes
from minideeplab.errors import DataError

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about tags of TIFF files

WRONG = {
    "HEIC file, as iPhones.*export it as JPEG": b"\0\0\0\x24ftypheic\0\0\0\0mif1heic",
    "AVIF file; export it as JPEG": b"\0\0\0\x20ftypavif\0\0\0\0avifmif1",
    "Canon CR3.*export it as JPEG": b"\0\0\0\x18ftypcrx \0\0\0\1crx isom",
    "video .MP4.*single frames": b"\0\0\0\x18ftypmp42\0\0\0\0",
    "Canon CR2.*export it": b"II*\0\x10\0\0\0CR\2\0",
    "Fujifilm RAF.*export it": b"FUJIFILMCCD-RAW 0201",
    "Photoshop.*export it": b"8BPS\0\1",
    "PDF.*export its pages": b"%PDF-1.7\n",
    "SVG.*export it as PNG": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg">',
    "web page, so the download gave.*download the file itself": b"\r\n <!DOCTYPE html><html><head>",
    "JSON text": b'{"message": "not found"}',
    "Git LFS pointer.*git lfs pull": b"version https://git-lfs.github.com/spec/v1\noid sha256:0",
    "an empty file; the copy or the download failed": b"",
    "begins with 1024 zero bytes; the copy": bytes(5000),
    "zip archive; unpack": b"PK\3\4",
}


@pytest.mark.parametrize("message", WRONG)
@pytest.mark.parametrize("read", [read_image, read_mask])
def test_the_message_says_what_the_file_is(tmp_path, read, message):
    (tmp_path / "x.jpg").write_bytes(WRONG[message])
    with pytest.raises(
        DataError, match=rf"x\.jpg: not a .* file \({len(WRONG[message])} bytes\), .*: this is .*{message}"
    ):
        read(tmp_path / "x.jpg")


@pytest.mark.parametrize("name", ["GIF", "JPEG2000", "AVIF"])
def test_files_that_pillow_writes_are_recognised(tmp_path, name):
    data = io.BytesIO()
    try:
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(data, name)
    except (KeyError, OSError):
        pytest.skip(f"this Pillow does not write {name}")
    (tmp_path / "x.png").write_bytes(data.getvalue())
    with pytest.raises(DataError, match=f"this is an? {name.removesuffix('2000')}.*; export it as"):
        read_image(tmp_path / "x.png")


@pytest.mark.parametrize("name", ["JPEG", "PNG", "BMP", "TIFF", "WEBP"])
def test_a_format_that_is_read_is_called_damaged_and_as_a_mask_not_png(tmp_path, name):
    data = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(data, name)
    assert kind_of_bytes(data.getvalue()).format == name
    (tmp_path / "x.png").write_bytes(data.getvalue()[:9] if name in ("JPEG", "TIFF") else data.getvalue()[:14])
    with pytest.raises(DataError, match=r"x\.png: (begins as .*header is damaged|cannot be decoded).*; download"):
        read_image(tmp_path / "x.png")
    if name not in ("PNG", "JPEG"):
        (tmp_path / "x.png").write_bytes(data.getvalue())
        with pytest.raises(DataError, match=r"not a PNG or JPEG file .*: this is a .* file; export it as PNG"):
            read_mask(tmp_path / "x.png")


def test_each_signature_is_reached():
    for signature, kind in SIGNATURES:
        assert kind_of_bytes(signature + b"\1" * 8) == kind


def test_bytes_that_say_nothing_are_called_nothing(tmp_path):
    assert kind_of_bytes(b"hello") is None
    (tmp_path / "x.jpg").write_bytes(b"hello")
    with pytest.raises(DataError, match=r"not a JPEG, .* or TIFF file \(5 bytes\), whatever its name says; down"):
        read_image(tmp_path / "x.jpg")
