"""Plain folders: other names, endings, splits in folders, classes that the masks tell."""

import numpy as np
import pytest
from layout_folders import folder, pictures, save

from minideeplab.data import open_dataset
from minideeplab.data.palettes import VOID_NAMES
from minideeplab.errors import DataError


@pytest.mark.parametrize(
    ("images", "masks", "ending"),
    [
        ("Images", "Labels", "_mask"),
        ("imgs", "annotations", "_label"),
        ("img", "gt", "_gt"),
        ("photos", "mask", "-mask"),
    ],
)
def test_other_names_of_folders_and_masks(tmp_path, images, masks, ending):
    made = folder(tmp_path, images, masks, ending)
    ds = open_dataset(tmp_path)
    assert (ds.name, ds.class_names, ds.ids) == (tmp_path.name, ("ground", "sky", "road"), ("a", "deep/b"))
    for i, name in enumerate(ds.ids):
        np.testing.assert_array_equal(ds.mask(i), made.splits["train"][name][1])
    assert f"{images}/ and {masks}/ are there" in ds.recognised


@pytest.mark.parametrize("pattern", ["{kind}/{split}/{name}.png", "{split}/{kind}/{name}.png"])
def test_splits_in_folders(tmp_path, pattern):
    made = pictures({"train": ["a", "b"], "valid": ["a"], "test": ["c"]}, 3)
    for split, part in made.items():
        for name, (image, mask) in part.items():
            save(tmp_path / pattern.format(kind="images", split=split, name=name), image)
            save(tmp_path / pattern.format(kind="masks", split=split, name=name), mask)
    (tmp_path / "class_names.txt").write_text("ground\nsky\nroad\n")
    assert len(open_dataset(tmp_path)) == 2
    val = open_dataset(tmp_path, split="val")
    assert len(val) == 1 and val.ids[0] not in open_dataset(tmp_path).ids  # the two files called a are not one
    np.testing.assert_array_equal(val.mask(0), made["valid"]["a"][1])
    with pytest.raises(DataError, match=r"no such split: 'other'; the splits here are: test, train, val"):
        open_dataset(tmp_path, split="other")


@pytest.mark.parametrize(
    "text",
    ["a\ndeep/b\n", "a.PNG\ndeep\\b.PNG\n", "images/a.PNG\nimages/deep/b.PNG\n", "images/a.PNG masks/a.png\ndeep/b"],
)
def test_a_split_file_may_name_files(tmp_path, text):
    folder(tmp_path)
    if "masks" in text:
        text = "images/a.PNG masks/a.png\nimages/deep/b.PNG masks/deep/b.png\n"
    (tmp_path / "splits/train.txt").write_text(text)
    assert open_dataset(tmp_path).ids == ("a", "deep/b")


def test_split_files_beside_the_folders(tmp_path):
    folder(tmp_path)
    for split in ("train", "val"):
        (tmp_path / f"splits/{split}.txt").rename(tmp_path / f"{split}.txt")
    assert open_dataset(tmp_path, split="val").ids == ("c",)


def test_an_id_that_is_not_there_is_a_fault_of_the_split(tmp_path):
    folder(tmp_path)
    (tmp_path / "splits/train.txt").write_text("a\nx\n")
    with pytest.raises(DataError, match=r"1 of 2 samples .*\n.*split 'train' lists 'x', but there is no such image"):
        open_dataset(tmp_path).check()


def test_files_without_a_partner_are_named(tmp_path):
    folder(tmp_path)
    save(tmp_path / "images/alone.png", np.zeros((6, 8, 3), np.uint8))
    save(tmp_path / "masks/other.png", np.zeros((6, 8), np.uint8))
    notes = open_dataset(tmp_path).notes
    assert any("images: 1 file (alone) without a mask; left out" in note for note in notes)
    assert any("masks: 1 file (other) without an image; left out" in note for note in notes)


def test_no_partner_at_all(tmp_path):
    save(tmp_path / "images/a.png", np.zeros((6, 8, 3), np.uint8))
    save(tmp_path / "masks/b.png", np.zeros((6, 8), np.uint8))
    with pytest.raises(DataError, match=r"no image has a mask of the same name in masks \(images: a; masks: b\)"):
        open_dataset(tmp_path)


def test_a_loop_of_links_ends(tmp_path):
    folder(tmp_path)
    (tmp_path / "images/loop").symlink_to(tmp_path / "images", target_is_directory=True)
    assert open_dataset(tmp_path).ids == ("a", "deep/b")


# class lists


@pytest.mark.parametrize(
    "text", ["sky 1 2 3\nroad 4 5 6\n", "sky, 1, 2, 3\nroad, 4, 5, 6\n", "0: sky 1 2 3\n1: road\t4\t5\t6\n"]
)
def test_class_lists_with_colours(tmp_path, text):
    folder(tmp_path)
    (tmp_path / "classes.txt").write_text(text)
    ds = open_dataset(tmp_path)
    assert ds.class_names == ("sky", "road") and ds.palette[:2].tolist() == [[1, 2, 3], [4, 5, 6]]


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("0 sky\n1 road\n", ("sky", "road")),
        ("route 66\nsky\n", ("route 66", "sky")),
        ("# my classes\nvoid\nsky\n", ("void", "sky")),
        ("__ignore__\nsky\nroad\n", ("sky", "road")),
    ],
)
def test_class_lists_without_colours(tmp_path, text, names):
    folder(tmp_path)
    (tmp_path / "classes.txt").write_text(text)
    assert open_dataset(tmp_path).class_names == names


