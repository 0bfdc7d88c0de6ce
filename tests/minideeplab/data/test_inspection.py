"""Each finding by a set that has it, a clean set without any, and the JSON."""

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from places import ROOT
from scenes import scene, write_scenes

from minideeplab.data import findings, open_dataset, write_mask
from minideeplab.data.inspection import CROP_SIZES, crop_size_for, inspect

VOID = 255


def samples(number, first=0, size=(60, 80)):
    return [scene(first + k, size) for k in range(number)]


@pytest.fixture
def clean(tmp_path):
    return write_scenes(tmp_path / "set", train=samples(4), val=samples(3, 50))


def inspected(root, *splits):
    return inspect([open_dataset(root, split=split) for split in splits or ("train", "val")])


def only(found, kind, level):
    """The one finding of a kind."""
    (each,) = [each for each in found.findings if each.kind == kind]
    assert each.level == level and each in getattr(found, f"{level}s")
    return each


def rewrite_mask(root, name, change):
    path = root / f"SegmentationClass/{name}.png"
    mask = np.array(Image.open(path))
    changed = change(mask)
    write_mask(path, np.ascontiguousarray(mask if changed is None else changed))


def test_a_clean_set_has_no_findings(clean):
    found = inspected(clean)
    assert found.findings == () and found.crop_size == 33
    facts = found.splits["train"]
    assert facts.usable.all() and facts.middle_sizes().tolist() == [[60, 80]] * 3
    assert facts.counts.pixels[:3].tolist() == open_dataset(clean).check().pixels[:3].tolist()


def test_bad_files_are_listed_and_hide_nothing(clean):
    path = clean / "JPEGImages/train0.png"
    path.write_bytes(path.read_bytes()[:300])
    (clean / "SegmentationClass/train0.png").unlink()
    rewrite_mask(clean, "train1", lambda mask: mask[:50])
    rewrite_mask(clean, "train2", lambda mask: np.full_like(mask, VOID))
    found = inspected(clean)
    assert [each.ids for each in found.problems] == [("train0",), ("train0",), ("train1",)]
    for each, message in zip(found.problems, ("cannot be decoded", "no such file", "50 rows and 80"), strict=True):
        assert re.search(message, each.text) and each.kind == "unreadable"
    assert only(found, "void_mask", "warning").ids == ("train2",)
    assert found.splits["train"].usable.tolist() == [False, False, True, True]
    assert len(found.splits["train"].counts.sizes) == 2


def test_splits_that_cannot_be_opened_are_problems(clean):
    found = inspect([open_dataset(clean)], {"val": "val.txt: no such split file"})
    problem = only(found, "split", "problem")
    assert (problem.text, problem.splits) == ("val.txt: no such split file", ("val",))


def test_a_set_without_labels_is_a_problem(clean):
    for k in range(4):
        rewrite_mask(clean, f"train{k}", lambda mask: np.full_like(mask, VOID))
    found = inspected(clean)
    assert re.search("no mask of split 'train' has a labelled pixel", only(found, "no_label", "problem").text)
    assert [each.kind for each in found.findings] == ["no_label"]


def test_much_void_and_masks_of_one_class(clean):
    for k in range(4):
        rewrite_mask(clean, f"train{k}", lambda mask: np.where(mask == 2, 1, VOID).astype(np.uint8))
    found = inspected(clean)
    assert re.search("of all pixels are void", only(found, "void", "warning").text)
    assert only(found, "one_class_mask", "warning").ids == tuple(f"train{k}" for k in range(4))


def test_few_masks_of_one_class_are_a_hint(clean):
    rewrite_mask(clean, "train3", np.zeros_like)
    assert only(inspected(clean), "one_class_mask", "hint").ids == ("train3",)


def test_classes_that_never_occur(clean):
    for k in range(4):
        rewrite_mask(clean, f"train{k}", lambda mask: np.minimum(mask, 1))
    for k in range(3):
        rewrite_mask(clean, f"val{k}", lambda mask: np.where(mask == 1, 0, mask).astype(np.uint8))
    train, val = [each for each in inspected(clean).warnings if each.kind == "absent_class"]
    assert re.search(r"cannot be learnt: 'grass' \(2\)", train.text) and "inspect_data" not in train.text
    assert re.search(r"'clay' \(1\); its mean IoU is one over 2 classes", val.text)
    assert val.fix == "move samples that show them into 'val'"


def test_rare_and_small_classes(clean):
    def a_few(mask):
        mask[mask == 2] = 1
        mask[:2, :2] = 2

    for k in range(4):
        rewrite_mask(clean, f"train{k}", a_few)
    found = inspected(clean, "train")
    assert re.search(r"'grass' \(4 pixels an image\)", only(found, "small_class", "hint").text)
    assert re.search(r"'grass' \(0.083 % of pixels, 4 images\)", only(found, "rare_class", "warning").text)


def test_a_class_in_hardly_any_of_many_images(tmp_path):
    many = samples(findings.MANY_IMAGES, size=(24, 24))
    for k, (_, mask) in enumerate(many):
        mask[mask == 2] = 1
        mask[:8, :8] = 2 if k < findings.RARE_IMAGES - 1 else mask[:8, :8]
    found = inspected(write_scenes(tmp_path / "set", train=many), "train")
    assert re.search(r"'grass' \(1.1 % of pixels, 2 images\)", only(found, "rare_class", "warning").text)


def test_masks_turned_as_a_whole(clean):
    for k in range(4):
        rewrite_mask(clean, f"train{k}", lambda mask: mask[::-1, ::-1])
    turned = only(inspected(clean), "turned", "warning")
    assert re.search(r"better turned by 180 degrees: edges agree at 0\.\d\d instead of", turned.text)
    assert "EXIF" in turned.fix and turned.splits == ("train",)


