"""Examines a data set before training: `python -m minideeplab.inspect_data --help`."""

import argparse
import collections
import json
import os
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minideeplab import cli
from minideeplab.data import IMAGE_MEAN, IMAGE_STD, LabelCounts, Loader, SegmentationDataset, TrainTransform, convert
from minideeplab.data.findings import Finding
from minideeplab.data.inspection import CROP_SIZES, Inspection, SplitFacts, inspect
from minideeplab.errors import DataError, UsageError
from minideeplab.figures import Shares, save_class_shares, save_contact_sheet
from minideeplab.files.whole import write_text
from minideeplab.train.options import train_parser
from minideeplab.train.presets import PRESETS, SMALL_SET

EXAMPLE = """\
  python -m minideeplab.inspect_data --data synthetic --out looked_at
  python -m minideeplab.inspect_data --data VOCdevkit/VOC2012 --split train --json -
  python -m minideeplab.inspect_data --data photos --convert photos_as_voc"""

SPLITS = ("train", "val")
SAMPLES, CROPS = 12, 12  # pictures on a sheet
ALIKE, LISTED = 2, 20  # findings of one kind in the text; --json has all


@cli.main_guard
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    args = _parser().parse_args(argv)
    if args.convert:
        return _convert(args)
    if args.longest_side:
        raise UsageError(f"--longest-side {args.longest_side} is for the copies of --convert DIR; add it")
    sheet, folder = _places(args.out)
    to_stdout = args.json == "-"
    file = cli.output_file("--json", args.json, ".json") if args.json and not to_stdout else None
    datasets, unopened = _open_splits(args)
    with cli.Progress(sum(map(len, datasets)), "reading", leave=False) as bar:
        views = _views(args, datasets[0])
        found = inspect(datasets, unopened, bar.update, views.largest_crop, views.scale_range)
    command = _next_command(args, found, views)
    if args.json:
        told = found.to_json() | {"next": None if found.problems else command}
        text = json.dumps(told, indent=2) + "\n"
        sys.stdout.write(text) if to_stdout else write_text(file, text)
    if not to_stdout:
        print("\n".join(report(found)))
    written = [*_draw(found, views, sheet, folder), *([file] if file else [])]
    notes = sys.stderr if to_stdout else sys.stdout
    for path in written:
        print(f"wrote {path}", file=notes)
    print(_verdict(found, command), file=notes)
    return DataError.exit_code if found.problems else 0


def report(found: Inspection) -> list[str]:
    """Lines of text: each split with its sizes and classes, then all findings."""
    lines = []
    for name, facts in found.splits.items():
        ds = facts.dataset
        if not lines:
            lines.append(f"{ds.name}: {ds.num_classes} classes, {ds.root}")
        unusable = len(ds) - int(facts.usable.sum())
        lines.append(f"\nsplit '{name}': {len(ds)} samples" + (f", {unusable} cannot be used" if unusable else ""))
        if (middle := facts.middle_sizes()) is not None:
            low, median, high = middle.tolist()
            for k, side in enumerate(("height", "width")):
                lines.append(f"{side} {low[k]}..{high[k]} (median {median[k]}) pixels")
        lines += class_table(facts.counts)
    return [*lines, *([""] if found.findings else []), *_listed(found.findings)]


def _convert(args):
    """Writes all splits, or those that are asked for, in VOC's folders."""
    for option, value in (("--out", args.out), ("--json", args.json)):
        if value is not None:
            raise UsageError(f"{option} {value}: --convert examines nothing; leave it out, and inspect the data before")
    splits = [cli.open_data(args, name) for name in dict.fromkeys(args.split)] if args.split else cli.open_splits(args)
    with cli.Progress(sum(map(len, splits)), "convert") as bar:
        count = convert(splits, args.convert, bar.update, args.longest_side)
    names = ", ".join(each.split for each in splits)
    print(f"{args.convert}: {cli.counted(count, 'image')} in VOC's folders, splits {names}")
    return 0


def class_table(counts: LabelCounts) -> list[str]:
    """Lines of text: each class with its share of all labelled pixels and its number of images; then void."""
    names, void = counts.class_names, counts.ignore_index
    width = max(len(name) for name in (*names, "class"))
    lines = [f"label  {'class':<{width}}  pixels %  images"]
    for label, name in enumerate(names):
        if label == void:
            continue
        absent = "" if counts.masks[label] else "  never occurs"
        share = 100 * counts.pixels[label] / max(1, counts.labelled)
        lines.append(f"{label:>5}  {name:<{width}}  {share:>8.2f}  {counts.masks[label]:>6}{absent}")
    row = f"{void:>5}  {'void':<{width}}  {100 * counts.void_share:>8.2f}  {counts.masks[void]:>6}"
    lines.append(f"{row}  (% of all pixels)")
    return lines


