"""Every reader of files that the project has, with good files that are made here."""

import argparse
import contextlib
import io
import json
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
from container_files import Call, Global, a_pickle, legacy_bytes, safetensors_bytes, storage, tensor, vector, zip_bytes
from fuzz.harness import Reader
from PIL import Image
from png_files import GREY, PALETTE, write_png
from report_runs import Pictures, make_report, row_of, validate
from voc_folder import make_set

from minideeplab import models
from minideeplab.crf.__main__ import _read_scores
from minideeplab.data import open_dataset, read_image, read_label_map, read_mask, voc_colour_map, write_mask
from minideeplab.data.classes import read_class_list
from minideeplab.data.labelme import read_json
from minideeplab.data.lists import read_pairs
from minideeplab.errors import CheckpointError, DataError, MiniDeepLabError, UsageError
from minideeplab.report.record import Report
from minideeplab.train import class_weights
from minideeplab.train.arguments import parse_arguments
from minideeplab.train.equality import data_changes
from minideeplab.train.options import train_parser
from minideeplab.train.run_folder import EPOCH_COLUMNS, RunFolder
from minideeplab.train.state import TrainState
from minideeplab.weights import Checkpoint, load_pretrained, save_torchvision_npz
from minideeplab.weights.class_names import named_classes
from minideeplab.weights.containers import read_weights
from minideeplab.weights.trained import load_trained

RNG = np.random.default_rng(0)
NAMES = ["background", "cat", "dog"]


def readers() -> list[Reader]:
    """All of them, made anew."""
    made = [_checkpoints(), *_weights(), _scores(), _images(), _masks(), *_lists(), *_options(), *_run_folders()]
    assert len({reader.name for reader in made}) == len(made)
    return made


