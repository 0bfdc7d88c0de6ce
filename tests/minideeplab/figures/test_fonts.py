"""Fonts for names in any script: the right one is found, and what no font has is replaced."""

from types import SimpleNamespace

import numpy as np
import pytest

from minideeplab.figures import fonts

UNKNOWN = "\U0010fffd"  # a private sign that no font has


@pytest.fixture
def no_memory():
    """What was found before is forgotten, and again afterwards."""
    caches = fonts.font_file, fonts._files, fonts._characters
    for cache in caches:
        cache.cache_clear()
    yield
    for cache in caches:
        cache.cache_clear()


def test_names_that_no_font_has_become_numbers():
    assert fonts.drawable("Straße и ψ $") == "Straße и ψ $"
    assert fonts.drawable_names(["a", UNKNOWN * 3, "b"]) == ["a", "class 1", "b"]
    assert fonts.drawable(f"x{UNKNOWN}y") == "x?y" and fonts.drawable("\ud800") == "?"
    assert fonts.families_for(["a", UNKNOWN]) == ["DejaVu Sans"]


def test_a_font_is_found_for_signs_that_one_has(tmp_path, monkeypatch, no_memory):
    (tmp_path / "damaged.ttf").write_bytes(b"no font")
    names = [str(tmp_path / name) for name in ("damaged.ttf", "other.ttf")]
    installed = [SimpleNamespace(fname=name, style="normal", weight=400) for name in names]
    monkeypatch.setattr(fonts, "fontManager", SimpleNamespace(ttflist=installed))
    known = fonts._characters.__wrapped__
    other = np.array([ord("道")], np.uint32)
    monkeypatch.setattr(fonts, "_characters", lambda file: other if file == names[1] else known(file))
    assert fonts.font_file("道") == names[1] and fonts.font_file("路") is None and fonts.font_file("a") == fonts.FIRST
