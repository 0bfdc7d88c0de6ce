"""labelme's JSON files: shapes are drawn as its own converter draws them, and hostile files are refused."""

import base64
import io
import json
import time
import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from layout_folders import save, write_labelme
from PIL import Image, ImageDraw

from minideeplab.data import open_dataset
from minideeplab.data.images import image_size
from minideeplab.data.labelme import LINE_WIDTH, draw, read_json
from minideeplab.errors import DataError

SIZE = (40, 50)
NAMES = ("_background_", "cat", "dog")


def shape(kind, *points, label="cat", **more):
    return {"label": label, "points": [list(point) for point in points], "shape_type": kind, **more}


def drawn(tmp_path, *shapes, size=SIZE, names=NAMES):
    write_labelme(tmp_path / "a.json", shapes, "a.png", size)
    return draw(tmp_path / "a.json", read_json(tmp_path / "a.json"), size, names)


def inside(condition):
    y, x = np.mgrid[: SIZE[0], : SIZE[1]]
    return condition(x, y)


def test_a_polygon_covers_its_inside_and_a_later_shape_an_earlier(tmp_path):
    big = shape("polygon", (5, 5), (30, 5), (30, 25), (5, 25))
    small = shape("polygon", (10, 10), (20, 10), (20, 20), (10, 20), label="dog")
    mask = drawn(tmp_path, big, small)
    in_big = inside(lambda x, y: (5 <= x) & (x <= 30) & (5 <= y) & (y <= 25))
    in_small = inside(lambda x, y: (10 <= x) & (x <= 20) & (10 <= y) & (y <= 20))
    np.testing.assert_array_equal(mask, np.where(in_small, 2, np.where(in_big, 1, 0)))
    assert not (drawn(tmp_path, small, big) == 2).any()


@settings(max_examples=20)
@given(
    points=st.lists(st.tuples(st.floats(-20, 70), st.floats(-20, 60)), min_size=3, max_size=8),
    kind=st.sampled_from(["polygon", "linestrip"]),
)
def test_shapes_are_those_of_pillow_as_labelme_draws_them(tmp_path_factory, points, kind):
    canvas = Image.new("L", SIZE[::-1])
    pen = ImageDraw.Draw(canvas)
    if kind == "polygon":
        pen.polygon(points, outline=1, fill=1)
    else:
        pen.line(points, fill=1, width=LINE_WIDTH)
    np.testing.assert_array_equal(drawn(tmp_path_factory.getbasetemp(), shape(kind, *points)), np.asarray(canvas))


@given(x=st.floats(-60, 110), y=st.floats(-60, 100), edge=st.tuples(st.floats(-1e3, 1e3), st.floats(-1e3, 1e3)))
def test_a_circle_is_all_that_is_near_its_centre(tmp_path_factory, x, y, edge):
    mask = drawn(tmp_path_factory.getbasetemp(), shape("circle", (x, y), edge))
    radius = np.hypot(edge[0] - x, edge[1] - y)
    distance = inside(lambda u, v: np.hypot(u - x, v - y))
    clear = abs(distance - radius) > 1e-6
    np.testing.assert_array_equal(mask[clear], (distance <= radius)[clear])


@pytest.mark.parametrize("corners", [((20, 30), (4, 6)), ((4, 6), (20, 6), (20, 30), (4, 30))])
def test_a_rectangle_by_two_corners_in_any_order_or_by_four(tmp_path, corners):
    mask = drawn(tmp_path, shape("rectangle", *corners))
    np.testing.assert_array_equal(mask, inside(lambda x, y: (4 <= x) & (x <= 20) & (6 <= y) & (y <= 30)))


def test_a_mask_of_pixels(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 2, (7, 9)).astype(bool)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    made = shape("mask", (3, 2), (11, 8), mask=base64.b64encode(file.getvalue()).decode())
    mask = drawn(tmp_path, made, shape("mask", (45, 35), (53, 41), mask=made["mask"], label="dog"))  # half outside
    np.testing.assert_array_equal(mask[2:9, 3:12], pixels)
    np.testing.assert_array_equal(mask[35:, 45:], 2 * pixels[:5, :5])
    assert mask.sum() == pixels.sum() + 2 * pixels[:5, :5].sum()


def photographs(root, *shapes, names="abcde", size=SIZE):
    for name in names:
        save(root / f"{name}.jpg", np.zeros((*size, 3), np.uint8))
        write_labelme(root / f"{name}.json", shapes, f"{name}.jpg", size)
    return root


