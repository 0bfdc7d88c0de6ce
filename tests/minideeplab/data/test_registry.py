"""Each layout: it is recognised, no other takes it, its samples are what was written, and messages help."""

import dataclasses

import numpy as np
import pytest
from layout_folders import LAYOUTS, folder, pictures, save
from places import SHARED
from voc_folder import make_set

from minideeplab.data import DATASETS, open_dataset, split_names
from minideeplab.errors import DataError
from minideeplab.train.run_folder import fingerprint


@pytest.fixture(params=LAYOUTS, scope="module")
def made(request, tmp_path_factory):
    return LAYOUTS[request.param](tmp_path_factory.mktemp("sets") / "set")


def assert_holds(ds, part):
    assert set(ds.ids) == set(part)
    for i, name in enumerate(ds.ids):
        image, mask = ds.sample(i)
        np.testing.assert_array_equal(image, part[name][0], err_msg=name)
        np.testing.assert_array_equal(mask, part[name][1], err_msg=name)


def test_samples_are_what_was_written(made):
    for split, part in made.splits.items():
        ds = open_dataset(made.data, split=split)
        assert (ds.split, ds.num_classes, ds.ignore_index) == (split, made.classes, 255)
        assert_holds(ds, part)
        assert ds.check().labelled == sum((mask != 255).sum() for _, mask in part.values())
        assert len(open_dataset(made.data, split=split, limit=1)) == 1


def test_it_is_recognised_with_a_reason_and_taken_for_nothing_special_else(made):
    ds = open_dataset(made.data)
    assert ds.recognised.startswith(f"{made.data} is taken for a set of kind '{made.kind}': ")
    earlier = list(DATASETS)[: list(DATASETS).index(made.kind)]
    assert [name for name in earlier if DATASETS[name].recognises(made.data)] == []
    assert open_dataset(made.data, made.kind).recognised == ""


def test_its_splits_are_listed_and_others_are_refused_with_the_list(made):
    names = split_names(made.data)
    assert names[:2] == ("train", "val") and set(names) == set(made.splits)
    with pytest.raises(DataError, match=r"no such split.*splits here are: .*train, val"):
        open_dataset(made.data, split="nowhere")


@pytest.mark.parametrize("kind", [name for name in DATASETS if name != "synthetic"])
def test_another_kind_by_request_says_which_layout_it_needs(tmp_path, kind):
    save(tmp_path / "some/x.png", np.zeros((3, 3), np.uint8))
    with pytest.raises(DataError, match=r"layout is|no such list file|no JSON file of labelme"):
        open_dataset(tmp_path, kind)


def test_what_nothing_recognises_is_listed_with_the_smallest_layout(tmp_path):
    for name in "abcdefghij":
        (tmp_path / f"{name}.xyz").touch()
    match = r"(?s)found: a\.xyz, b\.xyz.*\.\.\.\)\.\nThe smallest layout is\n  ROOT/images/a\.jpg.*classes\.txt"
    with pytest.raises(DataError, match=match):
        open_dataset(tmp_path)
    folder(tmp_path / "inside")
    with pytest.raises(DataError, match=r"no data set here, but .*inside looks like one of kind 'folder'; give this"):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("name", "match"),
    [
        ("set.zip", "a file, not a folder: an archive; unpack it"),
        ("photo.jpg", r"a file, not a folder: give the folder, or a \.txt or \.csv file of `image mask` lines"),
        ("x" * 300, "cannot be read|no such folder"),
        ("nul\0", "cannot be read|no such folder"),
    ],
)
def test_other_things_than_folders(tmp_path, name, match):
    if len(name) < 100 and "\0" not in name:
        (tmp_path / name).touch()
    with pytest.raises(DataError, match=match):
        open_dataset(tmp_path / name)


def test_arguments_out_of_range(tmp_path):
    with pytest.raises(ValueError, match="val_share must lie between 0 and 1, got 1"):
        open_dataset(tmp_path, val_share=1)
    with pytest.raises(ValueError, match="limit must be at least 1"):
        open_dataset(tmp_path, limit=0)
    with pytest.raises(ValueError, match=r"dataset must be one of auto, synthetic, list, .*got 'x'"):
        open_dataset(tmp_path, "x")


# Cityscapes, ADE20K and CamVid


