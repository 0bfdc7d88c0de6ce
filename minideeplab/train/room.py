"""What a run needs at least, compared with the memory of this machine, before any of it is taken."""

import os
from collections.abc import Iterator
from contextlib import contextmanager

from minideeplab import models
from minideeplab.cost import cost_of
from minideeplab.errors import UsageError
from minideeplab.nn.allocation import TooLarge, limited_to

FLOAT = 4  # bytes


def memory_here() -> int | None:
    """Bytes of memory of this machine; None where the system does not tell."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # Windows has no sysconf
        return None


@contextmanager
def network_within(memory: int | None) -> Iterator[None]:
    """UsageError where the network that is made in the block has more parameters than memory can hold."""
    if memory is None:
        yield
        return
    try:
        with limited_to([memory // FLOAT // 2]):
            yield
    except TooLarge as error:
        raise UsageError(
            f"the network takes more than the {memory / 1e9:.0f} GB of this machine; give a smaller --width or "
            "--head-width, or another --backbone"
        ) from error


def require_room(model, args, memory: int | None, share: float = 1.0) -> None:
    """UsageError where the arrays of a batch alone, or the `share` of it on this machine, are larger than memory.

    Without gradients, which nearly double them: what passes may still be too much.
    """
    if memory is None or args.device != "cpu":
        return
    side, images = args.crop_size, share * args.batch_size // args.accumulate
    each = 3 * side * side * FLOAT
    if not args.checkpoint_activations:
        twin = models.create(model.config["name"], **_options(model))  # counting leaves no numbers in a network
        each += cost_of(twin, (side, side)).activation_bytes
    if each * images > memory:
        raise UsageError(
            f"--crop-size {side} and --batch-size {args.batch_size} need at least {each * images / 1e9:.0f} GB, and "
            f"this machine has {memory / 1e9:.0f} GB; give smaller ones, or --accumulate"
        )


def _options(model) -> dict:
    return {option: value for option, value in model.config.items() if option not in ("name", "seed")}
