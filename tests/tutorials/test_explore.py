"""explore.html in a browser without a window: what it says of any stack is what the library computes."""

import importlib.util
import json
import random

import numpy as np
import pytest
from browser import EXECUTABLE, Browser
from places import ROOT

import kernels
from kernels.geometry import Window
from minideeplab.cost import receptive_field

PAGE = ROOT / "tutorials" / "explore.html"
READY = """
(async () => { while (!document.body.dataset.ready) await new Promise((done) => setTimeout(done, 20)); })()
"""
PROBE = """
(function probe(stacks) {
  const found = {numbers: [], counts: [], reading: [], at: []};
  for (const {layers, size, position, limit} of stacks) {
    const numbers = numbersOf(layers, size), sizes = [size, ...numbers.map((row) => row.size)], top = layers.length - 1;
    found.numbers.push(numbers);
    found.counts.push(paths(layers, top).map((path) => [...counts(layers, path, top, position, sizes)[0]]));
    found.reading.push(reading(layers, top));
    found.at.push(atOutputStride(layers, limit));
  }
  return found;
})(STACKS)
"""
USE = """
(async function use() {
  const found = {}, frame = () => new Promise(requestAnimationFrame);
  const read = () => ["field", "share", "shared", "readout"].map((id) => document.getElementById(id).textContent);
  for (const preset of DATA.presets) { choose(preset); found[preset.key] = read(); }
  const press = (key) => new KeyboardEvent("keydown", {key, bubbles: true});
  const key = (name, id) => document.getElementById(id).dispatchEvent(press(name));
  choose(DATA.presets[0]);
  const before = [state.row, state.column, state.top];
  key("ArrowRight", "picture"); key("ArrowDown", "side"); key("PageDown", "picture");
  found.moved = [state.row - before[0], state.column - before[1], state.top - before[2]];
  const side = document.getElementById("side"), box = side.getBoundingClientRect();
  const place = {clientX: box.left + box.width / 2, clientY: box.top + box.height * 0.5 / (layers.length + 1)};
  side.dispatchEvent(new PointerEvent("pointermove", {bubbles: true, ...place}));
  found.pointed = state.top;
  const rate = document.querySelector("#rows input");
  rate.value = "3,5"; rate.dispatchEvent(new Event("change"));
  found.changed = [layers[layers.length - 1].r, read()[0]];
  document.getElementById("add").click();
  found.added = layers.length;
  document.querySelector("#rows .gone").click();
  found.removed = layers.length;
  const wrong = document.querySelector("#rows input");
  wrong.value = "0"; wrong.dispatchEvent(new Event("change"));
  found.refused = document.getElementById("trouble").textContent;
  choose(DATA.presets.find((preset) => preset.key === "stride"));
  const limit = document.getElementById("limit");
  limit.value = "4"; limit.dispatchEvent(new Event("change"));
  found.limited = [layers.map((layer) => [layer.s, layer.r[0]]), read()[0]];
  const kept = [state.row * 4, state.column * 4].map((p, i) => Math.abs(p - FIRST[i]));
  found.strayed = Math.max(...kept); // pixels
  document.querySelector("#rows select").focus();
  document.activeElement.dispatchEvent(new Event("change"));
  found.focused = document.activeElement === document.querySelector("#rows select");
  document.querySelector("#picture").focus();
  for (let i = 0; i < 99; i++) key("ArrowRight", "picture");
  const {side: seen, left} = view(), x = centre(state.column);
  found.seen = x >= left && x < left + seen;
  found.unlabelled = [...document.querySelectorAll("button, select, input, canvas")].filter(
    (e) => !(e.labels && e.labels.length) && !e.getAttribute("aria-label") && !e.textContent.trim()).length;
  found.agrees = document.getElementById("agrees").textContent;
  return found;
})()
"""

WIDER = """
(function wider() {
  choose(DATA.presets[DATA.presets.length - 1]); // the most layers
  const cut = [...document.querySelectorAll("main, main *")].filter((e) => e.tagName !== "OPTION" && (
    e.getBoundingClientRect().right > document.documentElement.clientWidth + 0.5
    || (!["INPUT", "SELECT", "CANVAS"].includes(e.tagName) && e.clientWidth && e.scrollWidth > e.clientWidth + 1)));
  return cut.map((e) => `${e.tagName} ${e.className} ${e.id} ${e.textContent}`);
})()
"""

