"""First memory for parameters, with a limit for networks that a file asks for."""

import contextlib
import contextvars
import math
from collections.abc import Iterable, Iterator

import numpy as np

_EACH = 256  # numbers that stand for the objects around an array, so that many tiny ones count, too
_room = contextvars.ContextVar("room", default=None)


class TooLarge(ValueError):
    """The network in the making has more parameters than it may have."""


def zeros(shape) -> np.ndarray:
    """A float32 array of zeros; TooLarge, before memory is taken, where `limited_to` does not leave room for it."""
    room = _room.get()
    if room is not None:
        room -= math.prod(shape) + _EACH
        if room < 0:
            raise TooLarge("the network needs more numbers than there are for it")
        _room.set(room)
    return np.zeros(shape, np.float32)


@contextlib.contextmanager
def limited_to(sizes: Iterable[int]) -> Iterator[None]:
    """Networks that are made in the block may not be much larger than arrays of these sizes (twice, and a million).

    A configuration or a shape in a file may ask for any network. What the file has numbers for is known beforehand.
    """
    token = _room.set(2 * sum(size + _EACH for size in sizes) + 2**20)
    try:
        yield
    finally:
        _room.reset(token)
