"""The arguments that say which data a command works on."""

import argparse
import sys
import zlib

from minideeplab.cli.progress import Progress
from minideeplab.cli.types import label_map, label_value, open_fraction, positive_int
from minideeplab.data import DATASETS, SegmentationDataset, open_dataset, split_names
from minideeplab.distributed import ALONE, Alone, require_same
from minideeplab.errors import UsageError

_said: set[str] = set()  # train opens two splits, and has one thing to say


def add_data_arguments(parser: argparse.ArgumentParser, default: str | None) -> None:
    """--data, --dataset and what goes with them; `default` is that of --data, None makes it required."""
    parser.add_argument(
        "--data",
        default=default,
        required=default is None,
        help="folder of the data set, a list of `image mask` lines, or 'synthetic'",
    )
    parser.add_argument(
        "--dataset",
        choices=["auto", *DATASETS],
        default="auto",
        help="; ".join(["kind of the data set: auto: by its folder", *(f"{n}: {e.help}" for n, e in DATASETS.items())]),
    )
    parser.add_argument("--limit", type=positive_int, help="use only the first LIMIT images of each split")
    parser.add_argument(
        "--val-share", type=open_fraction, metavar="F",
        help="share of the images that is held out as split 'val' where there is no such split, always the same ones. "
        "A set without any split is divided without this option, too: 0.2, and the lists are written into its folder",
    )  # fmt: skip
    parser.add_argument(
        "--label-map", type=label_map, metavar="FILE",
        help="which label a value in the masks means: lines `stored label` or `stored -> name`, * for any other value, "
        "'void' for none; or a JSON object; or the word 'binary': 0 is 0, and 255 is 1",
    )  # fmt: skip
    parser.add_argument(
        "--ignore-index", type=label_value, metavar="N",
        help="this label is void, too: its pixels are neither learnt nor scored (255 always is). Other classes keep "
        "their numbers; use --label-map to renumber them. -1 means 255, which is how 8 bits store it",
    )  # fmt: skip


def open_data(args: argparse.Namespace, split: str, group: Alone = ALONE) -> SegmentationDataset:
    """One split of the data set that the arguments of `add_data_arguments` name; stderr says how it was understood.

    All ranks call it: what is written when a set is opened, such as pictures of the synthetic one or lists of a drawn
    split, the first rank of each machine writes, and the others find.

    Raises:
        DataError: as of `open_dataset`.
        UsageError: arguments that the data set does not take, or another list of images on some rank.
    """
    try:
        with group.first_on_each_machine():
            dataset = open_dataset(
                args.data,
                args.dataset,
                split,
                args.limit,
                val_share=args.val_share,
                label_map=args.label_map,
                ignore_index=args.ignore_index,
            )
    except ValueError as error:
        name, _, what = str(error).removeprefix("open_dataset: ").partition(" ")
        raise UsageError(f"--{name.replace('_', '-')} {what}") from error
    images = len(dataset), zlib.crc32(repr((dataset.class_names, dataset.ids)).encode())
    require_same(group, {f"the list of split '{split}'": images}, "let all of them read the same files")
    for sentence in (dataset.recognised, *dataset.notes):
        if sentence and sentence not in _said:
            _said.add(sentence)
            print(f"data: {sentence}", file=sys.stderr)
    return dataset


def open_splits(args: argparse.Namespace) -> list[SegmentationDataset]:
    """All splits of the data set that the arguments name; errors as of `open_data`."""
    return [open_data(args, split) for split in split_names(args.data, args.dataset)]


def check_files(dataset: SegmentationDataset, progress: bool = True) -> None:
    """`dataset.check()`, and on stderr how far it got: a large set takes minutes."""
    if not progress:
        dataset.check()
        return
    with Progress(len(dataset), f"checking '{dataset.split}'", leave=False, computes=False) as bar:
        dataset.check(bar.update)


def data_options(args: argparse.Namespace) -> list[str]:
    """The arguments of `add_data_arguments` as options of another command that opens the same data."""
    options = ["--data", str(args.data)]
    options += ["--dataset", args.dataset] if args.dataset != "auto" else []
    for name in ("limit", "val_share", "label_map", "ignore_index"):
        if getattr(args, name, None) is not None:
            options += [f"--{name.replace('_', '-')}", str(getattr(args, name))]
    return options
