"""Runs a network once and notes every layer as it runs: what it is, where it is described, what it costs and gives.

Two observers stand in the run. One sees each call of a kernel (`kernels.watching`): a convolution, a pooling, a resize
or a batch norm that stands alone makes a row; all else only passes on what is known of its arrays. The other sees each
call of a module (`nn.module.observing`): so a row without weights knows in which module it ran. What is known of an
array follows the array, not the order of calls.
"""

import time
import weakref
from dataclasses import dataclass, field

import numpy as np

import kernels
from kernels.geometry import Window
from minideeplab.autograd import Tensor, no_grad
from minideeplab.cost.field import Field, joined, through
from minideeplab.cost.formulas import space_to_batch_macs
from minideeplab.nn import Module
from minideeplab.nn.module import observing

CONVOLUTIONS = {  # kernels whose multiply-adds count
    "conv2d": "conv",
    "pointwise": "conv",
    "depthwise_conv2d": "depthwise conv",
    "conv2d_grad_input": "transposed conv",
}
LAYERS = {  # kernels that make a row, and the word for them
    **CONVOLUTIONS,
    "max_pool2d": "max pool",
    "average_pool2d": "average pool",
    "max_pool2d_grad": "unpool",
    "adaptive_average_pool2d": "average pool",
    "adaptive_max_pool2d": "max pool",
    "resize_bilinear": "resize",
    "resize_nearest": "resize",
    "batch_norm": "batch norm",
}


@dataclass
class TracedLayer:
    """One layer as it ran.

    Attributes:
        name: of the module that owns its weights, or in which it ran; empty for the network itself.
        kind: what it is, with kernel, rate and stride; class_name: of the module.
        source: where it is described: of the module, or of the nearest one around it that says so; None if none does.
        input, output: (H, W, C); stride, rate: of the layer itself, along the height.
        parameters: with the bias, and with the batch norm that is folded into it; shared ones at their first use.
        macs: multiply-adds of a convolution, each once, padding included, for all images of the run.
        macs_space_to_batch: see `formulas.space_to_batch_macs`; activation_bytes: of its output.
        receptive_field: input pixels along the height, None behind pooling to a number of bins.
        output_stride: input pixels from one position of the output to the next; None as the field.
        seconds: that its kernels took; None where nothing was computed.
        values: (N, H, W, channels kept) NumPy array of its output, after bias, batch norm, shortcut and activation
            where they are folded into the layer; None where nothing is kept.
    """

    name: str
    kind: str
    class_name: str
    source: str | None
    input: tuple[int, int, int]
    output: tuple[int, int, int]
    stride: int
    rate: int
    parameters: int
    macs: int
    macs_space_to_batch: int
    activation_bytes: int
    receptive_field: int | None
    output_stride: float | None
    seconds: float | None = None
    values: np.ndarray | None = field(default=None, repr=False)


def trace(model: Module, x: Tensor, channels: int | None = None) -> list[TracedLayer]:
    """Runs a network on images, in evaluation mode and without gradients, and describes each layer in order.

    It runs all heads that training uses, as `cost_of` counts them.

    Args:
        model: any Module from (N, H, W, 3).
        x: (N, H, W, 3) tensor on the model's device.
        channels: how many channels of each output are kept, as a copy: 1 for a picture of each layer of a large
            network, 0 for none; None keeps all outputs as they are.

    Returns:
        One `TracedLayer` for each row of `cost_of`. Where a kernel runs for the first time, its seconds hold the
        compilation: run twice, and take the second.
    """
    if channels is not None and channels < 0:
        raise ValueError(f"trace: channels must be None, or 0 or more, got {channels}")
    return run(model, x, channels)[0]


def run(model: Module, x: Tensor, channels: int | None) -> tuple[list[TracedLayer], Field | None]:
    """(layers, what a position of the first head's output sees) of one forward pass."""
    tracer = _Tracer(model, x, channels)
    with model.evaluating(), no_grad(), observing(tracer.of_module), kernels.watching(x.device, tracer.of_kernel):
        outputs = (model.heads if callable(getattr(model, "heads", None)) else model)(x)
    first = outputs[0] if isinstance(outputs, (list, tuple)) else outputs
    return tracer.layers, tracer.fields.get(first.data)


class _ByArray:
    """Notes on arrays, by identity. An array that is freed takes its note along."""

    def __init__(self):
        self.notes = {}

    def set(self, array, note):
        self.notes[id(array)] = weakref.ref(array), note

    def get(self, array):
        """The note, or None."""
        alive, note = self.notes.get(id(array), (lambda: None, None))
        return note if alive() is array else None


