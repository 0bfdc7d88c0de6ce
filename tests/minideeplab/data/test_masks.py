"""Decoding of masks: what is accepted, what it becomes, and what each refusal says."""

import numpy as np
import pytest
from PIL import Image
from places import SHARED
from png_files import GREY, PALETTE, write_png

from minideeplab.data import VOC_CLASSES, mask_palette, read_mask, voc_colour_map, write_mask
from minideeplab.errors import DataError

VOC_MASKS = SHARED / "data/VOCdevkit/VOC2012/SegmentationClass"


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
