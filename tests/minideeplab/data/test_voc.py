"""Data sets in the VOC layout: how they are recognised, and what the message says when one is wrong."""

import numpy as np
import pytest
from PIL import Image
from places import SHARED
from voc_folder import list_ids, make_set

from minideeplab.data import CAMVID_CLASSES, VOC_CLASSES, open_dataset, voc_colour_map, write_mask
from minideeplab.errors import DataError

REAL = SHARED / "data"
needs_real_data = pytest.mark.skipif(not REAL.is_dir(), reason="no real data beside the repository")


def test_plain_voc(tmp_path):
    ds = open_dataset(make_set(tmp_path / "set"))
    assert (ds.name, ds.split, ds.ids, len(ds)) == ("voc", "train", ("a", "b", "c"), 3)
    assert ds.class_names == VOC_CLASSES and ds.num_classes == 21 and ds.ignore_index == 255
    np.testing.assert_array_equal(ds.palette, voc_colour_map())
    image, mask = ds.sample(1)
    assert (image == 1).all() and image.shape == (6, 8, 3)
    assert (mask == 1).all() and mask.shape == (6, 8)
    assert ds.image_path(2).name == ds.mask_path(2).name == "c.png"
    ds.check()


@pytest.mark.parametrize("inside", ["VOC2012", "VOCdevkit/VOC2012"])
def test_root_is_found_inside_the_devkit(tmp_path, inside):
    root = make_set(tmp_path / inside)
    assert open_dataset(tmp_path).root == root


def test_own_names_and_palette(tmp_path):
    palette = voc_colour_map()[::-1].copy()
    ds = open_dataset(make_set(tmp_path / "tiles", names=("sea", "land", "sand"), palette=palette))
    assert (ds.name, ds.class_names, ds.num_classes) == ("tiles", ("sea", "land", "sand"), 3)
    np.testing.assert_array_equal(ds.palette, palette)


def test_grey_masks_take_the_voc_colours(tmp_path):
    root = make_set(tmp_path / "tiles", names=("sea", "land"))
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(root / "SegmentationClass/a.png")
    np.testing.assert_array_equal(open_dataset(root).palette, voc_colour_map())


@pytest.mark.parametrize(
    ("folder", "dataset", "names"),
    [("CamVid", "auto", None), ("x", "camvid", None), ("x", "auto", CAMVID_CLASSES)],
)
def test_camvid_by_folder_by_request_and_by_names(tmp_path, folder, dataset, names):
    ds = open_dataset(make_set(tmp_path / folder, names=names), dataset)
    assert (ds.name, ds.class_names) == ("camvid", CAMVID_CLASSES)


@pytest.mark.parametrize("dataset", ["camvid", "auto"])
def test_label_11_of_camvid_is_void_as_segnet_ships_it(tmp_path, dataset):
    masks = [[[0, 10, 11, 255]]]
    ds = open_dataset(make_set(tmp_path / "CamVid", ["a"], masks=masks), dataset)
    np.testing.assert_array_equal(ds.mask(0), [[0, 10, 255, 255]])
    assert ds.check().void_share == 0.5


def test_label_11_of_11_other_classes_is_refused_and_camvid_is_named(tmp_path):
    names = [f"class {number}" for number in range(11)]
    root = make_set(tmp_path / "roads", ["a"], names, masks=[[[0, 10, 11, 255]]])
    with pytest.raises(DataError, match=r"label 11 .* 0\.\.10 and 255 \(void\).*--dataset camvid takes it"):
        open_dataset(root).check()
    ds = open_dataset(root, "camvid")  # the names of the file, and CamVid's void
    assert (ds.name, ds.class_names) == ("camvid", tuple(names))
    np.testing.assert_array_equal(ds.mask(0), [[0, 10, 255, 255]])
    root = make_set(tmp_path / "CamVid12", ["a"], [*names, "unlabelled"], masks=[[[0, 10, 11, 255]]])
    for dataset in ("auto", "camvid"):  # twelve names: 11 is one of them
        np.testing.assert_array_equal(open_dataset(root, dataset).mask(0), [[0, 10, 11, 255]])


@pytest.mark.parametrize(("name", "classes"), [("named", ("sea", "land", "sand")), ("voc", VOC_CLASSES)])
def test_classes_by_request(tmp_path, name, classes):
    assert open_dataset(make_set(tmp_path / "s", names=("sea", "land", "sand")), name).class_names == classes


def test_named_needs_the_names(tmp_path):
    with pytest.raises(DataError, match=r"class_names\.txt: no such file; write the names"):
        open_dataset(make_set(tmp_path / "s"), "named")


