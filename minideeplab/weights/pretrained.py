"""Weights of other programs in our networks, recognised by the names in the file; and our weights for torchvision."""

from pathlib import Path

import numpy as np

from minideeplab import models
from minideeplab.errors import CheckpointError
from minideeplab.files.refusal import REDO, Refusal, shown
from minideeplab.files.whole import written_whole
from minideeplab.weights.checkpoint import Checkpoint
from minideeplab.weights.containers import read_arrays
from minideeplab.weights.layouts import LAYOUTS, Layout

_SHOWN = 20  # rows of a table


def load_pretrained(path: str | Path, *, source_images: bool = False, **options):
    """Builds the network that a weight file is for, and fills in the weights.

    The source and kind of the network are recognised by the names in the file; depth, widths, number of classes and an
    auxiliary head are read from the shapes. The logits are those of the source, for images normalised as here:
    torchvision's forms, VainF's and kazuto1011's at any size, jfzhang95's at sizes of output_stride * k + 1, DenseNet
    at multiples of 32, VGG-16 at 224 x 224. Those of kazuto1011 are, as there, compared over three scales; its first
    layer is changed so that it takes our images.

    Args:
        path: a .pth of PyTorch, .safetensors or .npz in one of `LAYOUTS`, or a checkpoint of this project.
        source_images: keep the first layer as it is in the file: kazuto1011's is for BGR in 0 ... 255 minus a mean.
        options: further ones of the model's constructor, and what no shape tells: `output_stride` of jfzhang95's and
            VainF's (16 by default), `dense` of classifiers.

    Returns:
        The Module in evaluation mode; `model.config` rebuilds it by `models.build`.

    Raises:
        CheckpointError: the file cannot be read, has no known layout, or its arrays do not fit; a table lists them.
        ValueError: an option that the model does not have.

    Cost: the bytes of the file twice.
    """
    arrays = read_arrays(path)
    if {"meta", "palette"} <= arrays.keys():
        if options:
            raise ValueError(
                f"load_pretrained: {path} is a checkpoint of this project, it takes no {', '.join(options)}"
            )
        return Checkpoint.load(path).build_model(path)
    try:
        layout = _recognise(arrays)
        arrays = _spelled(layout, arrays)
        name, derived = layout.describe({key: array.shape for key, array in arrays.items()})
        model = _create(name, derived | options)
        _fill(model, layout, arrays, source_images)
    except Refusal as error:
        raise CheckpointError(f"{path}: {error}") from error
    return model.eval()


def save_torchvision_npz(path: str | Path, model) -> None:
    """Writes the weights as torchvision names and stores them: convolutions (K, C, KH, KW), linear layers (K, C).

    In PyTorch: model.load_state_dict({name: torch.from_numpy(array) for name, array in numpy.load(path).items()}).

    Args:
        path: the .npz; it is replaced as a whole or not at all.
        model: a ResNet, DenseNet or VGG-16 as classifier, or one of torchvision's segmenters, by `models.build`.

    Raises:
        ValueError: torchvision has no such model.
        OSError: the file cannot be written; the old one is untouched.
    """
    name = (getattr(model, "config", None) or {}).get("name", "a model without config")
    layout = next((each for each in LAYOUTS if each.writes_model(name)), None)
    if layout is None:
        known = ", ".join(each for each in models.NAMES if any(layout.writes_model(each) for layout in LAYOUTS))
        raise ValueError(f"save_torchvision_npz: torchvision has no {name}; it has {known}")
    members = {}
    for ours, array in model.state_dict().items():
        stored = layout.stored_name(ours)
        members[stored] = _to_stored(array, layout.is_linear(stored))
    with written_whole(path) as file:
        np.savez(file, **members)


# ---------------------------------------------------------------- names


def _recognise(arrays: dict) -> Layout:
    for layout in LAYOUTS:
        if layout.recognises(arrays):
            return layout
    names = ", ".join(shown(name) for name in list(arrays)[:5]) or "nothing"
    known = "".join(f"\n  {layout.title}" for layout in LAYOUTS)
    raise Refusal(
        f"no known layout; it has {len(arrays)} arrays: {names}{', ...' if len(arrays) > 5 else ''}\n"
        f"known are checkpoints of this project, and{known}\n"
        f"for others rename the arrays to one of these layouts, and save them with numpy.savez"
    )


def _spelled(layout: Layout, arrays: dict) -> dict:
    """The arrays that matter, under the names that the rules give."""
    result = {}
    for name, array in arrays.items():
        if name.split(".")[-1] == "num_batches_tracked":  # PyTorch's counter; no result depends on it
            continue
        spelled = layout.spelled(name)
        if spelled in result:
            raise Refusal(f"two of its names mean {shown(spelled)}; {REDO}")
        result[spelled] = array
    return result


# ---------------------------------------------------------------- models


def _create(name: str, options: dict):
    known = models.options_of(name)
    for option in options.keys() - known.keys():
        raise ValueError(f"load_pretrained: {name} has no option {option}; it has {', '.join(known)}")
    try:
        model = models.create(name, **options)  # without first values, which would be overwritten
    except MemoryError as error:
        raise Refusal(f"{name} with {options} does not fit into memory; {REDO}") from error
    plain = {key: list(value) if isinstance(value, tuple) else value for key, value in (known | options).items()}
    model.config = {"name": name, "seed": 0, **plain}  # as of models.build
    return model.reseed(0)


def _fill(model, layout: Layout, arrays: dict, source_images: bool) -> None:
    own = dict([*model.named_parameters(), *model.named_buffers()])
    stored = {ours: layout.stored_name(ours) for ours in own}
    expected = {stored[ours]: _stored_shape(t.shape, layout.is_linear(stored[ours])) for ours, t in own.items()}
    _compare(layout, model, expected, {name: array.shape for name, array in arrays.items()})
    state = {ours: _to_ours(arrays[stored[ours]], t.shape) for ours, t in own.items()}
    with np.errstate(over="ignore"):  # what is too large for float32 is found below
        state = {ours: array.astype(np.float32) for ours, array in state.items()}
    for ours, array in state.items():
        if not np.isfinite(array).all():
            raise Refusal(f"{stored[ours]!r} holds values that are not finite, the training had diverged; take another")
        if ours.endswith("running_var") and (array < 0).any():
            raise Refusal(f"{stored[ours]!r}, a variance, holds {array.min()}; {REDO}")
    model.load_state_dict(layout.fold(state) if layout.fold and not source_images else state)


def _compare(layout: Layout, model, expected: dict, found: dict) -> None:
    """Raises Refusal with a table of the arrays that are missing, unknown or of another shape."""
    wrong = [name for name in expected | found if expected.get(name) != found.get(name)]
    if not wrong:
        return
    missing, unknown = len(expected.keys() - found.keys()), len(found.keys() - expected.keys())
    rows = [f"  {shown(name)}: {expected.get(name, '-')} / {found.get(name, '-')}" for name in wrong[:_SHOWN]]
    rows += [f"  ... and {len(wrong) - _SHOWN} more"] if len(wrong) > _SHOWN else []
    lines = [
        f"recognised as {layout.title}, but {missing} arrays are missing, {unknown} are unknown and "
        f"{len(wrong) - missing - unknown} have another shape",
        "  array: expected / found",
        *rows,
        f"expected is what {model.config} has; give options that fit the file, or a file of this very network",
    ]
    raise Refusal("\n".join(lines))


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
