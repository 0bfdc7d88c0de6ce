"""Normalisation and random views: a mask moves with its image, and padding is void."""

import numpy as np
import pytest
from PIL import Image

from minideeplab.data import IMAGE_MEAN, IMAGE_STD, TrainTransform, normalise


def rng(seed):
    return np.random.Generator(np.random.Philox(seed))


def denormalise(image):
    return (image * IMAGE_STD + IMAGE_MEAN) * 255


def coordinates(height, width):
    """An image whose red and green are its row and column, and a mask that tells the 8 x 8 block."""
    y, x = np.mgrid[:height, :width]
    image = np.stack([y, x, np.full_like(y, 128)], axis=-1).astype(np.uint8)
    return image, (y // 8 * 16 + x // 8).astype(np.uint8)


def test_normalise_is_the_formula():
    image = np.random.default_rng(0).integers(0, 256, (4, 5, 3), np.uint8)
    result = normalise(image)
    assert result.dtype == np.float32
    np.testing.assert_allclose(result, (image / 255 - IMAGE_MEAN) / IMAGE_STD, atol=1e-6)
    with pytest.raises(TypeError, match=r"must be uint8 RGB in 0\.\.255, got float64"):
        normalise(image / 255)


def test_view_has_the_crop_size_and_types():
    image, mask = coordinates(100, 120)
    for seed in range(10):
        crop, labels = TrainTransform(65)(image, mask, rng(seed))
        assert crop.shape == (65, 65, 3) and crop.dtype == np.float32 and crop.flags.c_contiguous
        assert labels.shape == (65, 65) and labels.dtype == np.uint8 and labels.flags.c_contiguous


@pytest.mark.parametrize("seed", range(12))
def test_mask_moves_with_its_image(seed):
    image, mask = coordinates(100, 120)
    crop, labels = TrainTransform(65)(image, mask, rng(seed))
    y, x, blue = np.moveaxis(denormalise(crop), -1, 0)
    real = labels != 255
    assert real.mean() > 0.3
    np.testing.assert_allclose(blue[real], 128, atol=0.6)
    # Up to half a block, one source pixel of interpolation and rounding away from the centre of its block.
    row, column = labels[real] // 16, labels[real] % 16
    assert (np.abs(y[real] - (row * 8 + 3.5)) <= 5.5).all()
    assert (np.abs(x[real] - (column * 8 + 3.5)) <= 5.5).all()
    # Without a half-pixel shift: where the nearest source pixel is r, the colour is r on average.
    rows = np.repeat(np.arange(100, dtype=np.uint8)[:, None], 120, axis=1)
    _, fine = TrainTransform(65)(image, rows, rng(seed))
    assert abs((y[real] - fine[real]).mean()) < 0.1


def test_scale_one_without_mirror_is_a_plain_crop():
    image, mask = coordinates(100, 120)
    crop, labels = TrainTransform(33, scale_range=(1, 1), mirror=False)(image, mask, rng(3))
    top, left = np.rint(denormalise(crop)[0, 0, :2]).astype(int)
    np.testing.assert_array_equal(crop, normalise(image[top : top + 33, left : left + 33]))
    np.testing.assert_array_equal(labels, mask[top : top + 33, left : left + 33])


@pytest.mark.parametrize("scale", [0.5, 0.77, 1.6, 2.0])
def test_window_equals_a_crop_of_the_resized_whole(scale):
    image = np.random.default_rng(0).integers(0, 256, (90, 110, 3), np.uint8)
    scaled = Image.fromarray(image).resize((round(110 * scale), round(90 * scale)), Image.Resampling.BILINEAR)
    whole = np.asarray(scaled).astype(np.float32)
    crop, _ = TrainTransform(33, (scale, scale), mirror=False)(image, image[..., 0], rng(5))
    crop = denormalise(crop)
    errors = [
        np.abs(whole[top : top + 33, left : left + 33] - crop).max()
        for top in range(whole.shape[0] - 32)
        for left in range(whole.shape[1] - 32)
    ]
    assert min(errors) < 1.01  # grey levels: the last bit of Pillow's fixed-point weights


def test_image_smaller_than_the_crop_is_padded_with_mean_colour_and_void():
    image = np.full((20, 30, 3), 200, np.uint8)
    mask = np.full((20, 30), 7, np.uint8)
    tops = set()
    for seed in range(20):
        crop, labels = TrainTransform(50, scale_range=(1, 1))(image, mask, rng(seed))
        real = labels == 7
        assert real.sum() == 20 * 30 and (labels[~real] == 255).all()
        np.testing.assert_array_equal(crop[~real], 0)
        np.testing.assert_array_equal(crop[real], np.broadcast_to(normalise(image)[0, 0], (600, 3)))
        rows, columns = np.nonzero(real)
        assert (np.ptp(rows), np.ptp(columns)) == (19, 29)
        tops.add(rows.min())
    assert len(tops) > 5 and max(tops) <= 30


def test_half_of_the_views_are_mirrored():
    image, mask = coordinates(40, 40)
    views = [TrainTransform(21, (1, 1))(image, mask, rng(seed))[0] for seed in range(200)]
    mirrored = sum(view[0, 0, 1] > view[0, -1, 1] for view in views)
    assert 70 < mirrored < 130
    plain = [TrainTransform(21, (1, 1), mirror=False)(image, mask, rng(seed))[0] for seed in range(20)]
    assert all(view[0, 0, 1] < view[0, -1, 1] for view in plain)


def test_scales_fill_their_range():
    image, _ = coordinates(200, 200)
    rows = np.repeat(np.arange(200, dtype=np.uint8)[:, None], 200, axis=1)
    steps = [
        np.ptp(TrainTransform(51, mirror=False)(image, rows, rng(seed))[1][:, 25].astype(int)) for seed in range(300)
    ]
    scales = 50 / np.array(steps)
    assert 0.48 < scales.min() < 0.55 and 1.85 < scales.max() < 2.2
    assert abs(np.mean(scales) - 1.25) < 0.1  # uniform, not log-uniform: that has mean 1.08


def test_same_generator_same_view():
    image, mask = coordinates(60, 60)
    transform = TrainTransform(33, blur=1.0, jitter=0.3)
    first, second, other = (transform(image, mask, rng(seed)) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first[0], second[0])
    np.testing.assert_array_equal(first[1], second[1])
    assert not np.array_equal(first[0], other[0])


def test_blur_smooths_the_image_and_leaves_the_labels():
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    mask = image[..., 0]
    blurred, labels = TrainTransform(40, (1, 1), mirror=False, blur=3.0)(image, mask, rng(0))
    assert blurred.std() < 0.5 * normalise(image).std()
    np.testing.assert_array_equal(labels, mask)


def test_jitter_changes_colours_within_0_to_255():
    image = np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8)
    means = []
    for seed in range(20):
        crop, _ = TrainTransform(40, (1, 1), mirror=False, jitter=0.4)(image, image[..., 0], rng(seed))
        pixels = denormalise(crop)
        assert pixels.min() > -0.01 and pixels.max() < 255.01
        means.append(pixels.mean())
    assert np.std(means) > 5


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"crop_size": 0}, "crop_size must be at least 1, got 0"),
        ({"scale_range": (2.0, 0.5)}, r"0 < low <= high, got \(2.0, 0.5\)"),
        ({"scale_range": (0.0, 1.0)}, "0 < low"),
        ({"blur": -1.0}, "blur must be a sigma of at least 0, got -1.0"),
        ({"jitter": 1.0}, "jitter must be in 0 <= jitter < 1, got 1.0"),
        ({"ignore_index": 256}, r"ignore_index must be a label in 0\.\.255, got 256"),
    ],
)
def test_wrong_arguments(arguments, match):
    with pytest.raises(ValueError, match=match):
        TrainTransform(**{"crop_size": 33, **arguments})