@pytest.mark.parametrize("suffix", [".bmp", ".webp", ".tif", ".Jpg", ".JPEG"])
def test_images_with_other_suffixes_and_masks_with_capital_ones(tmp_path, suffix):
    root = make_set(tmp_path / "s")
    with Image.open(root / "JPEGImages/b.png") as image:
        image.save(root / f"JPEGImages/b{suffix}")
    (root / "JPEGImages/b.png").unlink()
    (root / "SegmentationClass/b.png").rename(root / "SegmentationClass/b.Png")
    image, mask = open_dataset(root).sample(1)
    assert (image == 1).all() and (mask == 1).all()


def test_missing_folders(tmp_path):
    with pytest.raises(DataError, match=r"nowhere: no such folder; .*'synthetic'"):
        open_dataset(tmp_path / "nowhere")
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="file: a file, not a folder"):
        open_dataset(tmp_path / "file")
    with pytest.raises(DataError, match=r"(?s)no data set was recognised \(found: file\).*ROOT/images/a\.jpg"):
        open_dataset(tmp_path)
    with pytest.raises(DataError, match=r"no folder JPEGImages .*ImageSets/Segmentation/train\.txt"):
        open_dataset(tmp_path, "voc")
    (tmp_path / "JPEGImages").mkdir()
    with pytest.raises(DataError, match="SegmentationClass: no such folder; the layout needs"):
        open_dataset(tmp_path)


def test_missing_split_lists_those_that_exist(tmp_path):
    root = make_set(tmp_path / "s")
    list_ids(root, "a", split="val")
    with pytest.raises(DataError, match=r"test\.txt: no such split file; the splits here are: train, val"):
        open_dataset(root, split="test")
    (root / "ImageSets/Segmentation/val.txt").unlink()
    match = r"val\.txt: no such split file; the splits here are: train; --val-share 0\.2 holds 20 % of train\.txt out"
    with pytest.raises(DataError, match=match):
        open_dataset(root, split="val")
    assert open_dataset(root).ids == ("a", "b", "c")


def test_split_with_blank_lines_and_windows_line_ends(tmp_path):
    root = make_set(tmp_path / "s")
    (root / "ImageSets/Segmentation/train.txt").write_bytes(b"\xef\xbb\xbfb\r\n\r\na\r\n")
    assert open_dataset(root).ids == ("b", "a")


@pytest.mark.parametrize(
    ("ids", "match"),
    [
        ((), r"train\.txt: the split is empty; write one id per line"),
        (("a", "b", "a"), r"train\.txt, line 3: id 'a' is on line 1 already; remove one"),
        (("../a",), r"line 1: id '\.\./a' leads out of the data folder"),
        (("x/../../a",), "leads out of the data folder"),
        (("..\\a",), "leads out of the data folder"),
        (("/etc/passwd",), "leads out of the data folder"),
        (("C:\\a",), "leads out of the data folder"),
    ],
)
def test_bad_split_files(tmp_path, ids, match):
    root = make_set(tmp_path / "s")
    list_ids(root, *ids)
    with pytest.raises(DataError, match=match):
        open_dataset(root)


