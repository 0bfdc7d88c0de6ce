"""The command that refines one image: files, options, exit codes."""

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image
from places import ROOT
from png_files import write_png
from refine_cases import IMAGE, LOGITS, PROBABILITIES, TRUTH, H, W, noisy_labels
from strategies import SIMULATED

from minideeplab.crf import PRESETS, preset_of, refine
from minideeplab.crf.__main__ import main
from minideeplab.data import read_mask, voc_colour_map, write_mask

pytestmark = pytest.mark.skipif(SIMULATED, reason="test_cuda.py has the tests of the simulator")


@pytest.fixture
def files(tmp_path):
    """The photograph, a mask with a palette of its own, probabilities with the labels last and first."""
    Image.fromarray(IMAGE).save(tmp_path / "photo.png")
    write_mask(tmp_path / "mask.png", noisy_labels(), voc_colour_map()[::-1])
    np.save(tmp_path / "last.npy", PROBABILITIES)
    np.save(tmp_path / "first.npy", PROBABILITIES.transpose(2, 0, 1))
    np.savez(tmp_path / "one.npz", scores=LOGITS)
    np.savez(tmp_path / "two.npz", scores=LOGITS, more=LOGITS)
    return tmp_path


def run(folder, *arguments, out="out.png"):
    return main(["--image", str(folder / "photo.png"), "--out", str(folder / out), *map(str, arguments)])


def test_a_mask_becomes_a_mask_with_its_palette(files, capsys):
    assert run(files, "--labels", files / "mask.png") == 0
    refined = refine(noisy_labels(), IMAGE)
    np.testing.assert_array_equal(read_mask(files / "out.png"), refined)
    with Image.open(files / "out.png") as mask:
        np.testing.assert_array_equal(np.reshape(mask.getpalette(), (256, 3)), voc_colour_map()[::-1])
    changed = 100 * (refined != noisy_labels()).mean()
    assert f"deeplab-v2: {changed:.2f} % of {H * W} pixels changed" in capsys.readouterr().out


@pytest.mark.parametrize("depth", [2, 4])
def test_the_samples_of_a_packed_grey_mask_are_its_labels(files, depth):
    write_png(files / "grey.png", noisy_labels() + 2, depth)
    assert run(files, "--labels", files / "grey.png") == 0
    np.testing.assert_array_equal(read_mask(files / "out.png"), refine(noisy_labels() + 2, IMAGE))


@pytest.mark.parametrize("name", ["last.npy", "first.npy", "one.npz"])
def test_scores_become_probabilities_or_labels(files, name):
    scores = {"last.npy": PROBABILITIES, "first.npy": PROBABILITIES.transpose(2, 0, 1), "one.npz": LOGITS}[name]
    expected = refine(scores, IMAGE)
    assert run(files, "--probabilities", files / name, out="new/out.npy") == 0
    np.testing.assert_array_equal(np.load(files / "new" / "out.npy"), expected)
    assert run(files, "--probabilities", files / name) == 0
    np.testing.assert_array_equal(read_mask(files / "out.png"), expected.argmax(axis=0 if name == "first.npy" else 2))


def test_options_are_the_arguments_of_refine(files):
    options = (
        "--preset pydensecrf --bilateral-weight 2 --sxy 20 --srgb 30 --smooth-weight 1 --smooth-sxy 2 --kind logits"
    )
    options += " --normalisation none --iterations 3 --smoothness separable --damping 0.2"
    assert run(files, "--probabilities", files / "one.npz", *options.split(), out="out.npy") == 0
    expected = refine(
        LOGITS, IMAGE, "pydensecrf", kind="logits", bilateral_weight=2, sxy=20, srgb=30, smooth_weight=1, smooth_sxy=2,
        normalisation="none", iterations=3, smoothness="separable", damping=0.2,
    )  # fmt: skip
    np.testing.assert_array_equal(np.load(files / "out.npy"), expected)
    three = np.where(np.arange(W) < 5, 2, noisy_labels()).astype(np.uint8)
    write_mask(files / "three.png", three, None)
    for option, value in (("confidence", 0.99), ("unknown", 1)):
        assert run(files, "--labels", files / "three.png", "--srgb", 13, f"--{option}", value) == 0
        expected = refine(three, IMAGE, srgb=13, **{option: value})
        np.testing.assert_array_equal(read_mask(files / "out.png"), expected)
        assert (expected != refine(three, IMAGE, srgb=13)).any()


def test_a_warning_is_a_line_that_names_the_photograph(files, capsys):
    assert run(files, "--labels", files / "mask.png", "--srgb", 200) == 0
    (line,) = (line for line in capsys.readouterr().err.splitlines() if "warning" in line.lower())
    assert line.startswith("warning: no edge will be seen: the image's values span only ")
    assert line.endswith(", and srgb is 200, which is meant for 0..255; scale the image or srgb")


