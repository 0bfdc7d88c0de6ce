"""Files found by name: any case of the suffix, one list of suffixes, and one listing of a folder."""

import os
import time
from pathlib import Path

import pytest

from minideeplab.data import IMAGE_SUFFIXES, find_images, folders, skipped_note
from minideeplab.data.folders import find_file
from minideeplab.errors import DataError


def touch(folder, *names, seconds_ago=0):
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    if seconds_ago:
        os.utime(folder, (time.time() - seconds_ago,) * 2)


@pytest.mark.parametrize("suffix", [*IMAGE_SUFFIXES, ".JPG", ".Jpg", ".Jpeg", ".PNG", ".Bmp", ".WEBP", ".TIF"])
def test_a_suffix_in_any_case_is_found_by_id_and_in_the_folder(tmp_path, suffix):
    touch(tmp_path, f"a{suffix}", "b.txt")
    assert find_file(tmp_path, "a") == tmp_path / f"a{suffix}"
    assert find_images(tmp_path) == ([tmp_path / f"a{suffix}"], [tmp_path / "b.txt"])


def test_of_several_files_the_first_suffix_of_the_list_is_taken(tmp_path):
    touch(tmp_path, "a.png", "a.JPG", "a.jpg", "a.b.png", "sub/c.PNG")
    assert find_file(tmp_path, "a").name == "a.jpg"
    assert find_file(tmp_path, "a", (".png", ".jpg")).name == "a.png"
    assert find_file(tmp_path, "a.b").name == "a.b.png"
    assert find_file(tmp_path, "sub/c") == tmp_path / "sub/c.PNG"


@pytest.mark.parametrize("name", ["a", "sub/a", ".", "b"])
def test_a_missing_file_is_named(tmp_path, name):
    touch(tmp_path, "A.png")
    with pytest.raises(DataError, match=rf"{name}\.jpg: no such file .*remove '{name}' from the split file"):
        find_file(tmp_path, name)


def test_a_file_of_another_kind_is_named_with_the_list(tmp_path):
    touch(tmp_path, "a.gif")
    with pytest.raises(DataError, match=r"there is a\.gif, but what is read are \.jpg, \.jpeg, \.png, \.bmp, .*\.tiff"):
        find_file(tmp_path, "a")
    with pytest.raises(DataError, match="ids are written without suffix"):
        find_file(tmp_path, "b.JPG")


@pytest.mark.parametrize("name", ["x" * 256, "é" * 128, "a/" + "x" * 3000, "x" * 10**6])
def test_an_id_that_no_file_can_have_is_refused_in_few_words(tmp_path, name):
    with pytest.raises(
        DataError, match=r"the id '.*\.\.\. is longer than the name of a file can be|no such file"
    ) as caught:
        find_file(tmp_path, name)
    assert len(str(caught.value)) < 1200


def test_an_id_with_a_zero_byte_or_a_very_deep_one_is_refused(tmp_path):
    for name in ("a\0/b", "a\0b", "a/" * 4000 + "b"):
        with pytest.raises(DataError, match="no such file"):
            find_file(tmp_path, name)


def test_images_of_the_same_name_are_twins(tmp_path):
    touch(tmp_path, "im.jpg", "im.BMP", "im.txt", "other.png")
    assert folders.twins(tmp_path / "im.jpg") == [tmp_path / "im.BMP"]
    assert folders.twins(tmp_path / "other.png") == []


@pytest.mark.parametrize("seconds_ago", [0, 60])
def test_files_that_come_and_go_are_seen(tmp_path, seconds_ago):
    touch(tmp_path, "a.png", "b.png", seconds_ago=seconds_ago)
    assert find_file(tmp_path, "a").name == "a.png"
    (tmp_path / "a.png").rename(tmp_path / "c.png")
    assert find_file(tmp_path, "c").name == "c.png"
    with pytest.raises(DataError, match="no such file"):
        find_file(tmp_path, "a")


def test_a_large_folder_is_listed_once(tmp_path, monkeypatch):
    names = [f"{number:04}" for number in range(300)]
    touch(tmp_path, *(f"{name}.Png" for name in names), seconds_ago=60)
    listings, listdir = [], os.listdir
    monkeypatch.setattr(folders.os, "listdir", lambda folder: listings.append(folder) or listdir(folder))
    for name in names:
        find_file(tmp_path, name)
        with pytest.raises(DataError):
            find_file(tmp_path, f"x{name}")
    assert listings == [tmp_path]


def test_what_is_skipped_is_said(tmp_path):
    touch(tmp_path, "b.PNG", "a.jpg", "1.gif", "2.GIF", "notes", ".hidden.jpg", "folder.jpg/x")
    images, skipped = find_images(tmp_path)
    assert [path.name for path in images] == ["a.jpg", "b.PNG"]
    note = skipped_note(tmp_path, skipped)
    assert note.startswith(f"{tmp_path}: files that are not read as images: 2 .gif, 1 no suffix (")
    assert all(suffix in note for suffix in IMAGE_SUFFIXES)
    assert skipped_note(Path(), []) is None
