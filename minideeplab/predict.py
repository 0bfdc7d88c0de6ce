"""Segments images with a trained network: `python -m minideeplab.predict --help`, or `minideeplab.predict(...)`."""

import argparse
import contextlib
import itertools
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

import kernels
from minideeplab import cli, figures
from minideeplab.autograd.precision import precision, precision_in_use
from minideeplab.cli.callables import callable_module
from minideeplab.data import IMAGE_SUFFIXES, find_images, read_image, skipped_note, write_mask
from minideeplab.distributed import Alone, world
from minideeplab.errors import DataError
from minideeplab.evaluation import Prediction, Predictor
from minideeplab.evaluation.tiles import tiles_text
from minideeplab.files.tables import write_csv
from minideeplab.files.whole import write_text, written_whole
from minideeplab.weights import Trained, load_trained

LARGEST = {8: 255, 16: 65535}  # bits -> what stands for the probability 1
HEADING = ("image", "height", "width", "label", "class", "pixels", "share")
EXAMPLE = """\
  python -m minideeplab.predict --checkpoint runs/voc/best.npz photo.jpg holiday/ --out predictions
  python -m minideeplab.predict --checkpoint deeplabv3_resnet50_coco.pth photo.jpg --csv areas.csv
  mpiexec -n 4 python -m minideeplab.predict --checkpoint runs/voc/best.npz holiday/"""


class Segmentation:
    """One segmented image; what costs time is found when it is first asked for.

    Attributes:
        path: the file; None for an array. image: (H, W, 3) uint8.
        class_names, palette, ignore_index: of the network, so that `figures` takes it for what knows the labels.
        seconds: that the network, and the CRF if there is one, have taken so far.
    """

    def __init__(self, prediction: Prediction, trained: Trained, path: Path | None = None, seconds: float = 0.0):
        self.prediction, self.path, self.image, self.seconds = prediction, path, prediction.image, seconds
        self.class_names, self.palette, self.ignore_index = trained.class_names, trained.palette, trained.ignore_index

    @cached_property
    def labels(self) -> np.ndarray:
        """(H, W) uint8, after the CRF if there is one."""
        start = time.perf_counter()
        labels = kernels.to_device(self.prediction.labels, "cpu")[0]
        self.seconds += time.perf_counter() - start
        return labels

    @property
    def probabilities(self) -> np.ndarray:
        """(H, W, K) float32, after the CRF if there is one."""
        return self.prediction.probabilities

    def areas(self) -> dict[str, tuple[int, float]]:
        """Name of each class -> (pixels, share of the image's pixels); absent classes have 0."""
        pixels = np.bincount(self.labels.ravel(), minlength=len(self.class_names)).tolist()
        return {
            name: (count, count / self.labels.size)
            for name, count in zip(self.class_names, pixels[: len(self.class_names)], strict=True)
        }

    def overlay(self, alpha: float = 0.5) -> Image.Image:
        """The image tinted with the colours of the classes, with a legend."""
        return figures.overlay_picture(self.image, self.labels, self, alpha)

    def save_overlay(self, path: str | Path, alpha: float = 0.5) -> None:
        """Writes `overlay(alpha)` as PNG."""
        figures.save_overlay(path, self.image, self.labels, self, alpha)

    def save_mask(self, path: str | Path) -> None:
        """Writes the labels as a palette PNG."""
        write_mask(path, self.labels, self.palette)

    def save_probabilities(self, path: str | Path, bits: int = 8) -> None:
        """Writes a .npy, (H, W, K) uint8 or uint16: round(255 p), or round(65535 p), of the probabilities p.

        numpy.load(path, mmap_mode="r") reads parts of it; a part divided by 255 (65535) is a probability again, off by
        at most 0.002 (0.000008).

        Raises:
            ValueError: other bits than 8 and 16. OSError: the file cannot be written.
        """
        if bits not in LARGEST:
            raise ValueError(f"save_probabilities: bits must be 8 or 16, got {bits!r}")
        dtype, start = np.dtype(f"<u{bits // 8}"), time.perf_counter()
        shape = (*self.image.shape[:2], len(self.class_names))
        with written_whole(path) as file:
            header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
            np.lib.format.write_array_header_1_0(file, header)
            for _, rows in self.prediction.probability_rows():
                file.write(np.rint(rows * np.float32(LARGEST[bits])).astype(dtype).tobytes())
        self.seconds += time.perf_counter() - start


