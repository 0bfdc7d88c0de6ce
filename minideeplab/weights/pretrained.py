"""Weights of other programs in our networks, recognised by the names in the file; and our weights for torchvision."""

import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minideeplab import models
from minideeplab.errors import CheckpointError
from minideeplab.files.refusal import Refusal, shown
from minideeplab.nn.allocation import TooLarge, limited_to
from minideeplab.nn.comparison import differences
from minideeplab.weights.checkpoint import Checkpoint
from minideeplab.weights.containers import read_weights, write_npz
from minideeplab.weights.layout_options import not_read
from minideeplab.weights.layouts import LAYOUTS, Layout
from minideeplab.weights.nearest_layouts import looks_like
from minideeplab.weights.raw_arrays import Weights
from minideeplab.weights.recognition import recognise


def load_pretrained(path: str | Path, *, source_images: bool = False, **options):
    """Builds the network that a weight file is for, and fills in the weights.

    The source and kind of the network are recognised by the names in the file; depth, widths, number of classes and an
    auxiliary head are read from the shapes. What lies around and beside the weights is left out (see `wrappers`; of a
    checkpoint with a moving average, the average is taken). A model that was saved as a whole loads as its weights do.

    The logits are those of the source, for images normalised as here: torchvision's, classifiers included, VainF's and
    kazuto1011's at any size, jfzhang95's at sizes of output_stride * k + 1. Those of kazuto1011 are, as there, compared
    over three scales; its first layer is changed so that it takes our images.

    A ResNet, DenseNet, MobileNet or VGG-16 without its classifier is a backbone: the class scores get first values,
    with a warning. `train --init-from` takes it as it is.

    Args:
        path: a .pth of PyTorch, .safetensors or .npz in one of `LAYOUTS`, or a checkpoint of this project.
        source_images: keep the first layer as it is in the file: kazuto1011's is for BGR in 0 ... 255 minus a mean.
        options: further ones of the model's constructor, and what no shape tells: `output_stride` of jfzhang95's and
            VainF's (16 by default), `dense` of classifiers, `num_classes` of a backbone (1000 by default).

    Returns:
        The Module in evaluation mode; `model.config` rebuilds it by `models.build`.

    Raises:
        CheckpointError: the file cannot be read, has no known layout, or its arrays do not fit; the message lists
            them, and the nearest layouts.
        ValueError: an option that the model does not have.

    Cost: the bytes of the file twice.
    """
    source = load(path, source_images=source_images, **options)
    if source.fresh:
        warnings.warn(
            f"{path}: a backbone without a classifier; the class scores of the model have first values, train them",
            stacklevel=2,
        )
    return source.model


@dataclass
class Source:
    """A network from a file.

    Attributes:
        model: in evaluation mode.
        fresh: names of its arrays that the file does not have, with their first values.
    """

    model: object
    fresh: frozenset[str] = frozenset()


def load(path: str | Path, *, source_images: bool = False, **options) -> Source:
    """As `load_pretrained`, and says what has first values."""
    weights = read_weights(path)
    if {"meta", "palette"} <= weights.arrays.keys():
        if options:
            raise ValueError(
                f"load_pretrained: {path} is a checkpoint of this project, it takes no {', '.join(options)}"
            )
        return Source(Checkpoint.load(path).build_model(path))
    try:
        layout, weights = recognise(weights, path)
        weights = Weights(_spelled(layout, weights.arrays), _spelled(layout, weights.unread))
        shapes = {name: array.shape for name, array in weights.arrays.items()}
        name, derived = layout.describe(weights.unread | shapes)
        with limited_to(array.size for array in weights.arrays.values()):
            model = _create(name, derived | options)
        return Source(model, _fill(model, layout, weights, source_images))
    except Refusal as error:
        raise CheckpointError(f"{path}: {error}") from error


def save_torchvision_npz(path: str | Path, model) -> None:
    """Writes the weights as torchvision names and stores them: convolutions (K, C, KH, KW), linear layers (K, C).

    In PyTorch: model.load_state_dict({name: torch.from_numpy(array) for name, array in numpy.load(path).items()}).

    Args:
        path: the .npz; it is replaced as a whole or not at all.
        model: a ResNet, DenseNet, MobileNet or VGG-16 as classifier, or one of torchvision's segmenters, by
            `models.build`.

    Raises:
        ValueError: torchvision has no such model, or `load_pretrained` would make another of the arrays.
        OSError: the file cannot be written; the old one is untouched.
    """
    write_npz(path, torchvision_arrays(model, "save_torchvision_npz"))


def torchvision_arrays(model, op: str = "torchvision_arrays") -> dict[str, np.ndarray]:
    """The weights as torchvision names and stores them, contiguous.

    Args:
        model: as of `save_torchvision_npz`; op: who asks, for the message.

    Raises:
        ValueError: torchvision has no such model, or `load_pretrained` would make another of the arrays.
    """
    name = (getattr(model, "config", None) or {}).get("name", "a model without config")
    layout = next((each for each in LAYOUTS if each.writes_model(name)), None)
    if layout is None:
        known = ", ".join(each for each in models.NAMES if any(layout.writes_model(each) for layout in LAYOUTS))
        raise ValueError(f"{op}: torchvision has no {name}; it has {known}")
    arrays = {}
    for ours, array in model.state_dict().items():
        stored = layout.stored_name(ours)
        arrays[stored] = _to_stored(array, layout.is_linear(stored))
    _check_readable(model, layout, arrays, op)
    return arrays


