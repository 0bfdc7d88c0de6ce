"""evaluate, predict, crf.search and validations on several ranks: what they write and print is that of one process."""

import functools
import re
import subprocess
import sys

import mpi_runs
import numpy as np
import pytest
import validations
from PIL import Image
from places import ROOT
from strategies import SIMULATED
from voc_folder import list_ids, make_set

from minideeplab import models
from minideeplab.data import SHAPE_CLASSES, voc_colour_map
from minideeplab.distributed import ALONE
from minideeplab.evaluation import Predictor
from minideeplab.weights import Checkpoint

pytestmark = [mpi_runs.needs_mpi, pytest.mark.skipif(SIMULATED, reason="test_cuda.py has the tests of the simulator")]
IDS = tuple("abcde")
NO_HANG = 60  # seconds, of which a busy machine needs 15: who waits for a rank that has failed waits for ever
ON_RANKS = pytest.mark.parametrize("ranks", [2, 3])
# One process runs the command, and must not even look for MPI.
ALONE_CODE = """\
import importlib, sys
code = importlib.import_module(sys.argv[1]).main(sys.argv[2:])
assert "mpi4py" not in sys.modules
sys.exit(code)"""


def noise(seed, *size):
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder with a data set of five images, a checkpoint whose labels vary, and photographs, one of them bad."""
    root = tmp_path_factory.mktemp("shared")
    rng = np.random.default_rng(0)
    masks = rng.integers(0, 7, (len(IDS), 5, 5)).repeat(13, axis=1).repeat(13, axis=2)
    make_set(root / "data", IDS, SHAPE_CLASSES, masks=masks, splits=("val",))
    for number, name in enumerate(IDS):
        Image.fromarray(noise(number, 65, 65)).save(root / f"data/JPEGImages/{name}.png")
    (root / "photos").mkdir()
    for bad in ("1.jpg", "z.jpg"):  # the second and the last of six: of different ranks
        (root / "photos" / bad).write_text("no image")
    for number in range(4):
        Image.fromarray(noise(number, 65, 60 + number)).save(root / f"photos/{number}.png")
    model = models.build("deeplabv3plus", num_classes=7, width=0.125, head_width=16).eval()
    logits = Predictor(model)(noise(9, 65, 65)).scores.numpy()[0]
    mean, deviation, head = logits.mean(axis=(0, 1)), logits.std(axis=(0, 1)), model.head
    head.weight.data, head.bias.data = head.weight.numpy() / deviation, (head.bias.numpy() - mean) / deviation
    Checkpoint(model.config, model.state_dict(), list(SHAPE_CLASSES), voc_colour_map()).save(root / "best.npz")
    return root


def alone(*arguments):
    """(exit code, stdout, stderr) of a command in one process, without a launcher."""
    command = [sys.executable, "-c", ALONE_CODE, *map(str, arguments)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=mpi_runs.LONGEST)
    return done.returncode, done.stdout, done.stderr


def said(text, ranks=1):
    """What was printed, without times, the number of ranks, and what is said on a slow machine alone."""
    lines = [line for line in text.splitlines() if not re.search(r"^compiling kernels|  \d+/\d+  ", line)]
    text = "\n".join(lines).replace(f"{ranks} ranks of 1 thread", "1 thread")
    return re.sub(r"\d+\.\d+ s an image", "T s an image", text)


def files(folder):
    """Name -> bytes of all files below a folder, which is removed from its place."""
    found = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    folder.rename(folder.with_name(f"{folder.name}-{len(list(folder.parent.iterdir()))}"))
    return found


@functools.cache
def written_alone(place, *arguments):
    """(exit code, stdout, stderr, files) of a command that writes into PLACE/out, if anything."""
    (place / "out").mkdir()
    code, out, err = alone(*arguments)
    return code, said(out), said(err), files(place / "out")


def require_same(place, ranks, *arguments, code=0):
    """Runs a command alone and on ranks; returns what both have printed and written."""
    expected = written_alone(place, *arguments)
    (place / "out").mkdir()
    ended = mpi_runs.run(ranks, "-m", *arguments)
    assert (ended.code, said(ended.stdout, ranks), said(ended.stderr), files(place / "out")) == expected
    assert ended.code == code
    return expected


def evaluation(place, *options):
    data = "--checkpoint", place / "best.npz", "--data", place / "data"
    return "minideeplab.evaluate", *data, "--threads", 1, *options


@ON_RANKS
def test_every_number_and_picture_of_an_evaluation(place, ranks):
    out = place / "out"
    options = ("--trimap", 1, 5, "--boundary-f1", "--crf", "deeplab-v2", "--worst", 3, "--tile", 60)
    written = ("--json", out / "s.json", "--csv", out / "s.csv", "--plot", out / "curve.png")
    folders = ("--pictures", out / "pictures", "--submission", out / "handed-in")
    _, printed, _, found = require_same(place, ranks, *evaluation(place, *options, *written, *folders))
    assert "5 images of data" in printed and "without the CRF" in printed and "5 images were seen in tiles" in printed
    names = {"s.json", "s.csv", "s_images.csv", "curve.png"}
    names |= {f"pictures/{name}.png" for name in ("worst", "confusion", "trimap")}
    names |= {f"{part}/{name}.png" for part in ("pictures/samples", "handed-in") for name in IDS}
    assert set(found) == names


@ON_RANKS
def test_every_file_of_a_prediction_and_all_failures_in_one_message(place, ranks):
    out = place / "out"
    inputs = place / "photos", place / "photos/0.png", place / "missing.png"
    options = ("--checkpoint", place / "best.npz", "--out", out, "--csv", out / "a.csv", "--save-probabilities", 8)
    _, _, error, found = require_same(place, ranks, "minideeplab.predict", *inputs, *options, code=3)
    assert len(found) == 3 * 5 + 2 and "masks/0-2.png" in found
    message = error[error.index("error: ") :].splitlines()
    assert message[0] == "error: 3 inputs could not be segmented:" and len(message) == 4
    assert [name in line for name, line in zip(("1.jpg", "z.jpg", "missing.png"), message[1:], strict=True)] == [
        True
    ] * 3


@ON_RANKS
def test_the_settings_that_a_search_finds(place, ranks):
    data = "--checkpoint", place / "best.npz", "--data", place / "data", "--threads", 1
    grid = "--sxy", 20, 40, "--srgb", 5, "--bilateral-weight", 3, 4
    _, printed, _, _ = require_same(place, ranks, "minideeplab.crf.search", *data, *grid)
    assert "on 5 images" in printed and "best of 7: --crf deeplab-v2," in printed


def test_more_ranks_than_images(place):
    out = place / "out"
    options = "--limit", 1, "--json", out / "s.json", "--pictures", out / "p", "--boundary-f1", "--trimap", 2
    require_same(place, 3, *evaluation(place, *options))
    photo = place / "photos/2.png"
    require_same(place, 2, "minideeplab.predict", photo, "--checkpoint", place / "best.npz", "--out", out)
    data = "--checkpoint", place / "best.npz", "--data", place / "data", "--limit", 1
    grid = "--sxy", 20, "--srgb", 5, "--bilateral-weight", 3, "--rounds", 1
    require_same(place, 2, "minideeplab.crf.search", *data, *grid)


def test_a_picture_that_another_rank_cannot_draw_is_a_warning(place):
    picture = place / "pictures/samples/b.png"
    picture.mkdir(parents=True)
    ended = mpi_runs.run(2, "-m", *evaluation(place, "--pictures", place / "pictures"), check=0)
    assert ended.stderr.count(f"warning: {picture} could not be drawn") == 1
    assert (place / "pictures/samples/e.png").exists()


def test_a_bad_file_of_one_rank_ends_all(place):
    """Images without masks, of which nothing is read before: one rank alone meets the bad one."""
    list_ids(place / "data", *IDS, "bad", split="test")
    (place / "data/JPEGImages/bad.png").write_text("no image")
    for mask in (place / "data/SegmentationClass").iterdir():
        mask.rename(mask.with_suffix(".hidden"))
    options = evaluation(place, "--split", "test", "--submission", place / "handed-in")
    ended = mpi_runs.run(2, "-m", *options, check=3, timeout=NO_HANG)
    for mask in (place / "data/SegmentationClass").iterdir():
        mask.rename(mask.with_suffix(".png"))
    assert ended.stderr.count("error: ") == 1 and "bad.png: not a" in ended.stderr


def test_a_bad_file_that_all_ranks_find_is_told_once(place):
    list_ids(place / "data", "a", "c", "worse", split="bad")
    (place / "data/JPEGImages/worse.png").write_text("no image")
    (place / "data/SegmentationClass/worse.png").write_bytes((place / "data/SegmentationClass/a.png").read_bytes())
    ends = []
    for command in (evaluation(place), ("minideeplab.crf.search", *evaluation(place)[1:])):
        ended = mpi_runs.run(2, "-m", *command, "--split", "bad", check=3, timeout=NO_HANG)
        assert ended.stderr.count("worse.png") == 1
        ends.append(said(ended.stderr))
    assert ends[0] == said(alone(*evaluation(place), "--split", "bad")[2])


@pytest.mark.parametrize(("ranks", "count"), [(2, 20), (3, 2)])
def test_a_shared_validation_counts_and_keeps_what_one_process_does(tmp_path, ranks, count):
    counts = validations.validate_shared(ALONE, tmp_path / "one", count)
    everywhere = mpi_runs.on_ranks(ranks, validations.validate_shared, tmp_path / "shared", count)
    assert everywhere == [counts] * ranks
    kept = [files(tmp_path / name) for name in ("one", "shared")]
    assert kept[0] == kept[1] and len(kept[0]) == 3


def test_a_bad_file_in_a_validation_is_an_error_on_every_rank():
    ends = mpi_runs.on_ranks(2, validations.fail_shared)
    assert ends[1] == ("DataError", "picture 3 is damaged") and ends[0][0] == "ElsewhereError"
