"""The page in a browser without a window: its labels are those of the network, pixel for pixel."""

import base64
import io
import json
import os
import struct

import numpy as np
import pytest
from browser import EXECUTABLE, Browser
from export_networks import checkpoint, narrow
from PIL import Image, PngImagePlugin

from minideeplab.data.palettes import voc_colour_map
from minideeplab.errors import UsageError
from minideeplab.export.command import main
from minideeplab.export.onnx_file import logits_of
from minideeplab.export.page import read_runtime, write_page

NAMES = ("</script>$", "Straße", "{{facts}}", "night", "white")
COLOURS = np.array([[200, 40, 40], [40, 200, 40], [40, 40, 200], [10, 10, 10], [255, 255, 255]])
SMALL = (9, 11)
PALETTE = voc_colour_map()[40:][: len(NAMES)]

pytestmark = pytest.mark.skipif(EXECUTABLE is None, reason="no chromium: apt-get install chromium")


@pytest.fixture(scope="module")
def runtime():
    """The folder of the npm package."""
    folder = os.environ.get("MINIDEEPLAB_ORT_WEB")
    try:
        read_runtime(folder)
    except UsageError:
        if folder:
            raise
        pytest.skip("no onnxruntime-web: install it by npm, and name its folder in MINIDEEPLAB_ORT_WEB")
    return folder


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    with Browser(tmp_path_factory.mktemp("profile")) as browser:
        yield browser


@pytest.fixture
def opened(runtime, browser, tmp_path):
    """Opens a page with a network, and gives the browser."""

    def open_page(network, **options):
        path = write_page(tmp_path / "demo.html", network, NAMES, PALETTE, "net <1>", runtime, **options)
        browser.complaints.clear()
        browser.requests.clear()
        browser.open(path)
        return browser

    return open_page


def nearest_colour(size=("H", "W"), copies=0):
    """A network in ONNX that names the nearest of COLOURS: argmax of 2 c.x - c.c, which is exact in float32.

    Args:
        size: of its image; copies: of its maps that it makes, side by side, and drops again, so that it needs memory.
    """
    onnx = pytest.importorskip("onnx")
    node, kind = onnx.helper.make_node, onnx.TensorProto
    weights = {
        "w": (2 * COLOURS).reshape(-1, 3, 1, 1).astype(np.float32),
        "b": -(COLOURS**2).sum(axis=1).astype(np.float32),
        "repeats": np.array([1, 1, 1, copies]),
        "first": np.array([0]),
        "last": np.array([SMALL[1]]),
        "axis": np.array([3]),
    }
    nodes = [
        node("Cast", ["image"], ["float"], to=kind.FLOAT),
        node("Transpose", ["float"], ["nchw"], perm=[0, 3, 1, 2]),
        node("Conv", ["nchw", "w", "b"], ["scores"]),
        *(
            [node("Tile", ["scores", "repeats"], ["many"]), node("Slice", ["many", "first", "last", "axis"], ["one"])]
            if copies
            else []
        ),
        node("ArgMax", ["one" if copies else "scores"], ["best"], axis=1, keepdims=0),
        node("Cast", ["best"], ["labels"], to=kind.UINT8),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "nearest",
        [onnx.helper.make_tensor_value_info("image", kind.UINT8, [1, *size, 3])],
        [onnx.helper.make_tensor_value_info("labels", kind.UINT8, [1, *size])],
        [onnx.numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return model.SerializeToString()


def labels_of(image):
    """What the network says, in NumPy."""
    return (2 * image.astype(int) @ COLOURS.T - (COLOURS**2).sum(axis=1)).argmax(axis=-1)


def noise(height, width, seed=0):
    """Colours of any kind, near and far from those of the classes."""
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def png(image, **options):
    buffer = io.BytesIO()
    Image.fromarray(image).save(buffer, "PNG", **options)
    return buffer.getvalue()


def choose(browser, path):
    """Chooses a file in the page's own input."""
    root = browser.call("DOM.getDocument")["root"]["nodeId"]
    node = browser.call("DOM.querySelector", nodeId=root, selector="#file")["nodeId"]
    browser.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])


