"""Mutated files end in the errors that each reader documents: soon, in little memory, and without running code."""

import pickle
import random
import re
import sys

import numpy as np
import pytest
from fuzz.harness import BYTES, Reader, fuzz, tidy
from fuzz.mutations import mutate
from fuzz.readers import readers

SEED = 20260101
READERS = readers()


@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name.replace(" ", "-"))
def test_mutated_files(reader, tmp_path):
    outcome = fuzz(reader, tmp_path, 250, SEED)
    assert not outcome.faults, "\n".join(outcome.faults)
    assert outcome.read + outcome.refused == 250


@pytest.mark.long
@pytest.mark.parametrize("reader", READERS, ids=lambda reader: reader.name.replace(" ", "-"))
def test_a_hundred_thousand_mutated_files(reader, tmp_path):
    outcome = fuzz(reader, tmp_path, -(-100_000 // len(READERS)), SEED + 1)
    print(outcome)
    assert not outcome.faults, "\n".join(outcome.faults)


# ---------------------------------------------------------------- the harness itself


def faults_of(read, tmp_path, count=3):
    return fuzz(Reader("r", [b"some bytes"], read, (ValueError,)), tmp_path, count, 0, tmp_path / "kept").faults


def after_the_seed(act):
    """A reader that reads the good file, and acts on any other."""
    return lambda path: None if path.read_bytes() == b"some bytes" else act(path)


def hold(size):
    np.ones(size, np.uint8)


def slow():
    sum(range(10**8))


def shout():
    raise ValueError("\x1b[31m")


def whisper():
    raise ValueError("")


def load_a_pickle():
    pickle.loads(b"cos\ngetpid\n(tR.")


@pytest.mark.parametrize(
    ("act", "message"),
    [
        (lambda: [][0], r"IndexError: list index out of range \(test_fuzz"),
        (lambda: sys.exit(3), "SystemExit: 3"),
        (shout, "control characters"),
        (whisper, "a message of 0 characters"),
        (load_a_pickle, "code of the file was run: pickle.find_class"),
        (slow, r"\d\.\d\d s$"),
        pytest.param(
            lambda: hold(int(2 * BYTES)),
            r"\d+ MB$",
            marks=pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc"),
        ),
    ],
)
def test_the_harness_finds_faults(tmp_path, act, message):
    faults = faults_of(after_the_seed(lambda path: act()), tmp_path, count=1)
    assert len(faults) == 1
    assert re.search(message, faults[0]), faults[0]
    assert len(list((tmp_path / "kept").iterdir())) == 1
    tidy()


def test_documented_errors_are_no_faults(tmp_path):
    def refuse(path):
        raise ValueError("no such format; give another file")

    assert not faults_of(after_the_seed(refuse), tmp_path)


def test_mutations_are_the_same_for_a_seed():
    for reader in READERS:
        first, again = (mutate(reader.seeds[0], reader.seeds[-1], random.Random(5)) for _ in range(2))
        assert first == again