@pytest.mark.parametrize("name", ["classes.txt", "labelmap.txt"])
@pytest.mark.parametrize("line", ["{0} {1[0]} {1[1]} {1[2]}", "{1[0]} {1[1]} {1[2]} {0}", "{0} #{2}", "#{2} {0}"])
def test_one_line_of_a_list_with_colours_is_that_of_void(tmp_path, name, line):
    folder(tmp_path)
    (tmp_path / "classes.txt").unlink(missing_ok=True)
    void = VOID_NAMES[len(line) % len(VOID_NAMES)]
    entries = {"sky": (1, 2, 3), "green tree": (4, 5, 60), void.title(): (255, 9, 0)}
    lines = ["# my colours", *(line.format(key, rgb, bytes(rgb).hex()) for key, rgb in entries.items())]
    (tmp_path / name).write_text("\n".join(lines))
    ds = open_dataset(tmp_path)
    assert ds.class_names == ("sky", "green tree")
    assert ds.palette[[0, 1, 255]].tolist() == [list(rgb) for rgb in entries.values()]


def test_greys_are_no_numbers_of_labels(tmp_path):
    folder(tmp_path)
    (tmp_path / "classes.txt").write_text("0 0 0 sky\n1 1 1 road\n")
    ds = open_dataset(tmp_path)
    assert ds.class_names == ("sky", "road") and ds.palette[1].tolist() == [1, 1, 1]


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("a\nb\nvoid 255 255 255\n", r"'a' has no colour, and 'void 255 255 255' has one; write `name r g b` in each"),
        ("a 1 2 3\nb 300 0 0\n", "'b 300 0 0' has no colour, and 'a 1 2 3' has one"),
        ("a 1 2 3\nvoid 4 5 6\nignore 7 8 9\nb 0 0 0", "void and ignore are both void"),
        ("a 1 2 3\n4 5 6\n", "'4 5 6' names no class"),
    ],
)
def test_colours_of_some_lines_only_are_refused(tmp_path, text, match):
    folder(tmp_path)
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(DataError, match=match):
        open_dataset(tmp_path)


@pytest.mark.parametrize("text", ["a\n" * 1001, "x" * 501, "a" + " " * 499 + "b\n" + "a"])
def test_another_file_is_no_class_list(tmp_path, text):
    folder(tmp_path)
    (tmp_path / "classes.txt").write_text(text)
    with pytest.raises(
        DataError, match=r"classes\.txt: \d+ lines, the longest of \d+ characters, which is no class list"
    ):
        open_dataset(tmp_path)


def write_masks(root, *masks):
    for number, mask in enumerate(masks):
        save(root / f"images/{number}.png", np.zeros((*np.shape(mask)[:2], 3), np.uint8))
        save(root / f"masks/{number}.png", np.asarray(mask, np.uint8))


def test_without_a_class_list_the_masks_tell(tmp_path):
    write_masks(tmp_path, [[0, 1]], [[4, 255]], [[0, 0]])
    train, val = open_dataset(tmp_path), open_dataset(tmp_path, split="val")
    assert train.class_names == val.class_names == tuple(f"class {label}" for label in range(5))
    assert any(
        "the masks hold the labels 0, 1, 4, so there are 5 classes; write the names" in note for note in train.notes
    )


def test_two_classes_as_0_and_255_are_two_classes(tmp_path):
    write_masks(tmp_path, [[0, 255]], [[0, 255]])
    assert open_dataset(tmp_path).class_names == ("class 0", "class 1")
    np.testing.assert_array_equal(open_dataset(tmp_path, label_map="binary").mask(0), [[0, 1]])


def test_values_with_gaps_are_no_labels(tmp_path):
    write_masks(tmp_path, [[0, 38]], [[75, 255]])
    with pytest.raises(
        DataError, match=r"values 0, 38, 75, which are no numbers of classes; write .* --label-map FILE"
    ):
        open_dataset(tmp_path)
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    ds = open_dataset(tmp_path, split="all", label_map={0: 0, 38: "b", 75: "c"})
    assert np.concatenate([ds.mask(i) for i in range(2)], axis=1).tolist() == [[0, 1, 2, 255]]


def test_colours_without_a_list_are_listed(tmp_path):
    write_masks(tmp_path, [[[9, 9, 9], [9, 9, 9], [1, 200, 3]]], [[[9, 9, 9], [9, 9, 9], [9, 9, 9]]])
    match = r"painted in colours\. Write .*classes\.txt .*: 9 9 9 \(83\.3 %\), 1 200 3 \(16\.7 %\)"
    with pytest.raises(DataError, match=match):
        open_dataset(tmp_path)
    (tmp_path / "classes.txt").write_text("ground 9 9 9\ngrass 1 200 3\n")
    ds = open_dataset(tmp_path, split="all")
    np.testing.assert_array_equal(ds.mask(0), [[0, 0, 1]])
    (tmp_path / "classes.txt").write_text("__ignore__ 9 9 9\nground 0 0 0\ngrass 1 200 3\n")
    ds = open_dataset(tmp_path, split="all")
    np.testing.assert_array_equal(ds.mask(0), [[255, 255, 1]])
