"""Batches: the same for the same seed, complete, resumable, and with no thread left behind."""

import threading

import numpy as np
import pytest

from minideeplab.data import Loader, TrainTransform
from minideeplab.errors import DataError


class Numbered:
    """Sample i is filled with i; `broken` raises."""

    def __init__(self, count, broken=None):
        self.count, self.broken = count, broken

    def __len__(self):
        return self.count

    def sample(self, i):
        if i == self.broken:
            raise DataError(f"sample {i} is broken")
        return np.full((4, 4, 3), i, np.uint8), np.full((4, 4), i, np.uint8)


def tagged(image, mask, rng):
    """The sample's number in the labels, its randomness in the image."""
    return np.full((2, 2, 3), rng.random(), np.float32), mask[:2, :2]


def loader_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("loader")]


def flat(lists):
    return [item for each in lists for item in each]


def numbers(batches):
    return [labels[:, 0, 0].tolist() for _, labels in batches]


def draws(batches):
    return [images[:, 0, 0, 0].tolist() for images, _ in batches]


def test_batches_have_the_shapes_of_the_views():
    image = np.zeros((20, 30, 3), np.uint8)

    class Blank(Numbered):
        def sample(self, i):
            return image, image[..., 0]

    images, labels = next(Loader(Blank(9), TrainTransform(17), batch_size=4).epoch(0))
    assert images.shape == (4, 17, 17, 3) and images.dtype == np.float32
    assert labels.shape == (4, 17, 17) and labels.dtype == np.uint8


def test_an_epoch_shows_each_sample_once_and_drops_the_rest():
    loader = Loader(Numbered(10), tagged, batch_size=3)
    batches = numbers(loader.epoch(0))
    assert len(loader) == len(batches) == 3
    shown = flat(batches)
    assert len(set(shown)) == 9 and shown != sorted(shown)


def test_a_small_set_is_repeated_with_views_of_its_own():
    loader = Loader(Numbered(3), tagged, batch_size=8)
    batches = list(loader.epoch(0))
    assert len(loader) == len(batches) == 1
    assert sorted(numbers(batches)[0]) == [0, 0, 0, 1, 1, 1, 2, 2]
    assert len(set(draws(batches)[0])) == 8


def test_same_seed_same_batches_and_other_epochs_or_seeds_differ():
    def run(seed, epoch):
        batches = list(Loader(Numbered(20), tagged, 4, seed).epoch(epoch))
        return numbers(batches), draws(batches)

    assert run(5, 2) == run(5, 2)
    for other in (run(5, 3), run(6, 2)):
        assert other[0] != run(5, 2)[0]
        assert not set(flat(other[1])) & set(flat(run(5, 2)[1]))


def test_a_view_depends_on_its_sample_not_on_the_batch():
    def views(batch_size):
        batches = list(Loader(Numbered(12), tagged, batch_size).epoch(1))
        return dict(zip(flat(numbers(batches)), flat(draws(batches)), strict=True))

    assert views(2) == views(6)


def test_order_does_not_depend_on_how_slowly_batches_are_taken():
    loader = Loader(Numbered(12), tagged, 2)
    slow = []
    for _, labels in loader.epoch(0):
        list(loader.epoch(1))  # another epoch in between
        slow.append(labels[:, 0, 0].tolist())
    assert slow == numbers(loader.epoch(0))


def test_resume_inside_an_epoch():
    loader = Loader(Numbered(20), tagged, 4)
    whole = list(loader.epoch(3))
    rest = list(loader.epoch(3, start=2))
    assert len(rest) == 3
    for (images, labels), (images_again, labels_again) in zip(whole[2:], rest, strict=True):
        np.testing.assert_array_equal(images, images_again)
        np.testing.assert_array_equal(labels, labels_again)
    assert list(loader.epoch(3, start=5)) == []


def test_the_next_batch_is_made_while_one_is_in_use():
    made = threading.Event()

    def signalling(image, mask, rng):
        if threading.current_thread() is threading.main_thread():
            raise AssertionError("a view was made in the main thread")
        if signalling.calls == 2:
            made.set()
        signalling.calls += 1
        return tagged(image, mask, rng)

    signalling.calls = 0
    batches = Loader(Numbered(8), signalling, 2).epoch(0)
    next(batches)
    assert made.wait(5)  # the first view of the second batch, though only one batch was asked for
    batches.close()


def test_errors_of_the_thread_reach_the_consumer():
    with pytest.raises(DataError, match="sample 7 is broken"):
        list(Loader(Numbered(8, broken=7), tagged, 2).epoch(0))
    assert not loader_threads()


def test_leaving_the_loop_stops_the_thread():
    for _ in Loader(Numbered(100), tagged, 2).epoch(0):
        assert loader_threads()
        break
    assert not loader_threads()


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ({"batch_size": 0}, "batch_size must be at least 1, got 0"),
        ({"seed": -1}, "seed must be at least 0, got -1"),
    ],
)
def test_wrong_arguments(options, match):
    with pytest.raises(ValueError, match=match):
        Loader(Numbered(4), tagged, **{"batch_size": 2, **options})


def test_wrong_epoch_or_start_is_refused_before_the_first_batch():
    loader = Loader(Numbered(8), tagged, 2)
    with pytest.raises(ValueError, match=r"start must be a batch in 0\.\.4, got 5"):
        loader.epoch(0, start=5)
    with pytest.raises(ValueError, match="epoch must be at least 0, got -1"):
        loader.epoch(-1)
    with pytest.raises(ValueError, match="the data set is empty"):
        Loader(Numbered(0), tagged, 2)