def _listed(findings: Sequence[Finding]) -> Iterator[str]:
    """A line for each finding; of those that differ in names and numbers alone the first two and a count."""
    alike: dict[tuple[str, str], list[Finding]] = {}
    for each in findings:
        alike.setdefault((each.kind, _without_names(each.text)), []).append(each)
    shown, left, said = collections.Counter(), collections.Counter(), {""}
    for (kind, _), group in alike.items():
        for each in group[:ALIKE]:
            shown[kind] += 1
            if shown[kind] > LISTED:
                left[kind] += 1
                continue
            fix = "" if each.fix in said else f". {each.fix[0].upper()}{each.fix[1:]}"  # once is enough
            said.add(each.fix)
            yield f"{each.level}: {each.text}{fix}"
        if shown[kind] <= LISTED and len(group) > ALIKE:
            yield f"... and {len(group) - ALIKE} more like this; --json FILE lists all"
    for kind, number in left.items():
        yield f"... and {number} more of this kind ({kind}); --json FILE lists all"


def _without_names(text: str) -> str:
    """A sentence without the path at its beginning, and without numbers: what it says of any file."""
    return re.sub(r"\d+", "#", re.sub(r"^\S*[/\\]\S*:", "", text))


def _verdict(found: Inspection, command: str) -> str:
    warnings, hints = cli.counted(len(found.warnings), "warning"), cli.counted(len(found.hints), "hint")
    if found.problems:
        problems = cli.counted(len(found.problems), "problem")
        return f"\nnot ready to train: {problems}, {warnings}, {hints}. Mend the problems, and inspect again"
    return f"\nready to train: {warnings}, {hints}. Next:\n  {command}"


def _open_splits(args: argparse.Namespace):
    """The splits that can be opened, and why the others cannot; DataError if none can."""
    datasets, unopened = [], {}
    for split in dict.fromkeys(args.split or SPLITS):
        try:
            datasets.append(cli.open_data(args, split))
        except DataError as error:
            unopened[split] = str(error)
    if not datasets:
        raise DataError("\n".join(dict.fromkeys(unopened.values())))
    return datasets, unopened


def _next_command(args: argparse.Namespace, found: Inspection, views: "_Views") -> str:
    """The training command for these data, with crops that suit their images."""
    options = cli.data_options(args)
    for option, split, usual in zip(("--split", "--val-split"), found.splits, SPLITS, strict=False):
        options += [option, split] if split != usual else []
    if views.few and found.crop_size == PRESETS["small"]["crop_size"]:
        return cli.command_line("train", *options)  # it takes the preset by itself
    options += ["--preset", "small"] if views.few else []
    return cli.command_line("train", *options, "--crop-size", found.crop_size)


class _Views(NamedTuple):
    """How the proposed training sees the images; `few`: by the preset for small sets."""

    few: bool
    largest_crop: int
    scale_range: Sequence[float]
    jitter: float


def _views(args: argparse.Namespace, train_set: SegmentationDataset) -> _Views:
    """The views of `train` with its defaults, but for crops, which are to suit the images."""
    parser = train_parser()
    few = args.limit is None and len(train_set) < SMALL_SET
    usual = {name: parser.get_default(name) for name in ("scale_range", "jitter")}
    chosen = {"crop_size": CROP_SIZES[-1]} | usual | (PRESETS["small"] if few else {})
    return _Views(few, chosen["crop_size"], chosen["scale_range"], chosen["jitter"])


def _places(out: str | None) -> tuple[Path | None, Path | None]:
    """The file of the sheet of samples, and the folder for all other pictures."""
    if out is None:
        return None, None
    path = Path(out)
    if os.path.isdir(path) or not path.suffix:
        folder = cli.create_folder("--out", path)
        return folder / "samples.png", folder
    if path.suffix.lower() != ".png":
        raise UsageError(f"--out {out}: expected a folder, or the name of a .png file")
    return cli.output_file("--out", path, ".png"), None


