"""Layers: modules that own parameters, and the few layers that DeepLab is made of."""

import zlib

import numpy as np

import kernels

from . import ops
from .function import is_recomputing, is_recording, recompute
from .tensor import Tensor

# ---------------------------------------------------------------- parameters and their first values


def he_normal(generator, shape):
    """N(0, 2 / fan_in), fan_in = KH * KW * C (He et al. 2015, equation 10): keeps the variance through ReLUs."""
    return generator.standard_normal(shape) * np.sqrt(2 / max(1, np.prod(shape[:-1])))


def truncated_normal(std):
    """N(0, std^2) redrawn until within two standard deviations, as in DeepLab's TensorFlow code."""

    def draw(generator, shape):
        values = generator.standard_normal(shape)
        while (outside := np.abs(values) > 2).any():
            values[outside] = generator.standard_normal(int(outside.sum()))
        return values * std

    return draw


def zeros(generator, shape):
    return np.zeros(shape)


def ones(generator, shape):
    return np.ones(shape)


class Parameter(Tensor):
    """A tensor that training changes. `initialiser(generator, shape)` gives its first values."""

    __slots__ = ("decays", "initialiser")

    def __init__(self, shape, initialiser, decays=True):
        super().__init__(np.zeros(shape, np.float32), requires_grad=True)
        self.initialiser = initialiser
        self.decays = decays  # weight decay pulls convolution weights, not batch norm and biases


class Buffer(Tensor):
    """State that is saved with a module but not trained: running statistics."""

    __slots__ = ("initialiser",)

    def __init__(self, shape, initialiser):
        super().__init__(np.zeros(shape, np.float32))
        self.initialiser = initialiser


# ---------------------------------------------------------------- modules


class Module:
    """Base of all layers and models: finds the parameters, buffers and modules among its attributes.

    Names join attribute names with dots, list positions included: "backbone.stages.0.layers.1.conv2.conv.weight".
    """

    training = True

    def __call__(self, *inputs):
        return self.forward(*inputs)

    def named_modules(self, prefix=""):
        """(name, module) of this module and all below, parents first, in order of definition."""
        yield prefix, self
        for name, child in self._attributes(prefix):
            if isinstance(child, Module):
                yield from child.named_modules(name)

    def _attributes(self, prefix):
        """(name, value) of the attributes, those of lists one by one."""
        start = f"{prefix}." if prefix else ""
        for name, value in vars(self).items():
            if isinstance(value, (list, tuple)):
                yield from ((f"{start}{name}.{i}", child) for i, child in enumerate(value))
            else:
                yield start + name, value

    def _named(self, kind):
        for prefix, module in self.named_modules():
            for name, value in module._attributes(prefix):
                if isinstance(value, kind):
                    yield name, value

    def named_parameters(self):
        """(name, Parameter) pairs in order of definition."""
        return self._named(Parameter)

    def named_buffers(self):
        """(name, Buffer) pairs in order of definition."""
        return self._named(Buffer)

    def parameters(self):
        """All Parameters."""
        return [p for _, p in self.named_parameters()]

    def train(self, mode=True):
        """Training mode: batch norm uses batch statistics, dropout drops. Returns self."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self):
        """Inference mode: running statistics, no dropout. Returns self."""
        return self.train(False)

    def checkpoint_activations(self):
        """Keep only the inputs of the units of all Sequentials for backward, which computes the rest again."""
        for _, module in self.named_modules():
            if isinstance(module, Sequential):
                module.recompute = True

    @property
    def device(self):
        """Where the parameters are: "cpu" or "cuda"."""
        return next(p.device for _, p in self.named_parameters())

    def to(self, device):
        """Move all parameters and buffers in place to "cpu" or "cuda"; optimisers are made afterwards. Returns self."""
        for _, t in self._named((Parameter, Buffer)):
            t.data, t.grad = kernels.to_device(t.data, device), None
        return self

    def astype(self, dtype):
        """Convert all parameters and buffers in place, to float64 for gradient checks. Returns self."""
        for _, t in self._named((Parameter, Buffer)):
            t.data = kernels.to_device(t.numpy().astype(dtype), t.device)
        return self

    def initialise(self, seed):
        """Draw all first values; each depends only on (seed, its name), so adding a layer leaves the others alone."""
        for name, t in self._named((Parameter, Buffer)):
            entropy = np.random.SeedSequence([seed, zlib.crc32(name.encode())])
            generator = np.random.Generator(np.random.Philox(entropy))
            t.data = kernels.to_device(t.initialiser(generator, t.shape).astype(t.dtype), t.device)
        return self.reseed(seed)

    def reseed(self, seed):
        """Start the dropout streams again as a function of `seed`."""
        layers = [module for _, module in self.named_modules() if isinstance(module, Dropout)]
        for position, layer in enumerate(layers):
            layer.seed = int(np.random.SeedSequence([seed, position]).generate_state(1, np.uint64)[0])
        return self

    def state_dict(self):
        """{name: copy of the array} of all parameters and buffers, in host memory."""
        return {name: np.array(t.numpy()) for name, t in self._named((Parameter, Buffer))}

    def load_state_dict(self, state):
        """Take all values from `state`.

        Raises:
            ValueError: names missing, unknown, or of another shape; all of them are listed and nothing is loaded.
        """
        own = dict(self._named((Parameter, Buffer)))
        faults = [f"missing: {name} {own[name].shape}" for name in own if name not in state]
        faults += [f"unknown: {name} {state[name].shape}" for name in state if name not in own]
        for name in own.keys() & state.keys():
            if own[name].shape != state[name].shape:
                faults.append(f"shape of {name}: model {own[name].shape}, file {state[name].shape}")
        if faults:
            shown = "\n  ".join(sorted(faults)[:20])
            more = f"\n  and {len(faults) - 20} more" if len(faults) > 20 else ""
            raise ValueError(f"load_state_dict: {len(faults)} entries do not fit:\n  {shown}{more}")
        for name, t in own.items():
            t.data = kernels.load(t.device).from_numpy(np.array(state[name], t.dtype, order="C"))


class Sequential(Module):
    """Modules one after the other; with `recompute`, backward computes the activations in each of them again."""

    recompute = False

    def __init__(self, *layers):
        self.layers = list(layers)

    def forward(self, x):
        return self.part(x, 0, None)

    def part(self, x, first, last):
        """Through layers[first:last] alone."""
        for layer in self.layers[first:last]:
            x = recompute(layer, x) if self.recompute and x.requires_grad and is_recording() else layer(x)
        return x


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


def bilinear(generator, shape):
    """Weights (k, k, K, C) of a transposed convolution that enlarges each channel bilinearly by (k + 1) // 2 (FCN)."""
    k_h, k_w, k, c = shape
    weight = np.zeros(shape)
    for i in range(min(k, c)):
        weight[:, :, i, i] = np.outer(_triangle(k_h), _triangle(k_w))
    return weight


