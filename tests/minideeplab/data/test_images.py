"""Decoding of images and masks: what is accepted, what it becomes, and what each refusal says."""

import io

import numpy as np
import pytest
from PIL import Image
from places import SHARED
from png_files import GREY, PALETTE, write_png

from minideeplab.data import (
    VOC_CLASSES,
    mask_palette,
    read_image,
    read_mask,
    voc_colour_map,
    write_mask,
)
from minideeplab.data import images as images_module
from minideeplab.errors import DataError

VOC_MASKS = SHARED / "data/VOCdevkit/VOC2012/SegmentationClass"


@pytest.fixture
def rgb():
    return np.random.default_rng(0).integers(0, 256, (9, 13, 3), np.uint8)


def save(folder, pixels, name="x.png", mode=None, **options):
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image = image.convert(mode) if mode else image
    image.save(folder / name, **options)
    return folder / name


def test_colour_map_follows_the_bits_of_the_label():
    palette = voc_colour_map()
    assert palette.shape == (256, 3) and palette.dtype == np.uint8
    assert palette[[0, 1, 2, 4, 15, 20, 255]].tolist() == [
        [0, 0, 0], [128, 0, 0], [0, 128, 0], [0, 0, 128], [192, 128, 128], [0, 64, 128], [224, 224, 192],
    ]  # fmt: skip
    for label in range(256):
        r = g = b = 0
        rest = label
        for j in range(8):
            r |= (rest & 1) << (7 - j)
            g |= (rest >> 1 & 1) << (7 - j)
            b |= (rest >> 2 & 1) << (7 - j)
            rest >>= 3
        assert palette[label].tolist() == [r, g, b]
    assert len(VOC_CLASSES) == 21 and VOC_CLASSES[15] == "person"


@pytest.mark.skipif(not VOC_MASKS.is_dir(), reason="no VOC data beside the repository")
def test_colour_map_is_the_palette_of_real_voc_masks():
    for path in sorted(VOC_MASKS.glob("*.png"))[:3]:
        np.testing.assert_array_equal(mask_palette(path), voc_colour_map())
        rgb = np.asarray(Image.open(path).convert("RGB"))
        np.testing.assert_array_equal(voc_colour_map()[read_mask(path, 21)], rgb)


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
    monkeypatch.setattr(images_module, "MAX_PIXELS", 9_999)
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


@pytest.mark.parametrize("kind", [GREY, PALETTE])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_the_stored_value_is_the_label_at_every_depth(tmp_path, depth, kind):
    values = min(2**depth, 21)
    labels = (np.arange(63).reshape(7, 9) % values).astype(np.uint8)
    palette = voc_colour_map()[: 2**depth] if kind == PALETTE else None
    write_png(tmp_path / "m.png", labels, depth, kind, palette)
    mask = read_mask(tmp_path / "m.png", num_classes=values)
    np.testing.assert_array_equal(mask, labels)
    assert mask.dtype == np.uint8
    with pytest.raises(DataError, match=rf"label {values - 1} at pixel \(row {(values - 1) // 9}, column"):
        read_mask(tmp_path / "m.png", num_classes=values - 1)


@pytest.mark.parametrize("mode", ["P", "L"])
def test_mask_values_are_labels(tmp_path, mode):
    labels = np.array([[0, 1, 20], [255, 7, 0]], np.uint8)
    path = tmp_path / "m.png"
    if mode == "P":
        write_mask(path, labels)
    else:
        Image.fromarray(labels).save(path)
    assert Image.open(path).mode == mode
    mask = read_mask(path, num_classes=21)
    np.testing.assert_array_equal(mask, labels)
    assert mask.dtype == np.uint8


def test_one_bit_mask_has_labels_0_and_1(tmp_path):
    labels = np.eye(4, dtype=bool)
    np.testing.assert_array_equal(read_mask(save(tmp_path, labels), 2), labels.astype(np.uint8))


def test_mask_of_void_alone_is_fine(tmp_path):
    path = save(tmp_path, np.full((3, 4), 255, np.uint8))
    assert (read_mask(path, 21) == 255).all()


def test_write_mask_stores_the_palette_given(tmp_path):
    palette = np.random.default_rng(0).integers(0, 256, (256, 3), np.uint8)
    write_mask(tmp_path / "m.png", np.zeros((2, 2), np.uint8), palette)
    np.testing.assert_array_equal(mask_palette(tmp_path / "m.png"), palette)
    assert mask_palette(save(tmp_path, np.zeros((2, 2), np.uint8), "grey.png")) is None
    with pytest.raises(TypeError, match=r"mask must be \(H, W\) uint8, got .* int64"):
        write_mask(tmp_path / "m.png", np.zeros((2, 2), np.int64))


