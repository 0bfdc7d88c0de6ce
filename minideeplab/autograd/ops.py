"""Every differentiable operation: forward and backward side by side, in terms of backend functions only.

Each class is one op; below it stands the function that users call. `self.k` is the backend of the inputs' device.

Where a derivative is written down:

    kernels/reference/FILE.py   those of single kernels, in the docstrings of the kernels named _grad, _grad_input and
                                _grad_weight; kernels.CONTRACT says which file holds which
    kernels/activation.py       those of the activations
    here                        those that are made of other kernels: arithmetic, dropout (its own adjoint), transposed
                                convolution (forward and backward of conv2d exchanged), unpooling, pad and crop, concat
                                and split, the residual of batch norm

Letters: N batch, H W height and width, C input channels, K output channels.
"""

import numpy as np

from kernels.activation import SHOWN_BY_RESULT, check_activation
from kernels.bfloat16 import BFLOAT16
from kernels.checks import check_maps
from kernels.geometry import Window
from minideeplab.autograd.function import Function
from minideeplab.autograd.precision import ToBfloat16, ToFloat32

GOLDEN = 0x9E3779B97F4A7C15  # of the kernels' dropout: element i draws splitmix64(seed + i golden)
# ---------------------------------------------------------------- arithmetic


def _grad_of(k, grad, shape, dtype):
    """The gradient of what was broadcast, in its shape and dtype."""
    if shape == grad.shape and dtype == grad.dtype:
        return grad
    total = k.sum_to(grad, shape)
    return k.to_bfloat16(total) if dtype == BFLOAT16 else total


class Add(Function):
    def forward(self, a, b):
        self.inputs = (a.shape, a.dtype), (b.shape, b.dtype)
        return self.k.add(a, b)

    def backward(self, grad):
        return tuple(
            _grad_of(self.k, grad, *own) if n else None for n, own in zip(self.needs, self.inputs, strict=True)
        )


class Multiply(Function):
    def forward(self, a, b):
        self.saved = a, b
        return self.k.multiply(a, b)

    def backward(self, grad):
        a, b = self.saved
        grad_a = _grad_of(self.k, self.k.multiply(grad, b), a.shape, a.dtype) if self.needs[0] else None
        grad_b = _grad_of(self.k, self.k.multiply(grad, a), b.shape, b.dtype) if self.needs[1] else None
        return grad_a, grad_b


class Sum(Function):
    widens = True

    def forward(self, x):
        self.shape = x.shape
        return self.k.sum_to(x, ())

    def backward(self, grad):
        return (self.k.expand(grad, self.shape),)


class Activate(Function):
    def forward(self, x, *, activation):
        y = self.k.activate(x, activation)
        self.activation, self.saved = activation, (y if activation in SHOWN_BY_RESULT else x,)
        return y

    def backward(self, grad):
        return (self.k.activate_grad(grad, *self.saved, self.activation),)


class Dropout(Function):
    def forward(self, x, *, rate, seed):
        self.options = rate, seed
        return self.k.dropout(x, rate, seed)

    def backward(self, grad):
        return (self.k.dropout(grad, *self.options),)


def add(a, b):
    """a + b with NumPy's broadcasting."""
    return Add.apply(a, b)


def multiply(a, b):
    """a * b with NumPy's broadcasting."""
    return Multiply.apply(a, b)


def to_bfloat16(x):
    """A float32 tensor rounded to bfloat16; others as they are."""
    return ToBfloat16.apply(x) if x.dtype == np.float32 else x


def to_float32(x):
    """A bfloat16 tensor widened to float32, exact; others as they are."""
    return ToFloat32.apply(x) if x.dtype == BFLOAT16 else x


def sum(x):
    """The sum of all elements, a scalar tensor; of bfloat16 in float32."""
    return Sum.apply(x)


def activate(x, activation):
    """The activation of that name, such as "relu" or "hardswish" (formulas in `kernels/activation.py`); None gives x.

    Raises:
        ValueError: another name.
    """
    check_activation("activate", activation)
    return x if activation is None else Activate.apply(x, activation=activation)


def relu(x):
    """max(x, 0): the short form of activate(x, "relu")."""
    return activate(x, "relu")