def test_split_that_is_not_text(tmp_path):
    root = make_set(tmp_path / "s")
    (root / "ImageSets/Segmentation/train.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(DataError, match=r"train\.txt: not readable as UTF-8 text"):
        open_dataset(root)


@pytest.mark.parametrize(
    ("names", "match"),
    [(["x"], "1 class name, 'x'; add background as the first line"), (["x", "y", "x"], "'x' is there twice")],
)
def test_bad_class_names(tmp_path, names, match):
    with pytest.raises(DataError, match=rf"class_names\.txt: .*{match}"):
        open_dataset(make_set(tmp_path / "s", names=names))


def test_missing_image_and_mask(tmp_path):
    root = make_set(tmp_path / "s")
    ds = open_dataset(root)
    (root / "JPEGImages/a.png").unlink()
    (root / "SegmentationClass/b.png").unlink()
    with pytest.raises(DataError, match=r"JPEGImages/a\.jpg: no such file .*remove 'a' from the split"):
        ds.sample(0)
    with pytest.raises(DataError, match=r"SegmentationClass/b\.png: no such file"):
        ds.sample(1)


def test_sizes_that_differ(tmp_path):
    root = make_set(tmp_path / "s")
    write_mask(root / "SegmentationClass/b.png", np.zeros((8, 6), np.uint8))
    match = r"b\.png: the mask has 8 rows and 6 columns, its image b\.png has 6 rows and 8 columns"
    with pytest.raises(DataError, match=match):
        open_dataset(root).sample(1)
    with pytest.raises(DataError, match=match):
        open_dataset(root).check()


@pytest.mark.parametrize(
    ("turned", "cause"), [(6, "drawn on the image as its file stores it.*EXIF"), (1, "lost that tag")]
)
def test_sizes_that_are_swapped_are_explained_by_the_turning_of_phones(tmp_path, turned, cause):
    root = make_set(tmp_path / "s")
    exif = Image.Exif()
    exif[0x0112] = turned
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(root / "JPEGImages/b.png", exif=exif)
    write_mask(root / "SegmentationClass/b.png", np.zeros((6, 8) if turned == 6 else (8, 6), np.uint8))
    with pytest.raises(DataError, match=rf"b\.png: the mask has .*: .*{cause}") as caught:
        open_dataset(root).sample(1)
    assert ("exiftool -Orientation= b.png" in str(caught.value)) == (turned == 6)


def test_a_mask_drawn_on_the_turned_view_fits(tmp_path):
    root = make_set(tmp_path / "s")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(np.zeros((6, 8, 3), np.uint8)).save(root / "JPEGImages/b.png", exif=exif)
    write_mask(root / "SegmentationClass/b.png", np.zeros((8, 6), np.uint8))
    assert open_dataset(root).sample(1)[1].shape == (8, 6)


def test_two_images_of_one_name_are_said(tmp_path):
    root = make_set(tmp_path / "s")
    Image.fromarray(np.full((6, 8, 3), 1, np.uint8)).save(root / "JPEGImages/b.BMP")
    with pytest.warns(UserWarning, match=r"1 file is not read.*: b\.png is read, b\.BMP is not; remove one of them"):
        open_dataset(root).check()


def test_mask_that_exists_only_as_jpeg(tmp_path):
    root = make_set(tmp_path / "s")
    (root / "SegmentationClass/a.png").unlink()
    Image.fromarray(np.zeros((6, 8), np.uint8)).save(root / "SegmentationClass/a.jpg")
    with pytest.raises(DataError, match=r"a\.jpg: this mask is a JPEG file"):
        open_dataset(root).mask(0)


def test_check_lists_all_bad_files_at_once(tmp_path):
    root = make_set(tmp_path / "s", ids=[f"i{n:02}" for n in range(30)])
    (root / "JPEGImages/i00.png").write_bytes(b"nothing")
    (root / "SegmentationClass/i01.png").unlink()
    ds = open_dataset(root)  # i21 ... i29 carry labels 21 ... 29, which VOC does not have
    with pytest.raises(DataError) as caught:
        ds.check()
    lines = str(caught.value).splitlines()
    assert lines[0] == f"{root}: 11 of 30 samples of split 'train' cannot be used:"
    assert len(lines) == 12 and "i00.png: not a JPEG" in lines[1] and "i01.png: no such file" in lines[2]
    assert "i21.png: label 21" in lines[3] and "i29.png: label 29" in lines[11]


def test_check_counts_what_it_does_not_list(tmp_path):
    root = make_set(tmp_path / "s", ids=[f"i{n:02}" for n in range(30)], names=("x", "y"))
    with pytest.raises(DataError) as caught:
        open_dataset(root).check()
    lines = str(caught.value).splitlines()
    assert len(lines) == 22 and lines[-1] == "  ... and 8 more"


@needs_real_data
def test_real_voc():
    ds = open_dataset(REAL / "VOCdevkit", split="trainval")
    ds.check()
    assert (ds.name, len(ds), ds.num_classes) == ("voc", 21, 21)
    image, mask = ds.sample(0)
    assert image.shape[:2] == mask.shape and {0, 255} < set(np.unique(mask).tolist())


@needs_real_data
def test_real_camvid():
    ds = open_dataset(REAL / "camvid", split="val", limit=3)
    ds.check()
    assert (ds.name, len(ds), ds.class_names) == ("camvid", 3, CAMVID_CLASSES)
    assert ds.palette[:2].tolist() == [[128, 128, 128], [128, 0, 0]]
    assert ds.sample(0)[0].shape == (360, 480, 3)


def test_ids_that_windows_wrote_and_ids_with_a_backslash(tmp_path):
    root = make_set(tmp_path / "s", ids=["x\\y", "z"])
    (root / "JPEGImages/sub").mkdir()
    (root / "JPEGImages/z.png").rename(root / "JPEGImages/sub/z.png")
    list_ids(root, "x\\y", "sub\\z")
    assert open_dataset(root).ids == ("x\\y", "sub/z")
    assert (open_dataset(root).image(1) == 1).all()
