"""The generated set: reproducible, complete, in the VOC layout, and not solvable by colour."""

import os

import numpy as np
import pytest

from minideeplab.data import SHAPE_CLASSES, open_dataset, synthetic, voc_colour_map, write_synthetic
from minideeplab.errors import DataError


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    root = tmp_path_factory.mktemp("shapes")
    write_synthetic(root, train=60, val=30)
    return root


def test_a_sample_depends_on_seed_and_index_alone():
    image, mask = synthetic.draw_sample(3, 7)
    synthetic.draw_sample(3, 8)
    again = synthetic.draw_sample(3, 7)
    np.testing.assert_array_equal(image, again[0])
    np.testing.assert_array_equal(mask, again[1])
    for other in (synthetic.draw_sample(3, 8), synthetic.draw_sample(4, 7)):
        assert other[0].shape != image.shape or not np.array_equal(other[0], image)


def test_layout_names_and_sizes(small_set):
    train, val = (open_dataset(small_set, split=split) for split in ("train", "val"))
    assert (len(train), len(val)) == (60, 30) and not set(train.ids) & set(val.ids)
    assert train.class_names == SHAPE_CLASSES and train.num_classes == 7
    np.testing.assert_array_equal(train.palette, voc_colour_map())
    train.check()
    val.check()
    sizes = np.array([train.mask(i).shape for i in range(len(train))])
    assert sizes.min() >= 120 and sizes.max() <= 160 and len(np.unique(sizes)) > 20


def test_the_generated_set_is_opened_by_its_word_alone(small_set, monkeypatch):
    monkeypatch.setattr(synthetic, "synthetic_root", lambda: small_set)
    for dataset in ("auto", "synthetic"):
        ds = open_dataset("synthetic", dataset)
        assert (ds.name, ds.class_names, ds.root) == ("synthetic", SHAPE_CLASSES, small_set)
    with pytest.raises(DataError, match="the generated set has no folder of yours; say 'synthetic'"):
        open_dataset(small_set, "synthetic")


def test_all_classes_in_both_splits_and_several_objects_in_a_picture(small_set):
    for split in ("train", "val"):
        ds = open_dataset(small_set, split=split)
        counts = sum(np.bincount(ds.mask(i).ravel(), minlength=256) for i in range(len(ds)))
        shares = counts / counts.sum()
        assert (shares[1:7] > 0.005).all() and 0.5 < shares[0] < 0.9 and 0.02 < shares[255] < 0.15
        assert counts[7:255].sum() == 0


def test_void_lies_between_every_object_and_what_is_beside_it(small_set):
    ds = open_dataset(small_set)
    for i in range(20):
        mask = ds.mask(i)
        for a, b in ((mask[:, 1:], mask[:, :-1]), (mask[1:], mask[:-1])):
            assert ((a == b) | (a == 255) | (b == 255)).all()
    widths = [run for i in range(20) for run in _runs(ds.mask(i) == 255)]  # along rows, at any angle
    assert 2 <= np.median(widths) <= 4


def test_image_edges_lie_under_the_void_border():
    """Across an outline the colour changes within the void: the clean pixels on its two sides differ."""
    contrasts = []
    for index in range(20):
        image, mask = synthetic.draw_sample(0, index)
        for row, line in zip(image.astype(float), mask.astype(int), strict=True):
            (edges,) = np.nonzero((line[:-5] != 255) & (line[1:-4] == 255) & (line[5:] != 255))
            edges = edges[line[edges] != line[edges + 5]]
            contrasts += np.linalg.norm(row[edges] - row[edges + 5], axis=1).tolist()
    assert len(contrasts) > 500
    assert np.percentile(contrasts, 5) > 50


def test_colour_alone_does_not_solve_it(small_set):
    """The most frequent class of each colour (16 levels per channel) stays far below what shapes allow."""
    train, val = (open_dataset(small_set, split=split) for split in ("train", "val"))
    votes = np.zeros((16**3, 7), np.int64)
    for i in range(len(train)):
        image, mask = train.sample(i)
        known = mask != 255
        np.add.at(votes, (_colour_bins(image)[known], mask[known]), 1)
    confusion = np.zeros((7, 7), np.int64)
    for i in range(len(val)):
        image, mask = val.sample(i)
        known = mask != 255
        np.add.at(confusion, (mask[known], votes.argmax(axis=1)[_colour_bins(image)[known]]), 1)
    hits = np.diag(confusion)
    iou = hits / (confusion.sum(axis=0) + confusion.sum(axis=1) - hits)
    assert iou.mean() < 0.25
    assert iou[0] > 0.3  # the classifier works: it does find the ground, which is most of a picture


