"""The page as a file: complete, packed as it says, and with no HTML in it that somebody else wrote."""

import base64
import gzip
import html
import json
import os
import re

import numpy as np
import pytest
from html_pages import Page

from minideeplab.data.palettes import voc_colour_map
from minideeplab.errors import UsageError
from minideeplab.export import page
from minideeplab.export.page import write_page

NASTY = ("</script><b>", "<!--<script>", "{{script}} & \"quoted\" 'too'", "Straße 雲")


def make_runtime(folder, name="onnxruntime-web", version="1.2.3<", without=None):
    """A folder like that of the npm package."""
    (folder / "dist").mkdir(parents=True)
    (folder / "package.json").write_text(json.dumps({"name": name, "version": version}))
    for file, content in ((page.SCRIPT, b"// {{facts}} </script>"), (page.WASM, b"\0asm" * 999)):
        if file != without:
            (folder / file).write_bytes(content)
    return folder


@pytest.fixture
def runtime(tmp_path):
    return make_runtime(tmp_path / "package")


@pytest.fixture
def write(tmp_path, runtime):
    """Writes a page and gives its text."""

    def written(network=b"network", names=NASTY, name="a <b> {{style}}", **options):
        path = tmp_path / "demo.html"
        assert write_page(path, network, names, voc_colour_map(), name, runtime, **options) == path
        return path.read_text(encoding="utf-8")

    return written


def element(text, name):
    """What stands in the script element with this id."""
    return re.search(rf'<script type="[a-z/-]+" id="{name}">(.*?)</script>', text, re.S)[1]


def test_it_is_well_formed_and_names_are_text(write):
    text = write()
    found = Page(text)
    assert len(found.ids) == len(set(found.ids)) >= 20
    assert found.inside("h1") == ["a <b> {{style}}"] and found.inside("title") == ["a <b> {{style}} - minideeplab"]
    assert not [tag for tag, _ in found.elements if tag == "b"]
    assert not re.search(r"\{\{\w+\}\}", text.replace("{{style}}", "").replace("{{script}}", ""))
    facts = json.loads(element(text, "facts"))
    assert facts["classes"] == [[name, voc_colour_map()[label].tolist()] for label, name in enumerate(NASTY)]
    assert facts["size"] is None and facts["smallest"] == 1 and facts["fill"] == [124, 116, 104]
    assert "1.2.3&lt;" in text and "Permission is hereby granted" in text  # the notice that the licence asks for


def test_what_is_packed_is_what_was_given(write, runtime):
    network = np.random.default_rng(0).bytes(5000)
    text = write(network, sample=b"\x89PNG...")
    for name, content in (
        ("network", network),
        ("runtime-script", (runtime / page.SCRIPT).read_bytes()),
        ("runtime-wasm", (runtime / page.WASM).read_bytes()),
    ):
        packed = base64.b64decode(element(text, name), validate=True)
        assert gzip.decompress(packed) == content and packed[4:8] == bytes(4)  # without the time of day
    assert base64.b64decode(element(text, "drawn-sample")) == b"\x89PNG..."
    assert write(network, sample=b"\x89PNG...") == text


def test_one_script_may_run_and_nothing_is_loaded(write):
    found = Page(write())
    policy = next(a["content"] for _, a in found.elements if a.get("http-equiv") == "Content-Security-Policy")
    scripts = [a for tag, a in found.elements if tag == "script"]
    assert [a.get("type") for a in scripts].count(None) == 1
    text = next(text for tag, text in found.texts[::-1] if tag == "script")
    assert f"'sha256-{page.script_hash(text)}'" in policy
    assert "base-uri 'none'" in policy and "form-action 'none'" in policy
    assert "default-src 'none'" in policy and "connect-src" not in policy and "http" not in policy
    for _, attributes in found.elements:
        assert not {"src", "action", "srcset", "data"} & set(attributes)
        assert attributes.get("href", "data:,") == "data:,"


def test_a_network_of_one_size_offers_no_other(write):
    any_size, one_size = write(), write(size=(65, 97))
    assert Page(any_size).ids.count("longest") == 1 and "longest" not in Page(one_size).ids
    assert json.loads(element(one_size, "facts"))["size"] == [65, 97]
    assert "reads 97 × 65 pixels" in html.unescape(one_size)


def test_each_control_has_a_label(write):
    """The words that a screen reader says."""
    found = Page(write())
    labelled = {a.get("for") for tag, a in found.elements if tag == "label"}
    inputs = [a["id"] for tag, a in found.elements if tag == "input"]
    assert inputs and set(inputs) <= labelled


def test_a_network_that_is_too_large_is_refused(write, monkeypatch, tmp_path):
    monkeypatch.setattr(page, "MAX_NETWORK", 1_500_000)
    write(bytes(1_500_000))
    (tmp_path / "demo.html").unlink()
    with pytest.raises(UsageError, match=r"the network has 300 classes, and a page holds 256 at most"):
        write(names=[str(label) for label in range(300)])
    with pytest.raises(UsageError, match=r"the network has 2\.3 MB, and a page holds 2 MB at most; .*--width"):
        write(bytes(2_300_000))
    assert not (tmp_path / "demo.html").exists()


def test_a_palette_has_a_row_for_each_class(tmp_path, runtime):
    with pytest.raises(ValueError, match="shorter"):
        write_page(tmp_path / "demo.html", b"", NASTY, voc_colour_map()[:3], "net", runtime)


def test_the_runtime_is_found_from_the_folder_below_it(tmp_path, monkeypatch):
    make_runtime(tmp_path / "project" / "node_modules" / "onnxruntime-web")
    deep = tmp_path / "project" / "runs" / "today"
    deep.mkdir(parents=True)
    monkeypatch.chdir(deep)
    assert page.read_runtime().version == "1.2.3<"
    monkeypatch.chdir(tmp_path)
    for folder in ("project", "project/node_modules", "project/node_modules/onnxruntime-web"):
        assert page.read_runtime(tmp_path / folder).wasm == b"\0asm" * 999
    if not any((above / "node_modules" / page.PACKAGE).is_dir() for above in tmp_path.parents):
        with pytest.raises(
            UsageError, match=rf"no node_modules/onnxruntime-web in {re.escape(os.getcwd())}, nor .*npm"
        ):
            page.read_runtime()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"without": page.WASM}, r"version 1\.2\.3< .* has no .*threaded\.wasm"),
        ({"name": "onnxruntime-node"}, "the package 'onnxruntime-node', not onnxruntime-web"),
    ],
)
def test_another_package_is_refused(tmp_path, change, message):
    with pytest.raises(UsageError, match=message) as caught:
        page.read_runtime(make_runtime(tmp_path / "package", **change))
    assert "npm install onnxruntime-web@" in str(caught.value) and "--runtime" in str(caught.value)


@pytest.mark.parametrize("content", [None, "[1]", "{", '{"name": "onnxruntime-web"}'])
def test_a_folder_that_is_no_package_is_refused(tmp_path, content):
    if content is not None:
        (tmp_path / "package.json").write_text(content)
    with pytest.raises(UsageError, match=f"{re.escape(str(tmp_path))}: .*npm install onnxruntime-web@"):
        page.read_runtime(tmp_path)
