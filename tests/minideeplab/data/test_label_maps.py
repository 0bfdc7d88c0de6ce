"""Label maps and void, as the user says them."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layout_folders import LAYOUTS
from PIL import Image
from voc_folder import make_set

from minideeplab.data import label_map_text, open_dataset, read_label_map, write_mask
from minideeplab.errors import DataError

NAMES = ("ground", "sky", "tall tree")
ITEMS = st.dictionaries(
    st.integers(0, 255) | st.just("*"), st.integers(0, 2) | st.sampled_from(NAMES), min_size=1, max_size=20
)


@given(items=ITEMS, arrow=st.sampled_from([" -> ", " ", ",", ": ", "\t", " = "]), as_json=st.booleans())
def test_a_map_is_read_from_lines_and_from_json_and_back_from_its_text(tmp_path_factory, items, arrow, as_json):
    path = tmp_path_factory.getbasetemp() / "map.txt"
    lines = "# stored, label\n" + "".join(f"{stored}{arrow}{label}\n" for stored, label in items.items())
    path.write_text(json.dumps({str(stored): label for stored, label in items.items()}) if as_json else lines)
    assert read_label_map(path) == items
    assert read_label_map(label_map_text(path)) == items
    assert label_map_text(label_map_text(path)) == label_map_text(path)


@given(items=ITEMS, void=st.none() | st.integers(3, 255))
def test_a_mask_is_read_by_the_map(tmp_path_factory, items, void):
    root = tmp_path_factory.mktemp("s")
    values = np.arange(256, dtype=np.uint8)
    root = make_set(root / "set", ["a"], NAMES, masks=[values[None]])
    ds = open_dataset(root, label_map=items, ignore_index=void)
    number = {name: label for label, name in enumerate(NAMES)}
    rest = items.get("*")
    void = 255 if void is None else void
    wanted = {value: items.get(value, rest) for value in range(256)}
    wanted = {value: number.get(label, label) for value, label in wanted.items() if label is not None}
    if rest is None:
        wanted.setdefault(void, void)
    assert ds.label_map == wanted and ds.ignore_index == void


def test_binary(tmp_path):
    root = make_set(tmp_path, ["a"], ("no", "yes"), masks=[[[0, 255]]])
    assert open_dataset(root, label_map="binary").mask(0).tolist() == [[0, 1]]
    assert open_dataset(root).mask(0).tolist() == [[0, 255]]
    with pytest.raises(DataError, match="'binary' is for two classes, and this set has 3"):
        open_dataset(make_set(tmp_path / "s", ["a"], NAMES), label_map="binary")


def test_names_void_and_the_rest(tmp_path):
    root = make_set(tmp_path, ["a"], NAMES, masks=[[[0, 1, 7, 9, 200, 255]]])
    (tmp_path / "map.txt").write_text("0 -> tall tree\n1 -> void\n7 0\n9 255\n* -> sky\n")
    assert open_dataset(root, label_map=tmp_path / "map.txt").mask(0).tolist() == [[2, 255, 0, 255, 1, 1]]
    masked = open_dataset(root, label_map={0: 0, 1: "void", 7: 1, 9: 2})
    with pytest.raises(DataError, match="label 200 at pixel"):
        masked.mask(0)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("x", r"map\.txt, line 1: 'x'; write `stored label`"),
        ("0 0\n256 1", r"map\.txt, line 2: '256' is no value of a mask"),
        ("0 0\n0 1", r"map\.txt, line 2: 0 is there already"),
        ("", "an empty label map"),
        ("{", "not readable as JSON"),
        ('{"0": [1]}', "the label of '0' is a list; write a number or a name"),
        ('{"-1": 0}', "'-1' is no value of a mask"),
        ("0 ocean", r"turns 0 into 'ocean', which is none of the 3 classes \(ground, sky, tall tree\) nor 'void'"),
        ("0 3", "turns 0 into 3, which is none of the 3 classes"),
        ("[" * 8000, r"line 1: .*write `stored label`"),
        ('{"a":' * 1500, "not readable as JSON"),
    ],
)
def test_bad_maps(tmp_path, text, match):
    (tmp_path / "map.txt").write_text(text)
    with pytest.raises(DataError, match=match):
        open_dataset(make_set(tmp_path / "s", names=NAMES), label_map=tmp_path / "map.txt")


def test_a_map_that_is_not_there(tmp_path):
    with pytest.raises(DataError, match=r"nowhere\.txt: no such file"):
        read_label_map(tmp_path / "nowhere.txt")
    with pytest.raises(DataError, match="binay: no such file"):
        read_label_map("binay")


# --ignore-index


@pytest.mark.parametrize("void", [None, -1, 255])
def test_void_255_is_what_everybody_means_by_these(tmp_path, void):
    ds = open_dataset(make_set(tmp_path, ["a"], NAMES, masks=[[[0, 2, 255]]]), ignore_index=void)
    assert ds.ignore_index == 255 and ds.mask(0).tolist() == [[0, 2, 255]]
    assert ds.check().labelled == 2


@pytest.mark.parametrize(("void", "wanted"), [(0, [0, 1, 0]), (250, [0, 1, 250])])
def test_another_void_beside_255(tmp_path, void, wanted):
    ds = open_dataset(make_set(tmp_path, ["a"], NAMES, masks=[[[0, 1, 255]]]), ignore_index=void)
    assert (ds.ignore_index, ds.mask(0).tolist()) == (void, [wanted])
    assert ds.num_classes == 3 and ds.counts.labelled == wanted.count(1) + (void == 250)


def test_void_of_a_layout_with_a_map_of_its_own(tmp_path):
    made = LAYOUTS["ade20k"](tmp_path)
    with pytest.raises(ValueError, match=r"renumbered as they are read, and 0 is then 'class 1'; void are .* 0, 255"):
        open_dataset(made.data, ignore_index=0)
    ds = open_dataset(made.data, ignore_index=200)
    truth = made.splits["train"][ds.ids[0]][1]
    np.testing.assert_array_equal(ds.mask(0), np.where(truth == 255, 200, truth))
    with pytest.raises(ValueError, match=r"must lie in -1\.\.255, got 256"):
        open_dataset(made.data, ignore_index=256)


def test_shapes_of_labelme_take_a_map_and_a_void(tmp_path):
    made = LAYOUTS["labelme"](tmp_path)
    ds = open_dataset(tmp_path, label_map={0: 0, 1: 1, 2: 1}, ignore_index=0)
    truth = made.splits["train"][ds.ids[0]][1]
    np.testing.assert_array_equal(
        open_dataset(tmp_path, label_map={0: 0, 1: 1, 2: 1}).mask(0), np.where(truth == 2, 1, truth)
    )
    np.testing.assert_array_equal(open_dataset(tmp_path, ignore_index=0).mask(0), np.where(truth == 255, 0, truth))
    np.testing.assert_array_equal(ds.mask(0), np.array([0, 1, 1, 0])[np.minimum(truth, 3)])
    with pytest.raises(DataError, match="label 2 of the class list is not in the label map"):
        open_dataset(tmp_path, label_map={0: 0, 1: 1}).check()


def coloured_set(tmp_path):
    """RGB masks: one row of ground, sky, tall tree and void."""
    root = make_set(tmp_path / "set", ["a"], NAMES)
    (root / "class_names.txt").unlink()
    (root / "classes.txt").write_text("ground 10 20 30\nsky 1 2 250\ntall tree 0 99 0\n__ignore__ 255 255 255\n")
    rgb = np.array([[[10, 20, 30], [1, 2, 250], [0, 99, 0], [255, 255, 255]]], np.uint8)
    Image.fromarray(rgb).save(root / "SegmentationClass/a.png")
    Image.fromarray(np.zeros((1, 4, 3), np.uint8)).save(root / "JPEGImages/a.png")
    return root, rgb


@given(items=ITEMS, void=st.none() | st.integers(0, 255))
@settings(max_examples=40)
def test_colours_are_mapped_as_the_values_of_their_classes(tmp_path_factory, items, void):
    root, _ = coloured_set(tmp_path_factory.mktemp("s"))
    ds = open_dataset(root, label_map=items, ignore_index=void)
    number = {name: label for label, name in enumerate(NAMES)}
    void = 255 if void is None else void
    of = {value: items.get(value, items.get("*", void if value == 255 else value)) for value in (0, 1, 2, 255)}
    wanted = [number.get(label, label) for label in of.values()]
    assert ds.mask(0).tolist() == [wanted]
    assert ds.check().pixels.sum() == 4


@pytest.mark.parametrize("void", [0, 1, 200, 255, -1])
def test_the_colour_of_void_moves_with_its_label(tmp_path, void):
    root, rgb = coloured_set(tmp_path)
    ds = open_dataset(root, ignore_index=void)
    label = void % 256
    assert ds.mask(0).tolist() == [[0, 1, 2, label]]
    assert ds.check().pixels[label] == (2 if label < 2 else 1)
    if label > 2:
        np.testing.assert_array_equal(ds.palette[ds.mask(0)], rgb)


@pytest.mark.parametrize(("label_map", "values"), [({0: 0, 1: 2, 2: 1}, (0, 1, 2)), ({0: 0, 1: 1, 2: 1}, (0, 1, 2)),
                                                   ({0: 0, 7: 1, 9: "void"}, (0, 7, 9))])  # fmt: skip
def test_palettes_agree_with_the_table_by_colour_or_by_mapped_value(tmp_path, label_map, values):
    """A map that mends numbers, one that merges classes, one of foreign values; and a palette that is wrong."""
    root, rgb = coloured_set(tmp_path)
    colours = rgb[0, :3]
    if values == (0, 1, 2) and label_map[1] == 2:
        colours = colours[[0, 2, 1]]  # the numbers are wrong, the colours right
    if values == (0, 7, 9):
        colours = rgb[0, [0, 1, 3]]
    palette = np.zeros((256, 3), np.uint8)
    palette[list(values)] = colours
    write_mask(root / "SegmentationClass/a.png", np.array([[*values, 0]], np.uint8), palette)
    open_dataset(root, label_map=label_map).check()
    palette[list(values)] = colours[[1, 0, 2]]
    write_mask(root / "SegmentationClass/a.png", np.array([[*values, 0]], np.uint8), palette)
    with pytest.raises(DataError, match=r"contradict each other[\s\S]*in classes\.txt"):
        open_dataset(root, label_map=label_map).check()
