"""A page that segments images in the browser: one file, which holds the network and what runs it.

`page.html` is the frame, `page.css` the looks; `page.js`, `sample.js` and `png.js` are its script, `worker.js` runs the
network. What runs it is onnxruntime-web, an npm package, of which two files are packed into the page.
"""

import base64
import gzip
import json
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import NamedTuple

import numpy as np

from minideeplab.data import IMAGE_MEAN
from minideeplab.errors import UsageError
from minideeplab.files.pages import as_json, filled, script_hash
from minideeplab.files.whole import write_text

MAX_NETWORK, MAX_CLASSES = 20_000_000, 256  # bytes; labels are uint8
PACKAGE, TESTED = "onnxruntime-web", "1.30.0"
SCRIPT, WASM = "dist/ort.wasm.bundle.min.mjs", "dist/ort-wasm-simd-threaded.wasm"
LONGEST = (257, 385, 513, 769, 1025, 1537, 2049)  # sides that the page offers
DEFAULT_LONGEST = 513


class Runtime(NamedTuple):
    """onnxruntime-web as it is packed into a page: its version, its script and its WebAssembly."""

    version: str
    script: bytes
    wasm: bytes


def write_page(
    path: str | Path,
    onnx_bytes: bytes,
    class_names: Sequence[str],
    palette: np.ndarray,
    name: str,
    runtime: str | Path | Runtime | None = None,
    size: tuple[int, int] | None = None,
    smallest: int = 1,
    sample: bytes | None = None,
) -> Path:
    """Writes one HTML file, in which an image that is dropped onto it is segmented, without a server.

    Args:
        path: the file to write.
        onnx_bytes: the network; input `image` (1, H, W, 3) uint8 RGB, output `labels` (1, H, W) uint8.
        class_names: name of each label; palette: (256, 3) uint8 RGB, or a row for each class.
        name: of the network, for the title.
        runtime: from `read_runtime`, or its argument.
        size: (H, W) of a network of one size; None for one that takes any. An image is scaled down to fit, never
            enlarged, never stretched; what is left on the right and below has the mean colour of training.
        smallest: side of the images that the network takes, pixels; the page refuses a smaller one.
        sample: an image file (PNG or JPEG) that the page offers to try; None: a street that the page draws.

    Returns:
        The path.

    Raises:
        UsageError: as of `check_network` and `read_runtime`.
        ValueError: the palette has fewer rows than there are classes.
        OSError: the page cannot be written.
    """
    check_network(len(onnx_bytes), len(class_names))
    found = runtime if isinstance(runtime, Runtime) else read_runtime(runtime)
    path = Path(path)
    script = "\n".join(_file(part) for part in ("page.js", "sample.js", "png.js"))
    colours = np.asarray(palette)[: len(class_names)].tolist()
    facts = {
        "classes": list(zip(class_names, colours, strict=True)),
        "size": None if size is None else list(size),
        "fill": np.rint(255 * IMAGE_MEAN).astype(int).tolist(),
        "smallest": smallest,
    }
    write_text(path, filled(_file("page.html"), {
        "name": escape(name),
        "style": _file("page.css"),
        "script": script,
        "script_hash": script_hash(script),
        "sample_button": "Try a drawn street" if sample is None else "Try the sample",
        "size": _size(size),
        "about": _about(len(onnx_bytes), len(class_names), found.version),
        "licence": escape(_file("runtime_licence.txt")),
        "facts": as_json(facts),
        "sample": base64.b64encode(sample or b"").decode("ascii"),
        "network": _packed(onnx_bytes),
        "runtime_script": _packed(found.script),
        "runtime_wasm": _packed(found.wasm),
        "worker": _file("worker.js"),
    }))  # fmt: skip
    return path


def check_network(size: int, classes: int) -> None:
    """Refuses what a page cannot show.

    Args:
        size: of the ONNX file, bytes.

    Raises:
        UsageError: the network is too large, or has too many classes.
    """
    if size > MAX_NETWORK:
        raise UsageError(
            f"the network has {size / 1e6:.1f} MB, and a page holds {MAX_NETWORK / 1e6:.0f} MB at most; train "
            "a smaller one (--width 0.5 has a quarter of the weights), or run the .onnx file itself by onnxruntime"
        )
    if classes > MAX_CLASSES:
        raise UsageError(
            f"the network has {classes} classes, and a page holds {MAX_CLASSES} at most; run the .onnx file itself by "
            "onnxruntime"
        )


def read_runtime(folder: str | Path | None = None) -> Runtime:
    """What a page needs of onnxruntime-web.

    Args:
        folder: the npm package itself, or a folder with it in node_modules, or its node_modules; None: the nearest
            node_modules of the current folder and of those above it.

    Raises:
        UsageError: the package is not there, is another one, or has not the two files.
    """
    package = _package(folder)
    try:
        about = json.loads((package / "package.json").read_text(encoding="utf-8"))
        version = str(about["version"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise UsageError(f"{package}: no package.json of {PACKAGE} ({error}); {_install()}") from error
    if about.get("name") != PACKAGE:
        raise UsageError(f"{package}: the package {about.get('name')!r}, not {PACKAGE}; {_install()}")
    try:
        return Runtime(version, (package / SCRIPT).read_bytes(), (package / WASM).read_bytes())
    except OSError as error:
        raise UsageError(
            f"{package}: version {version} of {PACKAGE} has no {error.filename} ({error.strerror}); {_install()}"
        ) from error


def _package(folder):
    """The folder with the package.json."""
    if folder is not None:
        places = [Path(folder), Path(folder) / PACKAGE, Path(folder) / "node_modules" / PACKAGE]
        where = f"{folder}: no npm package {PACKAGE} in it"
    else:
        here = Path.cwd()
        places = [above / "node_modules" / PACKAGE for above in (here, *here.parents)]
        where = f"no node_modules/{PACKAGE} in {here}, nor in a folder above it"
    for place in places:
        if (place / "package.json").is_file():
            return place
    raise UsageError(f"{where}; {_install()}")


def _install():
    return (
        f"the page needs what runs the network in a browser: npm install {PACKAGE}@{TESTED}, "
        f"or name its folder by --runtime node_modules/{PACKAGE}"
    )


def _packed(data: bytes) -> str:
    return base64.b64encode(gzip.compress(data, 6, mtime=0)).decode("ascii")


def _size(size) -> str:
    if size is not None:
        return (
            f"<p class=hint>The network reads {size[1]} × {size[0]} pixels. A larger image is scaled down to fit, and "
            "what is left over is filled with the mean colour; the image is never stretched.</p>"
        )
    options = "".join(f"<option{' selected' * (side == DEFAULT_LONGEST)}>{side}</option>" for side in LONGEST)
    return (
        "<label>Longest side that the network reads, pixels "
        f'<select id="longest">{options}<option value="Infinity">as it is</option></select></label>\n'
        "<p class=hint>A larger image is scaled down to it, a smaller one stays as it is. Twice the side "
        "takes four times as long, and four times the memory.</p>"
    )


def _about(size: int, classes: int, version: str) -> str:
    return (
        f"Made by minideeplab. The network has {size / 1e6:.1f} MB and {classes} classes. ONNX Runtime Web "
        f"{escape(version)} runs it on one core, through WebAssembly. The licence of ONNX Runtime, which lists the "
        "software within it in ThirdPartyNotices.txt of its repository (github.com/microsoft/onnxruntime):"
    )


def _file(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
