"""One table of colours for a data set: how it is written, and masks that contradict it or each other."""

import dataclasses
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from voc_folder import list_ids, make_set

from minideeplab.data import (
    PaletteAgreement,
    open_dataset,
    read_colour_lines,
    read_colours,
    set_palette,
    voc_colour_map,
    write_mask,
)
from minideeplab.errors import DataError

NAMES = ("ground", "red car", "green tree")
TABLE = [("ground", (0, 0, 0)), ("red car", (255, 0, 0)), ("green tree", (0, 200, 10))]
MASK = np.repeat(np.uint8([[0, 1, 2, 2], [1, 1, 0, 2]]), 3, axis=0)
HALVES = np.repeat(np.uint8([[0, 1]]), 4, axis=0)
RED, GREEN, WHITE = (255, 0, 0), (0, 255, 0), (255, 255, 255)


def palette(*colours, rest=(0, 0, 0)):
    return np.array([*colours, *[rest] * (256 - len(colours))], np.uint8)


@pytest.mark.parametrize(
    ("name", "lines"),
    [
        ("colors.txt", "0 0 0 ground\n255 0 0 red car\n\n# what grows\n0 200 10 green tree\n"),
        ("colours.txt", "\ufeffground 0 0 0\r\nred car 255 0 0\r\ngreen tree 0 200 10\r\n"),
        ("colors.txt", "ground,0,0,0\nred car,255,0,0\ngreen tree , 0, 200, 10"),
        ("colors.txt", "0,0,0,ground\n255;0;0;red car\n0\t200\t10\tgreen tree"),
        ("colors.txt", "#000000 ground\nred car #ff0000\n#00C80A,green tree"),
        (
            "labelmap.txt",
            "# label:color_rgb:parts:actions\nground:0,0,0::\nred car:255,0,0::\ngreen tree:0,200,10::a,b\n",
        ),
    ],
)
def test_each_way_to_write_a_table(tmp_path, name, lines):
    (tmp_path / name).write_text(lines, encoding="utf-8", newline="")
    assert read_colour_lines(tmp_path / name) == TABLE
    table = read_colours(tmp_path, NAMES)
    assert table.shape == (256, 3) and table.dtype == np.uint8
    assert [tuple(row) for row in table[:3].tolist()] == [colour for _, colour in TABLE]
    assert table[255].tolist() == [224, 224, 192]  # nothing is said of void: it is VOC's


@given(st.lists(st.tuples(st.text("abc xyz#:é", min_size=1), st.tuples(*[st.integers(0, 255)] * 3)), min_size=1))
def test_what_is_written_is_read(tmp_path_factory, entries):
    entries = [(" ".join(f"n{name}".replace("#", "_").replace(":", "-").split()), colour) for name, colour in entries]
    entries = [(name, colour) for colour, name in {colour: name for name, colour in dict(entries).items()}.items()]
    path = tmp_path_factory.mktemp("t") / "colors.txt"
    path.write_text("".join(f"{r} {g} {b} {name}\n" for name, (r, g, b) in entries), encoding="utf-8")
    assert read_colour_lines(path) == entries
    path.write_text("".join(f"{name}, #{r:02X}{g:02x}{b:02x}\n" for name, (r, g, b) in entries), encoding="utf-8")
    assert read_colour_lines(path) == entries


def test_names_decide_and_not_the_order_and_void_has_a_colour(tmp_path):
    (tmp_path / "colors.txt").write_text("255 255 255 void\n0 200 10 green tree\n0 0 0 ground\n255 0 0 red car\n")
    table = read_colours(tmp_path, NAMES, ignore_index=250)
    assert table[[0, 1, 2, 250]].tolist() == [[0, 0, 0], [255, 0, 0], [0, 200, 10], [255, 255, 255]]
    assert read_colours(tmp_path)[[0, 1, 2, 255]].tolist() == [[0, 200, 10], [0, 0, 0], [255, 0, 0], [255, 255, 255]]


def test_no_table_and_a_labelmap_of_another_program(tmp_path):
    assert read_colours(tmp_path) is None
    (tmp_path / "labelmap.txt").write_text("0 ground\n1 car\n")
    assert read_colours(tmp_path, NAMES) is None


