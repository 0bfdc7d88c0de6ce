"""Masks that are turned against their images are found, whatever they show; masks that are right are not accused."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from places import SHARED
from scenes import scene

from minideeplab.data import open_dataset
from minideeplab.data.turning import (
    KEEPING,
    NAMES,
    SIDE,
    TURNS,
    edge_agreement,
    medians,
    single_turns,
    small_view,
    swapped_turn,
    whole_turn,
)

QUARTERS = NAMES[KEEPING : KEEPING + 2]
INVERSE = {name: name for name in NAMES} | dict(zip(QUARTERS, QUARTERS[::-1], strict=True))


def scores(samples, turn=NAMES[0]):
    return np.stack([edge_agreement(small_view(image), TURNS[turn](mask)) for image, mask in samples])


def scenes(seed, number=5, size=(48, 64)):
    return [scene((seed, k), size) for k in range(number)]


@given(st.integers(0, 2**32), st.sampled_from(NAMES), st.integers(3, 8))
@settings(max_examples=25, deadline=None)
def test_the_turn_that_undoes_a_turn_is_found(seed, turn, number):
    found = whole_turn(scores(scenes(seed, number, (56, 56)), turn))
    if turn == NAMES[0]:
        assert found is None
    else:
        assert (found.name, found.samples) == (INVERSE[turn], number)
        assert found.turned > found.stored


@given(st.integers(0, 2**32), st.integers(1, 20))
@settings(max_examples=25, deadline=None)
def test_masks_of_other_images_are_not_called_turned(seed, number):
    images, masks = scenes(seed, number), scenes(seed + 1, number)
    mixed = scores([(image, mask) for (image, _), (_, mask) in zip(images, masks, strict=True)])
    assert whole_turn(mixed) is None and single_turns(mixed) == []


def test_turns_undo_their_inverses():
    picture = np.arange(12).reshape(3, 4)
    for name, turn in TURNS.items():
        np.testing.assert_array_equal(TURNS[INVERSE[name]](turn(picture)), picture)
        assert (turn(picture).shape == (3, 4)) == (NAMES.index(name) < KEEPING)


def test_single_turned_masks_are_found_among_right_ones():
    samples = scenes(3, 12)
    for k in (2, 9):
        samples[k] = (samples[k][0], samples[k][1][::-1, ::-1])
    agreement = scores(samples)
    assert whole_turn(agreement) is None
    assert single_turns(agreement) == [(2, "turned by 180 degrees"), (9, "turned by 180 degrees")]


@pytest.mark.parametrize("turn", QUARTERS)
def test_a_quarter_turn_is_told_from_its_opposite(turn):
    agreement = scores(scenes(5), turn)
    assert np.isnan(agreement[:, :KEEPING]).all()
    assert swapped_turn(agreement).name == INVERSE[turn]
    assert whole_turn(agreement) is None and single_turns(agreement) == []


def test_pictures_without_edges_say_nothing():
    flat, empty = np.full((40, 50, 3), 7, np.uint8), np.zeros((40, 50), np.uint8)
    image, mask = scene(0, (40, 50))
    agreement = scores([(flat, mask), (image, empty), (image[:1, :1], mask[:1, :1])])
    assert np.isnan(agreement).all()
    assert whole_turn(agreement) is None and swapped_turn(agreement) is None
    assert medians(agreement) == dict.fromkeys(NAMES)


def test_agreement_is_a_correlation_and_ignores_size():
    image, mask = scene(1, (40, 40))
    small = edge_agreement(small_view(image), mask)
    assert (abs(small) <= 1).all()
    large = edge_agreement(small_view(image.repeat(5, 0).repeat(5, 1)), mask.repeat(5, 0).repeat(5, 1))
    assert large[0] > 0.4 and large[0] == max(large)
    assert max(small_view(np.zeros((1000, 10, 3), np.uint8)).shape) == SIDE


@pytest.mark.parametrize("name", ["camvid", "VOCdevkit/VOC2012"])
@pytest.mark.parametrize("turn", NAMES[:KEEPING])
def test_real_masks_are_right_as_they_are(name, turn):
    if not (SHARED / "data" / name).is_dir():
        pytest.skip(f"no {name} here")
    ds = open_dataset(SHARED / "data" / name, limit=24)
    found = whole_turn(scores([ds.sample(i) for i in range(len(ds))], turn))
    assert (found and found.name) == (None if turn == NAMES[0] else turn)
