"""What a network costs: parameters, multiply-adds, receptive field, memory.

A network is counted by running it on arrays that have no numbers (`kernels.shapes`) and watching the calls: what is
counted is what would run. Multiply-adds are those of convolutions, each once, padding included, as the papers count.
"""

import math
import time
from dataclasses import asdict, dataclass

import numpy as np

import kernels
from kernels.geometry import Window
from minideeplab import models
from minideeplab.autograd import Tensor, no_grad
from minideeplab.cost.field import Field, _join, _through
from minideeplab.cost.formulas import space_to_batch_macs
from minideeplab.nn import Module


@dataclass
class LayerCost:
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
    layers: list[LayerCost]

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
            LayerCost(
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