def give(browser, how, *files):
    """Drops or pastes (name, bytes) as files; what the page says afterwards is of these."""
    listed = json.dumps([[name, base64.b64encode(data).decode()] for name, data in files])
    browser.run(f"""(() => {{
  byId("status").textContent = "";
  const transfer = new DataTransfer();
  for (const [name, data] of {listed}) {{
    const bytes = Uint8Array.from(atob(data), (letter) => letter.charCodeAt(0));
    transfer.items.add(new File([bytes], name, {{type: "image/png"}}));
  }}
  const options = {{bubbles: true, cancelable: true, dataTransfer: transfer, clipboardData: transfer}};
  document.body.dispatchEvent(new {"DragEvent" if how == "drop" else "ClipboardEvent"}("{how}", options));
}})()""")


def settled(browser):
    """Waits until the page works on nothing; gives its status and its trouble."""
    return browser.run("""(async () => {
  for (let i = 0; i < 6000; i++) {
    await new Promise((done) => setTimeout(done, 10));
    await running;
    const words = ["status", "trouble"].map((id) => byId(id).textContent);
    if (words[1] || words[0].includes(" pixels in ")) return words;
  }
})()""")


def saved(browser):
    """The labels of the PNG that the page saves; its palette is that of the classes."""
    data = browser.run("""(async () => {
  const bytes = new Uint8Array(await (await labelsPng()).arrayBuffer());
  return btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""));
})()""")
    image = Image.open(io.BytesIO(base64.b64decode(data)))
    assert image.mode == "P" and image.getpalette()[: PALETTE.size] == PALETTE.ravel().tolist()
    return np.asarray(image)


def test_the_labels_are_those_of_the_network(opened, tmp_path):
    image = noise(37, 53)
    (tmp_path / "noise.png").write_bytes(png(image))
    browser = opened(nearest_colour())
    choose(browser, tmp_path / "noise.png")
    status, trouble = settled(browser)
    assert "read 53 × 37 pixels in" in status and not trouble
    expected = labels_of(image)
    assert len(np.unique(expected)) == len(NAMES)
    np.testing.assert_array_equal(saved(browser), expected)

    drawn = browser.run("[...byId('labels').getContext('2d').getImageData(0, 0, 53, 37).data]")
    np.testing.assert_array_equal(np.reshape(drawn, (37, 53, 4))[..., :3], PALETTE[expected])
    counts = np.bincount(expected.ravel())
    rows = browser.run(
        "[...document.querySelectorAll('.class')].map((row) => [...row.children].map((part) => part.textContent))"
    )
    order = np.argsort(-counts, kind="stable")
    assert rows == [["", NAMES[label], f"{100 * counts[label] / expected.size:.1f} %"] for label in order]
    assert browser.run("byId('absent').hidden")

    for y, x in ((0, 0), (36, 52), (11, 40)):
        said = browser.run(f"""(() => {{
  const box = byId("photo").getBoundingClientRect();
  const place = {{clientX: box.left + {(x + 0.5) / 53} * box.width, clientY: box.top + {(y + 0.5) / 37} * box.height}};
  byId("photo").dispatchEvent(new PointerEvent("pointermove", {{bubbles: true, ...place}}));
  return byId("readout").textContent;
}})()""")
        assert said == f"row {y}, column {x}: {NAMES[expected[y, x]]}"
    browser.run("byId('frame').focus()")
    for key in ("ArrowLeft", "ArrowDown"):
        for kind in ("keyDown", "keyUp"):
            browser.call("Input.dispatchKeyEvent", type=kind, key=key)
    assert browser.run("byId('readout').textContent") == f"row 12, column 39: {NAMES[expected[12, 39]]}"

    assert browser.complaints == []
    assert {url for url in browser.requests if not url.startswith(("data:", "blob:"))} == {
        (tmp_path / "demo.html").as_uri()
    }