def test_cityscapes_knows_the_way_back_and_voids_all_else(tmp_path):
    made = LAYOUTS["cityscapes"](tmp_path)
    ds = open_dataset(tmp_path)
    assert ds.stored_labels[0] == 7 and ds.stored_labels[18] == 33 and len(ds.stored_labels) == 19
    assert ds.class_names[13] == "car" and ds.palette[13].tolist() == [0, 0, 142]
    mask = np.array([[0, 1, 7, 33, 29, 255]], np.uint8)
    save(ds.mask_path(0), mask)
    np.testing.assert_array_equal(ds.mask(0), [[255, 255, 0, 18, 255, 255]])
    save(ds.mask_path(0), mask + np.uint8(40))
    with pytest.raises(DataError, match="label 40 at pixel"):
        ds.mask(0)
    for path in tmp_path.rglob("*_labelIds.png"):
        path.rename(str(path).replace("labelIds", "labelTrainIds"))
    save(ds.mask_path(0).with_name("aachen_0_1_gtFine_labelTrainIds.png"), np.array([[0, 18, 255]], np.uint8))
    again = open_dataset(tmp_path)
    np.testing.assert_array_equal(again.mask(0), [[0, 18, 255]])
    assert again.stored_labels == ds.stored_labels and set(again.ids) == set(made.splits["train"])
    save(tmp_path / "gtFine/train/ulm/ulm_0_1_gtFine_labelIds.png", mask)
    with pytest.raises(DataError, match="some images have a mask of labelIds, others of labelTrainIds"):
        open_dataset(tmp_path)


def test_cityscapes_without_masks_says_how_they_are_called(tmp_path):
    LAYOUTS["cityscapes"](tmp_path)
    (tmp_path / "gtFine/train/ulm/ulm_0_1_gtFine_labelIds.png").unlink()
    assert open_dataset(tmp_path).notes[0].endswith("1 file (ulm/ulm_0_1) without a mask; left out")
    (tmp_path / "gtFine/train/aachen/aachen_0_1_gtFine_labelIds.png").unlink()
    with pytest.raises(DataError, match=r"no mask ID_gtFine_labelIds\.png for any of the 2 images"):
        open_dataset(tmp_path)


def test_ade20k_names_aliases_and_the_way_back(tmp_path):
    LAYOUTS["ade20k"](tmp_path)
    ds = open_dataset(tmp_path, split="validation")
    assert ds.split == "val" and ds.ids == open_dataset(tmp_path, split="val").ids
    assert ds.class_names[:2] == ("class 1", "class 2") and ds.stored_labels[149] == 150
    rows = "".join(f"{k}\t0.1\t1\t1\t0\tname{k % 149}, other\n" for k in range(1, 151))
    (tmp_path / "objectInfo150.txt").write_text(f"Idx\tRatio\tTrain\tVal\tStuff\tName\n{rows}")
    assert open_dataset(tmp_path).class_names[:2] == ("name1", "name2")
    assert open_dataset(tmp_path).class_names[149] == "name1 2"
    (tmp_path / "objectInfo150.txt").write_text("1\tx")
    with pytest.raises(DataError, match=r"objectInfo150\.txt: 1 classes, not 150"):
        open_dataset(tmp_path)


def test_folders_of_ade20k_with_a_class_list_are_a_set_of_ones_own(tmp_path):
    made = pictures({"train": ["a"], "val": ["b"]}, 2)
    for split, name in (("training", "train"), ("validation", "val")):
        for key, (image, mask) in made[name].items():
            save(tmp_path / f"images/{split}/{key}.png", image)
            save(tmp_path / f"annotations/{split}/{key}.png", mask)
    (tmp_path / "classes.txt").write_text("no\nyes\n")
    ds = open_dataset(tmp_path, split="val")
    assert (ds.class_names, ds.ids) == (("no", "yes"), ("validation/b",))
    np.testing.assert_array_equal(ds.mask(0), made["val"]["b"][1])


def test_camvid_of_segnet_without_its_lists(tmp_path):
    made = LAYOUTS["camvid"](tmp_path)
    (tmp_path / "train.txt").unlink()
    assert_holds(open_dataset(tmp_path), made.splits["train"])
    assert open_dataset(tmp_path).palette[3].tolist() == [128, 64, 128]
    assert open_dataset(tmp_path.parent / tmp_path.name).name == "camvid"


@pytest.mark.skipif(not (SHARED / "data").is_dir(), reason="no real data beside the repository")
def test_real_sets_are_recognised():
    assert "class_names.txt lists CamVid's classes" in open_dataset(SHARED / "data/camvid").recognised
    assert "of kind 'voc': JPEGImages/ is there, without a class list" in (
        open_dataset(SHARED / "data/VOCdevkit").recognised
    )


# VOC and what tools make of it


