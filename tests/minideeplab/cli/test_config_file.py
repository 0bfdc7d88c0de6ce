"""Options from a file and from keywords: equal to the flags, and refused like them."""

import argparse
import json
import math
import string
import time
import tomllib
import tracemalloc

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minideeplab.cli.config_file import (
    MAX_BYTES,
    MAX_DOTS,
    MAX_LINE,
    arguments_of,
    config_text,
    given_arguments,
    read_toml,
    with_config,
)
from minideeplab.errors import UsageError
from minideeplab.train.arguments import NOT_REPEATED, train_parser

PARSER = train_parser()
numbers, factors = st.floats(1e-6, 1e6), st.floats(1e-6, 16)
texts = st.text(min_size=1).filter(lambda text: "\0" not in text and not any(0xD800 <= ord(c) < 0xE000 for c in text))
options = st.fixed_dictionaries(
    {},
    optional={
        "data": texts.filter(lambda text: text.strip()),
        "lr": numbers,
        "crop_size": st.integers(1, 2**14),
        "scale_range": st.tuples(factors, factors).map(list),
        "atrous_rates": st.lists(st.integers(1, 99), max_size=4),
        "mirror": st.booleans(),
        "separable": st.booleans(),
        "checkpoint_activations": st.just(True),
        "class_weights": st.sampled_from(["none", "median", "root"]),
        "model": st.sampled_from(["deeplabv3plus", "segnet"]),
        "seed": st.integers(0, 2**63),
    },
)


@given(options)
def test_options_are_the_flags_and_the_file_gives_them_back(chosen):
    """options -> arguments -> parsed -> file -> options: the same all the way."""
    parsed = given_arguments(PARSER, arguments_of(PARSER, chosen, "here"))
    assert parsed == chosen
    text = config_text(PARSER, argparse.Namespace(**parsed), ())
    again = tomllib.loads(text)
    assert given_arguments(PARSER, arguments_of(PARSER, again, "there")) == chosen


def test_dashes_or_underscores_and_none_leaves_out():
    assert arguments_of(PARSER, {"batch-size": 4, "batch_size": 5, "out": None}, "x") == [
        "--batch-size=4",
        "--batch-size=5",
    ]
    assert arguments_of(PARSER, {"mirror": False, "resume": False, "scale-range": (1, 2)}, "x") == [
        "--no-mirror",
        "--scale-range",
        "1",
        "2",
    ]


@pytest.mark.parametrize(
    ("chosen", "message"),
    [
        ({"widht": 0.25}, r"^here: there is no option 'widht'; did you mean 'width'\?$"),
        ({"zzzzzz": 1}, "there is no option 'zzzzzz'; there are data, dataset, limit"),
        ({"config": "other.toml"}, "there is no option 'config'"),
        ({"help": True}, "there is no option 'help'"),
        ({"no-mirror": True}, r"there is no option 'no-mirror'; did you mean 'mirror'\?"),
        ({"train": {"lr": 1}}, r"\[train\] is a table; write all options at the top"),
        ({"lr": "fast"}, "^here: argument --lr: fast: expected a number above 0"),
        ({"lr": math.inf}, "argument --lr: inf: expected a number above 0"),
        ({"lr": [0.1, 0.2]}, r"here: lr takes one value, got \[0\.1, 0\.2\]"),
        ({"lr": True}, "here: lr must be text or a number, got True"),
        ({"crop-size": 1.5}, "argument --crop-size: 1.5: expected a whole number"),
        ({"mirror": "yes"}, "here: mirror must be true or false, got 'yes'"),
        ({"scale-range": 0.5}, "argument --scale-range: expected 2 arguments"),
        ({"scale-range": []}, "argument --scale-range: expected 2 arguments"),
        ({"atrous-rates": ["3", "--resume"]}, "here: atrous-rates: --resume is not a value"),
        ({"epochs": 3, "steps": 3}, "argument --steps: not allowed with argument --epochs"),
        ({"seed": 16**5000}, "here: seed: Exceeds the limit"),
        ({"model": "deeplabv9"}, "here: argument --model: unknown model 'deeplabv9'"),
    ],
)
def test_what_the_parser_would_refuse_is_refused(chosen, message):
    with pytest.raises(UsageError, match=message):
        arguments_of(PARSER, chosen, "here")
    assert not PARSER.raises


