"""Sharpens a segmentation at the edges of its image: one call, with the papers' settings."""

import sys
import warnings
from pathlib import Path

import numpy as np

from kernels.bfloat16 import name_of
from minideeplab.crf.field import DenseField
from minideeplab.crf.filters import LatticeFilter, SeparableFilter, bilateral_features, position_filter
from minideeplab.crf.presets import KINDS, LEAST_PROBABILITY, SMOOTHNESS, preset_of

_PACKAGE = str(Path(__file__).parents[1] / "_")[:-1]  # what the names of the package's files begin with

_TWO_CHANNELS = "for one class and its background give (1 - p, p) of probabilities p, or (0, x) of logits x"


def refine(
    scores, image, preset="deeplab-v2", *, kind=None, confidence=0.7, unknown=255, damping=0.0, tolerance=0.0,
    smoothness="lattice", report=None, device="cpu", **settings,
):  # fmt: skip
    """Labels or probabilities that follow the edges of the image, by a dense CRF.

    Args:
        scores: probabilities or logits, (H, W, K) or (K, H, W) of any float dtype, or labels (H, W), integers. K >= 2:
            for one class and its background give (1 - p, p) of probabilities p, or (0, x) of logits x.
        image: (H, W), (H, W, C), any numbers; colours of 0 .. 255 for the presets.
        preset: "deeplab-v1", "deeplab-v2", "crfasrnn", "pydensecrf", one of them with changes, "deeplab-v2,sxy=50", or
            a `Preset`.
        kind: "probabilities", "logits" or "labels"; None decides by dtype, and by whether the numbers lie in 0..1.
        confidence: probability that a given label is right; the rest is shared by the other labels that occur.
        unknown: the label of pixels that could be any of those.
        damping, tolerance, report: as in `DenseField.infer`.
        smoothness: the second kernel by "lattice" or "separable" convolution.
        device: where to compute, "cpu" or "cuda"; arrays come from and go to host memory.
        settings: of `Preset`, to change: bilateral_weight, sxy, srgb, smooth_weight, smooth_sxy, iterations,
            normalisation.

    Returns:
        What came in, refined: probabilities in the layout and dtype of the scores, or labels, without unknown ones.

    Raises:
        ValueError, TypeError: values that do not fit, and what to change.

    Cost: for 500 x 375 pixels and 21 labels on two cores 0.13 s with "pydensecrf", 0.4 .. 1.2 s with "deeplab-v2" and
    "crfasrnn": the smaller srgb, the more vertices.
    """
    chosen = preset_of(preset, **settings)
    scores, image = np.asarray(scores), np.asarray(image)
    if smoothness not in SMOOTHNESS:
        raise ValueError(f"smoothness must be one of {', '.join(SMOOTHNESS)}, got {smoothness!r}")
    unary, first, names = _unary_of(scores, image, kind, confidence, unknown)
    field = DenseField(unary, edges_of(image, chosen, unary.dtype.type, smoothness, device))
    q = field.infer(chosen.iterations, damping, tolerance, report)
    if scores.ndim == 2:
        return names[q.argmax(axis=1)].astype(scores.dtype).reshape(scores.shape)
    q = q.reshape(*image.shape[:2], -1).astype(scores.dtype if scores.dtype.kind == "f" else np.float32)
    return np.ascontiguousarray(q.transpose(2, 0, 1)) if first else q


def warn_of_range(image, srgb):
    """Warns of an image whose values do not fit srgb, since they were divided or multiplied by something.

    The warning names the line outside of the package from which the CRF was called.
    """
    span, srgb = float(image.max()) - float(image.min()) if image.size else 0.0, float(np.max(srgb))
    if 0 < span <= 2 * srgb:
        fault = f"no edge will be seen: the image's values span only {span:.3g}"
    elif span > 1000 * srgb:
        fault = f"every pixel will be an edge: the image's values span {span:.3g}"
    else:
        return
    text = f"{fault}, and srgb is {srgb:g}, which is meant for 0..255; scale the image or srgb"
    warnings.warn(text, stacklevel=_levels_to_the_caller())


def _levels_to_the_caller():
    """`stacklevel` for the calling function: the number of frames up to the first outside of the package."""
    frame, levels = sys._getframe(1), 1
    while frame.f_back and frame.f_code.co_filename.startswith(_PACKAGE):
        frame, levels = frame.f_back, levels + 1
    return levels


