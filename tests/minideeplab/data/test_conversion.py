"""A set of any layout, converted to VOC's folders, opens with the same arrays."""

import dataclasses

import numpy as np
import pytest
from layout_folders import LAYOUTS, save
from PIL import Image
from voc_folder import list_ids, make_set

from minideeplab import inspect_data
from minideeplab.data import convert, open_dataset, split_names, write_mask
from minideeplab.errors import DataError


@pytest.mark.parametrize("layout", LAYOUTS)
def test_it_opens_with_the_same_arrays(tmp_path, layout):
    made = LAYOUTS[layout](tmp_path / "set")
    sets = [open_dataset(made.data, split=split) for split in made.splits]
    calls = []
    count = convert(sets, tmp_path / "out", lambda: calls.append(1))
    assert count == len(calls) == sum(map(len, sets))
    for old in sets:
        new = open_dataset(tmp_path / "out", split=old.split)
        assert (new.ids, new.class_names) == (old.ids, old.class_names)
        np.testing.assert_array_equal(new.palette, old.palette)
        for i in range(len(old)):
            for one, other in zip(old.sample(i), new.sample(i), strict=True):
                np.testing.assert_array_equal(one, other)
    assert open_dataset(tmp_path / "out").recognised.startswith(f"{tmp_path / 'out'} is taken for a set of kind '")


def test_images_are_copied_byte_by_byte_but_for_those_that_exif_turns(tmp_path):
    root = make_set(tmp_path / "set", "ab", size=(4, 6))
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.arange(72).astype(np.uint8).reshape(6, 4, 3)).save(root / "JPEGImages/a.jpg", exif=exif)
    old = open_dataset(root)
    convert([old], tmp_path / "out")
    assert (tmp_path / "out/JPEGImages/b.png").read_bytes() == (root / "JPEGImages/b.png").read_bytes()
    assert sorted(path.name for path in (tmp_path / "out/JPEGImages").iterdir()) == ["a.png", "b.png"]
    np.testing.assert_array_equal(open_dataset(tmp_path / "out").image(0), old.image(0))
    assert old.image(0).shape == (4, 6, 3)


def test_splits_share_files_and_samples_of_one_name_do_not(tmp_path):
    root = make_set(tmp_path / "set", "abc", splits=())
    list_ids(root, "a", "b")
    list_ids(root, "b", "c", split="val")
    other = dataclasses.replace(open_dataset(make_set(tmp_path / "other", "b", masks=[[[7]]])), split="test")
    assert convert([*(open_dataset(root, split=split) for split in ("train", "val")), other], tmp_path / "out") == 4
    assert open_dataset(tmp_path / "out", split="val").ids == ("b", "c")
    test = open_dataset(tmp_path / "out", split="test")
    assert test.ids == ("test/b",) and test.mask(0).tolist() == [[7]]


def test_another_void_becomes_255(tmp_path):
    ds = open_dataset(make_set(tmp_path / "set", "a", ("x", "y", "z"), masks=[[[0, 1, 2, 255]]]), ignore_index=0)
    convert([ds], tmp_path / "out")
    assert open_dataset(tmp_path / "out").mask(0).tolist() == [[255, 1, 2, 255]]


def test_what_cannot_be_converted(tmp_path):
    root = make_set(tmp_path / "set", "ab")
    ds = open_dataset(root)
    with pytest.raises(DataError, match=r"set: this exists and is not an empty folder; give another"):
        convert([ds], root)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match="file: this exists and is not an empty folder"):
        convert([ds], tmp_path / "file")
    with pytest.raises(DataError, match="different classes"):
        convert([ds, dataclasses.replace(ds, class_names=("x", "y"))], tmp_path / "out")
    with pytest.raises(DataError, match="cannot be written"):
        convert([ds], tmp_path / "file/out")
    (root / "SegmentationClass/b.png").unlink()
    (tmp_path / "empty").mkdir()
    for out in ("new", "two/new", "empty"):
        with pytest.raises(DataError, match=r"SegmentationClass/b\.png: no such file"):
            convert([ds], tmp_path / out)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["empty", "file", "set"]
    assert not any((tmp_path / "empty").iterdir())
    write_mask(root / "SegmentationClass/b.png", ds.mask(0))
    for out in ("two/new", "empty"):
        convert([ds], tmp_path / out)
        assert open_dataset(tmp_path / out).ids == ("a", "b")
        assert sorted(path.name for path in (tmp_path / out).iterdir()) == [
            "ImageSets", "JPEGImages", "SegmentationClass", "class_names.txt",
        ]  # fmt: skip


