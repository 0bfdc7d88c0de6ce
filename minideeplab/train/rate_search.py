"""The search for a learning rate: the loss while the rate grows by the same factor from step to step."""

import itertools
import math
import statistics
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minideeplab import cli, figures
from minideeplab.cli.config_file import arguments_of
from minideeplab.errors import DataError, DivergedError
from minideeplab.train.loop import step_seed
from minideeplab.train.options import train_parser
from minideeplab.train.step import train_step

LOWEST, HIGHEST, STEPS = 1e-7, 10.0, 100
SMOOTHING = 0.8  # weight of the past in the smoothed loss: it lags 4 steps behind, a third of a decade
GIVE_UP = 4.0  # times the best smoothed loss
LEAST_FALL = 0.05  # share of the loss at the start: less is noise
START = 10  # first steps, whose median loss is that of a network that learns nothing


@dataclass
class RateSearch:
    """What was found.

    Attributes:
        rates, losses, smoothed: of each step; the last losses may be those of a network that diverges.
        suggestion: a learning rate, None where the loss did not fall.
        picture: the curve, as a .png.
    """

    rates: list[float]
    losses: list[float]
    smoothed: list[float]
    suggestion: float | None
    picture: Path | None = None


def find_rate(training, given: dict) -> RateSearch:
    """Searches before a run, draws what was found, and prints a suggestion and the next command.

    Args:
        training: a `Training` before its first step; given: the arguments that were given, by name.
    """
    args = training.args
    place = cli.create_folder("--out", args.out) if args.out else Path()
    cli.announce_compilation()
    with cli.Progress(STEPS, "learning rates") as bar, np.errstate(all="ignore"):
        found = search_rates(training, bar.update)
    found.picture = place / "lr_finder.png"
    if training.group.is_first:
        figures.save_rates(found.picture, found.rates, found.losses, found.smoothed, found.suggestion)
    print(f"learning rates {found.rates[0]:g} to {found.rates[-1]:.2g} in {len(found.rates)} steps: {found.picture}")
    start, lowest = at_start(found.smoothed), min(found.smoothed)
    if found.suggestion is None:
        print(
            f"no suggestion: at no rate the loss falls far below {start:.3f}, that of the lowest rates. Look at the "
            f"masks (inspect_data), and at the losses in {found.picture}"
        )
        return found
    kept = {name: value for name, value in given.items() if name not in ("find_lr", "lr", "config")}
    arguments = arguments_of(train_parser(), {**kept, "preset": args.preset, "lr": found.suggestion}, "--find-lr")
    print(
        f"suggestion: --lr {found.suggestion:g}; the smoothed loss falls from {start:.3f} at the lowest rates to "
        f"{lowest:.3f}\nnext:\n  {cli.command_line('train', *arguments, ranks=training.group.size)}"
    )
    return found


def search_rates(training, report: Callable[[], None] = lambda: None) -> RateSearch:
    """Steps with rates from LOWEST to HIGHEST, until the smoothed loss is GIVE_UP times its lowest.

        rate_k = LOWEST (HIGHEST / LOWEST)^(k / (STEPS - 1))

    Each step takes the loss over the same share of hard pixels, so that losses compare: that after --hard-ramp.
    Weights, statistics, the optimiser and the dropout streams are afterwards what they were, bit for bit.

    Args:
        training: a `Training`; report: called after each step.

    Raises:
        DivergedError: the loss of the first step is not finite.
        DataError: no batch has a labelled pixel.

    Source: Smith, "Cyclical Learning Rates for Training Neural Networks" (arXiv 1506.01186), section 3.3.
    """
    model, optimiser, args = training.model, training.optimiser, training.args
    batches = itertools.chain.from_iterable(map(training.loader.epoch, itertools.count()))
    rates, losses, smoothed, mean, hard_share = [], [], [], 0.0, training.schedule.hard_share
    with _restored(model, optimiser):
        model.train()
        for step, rate in enumerate(np.geomspace(LOWEST, HIGHEST, STEPS).tolist()):
            model.reseed(step_seed(args.seed, step))
            batch = *next(batches), rate, training.class_weights, training.train_set.ignore_index
            try:
                loss = train_step(model, optimiser, *batch, args.accumulate, hard_share, training.replica)
            except DivergedError:
                if not losses:
                    raise
                break
            report()
            if loss.weight == 0:
                continue  # all void
            rates.append(rate)
            losses.append(loss.item())
            mean = SMOOTHING * mean + (1 - SMOOTHING) * losses[-1]
            smoothed.append(mean / (1 - SMOOTHING ** len(losses)))
            if smoothed[-1] > GIVE_UP * min(smoothed):
                break
    if not losses:
        raise DataError(
            f"{training.train_set.root}: no crop of {STEPS} batches has a labelled pixel; take larger crops"
        )
    return RateSearch(rates, losses, smoothed, suggested_rate(rates, smoothed))


def suggested_rate(rates: Sequence[float], smoothed: Sequence[float]) -> float | None:
    """sqrt(r_half r_lowest / 10), to one digit: the rates at which the smoothed loss is half-way, and at its lowest.

    Each alone goes wrong. With batch norm the loss may creep down to the highest rates of all, so r_lowest is too high.
    The first half of the fall is only the shares of the classes, so r_half is too low.

    Returns:
        None where the loss falls by less than LEAST_FALL of what it was.
    """
    start, lowest = at_start(smoothed), min(smoothed)
    if start - lowest < LEAST_FALL * start:
        return None
    half = next(rate for rate, loss in zip(rates, smoothed, strict=True) if loss <= (start + lowest) / 2)
    return float(f"{math.sqrt(half * rates[smoothed.index(lowest)] / 10):.1g}")


def at_start(smoothed: Sequence[float]) -> float:
    """The loss of a network that has learnt nothing: the median at the lowest rates."""
    return statistics.median(smoothed[:START])


@contextmanager
def _restored(model, optimiser) -> Iterator[None]:
    """After the block weights, statistics, modes, dropout streams and the optimiser are what they were."""
    state, velocities = model.state_dict(), optimiser.state_dict()
    streams = [(module, module.training, module.seed) for _, module in model.named_modules()]
    try:
        yield
    finally:
        model.load_state_dict(state)
        optimiser.load_state_dict(velocities)
        optimiser.zero_grad()
        for module, mode, seed in streams:
            module.training = mode
            if seed is not None:
                module.seed = seed