def edges_of(image, preset, dtype=np.float32, smoothness="lattice", device="cpu"):
    """The two kernels of a preset on an image, for `DenseField`.

    Args:
        image: (H, W) or (H, W, C) numbers; preset: a `Preset`, its name, or a name with changes, "deeplab-v2,sxy=50".
        dtype: np.float32 or np.float64, that of the costs.
        smoothness: of SMOOTHNESS, how the second is filtered; device: "cpu" or "cuda".

    Returns:
        [(filter, weight), (filter, weight)], of smoothness and of appearance.
    """
    preset = preset_of(preset)
    warn_of_range(image, preset.srgb)
    height, width = image.shape[:2]
    appearance = bilateral_features(image, preset.sxy, preset.srgb, dtype)
    norm = preset.normalisation
    if smoothness == "lattice":
        smooth = position_filter(height, width, preset.smooth_sxy, norm, dtype, device)
    else:
        smooth = SeparableFilter(height, width, preset.smooth_sxy, norm, dtype, device)
    return [(smooth, preset.smooth_weight), (LatticeFilter(appearance, norm, device), preset.bilateral_weight)]


def _unary_of(scores, image, kind, confidence, unknown):
    """(N, K) costs, whether labels come first in the scores, and the names of the labels if these came in."""
    if image.dtype.kind not in "uifb":
        raise ValueError(f"the image must be numbers, got {image.dtype}")
    if image.ndim not in (2, 3) or 0 in image.shape:
        raise ValueError(f"the image must be (H, W) or (H, W, C) and not empty, got shape {image.shape}")
    if image.dtype.kind == "f" and not np.isfinite(image).all():
        raise ValueError("the image holds values that are not finite")
    if kind not in (None, *KINDS):
        raise ValueError(f"kind must be one of {', '.join(KINDS)} or None, got {kind!r}")
    size = image.shape[:2]
    if kind == "labels" or (kind is None and scores.ndim == 2):
        unary, names = _unary_of_labels(scores, size, confidence, unknown)
        return unary, False, names
    if scores.dtype.kind != "f":
        raise TypeError(
            "scores must be floats (H, W, K) or (K, H, W), or labels (H, W),"
            f" got {name_of(scores.dtype)} {scores.shape}"
        )
    if scores.ndim != 3 or size not in (scores.shape[:2], scores.shape[1:]):
        raise ValueError(
            f"scores of shape {scores.shape} do not fit an image of {size[0]} x {size[1]}: give (H, W, K) or (K, H, W)"
            + (f"; {_TWO_CHANNELS}" if scores.ndim == 2 else "")
        )
    first = scores.shape[:2] != size
    wide = scores.astype(np.float64 if scores.dtype == np.float64 else np.float32)
    rows = np.ascontiguousarray(wide.transpose(1, 2, 0) if first else wide).reshape(size[0] * size[1], -1)
    if rows.shape[1] < 2:
        channels = "one channel" if rows.shape[1] else "no labels"
        raise ValueError(f"scores of shape {scores.shape} have {channels}, a choice needs two; {_TWO_CHANNELS}")
    if not np.isfinite(rows).all():
        raise ValueError("scores hold values that are not finite")
    in_range = rows.min() >= 0 and rows.max() <= 1 + 1e-3
    if kind is None and in_range and abs(rows.sum(axis=1) - 1).max() > 1e-2:
        raise ValueError(
            "scores lie in 0..1 but do not sum to 1 at every pixel; say what they are: kind='probabilities' or 'logits'"
        )
    if kind == "logits" or (kind is None and not in_range):
        return -rows, first, None
    if not in_range:
        raise ValueError(f"probabilities must lie in 0..1, got {rows.min():.3g} .. {rows.max():.3g}; are they logits?")
    return -np.log(np.clip(rows, rows.dtype.type(LEAST_PROBABILITY), 1)), first, None


def _unary_of_labels(labels, size, confidence, unknown):
    """(N, K) costs of the K labels that occur, and these labels in ascending order."""
    if labels.dtype.kind not in "iub":
        hint = f"; {_TWO_CHANNELS}" if labels.ndim == 2 else ""
        raise TypeError(f"labels must be integers (H, W), got {labels.dtype} of shape {labels.shape}{hint}")
    if labels.shape != size:
        raise ValueError(f"labels of shape {labels.shape} do not fit an image of {size[0]} x {size[1]}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence must lie between 0 and 1, got {confidence}")
    names, number = np.unique(labels.reshape(-1), return_inverse=True)
    if names[0] < 0 and names[0] != unknown:
        raise ValueError(f"labels must be 0 or more, got {names[0]}")
    known = names != unknown
    k = int(known.sum())
    if k < len(names) and k < 2:
        only = f"the label {names[known][0]}" if k else "no label"
        raise ValueError(
            f"labels hold {only} and {unknown}, which means unknown: there is nothing to choose from; a mask of two"
            " classes needs two labels beside it, such as 0 and 1"
        )
    number = (np.cumsum(known) - 1)[number]  # among those that are known
    sure = known[np.searchsorted(names, labels.reshape(-1))]
    unary = np.full((labels.size, k), -np.log((1 - confidence) / max(k - 1, 1)), np.float32)
    unary[np.flatnonzero(sure), number[sure]] = -np.log(confidence)
    unary[~sure] = np.log(k)
    return unary, names[known]