@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_colours_of_an_rgb_mask_are_looked_up(tmp_path, mode):
    labels = np.array([[0, 1, 20], [255, 7, 0]], np.uint8)
    path = save(tmp_path, voc_colour_map()[labels], mode=mode)
    np.testing.assert_array_equal(read_mask(path, 21), labels)


def test_rgb_mask_with_a_palette_where_void_shares_a_colour(tmp_path):
    palette = np.zeros((256, 3), np.uint8)
    palette[1] = 10, 20, 30
    path = save(tmp_path, palette[np.array([[0, 1], [1, 0]])])
    np.testing.assert_array_equal(read_mask(path, 2, palette), [[0, 1], [1, 0]])


def test_unknown_colour_names_pixel_and_colour(tmp_path):
    colours = voc_colour_map()[np.zeros((3, 4), np.uint8)]
    colours[2, 1] = 64, 1, 2
    with pytest.raises(DataError, match=r"x\.png: colour \(64, 1, 2\) at pixel \(row 2, column 1\).*anti-aliased"):
        read_mask(save(tmp_path, colours), 21)


def test_colour_of_a_label_beyond_the_classes_is_unknown(tmp_path):
    with pytest.raises(DataError, match="is not the colour of any of the 5 classes"):
        read_mask(save(tmp_path, voc_colour_map()[np.full((2, 2), 5)]), 5)


@pytest.mark.parametrize(
    ("value", "cause"),
    [(11, "Then store void as 255. In CamVid .*--dataset camvid"), (38, "saved as grey levels"), (254, "bilinear")],
)
def test_label_out_of_range(tmp_path, value, cause):
    labels = np.zeros((4, 5), np.uint8)
    labels[3, 2] = value
    found = rf"x\.png: label {value} at pixel \(row 3, column 2\)"
    with pytest.raises(DataError, match=rf"{found}; valid labels are 0\.\.10 and 255 \(void\).*{cause}"):
        read_mask(save(tmp_path, labels), 11)


def test_jpeg_mask_is_refused_whatever_its_name(tmp_path):
    path = save(tmp_path, np.zeros((8, 8), np.uint8), "m.png", format="JPEG")
    with pytest.raises(DataError, match=r"m\.png: this mask is a JPEG file.*export the masks again as PNG"):
        read_mask(path, 21)


def test_16_bit_mask_is_read_where_its_values_are_labels(tmp_path):
    labels = np.array([[0, 1, 20], [255, 7, 0]], np.uint16)
    np.testing.assert_array_equal(read_mask(save(tmp_path, labels), 21), labels)
    labels[1, 1] = 256
    with pytest.raises(DataError, match=r"x\.png: a mask of 16 bits with the value 256 at pixel \(row 1, column 1\)"):
        read_mask(save(tmp_path, labels), 21)


def test_a_mask_of_two_channels_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"x\.png: a mask of Pillow mode 'LA'"):
        read_mask(save(tmp_path, np.zeros((3, 3), np.uint8), mode="LA"), 21)


def test_void_is_what_the_data_set_says(tmp_path):
    path = save(tmp_path, np.array([[0, 1, 250]], np.uint8))
    np.testing.assert_array_equal(read_mask(path, 2, ignore_index=250), [[0, 1, 250]])
    with pytest.raises(DataError, match=r"label 250 .*valid labels are 0\.\.1 and 255 \(void\)"):
        read_mask(path, 2)
    colours = save(tmp_path, voc_colour_map()[np.array([[0, 1, 250]])], "colours.png")
    np.testing.assert_array_equal(read_mask(colours, 2, ignore_index=250), [[0, 1, 250]])
    with pytest.raises(DataError, match="is not the colour"):
        read_mask(colours, 2)


def test_a_map_turns_stored_values_into_labels_and_messages_name_the_stored(tmp_path):
    of_ade = {0: 255, 1: 0, 2: 1, 7: 1}
    path = save(tmp_path, np.array([[0, 1, 2, 7]], np.uint8))
    np.testing.assert_array_equal(read_mask(path, 2, label_map=of_ade), [[255, 0, 1, 1]])
    path = save(tmp_path, np.array([[0, 1, 2, 3]], np.uint8))
    with pytest.raises(DataError, match=r"label 3 at .*column 3\); valid labels are 1\.\.2, 7 and 0 \(void\)"):
        read_mask(path, 2, label_map=of_ade)
    colours = save(tmp_path, voc_colour_map()[np.array([[0, 1, 255]])], "colours.png")  # colours are those of labels
    np.testing.assert_array_equal(read_mask(colours, 2, label_map=of_ade), [[0, 1, 255]])
