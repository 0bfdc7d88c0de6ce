"""Sharpens a segmentation at the edges of its image: one call, with the papers' settings."""

import ast
import dataclasses
import warnings
from dataclasses import dataclass

import numpy as np

from .field import DenseField
from .filters import LatticeFilter, SeparableFilter, bilateral_features, position_features

KINDS = ("probabilities", "logits", "labels")
_LEAST = 1e-5  # of a probability, before its logarithm
SMOOTHNESS = ("lattice", "separable")


@dataclass(frozen=True)
class Preset:
    """Settings of two kernels, of appearance and of smoothness.

        w1 exp(-|dp|^2 / (2 sxy^2) - |dI|^2 / (2 srgb^2)) + w2 exp(-|dp|^2 / (2 smooth_sxy^2))

    Attributes:
        bilateral_weight (w1), sxy, srgb: of the first, in pixels and colours of 0 .. 255.
        smooth_weight (w2), smooth_sxy: of the second.
        iterations, normalization: of inference, see filters.py.
    """

    bilateral_weight: float
    sxy: float
    srgb: float
    smooth_weight: float
    smooth_sxy: float
    iterations: int
    normalization: str


#: v1 and v2 fix smoothness and iterations and search the rest on 100 images (section 5.1 and 4.1); the rest here: v1,
#: its released script; v2, within its range, from kazuto1011/deeplab-pytorch. CRF as RNN: its released layer.
PRESETS = {
    "deeplab-v1": Preset(5, 50, 10, 3, 3, 10, "after"),
    "deeplab-v2": Preset(4, 67, 3, 3, 3, 10, "after"),
    "crfasrnn": Preset(5, 160, 3, 3, 3, 10, "after"),
    "pydensecrf": Preset(10, 80, 13, 3, 3, 5, "symmetric"),
}


def preset_of(text, **changes):
    """The preset of that name with some settings changed.

    Args:
        text: a name, or a name and settings: "deeplab-v2,sxy=50,srgb=5".
        changes: settings; None changes nothing.

    Raises:
        ValueError: an unknown name or setting, or a value that is no number.
    """
    name, *given = text.split(",")
    for change in given:
        setting, equals, value = change.partition("=")
        try:
            changes.setdefault(setting, value if setting == "normalization" else ast.literal_eval(value))
        except (ValueError, SyntaxError):
            equals = ""
        if not equals:
            raise ValueError(f"{change!r} in {text!r}: expected SETTING=NUMBER, such as sxy=50")
    if name not in PRESETS:
        raise ValueError(f"unknown preset {name!r}; there are {', '.join(PRESETS)}")
    if unknown := sorted(changes.keys() - {field.name for field in dataclasses.fields(Preset)}):
        known = ", ".join(field.name for field in dataclasses.fields(Preset))
        raise ValueError(f"unknown setting {', '.join(unknown)}; there are {known}")
    return dataclasses.replace(PRESETS[name], **{key: value for key, value in changes.items() if value is not None})


def refine(
    scores, image, preset="deeplab-v2", *, kind=None, confidence=0.7, unknown=255, num_classes=None, damping=0.0,
    tolerance=0.0, smoothness="lattice", report=None, device="cpu", **settings,
):  # fmt: skip
    """Labels or probabilities that follow the edges of the image, by a dense CRF.

    Args:
        scores: probabilities or logits, (H, W, K) or (K, H, W) of any float dtype, or labels (H, W), integers.
        image: (H, W), (H, W, C), any numbers; colours of 0 .. 255 for the presets.
        preset: "deeplab-v1", "deeplab-v2", "crfasrnn" or "pydensecrf"; "deeplab-v2,sxy=50" changes settings, too.
        kind: "probabilities", "logits" or "labels"; None decides by dtype, and by whether the numbers are >= 0 and sum
            to 1.
        confidence: probability of a given label; unknown: the label of pixels that could be anything; num_classes: of
            labels, the largest plus one if None.
        damping, tolerance, report: as in `DenseField.infer`.
        smoothness: the second kernel by "lattice" or "separable" convolution.
        device: where to compute, "cpu" or "cuda"; arrays come from and go to host memory.
        settings: of `Preset`, to change: bilateral_weight, sxy, srgb, smooth_weight, smooth_sxy, iterations,
            normalization.

    Returns:
        What came in, refined: probabilities in the layout and dtype of the scores, or labels, without unknown ones.

    Raises:
        ValueError, TypeError: values that do not fit, and what to change.

    Cost: about 0.15 s for 500 x 375 pixels and 21 labels on two cores.
    """
    chosen = preset_of(preset, **settings)
    scores, image = np.asarray(scores), np.asarray(image)
    if smoothness not in SMOOTHNESS:
        raise ValueError(f"smoothness must be one of {', '.join(SMOOTHNESS)}, got {smoothness!r}")
    unary, first = _unary_of(scores, image, kind, confidence, unknown, num_classes)
    field = DenseField(unary, edges_of(image, chosen, unary.dtype.type, smoothness, device))
    q = field.infer(chosen.iterations, damping, tolerance, report)
    if scores.ndim == 2:
        return q.argmax(axis=1).astype(scores.dtype).reshape(scores.shape)
    q = q.reshape(*image.shape[:2], -1).astype(scores.dtype if scores.dtype.kind == "f" else np.float32)
    return np.ascontiguousarray(q.transpose(2, 0, 1)) if first else q


