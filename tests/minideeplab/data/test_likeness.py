"""Pictures that occur twice."""

import io

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from scenes import scene

from minideeplab.data import likeness
from minideeplab.data.likeness import NEAR_BITS, groups_of_equals, near_pairs, picture_hash, pixel_digest

BITS_64 = st.one_of(st.none(), st.integers(0, 2**64 - 1))


def test_digests_are_equal_for_equal_pixels_alone():
    image, _ = scene(0)
    assert pixel_digest(image) == pixel_digest(image[:, ::-1][:, ::-1])
    other = image.copy()
    other[-1, -1, 2] ^= 1
    shapes = image.reshape(80, 60, 3)
    assert len({pixel_digest(each) for each in (image, other, shapes, image[:-1])}) == 4


def test_a_smaller_brighter_copy_has_a_near_hash_another_scene_has_not():
    hashes = []
    for seed in range(6):
        image, _ = scene(seed, (90, 120), noise=3)
        file = io.BytesIO()
        copy = Image.fromarray((image * 0.9 + 20).astype(np.uint8)).resize((80, 60), Image.Resampling.BILINEAR)
        copy.save(file, "JPEG", quality=70)
        hashes += [picture_hash(image), picture_hash(np.asarray(Image.open(file)))]
    assert near_pairs(hashes) == [(2 * k, 2 * k + 1) for k in range(6)]


def test_flat_pictures_have_no_hash():
    assert picture_hash(np.full((30, 40, 3), 90, np.uint8)) is None
    assert near_pairs([None, None, 5]) == []


@given(st.lists(BITS_64, max_size=12), st.data())
def test_near_pairs_are_those_of_the_definition(hashes, data):
    for i in data.draw(st.lists(st.integers(0, max(0, len(hashes) - 1)), max_size=4)) if hashes else ():
        if hashes[i] is not None:
            hashes.append(hashes[i] ^ data.draw(st.sampled_from([0, 1, 0b1111, 1 << 63, 0b11111])))
    expected = [
        (i, j)
        for i in range(len(hashes))
        for j in range(i + 1, len(hashes))
        if None not in (hashes[i], hashes[j]) and (hashes[i] ^ hashes[j]).bit_count() <= NEAR_BITS
    ]
    assert near_pairs(hashes) == expected


def test_too_many_hashes_are_not_compared(monkeypatch):
    monkeypatch.setattr(likeness, "COMPARED", 2)
    assert near_pairs([1, 1, None]) == [(0, 1)] and near_pairs([1, 1, 1]) == []


@given(st.lists(st.sampled_from([None, "a", "b", "c"])))
def test_groups_of_equals_hold_all_that_occur_twice(keys):
    groups = groups_of_equals(keys)
    for group in groups:
        assert len(group) > 1 and len({keys[i] for i in group}) == 1 and None not in {keys[i] for i in group}
    assert sum(map(len, groups)) == sum(keys.count(key) > 1 for key in keys if key is not None)