def _draw(found: Inspection, views: _Views, sheet: Path | None, folder: Path | None) -> Iterator[Path]:
    """Draws the pictures that were asked for, and can be drawn."""
    usable = {name: facts for name, facts in found.splits.items() if facts.usable.any()}
    if sheet is None or not usable:
        return
    name, facts = next(iter(usable.items()))
    ds = facts.dataset
    chosen = samples_that_show(facts, SAMPLES)
    title = f"{ds.name}, split '{name}': {len(chosen)} of {len(ds)} samples"
    save_contact_sheet(sheet, facts.ids_of(chosen), lambda k: ds.sample(chosen[k]), ds, title)
    yield sheet
    if folder is None:
        return
    shares = {
        name: Shares(facts.counts.pixels, facts.counts.masks, len(facts.counts.sizes), facts.counts.void_share)
        for name, facts in usable.items()
    }
    save_class_shares(folder / "classes.png", shares, ds)
    yield folder / "classes.png"
    crops, titles = _crops(facts, views, found.crop_size)
    title = f"random crops of {found.crop_size} x {found.crop_size} pixels, as training sees them first with --seed 0"
    save_contact_sheet(folder / "crops.png", titles, crops.__getitem__, ds, title)
    yield folder / "crops.png"


def samples_that_show(facts: SplitFacts, most: int) -> list[int]:
    """Numbers of usable samples: such that each class is seen if it can be, the others spread over the split.

    Each next sample is the one that shows most classes which have been shown least; of equals the one farthest from the
    samples chosen before.
    """
    usable = np.flatnonzero(facts.usable)
    present = facts.present[np.ix_(usable, facts.labels)].astype(np.float64)
    chosen: list[int] = []
    while len(chosen) < min(most, len(usable)):
        unseen = 0.001 ** present[chosen].sum(axis=0)
        worth = present @ unseen
        worth[chosen] = -1
        equals = np.flatnonzero(worth >= worth.max() - 1e-9)
        distance = np.abs(equals[:, None] - np.array(chosen)).min(axis=1) if chosen else -equals
        chosen.append(int(equals[distance.argmax()]))
    return usable[sorted(chosen)].tolist()


class _Usable:
    """The samples of a split that can be read."""

    def __init__(self, facts: SplitFacts):
        self.dataset, self.numbers = facts.dataset, np.flatnonzero(facts.usable).tolist()

    def __len__(self) -> int:
        return len(self.numbers)

    def sample(self, i: int) -> tuple[np.ndarray, np.ndarray]:
        return self.dataset.sample(self.numbers[i])


def _crops(facts: SplitFacts, views: _Views, crop_size: int):
    """(uint8 image, labels) of the first crops that training draws, and a name for each."""
    void = facts.dataset.ignore_index
    transform = TrainTransform(crop_size, views.scale_range, jitter=views.jitter, ignore_index=void)
    batches = Loader(_Usable(facts), transform, CROPS).epoch(0)
    images, labels = next(batches)
    batches.close()
    pixels = (255 * (images * IMAGE_STD + IMAGE_MEAN)).round().clip(0, 255).astype(np.uint8)
    return list(zip(pixels, labels, strict=True)), [f"crop {k + 1}" for k in range(CROPS)]


def _parser() -> argparse.ArgumentParser:
    parser = cli.command_parser(
        "inspect_data",
        "Read each file of a data set, say what is wrong or odd and how to mend it, count classes, and draw samples. "
        "The exit code is 3 if training would fail.",
        EXAMPLE,
    )
    cli.add_data_arguments(parser, default=None)
    parser.add_argument(
        "--split", nargs="+", metavar="NAME", help="splits, the one to train on first (train val if not given)"
    )
    parser.add_argument(
        "--out", metavar="PATH",
        help="a folder for the pictures samples.png, classes.png and crops.png; or a .png file, for the samples alone",
    )  # fmt: skip
    parser.add_argument(
        "--json", metavar="FILE", help="also write all findings and numbers here; - for stdout, without the text"
    )
    parser.add_argument(
        "--convert", metavar="DIR",
        help="write all splits, or those of --split, in VOC's folders to this new folder instead",
    )  # fmt: skip
    parser.add_argument(
        "--longest-side", type=cli.positive_int, metavar="PIXELS",
        help="with --convert: make larger images, and their masks, smaller",
    )  # fmt: skip
    return parser


if __name__ == "__main__":
    sys.exit(main())