def dropout(x, rate, seed, first=0):
    """Zero a share `rate` of the elements, chosen by `seed`, and scale the others by 1 / (1 - rate).

    Args:
        first: where x is a part of a larger array, the number of its first element there: it gets that part's zeros.
    """
    return Dropout.apply(x, rate=rate, seed=(seed + first * GOLDEN) % 2**64)


# ---------------------------------------------------------------- convolution


class Conv2d(Function):
    maps, rounds = (0,), True

    def forward(self, x, w, *, stride, rate, padding):
        self.window = Window.conv(x.shape, w.shape, stride, rate, padding)
        self.saved = x, w
        return self.k.conv2d(x, w, self.window)

    def backward(self, grad):
        x, w = self.saved
        grad_x = self.k.conv2d_grad_input(grad, w, self.window) if self.needs[0] else None
        grad_w = self.k.conv2d_grad_weight(x, grad, self.window) if self.needs[1] else None
        return grad_x, grad_w


class DepthwiseConv2d(Function):
    maps, rounds = (0,), True

    def forward(self, x, w, *, stride, rate, padding):
        self.window = Window.depthwise(x.shape, w.shape, stride, rate, padding)
        self.saved = x, w
        return self.k.depthwise_conv2d(x, w, self.window)

    def backward(self, grad):
        x, w = self.saved
        grad_x = self.k.depthwise_conv2d_grad_input(grad, w, self.window) if self.needs[0] else None
        grad_w = self.k.depthwise_conv2d_grad_weight(x, grad, self.window) if self.needs[1] else None
        return grad_x, grad_w


def conv2d(x, w, stride=1, rate=1, padding="same"):
    """Atrous 2-D convolution (cross-correlation).

        y[n, p, q, k] = sum_{kh, kw, c} x[n, p s + kh r - top, q s + kw r - left, c] w[kh, kw, c, k]

    Args:
        x: (N, H, W, C); w: (KH, KW, C, K).
        stride, rate: int or (vertical, horizontal); rate is PyTorch's dilation.
        padding: "same" (rate * (k - 1) // 2 on each side), int, or ((top, bottom), (left, right)).

    Returns:
        (N, out_h, out_w, K).

    Raises:
        ValueError: sizes that do not fit. TypeError: mixed dtypes.

    Cost:
        N * out_h * out_w * KH * KW * C * K multiply-adds, for every rate.

    Source: DeepLab v3, equation 1 (arXiv 1706.05587).
    """
    return Conv2d.apply(x, w, stride=stride, rate=rate, padding=padding)


def depthwise_conv2d(x, w, stride=1, rate=1, padding="same"):
    """One filter for each channel: y[p, q, c] = sum x[p s + kh r - pad, q s + kw r - pad, c] w[kh, kw, c].

    Args: as `conv2d`, with w (KH, KW, C). Returns: (N, out_h, out_w, C). Cost: N * out_h * out_w * KH * KW * C.
    """
    return DepthwiseConv2d.apply(x, w, stride=stride, rate=rate, padding=padding)


class ConvTranspose2d(Function):
    maps, rounds = (0,), True

    def forward(self, x, w, *, stride, padding, output_padding, rate):
        check_maps("conv_transpose2d", x=x, weight=w)
        self.window = Window.conv_transpose(x.shape, w.shape, stride, rate, padding, output_padding)
        self.saved = x, w
        return self.k.conv2d_grad_input(x, w, self.window)

    def backward(self, grad):
        x, w = self.saved
        grad_x = self.k.conv2d(grad, w, self.window) if self.needs[0] else None
        grad_w = self.k.conv2d_grad_weight(grad, x, self.window) if self.needs[1] else None
        return grad_x, grad_w


