"""`python -m minideeplab.export`: what it writes, what it says, and what it refuses before any work."""

import builtins
import re

import numpy as np
import pytest
from export_networks import checkpoint, narrow

from minideeplab.export import command, page
from minideeplab.export.command import main


@pytest.fixture
def saved(tmp_path):
    return checkpoint(tmp_path / "best.npz", narrow("deeplabv3plus"))


def without(monkeypatch, *names):
    """Makes packages impossible to import."""
    original = builtins.__import__

    def refusing(name, *args, **kwargs):
        if name.split(".")[0] in names:
            raise ImportError(f"No module named '{name}'")
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refusing)


@pytest.mark.parametrize(
    "options", [[], ["--dynamic", "--argmax"], ["--size", "40", "56"], ["--size", "48", "--argmax"]]
)
def test_what_it_prints_runs(saved, tmp_path, monkeypatch, capsys, options):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    from PIL import Image

    out = tmp_path / "new" / "net.onnx"
    assert main(["--checkpoint", str(saved), "--out", str(out), *options]) == 0
    said = capsys.readouterr().out
    assert float(re.search(r"onnxruntime \S+ logits differ by (\S+) of the largest at ", said)[1]) < 1e-4
    assert re.search(rf"{out}: \d\.\d MB, \d+ nodes, opset 17; image \(1, .*, 3\) uint8 -> ", said)
    snippet = said[said.index("import numpy") :]
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (50, 70, 3), np.uint8)).save(tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    names = {}
    exec(snippet, names)
    height, width = (40, 56) if "40" in options else (48, 48) if "48" in options else (50, 70)
    if "--argmax" in options:
        assert names["labels"].shape == (1, height, width) and names["labels"].dtype == np.uint8
    else:
        assert names["logits"].shape == (1, 3, height, width) and names["logits"].dtype == np.float32


def test_published_classifiers_are_taken(tmp_path, capsys):
    pytest.importorskip("onnx")
    weights = tmp_path / "resnet18.pth"
    assert main(["--checkpoint", str(checkpoint(tmp_path / "r.npz", narrow("resnet18"))), "--out", str(weights)]) == 0
    assert f"here: --checkpoint {weights}" in capsys.readouterr().out
    assert main(["--checkpoint", str(weights), "--out", str(tmp_path / "net.onnx")]) == 0
    said = capsys.readouterr()
    assert "-> logits (1, 3) float32" in said.out and "the file names no classes" in said.err


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ([], "nothing to write: give --out FILE, or --html FILE"),
        (["--out", "net.tflite"], "the suffix says the format: .onnx, .pth, .safetensors, .npz"),
        (["--out", "net.onnx", "--format", "npz"], "a file of --format npz is called ....npz"),
        (["--out", "net.pth", "--argmax", "--size", "40"], "--size and --argmax work only for .onnx files"),
        (
            ["--out", "net.onnx", "--size", "32", "99"],
            "--size 32 99: expected one side, or height and width, 33",
        ),
        (["--out", "net.onnx", "--size", "40", "40", "40"], "--size 40 40 40: expected one side"),
        (["--out", "net.onnx", "--runtime", "folder"], "--runtime folder is used only with --html FILE"),
        (["--out", "net.pth"], "--format torchvision: torchvision has no deeplabv3plus; it has torchvision-fcn"),
        (["--out", "best.npz"], "--out best.npz: that is the checkpoint itself; give another name"),
        (["--html", "page.html", "--format", "npz"], "--format npz needs --out FILE"),
        (["--html", "page.htm"], "--html page.htm: expected the name of a .html file"),
    ],
)
def test_what_makes_no_sense_is_refused(saved, tmp_path, monkeypatch, capsys, options, said):
    monkeypatch.chdir(tmp_path)
    before = saved.read_bytes()
    assert main(["--checkpoint", "best.npz", *options]) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["best.npz"] and saved.read_bytes() == before


def test_without_the_package_the_message_says_what_to_install(saved, tmp_path, monkeypatch, capsys):
    without(monkeypatch, "onnx")
    assert main(["--checkpoint", str(saved), "--out", str(tmp_path / "net.onnx")]) == 2
    assert 'pip install -e ".[onnx]"' in capsys.readouterr().err
    assert not (tmp_path / "net.onnx").exists()


def test_without_onnxruntime_the_file_is_written_and_the_reason_is_said(saved, tmp_path, monkeypatch, capsys):
    pytest.importorskip("onnx")
    without(monkeypatch, "onnxruntime")
    assert main(["--checkpoint", str(saved), "--out", str(tmp_path / "net.onnx")]) == 0
    said = capsys.readouterr().out
    assert "onnxruntime cannot be imported (No module named 'onnxruntime'): the file was checked by the" in said
    assert (tmp_path / "net.onnx").exists()


@pytest.mark.parametrize("difference", [0.002, float("nan")])
def test_nothing_is_written_where_onnxruntime_gives_something_else(saved, tmp_path, monkeypatch, capsys, difference):
    pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.setattr(command, "difference_in_onnxruntime", lambda *_: difference)
    assert main(["--checkpoint", str(saved), "--out", str(tmp_path / "net.onnx")]) == 1
    assert re.search(r"best.npz: in onnxruntime .* more than 0.001; nothing was written", capsys.readouterr().err)
    assert not (tmp_path / "net.onnx").exists()


def test_a_page_gets_labels_names_and_colours(saved, tmp_path, monkeypatch, capsys):
    onnx = pytest.importorskip("onnx")
    calls = []

    def write_page(path, data, *others, **options):
        calls.append((onnx.load_from_string(data), *others, options))
        (tmp_path / "demo.html").write_bytes(data)

    monkeypatch.setattr(command, "write_page", write_page)
    monkeypatch.setattr(command, "read_runtime", lambda folder: (calls.append(folder), "what runs it")[1])
    html, out = str(tmp_path / "demo.html"), tmp_path / "net.onnx"
    assert main(["--checkpoint", str(saved), "--html", html, "--out", str(out), "--size", "40", "50"]) == 0
    looked_up, (model, names, palette, *others) = calls
    assert [each.name for each in model.graph.output] == ["labels"]
    assert [each.name for each in onnx.load(out).graph.output] == ["logits"]
    assert names == ["class 0", "class 1", "class 2"] and palette.shape == (256, 3)
    assert looked_up is None
    assert others == [saved.parent.name, "what runs it", (40, 50), 33, None, {}]
    assert f"{html}: " in capsys.readouterr().out


@pytest.mark.parametrize(("limit", "said"), [("MAX_NETWORK", "MB, and a"), ("MAX_CLASSES", "3 classes, and")])
def test_what_a_page_cannot_show_is_refused_before_a_file_is_written(saved, tmp_path, monkeypatch, capsys, limit, said):
    pytest.importorskip("onnx")
    monkeypatch.setattr(page, limit, 2)
    monkeypatch.setattr(command, "read_runtime", lambda folder: None)
    html, out = str(tmp_path / "demo.html"), str(tmp_path / "net.onnx")
    assert main(["--checkpoint", str(saved), "--html", html, "--out", out]) == 2
    assert said in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["best.npz"]
