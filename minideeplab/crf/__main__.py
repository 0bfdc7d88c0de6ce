"""Refines the labels or probabilities of one image: `python -m minideeplab.crf --help`."""

import argparse
import dataclasses
import sys
import time
from collections.abc import Sequence

import numpy as np

from minideeplab import cli
from minideeplab.crf.field import Step
from minideeplab.crf.filters import LatticeFilter, bilateral_features
from minideeplab.crf.presets import KINDS, PRESETS, SMOOTHNESS, Preset, preset_of
from minideeplab.crf.refinement import refine
from minideeplab.data import mask_palette, read_image, read_mask, write_mask
from minideeplab.errors import DataError, UsageError
from minideeplab.files.arrays import read_npy_or_npz
from minideeplab.files.refusal import Refusal, shown
from minideeplab.files.whole import written_whole

EXAMPLE = """\
  python -m minideeplab.crf --image photo.jpg --labels mask.png --out refined.png
  python -m minideeplab.crf --image photo.jpg --probabilities scores.npy --out refined.npy --preset deeplab-v1"""


@cli.main_guard
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    args = _parser().parse_args(argv)
    cli.use_device(args)
    if args.labels and args.out.lower().endswith(".npy"):
        raise UsageError(f"--out {args.out}: labels in, labels out; give the name of a .png file")
    if not args.out.lower().endswith((".png", ".npy")):
        raise UsageError(f"--out {args.out}: give the name of a .png file, or of a .npy file for probabilities")
    out = cli.output_file("--out", args.out, ".npy" if args.out.lower().endswith(".npy") else ".png")
    image = read_image(args.image)
    scores = read_mask(args.labels) if args.labels else _read_scores(args.probabilities)
    given = {field.name: getattr(args, field.name) for field in dataclasses.fields(Preset)}
    cli.announce_compilation()
    steps: list[Step] = []
    start = time.perf_counter()
    try:
        result = refine(
            scores, image, args.preset, kind="labels" if args.labels else args.kind, confidence=args.confidence,
            unknown=args.unknown, damping=args.damping, tolerance=args.tolerance, smoothness=args.smoothness,
            report=steps.append if args.report else None, device=args.device, **given,
        )  # fmt: skip
    except (ValueError, TypeError) as error:
        raise DataError(f"{args.labels or args.probabilities} with {args.image}: {error}") from error
    seconds = time.perf_counter() - start
    if args.report:
        _print_lattice(image, preset_of(args.preset, **given), result, args.device)
    for number, step in enumerate(steps, 1):
        print(
            f"step {number:2}  free energy {step.free_energy:14.2f}  largest change {step.change:.4f}  "
            f"labels changed {step.changed_labels}"
        )
    before, after = _labels(scores, image), _labels(result, image)
    if out.suffix.lower() == ".png" and after.max() > 255:
        raise UsageError(
            f"--out {args.out}: a mask holds labels up to 255, these go to {after.max()}; write a .npy file"
        )
    if out.suffix.lower() == ".npy":
        with written_whole(out) as file:
            np.save(file, result)
    else:
        write_mask(out, after.astype(np.uint8), mask_palette(args.labels) if args.labels else None)
    known = before != args.unknown if args.labels else np.ones(before.shape, bool)
    filled = f", {int((~known).sum())} unknown ones got one" if not known.all() else ""
    changed = 100 * (before != after)[known].mean()
    print(
        f"{args.preset}: {changed:.2f} % of {int(known.sum())} pixels changed their label{filled}, "
        f"{seconds:.2f} s; written to {out}"
    )
    return 0


