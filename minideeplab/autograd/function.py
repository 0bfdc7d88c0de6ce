"""One differentiable operation, and the walk back through many.

A `Function` is made for each call. It knows its parents, not its output, so a graph has no reference cycles: what is
no longer needed is freed at once, without the garbage collector.

A result that costs one pass over memory, such as that of batch norm, is not kept for the ops that read it. They keep a
`Remade` in its place, and backward makes it again when the first of them needs it.
"""

from collections import Counter
from contextlib import contextmanager

import kernels

_FREED = "backward has already run through this graph and freed it; compute the loss again"
_recording = True
_recomputing = False
_report = None


@contextmanager
def no_grad():
    """Inside this block nothing is recorded: results have no history and intermediate arrays are freed at once."""
    global _recording
    previous, _recording = _recording, False
    try:
        yield
    finally:
        _recording = previous


def is_recording():
    return _recording


def is_recomputing():
    """Whether a forward pass runs for the second time: what it updated in the first is left alone."""
    return _recomputing


@contextmanager
def reporting_leaves(report):
    """Inside the block backward calls report(leaf) when it has added all that it will add to the gradient of a leaf.

    A part of a network that is computed again runs a backward of its own, and reports for itself.
    """
    global _report
    previous, _report = _report, report
    try:
        yield
    finally:
        _report = previous


class Function:
    """Base of all ops: `forward` on arrays, `backward` on the gradient array, in terms of backend functions only.

    Inside both, self.k is the backend of the inputs' device, self.needs tells which inputs want a gradient, and
    self.saved is what `forward` keeps for `backward`.
    """

    saved = ()
    remakes = False  # whether `remake` gives the result again from `saved`, at the cost of a pass over memory
    remade = None  # that result, from its first use in backward to the end of this Function's own
    parents = None  # for each input: the Function that made it, the leaf Tensor itself, or None; () after backward
    maps = None  # positions of the inputs that are feature maps; None: of those with two axes or more
    rounds = False  # whether float32 maps are rounded in the mode "bf16"; beside bfloat16 maps others always are
    widens = False  # whether bfloat16 maps are widened
    result_shape = None  # of what it made, where it was recorded: a Function does not know its output

    def forward(self, *arrays, **options):
        """The op's result as an array."""
        raise NotImplementedError  # pragma: no cover

    def backward(self, grad):
        """Gradient array of each input, in order; None where self.needs says so."""
        raise NotImplementedError  # pragma: no cover

    def remake(self):
        """The result of `forward`, bit for bit, where self.remakes."""
        raise NotImplementedError  # pragma: no cover

    def restore(self):
        """Put arrays in `saved` in the place of what is made again."""
        self.saved = tuple(a.array() if isinstance(a, Remade) else a for a in self.saved)

    @classmethod
    def apply(cls, *tensors, **options):
        """Run forward on the tensors' arrays and record the call if any of them wants a gradient."""
        return cls.record(*tensors, **options)[0]

    @classmethod
    def record(cls, *tensors, **options):
        """(result, function): as `apply`, with the call itself, for an op that found more than its result."""
        from minideeplab.autograd.precision import prepared
        from minideeplab.autograd.tensor import Tensor

        for position, t in enumerate(tensors):
            if not isinstance(t, Tensor):
                raise TypeError(f"{cls.__name__}: input {position} must be a Tensor, got {type(t).__name__}")
        tensors = prepared(cls, tensors)
        function = cls()
        function.k = kernels.load(kernels.device_of(*(t.data for t in tensors)))
        function.needs = tuple(is_recording() and t.requires_grad for t in tensors)
        result = Tensor(function.forward(*(t.data for t in tensors), **options))
        if any(function.needs):
            function.parents = tuple((t.node or t) if n else None for t, n in zip(tensors, function.needs, strict=True))
            function.result_shape = result.shape
            remade = {id(t.data): Remade(t.node) for t in tensors if t.node is not None and t.node.remakes}
            function.saved = tuple(remade.get(id(a), a) for a in function.saved)
            result.requires_grad, result.node = True, function
        return result, function


class Remade:
    """Stands in `saved` for the result of a Function that makes it again: once, for all that read it."""

    def __init__(self, function):
        self.function = function

    def array(self):
        if self.function.parents == ():
            raise RuntimeError(_FREED)
        if self.function.remade is None:
            self.function.restore()
            self.function.remade = self.function.remake()
        return self.function.remade


class Recompute(Function):
    """A part of a network whose activations are not kept: backward computes them again from its input.

    Cost: the forward pass of the part once more, a third of its training step; memory: its input alone.
    Source: Chen et al. 2016, "Training Deep Nets with Sublinear Memory Cost" (arXiv 1604.06174).
    """

    def forward(self, x, *, part):
        from minideeplab.autograd.precision import precision_in_use
        from minideeplab.autograd.tensor import Tensor

        self.saved, self.part, self.precision = (x,), part, precision_in_use()
        with no_grad():
            return part(Tensor(x)).data

    def backward(self, grad):
        from minideeplab.autograd.precision import precision
        from minideeplab.autograd.tensor import Tensor

        global _recomputing
        x = Tensor(*self.saved, requires_grad=True)
        _recomputing = True
        try:
            with precision(self.precision):
                y = self.part(x)
        finally:
            _recomputing = False
        y.backward(grad)
        return (x.grad,)


def recompute(part, x):
    """part(x) without its activations; `part` maps one tensor to one, the same for the same input (no dropout)."""
    return Recompute.apply(x, part=part)


def backpropagate(root, grad, watch=None):
    """Carry `grad` from the Function `root` to all leaves below, freeing each Function's arrays once they are used.

    Functions run in reverse topological order, found without recursion. Gradients that meet in one place are summed.

    Args:
        watch: called after each Function, whose arrays are free by then, with it, the gradient that came in and those
            that it gave to its inputs.
    """
    pending = {root: grad}
    order = topological(root)
    left = Counter(id(p) for f in order for p in f.parents if not isinstance(p, Function)) if _report else None
    while order:
        function = order.pop()
        if function.parents == ():
            raise RuntimeError(_FREED)
        grad = pending.pop(function)
        function.remade = None
        function.restore()
        grads = function.backward(grad)
        for parent, g in zip(function.parents, grads, strict=True):
            if parent is None:
                continue
            if isinstance(parent, Function):
                pending[parent] = function.k.add(pending[parent], g) if parent in pending else g
                continue
            if parent.grad is None:
                parent.grad = (
                    function.k.copy(g) if g is grad else g
                )  # an op may pass its gradient on: a leaf owns its own
            else:
                parent.grad = function.k.add(parent.grad, g)
            if left:
                left[id(parent)] -= 1
                if not left[id(parent)]:
                    _report(parent)
        function.saved, function.parents = (), ()
        if watch is not None:
            watch(function, grad, grads)


def topological(root):
    """Functions below root, each after all that it depends on: the last one is root."""
    order, seen, stack = [], {root}, [(root, iter(root.parents))]
    while stack:
        function, parents = stack[-1]
        for parent in parents:
            if isinstance(parent, Function) and parent not in seen:
                seen.add(parent)
                stack.append((parent, iter(parent.parents)))
                break
        else:
            order.append(function)
            stack.pop()
    return order