needs_browser = pytest.mark.skipif(EXECUTABLE is None, reason="no chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def explore():
    spec = importlib.util.spec_from_file_location("tutorials_explore", ROOT / "tutorials" / "explore.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        browser.open(PAGE)
        browser.run(READY)
        yield browser


def stacks(explore):
    """Random stacks, with an output of the last map."""
    rng, found = random.Random(0), []
    while len(found) < 40:
        layers = [explore.layer(rng.choice((1, 2, 3, 4, 5)), rng.choice((1, 1, 2, 3)), rng.choice((1, 2, 3, 6)))
                  for _ in range(rng.randint(1, 5))]  # fmt: skip
        if len(found) % 4 == 0:
            layers[-1]["r"] = [1, 4]
        size = rng.randint(40, 90)
        try:
            rows = explore.numbers(layers, size)
        except ValueError:  # smaller than the kernel
            continue
        position = rng.randrange(rows[-1]["size"])
        found.append({"layers": layers, "size": size, "position": position, "limit": rng.choice((1, 2, 4))})
    return found


def windows(layers, path, size):
    """A Window of each layer, for one column of a picture."""
    found = []
    for each, r in zip(layers, path, strict=True):
        pad = r * (each["k"] - 1) // 2
        found.append(Window.conv((1, size, 1, 1), (each["k"], 1, 1, 1), (each["s"], 1), (r, 1), ((pad, pad), (0, 0))))
        size = found[-1].out_h
    return found


def paths_to_pixels(layers, path, size, position):
    """The derivative of one output by each pixel, with all weights one: the number of paths between them."""
    k, chain = kernels.load("reference"), windows(layers, path, size)
    grad = np.zeros((1, chain[-1].out_h, 1, 1))
    grad[0, position] = 1
    for window in reversed(chain):
        grad = k.conv2d_grad_input(grad, np.ones(window.w_shape), window)
    return grad[0, :, 0, 0]


def test_the_page_is_what_its_script_makes(explore):
    text = explore.page()
    committed = PAGE.read_text(encoding="utf-8")
    assert explore.without_picture(committed) == explore.without_picture(text), "python tutorials/explore.py"
    assert len(committed) < 400_000 and "http://" not in text and "https://" not in text


def test_the_table_follows_the_formula(explore):
    for _, _, _, layers in explore.presets():
        rows = explore.numbers(layers)
        chain = [(each["k"], each["s"], max(each["r"])) for each in layers]
        assert [row["field"] for row in rows] == [receptive_field(chain[: i + 1]) for i in range(len(chain))]


@needs_browser
def test_random_stacks_are_those_of_the_library(explore, browser):
    tried = stacks(explore)
    found = browser.run(PROBE.replace("STACKS", json.dumps(tried)))
    for i, each in enumerate(tried):
        layers, size = each["layers"], each["size"]
        assert found["numbers"][i] == explore.numbers(layers, size)
        choices = [[layer["r"][0] for layer in layers[:-1]] + [r] for r in layers[-1]["r"]]
        for choice, pairs in zip(choices, found["counts"][i], strict=True):
            counts = np.zeros(size)
            for pixel, number in pairs:
                counts[pixel] = number
            np.testing.assert_array_equal(counts, paths_to_pixels(layers, choice, size, each["position"]))


@needs_browser
def test_what_is_read_far_from_borders(explore, browser):
    """From the middle of a map so large that no path meets a border."""
    tried = stacks(explore)[:12]
    found = browser.run(PROBE.replace("STACKS", json.dumps(tried)))["reading"]
    for each, said in zip(tried, found, strict=True):
        layers, size, masks = each["layers"], 2000, {}
        for shift in (0, 1):
            seen = 0
            for r in layers[-1]["r"]:
                path = [layer["r"][0] for layer in layers[:-1]] + [r]
                middle = windows(layers, path, size)[-1].out_h // 2
                one = paths_to_pixels(layers, path, size, middle) > 0
                other = paths_to_pixels(layers, path, size, middle + shift) > 0
                # every r has its own padding, so the middles of the branches are put on one another
                seen = seen | np.outer(_about(one, one), _about(other, one))
            masks[shift] = seen
        assert said == {"pixels": masks[0].sum(), "both": (masks[0] & masks[1]).sum()}


def _about(seen, origin):
    """201 pixels about the middle of the pixels that `origin` reads."""
    places = np.flatnonzero(origin)
    middle = (places[0] + places[-1]) // 2
    return seen[middle - 100 : middle + 101]


@needs_browser
def test_a_smaller_output_stride_keeps_the_field(explore, browser):
    tried = [each for each in stacks(explore) if all(layer["k"] % 2 for layer in each["layers"])]
    found = browser.run(PROBE.replace("STACKS", json.dumps(tried)))["at"]
    for each, layers in zip(tried, found, strict=True):
        strides = np.cumprod([layer["s"] for layer in layers])
        assert strides.max(initial=1) <= max(each["limit"], 1)
        size = 10 * each["size"]
        assert explore.numbers(layers, size)[-1]["field"] == explore.numbers(each["layers"], size)[-1]["field"]


@needs_browser
@pytest.mark.parametrize("width", (360, 800, 1280))
def test_nothing_is_wider_than_the_screen(browser, width):
    metrics = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.call("Emulation.setDeviceMetricsOverride", **metrics)
    over = browser.run(WIDER)
    browser.call("Emulation.clearDeviceMetricsOverride")
    assert over == []


@needs_browser
def test_the_page_as_it_is_used(explore, browser):
    found = browser.run(USE)
    for key, _, _, layers in explore.presets():
        field = explore.numbers(layers)[-1]["field"]
        assert found[key][0] == f"{field} × {field}"
        assert found[key][3].startswith(f"Layer {len(layers)}, ")
    assert found["222"][1:3] == ["29 %", "0 %"] and found["123"][1:3] == ["100 %", "92 %"]
    assert found["multigrid"][1:3] == ["27 %", "0 %"]
    assert found["moved"] == [1, 1, -1] and found["pointed"] == 4
    assert found["changed"] == [[3, 5], "19 × 19"] and found["added"] == 6 and found["removed"] == 5
    assert "whole number" in found["refused"]
    assert found["limited"] == [[[2, 1], [2, 1], [1, 1], [1, 2], [1, 4]], "63 × 63"]
    assert found["strayed"] <= 4 + 4, "another output stride looks at the same place, to half an output of either map"
    assert found["focused"] and found["seen"] and found["unlabelled"] == 0
    assert "all equal" in found["agrees"]
    assert browser.complaints == []
    assert {url for url in browser.requests if not url.startswith("data:")} == {PAGE.as_uri()}
