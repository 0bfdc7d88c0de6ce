"""The command that looks at a data set: its report, its pictures, its JSON, its exit codes."""

import dataclasses
import json
import shlex
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from places import ROOT
from scenes import scene, write_scenes
from voc_folder import list_ids, make_set

from minideeplab import inspect_data
from minideeplab.data import Loader, TrainTransform, open_dataset, write_mask
from minideeplab.train.arguments import parse_arguments

PICTURES = {"samples.png", "classes.png", "crops.png"}


@pytest.fixture
def clean(tmp_path):
    splits = {"train": [scene(k) for k in range(4)], "val": [scene(50 + k) for k in range(2)]}
    return write_scenes(tmp_path / "tiles", **splits)


def test_a_clean_set_is_ready_and_says_how_to_train(clean, capsys, tmp_path):
    assert inspect_data.main(["--data", str(clean), "--out", str(tmp_path / "out")]) == 0
    text = capsys.readouterr().out
    assert "ready to train: 0 warnings, 0 hints. Next:\n" in text
    assert {path.name for path in (tmp_path / "out").iterdir()} == PICTURES
    for name in PICTURES:
        assert f"wrote {tmp_path / 'out' / name}" in text
        assert max(Image.open(tmp_path / "out" / name).size) <= 1600
    command = shlex.split(text.splitlines()[-1])
    assert command[:3] == [sys.executable, "-m", "minideeplab.train"]
    args, *_ = parse_arguments(command[3:])
    assert (args.data, args.crop_size) == (str(clean), 33)


def test_the_next_command_keeps_what_was_said_of_the_data(clean, capsys):
    list_ids(clean, "train0", "train1", split="some")
    list_ids(clean, "val0", split="others")
    options = ["--dataset", "named", "--limit", "2"]
    assert inspect_data.main(["--data", str(clean), *options, "--split", "some", "others"]) == 0
    args, *_ = parse_arguments(shlex.split(capsys.readouterr().out.splitlines()[-1])[3:])
    assert (args.dataset, args.limit, args.split, args.val_split) == ("named", 2, "some", "others")


