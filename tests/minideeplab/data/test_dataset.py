"""The seam of data sets: what a new layout has to bring, and a void of any value up to the batches."""

import dataclasses
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from places import ROOT
from voc_folder import make_set

from minideeplab import cli
from minideeplab.data import (
    DATASETS,
    Loader,
    SegmentationDataset,
    TrainTransform,
    open_dataset,
    voc_colour_map,
    write_mask,
)
from minideeplab.data.registry import Entry

MASKS = np.random.default_rng(0).integers(0, 3, (4, 20, 30)).astype(np.uint8)


@pytest.fixture
def pairs(tmp_path, monkeypatch):
    """A folder of pairs, and the file and the line that make it known, as the README shows them."""
    readme = (ROOT / "minideeplab/data/README.md").read_text(encoding="utf-8")
    code = {"Path": Path, "Entry": Entry, "SegmentationDataset": SegmentationDataset, "voc_colour_map": voc_colour_map}
    exec(readme.split("```python\n")[1].split("```")[0], code)
    line = eval("{" + re.search(r'`("pairs": Entry.*?)`', readme)[1] + "}", code)
    for name, mask in zip("abcd", MASKS, strict=True):
        Image.fromarray(np.repeat(mask[..., None] * 80, 3, axis=2)).save(tmp_path / f"{name}.png")
        write_mask(tmp_path / f"{name}_labels.png", mask)
    entries = line | DATASETS
    monkeypatch.setattr("minideeplab.data.registry.DATASETS", entries)
    monkeypatch.setattr("minideeplab.cli.data_arguments.DATASETS", entries)
    return tmp_path


@pytest.mark.parametrize("dataset", ["auto", "pairs"])
def test_a_new_layout_is_two_methods_and_a_line_in_the_registry(pairs, dataset):
    ds = open_dataset(pairs, dataset, limit=3)
    assert (ds.name, ds.ids, ds.num_classes, ds.ignore_index, len(ds)) == ("pairs", ("a", "b", "c"), 2, 255, 3)
    image, mask = ds.sample(1)
    assert (image[..., 0] == MASKS[1] * 80).all()
    np.testing.assert_array_equal(mask, np.array([255, 0, 1])[MASKS[1]])
    counts = ds.check()
    assert counts.pixels[[0, 1, 255]].tolist() == np.bincount(MASKS[:3].ravel())[[1, 2, 0]].tolist()


def test_the_choices_of_the_command_line_are_the_registry(pairs, capsys):
    parser = cli.command_parser("x", "x", "x")
    cli.add_data_arguments(parser, default=None)
    assert parser.parse_args(["--data", str(pairs), "--dataset", "pairs"]).dataset == "pairs"
    with pytest.raises(SystemExit, match="0"):
        parser.parse_args(["--help"])
    text = " ".join(capsys.readouterr().out.split())
    assert all(f"{name}: " in text for name in ("auto", "pairs", *DATASETS))


def test_a_layout_without_its_methods_is_refused():
    with pytest.raises(TypeError, match="abstract"):
        SegmentationDataset("x", None, "train", (), (), None)


def test_a_void_that_is_no_byte_is_refused(pairs):
    with pytest.raises(ValueError, match=r"must lie in 0\.\.255, got \[256\]"):
        dataclasses.replace(open_dataset(pairs), ignore_index=256)


@pytest.mark.parametrize("void", [0, 250])
def test_batches_of_another_void_are_those_of_255(tmp_path, void):
    """The same pictures, once with this void in their masks, once with 255 in its place."""
    names = ("a", "b", "c")
    stored = np.where(MASKS == 0, void, MASKS)
    other = open_dataset(make_set(tmp_path / "other", "wxyz", names, masks=stored))
    other = dataclasses.replace(other, ignore_index=void)
    usual = open_dataset(make_set(tmp_path / "usual", "wxyz", names, masks=np.where(MASKS == 0, 255, MASKS)))
    for first, second in zip(batches(other), batches(usual), strict=True):
        np.testing.assert_array_equal(first[0], second[0])
        np.testing.assert_array_equal(np.where(first[1] == void, 255, first[1]), second[1])
        assert (first[1] == void).mean() > 0.4  # in the masks, and around the small pictures


def batches(dataset):
    transform = TrainTransform(33, ignore_index=dataset.ignore_index)
    return list(Loader(dataset, transform, batch_size=2).epoch(0))


@pytest.mark.parametrize("void", [0, 250])
def test_counts_of_another_void_are_those_of_255(tmp_path, void):
    masks = np.where(MASKS == 0, void, MASKS)
    ds = dataclasses.replace(open_dataset(make_set(tmp_path / "s", "wxyz", "abc", masks=masks)), ignore_index=void)
    counts = ds.check()
    assert counts.labelled == (MASKS > 0).sum() and counts.void_share == (MASKS == 0).mean()
    assert counts.absent == ([] if void == 0 else [0])