def predict(
    checkpoint, images, *, scales: Sequence[float] = (1.0,), flip: bool = False, fusion: str = "mean",
    output_stride: int | None = None, crf: str | None = None, tile: int | str | None = "auto", class_names=None,
    device: str = "cpu", on_error: Callable[[DataError], None] | None = None, progress: bool = True,
) -> Iterator[Segmentation]:  # fmt: skip
    """Segments images: `for result in predict("best.npz", "photos/"): ...`, `[result] = predict("best.npz", "a.jpg")`.

    It is for one process, which segments all of them; under mpiexec each rank does, unless it gets a part of `images`.

    Args:
        checkpoint: a file, a run of `minideeplab.fit`, or a network, as `weights.load_trained` takes them.
        images: a file, a folder, an array (H, W, 3) uint8, or a sequence of these.
        scales, flip, fusion, crf, tile: of `Predictor`; output_stride, class_names: of `weights.load_trained`.
        device: "cpu" or "cuda"; progress: show how far it got, on stderr.
        on_error: called with the error of a file that cannot be read, and the rest is done; None raises it.

    Returns:
        An iterator over a `Segmentation` of each image, in their order, in the precision of the call.

    Raises:
        CheckpointError, UsageError, DataError: a file, or arguments that do not fit.
        ValueError: an argument that makes no sense.
    """
    trained = load_trained(checkpoint, class_names, output_stride)
    predictor = Predictor(trained.model.to(device), tuple(scales), flip, crf, tile, fusion)
    fail = _raise if on_error is None else on_error
    single = isinstance(images, (str, Path)) or (isinstance(images, np.ndarray) and images.ndim <= 3)
    found: list = []
    for each in [images] if single else images:
        if isinstance(each, np.ndarray):
            found.append(each)
            continue
        files, failures, _ = _find_images([each])
        found += files
        for failure in failures:
            fail(DataError(failure))
    return _segmentations(predictor, trained, found, fail, precision_in_use(), progress)


def _segmentations(
    predictor, trained, images, fail, held, progress=True, title: str = "predict"
) -> Iterator[Segmentation]:
    with cli.Progress(len(images), title) if progress else contextlib.nullcontext() as bar:
        for each in images:
            path = None if isinstance(each, np.ndarray) else Path(each)
            try:
                image = each if path is None else read_image(path)
            except DataError as error:
                fail(error)
            else:
                start = time.perf_counter()
                with precision(held):
                    prediction = predictor(image)
                yield Segmentation(prediction, trained, path, time.perf_counter() - start)
            if bar:
                bar.update(values=path.name if path else "")


def _raise(error: DataError) -> None:
    raise error


