"""A generated data set in the VOC layout: six shapes, each with a texture and a tint of its own, on any ground.

The ground has soft clouds of any two colours, those of the tints included, and some objects have any colour too:
colour alone mistakes ground for objects. What tells a class for sure is its outline and the pattern on it, turned,
scaled and shifted at random. The set needs no download, and a small network learns it in minutes.
"""

import os
import shutil
import stat
import tempfile
import warnings
from pathlib import Path

import numpy as np
from PIL import Image
from tqdm import tqdm

from minideeplab.data import voc
from minideeplab.data.masks import mask_picture
from minideeplab.data.palettes import IGNORE_INDEX
from minideeplab.errors import DataError

SHAPE_CLASSES = ("background", "disc", "square", "triangle", "ring", "cross", "star")
VERSION = 4  # of the pictures: part of the cache folder's name, to be raised with any change to what is drawn
TRAIN, VAL = 2000, 100
JPEG_QUALITY = 92

VOID_HALF_WIDTH = 1.25  # pixels on each side of an outline
RADII = (18.0, 42.0)  # of the circle around a shape, pixels
CONTRAST = 50.0  # least RGB distance between colours of two surfaces in a picture, of 441
TINTED = 0.95  # share of the objects in their class's tint
TINTS = np.array(((200, 60, 60), (60, 180, 70), (70, 80, 210), (210, 190, 60), (170, 70, 190), (60, 190, 200)))
NOISE = 5.0  # grey levels


def why_synthetic(data: str | Path) -> str | None:
    """Whether `data` is the word for the generated set."""
    return "its name says so" if str(data) == "synthetic" else None


def open_synthetic(data: str | Path, split: str) -> voc.VocFolder:
    """The generated set, which the first call writes."""
    if not why_synthetic(data):
        raise DataError(f"{data}: the generated set has no folder of yours; say 'synthetic', or name another data set")
    return voc.open_named(synthetic_root(), split, name="synthetic")


def synthetic_root():
    """The folder of the generated set; the first call writes it, which takes seconds.

    The folder lies in $MINIDEEPLAB_DATA_DIR, or else in ~/.cache/minideeplab, or if that cannot be written in a folder
    of this user alone within the system's temporary folder, where anybody may have put anything.

    Returns:
        pathlib.Path of a folder in the VOC layout, with splits train and val.

    Raises:
        DataError: the set of the temporary folder could come from another user.
    """
    cache = Path(os.environ.get("MINIDEEPLAB_DATA_DIR") or os.path.expanduser("~/.cache/minideeplab"))
    own = Path(tempfile.gettempdir()) / f"minideeplab{_user()}"
    cached, temporary = (folder / f"synthetic-v{VERSION}" for folder in (cache, own))
    if cached.is_dir():
        return cached
    if temporary.is_dir() and _is_private(own):
        return temporary
    try:
        return _write_at_once(cached)
    except OSError as error:
        warnings.warn(f"{cache} cannot be written ({error.strerror}): the set goes to {temporary}", stacklevel=2)
    own.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not _is_private(own):
        raise DataError(
            f"{own}: other users can write to this folder; remove it, or say in MINIDEEPLAB_DATA_DIR where "
            f"the synthetic set may go"
        )
    return _write_at_once(temporary)


def _user() -> str:
    """Part of a name that users of one machine do not share; Windows has a temporary folder for each."""
    return f"-{os.getuid()}" if hasattr(os, "getuid") else ""


def _is_private(folder: Path) -> bool:
    """Whether a folder, not a link to one, is of this user, and writable for nobody else."""
    status = folder.lstat()
    if not hasattr(os, "getuid"):
        return stat.S_ISDIR(status.st_mode)
    return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid() and not status.st_mode & 0o022


