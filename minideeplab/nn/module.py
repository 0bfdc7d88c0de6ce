"""What every layer and model is: a module that owns parameters, buffers and other modules."""

import copy
import zlib
from collections import deque
from contextlib import contextmanager

import numpy as np

import kernels
from kernels.bfloat16 import name_of
from minideeplab.autograd.function import is_recording, recompute
from minideeplab.autograd.tensor import Tensor
from minideeplab.nn.allocation import zeros
from minideeplab.nn.comparison import differences


class Parameter(Tensor):
    """A tensor that training changes. `initialiser(generator, shape)` gives its first values."""

    __slots__ = ("decays", "initialiser")

    def __init__(self, shape, initialiser, decays=True):
        super().__init__(zeros(shape), requires_grad=True)
        self.initialiser = initialiser
        self.decays = decays  # weight decay pulls convolution weights, not batch norm and biases


class Buffer(Tensor):
    """State that is saved with a module but not trained: running statistics."""

    __slots__ = ("initialiser",)

    def __init__(self, shape, initialiser):
        super().__init__(zeros(shape))
        self.initialiser = initialiser


_observer = None


@contextmanager
def observing(observer):
    """Inside the block observer(module, inputs) stands between callers and each module.

    It calls module.forward(*inputs) and returns the result. The previous observer comes back after the block.
    """
    global _observer
    previous, _observer = _observer, observer
    try:
        yield
    finally:
        _observer = previous


class Module:
    """Base of all layers and models: finds the parameters, buffers and modules among its attributes.

    They may lie in lists, tuples and dicts, nested to any depth. Names join attribute names, positions and keys with
    dots: "backbone.stages.0.layers.1.conv2.conv.weight". What can be reached by several names, or by a cycle, has the
    first of them only: it is trained once and saved once.

    Attributes:
        source: where the layer or network is described, as short text: paper, and section, figure or table.
    """

    training = True
    seed = None  # of a layer that draws random numbers in training: a number
    source = None

    def __call__(self, *inputs):
        return self.forward(*inputs) if _observer is None else _observer(self, inputs)

    def named_modules(self):
        """(name, module) of this module and all below, parents first, in order of definition.

        Raises:
            TypeError: a module, parameter or buffer in a set, or below a key of a dict that cannot be part of a name.
        """
        return self._walk("", set())

    def _walk(self, prefix, seen):
        seen.add(id(self))
        yield prefix, self
        for name, child in self._members(prefix):
            if isinstance(child, Module) and id(child) not in seen:
                yield from child._walk(name, seen)

    def _members(self, prefix):
        """(name, value) of the modules, parameters and buffers among the attributes and in their containers."""
        start = f"{prefix}." if prefix else ""
        for name, value in vars(self).items():
            yield from _found(start + name, value, ())

    def _named(self, kind):
        seen = set()
        for prefix, module in self.named_modules():
            for name, value in module._members(prefix):
                if isinstance(value, kind) and id(value) not in seen:
                    seen.add(id(value))
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

    def arrays(self):
        """All Parameters and Buffers, in the order of `state_dict`."""
        return [t for _, t in self._named((Parameter, Buffer))]

    def train(self, mode=True):
        """Training mode: batch norm uses batch statistics, dropout drops. Returns self."""
        for _, module in self.named_modules():
            module.training = mode
        return self

    def eval(self):
        """Inference mode: running statistics, no dropout. Returns self."""
        return self.train(False)

    @contextmanager
    def evaluating(self):
        """Inference mode inside the block; then each module is in the mode that it had."""
        modes = [(module, module.training) for _, module in self.named_modules()]
        self.eval()
        try:
            yield self
        finally:
            for module, mode in modes:
                module.training = mode

    def checkpoint_activations(self):
        """Keep only the inputs of the units of all Sequentials for backward, which computes the rest again."""
        for _, module in self.named_modules():
            if isinstance(module, Sequential):
                module.recompute = True

    @property
    def device(self):
        """Where the parameters are: "cpu" or "cuda"."""
        return next((p.device for _, p in self.named_parameters()), "cpu")

    def to(self, device):
        """Move all parameters and buffers in place to "cpu" or "cuda"; optimisers are made afterwards. Returns self."""
        for _, t in self._named((Parameter, Buffer)):
            if t.device != device:
                t.data, t.grad = kernels.to_device(t.data, device), None
        return self

    def twin(self):
        """Another network like this one, with arrays of its own, in the same mode; without gradients."""
        own = self.arrays()
        copies = {id(t.data): kernels.load(t.device).copy(t.data) for t in own}
        return copy.deepcopy(self, copies | {id(t.grad): None for t in own if t.grad is not None})

    def astype(self, dtype):
        """Convert all parameters and buffers in place, to float64 for gradient checks. Returns self.

        Raises:
            TypeError: another dtype than float32 and float64; for bfloat16 maps see `minideeplab.precision`.
        """
        if np.dtype(dtype) not in (np.float32, np.float64):
            raise TypeError(
                f"astype: parameters are float32 or float64, got {name_of(np.dtype(dtype))}; for bfloat16 maps see"
                " minideeplab.precision"
            )
        for _, t in self._named((Parameter, Buffer)):
            t.data, t.grad = kernels.to_device(t.numpy().astype(dtype), t.device), None
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
        layers = [module for _, module in self.named_modules() if module.seed is not None]
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
        wrong = differences({name: t.shape for name, t in own.items()}, {name: a.shape for name, a in state.items()})
        if wrong:
            raise ValueError(f"load_state_dict: {len(wrong)} entries do not fit: {wrong.counts()}\n{wrong.table()}")
        for name, t in own.items():
            t.data = kernels.load(t.device).from_numpy(np.array(state[name], t.dtype, order="C"))


def _found(name, value, around):
    """(name, value) pairs of what is registered in a value; `around` are the ids of the containers that hold it."""
    if isinstance(value, (Module, Parameter, Buffer)):
        yield name, value
    elif isinstance(value, (list, tuple, deque, dict, set, frozenset)) and id(value) not in around:
        pairs = value.items() if isinstance(value, dict) else enumerate(value)
        for key, child in pairs:
            for below in _found(f"{name}.{key}", child, (*around, id(value))):
                _check_key(name, value, key)
                yield below


def _check_key(name, container, key):
    """Names of arrays must be the same in every run, and be read in one way."""
    if isinstance(container, (set, frozenset)):
        raise TypeError(f"{name}: a set has no order, so its modules have no lasting names; use a list or a dict")
    if isinstance(container, dict) and (not isinstance(key, str) or not key or "." in key):
        raise TypeError(f"{name}: a dict of modules needs keys of text without dots, got {key!r}; they become names")


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
