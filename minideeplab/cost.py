"""What a network costs: parameters, multiply-adds, receptive field, memory; and the formulas that lectures give.

A network is counted by running it on arrays that have no numbers (`kernels.shapes`) and watching the calls: what is
counted is what would run. Multiply-adds are those of convolutions, each once, padding included, as the papers count.

Letters: C input channels, N output channels, H W output height and width, K kernel side, r rate, s stride.
"""

import math
import time
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import NamedTuple

import numpy as np

import kernels
from kernels.geometry import Window
from minideeplab import Tensor, models, no_grad
from minideeplab.nn import Module

# -------------------------------------------------------------------- formulas


def conv_parameters(c: int, n: int, k: int, bias: bool = True) -> int:
    """N (C K^2 + 1): the weights and, with `bias`, a bias for each output channel."""
    return n * (c * k**2 + bias)


def conv_macs(c: int, n: int, k: int, h: int, w: int) -> int:
    """C H W K^2 N; the same for every rate."""
    return c * h * w * k**2 * n


def separable_parameters(c: int, n: int, k: int, bias: bool = True) -> int:
    """C (K^2 + 1) + N (C + 1) = C K^2 + N C + C + N: depthwise, then pointwise."""
    return c * (k**2 + bias) + n * (c + bias)


def separable_macs(c: int, n: int, k: int, h: int, w: int) -> int:
    """C H W (K^2 + N)."""
    return c * h * w * (k**2 + n)


def effective_kernel(k: int, r: int) -> int:
    """k + (k - 1)(r - 1): the extent of a kernel with its holes (DeepLab v2, section 3.1)."""
    return k + (k - 1) * (r - 1)


def receptive_field(layers: Iterable[tuple[int, int, int]]) -> int:
    """Input pixels along a side that an output of a chain of (K, s, r) sees: 1 + sum (k_e - 1) * strides before."""
    field, jump = 1, 1
    for k, s, r in layers:
        field += (effective_kernel(k, r) - 1) * jump
        jump *= s
    return field


