"""Segments images with a checkpoint: `python -m minideeplab.predict --help`."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from minideeplab import cli, figures
from minideeplab.data import IMAGE_SUFFIXES, find_images, read_image, skipped_note, write_mask
from minideeplab.errors import DataError
from minideeplab.weights import Checkpoint

EXAMPLE = """\
  python -m minideeplab.predict --checkpoint runs/voc/best.npz photo.jpg holiday/ --out predictions"""


@cli.main_guard
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code, that of DataError if any image failed."""
    args = _parser().parse_args(argv)
    cli.use_device(args)
    # Folders of their own: a mask never overwrites an input, and masks/ can be handed in as it is.
    masks, overlays = (cli.create_folder("--out", Path(args.out) / part) for part in ("masks", "overlays"))
    checkpoint = Checkpoint.load(args.checkpoint)
    predictor = cli.predictor_of(args, checkpoint.build_model(args.checkpoint).to(args.device))
    images, failures = _find_images(args.images)
    names = _output_names(images)
    for path, name in zip(images, names, strict=True):
        if name != f"{path.stem}.png":
            print(f"note: {path} becomes {name}, since another image is called {path.stem}", file=sys.stderr)
    done = 0
    cli.announce_compilation()
    with cli.Progress(len(images), "predict") as bar:
        for path, name in zip(images, names, strict=True):
            try:
                image = read_image(path)
            except DataError as error:
                failures.append(str(error))
            else:
                labels = predictor.labels(image)
                write_mask(masks / name, labels, checkpoint.palette)
                figures.save_overlay(overlays / name, image, labels, checkpoint, args.alpha)
                done += 1
            bar.update(values=path.name)
    print(f"{cli.counted(done, 'image')} segmented: label masks in {masks}, overlays in {overlays}")
    if failures:
        raise DataError("\n  ".join([f"{len(failures)} inputs could not be segmented:", *failures]))
    return 0


def _find_images(arguments: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Files as named, folders as the image files in them; and a message for each folder without any."""
    images, failures = [], []
    for argument in arguments:
        path = Path(argument)
        if not path.is_dir():
            images.append(path)  # a missing file is reported when it is read
            continue
        found, skipped = find_images(path)
        images += found
        note = skipped_note(path, skipped)
        if not found:
            failures.append(note or f"{path}: no image in this folder ({', '.join(IMAGE_SUFFIXES)})")
        elif note:
            print(f"note: {note}", file=sys.stderr)
    return images, failures


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
    parser.add_argument("--checkpoint", required=True, metavar="FILE", help="best.npz or last.npz of a run")
    parser.add_argument("--out", default="predictions", help="folder for masks/ and overlays/")
    parser.add_argument("--alpha", type=cli.fraction, default=0.5, help="weight of the class colours in the overlay")
    cli.add_predictor_arguments(parser)
    cli.add_device_arguments(parser)
    return parser


if __name__ == "__main__":
    sys.exit(main())
