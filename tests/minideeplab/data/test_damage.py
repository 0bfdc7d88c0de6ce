"""Masks that were compressed, smoothed, resized or stretched are refused with the cause, and no clean mask ever."""

import io

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw
from places import SHARED
from png_files import write_png
from voc_folder import make_set

from minideeplab.data import open_dataset, read_mask, voc_colour_map
from minideeplab.data.damage import ANTI_ALIASED, EITHER, JPEG, RESIZED, SMOOTH, doubt
from minideeplab.errors import DataError

CAUSES = (JPEG, ANTI_ALIASED, RESIZED, SMOOTH, EITHER)
COLOURS = voc_colour_map()
GREYS = np.rint(COLOURS @ (0.299, 0.587, 0.114)).astype(np.uint8)
REAL = SHARED / "data"
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=5)


def drawing(seed, labels, height=160, width=200, shapes=6):
    """(H, W) uint8: rectangles, ellipses and polygons of these labels on a ground of the first."""
    rng = np.random.default_rng(seed)
    image = Image.new("L", (width, height), int(labels[0]))
    draw = ImageDraw.Draw(image)
    for k in range(shapes):
        label, side = (
            int(labels[(k + 1) % len(labels)]),
            int(rng.integers(min(height, width) // 6, min(height, width) // 3)),
        )
        x, y = (int(rng.integers(side, end - side)) for end in (width, height))
        box = (x - side, y - side // 2, x + side, y + side // 2)
        if k % 3 == 0:
            draw.ellipse(box, fill=label)
        elif k % 3 == 1:
            draw.rectangle(box, fill=label)
        else:
            angles = np.sort(rng.random(5)) * 2 * np.pi
            draw.polygon([(x + side * np.cos(a), y + side * np.sin(a)) for a in angles], fill=label)
    return np.asarray(image)


def resized(pixels, factor, method):
    image = Image.fromarray(pixels)
    return np.asarray(image.resize((int(image.width * factor), int(image.height * factor)), method))


def jpeg(pixels, quality=85):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return np.asarray(Image.open(buffer))


def smoothed(pixels):
    """As a program draws it that smooths edges: each pixel is the mean of four by four."""
    return resized(pixels, 0.25, Image.Resampling.BOX)


def refusal(folder, pixels, num_classes, **options):
    Image.fromarray(pixels).save(folder / "mask.png")
    with pytest.raises(DataError, match=r"mask\.png: ") as caught:
        read_mask(folder / "mask.png", num_classes, **options)
    return str(caught.value)


def says(message, *causes):
    """Whether a message names one of these causes; it may begin a sentence."""
    return any(cause[1:] in message for cause in causes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("masks")


ENCODED = {"colours": (COLOURS, 21), "grey levels of colours": (GREYS, 21), "black and white": (np.uint8([0, 255]), 2)}


@pytest.mark.parametrize("encoding", ENCODED)
@few
@given(seed=seeds)
def test_jpeg_is_recognised_in_a_png(folder, encoding, seed):
    table, classes = ENCODED[encoding]
    labels = [0, 1] if classes == 2 else [0, 15, 9, 12]
    for quality in (95, 75):
        message = refusal(folder, jpeg(table[drawing(seed, labels)], quality), classes, ignore_index=250)
        assert says(message, JPEG)


@pytest.mark.parametrize("encoding", ENCODED)
@few
@given(seed=seeds)
def test_smoothed_borders_are_recognised(folder, encoding, seed):
    table, classes = ENCODED[encoding]
    labels = [0, 1] if classes == 2 else [0, 15, 9, 12]
    large = drawing(seed, labels, 640, 800)
    message = refusal(folder, smoothed(table[large]), classes, ignore_index=250)
    assert says(message, ANTI_ALIASED, SMOOTH) and not says(message, JPEG, RESIZED)


@pytest.mark.parametrize("factor", [0.5, 1.5, 3])
@pytest.mark.parametrize("encoding", ["colours", "black and white"])
@few
@given(seed=seeds)
def test_resizing_is_recognised(folder, encoding, factor, seed):
    table, classes = ENCODED[encoding]
    labels = [0, 1] if classes == 2 else [0, 15, 9, 12]
    side = 320 if factor < 1 else 120
    pixels = table[drawing(seed, labels, side, side + 40)]
    for method in (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC):
        message = refusal(folder, resized(pixels, factor, method), classes, ignore_index=250)
        assert says(message, RESIZED) or (classes == 2 and says(message, SMOOTH))
        assert not says(message, JPEG)


@pytest.mark.parametrize("factor", [0.5, 0.7, 1.5, 2.5])
@few
@given(seed=seeds)
def test_labels_between_two_others_are_doubted_although_all_are_valid(factor, seed):
    clean = drawing(seed, [0, 15, 5, 19], 300, 340)
    assert doubt(clean, 255) is None
    reason = doubt(resized(clean, factor, Image.Resampling.BILINEAR), 255)
    assert reason is not None and (EITHER in reason or (SMOOTH in reason and " between " in reason))
    smooth = doubt(smoothed(drawing(seed, [0, 15, 5, 19], 640, 800)), 255)
    assert smooth is not None and SMOOTH in smooth


@few
@given(seed=seeds)
def test_jpeg_of_labels_is_doubted_although_all_are_valid(seed):
    spoilt = jpeg(drawing(seed, [5, 15, 10, 19], 300, 340), 95)
    reason = doubt(spoilt.clip(0, 20), 255)
    assert reason is not None and (JPEG in reason or EITHER in reason)


@st.composite
def clean_masks(draw):
    """Regions, thin lines, a border class, layers, specks, noise: what people and programs draw."""
    rng = np.random.default_rng(draw(seeds))
    labels = rng.permutation(draw(st.sampled_from([2, 3, 5, 11, 21, 60, 150])))[: draw(st.integers(2, 12))]
    height, width = draw(st.integers(50, 200)), draw(st.integers(50, 200))
    kind = draw(st.sampled_from(["regions", "lines", "border", "layers", "specks", "noise", "cells", "nearest"]))
    mask = drawing(rng.integers(2**32), labels, height, width, draw(st.integers(1, 20)))
    if kind == "lines":
        image = Image.fromarray(mask)
        for _ in range(8):
            ends = [tuple(rng.integers(0, (width, height)).tolist()) for _ in range(2)]
            ImageDraw.Draw(image).line(ends, fill=int(rng.choice(labels)), width=int(rng.integers(1, 4)))
        mask = np.asarray(image)
    elif kind == "border":
        edge = np.zeros(mask.shape, bool)
        edge[:, 1:] |= mask[:, 1:] != mask[:, :-1]
        edge[1:] |= mask[1:] != mask[:-1]
        mask = np.where(edge, rng.choice([255, labels[0], 1]), mask)
    elif kind == "layers":
        depth = np.sort(rng.integers(0, height, len(labels) - 1))
        wave = np.arange(height)[:, None] + (6 * np.sin(np.arange(width) / 11)).astype(int)
        mask = np.sort(labels)[np.searchsorted(depth, wave, side="right")]
    elif kind == "specks":
        mask = np.where(rng.random(mask.shape) < 0.02, rng.choice(labels, mask.shape), mask)
    elif kind == "noise":
        mask = rng.choice(labels, mask.shape)
    elif kind == "cells":
        seeds_at = rng.random((30, 2)) * (height, width)
        y, x = np.mgrid[:height, :width]
        nearest = ((y[..., None] - seeds_at[:, 0]) ** 2 + (x[..., None] - seeds_at[:, 1]) ** 2).argmin(axis=2)
        mask = rng.choice(labels, 30)[nearest]
    elif kind == "nearest":
        mask = resized(mask, rng.uniform(0.3, 3), Image.Resampling.NEAREST)
    return mask.astype(np.uint8)


@given(mask=clean_masks(), void=st.sampled_from([255, 0, 250]))
def test_no_clean_mask_is_doubted(mask, void):
    assert doubt(mask, void) is None


@given(mask=clean_masks(), num_classes=st.integers(2, 20))
def test_a_clean_mask_with_a_class_too_many_is_not_called_damaged(folder, mask, num_classes):
    assume(((mask >= num_classes) & (mask != 255)).any() and np.unique(mask).size < 8)
    for pixels in (mask, COLOURS[mask]):
        message = refusal(folder, pixels, num_classes)
        assert not says(message, *CAUSES)


@pytest.mark.skipif(not REAL.is_dir(), reason="no real data beside the repository")
@pytest.mark.parametrize(("path", "every"), [("camvid", 12), ("VOCdevkit/VOC2012", 2)])
def test_real_masks_are_clean_and_damaged_ones_are_not(path, every):
    found = []
    for file in sorted((REAL / path / "SegmentationClass").glob("*.png"))[::every]:
        mask = np.asarray(Image.open(file))
        assert doubt(mask, 255) is None
        named = np.where(mask == 255, 0, mask)
        found += [doubt(resized(named, 0.5, Image.Resampling.BILINEAR), 255), doubt(jpeg(named, 90), 255)]
    assert np.mean([reason is not None for reason in found]) > 0.8


@pytest.mark.parametrize(
    ("values", "classes", "message"),
    [
        ([0, 85, 170, 255], 4, r"multiples of 85: were labels stretched to 0\.\.255\? Divide by 85"),
        ([0, 17, 34, 136], 16, "multiples of 17"),
        ([0, 128, 255], 3, r"multiples of 127\.5"),
        ([0, 38, 75, 113], 21, "grey levels of the classes' colours: were colours saved as grey levels"),
        ([0, 255], 2, "two classes stored as 0 and 255.*--label-map binary takes 255 for label 1"),
        ([0, 1, 2, 3, 30], 21, "label 30 .*class names missing|label 30 .*saved as grey levels, or"),
    ],
)
def test_the_cause_by_the_values_alone(folder, values, classes, message):
    mask = np.repeat(np.repeat(np.uint8([values]), 9, axis=0), 12, axis=1)
    with pytest.raises(DataError, match=message):
        Image.fromarray(mask).save(folder / "m.png")
        read_mask(folder / "m.png", classes, ignore_index=250)


@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_values_of_few_bits_are_no_stretched_labels(tmp_path, depth):
    values = np.repeat(np.arange(min(2**depth, 21), dtype=np.uint8)[None], 12, axis=0).repeat(3, axis=1)
    write_png(tmp_path / "m.png", values, depth)
    np.testing.assert_array_equal(read_mask(tmp_path / "m.png", 21), values)


def test_other_colours_are_named_and_the_file_for_them(folder):
    painted = np.uint8([[250, 0, 10], [0, 200, 0]])[drawing(1, [0, 1])]
    message = refusal(folder, painted, 3)
    assert "drawn with other colours: (" in message and "(250, 0, 10) in " in message and "colors.txt" in message


def test_exchanged_channels_and_labels_in_three_channels_are_named(folder):
    palette = np.zeros((256, 3), np.uint8)
    palette[1], palette[2] = (200, 30, 10), (10, 220, 40)
    mask = drawing(2, [0, 1, 2])
    assert "Red and blue seem to be exchanged" in refusal(folder, palette[mask][..., ::-1], 3, palette=palette)
    assert "All three channels are equal" in refusal(folder, mask[..., None].repeat(3, axis=2), 3)


def test_minus_one_in_16_bits_is_named(tmp_path):
    Image.fromarray(np.uint16([[0, 65535]])).save(tmp_path / "m.png")
    with pytest.raises(DataError, match=r"value 65535 at .*65535 is -1 in 16 bits: was void stored as -1"):
        read_mask(tmp_path / "m.png", 2)


def test_a_large_damaged_mask_takes_no_longer(tmp_path):
    huge = resized(COLOURS[drawing(3, [0, 15, 9])], 12, Image.Resampling.BILINEAR)  # 1920 x 2400
    assert says(refusal(tmp_path, huge, 21), RESIZED)


def test_check_lists_damaged_masks(tmp_path):
    clean = drawing(4, [0, 15, 5])
    small = resized(drawing(5, [0, 15, 5], 320, 400), 0.5, Image.Resampling.BILINEAR)
    root = make_set(tmp_path / "s", "ab", masks=[clean, small])
    with pytest.raises(DataError, match=r"1 of 2 samples .*\n  .*b\.png: this mask is damaged: from one label"):
        open_dataset(root).check()


def test_check_of_mapped_labels_looks_at_what_the_file_stores(tmp_path):
    """The map mixes the order of the labels; the damage was done before."""
    names = [f"c{label}" for label in range(20)]
    small = resized(drawing(5, [0, 15, 5], 320, 400), 0.5, Image.Resampling.BILINEAR)
    ds = open_dataset(make_set(tmp_path / "s", "ab", names, masks=[drawing(4, [0, 15, 5]), small]))
    order = np.random.default_rng(0).permutation(20).tolist()
    object.__setattr__(ds, "label_map", dict(enumerate(order)) | {255: 255})
    assert ds.doubt(ds.mask(0)) is None
    assert SMOOTH in ds.doubt(ds.mask(1))