def _print_lattice(image: np.ndarray, preset: Preset, result: np.ndarray, device: str) -> None:
    """What there is to know of the bilateral kernel, for those who choose standard deviations."""
    gaussian = LatticeFilter(bilateral_features(image, preset.sxy, preset.srgb), preset.normalisation, device)
    found, scores = gaussian.statistics(), result.size // (image.shape[0] * image.shape[1])
    labels = len(np.unique(result)) if result.ndim == 2 else scores
    print(
        f"bilateral kernel: {found['vertices']} vertices, {found['pixels_per_vertex']:.1f} pixels around each, "
        f"normaliser {found['smallest_normaliser']:.3g} .. {found['largest_normaliser']:.3g}, "
        f"{found['bytes'] / 1e6:.1f} MB; {preset.iterations} filters of {labels} labels take "
        f"{gaussian.predict_seconds(labels, preset.iterations):.2f} s"
    )


def _labels(scores: np.ndarray, image: np.ndarray) -> np.ndarray:
    """(H, W) labels of labels, or of scores with the labels first or last."""
    if scores.ndim == 2:
        return scores
    return scores.argmax(axis=2 if scores.shape[:2] == image.shape[:2] else 0)


def _read_scores(path: str) -> np.ndarray:
    """The array of a .npy file, or the only one of an .npz file."""
    try:
        found = read_npy_or_npz(path)
    except FileNotFoundError as error:
        raise DataError(f"{path}: no such file; give a .npy or .npz of probabilities") from error
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); give a .npy or .npz of probabilities") from error
    except Refusal as error:
        raise DataError(f"{path}: {error}") from error
    if isinstance(found, np.ndarray):
        return found
    if len(found) != 1:
        names = f"the arrays {', '.join(map(shown, found))}" if found else "no array"
        raise DataError(f"{path}: holds {names}; save the scores alone")
    (scores,) = found.values()
    return scores


def _parser() -> argparse.ArgumentParser:
    parser = cli.command_parser("crf", "Refine a segmentation at the edges of its image, by a dense CRF.", EXAMPLE)
    parser.add_argument("--image", required=True, metavar="FILE", help="the photograph")
    scores = parser.add_mutually_exclusive_group(required=True)
    scores.add_argument("--probabilities", metavar="FILE", help=".npy or .npz, (H, W, K) or (K, H, W); logits, too")
    scores.add_argument("--labels", metavar="FILE", help="a mask, .png")
    parser.add_argument("--out", required=True, metavar="FILE", help="labels as .png, or probabilities as .npy")
    parser.add_argument("--kind", choices=KINDS[:2], help="what --probabilities holds; found out if not given")
    parser.add_argument("--confidence", type=cli.open_fraction, default=0.7, help="probability that a label is right")
    parser.add_argument(
        "--unknown", type=cli.non_negative_int, default=255, help="label of pixels that could be anything"
    )
    parser.add_argument(
        "--preset", type=cli.crf_settings, default="deeplab-v2", metavar="PRESET",
        help=f"settings: {', '.join(PRESETS)}, or as deeplab-v2,sxy=50; the options below change it",
    )  # fmt: skip
    number = cli.positive_float
    parser.add_argument("--bilateral-weight", type=cli.non_negative_float, help="of the kernel of position and colour")
    parser.add_argument("--sxy", type=number, help="its standard deviation in pixels")
    parser.add_argument("--srgb", type=number, help="its standard deviation in colours of 0..255")
    parser.add_argument("--smooth-weight", type=cli.non_negative_float, help="of the kernel of position")
    parser.add_argument("--smooth-sxy", type=number, help="its standard deviation in pixels")
    parser.add_argument("--iterations", type=cli.crf_iterations, help="steps of inference, at most")
    parser.add_argument("--normalisation", choices=["none", "before", "after", "symmetric"], help="of both kernels")
    parser.add_argument("--smoothness", choices=SMOOTHNESS, default="lattice", help="how the second kernel is filtered")
    parser.add_argument("--damping", type=cli.fraction_below_one, default=0.0, help="share of the old in each step")
    parser.add_argument(
        "--tolerance", type=cli.non_negative_float, default=0.0, help="stop when nothing changes by more"
    )
    parser.add_argument(
        "--report", action="store_true", help="print the lattice's size, and free energy and changes of each step"
    )
    cli.add_device_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