def test_classes_without_a_list_are_the_labels_sorted_behind_background(tmp_path):
    root = photographs(tmp_path, shape("circle", (9, 9), (9, 12), label="dog"), shape("circle", (30, 30), (9, 12)))
    write_labelme(root / "b.json", [shape("rectangle", (1, 1), (3, 3), label="__ignore__")], "b.jpg", SIZE)
    ds = open_dataset(root)
    assert ds.class_names == NAMES and any("the classes are those of the shapes" in note for note in ds.notes)
    assert open_dataset(root, split="val").class_names == NAMES
    number = [*ds.ids, "b"].index("b")
    if number < len(ds):
        assert (ds.mask(number) == 255).sum() == 9


def test_a_list_without_background_gets_one(tmp_path):
    root = photographs(tmp_path, shape("circle", (9, 9), (9, 12)))
    (root / "classes.txt").write_text("dog\ncat\n")
    ds = open_dataset(root)
    assert ds.class_names == ("_background_", "dog", "cat") and set(np.unique(ds.mask(0))) == {0, 2}
    assert any("background is not the first name" in note for note in ds.notes)


def test_points_are_left_out_and_said(tmp_path):
    root = photographs(tmp_path, shape("point", (9, 9)), shape("polygon", (1, 1)), shape("rectangle", (1, 1), (2, 2)))
    ds = open_dataset(root)
    assert ds.mask(0).sum() == 4 and any("10 shapes are points, which cover no pixels" in note for note in ds.notes)


def test_photographs_and_other_files_that_are_left_out(tmp_path):
    root = photographs(tmp_path, shape("rectangle", (1, 1), (2, 2)))
    save(root / "x.png", np.zeros((3, 3, 3), np.uint8))
    (root / "coco.json").write_text('{"images": []}')
    notes = open_dataset(root).notes
    assert any("1 file (x) without a JSON file" in note for note in notes)
    assert any("1 file (coco.json) not of labelme" in note for note in notes)