@pytest.mark.parametrize(
    ("name", "options"),
    [("deeplabv3plus", []), ("torchvision-lraspp_mobilenet_v3_large", ["--size", "49", "70"])],
)
def test_an_exported_network_gives_its_labels(browser, runtime, tmp_path, name, options):
    """Kernels of the whole network in WebAssembly; pixels whose two largest logits are nearly equal are left out."""
    pytest.importorskip("onnx")
    network, html = narrow(name, width=0.125), tmp_path / "demo.html"
    saved_as = str(checkpoint(tmp_path / "best.npz", network))
    command = ["--checkpoint", saved_as, "--html", str(html), *options]
    assert main([*command, *(["--runtime", runtime] if runtime else [])]) == 0
    browser.complaints.clear()
    browser.open(html)
    image = noise(49, 70)
    give(browser, "drop", ("noise.png", png(image)))
    status, trouble = settled(browser)
    assert "read 70 × 49 pixels in" in status and not trouble
    logits = logits_of(network, image[None])[0]
    second, first = np.sort(logits, axis=0)[-2:]
    clear = first - second > 1e-4 * np.abs(logits).max()
    found = np.reshape(browser.run("[...shown.labels]"), (49, 70))
    assert clear.mean() > 0.99 and len(np.unique(found)) > 1
    np.testing.assert_array_equal(found[clear], logits.argmax(axis=0)[clear])
    assert browser.complaints == []


@pytest.mark.parametrize(
    ("image", "longest", "said"),
    [
        (
            (20, 60),
            513,
            "60 × 20 pixels are too small: the network needs 33 or more on each side. Give a larger",
        ),
        ((60, 600), 257, "257 × 26 pixels are too small: the network needs 33 or more on each side. Choose a"),
    ],
)
def test_an_image_that_is_too_small_for_the_network_is_refused(opened, image, longest, said):
    browser = opened(nearest_colour(), smallest=33)
    browser.run(f"byId('longest').value = '{longest}'")
    give(browser, "drop", ("small.png", png(noise(*image))))
    status, trouble = settled(browser)
    assert trouble.startswith(said) and status == ""
    give(browser, "drop", ("good.png", png(noise(33, 40))))
    assert "read 40 × 33 pixels in" in settled(browser)[0]


def test_colours_are_those_of_the_file_whatever_its_profile(opened):
    """Chromium makes other colours of a file that says that its numbers are linear."""
    browser, image = opened(nearest_colour()), noise(40, 50)
    said = PngImagePlugin.PngInfo()
    said.add(b"gAMA", struct.pack(">I", 100_000))
    said.add(b"cHRM", struct.pack(">8I", 31270, 32900, 64000, 33000, 30000, 60000, 15000, 6000))
    give(browser, "drop", ("linear.png", png(image, pnginfo=said)))
    settled(browser)
    np.testing.assert_array_equal(saved(browser), labels_of(image))


def test_a_broken_file_does_not_cancel_the_image_before_it(opened):
    browser, image = opened(nearest_colour()), noise(40, 50)
    browser.run("""{
  const decode = createImageBitmap;
  window.createImageBitmap = async (source, options) => {
    if (source.name === "good.png") await new Promise((done) => setTimeout(done, 300));
    return decode(source, options);
  };
}""")
    give(browser, "drop", ("good.png", png(image)))
    give(browser, "drop", ("notes.txt", b"no image"))
    assert settled(browser)[1].startswith("notes.txt (image/png) is not an image")
    browser.run("new Promise((done) => setTimeout(done, 400)).then(() => running)")
    np.testing.assert_array_equal(saved(browser), labels_of(image))


def test_a_street_that_cannot_be_drawn_is_said(opened):
    browser = opened(nearest_colour())
    browser.run("window.createImageBitmap = async () => { throw new Error('no bitmap'); }; byId('sample').click()")
    assert settled(browser)[1] == "no bitmap"


def test_an_answer_that_nobody_waits_for_is_dropped(opened):
    browser = opened(nearest_colour())
    browser.run("network.ready")
    browser.run("network.worker.onmessage({data: {number: 99}})")


def test_what_a_worker_asks_for_and_complains_of_is_seen(browser, tmp_path):
    page = tmp_path / "worker.html"
    page.write_text("<!doctype html><title>worker</title>", encoding="utf-8")
    browser.complaints.clear()
    browser.requests.clear()
    browser.open(page)
    browser.run("""new Promise((done) => {
  const code = "fetch('http://127.0.0.1:9/seen').catch(() => { console.error('heard'); postMessage(0); })";
  new Worker(URL.createObjectURL(new Blob([code]))).onmessage = done;
}).then(() => 0)""")
    assert "http://127.0.0.1:9/seen" in browser.requests
    assert "heard" in json.dumps(browser.complaints)


