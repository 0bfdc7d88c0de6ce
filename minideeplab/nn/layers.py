"""The few layers that DeepLab is made of."""

import math

import numpy as np

from minideeplab.autograd import ops
from minideeplab.autograd.function import is_recomputing, is_recording
from minideeplab.nn.initialisers import he_normal, ones, truncated_normal, zeros
from minideeplab.nn.module import Buffer, Module, Parameter


class Conv2d(Module):
    """Atrous convolution with weight (KH, KW, C, K); padding "same" is rate * (k - 1) // 2 on each side.

    Args:
        c_in, c_out: channels; kernel, stride, rate: int or pair; bias: add a (K,) bias.
    """

    def __init__(self, c_in, c_out, kernel, stride=1, rate=1, padding="same", bias=False, initialiser=he_normal):
        k_h, k_w = kernel if isinstance(kernel, (tuple, list)) else (kernel, kernel)
        self.weight = Parameter((k_h, k_w, c_in, c_out), initialiser)
        self.bias = Parameter((c_out,), zeros, decays=False) if bias else None
        self.stride, self.rate, self.padding = stride, rate, padding

    def forward(self, x):
        y = ops.conv2d(x, self.weight, self.stride, self.rate, self.padding)
        return y if self.bias is None else y + self.bias


class ConvTranspose2d(Module):
    """Transposed convolution with weight (KH, KW, K, C), C being the input's channels; see `ops.conv_transpose2d`.

    Args:
        c_in, c_out: channels; kernel, stride, output_padding: int or pair; padding: int, pair, "same" or sides.
    """

    def __init__(self, c_in, c_out, kernel, stride, padding=0, bias=False, initialiser=he_normal, output_padding=0):
        k_h, k_w = kernel if isinstance(kernel, (tuple, list)) else (kernel, kernel)
        self.weight = Parameter((k_h, k_w, c_out, c_in), initialiser)
        self.bias = Parameter((c_out,), zeros, decays=False) if bias else None
        self.stride, self.padding, self.output_padding = stride, padding, output_padding

    def forward(self, x):
        y = ops.conv_transpose2d(x, self.weight, self.stride, self.padding, self.output_padding)
        return y if self.bias is None else y + self.bias


class DepthwiseConv2d(Module):
    """One k x k filter for each channel: weight (KH, KW, C)."""

    def __init__(self, channels, kernel, stride=1, rate=1, padding="same", initialiser=None):
        k_h, k_w = kernel if isinstance(kernel, (tuple, list)) else (kernel, kernel)
        self.weight = Parameter((k_h, k_w, channels), initialiser or truncated_normal(1 / np.sqrt(k_h * k_w)))
        self.stride, self.rate, self.padding = stride, rate, padding

    def forward(self, x):
        return ops.depthwise_conv2d(x, self.weight, self.stride, self.rate, self.padding)


class BatchNorm2d(Module):
    """Batch normalisation over N, H, W; a residual, if one is given, and an activation in the same pass.

    Args:
        activation: by name, or None: `kernels/activation.py` has the formulas.
        momentum: weight of the new batch in the running statistics (TensorFlow's decay is 1 - momentum).

    Attributes:
        frozen: training, too, uses the running statistics, and leaves them as they are; see `freeze_batch_norm`.
        group: processes over which the statistics are taken, or None; see `share_batch`.
    """

    frozen, group = False, None

    def __init__(self, channels, activation=None, eps=1e-5, momentum=0.1):
        self.gamma = Parameter((channels,), ones, decays=False)
        self.beta = Parameter((channels,), zeros, decays=False)
        self.running_mean, self.running_var = Buffer((channels,), zeros), Buffer((channels,), ones)
        ops.check_activation("BatchNorm2d", activation)
        self.activation, self.eps, self.momentum = activation, eps, momentum

    def forward(self, x, residual=None):
        return ops.batch_norm(x, self.gamma, self.beta, *self.options(), residual, self.group)

    def options(self):
        """Running statistics, momentum, eps, activation, and whether the batch's statistics count: for `ops`."""
        running = self.running_mean.data, self.running_var.data
        return *running, 0.0 if is_recomputing() else self.momentum, self.eps, self.activation, self.uses_batch

    @property
    def uses_batch(self):
        """Whether the statistics are those of the batch."""
        return self.training and not self.frozen


