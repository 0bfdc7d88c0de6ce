"""One step of training, which keeps no records: the loop, notebooks and searches for a learning rate call it."""

import math
from contextlib import contextmanager

import numpy as np

import kernels
from minideeplab.autograd import Tensor
from minideeplab.errors import DivergedError
from minideeplab.nn import Loss


def train_step(model, optimiser, images, labels, lr=None, class_weights=None, ignore_index=255) -> Loss:
    """Forward, loss, backward, update.

        g = d loss(model(images), labels) / d parameters,    parameters <- optimiser(parameters, g, lr)

    Args:
        model: in training mode, with a method `loss` as of `Segmenter`; dropout goes on in its stream, see `reseed`.
        optimiser: made for this model, such as `SGD(model, lr=0.01)`.
        images: (N, H, W, 3) float32, normalised; labels: (N, H, W) integers; on any device.
        lr: learning rate of this step; None for the optimiser's own.
        class_weights: (num_classes,) numbers, or None for ones; ignore_index: the label of void pixels.

    Returns:
        The loss before the update, a scalar without history that knows its `weight`.

    Raises:
        TypeError: images that were not normalised.
        DivergedError: the loss is not finite; the message names the first array that is not finite either.

    A step that fails changes no parameter. On the CPU it changes no running statistics of batch norm either; on a GPU
    these have seen the batch, since a copy of them would be hundreds of launches in each step.
    """
    if images.dtype == np.uint8:
        raise TypeError("train_step: images are uint8; give minideeplab.data.normalise(images)")
    with _statistics_kept_on_error(model):
        loss = model.loss(Tensor(images).to(model.device), labels, class_weights, ignore_index)
        optimiser.zero_grad()
        if not math.isfinite(loss.item()):
            raise DivergedError(f"the loss is {loss.item()}{_first_cause(model, loss, images)}")
        loss.backward()
    optimiser.step(lr)
    return Loss(loss.detach(), loss.weight)


def first_not_finite(arrays: dict) -> str | None:
    """Name of the first array, on any device, that holds a NaN or an infinity."""
    return next((n for n, a in arrays.items() if not kernels.load(kernels.device_of(a)).is_finite(a)), None)


@contextmanager
def _statistics_kept_on_error(model):
    """Where the block ends with an error, all buffers are as they were (see `train_step` for the GPU)."""
    before = [(b, np.array(b.data)) for _, b in model.named_buffers()] if model.device == "cpu" else []
    try:
        yield
    except BaseException:
        for buffer, values in before:
            buffer.data[...] = values
        raise


def _first_cause(model, loss, images) -> str:
    if first_not_finite({"images": images}):
        return ", the images hold values that are not finite"
    if name := first_not_finite({name: p.data for name, p in model.named_parameters()}):
        return f", the first weight that is not finite is '{name}'"
    loss.backward()
    if name := first_not_finite({name: p.grad for name, p in model.named_parameters() if p.grad is not None}):
        return f", the first gradient that is not finite is that of '{name}'"
    return ""