def write_synthetic(root, train=TRAIN, val=VAL, seed=0):
    """Draw a set and write it in the VOC layout; progress shows on a terminal only.

    Args:
        root: folder to write into.
        train, val: number of pictures; `val` follows `train` in the sequence of the seed.
        seed: any integer from 0.
    """
    root = Path(root)
    for part in (voc.IMAGES, voc.MASKS, voc.SPLITS):
        (root / part).mkdir(parents=True, exist_ok=True)
    names = [f"shapes_{index:05d}" for index in range(train + val)]
    # disable=None: tqdm is silent where stderr is not a terminal
    for index, name in enumerate(tqdm(names, desc="drawing the synthetic set", disable=None, leave=False)):
        image, mask = draw_sample(seed, index)
        Image.fromarray(image).save(root / voc.IMAGES / f"{name}.jpg", quality=JPEG_QUALITY)
        mask_picture(mask).save(root / voc.MASKS / f"{name}.png")
    for split, members in (("train", names[:train]), ("val", names[train:])):
        (root / voc.SPLITS / f"{split}.txt").write_text("".join(f"{name}\n" for name in members))
    (root / "class_names.txt").write_text("".join(f"{name}\n" for name in SHAPE_CLASSES))


def draw_sample(seed, index):
    """Picture number `index` of a seed's sequence, whatever was drawn before.

    Returns:
        (H, W, 3) uint8 RGB image and (H, W) uint8 labels, H and W in 120..160.
    """
    rng = np.random.Generator(np.random.Philox(np.random.SeedSequence([seed, index])))
    height, width = rng.integers(120, 161, 2).tolist()
    colours = []  # of every surface so far
    y, x = np.mgrid[:height, :width].astype(np.float32) + 0.5
    image = _surface(rng, 0, y, x, colours)
    mask = np.zeros((height, width), np.uint8)
    for label, centre, radius in _layout(rng, height, width):
        window = tuple(
            slice(max(0, int(c - radius - 3)), min(n, int(c + radius + 4)))
            for c, n in zip(centre, (height, width), strict=True)
        )
        distance = _distance(rng, label, y[window] - centre[0], x[window] - centre[1], radius)
        cover = np.clip(0.5 - distance, 0, 1)[..., None]  # share of the pixel inside the outline
        image[window] += cover * (_surface(rng, label, y[window], x[window], colours) - image[window])
        labels = mask[window]
        labels[distance < 0] = label
        labels[np.abs(distance) <= VOID_HALF_WIDTH] = IGNORE_INDEX
    slope = rng.uniform(-0.15, 0.15, 2)
    light = 1 + slope[0] * (2 * y / height - 1) + slope[1] * (2 * x / width - 1)
    image = image * light[..., None] + rng.normal(0, NOISE, image.shape)
    return image.clip(0, 255).astype(np.uint8), mask


def _layout(rng, height, width):
    """2 to 4 shapes (label, (row, column), radius), which may overlap in part and cross the border."""
    shapes = []
    wanted = int(rng.integers(2, 5))
    for _ in range(40):
        if len(shapes) == wanted:
            break
        radius = rng.uniform(*RADII)
        y, x = (rng.uniform(0.8 * radius, size - 0.8 * radius) for size in (height, width))
        # Neighbours may overlap, but no shape hides most of another.
        if all(
            np.hypot(y - other_y, x - other_x) > max(radius, other) + 0.35 * min(radius, other)
            for _, (other_y, other_x), other in shapes
        ):
            shapes.append((int(rng.integers(1, len(SHAPE_CLASSES))), (y, x), radius))
    return shapes


def _distance(rng, label, y, x, radius):
    """Signed distance in pixels to a shape's outline, negative inside; randomly rotated."""
    name = SHAPE_CLASSES[label]
    turn = rng.uniform(0, 2 * np.pi)
    if name == "disc":
        return np.hypot(y, x) - 0.9 * radius
    if name == "ring":
        return np.abs(np.hypot(y, x) - 0.72 * radius) - 0.23 * radius
    corners = radius * _corners(name)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    return _polygon_distance(corners @ rotation, y, x)