def freeze_batch_norm(module, affine=False):
    """All batch norms in the module go on with the running statistics that they have, also in training.

        y = gamma (x - running_mean) / sqrt(running_var + eps) + beta,    gradients as of this affine map

    Args:
        module: any Module; affine: gamma and beta are not trained either.

    Source: DeepLab v3 (arXiv 1706.05587), section 4.1, where training goes on at output stride 8 with frozen batch
    norm; the released code trains gamma and beta (`fine_tune_batch_norm`), torchvision's FrozenBatchNorm2d does not.
    """
    for _, layer in module.named_modules():
        if isinstance(layer, BatchNorm2d):
            layer.frozen = True
            if affine:
                layer.gamma.requires_grad = layer.beta.requires_grad = False


def share_batch(module, group, synchronised=True):
    """In training the module sees a part of each batch, as of `group.size` processes that of number `group.rank`.

    Batch norm takes the statistics, and the gradients through them, of all parts, as if one process saw the batch.
    Dropout drops in this part what it would drop there.

    Args:
        module: any Module; group: as of `ops.batch_norm`, with `rank`.
        synchronised: False leaves batch norm with the statistics of its own part.
    """
    for _, layer in module.named_modules():
        if isinstance(layer, BatchNorm2d):
            layer.group = group if synchronised and group.size > 1 else None  # one part is the batch, bit for bit
        if isinstance(layer, Dropout):
            layer.part = group.rank


class Dropout(Module):
    """Zeroes a share `rate` of the activations in training, drawn from the stream that `reseed` starts.

    Attributes:
        part: number of the part of the batch that it sees, see `share_batch`.
    """

    part = 0

    def __init__(self, rate):
        if not 0 <= rate < 1:
            raise ValueError(f"Dropout: rate must be in [0, 1), got {rate}")
        self.rate, self.seed = rate, 0

    def forward(self, x):
        if not self.training or self.rate == 0:
            return x
        self.seed = (self.seed * 6364136223846793005 + 1442695040888963407) % 2**64  # next of the stream (Knuth's MMIX)
        return ops.dropout(x, self.rate, self.seed, self.part * math.prod(x.shape))


class MaxPool2d(Module):
    """Largest value of each window."""

    def __init__(self, size, stride=None, padding=0, ceil_mode=False):
        self.options = size, stride, padding, ceil_mode

    def forward(self, x):
        return ops.max_pool2d(x, *self.options)


class AveragePool2d(Module):
    """Mean of each window, padding not counted."""

    def __init__(self, size, stride=None, padding=0, ceil_mode=False):
        self.options = size, stride, padding, ceil_mode

    def forward(self, x):
        return ops.average_pool2d(x, *self.options)


def can_fold(conv, norm):
    """Whether norm can be the last step of conv: its statistics are known, nothing is recorded, conv has no bias."""
    return not (norm.uses_batch or is_recording() or getattr(conv, "bias", None) is not None)


def normalised(conv, norm, x, residual=None):
    """norm(conv(x), residual), in one pass over memory where norm `can_fold`."""
    if not can_fold(conv, norm):
        return norm(conv(x), residual)
    running = norm.running_mean.data, norm.running_var.data
    options = norm.eps, norm.activation, conv.stride, conv.rate, conv.padding
    return ops.normalised_conv2d(x, conv.weight, norm.gamma, norm.beta, *running, *options, residual)