def test_the_report_has_a_line_for_each_iteration(files, capsys):
    assert run(files, "--labels", files / "mask.png", "--iterations", 4, "--report") == 0
    steps = []
    refine(noisy_labels(), IMAGE, iterations=4, report=steps.append)
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("step ")]
    assert [line.split()[1] for line in lines] == ["1", "2", "3", "4"][: len(steps)]
    for line, step in zip(lines, steps, strict=True):
        assert f"free energy {step.free_energy:14.2f}" in line and line.endswith(
            f"labels changed {step.changed_labels}"
        )
    assert run(files, "--labels", files / "mask.png") == 0
    assert "step " not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--labels", "none.png"], 3, "none.png: no such file"),
        (["--probabilities", "none.npy"], 3, "none.npy: no such file"),
        (["--probabilities", "photo.png"], 3, "photo.png: it starts with"),
        (["--probabilities", "two.npz"], 3, "two.npz: holds the arrays 'scores', 'more'; save the scores alone"),
        (
            ["--probabilities", "small.npy"],
            3,
            "small.npy with FOLDER/photo.png: scores of shape (17, 23, 4) do not fit",
        ),
        (
            ["--probabilities", "one_channel.npy"],
            3,
            "one_channel.npy with FOLDER/photo.png: scores of shape (18, 23, 1)",
        ),
        (["--probabilities", "one_channel.npy"], 3, "give (1 - p, p) of probabilities p, or (0, x) of logits x"),
        (["--labels", "small.png"], 3, "labels of shape (17, 23) do not fit an image of 18 x 23"),
        (["--labels", "mask.png", "--image", "none.jpg"], 3, "none.jpg: no such file"),
        (["--labels", "mask.png", "--out", "out.npy"], 2, "labels in, labels out; give the name of a .png file"),
        (
            ["--labels", "mask.png", "--out", "out.jpg"],
            2,
            "out.jpg: give the name of a .png file, or of a .npy",
        ),
        (["--labels", "mask.png", "--threads", "9999"], 2, "--threads 9999"),
    ],
)
def test_files_and_arguments_that_cannot_be_used(files, capsys, arguments, code, message):
    np.save(files / "small.npy", PROBABILITIES[1:])
    np.save(files / "one_channel.npy", PROBABILITIES[..., :1])
    write_mask(files / "small.png", TRUTH[1:])
    places = [str(files / a) if "." in a else a for a in arguments]
    assert run(files, *places) == code
    assert message.replace("FOLDER", str(files)) in capsys.readouterr().err
    assert not list(files.glob("out.*"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "one of the arguments --probabilities --labels is required"),
        (["--labels", "x.png", "--probabilities", "x.npy"], "not allowed with"),
        (["--labels", "x.png", "--preset", "deeplab"], "deeplab-v2"),
        (["--labels", "x.png", "--sxy", "0"], "expected a number above 0"),
        (
            ["--labels", "x.png", "--normalization", "after"],
            "unknown option --normalization; did you mean --normalisation?",
        ),
        (
            ["--labels", "x.png", "--preset", "deeplab-v2,normalization=after"],
            "unknown setting normalization; there are",
        ),
        (["--labels", "x.png", "--damping", "1"], "expected a number, 0 or more and below 1"),
    ],
)
def test_usage_errors_exit_with_2(tmp_path, capsys, arguments, message):
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, *arguments)
    assert message in capsys.readouterr().err


def test_help_has_an_example_that_runs(files, capsys, monkeypatch):
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    text = capsys.readouterr().out
    examples = [line.split()[3:] for line in text.splitlines() if line.startswith("  python -m minideeplab.crf --")]
    assert len(examples) == 2
    Image.fromarray(IMAGE).save(files / "photo.jpg")
    np.save(files / "scores.npy", PROBABILITIES)
    monkeypatch.chdir(files)
    for arguments in examples:
        assert main(arguments) == 0


def test_the_module_runs():
    root = ROOT
    done = subprocess.run([sys.executable, "-m", "minideeplab.crf"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 2 and "--image" in done.stderr


def test_smoothness_of_two_standard_deviations_is_horizontal_first_either_way():
    scores = np.random.default_rng(0).standard_normal((40, 50, 3))
    image = np.zeros((40, 50, 3), np.uint8)
    settings = {"kind": "logits", "bilateral_weight": 0, "smooth_sxy": (1.0, 6.0)}
    by_lattice, by_convolution = (
        refine(scores, image, smoothness=each, **settings).argmax(axis=2) for each in ("lattice", "separable")
    )
    assert (by_lattice == by_convolution).mean() > 0.95


def test_a_mask_cannot_hold_more_than_256_labels(tmp_path, capsys):
    scores = np.zeros((8, 9, 300), np.float32)
    scores[:, :, 299] = 9
    np.save(tmp_path / "scores.npy", scores)
    Image.fromarray(np.zeros((8, 9, 3), np.uint8)).save(tmp_path / "image.png")
    arguments = ["--image", str(tmp_path / "image.png"), "--probabilities", str(tmp_path / "scores.npy")]
    assert main([*arguments, "--out", str(tmp_path / "mask.png")]) == 2
    assert "a mask holds labels up to 255, these go to 299" in capsys.readouterr().err
    assert main([*arguments, "--out", str(tmp_path / "REFINED.NPY")]) == 0
    assert np.load(tmp_path / "REFINED.NPY").shape == scores.shape


def test_settings_in_the_name_of_the_preset_and_as_options(files):
    """Options come after: they change what the name says."""
    command = ["--probabilities", files / "last.npy", "--preset", "pydensecrf,sxy=20,bilateral-weight=2,iterations=3"]
    assert run(files, *command, out="out.npy") == 0
    expected = refine(PROBABILITIES, IMAGE, "pydensecrf", sxy=20, bilateral_weight=2, iterations=3)
    np.testing.assert_array_equal(np.load(files / "out.npy"), expected)
    assert run(files, *command, "--sxy", 3, out="out.npy") == 0
    expected = refine(PROBABILITIES, IMAGE, preset_of("pydensecrf", sxy=3, bilateral_weight=2), iterations=3)
    np.testing.assert_array_equal(np.load(files / "out.npy"), expected)
    with pytest.raises(ValueError, match="unknown setting weight"):
        preset_of(PRESETS["pydensecrf"], weight=2)