def test_the_command_line_wins(tmp_path):
    path = tmp_path / "options.toml"
    path.write_text("\ufefflr = 0.5 # a rate\nepochs = 7\nmirror = false\nscale-range = [0.5, 1]\n", encoding="utf-8")
    parsed = PARSER.parse_args(with_config(PARSER, ["--config", str(path), "--lr", "0.2", "--steps", "9", "--mirror"]))
    assert (parsed.lr, parsed.epochs, parsed.steps, parsed.mirror) == (0.2, None, 9, True)
    assert parsed.scale_range == [0.5, 1.0] and parsed.config == str(path)
    assert with_config(PARSER, ["--lr", "3"]) == ["--lr", "3"]


HOSTILE = {
    "no TOML": b"lr: 0.1",
    "twice": b"lr = 1\nlr = 2",
    "not UTF-8": b"\xff\xfe\x00",
    "nested": b"lr = " + b"[" * 4_000,
    "nested tables": b"a = " + b"{a=" * 1_300,
    "digits": b"lr = " + b"9" * 4_050,
    "dots": b"\n".join(b".".join([b"a%d" % n] + [b"a"] * 2_000) + b" = 1" for n in range(3)),
    "date": b"lr = 1979-05-27",
    "hexadecimal": b"seed = 0x" + b"f" * 4_050,
    "a long line": b"lr = 1 #" + b"-" * MAX_LINE,
    "many dots": b'label-map = "{' + b"." * (MAX_DOTS + 1) + b'}"',
    "too long": b"#\n" * MAX_BYTES,
    "zeros": b"\0" * 1000,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_cheaply(name, tmp_path):
    path = tmp_path / "options.toml"
    path.write_bytes(HOSTILE[name])
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(UsageError, match=r"options\.toml: ") as caught:
            with_config(PARSER, ["--config", str(path)])
        assert tracemalloc.get_traced_memory()[1] < 100e6
    finally:
        tracemalloc.stop()
    assert time.process_time() - began < 5 and len(str(caught.value)) < 5000


@given(st.binary(max_size=200) | st.text(string.printable, max_size=200).map(str.encode))
def test_any_bytes_are_options_or_a_usage_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("any") / "x.toml"
    path.write_bytes(data)
    try:
        arguments_of(PARSER, read_toml(path), path)
    except UsageError:
        pass


@pytest.mark.parametrize("path", ["nowhere.toml", ".", "a\0b"])
def test_a_file_that_is_not_there_is_named(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"^--config .*: it cannot be read \(.*\); give the name of a \.toml file"):
        with_config(PARSER, ["--config", path])


def test_files_are_named_by_full_paths_and_a_start_is_left_out(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "weights.npz").touch()
    args = PARSER.parse_args(["--init-from", "weights.npz", "--out", "x", "--threads", "1", "--stop-after", "3"])
    found = tomllib.loads(config_text(PARSER, args, NOT_REPEATED))
    assert found["init-from"] == str(tmp_path / "weights.npz")
    assert not {"out", "threads", "stop-after", "resume", "config", "find-lr", "dry-run"} & found.keys()


def test_a_label_map_of_all_values_goes_through_a_file(tmp_path):
    """A run keeps the text of its label map: no name of a file, and one long line."""
    text = json.dumps({str(value): f"a class with a long name, {value % 21}" for value in range(256)})
    chosen = PARSER.parse_args(["--label-map", text, "--class-weights", json.dumps([0.5] * 256)])
    path = tmp_path / "config.toml"
    path.write_text(config_text(PARSER, chosen, {"data"}))
    again = PARSER.parse_args(with_config(PARSER, ["--config", str(path)]))
    assert again.label_map == chosen.label_map and json.loads(again.label_map) == json.loads(text)
    assert again.class_weights == chosen.class_weights
