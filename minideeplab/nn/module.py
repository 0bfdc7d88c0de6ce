"""What every layer and model is: a module that owns parameters, buffers and other modules."""

import zlib

import numpy as np

import kernels
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


class Module:
    """Base of all layers and models: finds the parameters, buffers and modules among its attributes.

    Names join attribute names with dots, list positions included: "backbone.stages.0.layers.1.conv2.conv.weight".
    """

    training = True
    seed = None  # of a layer that draws random numbers in training: a number

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