def _written(write: Callable[[Path], object], name: str = "file") -> bytes:
    """What `write` writes to a path."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        write(path)
        return path.read_bytes()


# ---------------------------------------------------------------- checkpoints and weights


def _checkpoint(name, **options) -> bytes:
    model = models.build(name, num_classes=3, **options)
    state = model.state_dict()
    row = {"epoch": 1, "step": 2, "lr": 0.01, "train_loss": 1.0, "val_miou": 0.5, "seconds": 1.0}
    checkpoint = Checkpoint(
        model.config, state, list(NAMES), voc_colour_map(),
        optimiser={name: np.zeros_like(array) for name, array in state.items()},
        progress={"step": 2, "epoch": 1, "history": [row], "best": 0.5, "fingerprint": "x"},
        args={"lr": 0.01, "model": name, "seed": 0},
    )  # fmt: skip
    return _written(checkpoint.save)


def _checkpoints() -> Reader:
    seeds = [_checkpoint("deeplabv1-largefov", width=1 / 64), _checkpoint("unet", width=1 / 64)]
    return Reader("checkpoint", seeds, load_trained, (CheckpointError,), "best.npz")


def _weights() -> list[Reader]:
    one, two = RNG.standard_normal(12).astype(np.float32), np.arange(6, dtype=np.float16)
    content = {
        "epoch": 3,
        "state_dict": {"module.a": vector(one), "module.b": tensor(storage("Half", "1", 6), 0, (2, 3), (3, 1))},
    }
    storages = {"0": one.tobytes(), "1": two.tobytes()}
    layer = {"_parameters": {"w": vector(one)}, "_buffers": {"m": None}, "_modules": {}, "training": True}
    net = {"_parameters": {}, "_modules": {"0": Call(Global("nets Layer"), (), layer)}}
    whole = {"epoch": 3, "model": Call(Global("nets Net"), (), net)}
    zips = [zip_bytes(content, storages), zip_bytes({"a": vector(two)}, {"0": two.tobytes()})]
    zips.append(zip_bytes(whole, {"0": one.tobytes()}))
    legacy = [
        legacy_bytes({"a": vector(one, legacy=True)}, {"0": one.tobytes()}),
        legacy_bytes({"state_dict": {"b": vector(one[:4], legacy=True)}}, {"0": one[:4].tobytes()}),
        a_pickle({"a": 1}) + b"\x80\x02.",
    ]
    half = {"dtype": "F16", "shape": [6], "data_offsets": [48, 60]}
    tensors = [
        safetensors_bytes({"a": {"dtype": "F32", "shape": [12], "data_offsets": [0, 48]}, "b": half}, bytes(60)),
        safetensors_bytes({"__metadata__": {"format": "pt"}, "x": half | {"data_offsets": [0, 12]}}, bytes(12)),
    ]
    model = models.build("resnet18", width=1 / 32, num_classes=3)
    arrays = dict(np.load(io.BytesIO(_written(lambda path: save_torchvision_npz(path, model)))))
    pickled, header, place = {}, {}, 0
    for name, array in arrays.items():
        strides = tuple(step // array.itemsize for step in array.strides)
        pickled[name] = tensor(storage("Float", name, array.size), 0, array.shape, strides)
        header[name] = {"dtype": "F32", "shape": array.shape, "data_offsets": [place, place := place + array.nbytes]}
    raw = {name: array.tobytes() for name, array in arrays.items()}
    around = {f"net.{name}": array for name, array in arrays.items()} | {"criterion.weight": np.ones(3)}
    layouts = [
        _written(lambda path: save_torchvision_npz(path, model), "x.npz"),
        _written(lambda path: np.savez(path, **around), "x.npz"),
        zip_bytes(pickled, raw),
        safetensors_bytes(header, b"".join(raw.values())),
    ]
    container = (CheckpointError,)
    return [
        Reader("pth", zips, read_weights, container),
        Reader("pth legacy", legacy[:2], read_weights, container),
        Reader("safetensors", tensors, read_weights, container),
        Reader("pretrained", layouts, load_pretrained, container),
    ]


def _scores() -> Reader:
    scores = RNG.random((4, 5, 3)).astype(np.float32)
    seeds = [
        _written(lambda path: np.save(path, scores), "x.npy"),
        _written(lambda path: np.save(path, np.asfortranarray(scores.astype(">f8"))), "x.npy"),
        _written(lambda path: np.savez(path, scores=scores), "x.npz"),
        _written(lambda path: np.savez_compressed(path, scores=scores), "x.npz"),
    ]
    return Reader("scores", seeds, _read_scores, (DataError,))


# ---------------------------------------------------------------- images and masks


def _images() -> Reader:
    photo = Image.fromarray(RNG.integers(0, 256, (24, 40, 3)).astype(np.uint8))
    turned = Image.Exif()
    turned[0x0112] = 6
    wide = Image.fromarray(RNG.integers(0, 65536, (10, 12)).astype(np.uint16))
    seeds = [
        _written(lambda path: photo.save(path, "JPEG", exif=turned)),
        _written(lambda path: photo.convert("CMYK").save(path, "JPEG", progressive=True)),
        _written(lambda path: photo.save(path, "PNG")),
        _written(lambda path: photo.convert("P").save(path, "PNG", transparency=3)),
        _written(lambda path: wide.save(path, "PNG")),
        _written(lambda path: photo.save(path, "BMP")),
        _written(lambda path: photo.convert("P").save(path, "BMP")),
        _written(lambda path: photo.save(path, "WEBP")),
        _written(lambda path: photo.save(path, "WEBP", lossless=True)),
        _written(lambda path: photo.save(path, "TIFF")),
        _written(lambda path: photo.save(path, "TIFF", compression="tiff_lzw")),
        _written(lambda path: photo.save(path, "TIFF", compression="tiff_adobe_deflate")),
        _written(lambda path: wide.save(path, "TIFF")),
    ]
    return Reader("images", seeds, read_image, (DataError,), "photo.jpg")


def _masks() -> Reader:
    labels = RNG.integers(0, 3, (20, 30)).astype(np.uint8)
    colours = voc_colour_map()[labels]
    seeds = [
        _written(lambda path: write_mask(path, labels)),
        _written(lambda path: write_png(path, labels, 8)),
        _written(lambda path: write_png(path, labels, 2)),
        _written(lambda path: write_png(path, labels, 4, PALETTE, voc_colour_map()[:16])),
        _written(lambda path: write_png(path, labels, 16, GREY)),
        _written(lambda path: write_png(path, labels % 2, 1)),
        _written(lambda path: Image.fromarray(colours).save(path, "PNG")),
        _written(lambda path: Image.fromarray(colours).convert("RGBA").save(path, "PNG")),
    ]
    return Reader("masks", seeds, lambda path: read_mask(path, 3), (DataError,), "mask.png")


# ---------------------------------------------------------------- text files of data sets


def _lists() -> list[Reader]:
    ids = b"a\nb\nc\n"
    split_file = "ImageSets/Segmentation/train.txt"
    shapes = [
        {"label": "cat", "points": [[1, 1], [20.5, 3], [9, 12]], "shape_type": "polygon"},
        {"label": "dog", "points": [[2, 2], [5, 9]], "shape_type": "rectangle"},
        {"label": "dog", "points": [[8, 8], [9, 9]], "shape_type": "circle", "group_id": None},
    ]
    drawing = {"version": "5", "imagePath": "a.jpg", "imageHeight": 24, "imageWidth": 32, "shapes": shapes}
    pairs = [b"a.jpg a_mask.png\nb.jpg b_mask.png\n", b"image,mask\n'c d.jpg','c d.png'\nx/y.jpeg;x/y.png\n"]
    lists = [
        b"background\ncat\ndog\n",
        b"a 0 0 0\nb 128 0 0\nc 0 128 0\n__ignore__ 255 255 255\n",
        b"0 a\n1 b\n2 c\n",
    ]
    colours = [
        b"0 0 0 background\n128 0 0 cat\n0 128 0 dog\n",
        b"cat 128,0,0\ndog #008000\nbackground 0 0 0\nvoid 9 9 9\n",
    ]
    cvat = [b"# label:color_rgb:parts:actions\nbackground:0,0,0::\ncat:128,0,0::\n", *lists]
    maps = [b"0 0\n255 1\n* void\n", b"0 -> background\n1 -> cat\n", b'{"0": 0, "7": "cat", "*": "void"}']
    return [
        Reader("split file", [ids], _open_voc, (DataError,), split_file, make_voc),
        Reader("class file", lists, _open_voc, (DataError,), "class_names.txt", make_voc),
        Reader("colours", colours, _open_voc, (DataError,), "colors.txt", make_voc),
        Reader("class list", cvat, read_class_list, (DataError,), "labelmap.txt"),
        Reader("pairs", pairs, read_pairs, (DataError,), "train.txt"),
        Reader("label map", maps, read_label_map, (DataError,)),
        Reader("labelme", [json.dumps(drawing).encode()], _open_labelme, (DataError,), "a.json", _make_labelme),
        Reader("labelme file", [json.dumps(drawing).encode()], read_json, (DataError,), "a.json"),
    ]


def make_voc(folder: Path) -> None:
    """A set of three images around the files that are mutated."""
    make_set(folder, ids=("a", "b", "c"), names=NAMES)


def _open_voc(path: Path):
    root = next(parent for parent in path.parents if (parent / "JPEGImages").exists())
    return open_dataset(root, "named", "train").check()


def _make_labelme(folder: Path) -> None:
    Image.new("RGB", (32, 24)).save(folder / "a.jpg")


def _open_labelme(path: Path):
    return open_dataset(path.parent, "labelme", "all").check()


# ---------------------------------------------------------------- files that options name


def _options() -> list[Reader]:
    weights = [b"1\n2.5\n0.1\n", b'{"cat": 2.5, "dog": 0}']
    names = [b"background\ncat\ndog\n", b"\xef\xbb\xbfa\nb\nc\n"]
    return [
        Reader("class weights", weights, lambda p: class_weights.option(str(p)), (argparse.ArgumentTypeError,)),
        Reader("class names", names, lambda p: named_classes(p, 3), (UsageError,)),
    ]


# ---------------------------------------------------------------- what a run has written


CONFIG = b"""crop-size = 193
lr = 0.005
scale-range = [0.5, 1.5]
backbone = "resnet50"
mirror = false
class-weights = "median"
"""


def _run_folders() -> list[Reader]:
    rows = b"".join(json.dumps({"step": k, "loss": 1.5, "lr": 0.01, "seconds": 0.1}).encode() + b"\n" for k in range(4))
    kept = _kept()
    words = {"arguments": {"lr": 0.1}, "versions": {"numpy": "2"}}
    data = {"classes": NAMES, "splits": [{"split": "train", "ids": ["a", "b"]}, {"split": "val", "ids": ["c"]}]}
    usage = (UsageError, SystemExit)
    return [
        Reader("config", [CONFIG], _read_config, usage, "run.toml"),
        Reader("resume", [_run()], _resume, (MiniDeepLabError,), "last.npz"),
        Reader("metrics.jsonl", [rows], _rewind, (), "metrics.jsonl"),
        Reader("data.json", [json.dumps(data).encode()], _changes, (), "data.json"),
        Reader("args.json", [json.dumps(words).encode()], _report, (), "args.json", _make_report, True),
        Reader("report best", [kept["best.json"]], _report, (), "report/best.json", _make_report, True),
        Reader("report epoch", [kept["epoch-00002.json"]], _report, (), "report/epoch-00002.json", _make_report, True),
        Reader("report samples", [kept["samples.json"]], _report, (), "report/samples.json", _make_report, True),
    ]


def _run() -> bytes:
    """last.npz with the arguments of a run."""
    model = models.build("unet", num_classes=3, width=1 / 64)
    args = vars(train_parser().parse_args(["--model", "unet", "--width", str(1 / 64), "--epochs", "3"]))
    row = dict.fromkeys(EPOCH_COLUMNS, 1) | {"val_miou": 0.5}
    progress = vars(TrainState(step=2, epoch=1, best=0.5, history=[row], fingerprint="x"))
    state = model.state_dict()
    slots = {name: np.zeros(p.shape, np.float32) for name, p in model.named_parameters()}
    checkpoint = Checkpoint(
        model.config, state, list(NAMES), voc_colour_map(), optimiser=slots, progress=progress, args=args
    )
    return _written(checkpoint.save)


def _resume(path: Path):
    _, found, _ = parse_arguments(["--resume", "--out", str(path.parent)])
    state = TrainState.restore(found.path, found.checkpoint.progress, "x")
    state.is_out_of_patience(1)
    return found.checkpoint.build_model(found.path)


def _read_config(path: Path):
    with contextlib.redirect_stderr(io.StringIO()) as text:
        try:
            return parse_arguments(["--config", str(path)])
        except SystemExit as error:
            raise UsageError(text.getvalue()) from error


def _rewind(path: Path):
    folder = RunFolder(path.parent)
    folder.rewind(3, [])
    return folder.step_rows()


def _changes(path: Path):
    return data_changes(path, Pictures(), Pictures())


def _kept() -> dict[str, bytes]:
    """What a run keeps for its report."""
    with tempfile.TemporaryDirectory() as folder:
        make_report(Path(folder) / "run")
        return {path.name: path.read_bytes() for path in Path(folder, "run/report").iterdir()}


def _make_report(folder: Path) -> None:
    make_report(folder)


def _report(path: Path):
    """The page, whatever became of one of its files."""
    folder = next(parent for parent in path.parents if (parent / "log.txt").exists())
    dataset = Pictures()
    rows = [row_of(epoch, validate(Report(folder, dataset, dataset), dataset, epoch)) for epoch in (1, 2, 3)]
    Report(folder, dataset, dataset).write(folder / "report.html", rows, [], (3, 9))


def by_name(names: Sequence[str]) -> list[Reader]:
    """Those readers, or all."""
    return [reader for reader in readers() if not names or reader.name in names]