def test_a_class_is_seen_alone(opened):
    browser = opened(nearest_colour())
    image = np.repeat(COLOURS[[1, 0]], 8, axis=0).astype(np.uint8)[None].repeat(9, axis=0)
    give(browser, "drop", ("two.png", png(image)))
    settled(browser)
    alpha = "[...byId('labels').getContext('2d').getImageData(0, 0, 16, 9).data].filter((_, i) => i % 4 === 3)"
    press = "document.querySelectorAll('.class')[0].click()"
    assert set(browser.run(alpha)) == {255}
    browser.run(press)  # label 0, the first of equal shares: it must not pass for "none"
    np.testing.assert_array_equal(np.reshape(browser.run(alpha), (9, 16)) > 0, labels_of(image) == 0)
    assert browser.run("[...document.querySelectorAll('.class')].map((row) => row.ariaPressed)") == ["true", "false"]
    give(browser, "drop", ("same.png", png(image)))
    settled(browser)
    assert 0 in browser.run(alpha)  # the next image shows it alone, too
    browser.run(press)
    assert set(browser.run(alpha)) == {255}


def test_a_large_image_is_scaled_down_and_its_labels_are_enlarged(opened):
    browser = opened(nearest_colour())
    image = np.zeros((300, 900, 3), np.uint8)
    image[:, 420:] = COLOURS[1]
    give(browser, "drop", ("large.png", png(image)))
    status, _ = settled(browser)
    assert "read 513 × 171 pixels" in status and "enlarged to 900 × 300" in status
    labels = saved(browser)
    assert labels.shape == (300, 900)
    small = np.reshape(browser.run("[...shown.labels]"), (171, 513))
    rows, columns = (np.floor((np.arange(n) + 0.5) * m / n).astype(int) for n, m in ((300, 171), (900, 513)))
    np.testing.assert_array_equal(labels, small[rows][:, columns])
    wrong = np.flatnonzero((labels != labels_of(image)).any(axis=0))
    assert abs(wrong - 420).max(initial=0) <= 4  # at the edge alone

    browser.run("byId('status').textContent = ''; byId('longest').value = 'Infinity'")
    browser.run("byId('longest').dispatchEvent(new Event('change'))")
    assert "read 900 × 300 pixels" in settled(browser)[0]
    np.testing.assert_array_equal(saved(browser), labels_of(image))


def test_a_network_of_one_size_sees_the_image_in_a_frame(opened):
    browser = opened(nearest_colour(size=(40, 60)), size=(40, 60))
    image = noise(31, 60)
    give(browser, "paste", ("part.png", png(image)))
    assert "read 60 × 40 pixels" in settled(browser)[0]
    np.testing.assert_array_equal(saved(browser), labels_of(image))
    tall = np.repeat(COLOURS[[2, 1, 2]], (40, 20, 40), axis=0).astype(np.uint8)[:, None].repeat(50, axis=1)
    give(browser, "drop", ("tall.png", png(tall)))  # 100 rows in 40: 50 columns in 20
    settled(browser)
    assert browser.run("shown.inner") == [20, 40]
    wrong = np.flatnonzero((saved(browser) != labels_of(tall)).any(axis=1))
    assert wrong.size < 12 and set(browser.run("[...shown.labels]")) == {1, 2}


def test_the_camera_says_which_side_is_up_and_transparent_is_white(opened, tmp_path):
    browser = opened(nearest_colour())
    exif = Image.Exif()
    exif[0x0112] = 6  # to be turned by a quarter, clockwise
    image = noise(20, 30)
    image[:10] = COLOURS[0]
    give(browser, "drop", ("turned.png", png(image, exif=exif)))
    settled(browser)
    np.testing.assert_array_equal(saved(browser), labels_of(np.rot90(image, -1)))

    image = np.zeros((12, 16, 4), np.uint8)
    image[:, 8:] = [*COLOURS[2], 255]
    give(browser, "drop", ("sticker.png", png(image)))
    settled(browser)
    np.testing.assert_array_equal(saved(browser), np.repeat([4, 2], 8)[None].repeat(12, axis=0))