def conv_transpose2d(x, w, stride=1, padding=0, output_padding=0, rate=1):
    """Transposed convolution ("deconvolution"), the adjoint of `conv2d` with the same stride, rate and padding.

        y[n, p s + kh r - top, q s + kw r - left, k] += x[n, p, q, c] w[kh, kw, k, c]

    Args:
        x: (N, H, W, C); w: (KH, KW, K, C).
        stride, rate: int or (vertical, horizontal).
        padding: taken off the result: "same" (rate * (k - 1) // 2 on each side), int, (vertical, horizontal), or
            ((top, bottom), (left, right)).
        output_padding: int or pair, smaller than the stride: rows at the bottom and columns at the right of the result.
            A strided convolution makes one size of several; this says which of them comes back.

    Returns:
        (N, (H - 1) s + KH + (KH - 1)(r - 1) - top - bottom + output_padding, likewise the width, K).

    Raises:
        ValueError: sizes that do not fit. TypeError: mixed dtypes.

    Cost:
        N * H * W * KH * KW * C * K multiply-adds.

    Source: FCN (arXiv 1411.4038), section 3.3.
    """
    return ConvTranspose2d.apply(x, w, stride=stride, padding=padding, output_padding=output_padding, rate=rate)


_NO_DERIVATIVE = "{} has no derivative: use batch_norm and {} where gradients are wanted"


class NormalisedConv2d(Function):
    maps, rounds = (0, 4), True

    def forward(
        self, x, w, gamma, beta, residual=None, *, mean, var, eps, activation, stride, rate, padding, depthwise
    ):
        last_step = (*self.k.batch_norm_factors(mean, var, gamma, beta, eps), activation)
        if depthwise:
            if residual is not None:
                raise ValueError("normalised_conv2d: a depthwise convolution takes no residual")
            return self.k.depthwise_conv2d(x, w, Window.depthwise(x.shape, w.shape, stride, rate, padding), *last_step)
        return self.k.conv2d(x, w, Window.conv(x.shape, w.shape, stride, rate, padding), *last_step, residual)

    def backward(self, grad):
        raise RuntimeError(_NO_DERIVATIVE.format("normalised_conv2d", "conv2d"))


def normalised_conv2d(
    x, w, gamma, beta, mean, var, eps=1e-5, activation=None, stride=1, rate=1, padding="same", residual=None
):
    """`batch_norm(conv2d(x, w))` with known statistics, in one pass over memory; depthwise for w of three axes.

    It has no derivative: for use where nothing is recorded.

    Args:
        x, w, stride, rate, padding: as of `conv2d` or `depthwise_conv2d`.
        gamma, beta: (K,) tensors; mean, var: (K,) arrays; eps, activation, residual: as of `batch_norm`, without a
            residual in a depthwise convolution.
    """
    return NormalisedConv2d.apply(
        x, w, gamma, beta, *_given(residual), mean=mean, var=var, eps=eps, activation=activation, stride=stride,
        rate=rate, padding=padding, depthwise=len(w.shape) == 3,
    )  # fmt: skip


class NormalisedSeparableConv2d(Function):
    maps, rounds = (0, 7), True

    def forward(self, x, w, gamma, beta, w_last, gamma_last, beta_last, residual=None, *, between, last, window):
        """between, last: (mean, var, eps, activation) of the two batch norms; window: options of the depthwise."""
        (mean, var, eps, activation), (mean_last, var_last, eps_last, activation_last) = between, last
        step = *self.k.batch_norm_factors(mean, var, gamma, beta, eps), activation
        step_last = *self.k.batch_norm_factors(mean_last, var_last, gamma_last, beta_last, eps_last), activation_last
        window = Window.depthwise(x.shape, w.shape, *window)
        window_last = Window.conv(window.y_shape, w_last.shape)
        fused = getattr(self.k, "separable_conv2d", None)
        if fused is not None:
            return fused(x, w, w_last, window, window_last, step, step_last, residual)
        y = self.k.depthwise_conv2d(x, w, window, *step)
        return self.k.conv2d(y, w_last, window_last, *step_last, residual)

    def backward(self, grad):
        raise RuntimeError(_NO_DERIVATIVE.format("normalised_separable_conv2d", "the two convolutions"))