def test_an_interrupted_conversion_leaves_nothing(tmp_path):
    def interrupt():
        raise KeyboardInterrupt

    ds = open_dataset(make_set(tmp_path / "set", "ab"))
    with pytest.raises(KeyboardInterrupt):
        convert([ds], tmp_path / "out", interrupt)
    assert [path.name for path in tmp_path.iterdir()] == ["set"]


def test_the_command_converts_the_splits_asked_for_and_refuses_what_it_would_not_do(tmp_path, capsys):
    root = make_set(tmp_path / "set", "ab", splits=())
    list_ids(root, "a")
    list_ids(root, "b", split="val")
    arguments = ["--data", str(root), "--split", "val", "--convert", str(tmp_path / "out")]
    for option in ("--out", "--json"):
        assert inspect_data.main([*arguments, option, "looked_at"]) == 2
        assert f"{option} looked_at: --convert examines nothing" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()
    assert inspect_data.main(arguments) == 0
    assert split_names(tmp_path / "out") == ("val",) and open_dataset(tmp_path / "out", split="val").ids == ("b",)


def test_the_command_converts_all_splits(tmp_path, capsys):
    for number in range(5):
        save(tmp_path / f"set/images/{number}.png", np.zeros((3, 4, 3), np.uint8))
        save(tmp_path / f"set/masks/{number}.png", np.full((3, 4), 255 * (number % 2), np.uint8))
    arguments = ["--data", str(tmp_path / "set"), "--label-map", "binary", "--val-share", "0.4"]
    assert inspect_data.main([*arguments, "--convert", str(tmp_path / "out")]) == 0
    printed = capsys.readouterr()
    assert "5 images in VOC's folders, splits train, val" in printed.out
    assert "is taken for a set of kind 'folder'" in printed.err and "2 of 5 images are held out" in printed.err
    train, val = (open_dataset(tmp_path / "out", split=split) for split in ("train", "val"))
    assert (len(train), len(val)) == (3, 2) and train.class_names == ("class 0", "class 1")
    assert {int(train.mask(i).max()) for i in range(3)} | {int(val.mask(i).max()) for i in range(2)} == {0, 1}


def test_large_images_and_their_masks_are_made_smaller_together(tmp_path, capsys):
    """The border between both classes stays where it is in the image; what is small enough is copied."""
    root = make_set(tmp_path / "set", "ab", ("left", "right"), size=(6, 8))
    wide = np.zeros((60, 90), np.uint8)
    wide[:, 30:] = 1
    Image.fromarray(np.repeat(200 * wide[..., None], 3, axis=2)).save(root / "JPEGImages/a.jpg", quality=95)
    (root / "JPEGImages/a.png").unlink()
    Image.fromarray(wide).save(root / "SegmentationClass/a.png")
    out = tmp_path / "out"
    assert inspect_data.main(["--data", str(root), "--longest-side", "45"]) == 2
    assert "--longest-side 45 is for the copies of --convert DIR" in capsys.readouterr().err
    assert inspect_data.main(["--data", str(root), "--convert", str(out), "--longest-side", "45"]) == 0
    image, mask = open_dataset(out).sample(0)
    assert mask.shape == image.shape[:2] == (30, 45) and (out / "JPEGImages/a.jpg").exists()
    np.testing.assert_array_equal(mask, np.repeat([[0] * 15 + [1] * 30], 30, axis=0))
    assert abs(image[:, :13].astype(int)).max() < 20 and abs(image[:, 17:].astype(int) - 200).max() < 20
    assert (out / "JPEGImages/b.png").read_bytes() == (root / "JPEGImages/b.png").read_bytes()
