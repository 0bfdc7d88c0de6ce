"""Defaults for small sets: chosen by the number of images, and never against what was given."""

import re
import shutil

import pytest
from train_runs import command

from minideeplab import models
from minideeplab.data import write_synthetic
from minideeplab.train import command as train
from minideeplab.train.arguments import settle, train_parser
from minideeplab.train.presets import PRESETS, SMALL_SET
from minideeplab.weights import Checkpoint

SMALL = PRESETS["small"]


def settled(arguments, images):
    from minideeplab.cli.config_file import given_arguments

    parser = train_parser()
    args = parser.parse_args(arguments)
    args.epochs = args.epochs or (None if args.steps else 30)
    return args, settle(args, given_arguments(parser, arguments), images)


def test_few_images_get_the_preset_and_it_is_said():
    args, note = settled(["--data", "photos"], 12)
    assert {key: getattr(args, key) for key in SMALL} == SMALL
    assert (args.preset, args.epochs) == ("small", None)
    assert note.startswith("preset small, for 12 training images: --width 0.25 --head-width 64 --separable --crop-size")
    assert args.atrous_rates == models.aspp.rates_for_crops(SMALL["crop_size"])
    validations = SMALL["steps"] / (12 // SMALL["batch_size"]) / args.eval_every
    assert 8 <= validations <= 16


@pytest.mark.parametrize(
    "arguments",
    [["--data", "synthetic"], ["--data", "synthetic", "--limit", "8"], ["--preset", "none"], ["--preset", "auto"]],
)
def test_many_images_or_part_of_a_large_set_have_the_general_defaults(arguments):
    images = 8 if arguments[-1] in ("8", "none") else SMALL_SET
    args, note = settled(arguments, images)
    general, _ = settled(["--preset", "none"], 10**6)
    assert note == "" and args.preset == "none"
    assert {key: getattr(args, key) for key in SMALL} == {key: getattr(general, key) for key in SMALL}
    assert args.epochs == 30


@pytest.mark.parametrize("given", ["--lr 0.2", "--crop-size 65", "--no-separable", "--init-from x.npz"])
def test_who_chooses_has_the_general_defaults_for_the_rest_and_is_told_of_the_preset(given):
    args, note = settled(given.split(), 12)
    general, _ = settled([*given.split(), "--preset", "none"], 12)
    assert vars(args) == vars(general)
    option = re.sub("^--no-", "--", given.split()[0])
    assert note.startswith("12 training images are few: add --preset small") and f"as {option} was given" in note


@pytest.mark.parametrize(("given", "length"), [("--epochs 3", (3, None)), ("--steps 7", (None, 7))])
def test_who_chooses_a_length_keeps_the_preset(given, length):
    args, note = settled(given.split(), 12)
    assert args.preset == "small" and note.startswith("preset small") and (args.epochs, args.steps) == length


@pytest.mark.parametrize("given", ["--lr 0.2", "--epochs 3", "--steps 7", "--eval-every 5", "--no-separable"])
def test_with_the_preset_asked_for_what_is_given_wins(given):
    args, note = settled(["--preset", "small", *given.split()], 10**6)
    asked = vars(train_parser().parse_args(given.split()))
    name = given.split()[0].removeprefix("--").removeprefix("no-").replace("-", "_")
    assert getattr(args, name) == asked[name] and f"--{name} " not in note
    rest = {key: value for key, value in SMALL.items() if key not in (name, "steps")}
    assert {key: getattr(args, key) for key in rest} == rest
    assert (args.epochs, args.steps) == {"epochs": (3, None), "steps": (None, 7)}.get(name, (None, SMALL["steps"]))


def test_a_network_without_such_options_and_weights_of_their_own_width_are_left_alone():
    args, note = settled(["--preset", "small", "--model", "segnet"], 12)
    assert args.head_width is None and args.separable is None and args.width == 0.25 and "--head-width" not in note
    args, _ = settled(["--preset", "small", "--init-from", "resnet.pth"], 12)
    assert args.width == 1.0 and args.crop_size == SMALL["crop_size"]


def test_a_run_without_options_of_its_own_takes_it_and_keeps_it(tmp_path, monkeypatch, capsys):
    small = {"width": 0.0625, "head_width": 8, "crop_size": 33, "batch_size": 2, "steps": 3, "lr": 0.02}
    monkeypatch.setitem(PRESETS, "small", small)
    data, out = tmp_path / "data", tmp_path / "out"
    write_synthetic(data, train=4, val=2)
    assert train.main(["--data", str(data), "--out", str(out), "--stop-after", "2"]) == 0
    assert "preset small, for 4 training images: --width 0.0625" in capsys.readouterr().out
    assert train.main(["--resume", "--out", str(out)]) == 0
    args = Checkpoint.load(out / "last.npz").args
    assert {key: args[key] for key in small} == small and args["preset"] == "small"
    monkeypatch.setitem(PRESETS, "small", {"lr": 9.0})  # another version's
    again = tmp_path / "again"
    assert train.main(["--config", str(out / "config.toml"), "--out", str(again)]) == 0
    assert (again / "metrics.jsonl").read_text().count("\n") == 3
    assert Checkpoint.load(again / "last.npz").args["lr"] == 0.02
    shutil.rmtree(out)


def test_the_runs_of_other_tests_are_as_they_were(data, tmp_path):
    """What is said to change is the run of someone who chose nothing."""
    assert train.main(command(data, tmp_path / "out", "--stop-after", 1)) == 0
    args = Checkpoint.load(tmp_path / "out" / "last.npz").args
    assert args["lr"] == 0.01 and args["scale_range"] == [0.5, 2.0] and args["class_weights"] == "none"
