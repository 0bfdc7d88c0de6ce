"""The page in a browser without a window: no error, and what the pointer reads is what the network said."""

import json

import numpy as np
import pytest
from browser import EXECUTABLE, Browser
from report_runs import Pictures, make_report, scores_of

NAMES = ("sky", "road", "</script>$", "Straße")
EPOCHS = 3

# What a user would do: point at pixels, choose an epoch, move by keys, sort a table, read a curve.
PROBE = """
async function until(condition) { // pictures are decoded in a thread of their own
  for (let i = 0; i < 1000 && !condition(); i++) await new Promise((done) => setTimeout(done, 10));
}
async function after(element, act) {
  const before = element.textContent;
  act();
  await until(() => element.textContent !== before);
}
function point(frame, x, y, width, height) {
  const box = frame.getBoundingClientRect();
  const place = {clientX: box.left + (x + 0.5) / width * box.width, clientY: box.top + (y + 0.5) / height * box.height};
  frame.querySelector("img, canvas").dispatchEvent(new PointerEvent("pointermove", {bubbles: true, ...place}));
}
async function probe() {
  const found = {};
  const article = document.querySelector("#samples .scene"), readout = article.querySelector(".readout");
  article.scrollIntoView();
  const canvas = article.querySelector(".verdict");
  await until(() => canvas.width === WIDTH);
  found.reads = [];
  const frames = [...article.querySelectorAll(".frame")];
  for (const [x, y] of PLACES) {
    await after(readout, () => point(frames[(x + y) % 4], x, y, WIDTH, HEIGHT));
    found.reads.push(readout.textContent);
  }
  await after(readout, () => article.querySelector(".strip button").click());
  found.first = readout.textContent;
  found.epoch = document.getElementById("epoch-shown").textContent;
  const pressed = document.querySelectorAll(".strip button[aria-pressed=true] span");
  found.pressed = [...pressed].map((span) => span.textContent);
  const panels = article.querySelector(".panels");
  const press = (key) => panels.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
  await after(readout, () => press("ArrowRight"));
  await after(readout, () => press("ArrowDown"));
  found.moved = readout.textContent;
  await scenes.get(article).drawVerdict();
  const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
  found.verdict = Array.from({length: canvas.width * canvas.height}, (_, i) => pixels[4 * i]);
  const names = () => [...document.querySelectorAll(".sortable tbody th")].map((cell) => cell.textContent);
  found.sorted = {};
  for (const column of [2, 1]) {
    const button = document.querySelectorAll(".sortable thead button")[column];
    for (const order of ["once", "twice"]) {
      button.click();
      found.sorted[column + order] = names();
    }
  }
  const svg = document.querySelector("svg[data-curve]");
  svg.dispatchEvent(new KeyboardEvent("keydown", {key: "ArrowLeft", bubbles: true}));
  found.curve = svg.parentElement.querySelector(".readout").textContent;
  return found;
}
probe()
"""

needs_browser = pytest.mark.skipif(EXECUTABLE is None, reason="no chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def pictures():
    return Pictures(size=(24, 36), names=NAMES)


@pytest.fixture(scope="module")
def path(tmp_path_factory, pictures):
    folder = tmp_path_factory.mktemp("runs") / "run"
    make_report(folder, pictures, epochs=EPOCHS)
    return folder / "report.html"


@needs_browser
def test_what_is_read_is_what_was_predicted(path, pictures, tmp_path):
    height, width = pictures.masks.shape[1:]
    places = [[0, 0], [35, 23], [17, 5], [4, 20], [30, 1]]
    probe = PROBE.replace("PLACES", json.dumps(places)).replace("WIDTH", str(width)).replace("HEIGHT", str(height))
    with Browser(tmp_path) as browser:
        browser.open(path)
        found = browser.run(probe)
        assert browser.complaints == []
        assert {url for url in browser.requests if not url.startswith("data:")} == {path.as_uri()}

    last, first = scores_of(pictures, EPOCHS)[0], scores_of(pictures, 1)[0]
    assert found["reads"] == [said(pictures, last, x, y) for x, y in places]
    assert found["first"] == said(pictures, first, *places[-1])
    assert found["moved"] == said(pictures, first, places[-1][0] + 1, places[-1][1] + 1)
    assert found["epoch"] == "1" and set(found["pressed"]) == {"epoch 1"} and len(found["pressed"]) == 4

    truth = pictures.masks[0]
    verdict = np.where(first.argmax(axis=-1) == truth, 58, 255)  # the red of right and wrong
    verdict[truth == pictures.ignore_index] = 224
    np.testing.assert_array_equal(found["verdict"], verdict.ravel())

    counts = np.array(json.loads((path.parent / "report" / "best.json").read_text())["confusion"])
    iou = np.diag(counts) / (counts.sum(axis=0) + counts.sum(axis=1) - np.diag(counts))
    falling = [NAMES[label] for label in np.argsort(-iou)]
    assert found["sorted"]["2once"] == falling and found["sorted"]["2twice"] == falling[::-1]
    assert found["sorted"]["1once"] == found["sorted"]["1twice"][::-1] == ["</script>$", "road", "sky", "Straße"]
    assert found["curve"] == "step 8: loss of each step 0.25"


def said(pictures, scores, x, y):
    """What the page says of a pixel, worked out from the arrays."""
    powers = np.exp(scores[y, x].astype(float) - scores[y, x].max())
    label, percent = int(scores[y, x].argmax()), round(100 / powers.sum())
    truth = int(pictures.masks[0, y, x])
    known = "void" if truth == 255 else NAMES[truth] + (" (right)" if truth == label else " (wrong)")
    return f"row {y}, column {x}: predicted {NAMES[label]}, {percent} %; truth {known}"