def test_a_single_turned_mask(tmp_path):
    right = samples(8)
    right[5] = (right[5][0], right[5][1][:, ::-1])
    turned = only(inspected(write_scenes(tmp_path / "set", train=right), "train"), "turned", "warning")
    assert turned.ids == ("train5",) and re.search(r"train5 \(mirrored left to right\)", turned.text)


def test_masks_turned_by_a_quarter_are_a_problem_with_its_cause(clean):
    for k in range(2):
        rewrite_mask(clean, f"val{k}", np.rot90)
    found = inspected(clean)
    assert [each.ids for each in found.problems] == [("val0",), ("val1",)]
    turned = only(found, "turned", "warning")
    assert turned.ids == ("val0", "val1") and re.search("turned by 90 degrees clockwise", turned.text)


def test_odd_and_large_sizes(tmp_path):
    sizes = [*samples(4), scene(9, (60, 400))]
    found = inspected(write_scenes(tmp_path / "odd", train=sizes), "train")
    assert only(found, "odd_size", "hint").ids == ("train4",)
    train_set = open_dataset(write_scenes(tmp_path / "large", train=samples(2)))
    assert not inspect([train_set], scale_range=(1, 4)).findings
    found = inspect([train_set], scale_range=(1, 5))
    large = only(found, "large_image", "warning")
    assert re.search("80 x 60 pixels, .*a crop of 33 at a scale of 3 shows 18.3 % of the shorter side", large.text)
    assert found.crop_size == 33 and "--longest-side 82" in large.fix
    assert inspect([train_set], largest_crop=17).crop_size == 17


def test_ids_in_both_splits_are_named_once(clean):
    (clean / "ImageSets/Segmentation/val.txt").write_text("val0\nval1\ntrain2\n")
    found = inspected(clean)
    assert only(found, "shared_id", "warning").ids == ("train2",)
    assert len(found.findings) == 1


def test_equal_images_within_and_across_splits(tmp_path):
    train, val = samples(4), samples(3, 50)
    train[2] = (train[0][0], train[2][1])
    val[1] = train[3]
    found = inspected(write_scenes(tmp_path / "set", train=train, val=val))
    assert only(found, "duplicate", "warning").ids == ("train0", "train2")
    assert only(found, "contrary_masks", "warning").ids == ("train0", "train2")
    leak = only(found, "leak", "warning")
    assert leak.splits == ("train", "val") and re.search(r"train3 = val1 \(val\)", leak.text)


def test_similar_images_are_hints(tmp_path):
    def darker(sample):
        return (sample[0] * 0.9).astype(np.uint8), sample[1]

    train, val = samples(4), samples(3, 50)
    train[1], val[2] = darker(train[0]), darker(train[3])
    found = inspected(write_scenes(tmp_path / "set", train=train, val=val))
    assert set(only(found, "near_duplicate", "hint").ids) == {"train0", "train1"}
    assert set(only(found, "near_leak", "hint").ids) == {"train3", "val2"}


def test_too_many_images_to_compare_are_told(clean, monkeypatch):
    monkeypatch.setattr(findings, "COMPARED", 3)
    assert re.search("similar ones were not looked for", only(inspected(clean), "not_compared", "hint").text)


def test_json_is_plain_and_comes_back(clean):
    rewrite_mask(clean, "train1", lambda mask: mask[:50])
    found = inspected(clean)
    told = found.to_json()
    assert json.loads(json.dumps(told, allow_nan=False)) == told
    assert told["ready"] is False and told["class_names"] == ["background", "clay", "grass"]
    train = told["splits"]["train"]
    assert train["samples"] == 4 and train["usable"] == 3 and sum(train["pixels"]) == train["labelled_pixels"]
    assert train["sizes"] == [[60, 80]] * 4 and train["edge_agreement"]["as stored"] > 0.4
    (problem,) = told["problems"]
    assert problem["ids"] == ["train1"] and set(problem) == {"kind", "text", "fix", "splits", "ids"}


def test_a_split_of_bad_files_alone_is_told_in_json(clean):
    for path in (clean / "JPEGImages").glob("train*"):
        path.write_bytes(b"")
    told = inspected(clean).to_json()
    assert told["splits"]["train"]["size_median"] is None and len(told["problems"]) == 4
    assert json.loads(json.dumps(told, allow_nan=False)) == told


def test_the_readme_names_each_key_and_kind(clean):
    text = (ROOT / "minideeplab/data/README.md").read_text(encoding="utf-8")
    source = (ROOT / "minideeplab/data/findings.py").read_text(encoding="utf-8")
    kinds = {
        *re.findall(r'(?:Finding|_of_groups)\([\w ".>]*?, "(\w+)"', source),
        "split",
        "near_leak",
        "near_duplicate",
    }
    assert {"turned", "leak", "one_class_mask"} <= kinds
    told = inspected(clean).to_json()
    for word in {*kinds, *told, *told["splits"]["train"]}:
        assert f"`{word}`" in text, word


@given(st.lists(st.tuples(st.integers(1, 700), st.integers(1, 700)), max_size=5))
@settings(max_examples=50)
def test_crops_fit_the_median_image(sizes):
    facts = type("Facts", (), {"sizes": np.array([*sizes, (0, 0)], np.int64)})
    crop = crop_size_for([facts])
    assert crop in CROP_SIZES
    if sizes:
        assert crop <= max(33, np.median(np.min(sizes, axis=1)))
