"""Makes explore.html, one page that needs no server: what an output of a stack of layers reads.

    python explore.py           writes explore.html
    python explore.py --check   fails if the committed page is another

The text of the page is explore_page.html. The library says what stands in its table: the layers of real networks as
they run (`kernels.watching`), and for each preset the field, the jump and the map of each layer (`Window`, `Field`).
The page follows the same recurrences for any stack, and compares itself with the table when it opens.
"""

import argparse
import base64
import io
import json
import re
import sys
from pathlib import Path

import numpy as np
from PIL import Image

import kernels
from kernels.geometry import Window
from minideeplab import Tensor, models, no_grad
from minideeplab.cost import Field
from minideeplab.teach import photograph

HERE = Path(__file__).resolve().parent
SIDE = 321  # of the picture, pixels: a crop of DeepLab v1
JPEG_QUALITY = 82


def layer(k, s=1, r=1, pad=None, name=""):
    """One row of a stack; rates of several branches side by side as a list. Padding None is "same"."""
    return {"k": k, "s": s, "r": list(r) if isinstance(r, (list, tuple)) else [r], "pad": pad, "name": name}


def presets():
    """Names, sentences and layers, from the picture up."""
    small = "share no pixel with the next output: neighbours know nothing of each other"
    return [
        ("plain", "five 3×3, rate 1", "Each layer adds 2 pixels to the field. It grows slowly, and has no gaps.",
         [layer(3)] * 5),
        ("222", "rates 2, 2, 2", f"Equal rates leave gaps: gridding. Three layers of rate 2 {small}.",
         [layer(3, r=r) for r in (2, 2, 2)]),
        ("123", "rates 1, 2, 3", "Rates without a common factor: the same field as 2, 2, 2, and no gap.",
         [layer(3, r=r) for r in (1, 2, 3)]),
        ("multigrid", "multi-grid 2, 4, 8", "DeepLab v3's multi-grid (1, 2, 4) at output stride 16. All are even: "
         "the grid stays.", [layer(3, r=r) for r in (2, 4, 8)]),
        ("stride", "strides 2, 2, 2, 2", "A classifier's way: the field grows fast, the map shrinks. Choose a smaller "
         "output stride: rates take the place of strides, the field stays.",
         [layer(3, 2) for _ in range(4)] + [layer(3)]),
        ("aspp", "ASPP 6, 12, 18", "Three strides, then three branches side by side: each looks at another distance. "
         "Move to the border: taps of the large rates fall off the map.",
         [layer(3, 2) for _ in range(3)] + [layer(3, r=(6, 12, 18), name="ASPP")]),
        ("drn", "DRN-C-26", "Rates rise to 4 and fall to 1 again: the last layers fill the gaps.",
         convolutions("drn-c-26")),
        ("largefov", "VGG-16 LargeFOV", "DeepLab v1: poolings 4 and 5 keep stride 1, conv5 has rate 2, fc6 rate 12.",
         convolutions("deeplabv1-largefov")),
    ]  # fmt: skip


def convolutions(name):
    """The chain of windows that a network runs on one picture: the longest path, without 1x1 and shortcuts."""
    found, short = [], {"max_pool2d": "pool", "average_pool2d": "mean"}

    def see(kernel, function, args, kwargs):
        window = next((a for a in args if isinstance(a, Window)), None)
        if window is not None and window.k_h > 1:
            k, r = window.k_h, window.rate_h
            pad = None if window.pad_top == r * (k - 1) // 2 else window.pad_top
            found.append(layer(k, window.stride_h, r, pad, short.get(kernel, "")))
        return function(*args, **kwargs)

    options = {"dense": True} if name in models.CLASSIFIERS else {}
    model = models.create(name, num_classes=7, width=0.125, **options).to("shapes").eval()
    image = kernels.load("shapes").empty((1, SIDE, SIDE, 3), np.dtype(np.float32))
    with no_grad(), kernels.watching("shapes", see):
        model(Tensor(image))
    return found


def numbers(layers, size=SIDE):
    """For each layer: size of its map, and `Field` of a position, through its widest branch."""
    rows, field = [], Field(1, 0, 0)
    for each in layers:
        r = max(each["r"])
        pad = r * (each["k"] - 1) // 2 if each["pad"] is None else each["pad"]
        shape = (1, size, 1, 1)
        window = Window.conv(shape, (each["k"], 1, 1, 1), (each["s"], 1), (r, 1), ((pad, pad), (0, 0)))
        field, size = field.slide(each["k"], each["s"], r, pad), window.out_h
        rows.append({"size": size, "jump": field.jump, "start": field.start, "end": field.end, "field": field.size})
    return rows


def picture():
    """The photograph as a square JPEG in base64."""
    whole = photograph(376)  # 321 wide
    crop = whole[:SIDE, :SIDE]
    file = io.BytesIO()
    Image.fromarray(crop).save(file, "JPEG", quality=JPEG_QUALITY)
    return base64.b64encode(file.getvalue()).decode()


def page():
    """The text of explore.html."""
    table = [{"key": key, "name": name, "text": text, "layers": layers, "numbers": numbers(layers)}
             for key, name, text, layers in presets()]  # fmt: skip
    data = json.dumps({"side": SIDE, "presets": table}, separators=(",", ":")).replace("</", "<\\/")
    text = (HERE / "explore_page.html").read_text(encoding="utf-8")
    return text.replace("/*DATA*/", f"const DATA = {data};").replace("PICTURE", picture())


def without_picture(text):
    """The text of a page; of the same picture another version of Pillow makes other bytes."""
    return re.sub(r"base64,[\w+/=]+", "", text)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; fail if the page would be another")
    path, text = HERE / "explore.html", page()
    if parser.parse_args().check:
        same = without_picture(path.read_text(encoding="utf-8")) == without_picture(text)
        return 0 if same else "explore.html is older than its text or the library"
    path.write_text(text, encoding="utf-8")
    print(f"{path.name}: {len(text.encode()) / 1000:.0f} kB")
    return 0


if __name__ == "__main__":
    sys.exit(main())