@cli.main_guard(for_ranks=True)
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command, of which several ranks share the images; returns its exit code, 3 if any image failed."""
    args, group = _parser().parse_args(argv), world()
    cli.use_device(args, group)
    trained = load_trained(args.checkpoint, args.class_names, args.output_stride)  # before a folder is made
    # Folders of their own: a mask never overwrites an input, and masks/ can be handed in as it is.
    parts = ["masks", "overlays"] + ["probabilities"] * bool(args.save_probabilities)
    with group.first_on_each_machine():
        folders = {part: cli.create_folder("--out", Path(args.out) / part) for part in parts}
        table = cli.output_file("--csv", args.csv, ".csv") if args.csv else None
    if trained.note:
        print(f"note: {trained.note}", file=sys.stderr)
    predictor = cli.predictor_of(args, trained.model.to(args.device))
    images, failures, notes = group.all(_find_images(args.images) if group.is_first else None)[0]  # one list for all
    for note in notes:
        print(f"note: {note}", file=sys.stderr)
    names = _output_names(images)
    for path, name in zip(images, names, strict=True):
        if name != f"{path.stem}.png":
            print(f"note: {path} becomes {name}, since another image is called {path.stem}", file=sys.stderr)
    if args.save_probabilities and group.is_first:
        write_text(folders["probabilities"] / "class_names.txt", "".join(f"{name}\n" for name in trained.class_names))
    cli.announce_compilation()
    with group.agreed():
        done, failed = _segment(args, predictor, trained, list(zip(images, names, strict=True)), folders, group)
    done = _in_order(group.gather(done))
    failures += _in_order(group.all(failed))  # on all ranks: they end with one message
    with group.agreed():
        if table and group.is_first:
            write_csv(table, [HEADING, *itertools.chain(*(each.rows for each in done))])
    if group.is_first:
        _tell(args, [each.seconds for each in done], sum(each.in_tiles for each in done), folders)
    if failures:
        raise DataError("\n  ".join([f"{cli.counted(len(failures), 'input')} could not be segmented:", *failures]))
    return 0


class _Done(NamedTuple):
    """What is told of an image whose files are written: its rows of --csv, seconds, whether it was cut into tiles."""

    rows: list[tuple]
    seconds: float
    in_tiles: bool


def _segment(
    args: argparse.Namespace, predictor: Predictor, trained: Trained, named: list[tuple[Path, str]],
    folders: dict[str, Path], group: Alone,
) -> tuple[dict[int, _Done], dict[int, str]]:  # fmt: skip
    """Segments the share of this rank of all images, and writes the files of each.

    Args:
        named: (image, name of its files) of all ranks.

    Returns:
        Number of an image -> what is told of it; number of one that cannot be read -> why.
    """
    done, failed = {}, {}
    share = group.share(range(len(named)))
    numbers = iter(share)

    def fail(error):
        failed[next(numbers)] = str(error)

    images, title = [named[number][0] for number in share], cli.on_ranks("predict", group)
    for result in _segmentations(predictor, trained, images, fail, precision_in_use(), title=title):
        number = next(numbers)
        name = named[number][1]
        if args.save_probabilities:  # first: of an image in tiles the labels come with them
            path = (folders["probabilities"] / name).with_suffix(".npy")
            result.save_probabilities(path, args.save_probabilities)
        result.save_mask(folders["masks"] / name)
        result.save_overlay(folders["overlays"] / name, args.alpha)
        rows = _area_rows(result) if args.csv else []
        done[number] = _Done(rows, result.seconds, predictor.is_tiled(result.image.shape))
    return done, failed


def _in_order(parts: list[dict]) -> list:
    """The values of all parts, in the order of their numbers."""
    return [value for _, value in sorted(pair for part in parts for pair in part.items())]


def _tell(args: argparse.Namespace, seconds: list[float], tiled: int, folders: dict[str, Path]) -> None:
    """What was done, and where it lies."""
    places = ", ".join(f"{'label masks' if part == 'masks' else part} in {path}" for part, path in folders.items())
    print(f"{cli.counted(len(seconds), 'image')} segmented: {places}")
    if args.csv:
        print(f"area of each class in {args.csv}")
    if seconds:
        print(f"{statistics.median(seconds):.2f} s an image (median, without reading and drawing)")
    if tiled:
        print(tiles_text(tiled, args.tile))


def _area_rows(result: Segmentation) -> list[tuple]:
    """Rows of --csv, one for each class."""
    height, width = result.labels.shape
    return [
        (str(result.path), height, width, label, name, pixels, share)
        for label, (name, (pixels, share)) in enumerate(result.areas().items())
    ]


def _find_images(arguments: Sequence[str | Path]) -> tuple[list[Path], list[str], list[str]]:
    """Files as named, folders as the images in them; messages on folders without any; notes on what is left out."""
    images, failures, notes = [], [], []
    for argument in arguments:
        path = Path(argument)
        if not os.path.isdir(path):
            images.append(path)  # a missing file is reported when it is read
            continue
        found, skipped = find_images(path)
        images += found
        note = skipped_note(path, skipped)
        inner = sorted(each.name for each in path.iterdir() if each.is_dir() and not each.name.startswith("."))
        if inner:
            shown = ", ".join(inner[:5]) + (", ..." if len(inner) > 5 else "")
            inside = (
                f"{path}: {len(inner)} folders in it are not entered ({shown}); name them, too, to have their images"
            )
            notes.append(inside.replace("1 folders in it are", "1 folder in it is") if len(inner) == 1 else inside)
        if not found:
            failures.append(note or f"{path}: no image in this folder ({', '.join(IMAGE_SUFFIXES)})")
        elif note:
            notes.append(note)
    return images, failures, notes


def _output_names(images: list[Path]) -> list[str]:
    """STEM.png for each image, STEM-2.png and so on where two images share a stem."""
    names: list[str] = []
    taken: set[str] = set()
    for path in images:
        name, number = f"{path.stem}.png", 1
        while name.lower() in taken:  # some file systems do not tell upper from lower case
            number += 1
            name = f"{path.stem}-{number}.png"
        taken.add(name.lower())
        names.append(name)
    return names


def _parser() -> argparse.ArgumentParser:
    parser = cli.command_parser("predict", "Segment images: a label mask and an overlay for each.", EXAMPLE)
    parser.add_argument("images", nargs="+", metavar="IMAGE|DIR", help="image files, or folders of them")
    cli.add_checkpoint_arguments(parser)
    parser.add_argument("--out", default="predictions", help="folder for masks/ and overlays/")
    parser.add_argument("--alpha", type=cli.fraction, default=0.5, help="weight of the class colours in the overlay")
    parser.add_argument(
        "--csv", metavar="FILE", help="also write the area of each class in each image: pixels, and share of the image"
    )
    parser.add_argument(
        "--save-probabilities", type=int, choices=sorted(LARGEST), metavar="BITS",
        help="also write probabilities/NAME.npy, (H, W, classes) of 8 or 16 bits: 255 or 65535 stands for 1",
    )  # fmt: skip
    cli.add_predictor_arguments(parser)
    cli.add_device_arguments(parser)
    return parser


callable_module(__name__, predict)

if __name__ == "__main__":
    sys.exit(main())
