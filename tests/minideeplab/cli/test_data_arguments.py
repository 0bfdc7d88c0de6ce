"""The arguments that say which data: what they mean, what is said of them, and how they reach the next command."""

import contextlib
import json
import shlex

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from layout_folders import folder
from train_runs import assert_same_run, command
from voc_folder import make_set

from minideeplab import cli, evaluate
from minideeplab.data import DATASETS
from minideeplab.distributed import Alone
from minideeplab.errors import UsageError
from minideeplab.train import command as train


def parsed(*arguments):
    parser = cli.command_parser("x", "x", "x")
    cli.add_data_arguments(parser, default=None)
    return parser.parse_args([str(each) for each in arguments])


@given(
    dataset=st.sampled_from(["auto", *DATASETS]),
    limit=st.none() | st.integers(1, 99),
    share=st.none() | st.floats(0.01, 0.99),
    void=st.none() | st.integers(-1, 255),
    label_map=st.none()
    | st.just("binary")
    | st.dictionaries(st.integers(0, 255).map(str), st.text("ab 1", min_size=1)),
)
def test_the_options_of_another_command_mean_the_same(dataset, limit, share, void, label_map):
    given_options = ["--data", "some folder", "--dataset", dataset]
    label_map = json.dumps(label_map) if isinstance(label_map, dict) and label_map else label_map or None
    options = {"--limit": limit, "--val-share": share, "--ignore-index": void, "--label-map": label_map}
    for name, value in options.items():
        given_options += [] if value is None else [f"{name}={value}"]
    try:
        args = parsed(*given_options)
    except SystemExit:  # a name of blanks
        return
    assert parsed(*cli.data_options(args)) == args


def test_what_was_understood_is_said_once_on_stderr(tmp_path, capsys):
    made = folder(tmp_path)
    (tmp_path / "classes.txt").unlink()
    args = parsed("--data", made.data)
    for split in ("train", "val", "train"):
        cli.open_data(args, split)
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert first == f"data: {tmp_path} is taken for a set of kind 'folder': images/ and masks/ are there"
    assert second.startswith(
        f"data: {tmp_path}: no class list; the masks hold the labels 0, 1, 2, so there are 3 classes"
    )
    assert [ds.split for ds in cli.open_splits(args)] == ["train", "val"]


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        (["--ignore-index", "256"], "argument --ignore-index: 256: expected a label from 0 to 255, or -1"),
        (["--ignore-index", "-2"], "expected a label from 0 to 255, or -1"),
        (["--val-share", "1"], "argument --val-share: 1: expected a number between 0 and 1"),
        (["--label-map", "nowhere.txt"], "argument --label-map: nowhere.txt: no such file"),
        (["--label-map", "{}"], "an empty label map"),
    ],
)
def test_arguments_that_mean_nothing_are_usage_errors(arguments, match, capsys):
    with pytest.raises(SystemExit, match="2"):
        parsed("--data", "x", *arguments)
    assert match in capsys.readouterr().err


def test_a_void_that_the_layout_does_not_take_is_a_usage_error(tmp_path):
    args = parsed("--data", make_set(tmp_path / "CamVid"), "--ignore-index", "3")
    with pytest.raises(UsageError, match=r"--ignore-index 3: the masks of camvid are renumbered .* then 'road'"):
        cli.open_data(args, "train")


def test_what_opening_a_set_writes_is_written_by_one_rank_of_a_machine(tmp_path):
    """Here the lists of a split that is drawn; the pictures of the synthetic set come in the same way."""
    root, seen = make_set(tmp_path / "set", [f"i{number}" for number in range(5)], ("a", "b"), splits=()), []

    class Rank(Alone):
        @contextlib.contextmanager
        def first_on_each_machine(self):
            written = root / "ImageSets/Segmentation/train.txt"
            seen.append(written.exists())
            yield
            seen.append(written.exists())

    cli.open_data(parsed("--data", root), "train", Rank())
    assert seen == [False, True]


def test_a_run_keeps_its_label_map_and_the_next_command_has_it(tmp_path, capsys):
    """Two classes as 0 and 255, no split: trained, paused, resumed, and scored by the command that the run prints."""
    mask = np.zeros((40, 40), np.uint8)
    mask[10:30, 5:25] = 255
    names = [f"i{number}" for number in range(5)]
    root = make_set(tmp_path / "set", names, ("ground", "thing"), masks=[mask] * 5, splits=())
    (tmp_path / "map.txt").write_text("0 ground\n255 thing\n")
    arguments = ["--label-map", tmp_path / "map.txt", "--val-share", "0.4"]
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    assert train.main(command(root, whole, *arguments)) == 0
    capsys.readouterr()
    assert train.main(command(root, parts, *arguments, "--stop-after", "1")) == 0
    (tmp_path / "map.txt").unlink()
    assert train.main(["--resume", "--out", str(parts), "--label-map", "binary"]) == 2  # the same, but said otherwise
    assert "--label-map binary: this run began with" in capsys.readouterr().err
    assert train.main(["--resume", "--out", str(parts), "--label-map", '{"0": "ground", "255": "thing"}']) == 0
    assert_same_run(whole, parts)
    log = (parts / "log.txt").read_text().splitlines()
    [line] = [line for line in log if "minideeplab.evaluate" in line]
    next_arguments = shlex.split(line)[3:]
    assert next_arguments[next_arguments.index("--val-share") + 1] == "0.4"
    assert evaluate.main([*next_arguments, "--json", str(tmp_path / "scores.json")]) == 0
    scores = json.loads((tmp_path / "scores.json").read_text())
    assert scores["images"] == 2 and scores["classes_present"] == 2
    assert np.sum(scores["confusion"]) == 2 * mask.size
