"""Nodes, constants and names of an ONNX graph, and whole numbers that it computes from sizes."""

import numpy as np

from minideeplab.export.sizes import Side, Step, structure

OPSET, IR_VERSION = 17, 8  # of ONNX 1.12 (2022): runtimes of that age read it
_SHARED = 4096  # bytes up to which equal constants are one


def onnx_package():
    """The package `onnx`.

    Raises:
        ImportError: it is not installed, or is broken.
    """
    try:
        import onnx
    except ImportError as error:
        raise ImportError(
            f"ONNX files are made by the package onnx, which cannot be imported ({error}); install it: "
            'pip install "minideeplab[onnx]", in a clone pip install -e ".[onnx]"'
        ) from error
    return onnx


class Graph:
    """A graph that grows node by node. Values are known by their names.

    Attributes:
        nodes: NodeProtos in an order in which they can run; constants: NumPy arrays by name.
    """

    def __init__(self):
        self.onnx = onnx_package()
        self.nodes, self.constants = [], {}
        self._shared, self._numbers, self._taken = {}, {}, set()

    def add(self, operation, *inputs, outputs=1, where="", **attributes):
        """Adds a node; returns the name of its output, or a list of the names of several.

        Args:
            inputs: names; "" for one that is left out.
            where: the module that it stands for, part of its name.
        """
        name = self._named(f"{where}/{operation}" if where else operation)
        names = [name if outputs == 1 else f"{name}:{i}" for i in range(outputs)]
        self.nodes.append(self.onnx.helper.make_node(operation, list(inputs), names, name=name, **attributes))
        return names[0] if outputs == 1 else names

    def constant(self, array, name="constant"):
        """The name of a constant."""
        array = np.asarray(array, order="C")
        key = (array.dtype.str, array.shape, array.tobytes()) if array.nbytes <= _SHARED else None
        if key in self._shared:
            return self._shared[key]
        name = self._named(name)
        self.constants[name] = array
        if key is not None:
            self._shared[key] = name
        return name

    def integers(self, sizes, side):
        """The name of a vector int64 of whole numbers, which the graph computes where they are `Size`s.

        Args:
            side: (value, axis) -> the name of a value in the graph, (N, C, H, W), and its axis there.
        """
        if not any(hasattr(size, "how") for size in sizes):
            return self.constant(np.array([int(size) for size in sizes], np.int64))
        parts = [self._integer(size, side) for size in sizes]
        return parts[0] if len(parts) == 1 else self.add("Concat", *parts, axis=0)

    def _integer(self, size, side):
        """The name of a vector of one number."""
        how = getattr(size, "how", None)
        if how is None:
            return self.constant(np.array([int(size)], np.int64))
        if (key := structure(size)) in self._numbers:
            return self._numbers[key]
        match how:
            case Side(value, axis):
                name, position = side(value, axis)
                number = self.add("Shape", name, start=position, end=position + 1)
            case Step(operation, a, b):
                number = self._step(operation, self._integer(a, side), self._integer(b, side))
        self._numbers[key] = number
        return number

    def _step(self, operation, a, b):
        """ONNX divides towards zero, Python downwards: both are the same once the remainder is taken off."""
        match operation:
            case "//":
                return self.add("Div", self.add("Sub", a, self.add("Mod", a, b)), b)
            case "%":
                return self.add("Mod", a, b)  # as Python's: it has the sign of b
        return self.add({"+": "Add", "-": "Sub", "*": "Mul"}[operation], a, b)

    def model(self, inputs, outputs, name, doc):
        """The ModelProto, unchecked, of what the outputs need.

        Args:
            inputs, outputs: ValueInfoProtos.
        """
        onnx = self.onnx
        nodes, needed = [], {each.name for each in outputs}
        for node in reversed(self.nodes):
            if needed & set(node.output):
                nodes.append(node)
                needed.update(node.input)
        tensors = [onnx.numpy_helper.from_array(a, key) for key, a in self.constants.items() if key in needed]
        graph = onnx.helper.make_graph(nodes[::-1], name, inputs, outputs, tensors, doc_string=doc)
        return onnx.helper.make_model(
            graph, opset_imports=[onnx.helper.make_opsetid("", OPSET)], ir_version=IR_VERSION,
            producer_name="minideeplab", doc_string=doc,
        )  # fmt: skip

    def _named(self, name):
        """The name, with a number where it is taken."""
        chosen, number = name, 1
        while chosen in self._taken:
            number += 1
            chosen = f"{name}_{number}"
        self._taken.add(chosen)
        return chosen
