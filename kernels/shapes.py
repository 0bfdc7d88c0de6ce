"""Arrays without numbers: the functions of `kernels.reference`, of which only the shapes are computed.

A network run on it does nothing in no time, and whoever watches the calls (`kernels.watching`) learns what it would
do: that is how its costs are counted, at any size, without a second description of the network.
"""

import math

import numpy as np

from .activation import check_activation
from .bfloat16 import BFLOAT16, name_of, sum_dtype
from .checks import check_flatten, check_floats, check_part, check_sum_of, check_to_bfloat16, check_to_float32


class ShapeArray:
    """The shape and dtype of an array. Two of them are equal only if they are the same."""

    device = "shapes"
    __slots__ = ("__weakref__", "dtype", "shape")

    def __init__(self, shape, dtype=np.float32):
        self.shape, self.dtype = tuple(int(side) for side in shape), np.dtype(dtype)

    @property
    def size(self):
        return math.prod(self.shape)

    @property
    def ndim(self):
        return len(self.shape)

    @property
    def nbytes(self):
        return self.size * self.dtype.itemsize

    def __len__(self):
        return self.shape[0]

    def __repr__(self):
        return f"ShapeArray({self.shape}, {name_of(self.dtype)})"


def _like(array):
    return ShapeArray(array.shape, array.dtype)


def _pixels(array, height, width):
    """The same images and channels at another size."""
    return ShapeArray((array.shape[0], height, width, array.shape[3]), array.dtype)


def _argmax(array):
    return ShapeArray(array.shape, np.int32)


def from_numpy(array):
    return _like(array)


def to_numpy(array):
    raise TypeError(f"the device shapes holds no numbers: {array!r} has none to copy")


def empty(shape, dtype=np.float32):
    return ShapeArray(shape, dtype)


def zeros(shape, dtype=np.float32):
    return ShapeArray(shape, dtype)


def full(shape, value, dtype=np.float32):
    return ShapeArray(shape, dtype)


def copy(array):
    return _like(array)


def reshape(array, shape):
    return ShapeArray(shape, array.dtype)


def flatten(arrays, flat):
    check_flatten(arrays, flat)


def part(flat, first, shape):
    check_part(flat, first, shape)
    return ShapeArray(shape, flat.dtype)


def is_finite(array):
    return True


def synchronize():
    pass


def to_bfloat16(x):
    check_to_bfloat16(x)
    return ShapeArray(x.shape, BFLOAT16)


def to_float32(x):
    check_to_float32(x)
    return ShapeArray(x.shape, np.float32)


def add(a, b):
    check_sum_of("add", a, b)
    dtype = BFLOAT16 if BFLOAT16 in (a.dtype, b.dtype) else a.dtype
    return ShapeArray(np.broadcast_shapes(a.shape, b.shape), dtype)


def multiply(a, b):
    return add(a, b)


def expand(a, shape):
    return ShapeArray(shape, a.dtype)


def sum_to(a, shape):
    return ShapeArray(shape, sum_dtype(a.dtype))


def activate(x, activation):
    check_activation("activate", activation)
    return _like(x)


def activate_grad(grad, x, activation):
    return _like(grad)


def dropout(x, rate, seed):
    return _like(x)


def _slid(op, x, win, activation=None, **others):
    """What a window makes of x."""
    win.check(op, activation, x=x, **others)
    return ShapeArray(win.y_shape, x.dtype)


def _slid_back(op, grad, win, **others):
    win.check(op, grad=grad, **others)
    return ShapeArray(win.x_shape, grad.dtype)


def _weight(op, x, grad, win):
    win.check(op, x=x, grad=grad)
    return ShapeArray(win.w_shape, sum_dtype(x.dtype))


def conv2d(x, w, win, scale=None, shift=None, activation=None, residual=None):
    return _slid("conv2d", x, win, activation, weight=w, scale=scale, shift=shift, residual=residual)


def conv2d_grad_input(grad, w, win):
    return _slid_back("conv2d", grad, win, weight=w)


def conv2d_grad_weight(x, grad, win):
    return _weight("conv2d", x, grad, win)


def pointwise(x, w, win, scale=None, shift=None, activation=None, residual=None):
    return _slid("pointwise", x, win, activation, weight=w, scale=scale, shift=shift, residual=residual)


