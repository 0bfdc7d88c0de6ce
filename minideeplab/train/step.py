"""One step of training, which keeps no records: the loop, notebooks and searches for a learning rate call it."""

import math
from contextlib import contextmanager, nullcontext

import numpy as np

import kernels
from minideeplab.autograd import Tensor
from minideeplab.errors import DivergedError
from minideeplab.nn import Loss


def train_step(
    model, optimiser, images, labels, lr=None, class_weights=None, ignore_index=255, parts=1, hard_share=1.0,
    replica=None,
) -> Loss:  # fmt: skip
    """Forward, loss, backward, update.

        g = d loss(model(images), labels) / d parameters,    parameters <- optimiser(parameters, g, lr)

    With `parts` the batch is computed in so many parts, one after the other, in the memory of one. Losses and gradients
    are those of the batch, whatever share of each part is void:

        loss = sum_b weight_b loss_b / sum_b weight_b,    g = sum_b weight_b g_b / sum_b weight_b

    Batch norm takes the statistics of each part, and dropout draws for each part anew.

    Args:
        model: in training mode, with a method `loss` as of `Segmenter`; dropout goes on in its stream, see `reseed`.
        optimiser: made for this model, such as `SGD(model, lr=0.01)`.
        images: (N, H, W, 3) float32, normalised; labels: (N, H, W) integers; on any device.
        lr: learning rate of this step; None for the optimiser's own.
        class_weights: (num_classes,) numbers, or None for ones; ignore_index: the label of void pixels.
        parts: a divisor of N; hard_share: the share of each image's labelled pixels that the loss is taken over, those
            with the largest loss, see `nn.hard_pixels`.
        replica: of the model, where it is one of several ranks' (`distributed.Replica`). Images and labels are then
            this rank's part of the batch, as large as that of each other rank. All of them take one step.

    Returns:
        The loss of the whole batch before the update, a scalar without history that knows its `weight`.

    Raises:
        TypeError: images that were not normalised. ValueError: `parts` that do not divide N.
        DivergedError: the loss is not finite; the message names the first array that is not finite either.

    A step that fails changes no parameter. On the CPU it changes no running statistics of batch norm either; on a GPU
    these have seen the batch, since a copy of them would be hundreds of launches in each step.
    """
    if images.dtype == np.uint8:
        raise TypeError("train_step: images are uint8; give minideeplab.data.normalise(images)")
    if parts < 1 or images.shape[0] % parts:
        raise ValueError(f"train_step: parts must divide the batch of {images.shape[0]}, got {parts}")
    k = kernels.load(model.device)
    total, weight = 0.0, 0.0
    optimiser.zero_grad()
    with _statistics_kept_on_error(model):
        for number, (some, truth) in enumerate(_cut(images, labels, parts), 1):
            loss = model.loss(Tensor(some).to(model.device), truth, class_weights, ignore_index, hard_share)
            mean, of = (loss.item(), loss.weight) if replica is None else replica.mean_loss(loss.item(), loss.weight)
            if not math.isfinite(mean):
                raise DivergedError(f"the loss is {mean}{_first_cause(model, loss, some, replica)}")
            # In one part, the gradient of the mean over all ranks' pixels; in several that of the sum over pixels: of
            # how many in all is known after the last part.
            share = loss.weight if parts > 1 else loss.weight / of if of else 1.0
            with replica.summing() if replica and number == parts else nullcontext():
                loss.backward(k.full((), share, loss.dtype))
            total, weight = total + mean * of, weight + of
        if parts > 1:
            _divide_gradients(model, weight)
            mean = total / weight if weight else 0.0
    optimiser.step(lr)
    if replica:
        replica.finish()
    return Loss(Tensor(k.full((), mean, loss.dtype)), weight)


def _cut(images, labels, parts):
    """(images, labels) of each part; a batch in one part may lie on any device."""
    if parts == 1:
        return [(images, labels)]
    images, labels = kernels.to_device(images, "cpu"), kernels.to_device(labels, "cpu")
    return zip(np.split(images, parts), np.split(labels, parts), strict=True)


def _divide_gradients(model, weight):
    """From sums to means; without a labelled pixel they are zero as they are."""
    for p in model.parameters():
        if p.grad is not None and weight:
            k = kernels.load(p.device)
            p.grad = k.multiply(p.grad, k.full((), 1 / weight, p.dtype))


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


def _first_cause(model, loss, images, replica) -> str:
    """The first array that is not finite. Several ranks look together: the sentence of the first that finds one."""

    def found(arrays, words):
        name = first_not_finite(arrays)
        sentence = f", {words.format(name)}" if name else ""
        return sentence if replica is None else next(filter(None, replica.group.all(sentence)), "")

    if cause := found({"images": images}, "the images hold values that are not finite"):
        return cause
    weights = {name: p.data for name, p in model.named_parameters()}
    if cause := found(weights, "the first weight that is not finite is '{}'"):
        return cause
    loss.backward()
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    return found(gradients, "the first gradient that is not finite is that of '{}'")