def test_trainaug_takes_the_masks_of_sbd(tmp_path):
    root = make_set(tmp_path, ids=("a", "b"))
    for name in "abc":
        save(root / f"SegmentationClassAug/{name}.png", np.full((6, 8), 7, np.uint8))
        save(root / f"JPEGImages/{name}.png", np.zeros((6, 8, 3), np.uint8))
    (root / "ImageSets/Segmentation/trainaug.txt").write_text("a\nc\n")
    ds = open_dataset(root, split="trainaug")
    assert [ds.mask(i).max() for i in range(2)] == [7, 7]
    (root / "ImageSets/Segmentation/train.txt").write_text("b\nc\n")
    assert [open_dataset(root).mask(i).max() for i in range(2)] == [1, 7]  # c has no other


def test_a_split_file_of_pairs(tmp_path):
    root = make_set(tmp_path)
    save(root / "SegmentationClassAug/b.png", np.full((6, 8), 9, np.uint8))
    (root / "ImageSets/Segmentation/trainaug.txt").write_text(
        "/JPEGImages/b.png /SegmentationClassAug/b.png\n"
        "/home/x/VOC2012/JPEGImages/c.png C:\\y\\SegmentationClass\\c.png\n"
    )
    ds = open_dataset(root, split="trainaug")
    assert ds.ids == ("b", "c") and [ds.mask(i).max() for i in range(2)] == [9, 2]
    assert [ds.image(i).max() for i in range(2)] == [1, 2]
    (root / "ImageSets/Segmentation/trainaug.txt").write_text("a.png ../b.png\n")
    with pytest.raises(DataError, match="leads out of the data folder"):
        open_dataset(root, split="trainaug")


def test_what_labelme2voc_writes(tmp_path):
    """No split files; .npy files in SegmentationClass, and the masks in SegmentationClassPNG."""
    root = make_set(tmp_path, "abcde", names=("__ignore__", "_background_", "cat", "dog", "cow", "hen"), splits=())
    (root / "SegmentationClass").rename(root / "SegmentationClassPNG")
    (root / "SegmentationClass").mkdir()
    (root / "SegmentationClass/a.npy").touch()
    train, val = open_dataset(root), open_dataset(root, split="val")
    assert train.class_names == ("_background_", "cat", "dog", "cow", "hen")
    assert sorted(train.ids + val.ids) == list("abcde") and len(val) == 1
    assert (root / "ImageSets/Segmentation/val.txt").read_text().split() == list(val.ids)
    assert train.mask(0).max() == "abcde".index(train.ids[0])


def test_what_cvat_writes(tmp_path):
    """RGB masks, labelmap.txt, and one split called default."""
    root = make_set(tmp_path, "abc", splits=("default",))
    (root / "labelmap.txt").write_text("# label:color_rgb:parts:actions\nbackground:0,0,0::\ntree top:250,5,50::\n")
    rgb = np.zeros((6, 8, 3), np.uint8)
    rgb[2] = 250, 5, 50
    for name in "abc":
        save(root / f"SegmentationClass/{name}.png", rgb)
    train, val = open_dataset(root), open_dataset(root, split="val")
    assert train.class_names == ("background", "tree top") and (len(train), len(val)) == (2, 1)
    np.testing.assert_array_equal(train.mask(0), (rgb[..., 0] > 0).astype(np.uint8))
    assert "kind 'named': JPEGImages/ is there, and labelmap.txt lists 2 classes" in train.recognised


def test_images_without_a_mask_are_left_out_and_named(tmp_path):
    root = make_set(tmp_path, "abc", splits=())
    (root / "SegmentationClass/b.png").unlink()
    assert set(open_dataset(root).ids + open_dataset(root, split="val").ids) == {"a", "c"}
    (root / "ImageSets/Segmentation/train.txt").unlink()
    (root / "ImageSets/Segmentation/val.txt").unlink()
    assert "1 file (b) without a mask; left out" in open_dataset(root).notes[0]
    for name in "ac":
        (root / f"SegmentationClass/{name}.png").unlink()
    (root / "ImageSets/Segmentation/train.txt").unlink()
    (root / "ImageSets/Segmentation/val.txt").unlink()
    with pytest.raises(DataError, match="no image in JPEGImages has a mask of the same name"):
        open_dataset(root)


def test_a_new_attribute_does_not_change_what_a_run_remembers(made):
    ds = open_dataset(made.data)
    assert fingerprint(ds) == fingerprint(dataclasses.replace(ds, recognised="", notes=(), stored_labels=None))