@pytest.mark.parametrize(
    ("lines", "match"),
    [
        ("0 0 ground", r"colors\.txt, line 1: '0 0 ground' is not 'r g b name'"),
        ("0 0 256 ground", "is not 'r g b name', with r, g and b from 0 to 255"),
        ("ground", "is not 'r g b name'"),
        ("0 0 0", "line 1: '0 0 0' names no class"),
        ("#000000", "names no class"),
        ("0 0 0 1 2 3", "has two colours; write the name in letters"),
        ("", "no colours; write one 'r g b name' a line"),
        ("0 0 0 a\n0 0 1 a", "the name 'a' is there twice"),
        ("0 0 0 a\n0 0 0 b", r"the colour \(0, 0, 0\) is there twice; give each class its own colour"),
        ("0 0 0 ground\n255 0 0 red car", "no colour of class 'green tree'; write a line for each"),
        ("0 0 0 ground\n1 0 0 red car\n2 0 0 green tree\n3 0 0 sky", "'sky' is none of the classes .*or call it void"),
        ("0 0 0 ground\n1 0 0 red car\n2 0 0 green tree\n3 0 0 void\n4 0 0 ignore", "void and ignore are both void"),
    ],
)
def test_a_table_that_cannot_be_used(tmp_path, lines, match):
    (tmp_path / "colors.txt").write_text(lines)
    with pytest.raises(DataError, match=match):
        read_colours(tmp_path, NAMES)


@pytest.mark.parametrize("content", [b"\xff\xfe0\x000", b"1 2 3 x\n" * 200_000, b"\0" * 500, b"9" * 900_000])
def test_hostile_tables_are_refused_at_once(tmp_path, content):
    (tmp_path / "colors.txt").write_bytes(content)
    tracemalloc.start()
    with pytest.raises(DataError, match=r"colors\.txt") as caught:
        read_colours(tmp_path)
    assert tracemalloc.get_traced_memory()[1] < 50e6 and len(str(caught.value)) < 500
    tracemalloc.stop()


def rgb_set(root, table=True):
    root = make_set(root, "ab", NAMES, masks=[MASK, MASK])
    colours = np.uint8([colour for _, colour in TABLE])
    for name in "ab":
        Image.fromarray(colours[MASK]).save(root / f"SegmentationClass/{name}.png")
    if table:
        (root / "colors.txt").write_text("".join(f"{r} {g} {b} {name}\n" for name, (r, g, b) in TABLE))
    return root


def test_rgb_masks_are_looked_up_in_the_table_of_the_set(tmp_path):
    ds = open_dataset(rgb_set(tmp_path / "s"))
    np.testing.assert_array_equal(ds.mask(1), MASK)
    assert ds.check().pixels[:3].tolist() == (2 * np.bincount(MASK.ravel())).tolist()
    with pytest.raises(
        DataError, match=r"colour \(255, 0, 0\) .*drawn with other colours: .*add a line 'NAME r g b', or 'void r g b'"
    ):
        open_dataset(rgb_set(tmp_path / "t", table=False)).mask(0)


def test_the_palette_is_that_of_the_set_whatever_the_split_says(tmp_path):
    root = make_set(tmp_path / "s", "abc", NAMES[:2], palette(GREEN, RED), masks=[HALVES] * 3)
    Image.fromarray(np.uint8([GREEN, RED])[HALVES]).save(root / "SegmentationClass/b.png")
    for first in "abc":
        list_ids(root, *sorted("abc", key=lambda name: name != first))
        ds = open_dataset(root)
        assert ds.palette[:2].tolist() == [list(GREEN), list(RED)]
        for i in range(3):
            np.testing.assert_array_equal(ds.mask(i), HALVES)


def test_grey_palettes_and_broken_masks_do_not_give_the_colours(tmp_path):
    write_mask(tmp_path / "b.png", HALVES, np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1))
    (tmp_path / "a.png").write_bytes(b"nothing")
    masks = [tmp_path / "a.png", tmp_path / "b.png"]
    np.testing.assert_array_equal(set_palette(tmp_path, masks), voc_colour_map())
    write_mask(tmp_path / "c.png", HALVES, palette(GREEN, RED))
    assert set_palette(tmp_path, [*masks, tmp_path / "c.png"])[:2].tolist() == [list(GREEN), list(RED)]


def painted(root, **palettes):
    """A set with a mask of labels 0 and 1 for each of these palettes."""
    make_set(root, list(palettes), NAMES, masks=[HALVES] * len(palettes))
    for name, colours in palettes.items():
        write_mask(root / f"SegmentationClass/{name}.png", HALVES, colours)
    return root


def test_palettes_that_contradict_each_other_are_named_with_label_colours_and_files(tmp_path):
    black_red, black_green = palette((0, 0, 0), RED), palette((0, 0, 0), GREEN)
    root = painted(tmp_path / "s", a=black_red, b=black_red, c=black_red, d=black_red, e=black_green)
    with pytest.raises(DataError, match="contradict each other, so that one label has several meanings") as caught:
        open_dataset(root).check()
    lines = str(caught.value).splitlines()
    shown = "(255, 0, 0) in 4 masks (a.png, b.png, c.png, ...); (0, 255, 0) in e.png"
    assert lines[1:-1] == [f"  label 1 (red car): {shown}"]
    assert "export all masks with one palette" in lines[-1] and "colors.txt" in lines[-1]