class _Tracer:
    """The two observers of one forward pass, and the layers that they have seen."""

    def __init__(self, model, x, channels):
        self.modules = dict(model.named_modules())
        self.names = {id(module): name for name, module in self.modules.items()}
        self.owners = {id(p.data): self._module_of(name) for name, p in model.named_parameters()}
        self.running = [""]  # names of the modules whose forward has begun and not ended
        self.layers, self.row_of, self.counted = [], {}, set()
        self.fields = _ByArray()  # the Field of an array
        self.folded = _ByArray()  # the parameters of the batch norm that an array of factors comes from
        self.fields.set(x.data, Field(1, 0, 0))
        self.channels, self.has_numbers = channels, x.device != "shapes"
        self.wait = kernels.load(x.device).synchronize

    def _module_of(self, name):
        """The nearest module around a parameter, which may lie in lists and dicts."""
        while name not in self.modules:
            name = name.rpartition(".")[0]
        return name

    def of_module(self, module, inputs):
        self.running.append(self.names.get(id(module), self.running[-1]))
        try:
            return module.forward(*inputs)
        finally:
            self.running.pop()

    def of_kernel(self, kernel, function, args, kwargs):
        began = time.perf_counter()
        result = function(*args, **kwargs)
        self.wait()
        seconds = time.perf_counter() - began if self.has_numbers else None
        arrays = list(_arrays_in((*args, *kwargs.values())))
        output = next(_arrays_in((result,)), None)
        if output is None or not arrays:
            return result
        self._see(kernel, args, arrays, output)
        own = [a for a in arrays if id(a) in self.owners]
        parameters = sum(a.size for a in own if id(a) not in self.counted)
        self.counted.update(map(id, own))
        owner = self.owners[id(own[0])] if own else self.running[-1]
        if kernel == "batch_norm_factors":  # a layer takes the factors, and with them the parameters
            self.folded.set(output, parameters)
        elif kernel in LAYERS or (own and owner not in self.row_of):
            parameters += sum(self.folded.get(a) or 0 for a in arrays)
            self.row_of[owner] = self._row(kernel, args, arrays[0], output, owner, parameters)
            self._finish(self.row_of[owner], output, seconds)
        elif own:  # a bias: part of the layer whose module owns it
            self.row_of[owner].parameters += parameters
            self._finish(self.row_of[owner], output, seconds)
        return result

    def _see(self, kernel, args, arrays, output):
        """What the output sees of the image: what the inputs see, the first of them through the kernel."""
        fields = [self.fields.get(a) for a in arrays]
        if fields[0]:
            fields[0] = through(kernel, fields[0], args, output)
        self.fields.set(output, joined([field for field in fields if field]))

    def _row(self, kernel, args, source, output, owner, parameters):
        window, field = next((a for a in args if isinstance(a, Window)), None), self.fields.get(output)
        convolves = kernel in CONVOLUTIONS
        row = TracedLayer(
            name=owner,
            kind=_kind(kernel, window),
            class_name=type(self.modules[owner]).__name__,
            source=self._source(owner),
            input=tuple(source.shape[1:]),
            output=tuple(output.shape[1:]),
            stride=window.stride_h if window else 1,
            rate=window.rate_h if convolves else 1,
            parameters=parameters,
            macs=window.macs if convolves else 0,
            macs_space_to_batch=space_to_batch_macs(window) if convolves else 0,
            activation_bytes=output.nbytes,
            receptive_field=field.size if field else None,
            output_stride=round(field.jump, 3) if field else None,
        )
        self.layers.append(row)
        return row

    def _source(self, name):
        while name and not self.modules[name].source:
            name = self._module_of(name.rpartition(".")[0])
        return self.modules[name].source

    def _finish(self, row, output, seconds):
        """Adds the time of one kernel of the layer; its result is the layer's output so far."""
        if not self.has_numbers:
            return
        row.seconds = seconds + (row.seconds or 0)
        if self.channels != 0:
            values = Tensor(output).numpy()
            row.values = values if self.channels is None else values[..., : self.channels].copy()


def _arrays_in(values):
    """The arrays among values, and in the lists and tuples among them."""
    for value in values:
        if isinstance(value, (list, tuple)) and not isinstance(value, Window):
            yield from _arrays_in(value)
        elif isinstance(value, np.ndarray) or hasattr(type(value), "device"):
            yield value


def _kind(kernel, window):
    word = LAYERS.get(kernel, kernel)
    if window is None:
        return word
    rate = f" r{window.rate_h}" if window.rate_h > 1 else ""
    stride = f" s{window.stride_h}" if window.stride_h > 1 else ""
    return f"{word} {window.k_h}x{window.k_w}{rate}{stride}"
