"""A Tensor: an array that remembers how it was made."""

import numpy as np

import kernels
from kernels.bfloat16 import BFLOAT16, name_of, sum_dtype, widen
from minideeplab.autograd import ops
from minideeplab.autograd.function import backpropagate


class Tensor:
    """An array on a device, with the gradient of a later scalar with respect to it.

    Attributes:
        data: the array, float32 or float64; bfloat16 for a feature map in the mode "bf16", see `precision`.
        grad: array of the same shape after `backward`, or None.
        requires_grad: whether gradients are wanted for it.
        node: the Function that made it; None for a leaf.
    """

    __array_ufunc__ = None  # array * tensor is an error, not an array of tensors

    __slots__ = ("__weakref__", "data", "grad", "node", "requires_grad")

    def __init__(self, data, requires_grad=False):
        if isinstance(data, Tensor):
            raise TypeError("Tensor: data is already a Tensor; use .detach() for one without history")
        if isinstance(data, (list, tuple, int, float, np.generic)):
            data = np.asarray(data, None if isinstance(data, np.generic) else np.float32)
        kernels.device_of(data)
        if data.dtype not in (np.float32, np.float64, BFLOAT16):
            raise TypeError(
                f"Tensor: data must be float32 or float64, got {data.dtype}; convert with .astype(numpy.float32)"
            )
        self.data, self.requires_grad, self.grad, self.node = data, requires_grad, None, None

    @property
    def shape(self):
        return self.data.shape

    @property
    def dtype(self):
        return self.data.dtype

    @property
    def device(self):
        return kernels.device_of(self.data)

    def to(self, device):
        """The same values on "cpu" or "cuda", without history; itself where they lie there."""
        return self if self.device == device else Tensor(kernels.to_device(self.data, device))

    def numpy(self):
        """The values as a NumPy array (shared, not copied, on the CPU); of bfloat16 a float32 copy."""
        array = kernels.load(self.device).to_numpy(self.data)
        return widen(array) if array.dtype == BFLOAT16 else array

    def argmax(self):
        """The number of the largest channel at each position: (...) uint8, an array on this device."""
        return kernels.load(self.device).argmax(self.data)

    def item(self):
        """The value of a tensor with one element, as a Python float."""
        if self.data.size != 1:
            raise ValueError(f"item: needs one element, this tensor has shape {self.shape}")
        return float(self.numpy().reshape(()))

    def detach(self):
        """The same array without history."""
        return Tensor(self.data)

    def backward(self, grad=None):
        """Fill .grad of every leaf with d self / d leaf, summed into what is there, and free the graph.

        Args:
            grad: array of this shape, the gradient of some scalar with respect to self; 1 for a scalar by default. For
                a bfloat16 tensor it may be float32.

        Raises:
            ValueError: no `grad` although self is not a scalar, or one of another shape.
            RuntimeError: nothing was recorded, or backward has already run through this graph. There is no double
                backward.
        """
        if not self.requires_grad:
            raise RuntimeError(
                "backward: this tensor has no history; no input has requires_grad, or it was made in no_grad()"
            )
        if grad is None:
            if self.shape != ():
                raise ValueError(
                    f"backward: give `grad` for a tensor of shape {self.shape}; only a scalar has a default, 1"
                )
            grad = kernels.load(self.device).full((), 1, self.dtype)
        k = kernels.load(kernels.device_of(self.data, grad))
        if self.dtype == BFLOAT16 and grad.dtype == np.float32:
            grad = k.to_bfloat16(grad)
        if grad.dtype != self.dtype:
            raise TypeError(f"backward: grad is {name_of(grad.dtype)}, the tensor is {name_of(self.dtype)}")
        if tuple(grad.shape) != self.shape:
            raise ValueError(f"backward: grad has shape {tuple(grad.shape)}, the tensor {self.shape}")
        if self.node is None:
            self.grad = k.copy(grad) if self.grad is None else k.add(self.grad, grad)
        else:
            backpropagate(self.node, grad)

    def sum(self):
        """The sum of all elements, a scalar."""
        return ops.sum(self)

    def mean(self):
        """The mean of all elements, a scalar."""
        return ops.sum(self) * (1 / self.data.size)

    def relu(self):
        return ops.relu(self)

    def __add__(self, other):
        return ops.add(self, self._like(other))

    def __mul__(self, other):
        return ops.multiply(self, self._like(other))

    def __neg__(self):
        return self * -1.0

    def __sub__(self, other):
        return self + -self._like(other)

    def __rsub__(self, other):
        return -self + other

    __radd__, __rmul__ = __add__, __mul__

    def _like(self, other):
        """A number as a scalar tensor of this device, and of this dtype or that of its sums; a tensor as it is."""
        if isinstance(other, (int, float, np.number)):
            return Tensor(kernels.load(self.device).full((), other, sum_dtype(self.dtype)))
        if not isinstance(other, Tensor):
            raise TypeError(f"arithmetic with a Tensor needs a Tensor or a number, got {type(other).__name__}")
        return other

    def __repr__(self):
        history = (
            f", made by {type(self.node).__name__}" if self.node else ", requires_grad" if self.requires_grad else ""
        )
        return f"Tensor({self.shape}, {name_of(self.dtype)}, {self.device}{history})"
