"""The page of pictures before and after a dense CRF."""

from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from strategies import SIMULATED

from minideeplab import figures, models
from minideeplab.crf import gallery
from minideeplab.data import SHAPE_CLASSES, voc_colour_map, write_synthetic
from minideeplab.weights import Checkpoint

pytestmark = pytest.mark.skipif(SIMULATED, reason="test_cuda.py has the tests of the simulator")


def test_a_page_of_a_data_set(tmp_path, capsys):
    write_synthetic(tmp_path / "shapes", train=1, val=3)
    model = models.build("deeplabv3plus", num_classes=len(SHAPE_CLASSES), width=0.125, head_width=16)
    checkpoint = tmp_path / "best.npz"
    Checkpoint(model.config, model.state_dict(), list(SHAPE_CLASSES), voc_colour_map()).save(checkpoint)
    out = tmp_path / "page.png"
    command = ["--checkpoint", str(checkpoint), "--data", str(tmp_path / "shapes"), "--out", str(out), "--rows", "2"]
    assert gallery.main(command) == 0
    assert "--crf deeplab-v2: mIoU " in capsys.readouterr().out
    assert min(Image.open(out).size) > 500
    with pytest.raises(SystemExit) as stopped:
        gallery.main([*command, "--crf", "none"])
    assert stopped.value.code == 2 and "unknown preset 'none'" in capsys.readouterr().err


def test_the_last_column_says_what_changed(tmp_path):
    """Of a picture of five bands: nothing changed, now right, now wrong, still wrong, void."""
    bands = np.array([[0, 1, 2, 0, 255], [0, 2, 2, 1, 1], [0, 1, 1, 2, 2]], np.uint8)
    truth, before, after = bands.repeat(40, axis=1)[:, None].repeat(40, axis=1)
    image = np.zeros((40, 200, 3), np.uint8)
    rows = [(image, truth, before, after, "a note")]
    classes = SimpleNamespace(class_names=("a", "b", "c"), palette=voc_colour_map(), ignore_index=255)
    figures.save_refinements(tmp_path / "page.png", rows, classes, "title")
    page = np.asarray(Image.open(tmp_path / "page.png").convert("RGB"))
    right = page[:, -page.shape[1] // 5 :]
    shown = [tuple(band) for band in right[page.shape[0] // 3 : page.shape[0] // 2].reshape(-1, 3)]
    for colour in (figures.colours.RIGHT, figures.colours.WRONG, figures.colours.OTHER, figures.colours.VOID):
        assert colour in shown
    left = page[:, : page.shape[1] * 3 // 4].reshape(-1, 3)[: page.shape[1] * page.shape[0] // 2]
    assert not (left == figures.colours.RIGHT).all(axis=1).any()


@pytest.mark.parametrize(("count", "expected"), [(1, "a"), (2, "ae"), (3, "ace"), (5, "abcde"), (9, "abcde")])
def test_the_first_and_the_last_are_on_the_page(count, expected):
    assert "".join(gallery.spread_out(list("abcde"), count)) == expected