def test_the_fix_that_the_message_gives_works(tmp_path):
    """Each file has numbered its colours by itself."""
    root = painted(tmp_path / "s", a=palette((0, 0, 0), RED), b=palette((0, 0, 0), (0, 200, 10)))
    with pytest.raises(DataError, match="contradict each other"):
        open_dataset(root).check()
    (root / "colors.txt").write_text("".join(f"{r} {g} {b} {name}\n" for name, (r, g, b) in TABLE))
    with pytest.raises(
        DataError, match=r"label 1 \(red car\): .*\(0, 200, 10\) in b\.png; \(255, 0, 0\) in colors\.txt"
    ):
        open_dataset(root).check()
    for file in sorted((root / "SegmentationClass").iterdir()):
        Image.open(file).convert("RGB").save(file)
    ds = open_dataset(root)
    ds.check()
    np.testing.assert_array_equal(ds.mask(0), HALVES)
    np.testing.assert_array_equal(ds.mask(1), HALVES * 2)


@pytest.mark.parametrize(
    "other",
    [
        palette((0, 0, 0), RED, rest=(9, 9, 9)),  # label 2 does not occur
        palette((0, 0, 0), RED, WHITE),
        np.arange(256, dtype=np.uint8)[:, None].repeat(3, axis=1),  # nobody chose these
    ],
)
def test_palettes_that_differ_only_where_no_pixel_is_are_fine(tmp_path, other):
    root = painted(tmp_path / "s", a=palette((0, 0, 0), RED, GREEN), b=other)
    open_dataset(root).check()


def test_void_may_have_two_colours_but_not_that_of_a_class(tmp_path):
    mask = np.repeat(np.uint8([[0, 1, 255]]), 4, axis=0)
    root = make_set(tmp_path / "s", "ab", NAMES, masks=[mask, mask])
    for name, void in (("a", WHITE), ("b", (224, 224, 192))):
        colours = palette((0, 0, 0), RED)
        colours[255] = void
        write_mask(root / f"SegmentationClass/{name}.png", mask, colours)
    open_dataset(root).check()
    colours[255] = RED
    write_mask(root / "SegmentationClass/b.png", mask, colours)
    with pytest.raises(DataError, match=r"label 255 \(void\): \(255, 255, 255\) in a\.png; \(255, 0, 0\) in b\.png"):
        open_dataset(root).check()


def test_splits_are_compared_with_each_other_and_mapped_values_are_named(tmp_path):
    root = painted(tmp_path / "s", a=palette((0, 0, 0), RED), b=palette((0, 0, 0), GREEN))
    list_ids(root, "a")
    list_ids(root, "b", split="val")
    swapped = {0: 1, 1: 0, 255: 255}
    train, val = (dataclasses.replace(open_dataset(root, split=s), label_map=swapped) for s in ("train", "val"))
    train.check()
    val.check()
    both = PaletteAgreement(train)
    train.check(palettes=both)
    with pytest.raises(
        DataError, match=r"value 1, label 0 \(ground\): \(255, 0, 0\) in a\.png; \(0, 255, 0\) in b\.png"
    ):
        val.check(palettes=both)


@given(st.integers(0, 2**32 - 1))
def test_any_contradiction_is_found_and_nothing_else(tmp_path_factory, seed):
    """Against the definition: two masks hold the same label in different colours."""
    rng = np.random.default_rng(seed)
    root = make_set(tmp_path_factory.mktemp("s") / "s", "abc", ("x", "y", "z"), masks=[HALVES] * 3)
    seen, wrong = {}, set()
    for name in "abc":
        mask = rng.choice(rng.permutation(3)[:2], (4, 5)).astype(np.uint8)
        colours = palette(
            *(np.array([[10, 0, 0], [0, 20, 0], [0, 0, 30]])[(np.arange(3) + (rng.random(3) < 0.15)) % 3])
        )
        write_mask(root / f"SegmentationClass/{name}.png", mask, colours)
        Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(root / f"JPEGImages/{name}.png")
        for label in np.unique(mask).tolist():
            if seen.setdefault(label, colours[label].tolist()) != colours[label].tolist():
                wrong.add(label)
    found = PaletteAgreement(open_dataset(root))
    for name in "abc":
        found.add(root / f"SegmentationClass/{name}.png")
    problem = found.problem() or ""
    assert {label for label in range(3) if f"  label {label} (" in problem} == wrong