def edges_of(image, preset, dtype=np.float32, smoothness="lattice", device="cpu"):
    """The two kernels of a preset on an image, for `DenseField`.

    Args:
        image: (H, W) or (H, W, C) numbers; preset: a `Preset`; dtype: np.float32 or np.float64, that of the costs.
        smoothness: of SMOOTHNESS, how the second is filtered; device: "cpu" or "cuda".

    Returns:
        [(filter, weight), (filter, weight)], of smoothness and of appearance.
    """
    if image.dtype.kind == "f" and image.size and 0 <= image.min() and image.max() <= 1 < preset.srgb:
        warnings.warn(
            f"the image lies in 0..1, but srgb is {preset.srgb}, for values of 0..255: no edge will be seen; multiply"
            " the image by 255 or divide srgb",
            stacklevel=3,
        )
    height, width = image.shape[:2]
    appearance = bilateral_features(image, preset.sxy, preset.srgb, dtype)
    norm = preset.normalization
    if smoothness == "lattice":
        smooth = LatticeFilter(position_features(height, width, preset.smooth_sxy, dtype), norm, device)
    else:
        smooth = SeparableFilter(height, width, preset.smooth_sxy, norm, dtype, device)
    return [(smooth, preset.smooth_weight), (LatticeFilter(appearance, norm, device), preset.bilateral_weight)]


def _unary_of(scores, image, kind, confidence, unknown, num_classes):
    """(N, K) costs, and whether labels come first in the scores."""
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(f"the image must be (H, W) or (H, W, C) and not empty, got shape {image.shape}")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise ValueError("the image holds values that are not finite")
    if kind not in (None, *KINDS):
        raise ValueError(f"kind must be one of {', '.join(KINDS)} or None, got {kind!r}")
    size = image.shape[:2]
    if kind == "labels" or (kind is None and scores.ndim == 2):
        return _unary_of_labels(scores, size, confidence, unknown, num_classes), False
    if scores.dtype.kind != "f":
        raise TypeError(
            f"scores must be floats (H, W, K) or (K, H, W), or labels (H, W), got {scores.dtype} {scores.shape}"
        )
    if scores.ndim != 3 or size not in (scores.shape[:2], scores.shape[1:]):
        raise ValueError(
            f"scores of shape {scores.shape} do not fit an image of {size[0]} x {size[1]}: give (H, W, K) or (K, H, W)"
        )
    first = scores.shape[:2] != size
    wide = scores.astype(np.float64 if scores.dtype == np.float64 else np.float32)
    rows = np.ascontiguousarray(wide.transpose(1, 2, 0) if first else wide).reshape(size[0] * size[1], -1)
    if rows.shape[1] < 1:
        raise ValueError(f"scores of shape {scores.shape} have no labels")
    if not np.isfinite(rows).all():
        raise ValueError("scores hold values that are not finite")
    if kind is None:
        sums = rows.sum(axis=1)
        kind = "probabilities" if rows.min() >= 0 and abs(sums - 1).max() < 1e-2 else "logits"
    if kind == "logits":
        return -rows, first
    if rows.min() < 0 or rows.max() > 1 + 1e-3:
        raise ValueError(f"probabilities must lie in 0..1, got {rows.min():.3g} .. {rows.max():.3g}; are they logits?")
    return -np.log(np.clip(rows, rows.dtype.type(_LEAST), 1)), first


def _unary_of_labels(labels, size, confidence, unknown, num_classes):
    if labels.dtype.kind not in "iu":
        raise TypeError(f"labels must be integers (H, W), got {labels.dtype} of shape {labels.shape}")
    if labels.shape != size:
        raise ValueError(f"labels of shape {labels.shape} do not fit an image of {size[0]} x {size[1]}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    labels = labels.reshape(-1).astype(np.int64)
    known = labels != unknown
    found = int(labels[known].max(initial=0)) + 1
    k = found if num_classes is None else num_classes
    if k < 1:
        raise ValueError(f"num_classes must be at least 1, got {k}")
    if found > k or labels[known].min(initial=0) < 0:
        raise ValueError(
            f"labels lie in {labels[known].min()} .. {labels[known].max()}, valid are 0 .. {k - 1} and {unknown}"
        )
    if k == 1:
        return np.zeros((labels.size, 1), np.float32)
    unary = np.full((labels.size, k), -np.log((1 - confidence) / (k - 1)), np.float32)
    unary[np.flatnonzero(known), labels[known]] = -np.log(confidence)
    unary[~known] = np.log(k)
    return unary
