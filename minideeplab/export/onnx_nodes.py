"""What each kernel is in ONNX: the kernel `conv2d` is the method `kernel_conv2d`.

Maps are (N, H, W, C) here and (N, C, H, W) there. Nothing is transposed on the way: weights are stored in ONNX's order,
and axes 1, 2, 3 of a map are called 2, 3, 1.

What follows a convolution channel by channel (a bias, batch norm with known statistics) becomes part of its weights:

    scale (x * w) + shift = x * (scale w) + shift
"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

import kernels
from kernels.geometry import adaptive_bounds
from minideeplab.export.onnx_graph import Graph
from minideeplab.export.sizes import Size
from minideeplab.export.tape import NotExportedError, Ref, Tape, left_over

_AXIS = {1: 2, 2: 3, 3: 1}  # of a map here -> there
_LOWEST = np.finfo(np.float32).min


@dataclass
class _Convolution:
    """One whose node is not written yet, since a layer that follows may become part of its weights.

    Attributes:
        weight: in ONNX's order; channels: its axis of output channels.
        shift: (K,) bias or None.
    """

    operation: str
    source: str
    weight: np.ndarray
    channels: int
    attributes: dict
    where: str
    shift: np.ndarray | None = None

    def scale(self, scale, shift):
        """scale y + shift in its place; a scale of None is 1."""
        bias = np.zeros(1) if self.shift is None else self.shift.astype(np.float64)
        if scale is not None:
            shape = [1] * 4
            shape[self.channels] = -1
            self.weight = (self.weight * np.asarray(scale, np.float64).reshape(shape)).astype(np.float32)
            bias = bias * scale
        self.shift = (bias + np.asarray(shift, np.float64)).astype(np.float32)


class Nodes:
    """The graph of a tape.

    Args:
        graph: with the node whose output is the normalised image.
        image: name of that output, (N, C, H, W).
        title: of the network, for messages.
    """

    def __init__(self, tape: Tape, graph: Graph, image: str, title: str):
        self.tape, self.graph, self.title = tape, graph, title
        self.names = {0: image}
        self.waiting = {}  # number of a value -> the _Convolution that makes it
        self.folded = {}  # number of a value that became part of another -> that one, which has its size
        self.uses = Counter([tape.result.number])
        for call in tape.calls:
            for value in call.given.values():
                for each in value if isinstance(value, list) else [value]:
                    self.uses.update([each.number] if isinstance(each, Ref) else [])

    def run(self) -> str:
        """Adds all nodes; returns the name of the network's output."""
        for call in self.tape.calls:
            method = getattr(self, f"kernel_{call.kernel}", None)
            if method is None:
                raise NotExportedError(
                    f"{self.title}: {call.title} has no counterpart in ONNX here (export/onnx_nodes.py)"
                )
            method(call, **call.given)
        return self._name(self.tape.result)

    # ---------------------------------------------------------------- values

    def _name(self, value, call=None):
        """The name of a value or constant in the graph."""
        if isinstance(value, Ref):
            if value.number in self.waiting:
                self._write(value.number)
            return self.names[value.number]
        return self.graph.constant(_per_channel(value), f"{call.where}.constant" if call else "constant")

    def _write(self, number):
        conv = self.waiting.pop(number)
        inputs = [conv.source, self.graph.constant(conv.weight, f"{conv.where}.weight")]
        if conv.shift is not None:
            inputs.append(self.graph.constant(conv.shift, f"{conv.where}.bias"))
        self.names[number] = self.graph.add(conv.operation, *inputs, where=conv.where, **conv.attributes)

    def _gives(self, call, name):
        self.names[call.outputs[0].number] = name

    def _node(self, call, operation, *values, **attributes):
        """One node whose output is that of the call."""
        names = [value if isinstance(value, str) else self._name(value, call) for value in values]
        self._gives(call, self.graph.add(operation, *names, where=call.where, **attributes))

    def _shape(self, value):
        return self.tape.shapes[value.number] if isinstance(value, Ref) else np.shape(value)

    def _side(self, value, axis):
        """Where the graph finds a side, see `Graph.integers`."""
        while value in self.folded:
            value = self.folded[value]
        return self._name(Ref(value)), _AXIS[axis]

    def _integers(self, sizes):
        return self.graph.integers(sizes, self._side)

    def _refuse(self, call, why, advice="give --size H W for images of one size"):
        return NotExportedError(f"{self.title}: {call.title}: {why}; {advice}")

    # ---------------------------------------------------------------- channel by channel

    def _affine(self, call, x, scale, shift):
        """Puts scale x + shift into the weights of the convolution that makes x, see its `scale`; whether it could."""
        number = x.number if isinstance(x, Ref) else None
        if number not in self.waiting or self.uses[number] > 1:
            return False
        conv = self.waiting.pop(number)
        conv.scale(scale, shift)
        output = call.outputs[0].number
        self.waiting[output], self.folded[number] = conv, output
        return True

    def _elementwise(self, call, operation, a, b):
        if not isinstance(a, Ref):
            a, b = b, a
        if not isinstance(b, Ref):
            b = np.asarray(b)
            channels = self._shape(a)[3]
            if b.size in (1, channels) and (b.ndim < 2 or b.shape[-1] == b.size):
                vector = np.broadcast_to(b.reshape(-1), channels)
                if self._affine(call, a, *((None, vector) if operation == "Add" else (vector, 0.0))):
                    return
        self._node(call, operation, a, b)

    def kernel_add(self, call, a, b):
        self._elementwise(call, "Add", a, b)

    def kernel_multiply(self, call, a, b):
        self._elementwise(call, "Mul", a, b)

    def kernel_batch_norm(self, call, x, mean, var, gamma, beta, eps, activation, residual):
        factors = kernels.load("reference").batch_norm_factors(mean, var, gamma, beta, eps)
        if not self._affine(call, x, *factors):
            given = (gamma, beta, mean, var)
            names = [self.graph.constant(a, f"{call.where}.statistics") for a in given]
            self._node(call, "BatchNormalization", x, *names, epsilon=float(eps))
        self._last_step(call, activation, residual)

    def _last_step(self, call, activation, residual=None):
        """activation(y + residual), y being what the call's output is so far."""
        output = call.outputs[0]
        if residual is not None:
            self._node(call, "Add", output, residual)
        if activation is not None:
            self._gives(call, self._activated(call, self._name(output), activation))

    def _activated(self, call, name, activation):
        add = self.graph.add
        match activation:
            case "relu":
                return add("Relu", name, where=call.where)
            case "relu6":
                low, high = (self.graph.constant(np.float32(limit)) for limit in (0, 6))
                return add("Clip", name, low, high, where=call.where)
            case "hardswish":
                return add("HardSwish", name, where=call.where)
            case "hardsigmoid":
                return add("HardSigmoid", name, where=call.where, alpha=1 / 6, beta=0.5)
            case "sigmoid":
                return add("Sigmoid", name, where=call.where)
        raise self._refuse(call, f"the activation {activation!r} is not known", "add it to export/onnx_nodes.py")

    def kernel_activate(self, call, x, activation):
        self._gives(call, self._activated(call, self._name(x), activation))

    # ---------------------------------------------------------------- convolution

    def kernel_conv2d(self, call, x, w, win, scale, shift, activation, residual):
        weight = np.ascontiguousarray(self._weight(call, w).transpose(3, 2, 0, 1))  # (KH, KW, C, K) -> (K, C, KH, KW)
        self._convolve(call, x, weight, win, 1, scale, shift, activation, residual)

    kernel_pointwise = kernel_conv2d

    def kernel_depthwise_conv2d(self, call, x, w, win, scale, shift, activation):
        weight = np.ascontiguousarray(
            self._weight(call, w).transpose(2, 0, 1)[:, None]
        )  # (KH, KW, C) -> (C, 1, KH, KW)
        self._convolve(call, x, weight, win, win.c_in, scale, shift, activation, None)

    def _convolve(self, call, x, weight, win, groups, scale, shift, activation, residual):
        attributes = _window(win) | {"dilations": [win.rate_h, win.rate_w], "group": groups}
        conv = _Convolution("Conv", self._name(x), weight, 0, attributes, call.where)
        self.waiting[call.outputs[0].number] = conv
        if scale is not None:
            conv.scale(scale, shift)
        self._last_step(call, activation, residual)

    def kernel_conv2d_grad_input(self, call, grad, w, win):
        """The transposed convolution: (KH, KW, K, C) -> (C, K, KH, KW)."""
        weight = np.ascontiguousarray(self._weight(call, w).transpose(3, 2, 0, 1))
        attributes = _window(win) | {"dilations": [win.rate_h, win.rate_w], "output_padding": list(left_over(win))}
        conv = _Convolution("ConvTranspose", self._name(grad), weight, 1, attributes, call.where)
        self.waiting[call.outputs[0].number] = conv

    def _weight(self, call, w):
        if isinstance(w, Ref):
            raise self._refuse(call, "its weights depend on the image", "there is nothing to do")
        return w

    # ---------------------------------------------------------------- pooling

    def _pool(self, call, win):
        """Attributes of a pooling, which rounds up by padding at the far side.

        Padded pixels are never the maximum and are left out of means.
        """
        attributes = _window(win)
        sides = zip(
            (1, 2), left_over(win), (win.stride_h, win.stride_w), (win.pad_bottom, win.pad_right), (win.k_h, win.k_w),
            strict=True,
        )  # fmt: skip
        for axis, beyond, stride, padding, kernel in sides:
            more = max(0, -beyond)
            if isinstance(self._shape(call.given["x"])[axis], Size):
                more = stride - 1 if "up" in call.rounds else 0
            if padding + more >= kernel:
                raise self._refuse(call, f"a window of {kernel} at stride {stride} that rounds sizes up")
            attributes["pads"][axis + 1] += more
        return attributes

    def kernel_max_pool2d(self, call, x, win):
        indexed = self.uses[call.outputs[1].number] > 0
        attributes, source = self._pool(call, win), self._name(x)
        names = self.graph.add("MaxPool", source, outputs=1 + indexed, where=call.where, **attributes)
        for ref, name in zip(call.outputs, names if indexed else [names], strict=False):
            self.names[ref.number] = name

    def kernel_max_pool2d_grad(self, call, grad, argmax, win):
        """Unpooling, of windows that lie side by side."""
        pads = (win.pad_top, win.pad_bottom, win.pad_left, win.pad_right)
        if (win.k_h, win.k_w) != (win.stride_h, win.stride_w) or any(pads) or any(left_over(win)):
            raise self._refuse(call, "unpooling of windows that overlap or leave pixels out", "there is nothing to do")
        self._node(call, "MaxUnpool", grad, argmax, kernel_shape=[win.k_h, win.k_w], strides=[win.k_h, win.k_w])

    def kernel_average_pool2d(self, call, x, win):
        self._node(call, "AveragePool", x, count_include_pad=0, **self._pool(call, win))

    def kernel_adaptive_average_pool2d(self, call, x, out_h, out_w):
        if (out_h, out_w) == (1, 1):
            self._node(call, "GlobalAveragePool", x)
            return
        self._plain_bins(call, out_h, out_w)
        rows, columns = (self._shares(call, x, axis, out) for axis, out in ((1, out_h), (2, out_w)))
        y = self.graph.add("MatMul", rows, self._name(x), where=call.where)  # (out_h, H) (H, W)
        self._node(call, "MatMul", y, self.graph.add("Transpose", columns, perm=[1, 0]))

    def kernel_adaptive_max_pool2d(self, call, x, out_h, out_w):
        """For each axis, the maximum of copies of the map that keep one bin each.

        Cost: memory of the map times the number of bins of an axis.
        """
        if self.uses[call.outputs[1].number]:
            raise self._refuse(call, "where its maxima were is asked for", "there is nothing to do")
        if (out_h, out_w) == (1, 1):
            self._node(call, "GlobalMaxPool", x)
            return
        self._plain_bins(call, out_h, out_w)
        lowest, y = self.graph.constant(_LOWEST), self._name(x)
        for axis, out in ((1, out_h), (2, out_w)):
            inside = self._bins(x, axis, out)[0]  # (out, side)
            if axis == 1:  # (out, H, 1), beside (N, C, 1, H, W)
                inside = self.graph.add("Unsqueeze", inside, self.graph.constant(np.array([2])))
            wide = self.graph.add("Unsqueeze", y, self.graph.constant(np.array([_AXIS[axis]])))
            wide = self.graph.add("Where", inside, wide, lowest)
            y = self.graph.add("ReduceMax", wide, axes=[_AXIS[axis] + 1], keepdims=0, where=call.where)
        self._gives(call, y)

    def _plain_bins(self, call, *bins):
        if any(isinstance(each, Size) for each in bins):
            raise self._refuse(call, "its number of bins depends on the image's size")

    def _bins(self, x, axis, out):
        """Names of (out, side) bool, whether a bin holds a position, and (out, 1) int64, how many it holds."""
        side, graph = self._shape(x)[axis], self.graph
        if not isinstance(side, Size):
            starts, ends = (bound[:, None] for bound in adaptive_bounds(side, out))
            positions = np.arange(side)
            inside = graph.constant((starts <= positions) & (positions < ends), "bins")
            return inside, graph.constant(ends - starts, "bins")
        # Bin i covers floor(i side / out) .. ceil((i + 1) side / out) - 1: `adaptive_bounds`, computed in the graph.
        many = graph.constant(np.array([out], np.int64))
        length = self._integers([side])
        first = np.arange(out, dtype=np.int64)[:, None]
        starts = graph.add("Div", graph.add("Mul", graph.constant(first), length), many)
        ends = graph.add("Mul", graph.constant(first + 1), length)
        ends = graph.add("Div", graph.add("Add", ends, graph.constant(np.array([out - 1], np.int64))), many)
        positions = self._range(length)
        inside = graph.add("And", graph.add("GreaterOrEqual", positions, starts), graph.add("Less", positions, ends))
        return inside, graph.add("Sub", ends, starts)

    def _shares(self, call, x, axis, out):
        """The name of (out, side) float32: the share of each position in the mean of each bin."""
        inside, count = (
            self.graph.add("Cast", each, to=self.graph.onnx.TensorProto.FLOAT) for each in self._bins(x, axis, out)
        )
        return self.graph.add("Div", inside, count, where=call.where)

    # ---------------------------------------------------------------- size and layout

    def kernel_resize_bilinear(self, call, x, out_h, out_w, align_corners):
        n, height, width, channels = self._shape(x)
        sizes = self._integers([n, channels, out_h, out_w])
        if (height, width) == (1, 1) and not isinstance(height, Size) and not isinstance(width, Size):
            self._node(call, "Expand", x, sizes)  # one position fills all
        else:
            rule = "align_corners" if align_corners else "half_pixel"
            self._node(call, "Resize", x, "", "", sizes, mode="linear", coordinate_transformation_mode=rule)

    def kernel_resize_nearest(self, call, x, out_h, out_w):
        """Output i is input i H // out_h, in whole numbers: ONNX's Resize divides in float32 and may take another."""
        y = self._name(x)
        for axis, out in ((1, out_h), (2, out_w)):
            nearest = self._nearest(self._shape(x)[axis], out)
            y = self.graph.add("Gather", y, nearest, axis=_AXIS[axis], where=call.where)
        self._gives(call, y)

    def _nearest(self, side, out):
        """The name of (out,) int64: the position that each output reads."""
        if not isinstance(side, Size) and not isinstance(out, Size):
            return self.graph.constant(np.arange(out, dtype=np.int64) * side // out, "nearest")
        many = self._integers([out])
        products = self.graph.add("Mul", self._range(many), self._integers([side]))
        return self.graph.add("Div", products, many)

    def _range(self, length):
        """The name of 0, 1, ... for a vector of one number."""
        zero, one = (self.graph.constant(np.array(number, np.int64)) for number in (0, 1))
        return self.graph.add("Range", zero, self.graph.add("Squeeze", length), one)

    def kernel_pad(self, call, x, top, bottom, left, right, value):
        pads = self._integers([0, 0, top, left, 0, 0, bottom, right])
        self._node(call, "Pad", x, pads, *([self.graph.constant(np.float32(value))] if value else []))

    def kernel_crop(self, call, x, top, left, height, width):
        starts, ends = self._integers([top, left]), self._integers([top + height, left + width])
        self._node(call, "Slice", x, starts, ends, self.graph.constant(np.array([2, 3])))

    def kernel_concat(self, call, arrays):
        self._node(call, "Concat", *arrays, axis=1)

    def kernel_split(self, call, x, sizes):
        lengths, source = self.graph.constant(np.array(sizes, np.int64)), self._name(x)
        names = self.graph.add("Split", source, lengths, outputs=len(sizes), where=call.where, axis=1)
        for ref, name in zip(call.outputs, [names] if len(sizes) == 1 else names, strict=True):
            self.names[ref.number] = name

    def kernel_to_float32(self, call, x):
        self._gives(call, self._name(x))

    kernel_copy = kernel_to_float32

    # ---------------------------------------------------------------- over channels

    def kernel_softmax(self, call, x):
        self._node(call, "Softmax", x, axis=1)

    def kernel_log_softmax(self, call, x):
        self._node(call, "LogSoftmax", x, axis=1)


def _window(win):
    """What ONNX calls the kernel, stride and padding."""
    return {
        "kernel_shape": [win.k_h, win.k_w],
        "strides": [win.stride_h, win.stride_w],
        "pads": [win.pad_top, win.pad_left, win.pad_bottom, win.pad_right],
    }


def _per_channel(array):
    """A constant as it stands beside maps (N, C, H, W)."""
    array = np.asarray(array, np.float32)
    if array.ndim == 0:
        return array
    return array.reshape((1,) * (4 - array.ndim) + array.shape).transpose(0, 3, 1, 2)
