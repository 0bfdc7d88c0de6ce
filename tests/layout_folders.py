"""A small data set of each layout, and the labels that must be read from it."""

import json
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from voc_folder import make_set

from minideeplab.data.cityscapes import LABEL_IDS

SIZE = (6, 8)


class Made(NamedTuple):
    """What was written: the path for --data, the kind, and {split: {id: (image, labels)}}."""

    data: Path
    kind: str
    splits: dict
    classes: int


def pictures(splits, classes, void=True, seed=0):
    """{split: {id: ((H, W, 3) image, (H, W) labels)}}, all of them different."""
    rng = np.random.default_rng(seed)
    labels = [*range(classes), *([255] if void else [])]
    made = {}
    for split, ids in splits.items():
        made[split] = {
            name: (rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8), rng.choice(labels, SIZE).astype(np.uint8))
            for name in ids
        }
    return made


def save(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(path)


def voc(root):
    made = pictures({"train": ["2007_000032", "b"], "val": ["c"]}, 21)
    samples = {**made["train"], **made["val"]}
    make_set(root, list(samples), masks=[mask for _, mask in samples.values()])
    for split, part in made.items():
        (root / f"ImageSets/Segmentation/{split}.txt").write_text("".join(f"{name}\n" for name in part))
    for name, (image, _) in samples.items():
        save(root / f"JPEGImages/{name}.png", image)
    return Made(root, "voc", made, 21)


def named(root):
    made = voc(root)
    (root / "class_names.txt").write_text("".join(f"class {label}\n" for label in range(21)))
    return made._replace(kind="named")


def camvid(root):
    made = pictures({"train": ["0001TP_1", "0001TP_2"], "val": ["x"], "test": ["y"]}, 11)
    for split, part in made.items():
        lines = []
        for name, (image, mask) in part.items():
            save(root / split / f"{name}.png", image)
            save(root / f"{split}annot/{name}.png", np.where(mask == 255, 11, mask).astype(np.uint8))
            lines.append(f"/SegNet/CamVid/{split}/{name}.png /SegNet/CamVid/{split}annot/{name}.png;\n")
        (root / f"{split}.txt").write_text("".join(lines))
    return Made(root, "camvid", made, 11)


def cityscapes(root):
    made = pictures({"train": ["aachen/aachen_0_1", "ulm/ulm_0_1"], "val": ["bonn/bonn_0_2"]}, 19)
    stored = np.zeros(256, np.uint8)
    stored[list(LABEL_IDS)] = list(LABEL_IDS.values())
    for split, part in made.items():
        for name, (image, mask) in part.items():
            save(root / f"leftImg8bit/{split}/{name}_leftImg8bit.png", image)
            save(root / f"gtFine/{split}/{name}_gtFine_labelIds.png", stored[mask])
            save(root / f"gtFine/{split}/{name}_gtFine_instanceIds.png", mask)
    return Made(root, "cityscapes", made, 19)


def ade20k(root):
    made = pictures({"train": ["ADE_train_1", "ADE_train_2"], "val": ["ADE_val_1"]}, 150)
    for split, part in made.items():
        folder = {"train": "training", "val": "validation"}[split]
        for name, (image, mask) in part.items():
            save(root / f"images/{folder}/{name}.png", image)
            save(root / f"annotations/{folder}/{name}.png", (mask + 1).astype(np.uint8))  # 255 + 1 is 0
    return Made(root, "ade20k", made, 150)


def folder(root, images="images", masks="masks", ending=""):
    made = pictures({"train": ["a", "deep/b"], "val": ["c"]}, 3)
    for split, part in made.items():
        for name, (image, mask) in part.items():
            save(root / images / f"{name}.PNG", image)
            save(root / masks / f"{name}{ending}.png", mask)
        (root / "splits").mkdir(exist_ok=True)
        (root / f"splits/{split}.txt").write_text("".join(f"{name}\n" for name in part))
    (root / "classes.txt").write_text("ground\nsky\nroad\n")
    return Made(root, "folder", made, 3)


def pair_list(root):
    made = pictures({"train": ["photos/a", "photos/b c"], "val": ["other/d"]}, 3)
    for split, part in made.items():
        lines = ["# image, mask\n"]
        for name, (image, mask) in part.items():
            save(root / f"{name}.png", image)
            save(root / f"truth/{name}_x.png", mask)
            lines.append(f"{name}.png, truth\\{name.replace('/', chr(92))}_x.png\n")  # as Windows writes paths
        (root / f"{split}.txt").write_text("".join(lines))
    (root / "classes.txt").write_text("ground\nsky\nroad\n")
    return Made(root / "train.txt", "list", made, 3)


def labelme(root):
    """Rectangles of whole pixels, so that the labels are known."""
    rng = np.random.default_rng(0)
    made = {}
    names = {1: "cat", 2: "dog", 255: "__ignore__"}
    for split, ids in {"train": ["a", "deep/b"], "val": ["c"]}.items():
        made[split] = {}
        for name in ids:
            image, mask, shapes = rng.integers(0, 256, (*SIZE, 3)).astype(np.uint8), np.zeros(SIZE, np.uint8), []
            for label in rng.permutation([1, 2, 255]).tolist():
                (y0, y1), (x0, x1) = np.sort(rng.integers(0, (6, 8), (2, 2)).T).tolist()
                mask[y0 : y1 + 1, x0 : x1 + 1] = label
                points = [[x1, y1], [x0, y0]]
                shapes.append({"label": names[label], "points": points, "shape_type": "rectangle", "flags": {}})
            save(root / f"{name}.png", image)
            write_labelme(root / f"{name}.json", shapes, f"{Path(name).name}.png")
            made[split][name] = image, mask
        (root / "splits").mkdir(exist_ok=True)
        (root / f"splits/{split}.txt").write_text("".join(f"{name}\n" for name in ids))
    (root / "labels.txt").write_text("__ignore__\n_background_\ncat\ndog\n")
    return Made(root, "labelme", made, 3)


def write_labelme(path, shapes, image, size=SIZE):
    content = {
        "version": "5.4.1", "flags": {}, "shapes": shapes, "imagePath": image, "imageData": None,
        "imageHeight": size[0], "imageWidth": size[1],
    }  # fmt: skip
    path.write_text(json.dumps(content))


LAYOUTS = {make.__name__: make for make in (voc, named, camvid, cityscapes, ade20k, folder, pair_list, labelme)}