def normalised_separable_conv2d(
    x, w, gamma, beta, w_last, gamma_last, beta_last, between, last, stride=1, rate=1, padding="same", residual=None
):
    """Two `normalised_conv2d`, a depthwise and a pointwise one: in one pass where the backend has one (kernels.FUSED).

    It has no derivative: for use where nothing is recorded.

    Args:
        x, w, stride, rate, padding: as of `depthwise_conv2d`; w_last: (1, 1, C, K).
        gamma, beta, gamma_last, beta_last: (C,) and (K,) tensors of the two batch norms.
        between, last: (mean, var, eps, activation) of each. residual: as of `batch_norm`, in the second.
    """
    tensors = x, w, gamma, beta, w_last, gamma_last, beta_last, *_given(residual)
    return NormalisedSeparableConv2d.apply(*tensors, between=between, last=last, window=(stride, rate, padding))


# ---------------------------------------------------------------- pooling


class MaxPool2d(Function):
    def forward(self, x, *, size, stride, padding, ceil_mode):
        self.window = Window.pool(x.shape, size, stride, padding, ceil_mode)
        y, argmax = self.k.max_pool2d(x, self.window)
        self.saved = (argmax,)
        return y

    def backward(self, grad):
        return (self.k.max_pool2d_grad(grad, *self.saved, self.window),)


class MaxUnpool2d(Function):
    def forward(self, x, *, indices):
        argmax, window = indices
        if x.shape != window.y_shape:
            raise ValueError(f"max_unpool2d: x has shape {tuple(x.shape)}, the pooling gave {window.y_shape}")
        self.saved, self.window = (argmax,), window
        return self.k.max_pool2d_grad(x, argmax, window)

    def backward(self, grad):
        """Each value takes the gradient of the pixel that it went to: the sum over its window, of what is marked."""
        (argmax,), win = self.saved, self.window
        marks = self.k.max_pool2d_grad(self.k.full(win.y_shape, 1, grad.dtype), argmax, win)
        means = self.k.average_pool2d(self.k.multiply(marks, grad), win)
        return (self.k.multiply(means, self.k.full((), win.k_h * win.k_w, grad.dtype)),)


class AveragePool2d(Function):
    def forward(self, x, *, size, stride, padding, ceil_mode):
        self.window = Window.pool(x.shape, size, stride, padding, ceil_mode)
        return self.k.average_pool2d(x, self.window)

    def backward(self, grad):
        return (self.k.average_pool2d_grad(grad, self.window),)


class AdaptiveAveragePool2d(Function):
    def forward(self, x, *, out_h, out_w):
        self.size = x.shape[1:3]
        return self.k.adaptive_average_pool2d(x, out_h, out_w)

    def backward(self, grad):
        return (self.k.adaptive_average_pool2d_grad(grad, *self.size),)


class AdaptiveMaxPool2d(Function):
    def forward(self, x, *, out_h, out_w):
        self.size = x.shape[1:3]
        y, argmax = self.k.adaptive_max_pool2d(x, out_h, out_w)
        self.saved = (argmax,)
        return y

    def backward(self, grad):
        return (self.k.adaptive_max_pool2d_grad(grad, *self.saved, *self.size),)


def max_pool2d(x, size, stride=None, padding=0, ceil_mode=False):
    """Largest value of each window; padding never wins. Stride defaults to the size."""
    return MaxPool2d.apply(x, size=size, stride=stride, padding=padding, ceil_mode=ceil_mode)


def max_pool2d_with_indices(x, size):
    """`max_pool2d` with windows side by side, and the indices by which `max_unpool2d` puts values back.

    Raises:
        ValueError: sides that are no multiples of `size`.
    """
    if x.shape[1] % size or x.shape[2] % size:
        raise ValueError(f"max_pool2d_with_indices: height and width of {tuple(x.shape)} must be multiples of {size}")
    y, call = MaxPool2d.record(x, size=size, stride=None, padding=0, ceil_mode=False)
    return y, (*call.saved, call.window)


def max_unpool2d(x, indices):
    """Each value goes to the pixel whose maximum was taken there; the others are zero (SegNet, arXiv 1511.00561)."""
    return MaxUnpool2d.apply(x, indices=indices)


def average_pool2d(x, size, stride=None, padding=0, ceil_mode=False):
    """Mean over the part of each window inside the image."""
    return AveragePool2d.apply(x, size=size, stride=stride, padding=padding, ceil_mode=ceil_mode)


def adaptive_average_pool2d(x, out_h, out_w):
    """Mean over out_h x out_w bins that cover the image, of sizes that differ by at most one pixel."""
    return AdaptiveAveragePool2d.apply(x, out_h=out_h, out_w=out_w)