def test_root_is_written_once_and_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic.write_synthetic, "__defaults__", (3, 2, 0))
    monkeypatch.setenv("MINIDEEPLAB_DATA_DIR", str(tmp_path / "cache"))
    ds = open_dataset("synthetic", split="val")
    assert ds.name == "synthetic" and len(ds) == 2
    assert ds.root.parent == tmp_path / "cache"
    assert os.listdir(ds.root.parent) == [f"synthetic-v{synthetic.VERSION}"]  # no draft stays behind
    before = ds.mask_path(0).stat().st_mtime_ns
    assert open_dataset("synthetic", split="val").mask_path(0).stat().st_mtime_ns == before


def test_unwritable_cache_falls_back_to_the_temporary_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(synthetic.write_synthetic, "__defaults__", (3, 2, 0))
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINIDEEPLAB_DATA_DIR", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(synthetic.tempfile, "tempdir", str(tmp_path))
    with pytest.warns(UserWarning, match="cache cannot be written .*: the set goes to"):
        root = synthetic.synthetic_root()
    assert root == tmp_path / f"minideeplab{synthetic._user()}" / f"synthetic-v{synthetic.VERSION}"
    assert synthetic.synthetic_root() == root  # as it stands there now


@pytest.mark.skipif(not hasattr(os, "getuid"), reason="the temporary folder is the user's own")
@pytest.mark.parametrize("planted", ["writable", "link", "of another user"])
def test_a_set_that_another_user_may_have_planted_is_not_taken(tmp_path, monkeypatch, planted):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MINIDEEPLAB_DATA_DIR", str(tmp_path / "file" / "cache"))
    monkeypatch.setattr(synthetic.tempfile, "tempdir", str(tmp_path))
    own = tmp_path / f"minideeplab{synthetic._user()}"
    folder = own if planted != "link" else tmp_path / "elsewhere"
    (folder / f"synthetic-v{synthetic.VERSION}").mkdir(parents=True)
    if planted == "writable":
        own.chmod(0o777)
    elif planted == "link":
        own.symlink_to(folder)
    else:
        monkeypatch.setattr(os, "getuid", lambda: own.stat().st_uid + 1)
        monkeypatch.setattr(synthetic, "_user", lambda: f"-{own.stat().st_uid}")
    with (
        pytest.warns(UserWarning, match="cannot be written"),
        pytest.raises(DataError, match="other users can write to this folder; remove it, or say in MINIDEEPLAB_DATA"),
    ):
        synthetic.synthetic_root()


def test_a_failure_while_writing_leaves_nothing(tmp_path, monkeypatch):
    def fail(root):
        raise OSError("disk full")

    monkeypatch.setattr(synthetic, "write_synthetic", fail)
    monkeypatch.setattr(synthetic.tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()
    monkeypatch.setenv("MINIDEEPLAB_DATA_DIR", str(tmp_path / "cache"))
    with pytest.warns(UserWarning, match="cannot be written"), pytest.raises(OSError, match="disk full"):
        synthetic.synthetic_root()
    assert os.listdir(tmp_path / "cache") == os.listdir(tmp_path / f"tmp/minideeplab{synthetic._user()}") == []


def test_losing_a_race_against_another_process_is_fine(tmp_path, monkeypatch):
    def other_was_first(root):
        (tmp_path / f"synthetic-v{synthetic.VERSION}" / "JPEGImages").mkdir(parents=True)
        (root / "ours").write_text("")

    monkeypatch.setattr(synthetic, "write_synthetic", other_was_first)
    monkeypatch.setenv("MINIDEEPLAB_DATA_DIR", str(tmp_path))
    root = synthetic.synthetic_root()
    assert os.listdir(tmp_path) == [root.name] and os.listdir(root) == ["JPEGImages"]


def _runs(where):
    """Lengths of the runs of True along the rows."""
    padded = np.pad(where, ((0, 0), (1, 1))).astype(np.int8)
    steps = np.diff(padded, axis=1)
    return (np.nonzero(steps == -1)[1] - np.nonzero(steps == 1)[1]).tolist()


def _colour_bins(image):
    r, g, b = np.moveaxis(image.astype(np.int64) // 16, -1, 0)
    return (r * 16 + g) * 16 + b
