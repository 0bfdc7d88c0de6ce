"""Runs that are quick to train, and what two equal ones have in common."""

import json

import numpy as np

from minideeplab.weights import Checkpoint

FILES = {
    "args.json",
    "data.json",
    "config.toml",
    "metrics.csv",
    "metrics.jsonl",
    "curves.png",
    "last.npz",
    "best.npz",
    "per_class.csv",
    "confusion.png",
    "samples",
    "log.txt",
    "report",
    "report.html",
}


def command(data, out, *more, length=("--epochs", 2)):
    """Arguments of a run of two epochs of two steps with a network that is quick to train and to write."""
    sizes = ["--crop-size", "65", "--batch-size", "2", "--width", "0.125", "--head-width", "16"]
    return ["--data", str(data), *sizes, *map(str, length), "--out", str(out), *map(str, more)]


def without_times(path):
    """metrics.csv or metrics.jsonl without what a clock decides."""
    if path.suffix == ".csv":
        return [line.split(",")[:-2] for line in path.read_text().splitlines()]
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [{key: value for key, value in row.items() if key != "seconds"} for row in rows]


def assert_same_run(one, other):
    for name in ("last.npz", "best.npz"):
        first, second = Checkpoint.load(one / name), Checkpoint.load(other / name)
        for part in ("state", "optimiser", "trained"):
            arrays, others = getattr(first, part), getattr(second, part)
            assert arrays.keys() == others.keys()
            for key in arrays:
                np.testing.assert_array_equal(arrays[key], others[key], err_msg=f"{name}: {key}")
    for name in ("metrics.csv", "metrics.jsonl"):
        assert without_times(one / name) == without_times(other / name)