def adaptive_max_pool2d(x, out_h, out_w):
    """Largest value of each of out_h x out_w bins."""
    return AdaptiveMaxPool2d.apply(x, out_h=out_h, out_w=out_w)


def global_average_pool(x):
    """(N, H, W, C) -> (N, 1, 1, C), the mean over all pixels."""
    return adaptive_average_pool2d(x, 1, 1)


# ---------------------------------------------------------------- size and layout


class ResizeBilinear(Function):
    def forward(self, x, *, out_h, out_w, align_corners):
        self.size, self.align_corners = x.shape[1:3], align_corners
        return self.k.resize_bilinear(x, out_h, out_w, align_corners)

    def backward(self, grad):
        return (self.k.resize_bilinear_grad(grad, *self.size, self.align_corners),)


class ResizeNearest(Function):
    def forward(self, x, *, out_h, out_w):
        self.size = x.shape[1:3]
        return self.k.resize_nearest(x, out_h, out_w)

    def backward(self, grad):
        return (self.k.resize_nearest_grad(grad, *self.size),)


class Pad(Function):
    def forward(self, x, *, top, bottom, left, right, value):
        y = self.k.pad(x, top, bottom, left, right, value)
        self.box = top, left, x.shape[1], x.shape[2]
        return y

    def backward(self, grad):
        return (self.k.crop(grad, *self.box),)


class Crop(Function):
    def forward(self, x, *, top, left, height, width):
        y = self.k.crop(x, top, left, height, width)
        self.border = top, x.shape[1] - top - height, left, x.shape[2] - left - width
        return y

    def backward(self, grad):
        return (self.k.pad(grad, *self.border),)


class Concat(Function):
    def forward(self, *arrays):
        y = self.k.concat(arrays)
        self.sizes = [a.shape[3] for a in arrays]
        return y

    def backward(self, grad):
        return self.k.split(grad, self.sizes)


def resize_bilinear(x, out_h, out_w, align_corners=True):
    """Bilinear resize to (N, out_h, out_w, C). align_corners: True as in the papers' code, False as in torchvision."""
    return ResizeBilinear.apply(x, out_h=out_h, out_w=out_w, align_corners=align_corners)


def resize_nearest(x, out_h, out_w):
    """Nearest resize: output position i takes input floor(i * in / out)."""
    return ResizeNearest.apply(x, out_h=out_h, out_w=out_w)


def pad(x, top, bottom, left, right, value=0.0):
    """Surround each image with a border of `value`."""
    return Pad.apply(x, top=top, bottom=bottom, left=left, right=right, value=value)


def crop(x, top, left, height, width):
    """The height x width part of each image whose first pixel is (top, left)."""
    return Crop.apply(x, top=top, left=left, height=height, width=width)


def concat(tensors):
    """Join (N, H, W, C_i) tensors over channels."""
    return Concat.apply(*tensors)


# ---------------------------------------------------------------- normalisation


class Normalising(Function):
    """What the ops with batch norm share: whose statistics they take, and the gradient through these.

    Attributes:
        count: values of each channel that the statistics are of; 0 for the running ones, which do not depend on x.
        group: the processes that the statistics are taken over, or None for those of x alone.
    """

    def statistics(self, x, running_mean, running_var, momentum, training, group):
        """(mean, var) of x, over all ranks of the group; or copies of the running ones."""
        count = x.size // x.shape[-1] * (1 if group is None else group.size)
        self.group, self.count = group, count if training and count > 1 else 0  # one value has no variance
        if self.count == 0:  # copies, since backward needs the running statistics as they are now
            return self.k.copy(running_mean), self.k.copy(running_var)
        mean, var = self.k.batch_norm_statistics(x)
        return (mean, var) if group is None else self._over_ranks(mean, var)

    def _over_ranks(self, mean, var):
        """Each rank has as many values: E[x] is the mean of means, E[x^2] that of var + mean^2."""
        m, v = (self.k.to_numpy(a).astype(np.float64) for a in (mean, var))
        m, square = self.group.sum(np.stack([m, v + m * m])) / self.group.size
        return tuple(self.k.from_numpy(a.astype(mean.dtype)) for a in (m, np.maximum(square - m * m, 0)))

    def update_running(self, mean, var, running_mean, running_var, momentum, training, group):
        """Last of all, so that an input that is refused has changed nothing."""
        if self.count:
            self.k.update_running(running_mean, running_var, mean, var, momentum, self.count)

    def gradients(self, grad, x, *affine):
        """As `batch_norm_grad`: in gamma and beta those of x alone, in x with what it does to the other ranks."""
        if self.group is None or self.count == 0:
            return self.k.batch_norm_grad(grad, x, *affine, self.count > 0)
        sums = self.k.to_numpy(self.k.batch_norm_grad_sums(grad, x, *affine))
        grad_beta, grad_gamma = (self.k.from_numpy(own) for own in sums.astype(affine[0].dtype))
        everywhere = self.k.from_numpy(self.group.sum(sums.copy()))
        return self.k.batch_norm_grad_input(grad, x, *affine, everywhere, self.count), grad_gamma, grad_beta