def test_the_last_of_several_images_is_shown(opened):
    browser = opened(nearest_colour())
    browser.run("""{
  const decode = createImageBitmap;
  const late = {"1.png": 500}; // milliseconds: it is decoded after the last one
  window.createImageBitmap = async (source, options) => {
    await new Promise((done) => setTimeout(done, late[source.name] ?? 0));
    return decode(source, options);
  };
}""")
    images = [noise(30 + seed, 40, seed) for seed in range(5)]
    for number, image in enumerate(images):
        give(browser, "drop", (f"{number}.png", png(image)))
    settled(browser)
    browser.run("new Promise((done) => setTimeout(done, 600)).then(() => running)")
    assert browser.run("shown.name") == "4.png"
    assert browser.run("network.number") <= 3  # calls: the start, the last image, and the first if it was in time
    np.testing.assert_array_equal(saved(browser), labels_of(images[-1]))


def test_the_page_has_an_image_of_its_own(opened):
    browser = opened(nearest_colour())
    browser.run("byId('sample').click()")
    assert "read 480 × 360 pixels" in settled(browser)[0]
    assert len(np.unique(saved(browser))) >= 4
    image = noise(21, 22)
    browser = opened(nearest_colour(), sample=png(image))
    browser.run("byId('sample').click()")
    settled(browser)
    np.testing.assert_array_equal(saved(browser), labels_of(image))


def test_what_goes_wrong_is_said_and_the_page_goes_on(opened):
    browser = opened(nearest_colour())
    give(browser, "drop", ("notes.txt", b"no image"))
    assert settled(browser)[1].startswith(
        "notes.txt (image/png) is not an image that this browser reads. Save it as JPEG"
    )
    give(browser, "drop")
    assert "There is no file in what was dropped" in settled(browser)[1]
    image = noise(9, 9)
    give(browser, "drop", ("good.png", png(image)))
    assert settled(browser)[1] == ""
    np.testing.assert_array_equal(saved(browser), labels_of(image))


@pytest.mark.parametrize("gigabytes", [4.294, 32])  # of 4.294967: none is touched before all is there
def test_without_memory_the_page_names_the_way_out(opened, gigabytes):
    browser = opened(nearest_colour(copies=int(gigabytes * 1e9 / (4 * len(NAMES) * SMALL[0] * SMALL[1]))))
    for name in ("first", "second"):  # the network has been started anew
        give(browser, "drop", (f"{name}.png", png(noise(*SMALL))))
        trouble = settled(browser)[1]
        assert trouble.startswith("The network has no memory for 11 × 9 pixels (")
        assert trouble.endswith("Choose a smaller longest side below.")


def test_a_network_that_is_none_is_said_at_once(opened):
    browser = opened(b"no network")
    status, trouble = settled(browser)
    assert trouble.startswith("The network does not start here (") and status == ""


def test_a_run_may_be_stopped(opened):
    browser = opened(nearest_colour())
    browser.run("network.ready")
    give(browser, "drop", ("long.png", png(noise(400, 500))))
    browser.run("""(async () => {
  for (let i = 0; i < 1000 && byId("stop").hidden; i++) await new Promise((done) => setTimeout(done));
  byId("stop").click();
  await running;
})()""")
    assert browser.run("[byId('status').textContent, byId('stop').hidden, shown]") == ["Stopped.", True, None]
    image = noise(8, 9)
    give(browser, "drop", ("next.png", png(image)))
    settled(browser)
    np.testing.assert_array_equal(saved(browser), labels_of(image))
    assert browser.complaints == []


def test_each_control_has_a_name(opened):
    browser = opened(nearest_colour())
    give(browser, "drop", ("noise.png", png(noise(9, 9))))
    settled(browser)
    nodes = browser.call("Accessibility.getFullAXTree")["nodes"]
    controls = [node for node in nodes if node["role"]["value"] in ("button", "slider", "combobox", "image")]
    names = {node["name"]["value"] for node in controls if not node["ignored"]}
    assert len(controls) >= 8 and "" not in names
    assert {"Save the labels as PNG", "the labels", "Try a drawn street"} <= names
