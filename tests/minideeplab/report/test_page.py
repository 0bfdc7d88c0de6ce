"""The page as HTML: well formed, complete, and nothing in it that somebody else wrote as HTML."""

import base64
import hashlib
import html
import json
import re

import numpy as np
import pytest
from html_pages import Page
from hypothesis import given
from hypothesis import strategies as st
from report_runs import NASTY, Pictures, make_report

from minideeplab.report import curves


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    folder = tmp_path_factory.mktemp("runs") / "run <1> {{style}}"
    make_report(folder)
    return (folder / "report.html").read_text(encoding="utf-8")


def test_it_is_well_formed_and_ids_are_unique(text):
    page = Page(text)
    assert len(page.ids) == len(set(page.ids)) >= 8
    links = [attributes["href"] for tag, attributes in page.elements if tag == "a"]
    assert links and all(link.startswith("#") and link[1:] in page.ids for link in links)


def test_it_loads_nothing(text):
    page = Page(text)
    for tag, attributes in page.elements:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "srcset", "href", "data", "poster", "action"):
                assert value.startswith(("data:", "#")), (tag, name, value)
    code = "".join(page.inside("style") + page.inside("script")[1:])  # the first are names of classes
    assert not re.search(r"url\(|@import|https?:|fetch\(|XMLHttpRequest|WebSocket|import\(", code)


def test_only_its_own_script_may_run(text):
    page = Page(text)
    policy = next(attributes["content"] for tag, attributes in page.elements if attributes.get("http-equiv"))
    script = re.search(r"<script>(.*?)</script>", text, re.DOTALL)[1]
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    assert f"script-src 'sha256-{digest}'" in policy and "default-src 'none'" in policy
    assert [attributes.get("type") for tag, attributes in page.elements if tag == "script"] == [
        "application/json",
        None,
    ]


def test_what_others_wrote_stays_text(text):
    page = Page(text)
    words = "".join(words for _, words in page.texts)
    for name in (*NASTY, "picture 0 </h3>", "toys & <co>", "/data/<toys>", "<b>careful</b>", "run <1> {{style}}"):
        assert name in words, name
    assert "alert(1)" not in "".join(page.inside("script")[1:]) and not page.inside("b")
    assert json.loads(page.inside("script")[0])["names"] == list(NASTY)
    assert words.count("<b>careful</b>") == 1  # a warning that came twice


def test_every_picture_is_described(text):
    for tag, attributes in Page(text).elements:
        if tag == "img":
            assert attributes["alt"]
        if tag in ("svg", "canvas"):
            assert attributes["aria-label"] and attributes["role"] == "img"


def test_scores_and_counts_stand_in_the_tables(tmp_path):
    report = make_report(tmp_path / "run", best=2)
    counts = np.array(json.loads((report.kept / "best.json").read_text())["confusion"])
    text = html.unescape((tmp_path / "run" / "report.html").read_text())
    for truth, other in ((0, 1), (3, 2)):
        share = 100 * counts[truth, other] / counts[truth].sum()
        assert f"{NASTY[truth]} called {NASTY[other]}: {share:.2f} %, {counts[truth, other]:,} pixels" in text
    iou = counts[1, 1] / (counts[1].sum() + counts[:, 1].sum() - counts[1, 1])
    assert f'data-value="{iou:.6g}">{100 * iou:.2f}</td>' in text
    assert "over 4 of 4 classes, after epoch" in text and "3 / 3 epochs" in text


def test_many_classes_have_a_list_instead_of_a_matrix(tmp_path):
    pictures = Pictures(names=[f"class {i}" for i in range(60)])
    make_report(tmp_path / "run", pictures)
    text = (tmp_path / "run" / "report.html").read_text()
    assert "<table class=matrix>" not in text and "The matrix of all 60 classes is confusion.png." in text
    Page(text)


def test_a_class_without_pixels_has_no_score(tmp_path):
    pictures = Pictures(names=("a", "b", "c"))
    pictures.masks[pictures.masks == 1] = 0
    make_report(tmp_path / "run", pictures)
    text = (tmp_path / "run" / "report.html").read_text()
    assert "no pixels of this class" in text and '<td data-value="">n/a</td>' in text


def test_before_the_first_validation_there_is_a_page(tmp_path):
    make_report(tmp_path / "run", epochs=0)
    text = (tmp_path / "run" / "report.html").read_text()
    assert "Not validated yet" in text and Page(text).ids


@given(st.lists(st.floats(0, 10), min_size=1, max_size=2000), st.integers(1, 400))
def test_means_of_a_curve_keep_its_sum(values, points):
    x, y, size = curves.means(np.arange(1, len(values) + 1), np.array(values), points)
    assert len(x) == len(y) <= points and x[-1] == len(values)
    counts = np.diff([0, *x])
    assert counts.max() == min(size, len(values))
    np.testing.assert_allclose((counts * y).sum(), np.sum(values), atol=1e-9)


@given(st.floats(-50, 50), st.floats(1e-3, 1e5))
def test_ticks_are_few_and_within(low, span):
    found = curves.ticks(low, low + span)
    assert 1 <= len(found) <= 7 and min(found) >= low - 1e-6 * span and max(found) <= low + span * (1 + 1e-6)


def test_a_curve_is_drawn_where_its_values_are():
    """Two steps are two points at the edges of the frame."""
    series = curves.Series("loss", np.array([1.0, 2.0]), np.array([2.0, 1.0]))
    svg = curves.curve("loss", "step", [series], top=2.0)
    assert re.findall(r'polyline class=main points="(.*?)"', svg) == ["52.0,10.0 448.0,110.0"]
    data = json.loads(html.unescape(re.search(r'data-curve="(.*?)"', svg)[1]))
    assert data["series"] == [["loss", [1.0, 2.0], [2.0, 1.0]]]
    assert "nothing yet" in curves.curve("loss", "step", [])