class BatchNorm(Normalising):
    def forward(self, x, gamma, beta, residual=None, *, running, eps, activation):
        mean, var = self.statistics(x, *running)
        y = self.k.batch_norm(x, mean, var, gamma, beta, eps, activation, residual)
        self.update_running(mean, var, *running)
        self.eps, self.activation, self.adds = eps, activation, residual is not None
        kept = None  # x shows the activation's derivative, unless a residual hides it
        if residual is not None and activation is not None:
            kept = y if activation in SHOWN_BY_RESULT else residual
        if any(self.needs):  # what backward makes again must be what was made now, whatever becomes of the parameters
            gamma, beta = self.k.copy(gamma), self.k.copy(beta)
        self.saved = x, kept, mean, var, gamma, beta
        self.remakes = residual is None  # else one residual would be made from the other, back to the first
        return y

    def remake(self):
        x, _, mean, var, gamma, beta = self.saved
        return self.k.batch_norm(x, mean, var, gamma, beta, self.eps, self.activation)

    def backward(self, grad):
        x, kept, mean, var, gamma, beta = self.saved
        affine, activation = (mean, var, gamma, beta, self.eps), self.activation
        if not self.adds:
            return self.gradients(grad, x, *affine, activation)
        if activation is not None:  # the residual gets what the activation lets pass, and so does batch norm
            shown = kept if activation in SHOWN_BY_RESULT else self.k.batch_norm(x, *affine, None, kept)
            grad = self.k.activate_grad(grad, shown, activation)
        return *self.gradients(grad, x, *affine, None), grad


class Conv2dOfBatchNorm(Normalising):
    maps, rounds = (0,), True

    def forward(self, x, gamma, beta, w, *, running, eps, activation):
        self.window = Window.conv(x.shape, w.shape)
        if not self.window.is_pointwise:
            raise ValueError(f"conv2d_of_batch_norm: weight must be (1, 1, C, K), got {w.shape}")
        mean, var = self.statistics(x, *running)
        y = self._of_normalised("pointwise_of_batch_norm", self.k.conv2d, x, w, mean, var, gamma, beta, eps, activation)
        self.update_running(mean, var, *running)
        if any(self.needs):
            gamma, beta = self.k.copy(gamma), self.k.copy(beta)
        self.saved, self.options = (x, w, mean, var, gamma, beta), (eps, activation)
        return y

    def _of_normalised(self, name, kernel, x, other, *affine):
        """kernel(batch_norm(x), other, window): by the backend's function of that name, where it has one."""
        fused = getattr(self.k, name, None)
        if fused is not None:
            return fused(x, other, self.window, *affine)
        return kernel(self.k.batch_norm(x, *affine), other, self.window)

    def backward(self, grad):
        x, w, *affine = self.saved
        affine += self.options
        grad_w = None
        if self.needs[3]:
            grad_w = self._of_normalised(
                "pointwise_of_batch_norm_grad_weight", self.k.conv2d_grad_weight, x, grad, *affine
            )
        grad = self.k.conv2d_grad_input(grad, w, self.window)
        return *self.gradients(grad, x, *affine), grad_w