def test_a_turned_photograph_is_drawn_on_as_it_is_shown(tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    for name in "ab":
        Image.new("RGB", (50, 40)).save(tmp_path / f"{name}.jpg", exif=exif)
        write_labelme(tmp_path / f"{name}.json", [shape("rectangle", (1, 42), (3, 44))], f"{name}.jpg", (50, 40))
    assert image_size(tmp_path / "a.jpg") == (50, 40)
    image, mask = open_dataset(tmp_path).sample(0)
    assert image.shape[:2] == mask.shape == (50, 40) and mask[42:45, 1:4].all() and mask.sum() == 9
    write_labelme(tmp_path / "a.json", [], "a.jpg", (40, 50))
    with pytest.raises(DataError, match="50 rows and 40 columns: it was changed and turned by a quarter"):
        open_dataset(tmp_path, split="all").check()


@pytest.mark.parametrize("listed", ["../photos/a.jpg", "..\\photos\\a.jpg", "C:\\somewhere\\else.jpg"])
def test_json_files_in_a_folder_of_their_own(tmp_path, listed):
    save(tmp_path / "photos/a.jpg", np.zeros((*SIZE, 3), np.uint8))
    (tmp_path / "json").mkdir()
    write_labelme(tmp_path / "json/a.json", [shape("rectangle", (1, 1), (2, 2))], listed, SIZE)
    ds = open_dataset(tmp_path, split="all")
    assert ds.ids == ("json/a",) and ds.sample(0)[1].sum() == 4


def test_an_image_outside_the_data_is_not_read(tmp_path):
    save(tmp_path / "secret.jpg", np.zeros((*SIZE, 3), np.uint8))
    (tmp_path / "set").mkdir()
    write_labelme(tmp_path / "set/a.json", [shape("rectangle", (1, 1), (2, 2))], "../secret.jpg")
    with pytest.raises(DataError, match=r"set/a\.jpg: no such file"):
        open_dataset(tmp_path / "set", split="all").check()


# What is refused

FAULTS = [
    (shape("polygon", (1, 1), (2, 2), (float("nan"), 3)), r"shape 1 \('cat'\) has points that are not two numbers"),
    (shape("polygon", (1, 1), (2, 2), (float("inf"), 3)), "has points that are not two numbers"),
    (shape("polygon", (1, 1), (2, 2), (10**400, 3)), "has points that are not two numbers"),
    (shape("polygon", (1, 1), (2, 2), (2e6, 3)), r"up to 1e\+06"),
    (shape("polygon", (1, 1), (2, 2), (True, 3)), "has points that are not two numbers"),
    (shape("polygon", (1, 1), (2, 2), (1, 2, 3)), "has points that are not two numbers"),
    ({"label": "cat", "points": "x"}, "has points that are not two numbers"),
    (shape("circle", (1, 1)), "is a circle of 1 points, and needs 2"),
    (shape("rectangle", (1, 1), (2, 2), (3, 3)), "is a rectangle of 3 points"),
    (shape("star", (1, 1)), "is of the kind 'star', which is none of polygon, rectangle"),
    (shape(["x"], (1, 1)), "is of the kind a list"),
    (shape("polygon", label=""), "shape 1 has no label"),
    (shape("polygon", label="a\nb"), "shape 1 has no label"),
    (shape("polygon", label="\ud800"), "shape 1 has no label"),
    (shape("polygon", label="x" * 201), "shape 1 has no label"),
    ("x", "shape 1 has no label"),
    (shape("mask", (1, 1), (5, 5), mask="?"), "has a mask that cannot be read"),
    (shape("mask", (1, 1), (5, 5), mask=7), "has a mask that cannot be read"),
    (shape("mask", (1, 1), (5, 5)), "has a mask that cannot be read"),
]


@pytest.mark.parametrize(("fault", "match"), FAULTS)
def test_a_shape_at_fault_is_named_with_its_file(tmp_path, fault, match):
    root = photographs(tmp_path, shape("rectangle", (1, 1), (2, 2)))
    write_labelme(root / "c.json", [fault], "c.jpg")
    with pytest.raises(DataError, match=rf"1 of 5 samples .*\n.*c\.json: .*{match}"):
        open_dataset(root, split="all").check()


@pytest.mark.parametrize(
    ("content", "match"),
    [
        ("", "not readable as JSON"),
        ("[" * 100_000, "not readable as JSON"),
        ('{"a":' * 100_000, "not readable as JSON"),
        ("9" * 5000, "not readable as JSON"),
        ("\xff\xfe", "not readable as JSON|not of labelme"),
        ("[]", "it has no list of shapes"),
        ('{"shapes": {}}', "it has no list of shapes"),
        (json.dumps({"shapes": [0] * 10_001}), "10001 shapes, more than the 10,000"),
        ('{"shapes": [' + "[]," * 250_001 + "[]]}", "250002 shapes, more than"),
        ('{"shapes": [' + "[]," * 600_000 + "[]]}", "more than 500,000 points"),
        ('{"shapes": [' + "0," * 2_000_001 + "0]}", "more than 500,000 points"),
    ],
)
def test_a_hostile_file_costs_little(tmp_path, content, match):
    path = tmp_path / "a.json"
    path.write_text(content, encoding="latin-1")
    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(DataError, match=rf"a\.json: .*({match})"):
        read_json(path)
    assert tracemalloc.get_traced_memory()[1] < 100e6 and time.process_time() - start < 10
    tracemalloc.stop()


def test_a_file_of_gigabytes_is_not_read(tmp_path):
    with open(tmp_path / "a.json", "wb") as file:
        file.truncate(2**31)
    with pytest.raises(DataError, match=r"2147483648 bytes, more than the 50,000,000 of any drawing"):
        read_json(tmp_path / "a.json")


@settings(max_examples=30)
@given(
    content=st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
        lambda each: (
            st.lists(each, max_size=4)
            | st.dictionaries(st.sampled_from(["shapes", "points", "label", "shape_type", "imagePath", "mask"]), each)
        ),
    )
)
def test_any_json_is_drawn_or_a_data_error(tmp_path_factory, content):
    path = tmp_path_factory.getbasetemp() / "any.json"
    for text in (content, {"shapes": [content, content]}, {"shapes": [{"label": "cat", "points": content}]}):
        path.write_text(json.dumps(text))
        try:
            assert draw(path, read_json(path), SIZE, NAMES).shape == SIZE
        except DataError as error:
            assert str(path) in str(error)


def test_a_label_that_is_no_class(tmp_path):
    root = photographs(tmp_path, shape("rectangle", (1, 1), (2, 2), label="cow"))
    (root / "classes.txt").write_text("background\ncat\n")
    with pytest.raises(
        DataError, match=r"labelled 'cow', which is none of the classes \(background, cat\); correct it"
    ):
        open_dataset(root).mask(0)


def test_no_label_at_all(tmp_path):
    with pytest.raises(DataError, match="0 different labels in the JSON files; label some shapes"):
        open_dataset(photographs(tmp_path))