def space_to_batch_macs(window: Window) -> int:
    """Multiply-adds if an atrous convolution runs as r x r dense ones on interlaced maps.

    Each map has the same size, so height and width are rounded up to multiples of the rate. The Multiply-Adds columns
    of DeepLab v3+ follow this count.
    """
    height = -(-window.out_h // window.rate_h) * window.rate_h
    width = -(-window.out_w // window.rate_w) * window.rate_w
    return window.macs // (window.out_h * window.out_w) * height * width


# -------------------------------------------------------------------- receptive field through any graph


class Field(NamedTuple):
    """Position p of a map sees the input pixels p * jump + start .. p * jump + end, along one side."""

    jump: float
    start: float
    end: float

    @property
    def size(self) -> int:
        return math.ceil(round(self.end - self.start, 6)) + 1

    def slide(self, k: int, s: int, r: int, before: int) -> "Field":
        """Through a sliding window: k taps at rate r, stride s, `before` pixels of padding at the near border."""
        start = self.start - before * self.jump
        return Field(self.jump * s, start, start + self.end - self.start + (k - 1) * r * self.jump)

    def slide_back(self, k: int, s: int, r: int, before: int) -> "Field":
        """Through its adjoint, a transposed convolution or unpooling: output p reads (p + before - t r) / s, t < k."""
        jump = self.jump / s
        return Field(jump, self.start + (before - (k - 1) * r) * jump, self.end + before * jump)

    def resize(self, size: int, to: int, neighbours: int) -> "Field":
        """Through a resize that reads `neighbours` positions beside the nearest one."""
        if size == to:
            return self
        jump = self.jump * ((size - 1) / (to - 1) if to > 1 and size > 1 else size / to)
        return Field(jump, self.start - neighbours * self.jump, self.end + neighbours * self.jump)

    def shift(self, by: int) -> "Field":
        """Through a crop that removes `by` positions at the near border; negative: a pad."""
        return self._replace(start=self.start + by * self.jump, end=self.end + by * self.jump)


def _join(fields: list[Field]) -> Field | None:
    """What a sum or a concatenation sees. Paths through pooling to a number of bins (image level) are left out."""
    if not fields:
        return None
    return Field(max(f.jump for f in fields), min(f.start for f in fields), max(f.end for f in fields))


_SLIDING = ("conv2d", "pointwise", "depthwise_conv2d", "max_pool2d", "average_pool2d")
_SLIDING_BACK = ("conv2d_grad_input", "depthwise_conv2d_grad_input", "max_pool2d_grad", "average_pool2d_grad")


def _through(name: str, field: Field, args: tuple, output) -> Field | None:
    """The field after one call; None where its size follows from that of the image."""
    window = next((a for a in args if isinstance(a, Window)), None)
    if name in _SLIDING:
        return field.slide(window.k_h, window.stride_h, window.rate_h, window.pad_top)
    if name in _SLIDING_BACK:
        return field.slide_back(window.k_h, window.stride_h, window.rate_h, window.pad_top)
    if name.startswith("adaptive_"):
        return None  # a part of the image, if not all of it
    if name in ("resize_bilinear", "resize_nearest"):
        return field.resize(args[0].shape[1], output.shape[1], 1 if name == "resize_bilinear" else 0)
    if name in ("pad", "crop"):
        return field.shift(args[1] if name == "crop" else -args[1])
    return field


# -------------------------------------------------------------------- counting a network


@dataclass
class Layer:
    """One layer as it ran.

    Attributes:
        name: of the module that owns its weights; kind: what it is.
        output: (H, W, C); parameters: with bias, and with the batch norm that follows; shared ones at their first use.
        macs, macs_space_to_batch: see the module; activation_bytes: of its output in float32.
        receptive_field: input pixels along one side, None behind pooling to a number of bins; output_stride: input
            pixels from one position to the next; rate; seconds: if it was timed.
    """

    name: str
    kind: str
    output: tuple[int, int, int]
    parameters: int
    macs: int
    macs_space_to_batch: int
    activation_bytes: int
    receptive_field: int | None
    output_stride: float
    rate: int
    seconds: float | None = None


@dataclass
class Cost:
    """A network's layers in the order in which they run, and its totals for one image.

    Attributes:
        receptive_field: of an output of the first head, paths through pooling to a number of bins left out; of a
            classifier, of its last features.
    """

    parameters: int
    receptive_field: int
    layers: list[Layer]

    @property
    def macs(self) -> int:
        return sum(layer.macs for layer in self.layers)

    @property
    def macs_space_to_batch(self) -> int:
        return sum(layer.macs_space_to_batch for layer in self.layers)

    @property
    def activation_bytes(self) -> int:
        return sum(layer.activation_bytes for layer in self.layers)

    def as_dict(self) -> dict:
        totals = ("parameters", "macs", "macs_space_to_batch", "receptive_field", "activation_bytes")
        return {name: getattr(self, name) for name in totals} | {"layers": [asdict(layer) for layer in self.layers]}


_LAYERS = {  # kernels that make a row of the table
    "conv2d": "conv",
    "depthwise_conv2d": "depthwise conv",
    "conv2d_grad_input": "transposed conv",
    "max_pool2d": "max pool",
    "average_pool2d": "average pool",
    "max_pool2d_grad": "unpool",
    "adaptive_average_pool2d": "average pool",
    "adaptive_max_pool2d": "max pool",
    "resize_bilinear": "resize",
    "resize_nearest": "resize",
}


class _Counter:
    """Watches the calls of one forward pass."""

    def __init__(self, model: Module, image):
        self.names = {id(p.data): name for name, p in model.named_parameters()}
        self.fields, self.layers, self.seen = {image: Field(1, 0, 0)}, [], set()
        self.waiting = 0  # parameters of a batch norm that the next convolution takes along

    def __call__(self, name, function, args, kwargs):
        result = function(*args, **kwargs)
        output = result[0] if isinstance(result, tuple) else result
        arrays = [a for arg in args for a in (arg if isinstance(arg, (list, tuple)) else (arg,))]
        known = [a for a in arrays if isinstance(a, kernels.load("shapes").ShapeArray) and self.fields.get(a)]
        fields = [self.fields[a] for a in known]
        if known and known[0] is arrays[0]:
            fields[0] = _through(name, fields[0], args, output)
        if isinstance(output, kernels.load("shapes").ShapeArray):
            self.fields[output] = _join([f for f in fields if f])
        own = [a for a in arrays if id(a) in self.names]  # parameters
        fresh = sum(a.size for a in own if id(a) not in self.seen)
        self.seen.update(id(a) for a in own)
        if name in _LAYERS:
            self._add(name, args, output, own, fresh)
        elif name == "batch_norm_factors":
            self.waiting += fresh
        elif own:  # a bias, or a batch norm that stands alone: to the layer before it
            self.layers[-1].parameters += fresh
        return result

    def _add(self, name, args, output, own, fresh):
        window, field = next((a for a in args if isinstance(a, Window)), None), self.fields[output]
        convolution = window if "conv2d" in name else None
        owner = self.names[id(own[0])].rpartition(".")[0] if own else ""
        self.layers.append(
            Layer(
                name=owner or _LAYERS[name],
                kind=_kind(name, window),
                output=tuple(output.shape[1:]),
                parameters=fresh + self.waiting,
                macs=convolution.macs if convolution else 0,
                macs_space_to_batch=space_to_batch_macs(convolution) if convolution else 0,
                activation_bytes=output.nbytes,
                receptive_field=field.size if field else None,
                output_stride=round(field.jump, 3) if field else math.inf,
                rate=convolution.rate_h if convolution else 1,
            )
        )
        self.waiting = 0


def _kind(name, window):
    if window is None:
        return _LAYERS[name]
    rate = f" r{window.rate_h}" if window.rate_h > 1 else ""
    stride = f" s{window.stride_h}" if window.stride_h > 1 else ""
    return f"{_LAYERS[name]} {window.k_h}x{window.k_w}{rate}{stride}"


def cost_of(model: Module, size: int | tuple[int, int] = 513) -> Cost:
    """Counts one forward pass on one image through all heads that training uses, batch norms folded into convolutions.

    Args:
        model: any Module from (N, H, W, 3); it is moved to the device "shapes", and its values are lost.
        size: side of the image, or (height, width), pixels.
    """
    height, width = (size, size) if isinstance(size, int) else size
    parameters = model.to("shapes").eval().parameters()
    image = Tensor(kernels.load("shapes").empty((1, height, width, 3), parameters[0].dtype))
    counter = _Counter(model, image.data)
    with no_grad(), kernels.watching("shapes", counter):
        outputs = getattr(model, "heads", model)(image)
    output = outputs[0] if isinstance(outputs, list) else outputs
    field = counter.fields[output.data]
    fields = [field.size] if field else [layer.receptive_field for layer in counter.layers if layer.receptive_field]
    return Cost(sum(p.data.size for p in parameters), fields[-1], counter.layers)


def time_layers(name: str, size: int, cost: Cost, **options) -> None:
    """Runs the network on the CPU and writes each layer's seconds into `cost`: the second of two passes."""
    model = models.build(name, **options).eval()
    image = Tensor(np.zeros((1, size, size, 3), np.float32))
    seconds = []

    def timed(kernel, function, args, kwargs):
        began = time.perf_counter()
        result = function(*args, **kwargs)
        if kernel in _LAYERS:
            seconds.append(time.perf_counter() - began)
        return result

    forward = getattr(model, "heads", model)
    with no_grad():
        forward(image)
        with kernels.watching("cpu", timed):
            forward(image)
    for layer, each in zip(cost.layers, seconds, strict=True):
        layer.seconds = each
