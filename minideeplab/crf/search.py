"""Searches a CRF's settings on a data set, coarse to fine: `python -m minideeplab.crf.search --help`.

As DeepLab v1 (section 5.1) and v2 (section 4.1) did it: the network and the kernel of smoothness stay as they are, the
weight and the two standard deviations of the bilateral kernel are tried on a grid, then on a finer one around the best.

Cost: the scores of all images in memory (16 MB for 500 x 375 pixels and 21 classes), a lattice for each image and pair
of standard deviations, which all weights share, and one inference for each setting. Ranks share the images, and their
memory; a round costs one sum of C^2 integers for each setting.
"""

import argparse
import itertools
import sys
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from minideeplab import cli
from minideeplab.crf.field import DenseField
from minideeplab.crf.filters import LatticeFilter, bilateral_features, position_filter
from minideeplab.crf.presets import Preset, preset_of
from minideeplab.data import require_labels
from minideeplab.distributed import ALONE, Alone, world
from minideeplab.errors import UsageError
from minideeplab.evaluation import ConfusionMatrix, Predictor
from minideeplab.weights import Checkpoint

EXAMPLE = """\
  python -m minideeplab.crf.search --checkpoint runs/voc/best.npz --data VOCdevkit/VOC2012 --limit 100
  mpiexec -n 4 python -m minideeplab.crf.search --checkpoint runs/voc/best.npz --data VOCdevkit/VOC2012"""


class Grid(NamedTuple):
    """Values that are tried, each list in ascending order."""

    bilateral_weight: list[float]
    sxy: list[float]
    srgb: list[float]

    def finer(self, best: tuple[float, float, float]) -> "Grid":
        """The best value of each list, and the middles between it and its neighbours."""
        return Grid(*(_around(values, value) for values, value in zip(self, best, strict=True)))


def _around(values: list[float], best: float) -> list[float]:
    i = values.index(best)
    middles = [(best + values[j]) / 2 for j in (i - 1, i + 1) if 0 <= j < len(values)]
    return sorted({best, *middles})


def search_grid(
    samples, num_classes: int, preset: Preset, grid: Grid, ignore_index=255, report=lambda: None, device="cpu",
    group: Alone = ALONE,
) -> dict:  # fmt: skip
    """Mean IoU over the samples for every setting of a grid; the same on all ranks.

    Args:
        samples: sequence of (costs (H W, K), image (H, W, 3), truth (H, W)) of this rank; costs as of `Prediction`.
        preset: the settings that are not searched.
        report: called after each image and pair of standard deviations; device: "cpu" or "cuda".
        group: of the ranks that share the samples, which all call this.

    Returns:
        {(bilateral_weight, sxy, srgb): mean IoU}.
    """
    scores = {key: ConfusionMatrix(num_classes, ignore_index) for key in itertools.product(*grid)}
    with group.agreed():
        for costs, image, truth in samples:
            height, width = truth.shape
            smooth = position_filter(height, width, preset.smooth_sxy, preset.normalisation, device=device)
            for sxy, srgb in itertools.product(grid.sxy, grid.srgb):
                bilateral = LatticeFilter(bilateral_features(image, sxy, srgb), preset.normalisation, device)
                for weight in grid.bilateral_weight:
                    field = DenseField(costs, [(smooth, preset.smooth_weight), (bilateral, weight)])
                    labels = field.infer(preset.iterations).argmax(axis=1).astype(np.uint8).reshape(height, width)
                    scores[weight, sxy, srgb].update(truth, labels)
                report()
    summed = group.sum(np.stack([confusion.counts for confusion in scores.values()]))  # one message for the grid
    for confusion, counts in zip(scores.values(), summed, strict=True):
        confusion.counts = counts
    return {key: confusion.mean_iou() for key, confusion in scores.items()}


@cli.main_guard(for_ranks=True)
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command, of which several ranks share the images; returns the exit code."""
    args, group = _parser().parse_args(argv), world()
    cli.use_device(args, group)
    grid = Grid(*(sorted(set(values)) for values in (args.bilateral_weight, args.sxy, args.srgb)))
    checkpoint = Checkpoint.load(args.checkpoint)
    dataset = cli.open_data(args, args.split, group)
    checkpoint.check_classes(args.checkpoint, dataset)
    cli.check_files(dataset)
    require_labels(dataset)
    model = checkpoint.build_model(args.checkpoint).to(args.device)
    preset = preset_of(args.preset)
    cli.announce_compilation()
    samples, share = [], len(group.share(range(len(dataset))))

    def keep(prediction, confusion):
        samples.append((prediction.costs, prediction.image, prediction.truth))

    with cli.Progress(share, cli.on_ranks("network", group)) as bar:
        plain = Predictor(model).confusion(dataset, bar.update, keep, group)
    print(f"without a CRF: {plain.summary()} on {cli.counted(len(dataset), 'image')}")
    found: dict = {}
    for number in range(1, args.rounds + 1):
        title = cli.on_ranks(f"round {number}/{args.rounds}", group)
        with cli.Progress(share * len(grid.sxy) * len(grid.srgb), title) as bar:
            try:
                found |= search_grid(
                    samples, dataset.num_classes, preset, grid, dataset.ignore_index, bar.update, args.device, group
                )
            except ValueError as error:
                raise UsageError(f"{error}; among --sxy {grid.sxy} and --srgb {grid.srgb}") from error
        best = max(found, key=found.get)
        if number == 1:
            edges = [
                name for name, values, value in zip(Grid._fields, grid, best, strict=True)
                if len(values) > 1 and value in (values[0], values[-1])
            ]  # fmt: skip
        if number < args.rounds:
            grid = grid.finer(best)
    print("bilateral_weight      sxy     srgb     mIoU")
    for (weight, sxy, srgb), score in sorted(found.items(), key=lambda item: -item[1])[: args.show]:
        print(f"{weight:16g} {sxy:8g} {srgb:8g} {100 * score:8.2f}")
    settings = ",".join(f"{name}={value:g}" for name, value in zip(Grid._fields, best, strict=True))
    print(f"best of {len(found)}: --crf {args.preset},{settings}")
    if edges:
        print(f"the best {' and '.join(edges)} of round 1 lies at the end of its list: a wider one may be better")
    if found[best] <= plain.mean_iou():
        print("no setting is better than the network alone")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = cli.command_parser(
        "crf.search", "Search the settings of a dense CRF for a checkpoint and its data.", EXAMPLE
    )
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="best.npz or last.npz of a run")
    cli.add_data_arguments(parser, default=None)
    parser.add_argument("--split", default="val", help="split to search on; report scores of another one")
    parser.set_defaults(limit=100)  # as the papers; the scores of all images are kept in memory
    parser.add_argument("--preset", type=cli.crf_settings, default="deeplab-v2", help="the settings that stay")
    for name, default, what in (
        ("bilateral-weight", [3, 4, 5, 6], "weights"), ("sxy", [30, 50, 70, 90], "standard deviations in pixels"),
        ("srgb", [3, 5, 8], "standard deviations in colours of 0..255"),
    ):  # fmt: skip
        parser.add_argument(f"--{name}", type=cli.positive_float, nargs="+", default=default, help=f"{what} of round 1")
    parser.add_argument("--rounds", type=cli.positive_int, default=2, help="grids, each around the best of the last")
    parser.add_argument("--show", type=cli.positive_int, default=10, help="settings in the table")
    cli.add_device_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
