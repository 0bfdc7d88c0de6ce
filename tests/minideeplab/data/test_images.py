"""Decoding of photographs: what is accepted, what it becomes, and what each refusal says."""

import io

import numpy as np
import pytest
from PIL import Image
from tiff_files import write_tiff

from minideeplab.data import decoder, read_image
from minideeplab.errors import DataError


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)


def save(folder, pixels, name="x.png", mode=None, **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image = image.convert(mode) if mode else image
    image.save(folder / name, **options)
    return folder / name


@pytest.mark.parametrize("suffix", ["png", "bmp", "tif"])
def test_rgb_image_is_read_as_it_is(tmp_path, rgb, suffix):
    path = save(tmp_path, rgb, f"x.{suffix}")
    np.testing.assert_array_equal(read_image(path), rgb)


@pytest.mark.parametrize("mode", ["L", "LA", "RGBA", "P", "1"])
def test_other_modes_become_rgb(tmp_path, rgb, mode):
    image = read_image(save(tmp_path, rgb, mode=mode))
    assert image.shape == rgb.shape and image.dtype == np.uint8
    expected = Image.fromarray(rgb).convert(mode).convert("RGB")
    np.testing.assert_array_equal(image, np.asarray(expected))


def test_palette_image_with_transparency_keeps_its_colours(tmp_path, rgb):
    image = Image.fromarray(rgb).convert("P")
    colours = np.asarray(image.convert("RGB"))
    path = save(tmp_path, image, transparency=bytes(range(256)))
    np.testing.assert_array_equal(read_image(path), colours)


def test_cmyk_jpeg_keeps_its_colour(tmp_path):
    orange = Image.new("RGB", (16, 16), (250, 120, 10)).convert("CMYK")
    image = read_image(save(tmp_path, orange, "x.jpg", quality=95))
    np.testing.assert_allclose(image[8, 8], (250, 120, 10), atol=4)


def test_16_bit_grey_is_scaled_not_clipped(tmp_path):
    deep = np.array([[0, 255, 256, 32768, 65535]], np.uint16)
    image = read_image(save(tmp_path, deep))
    np.testing.assert_array_equal(image, np.repeat([[[0], [0], [1], [128], [255]]], 3, axis=2))


def test_exif_rotation_is_applied_to_pixels_and_size(tmp_path, rgb):
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it a quarter turn clockwise
    path = save(tmp_path, rgb, exif=exif)
    np.testing.assert_array_equal(read_image(path), np.rot90(rgb, -1))


@pytest.mark.parametrize("compression", ["tiff_lzw", "tiff_adobe_deflate", "packbits"])
def test_compressed_and_turned_tiff(tmp_path, rgb, compression):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = save(tmp_path, rgb, "x.TIFF", exif=exif, compression=compression)
    np.testing.assert_array_equal(read_image(path), np.rot90(rgb, -1))


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("shape", [(9, 14), (9, 14, 3)])
def test_of_16_bits_the_upper_8_are_kept_in_grey_and_in_colour(tmp_path, shape, order):
    deep = np.random.default_rng(0).integers(0, 2**16, shape).astype(np.uint16)
    image = read_image(write_tiff(tmp_path / "x.tif", deep, order=order))
    np.testing.assert_array_equal(image, np.broadcast_to((deep >> 8).reshape(9, 14, -1), (9, 14, 3)))


def test_tiff_of_12_bits_uses_the_whole_range(tmp_path):
    deep = np.array([[0, 15, 16, 2048, 4095, 4080]])
    image = read_image(write_tiff(tmp_path / "x.tif", deep, bits=12))
    np.testing.assert_array_equal(image[..., 0], [[0, 0, 1, 128, 255, 255]])


@pytest.mark.parametrize("bits", [8, 16])
def test_tiff_where_0_is_white(tmp_path, bits):
    deep = np.array([[0, 1 << bits - 1, (1 << bits) - 1]])
    image = read_image(write_tiff(tmp_path / "x.tif", deep, bits=bits, photometric=0))
    np.testing.assert_array_equal(image[..., 0], [[255, 127, 0]])


@pytest.mark.parametrize("tag", [(254, 1), (50706, 0x01040000)])
def test_the_preview_in_a_raw_photograph_is_not_taken_for_it(tmp_path, tag):
    path = write_tiff(tmp_path / "x.dng", np.zeros((3, 4, 3), np.uint8), bits=8, tags=[tag])
    with pytest.raises(DataError, match=r"x\.dng: a raw photograph, .*export it as JPEG"):
        read_image(path)


@pytest.mark.parametrize("dtype", [np.float32, np.int32])
def test_tiff_of_32_bits_is_refused_rather_than_clipped(tmp_path, dtype):
    path = save(tmp_path, np.full((3, 4), 1000, dtype), "x.tif")
    with pytest.raises(DataError, match=r"x\.tif: a TIFF file whose pixels are 32-bit numbers; export"):
        read_image(path)


def test_truncated_image_names_the_file(tmp_path, rgb):
    whole = save(tmp_path, np.tile(rgb, (20, 20, 1)), "whole.jpg").read_bytes()
    (tmp_path / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"cut\.jpg: cannot be decoded .*truncated.*; download"):
        read_image(tmp_path / "cut.jpg")


@pytest.mark.parametrize("content", [b"", b"<html>404</html>"])
def test_file_that_is_no_image(tmp_path, content):
    (tmp_path / "x.jpg").write_bytes(content)
    with pytest.raises(DataError, match=rf"x\.jpg: not a JPEG.* file \({len(content)} bytes\)"):
        read_image(tmp_path / "x.jpg")


def test_format_outside_the_list_is_refused(tmp_path, rgb):
    with pytest.raises(DataError, match=r"x\.gif: not a JPEG, PNG, BMP, WEBP or TIFF file"):
        read_image(save(tmp_path, rgb, "x.gif"))


def test_missing_file(tmp_path):
    with pytest.raises(DataError, match=r"none\.png: no such file"):
        read_image(tmp_path / "none.png")


@pytest.mark.parametrize(("side", "message"), [(100, "more than the limit of 9,999"), (200, "decompression bomb")])
def test_image_that_declares_too_many_pixels(tmp_path, monkeypatch, side, message):
    monkeypatch.setattr(decoder, "MAX_PIXELS", 9_999)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 15_000)  # Pillow raises at twice this
    path = save(tmp_path, np.zeros((side, side), np.uint8))
    with pytest.raises(DataError, match=message):
        read_image(path)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about tags of TIFF files
def test_damaged_bytes_give_a_data_error_and_nothing_else(tmp_path, rgb):
    rng = np.random.default_rng(1)
    refused = 0
    for kind in ("png", "jpeg", "bmp", "webp", "tiff"):
        buffer = io.BytesIO()
        Image.fromarray(rgb).save(buffer, kind)
        for _ in range(60):
            damaged = bytearray(buffer.getvalue())
            for place in rng.integers(0, len(damaged), 3):
                damaged[place] = rng.integers(256)
            path = tmp_path / "damaged.img"
            path.write_bytes(damaged[: rng.integers(1, len(damaged) + 1)])
            try:
                assert read_image(path).ndim == 3
            except DataError as error:
                refused += 1
                assert "damaged.img" in str(error)
    assert refused > 50