def pointwise_grad_input(grad, w, win):
    return _slid_back("pointwise", grad, win, weight=w)


def pointwise_grad_weight(x, grad, win):
    return _weight("pointwise", x, grad, win)


def depthwise_conv2d(x, w, win, scale=None, shift=None, activation=None):
    return _slid("depthwise_conv2d", x, win, activation, weight=w, scale=scale, shift=shift)


def depthwise_conv2d_grad_input(grad, w, win):
    return _slid_back("depthwise_conv2d", grad, win, weight=w)


def depthwise_conv2d_grad_weight(x, grad, win):
    return _weight("depthwise_conv2d", x, grad, win)


def max_pool2d(x, win):
    y = _slid("pool", x, win)
    return y, _argmax(y)


def max_pool2d_grad(grad, argmax, win):
    return _slid_back("pool", grad, win)


def average_pool2d(x, win):
    return _slid("pool", x, win)


def average_pool2d_grad(grad, win):
    return _slid_back("pool", grad, win)


def adaptive_average_pool2d(x, out_h, out_w):
    return _pixels(x, out_h, out_w)


def adaptive_average_pool2d_grad(grad, in_h, in_w):
    return _pixels(grad, in_h, in_w)


def adaptive_max_pool2d(x, out_h, out_w):
    y = _pixels(x, out_h, out_w)
    return y, _argmax(y)


def adaptive_max_pool2d_grad(grad, argmax, in_h, in_w):
    return _pixels(grad, in_h, in_w)


def resize_bilinear(x, out_h, out_w, align_corners):
    return _pixels(x, out_h, out_w)


def resize_bilinear_grad(grad, in_h, in_w, align_corners):
    return _pixels(grad, in_h, in_w)


def resize_nearest(x, out_h, out_w):
    return _pixels(x, out_h, out_w)


def resize_nearest_grad(grad, in_h, in_w):
    return _pixels(grad, in_h, in_w)


def pad(x, top, bottom, left, right, value=0.0):
    return _pixels(x, x.shape[1] + top + bottom, x.shape[2] + left + right)


def crop(x, top, left, height, width):
    return _pixels(x, height, width)


def concat(arrays):
    return ShapeArray((*arrays[0].shape[:3], sum(a.shape[3] for a in arrays)), arrays[0].dtype)


def split(x, sizes):
    return [ShapeArray((*x.shape[:3], size), x.dtype) for size in sizes]


def _channels(x):
    return ShapeArray(x.shape[-1:], sum_dtype(x.dtype))


def batch_norm_statistics(x):
    return _channels(x), _channels(x)


def batch_norm(x, mean, var, gamma, beta, eps, activation, residual=None):
    check_activation("batch_norm", activation)
    return _like(x)


def batch_norm_factors(mean, var, gamma, beta, eps):
    return _like(gamma), _like(gamma)


def batch_norm_grad(grad, x, mean, var, gamma, beta, eps, activation, training):
    return _like(x), _like(gamma), _like(gamma)


def batch_norm_grad_sums(grad, x, mean, var, gamma, beta, eps, activation):
    return ShapeArray((2, x.shape[3]), np.float64)


def batch_norm_grad_input(grad, x, mean, var, gamma, beta, eps, activation, sums, count):
    return _like(x)


def update_running(running_mean, running_var, mean, var, momentum, count):
    pass


def argmax(x):
    return ShapeArray(x.shape[:-1], np.uint8)


def softmax(x):
    check_floats("softmax", x=x)
    return _like(x)


def softmax_grad(grad, y):
    return _like(y)


def log_softmax(x):
    check_floats("log_softmax", x=x)
    return _like(x)


def log_softmax_grad(grad, y):
    return _like(y)


def cross_entropy(logits, labels, class_weights, ignore_index, size=None):
    check_floats("cross_entropy", logits=logits)
    return 0.0, 0.0, ShapeArray(labels.shape, logits.dtype)


def cross_entropy_grad(logits, labels, log_normaliser, total_weight, class_weights, ignore_index, scale, size=None):
    return _like(logits)


def confusion_matrix(truth, prediction, n_classes, ignore_index):
    return ShapeArray((n_classes, n_classes), np.int64)


def sgd_update(params, velocities, grads, lr, momentum, weight_decays):
    pass