def _corners(name):
    """(V, 2) corners of a polygon in the unit circle, in order around it."""
    if name == "cross":
        arm = np.array([[0.32, 0.95], [0.32, 0.32], [0.95, 0.32]])
        quarter = np.array([[0, -1], [1, 0]])
        return np.concatenate([arm @ np.linalg.matrix_power(quarter, k) for k in range(4)])
    count = {"square": 4, "triangle": 3, "star": 10}[name]
    angle = 2 * np.pi * np.arange(count) / count
    reach = np.where(np.arange(count) % 2 == 0, 1.0, 0.42) if name == "star" else np.ones(count)
    return reach[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)


def _polygon_distance(corners, y, x):
    """Distance to the nearest edge; the sign from the number of edges that a ray crosses (even: outside)."""
    nearest = np.full(y.shape, np.inf, np.float32)
    inside = np.zeros(y.shape, bool)
    for (y0, x0), (y1, x1) in zip(corners.tolist(), np.roll(corners, -1, axis=0).tolist(), strict=True):
        dy, dx = y1 - y0, x1 - x0
        along = np.clip(((y - y0) * dy + (x - x0) * dx) / (dy * dy + dx * dx), 0, 1)
        nearest = np.minimum(nearest, (y - y0 - along * dy) ** 2 + (x - x0 - along * dx) ** 2)
        inside ^= ((y0 > y) != (y1 > y)) & (x < x0 + (y - y0) * (dx / (dy or 1.0)))
    return np.where(inside, -1, 1) * np.sqrt(nearest)


def _surface(rng, label, y, x, colours):
    """(H, W, 3) float32 colours of one surface, whose two colours keep a distance from those used so far."""
    for _ in range(200):
        tinted = label > 0 and rng.random() < TINTED
        first = (TINTS[label - 1] + rng.normal(0, 20, 3)).clip(20, 235) if tinted else rng.uniform(20, 235, 3)
        second = (first + rng.choice((-1, 1), 3) * rng.uniform(40, 90, 3)).clip(20, 235)
        if not colours or np.linalg.norm(np.array(colours)[:, None] - (first, second), axis=-1).min() > CONTRAST:
            break
    colours.extend((first, second))
    blend = _texture(rng, SHAPE_CLASSES[label], y, x)[..., None]
    return (first + blend * (second - first)).astype(np.float32)


def _texture(rng, name, y, x):
    """(H, W) weights in 0..1: the class's own pattern, at a random angle, period and phase."""
    angle, period, phase = rng.uniform(0, np.pi), rng.uniform(6, 11), rng.uniform(0, 2 * np.pi, 2)
    u = np.sin(2 * np.pi / period * (np.cos(angle) * x + np.sin(angle) * y) + phase[0])
    v = np.sin(2 * np.pi / period * (np.cos(angle) * y - np.sin(angle) * x) + phase[1])
    if name == "disc":  # stripes
        return np.clip(0.5 + 1.5 * u, 0, 1)
    if name == "square":  # checks
        return np.clip(0.5 + 2.5 * u * v, 0, 1)
    if name == "triangle":  # rings around a point
        return np.clip(0.5 + 1.5 * np.sin(2 * np.pi / period * np.hypot(y - y.mean(), x - x.mean()) + phase[0]), 0, 1)
    if name == "cross":  # dots
        return np.clip(3 * (u + v - 1), 0, 1)
    if name == "star":  # a grid of lines
        return np.clip(3 * (np.maximum(u, v) - 0.6), 0, 1)
    grain = 2.0 if name == "ring" else rng.uniform(20, 40)  # grains; the ground has soft clouds
    height, width = y.shape
    grid = rng.random((2 + int(height / grain), 2 + int(width / grain)), np.float32)
    return np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC)).clip(0, 1)


def _write_at_once(root):
    """Write beside `root` and rename, so that a folder of that name is complete at any time."""
    root.parent.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=f"{root.name}-", dir=root.parent))
    try:
        write_synthetic(draft)
        draft.chmod(0o755)  # mkdtemp makes private folders, but the cache may be a shared one
        os.replace(draft, root)
    except OSError:
        if not root.is_dir():  # otherwise another process was first, and its set is the same
            raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return root