def _triangle(size):
    factor = (size + 1) // 2
    return 1 - np.abs(np.arange(size) - (size - 1) / 2) / factor


class ConvTranspose2d(Module):
    """Transposed convolution with weight (KH, KW, K, C), C being the input's channels."""

    def __init__(self, c_in, c_out, kernel, stride, padding=0, bias=False, initialiser=he_normal):
        self.weight = Parameter((kernel, kernel, c_out, c_in), initialiser)
        self.bias = Parameter((c_out,), zeros, decays=False) if bias else None
        self.stride, self.padding = stride, padding

    def forward(self, x):
        y = ops.conv_transpose2d(x, self.weight, self.stride, self.padding)
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
    """Batch normalisation over N, H, W; a residual, if one is given, and ReLU, if `relu`, in the same pass.

    Args:
        momentum: weight of the new batch in the running statistics (TensorFlow's decay is 1 - momentum).
    """

    def __init__(self, channels, relu=False, eps=1e-5, momentum=0.1):
        self.gamma = Parameter((channels,), ones, decays=False)
        self.beta = Parameter((channels,), zeros, decays=False)
        self.running_mean, self.running_var = Buffer((channels,), zeros), Buffer((channels,), ones)
        self.relu, self.eps, self.momentum = relu, eps, momentum

    def forward(self, x, residual=None):
        running = self.running_mean.data, self.running_var.data
        options = 0.0 if is_recomputing() else self.momentum, self.eps, self.relu, self.training
        return ops.batch_norm(x, self.gamma, self.beta, *running, *options, residual)


class Dropout(Module):
    """Zeroes a share `rate` of the activations in training, drawn from the stream that `reseed` starts."""

    def __init__(self, rate):
        if not 0 <= rate < 1:
            raise ValueError(f"Dropout: rate must be in [0, 1), got {rate}")
        self.rate, self.seed = rate, 0

    def forward(self, x):
        if not self.training or self.rate == 0:
            return x
        self.seed = (self.seed * 6364136223846793005 + 1442695040888963407) % 2**64  # next of the stream (Knuth's MMIX)
        return ops.dropout(x, self.rate, self.seed)


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


def normalised(conv, norm, x, residual=None):
    """norm(conv(x), residual); in one pass over memory where the statistics are known and nothing is recorded."""
    if norm.training or is_recording() or getattr(conv, "bias", None) is not None:
        return norm(conv(x), residual)
    running = norm.running_mean.data, norm.running_var.data
    options = norm.eps, norm.relu, conv.stride, conv.rate, conv.padding
    return ops.normalised_conv2d(x, conv.weight, norm.gamma, norm.beta, *running, *options, residual)


class ConvNorm(Module):
    """Convolution, batch norm, a residual if one is given and, if `relu`, ReLU: the unit that all backbones repeat."""

    def __init__(self, c_in, c_out, kernel, stride=1, rate=1, relu=True):
        self.conv = Conv2d(c_in, c_out, kernel, stride, rate)
        self.norm = BatchNorm2d(c_out, relu=relu)

    def forward(self, x, residual=None):
        return normalised(self.conv, self.norm, x, residual)


class SeparableConv2d(Module):
    """Depthwise k x k, then pointwise, each with batch norm, and with ReLU after both if `relu`.

    `relu_between` decides on the ReLU after the depthwise one alone.

    A residual, if one is given, is added to the second batch norm's result.

    Cost: C k^2 + C K parameters and H W C (k^2 + K) multiply-adds for K outputs, against C k^2 K and H W C k^2 K of
    the full convolution. Source: Xception (arXiv 1610.02357); order of the parts: DeepLab v3+, section 3.2 and its
    released code.
    """

    def __init__(self, c_in, c_out, kernel=3, stride=1, rate=1, relu=True, relu_between=None):
        self.depthwise = DepthwiseConv2d(c_in, kernel, stride, rate)
        self.depthwise_norm = BatchNorm2d(c_in, relu=relu if relu_between is None else relu_between)
        self.pointwise = Conv2d(c_in, c_out, 1)
        self.pointwise_norm = BatchNorm2d(c_out, relu=relu)

    def forward(self, x, residual=None):
        x = normalised(self.depthwise, self.depthwise_norm, x)
        return normalised(self.pointwise, self.pointwise_norm, x, residual)