def _given(residual):
    return () if residual is None else (residual,)


def batch_norm(
    x, gamma, beta, running_mean, running_var, momentum=0.1, eps=1e-5, activation=None, training=True, residual=None,
    group=None,
):  # fmt: skip
    """y = gamma (x - mean) / sqrt(var + eps) + beta over N, H, W, and an activation in the same pass.

    A `residual` of the shape of x, the shortcut of a residual unit, is added before the activation.

    In training mean and var are those of the batch, and the running statistics are updated in place:
    running <- (1 - momentum) running + momentum batch (variance unbiased). Otherwise the running statistics are used.
    A batch with one value a channel (image-level pooling at batch 1) has no variance: it is normalised with the
    running statistics, which it leaves alone.

    Args:
        x: (N, H, W, C) tensor; gamma, beta: (C,) tensors; running_mean, running_var: (C,) arrays.
        activation: by name, as of `activate`.
        group: processes that have a part of the batch each, all of one shape: then mean and var are those of the whole
            batch. It has `size`, and `sum(array)`, which sums an array over the processes in place.

    Source: Ioffe and Szegedy 2015, algorithms 1 and 2; over processes: Peng et al. 2018 (arXiv 1711.07240).
    """
    running = running_mean, running_var, momentum, training, group
    return BatchNorm.apply(x, gamma, beta, *_given(residual), running=running, eps=eps, activation=activation)


def conv2d_of_batch_norm(
    x, gamma, beta, w, running_mean, running_var, momentum=0.1, eps=1e-5, activation=None, training=True, group=None
):
    """`conv2d(batch_norm(x), w)` for a 1x1 kernel of stride 1, bit for bit.

    A backend may compute it in one pass (kernels.FUSED): then what batch norm makes is not written, and backward does
    not make it again.

    Args: as of `batch_norm`; w: (1, 1, C, K) tensor.

    Returns: (N, H, W, K). Raises: ValueError: another kernel, or sizes that do not fit.
    """
    running = running_mean, running_var, momentum, training, group
    return Conv2dOfBatchNorm.apply(x, gamma, beta, w, running=running, eps=eps, activation=activation)


# ---------------------------------------------------------------- softmax


class Softmax(Function):
    widens = True

    def forward(self, x):
        y = self.k.softmax(x)
        self.saved = (y,)
        return y

    def backward(self, grad):
        return (self.k.softmax_grad(grad, *self.saved),)


class LogSoftmax(Function):
    widens = True

    def forward(self, x):
        y = self.k.log_softmax(x)
        self.saved = (y,)
        return y

    def backward(self, grad):
        return (self.k.log_softmax_grad(grad, *self.saved),)


class CrossEntropy(Function):
    widens = True

    def forward(self, logits, *, labels, class_weights, ignore_index, size):
        loss, total, log_normaliser = self.k.cross_entropy(logits, labels, class_weights, ignore_index, size)
        self.saved, self.size = (logits, labels, log_normaliser, total, class_weights, ignore_index), size
        self.weight = total  # that the mean is taken over: `record` gives it to the loss
        return self.k.full((), loss, logits.dtype)

    def backward(self, grad):
        return (self.k.cross_entropy_grad(*self.saved, float(self.k.to_numpy(grad)), self.size),)


def softmax(x):
    """exp(x[k]) / sum_j exp(x[j]) over channels."""
    return Softmax.apply(x)


def log_softmax(x):
    """x[k] - log sum_j exp(x[j]) over channels."""
    return LogSoftmax.apply(x)


def cross_entropy(logits, labels, ignore_index=255, class_weights=None, size=None):
    """Weighted mean over non-void pixels of -log softmax(logits)[label]; 0 with zero gradient if all pixels are void.

    With `size` = (height, width) it is that of crop(resize_bilinear(logits, height, width)), the part that has labels,
    and the enlarged logits never exist: they are interpolated line by line.

    Args:
        logits: (N, h, w, K) tensor; labels: (N, H, W) integer array, 0 .. K - 1 or ignore_index.
        class_weights: (K,) array in the logits' dtype, or None.
    """
    return CrossEntropy.apply(logits, labels=labels, class_weights=class_weights, ignore_index=ignore_index, size=size)