class ConvNorm(Module):
    """Convolution, batch norm, a residual if one is given, and an activation: the unit that all backbones repeat."""

    def __init__(self, c_in, c_out, kernel, stride=1, rate=1, activation="relu", padding="same"):
        self.conv = Conv2d(c_in, c_out, kernel, stride, rate, padding)
        self.norm = BatchNorm2d(c_out, activation)

    def forward(self, x, residual=None):
        return normalised(self.conv, self.norm, x, residual)


class SqueezeExcitation(Module):
    """Each channel times a gate that sees the means of all channels: y = x hardsigmoid(V relu(U mean(x) + u) + v).

    Args:
        channels: of x and y; width: of the layer between, a quarter of them or less.

    Cost: 2 channels width multiply-adds for each image.

    Source: Hu et al. 2018 (arXiv 1709.01507), section 3, with a sigmoid; MobileNetV3 (arXiv 1905.02244), section 5.3,
    with hardsigmoid.
    """

    source = "Squeeze-and-excitation (arXiv 1709.01507), section 3; MobileNetV3 (arXiv 1905.02244), section 5.3"

    def __init__(self, channels, width):
        self.squeeze = Conv2d(channels, width, 1, bias=True)
        self.excite = Conv2d(width, channels, 1, bias=True)

    def forward(self, x):
        y = ops.relu(self.squeeze(ops.global_average_pool(x)))  # (N, 1, 1, width)
        return x * ops.activate(self.excite(y), "hardsigmoid")


class SeparableConv2d(Module):
    """Depthwise k x k, then pointwise, each with batch norm and an activation.

    Args:
        activation: after the pointwise part, or None; activation_between: after the depthwise part.
        padding: of the depthwise part.
        gate: a Module between the two parts, such as `SqueezeExcitation`, or None.

    A residual, if one is given, is added to the second batch norm's result.

    Cost: C k^2 + C K parameters and H W C (k^2 + K) multiply-adds for K outputs, against C k^2 K and H W C k^2 K of
    the full convolution. Source: Xception (arXiv 1610.02357); order of the parts: DeepLab v3+, section 3.2 and its
    released code.
    """

    def __init__(
        self, c_in, c_out, kernel=3, stride=1, rate=1, activation="relu", activation_between="relu", padding="same",
        gate=None,
    ):  # fmt: skip
        self.depthwise = DepthwiseConv2d(c_in, kernel, stride, rate, padding)
        self.depthwise_norm = BatchNorm2d(c_in, activation_between)
        self.pointwise = Conv2d(c_in, c_out, 1)
        self.pointwise_norm = BatchNorm2d(c_out, activation)
        self.gate = gate

    def forward(self, x, residual=None):
        depthwise, between, pointwise, last = (
            self.depthwise, self.depthwise_norm, self.pointwise, self.pointwise_norm
        )  # fmt: skip
        folds = can_fold(depthwise, between), can_fold(pointwise, last)
        if self.gate or folds[0] != folds[1]:  # something stands between the two, or one uses the batch's statistics
            return self.forward_with_inner(x, residual)[0]
        if not any(folds):  # training: `between` is applied while the pointwise convolution reads
            weights = between.gamma, between.beta, pointwise.weight
            y = ops.conv2d_of_batch_norm(depthwise(x), *weights, *between.options(), group=between.group)
            return last(y, residual)
        return ops.normalised_separable_conv2d(
            x, depthwise.weight, between.gamma, between.beta, pointwise.weight, last.gamma, last.beta,
            *((n.running_mean.data, n.running_var.data, n.eps, n.activation) for n in (between, last)),
            depthwise.stride, depthwise.rate, depthwise.padding, residual,
        )  # fmt: skip

    def forward_with_inner(self, x, residual=None):
        """The output, and the depthwise part's after its batch norm and activation, before the gate.

        `forward` stores the second only where there is a gate.
        """
        inner = normalised(self.depthwise, self.depthwise_norm, x)
        gated = self.gate(inner) if self.gate else inner
        return normalised(self.pointwise, self.pointwise_norm, gated, residual), inner