def _check_readable(model, layout: Layout, arrays: dict, op: str) -> None:
    """Raises ValueError unless the shapes tell the options of the model, as `load` reads them."""
    own = model.config
    name, derived = layout.describe({stored: array.shape for stored, array in arrays.items()})
    other = {option: value for option, value in derived.items() if own.get(option) != value}
    if name == own["name"] and not other:
        return
    if name == own["name"]:  # several widths may round to the same channels
        twin = models.unfilled(name, **derived)
        if {ours: t.shape for ours, t in _named(twin)} == {ours: t.shape for ours, t in _named(model)}:
            return
    raise ValueError(
        f"{op}: load_pretrained would read the arrays of {name} with {other}, which is another network than "
        f"{own}; keep the checkpoint of this project, or train another width"
    )


def _named(model):
    return [*model.named_parameters(), *model.named_buffers()]


# ---------------------------------------------------------------- names


def _spelled(layout: Layout, arrays: dict) -> dict:
    """The arrays under the names that the rules give."""
    result = {}
    for name, array in arrays.items():
        spelled = layout.spelled(name)
        if spelled in result:
            raise Refusal(f"two of its names mean {shown(spelled)}; keep one of them")
        result[spelled] = array
    return result


# ---------------------------------------------------------------- models


def _create(name: str, options: dict):
    known = models.options_of(name)
    for option in options.keys() - known.keys():
        raise ValueError(f"load_pretrained: {name} has no option {option}; it has {', '.join(known)}")
    try:
        return models.unfilled(name, **options)
    except TooLarge as error:
        raise Refusal(
            f"{name} with {options} is much larger than the arrays of the file; give a file of a whole network, or "
            f"options that fit it"
        ) from error
    except MemoryError as error:
        raise Refusal(f"{name} with {options} does not fit into memory; free some first") from error


def _fill(model, layout: Layout, weights: Weights, source_images: bool) -> frozenset[str]:
    """Gives the model the arrays of the file; returns the names of those that it does not have, of the head."""
    arrays, own = weights.arrays, dict(_named(model))
    stored = {ours: layout.stored_name(ours) for ours in own}
    fresh = frozenset()
    if not any(layout.is_head(name) for name in arrays):
        fresh = frozenset(ours for ours in own if layout.is_head(stored[ours]))
    taken = {ours: t for ours, t in own.items() if ours not in fresh}
    expected = {stored[ours]: _stored_shape(t.shape, layout.is_linear(stored[ours])) for ours, t in taken.items()}
    _compare(layout, model, expected, weights)
    state = {ours: _to_ours(arrays[stored[ours]], t.shape) for ours, t in taken.items()}
    with np.errstate(over="ignore"):  # what is too large for float32 is found below
        state = {ours: array.astype(np.float32) for ours, array in state.items()}
    for ours, array in state.items():
        if not np.isfinite(array).all():
            raise Refusal(f"{stored[ours]!r} holds values that are not finite, the training had diverged; take another")
        if ours.endswith("running_var") and (array < 0).any():
            raise Refusal(f"{stored[ours]!r}, a variance, holds {array.min()}; take another file")
    if fresh:
        model.initialise(0)
        state |= {ours: own[ours].numpy() for ours in fresh}
    model.load_state_dict(layout.fold(state) if layout.fold and not source_images else state)
    model.eval()
    return fresh


def _compare(layout: Layout, model, expected: dict, weights: Weights) -> None:
    """Raises Refusal with a table of the arrays that are missing, unknown or of another shape."""
    for name in expected.keys() & weights.unread.keys():
        raise not_read(name, weights.unread[name])
    wrong = differences(expected, {name: array.shape for name, array in weights.arrays.items()})
    if wrong:
        raise Refusal(
            f"recognised as {layout.title}, but {wrong.counts()}\n{wrong.table()}{looks_like(wrong.unknown)}\n"
            f"expected is what {model.config} has; give options that fit the file, or a file of this very network"
        )


# ---------------------------------------------------------------- arrays


def _stored_shape(shape: tuple, linear: bool) -> tuple:
    """PyTorch's shape of our weight."""
    if linear:
        return shape[-1], int(np.prod(shape[:-1]))
    if len(shape) == 4:
        return shape[3], shape[2], shape[0], shape[1]
    return (shape[2], 1, *shape[:2]) if len(shape) == 3 else tuple(shape)


def _to_ours(array: np.ndarray, shape: tuple) -> np.ndarray:
    """A view: (K, C, KH, KW), also as (K, C * KH * KW), -> (KH, KW, C, K); depthwise (C, 1, KH, KW) -> (KH, KW, C)."""
    if len(shape) == 4:
        return array.reshape(_stored_shape(shape, False)).transpose(2, 3, 1, 0)
    return array[:, 0].transpose(1, 2, 0) if len(shape) == 3 else array


def _to_stored(array: np.ndarray, linear: bool) -> np.ndarray:
    """The reverse of `_to_ours`, contiguous."""
    axes = {4: (3, 2, 0, 1), 3: (2, 0, 1)}.get(array.ndim)
    stored = array if axes is None else array.transpose(axes)
    return np.ascontiguousarray(stored.reshape(_stored_shape(array.shape, linear)))