def test_classes_are_counted(tmp_path, capsys):
    root = make_set(tmp_path / "tiles", names=("sea", "land", "sand", "snow"))
    write_mask(root / "SegmentationClass/a.png", np.full((6, 8), 255, np.uint8))
    assert inspect_data.main(["--data", str(root), "--split", "train", "--out", str(tmp_path / "out/sheet.png")]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ["0", "sea", "0.00", "0", "never", "occurs"] in rows
    assert ["1", "land", "50.00", "1"] in rows
    assert any(row[:4] == ["255", "void", "33.33", "1"] for row in rows)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["sheet.png"]
    assert min(Image.open(tmp_path / "out/sheet.png").size) > 100


@pytest.mark.parametrize("name", ["sheet.txt", "class_names.txt/sheet.png", "class_names.txt/out"])
def test_pictures_that_cannot_be_written_are_refused(clean, capsys, name):
    assert inspect_data.main(["--data", str(clean), "--out", str(clean / name)]) == 2
    assert "--out" in capsys.readouterr().err
    assert inspect_data.main(["--data", str(clean), "--json", str(clean / name)]) == 2
    assert "--json" in capsys.readouterr().err


def test_a_set_that_cannot_be_opened_ends_with_the_exit_code_for_data(tmp_path, capsys):
    assert inspect_data.main(["--data", str(tmp_path / "nowhere")]) == 3
    assert capsys.readouterr().err.count("nowhere: no such folder") == 1


def test_a_missing_or_empty_val_split_is_a_problem(clean, capsys):
    (clean / "ImageSets/Segmentation/val.txt").write_text("")
    assert inspect_data.main(["--data", str(clean)]) == 3
    text = capsys.readouterr().out
    assert "val.txt: the split is empty" in text and "not ready to train: 1 problem, 0 warnings" in text
    assert inspect_data.main(["--data", str(clean), "--split", "train"]) == 0


def test_bad_files_do_not_hide_the_rest(clean, capsys, tmp_path):
    (clean / "JPEGImages/train0.png").write_bytes(b"")
    list_ids(clean, "val0", "train1", split="val")
    assert inspect_data.main(["--data", str(clean), "--out", str(tmp_path / "out")]) == 3
    text = capsys.readouterr().out
    assert "problem: " in text and "train0.png: not a JPEG" in text
    assert "warning: 1 id in both 'train' and 'val': train1. Scores on" in text
    assert "split 'train': 4 samples, 1 cannot be used" in text
    assert {path.name for path in (tmp_path / "out").iterdir()} == PICTURES


def test_a_set_of_bad_files_alone_has_a_report_and_no_picture(clean, capsys, tmp_path):
    for path in (clean / "JPEGImages").iterdir():
        path.write_bytes(b"")
    assert inspect_data.main(["--data", str(clean), "--out", str(tmp_path / "out")]) == 3
    assert "not ready to train: 6 problems" in capsys.readouterr().out
    assert list((tmp_path / "out").iterdir()) == []


def test_many_problems_of_one_cause_are_counted(tmp_path, capsys):
    root = make_set(tmp_path / "tiles", [f"x{k}" for k in range(23)], ("a", "b"), masks=[[[0, 1]]] * 23)
    for path in (root / "JPEGImages").iterdir():
        path.unlink()
    assert inspect_data.main(["--data", str(root), "--split", "train"]) == 3
    text = capsys.readouterr().out
    assert text.count("problem: ") == 2 and "... and 21 more like this; --json FILE lists all" in text


def test_json_goes_to_a_file_beside_the_text(clean, capsys, tmp_path):
    assert inspect_data.main(["--data", str(clean), "--json", str(tmp_path / "new/found.json")]) == 0
    told = json.loads((tmp_path / "new/found.json").read_text())
    text = capsys.readouterr().out
    assert told["ready"] and told["splits"].keys() == {"train", "val"} and told["next"] in text
    assert f"wrote {tmp_path / 'new/found.json'}" in text


def test_json_on_stdout_stands_alone(clean, tmp_path):
    (clean / "SegmentationClass/val0.png").unlink()
    command = [sys.executable, "-m", "minideeplab.inspect_data", "--data", clean, "--json", "-"]
    with open(tmp_path / "stderr", "w+") as stderr:
        ended = subprocess.run(command, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=ROOT)
        stderr.seek(0)
        notes = stderr.read()
    told = json.loads(ended.stdout)
    assert ended.returncode == 3 and not told["ready"] and told["next"] is None
    assert "not ready to train: 1 problem" in notes and "\r" not in notes and "Traceback" not in notes


def test_classes_that_never_occur_are_warned_of(tmp_path, capsys):
    root = make_set(tmp_path / "tiles", ["a"], ("sea", "land"), masks=[[[0, 255]]])
    assert inspect_data.main(["--data", str(root), "--split", "train"]) == 0
    assert "warning: split 'train' has no pixel of 1 of 2 classes, which cannot be learnt: 'land' (1)" in (
        capsys.readouterr().out
    )


def test_a_fix_is_said_once(tmp_path, capsys):
    turned = [(image, mask[::-1, ::-1]) for image, mask in (scene(k) for k in range(8))]
    root = write_scenes(tmp_path / "tiles", train=turned[:4], val=turned[4:])
    assert inspect_data.main(["--data", str(root)]) == 0
    text = capsys.readouterr().out
    assert text.count("better turned by 180 degrees") == 2 and text.count("EXIF") == 1


def test_the_void_of_the_data_set_is_no_class(tmp_path):
    ds = open_dataset(make_set(tmp_path / "tiles", ["a"], ("nothing", "land"), masks=[[[0, 1, 1, 1]]]))
    rows = [line.split() for line in inspect_data.class_table(dataclasses.replace(ds, ignore_index=0).check())]
    assert rows[1:] == [["1", "land", "100.00", "1"], ["0", "void", "25.00", "1", "(%", "of", "all", "pixels)"]]


def test_the_crops_are_those_of_training(clean):
    ds = open_dataset(clean)
    facts = inspect_data.inspect([ds]).splits["train"]
    crops, names = inspect_data._crops(facts, inspect_data._Views(True, 33, (0.5, 1.5), 0.2), 33)
    images, labels = next(Loader(ds, TrainTransform(33, (0.5, 1.5), jitter=0.2), len(crops), seed=0).epoch(0))
    assert len(names) == len(crops) == inspect_data.CROPS
    for (pixels, mask), image, expected in zip(crops, images, labels, strict=True):
        np.testing.assert_array_equal(mask, expected)
        np.testing.assert_allclose(pixels / 255, image * inspect_data.IMAGE_STD + inspect_data.IMAGE_MEAN, atol=0.003)


@given(st.integers(0, 2**32), st.integers(1, 40), st.integers(1, 9), st.integers(1, 12))
@settings(max_examples=50, deadline=None)
def test_the_samples_that_are_shown_show_each_class(seed, n, classes, most):
    rng = np.random.default_rng(seed)
    usable, present = rng.random(n) < 0.8, rng.random((n, classes)) < 0.2
    chosen = inspect_data.samples_that_show(
        SimpleNamespace(usable=usable, present=present, labels=list(range(classes))), most
    )
    assert chosen == sorted(set(chosen)) and usable[chosen].all() and len(chosen) == min(most, usable.sum())
    if most >= classes:
        np.testing.assert_array_equal(present[chosen].any(axis=0), present[usable].any(axis=0))


def test_equal_samples_are_spread_over_the_split():
    facts = SimpleNamespace(usable=np.ones(100, bool), present=np.ones((100, 2), bool), labels=[0, 1])
    assert inspect_data.samples_that_show(facts, 3) == [0, 49, 99]
