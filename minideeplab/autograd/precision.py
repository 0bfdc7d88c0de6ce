"""The precision of networks: float32, or bfloat16 for feature maps and their gradients.

In the mode "bf16" a convolution rounds its float32 input to bfloat16 and gives bfloat16, and all that follows goes on
so, until something needs float32: a softmax, a loss, whoever asks for numbers. Products are of bfloat16 numbers, sums
are float32; weights, their gradients, statistics and the optimiser stay float32. float64 is left alone.

Which op does what stands at its class (`Function.maps`, `rounds`, `widens`); that it happens, here in `prepared`.
"""

import numpy as np

from kernels.bfloat16 import BFLOAT16
from minideeplab.autograd.function import Function

PRECISIONS = ("float32", "bf16")

_in_use = "float32"


class _Restoring:
    """Ends a block in which a precision holds."""

    def __init__(self, previous):
        self.previous = previous

    def __enter__(self):
        return self

    def __exit__(self, *error):
        precision(self.previous)


def precision(name):
    """Sets the precision of networks on the CPU from now on; in `with precision("bf16"):` for the block alone.

    Args:
        name: "float32", or "bf16": half the memory of the activations, and several times the multiply-adds a second on
            processors with bfloat16 instructions (`kernels.has_bfloat16`). On others it computes the same, slowly, and
            the commands refuse it. The mode is one for all threads.

    Raises:
        ValueError: another name.
    """
    global _in_use
    if name not in PRECISIONS:
        raise ValueError(f"precision: there are {' and '.join(PRECISIONS)}, got {name!r}")
    previous, _in_use = _in_use, name
    return _Restoring(previous)


def precision_in_use():
    """The name last given to `precision`."""
    return _in_use


class ToBfloat16(Function):
    """Rounds; the gradient, which is rounded already, is widened."""

    def forward(self, x):
        return self.k.to_bfloat16(x)

    def backward(self, grad):
        return (self.k.to_float32(grad),)


class ToFloat32(Function):
    """Widens; the gradient is rounded, as those of all bfloat16 maps are."""

    def forward(self, x):
        return self.k.to_float32(x)

    def backward(self, grad):
        return (self.k.to_bfloat16(grad),)


def prepared(op, tensors):
    """The inputs of an op in the dtype in which it shall run: feature maps are rounded or widened where it asks."""
    positions = [i for i, t in enumerate(tensors) if (len(t.shape) > 1 if op.maps is None else i in op.maps)]
    halves = any(tensors[i].dtype == BFLOAT16 for i in positions)
    if op.widens:
        change, wrong = ToFloat32, BFLOAT16
    elif halves or (op.rounds and _in_use == "bf16"):
        change, wrong = ToBfloat16, np.float32
    else:
        return tensors
    return [change.apply(t) if i in positions and t.dtype == wrong else t for i, t in enumerate(tensors)]
