"""A network as the list of kernels that it calls: recorded on arrays without numbers, and compared at several sizes."""

import copy
import inspect
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

import kernels
from kernels.geometry import Window
from kernels.shapes import ShapeArray
from minideeplab.autograd import Tensor, no_grad, precision
from minideeplab.errors import UsageError
from minideeplab.export.sizes import Side, Size, at
from minideeplab.nn import Module
from minideeplab.nn.module import observing


class NotExportedError(UsageError):
    """A network that cannot be written in this form; the message says what stands in the way, and what to do."""


class Ref(NamedTuple):
    """A value of the tape: the image is number 0."""

    number: int


@dataclass
class Call:
    """One call of a kernel.

    Attributes:
        kernel: its name in `kernels.CONTRACT`.
        given: its arguments by name: a `Ref` for a value, a NumPy array for what does not depend on the image.
        outputs: the values that it makes.
        where: name of the module in which it ran.
        rounds: of a pooling: whether it was seen to round a size "up" or "down".
    """

    kernel: str
    given: dict
    outputs: list[Ref]
    where: str
    rounds: set[str] = field(default_factory=set)

    @property
    def title(self) -> str:
        return f"{self.kernel} in {self.where}" if self.where else self.kernel


@dataclass
class Tape:
    """All calls of one forward pass in their order.

    Attributes:
        shapes: of the values by number, (N, H, W, C); `Size`s where they follow from the image's, and that was asked.
        result: the network's output.
    """

    shapes: list[tuple]
    calls: list[Call]
    result: Ref

    def side(self, side: Side) -> int:
        return self.shapes[side.value][side.axis]


def without_numbers(model: Module) -> Module:
    """Another network like this one on the device "shapes", which takes no memory."""
    own = model.arrays()
    shapes = {id(t.data): ShapeArray(t.shape, t.dtype) for t in own}
    return copy.deepcopy(model, shapes | {id(t.grad): None for t in own if t.grad is not None})


def record(twin: Module, state: dict[str, np.ndarray], height: int, width: int, any_size: bool = False) -> Tape:
    """Runs a network without numbers on one image, in evaluation mode, and notes every kernel that it calls.

    Args:
        twin: from (N, H, W, 3), by `without_numbers`; state: the arrays that it stands for, by name.
        any_size: whether sizes remember how they follow from the image's.

    Raises:
        NotExportedError: an array of unknown origin, or an output that does not depend on the image.
    """
    recorder = _Recorder(twin, state, any_size)
    image = ShapeArray((1, height, width, 3), np.float32)
    recorder.image(image)
    observers = observing(recorder.of_module), kernels.watching("shapes", recorder.of_kernel)
    with precision("float32"), twin.evaluating(), no_grad(), observers[0], observers[1]:
        result = recorder.resolved(twin(Tensor(image)).data)
    if not isinstance(result, Ref):
        raise NotExportedError(f"{type(twin).__name__}: its output does not depend on the image")
    return Tape(recorder.shapes, recorder.calls, result)


_EXPLICIT = (("out_h", "out_w"), ("height", "width"))  # arguments that say the size of the result
_BORDERS = (("top", "bottom"), ("left", "right"))


class _Recorder:
    """The observers of one forward pass."""

    def __init__(self, model, state, any_size):
        tensors = (*model.named_parameters(), *model.named_buffers())
        self.names = {id(module): name for name, module in model.named_modules()}
        self.kept = [t.data for _, t in tensors]  # alive, so that no other array gets the identity of one
        self.known = {id(t.data): state[name] for name, t in tensors}  # a Ref or a NumPy array
        self.shapes, self.calls, self.any_size = [], [], any_size
        self.running, self.inside = [""], False

    def image(self, array):
        self._new(array)
        if self.any_size:
            array.shape = (1, *(Size(array.shape[axis], Side(0, axis)) for axis in (1, 2)), 3)
            self.shapes[0] = array.shape

    def of_module(self, module, inputs):
        self.running.append(self.names.get(id(module), self.running[-1]))
        try:
            return module.forward(*inputs)
        finally:
            self.running.pop()

    def of_kernel(self, kernel, function, args, kwargs):
        if self.inside:  # a kernel that calls another: the outer one says it all
            return function(*args, **kwargs)
        self.inside = True
        try:
            result = function(*args, **kwargs)
        finally:
            self.inside = False
        bound = inspect.signature(function).bind(*args, **kwargs)
        bound.apply_defaults()
        given = {name: self.resolved(value) for name, value in bound.arguments.items()}
        arrays = [each for each in _flat(result) if isinstance(each, ShapeArray)]
        if any(isinstance(each, Ref) for value in given.values() for each in _flat(value)):
            call = Call(kernel, given, [self._new(array) for array in arrays], self.running[-1])
            self.calls.append(call)
            if self.any_size:
                for array, ref in zip(arrays, call.outputs, strict=True):
                    self._mark(array, ref, given)
        elif arrays:
            values = _flat(getattr(kernels.load("reference"), kernel)(**given))
            for array, value in zip(arrays, values, strict=True):
                self.kept.append(array)
                self.known[id(array)] = np.asarray(value)
        return result

    def resolved(self, value):
        """The argument with its arrays replaced by what is known of them."""
        if isinstance(value, ShapeArray):
            if id(value) not in self.known:
                raise NotExportedError(
                    f"the exporter did not see how an array of shape {value.shape} in {self.running[-1]} was made"
                )
            return self.known[id(value)]
        if type(value) in (list, tuple):
            return [self.resolved(each) for each in value]
        return value

    def _new(self, array):
        ref = Ref(len(self.shapes))
        self.shapes.append(array.shape)
        self.kept.append(array)
        self.known[id(array)] = ref
        return ref

    def _mark(self, array, ref, given):
        """Tells the sides of a result that follow from the image's."""
        if array.ndim != 4:
            return
        shape = list(array.shape)
        for axis, explicit, borders in zip((1, 2), zip(*_EXPLICIT, strict=True), _BORDERS, strict=True):
            asked = [given[name] for name in explicit if name in given]
            sources = [given[name] for name in borders if name in given] + [
                self.shapes[each.number][axis]
                for value in given.values()
                for each in _flat(value)
                if isinstance(each, Ref) and len(self.shapes[each.number]) == 4
            ]
            if asked:
                shape[axis] = asked[0]
            elif any(isinstance(size, Size) for size in sources):
                shape[axis] = Size(shape[axis], Side(ref.number, axis))
        array.shape = self.shapes[ref.number] = tuple(shape)


def _flat(value) -> Iterator:
    """The value itself, or what is in a list or tuple of them."""
    if type(value) in (list, tuple):
        for each in value:
            yield from _flat(each)
    else:
        yield value


# ---------------------------------------------------------------- the same network at another size


def agree(tape: Tape, other: Tape, title: str) -> None:
    """Compares the tape for any size with what the network does at another one, and learns which poolings round up.

    Each call must be the same there, with the sizes that `tape` says. A pad, crop or resize that changes nothing at the
    other size may be missing there.

    Args:
        tape: recorded with any_size; other: without.
        title: of the network, for the message.

    Raises:
        NotExportedError: they differ, so that the tape does not hold for all sizes.
    """
    numbers = {0: 0}  # value of `tape` -> the same value of `other`

    def side_of(side):
        return other.shapes[numbers[side.value]][side.axis]

    rest = iter(other.calls)
    peer = next(rest, None)
    for call in tape.calls:
        if peer is not None and not (wrong := _difference(call, peer, numbers, side_of)):
            _learn_rounding(call, peer, title)
            numbers.update((a.number, b.number) for a, b in zip(call.outputs, peer.outputs, strict=True))
            peer = next(rest, None)
        elif _changes_nothing(call, side_of, other, numbers):
            numbers[call.outputs[0].number] = numbers[call.given["x"].number]
        else:
            raise _no_formula(title, call, wrong if peer is not None else "is missing", other)
    if peer is not None:
        raise _no_formula(title, peer, "is called in addition", other)
    if numbers.get(tape.result.number) != other.result.number:
        raise _no_formula(title, tape.calls[-1], "is not the last", other)
    for number, shape in enumerate(tape.shapes):
        there = other.shapes[numbers[number]]
        if tuple(at(size, side_of) for size in shape) != tuple(there):
            raise NotExportedError(f"{title}: a value of {shape} has {there} at another size; give --size H W")


def _no_formula(title, call, what, other):
    _, height, width, _ = other.shapes[0]
    return NotExportedError(
        f"{title} does not do the same with images of all sizes: at {height} x {width} {call.title} {what}; give "
        "--size H W for images of one size"
    )


def _difference(call, peer, numbers, side_of) -> str:
    """How two calls differ; empty if they are equal."""
    if call.kernel != peer.kernel:
        return f"is {peer.kernel}"
    for name, value in call.given.items():
        mine, theirs = list(_flat(value)), list(_flat(peer.given[name]))
        if len(mine) != len(theirs):
            return f"has {len(theirs)} {name}, not {len(mine)}"
        for a, b in zip(mine, theirs, strict=True):
            if isinstance(a, Ref) or isinstance(b, Ref):
                same = isinstance(a, Ref) and isinstance(b, Ref) and numbers.get(a.number) == b.number
            elif isinstance(a, Window):
                same = geometry(call.kernel, a) == geometry(call.kernel, b)
            elif isinstance(a, np.ndarray):
                same = a is b or np.array_equal(a, b)
            elif isinstance(a, Size):
                same = at(a, side_of) == b
            else:
                same = type(a) is type(b) and a == b
            if not same:
                shown = "another" if isinstance(a, (Ref, np.ndarray, Window)) else f"{b}, where {_text(a)} is known as"
                return f"has {shown} {name}"
    return ""


def _text(value):
    return f"{int(value)}" if isinstance(value, int) and not isinstance(value, bool) else repr(value)


def _changes_nothing(call, side_of, other, numbers) -> bool:
    """Whether a pad, crop or resize gives what it takes, where the sides are others."""
    given = call.given
    if call.kernel not in ("pad", "crop", "resize_bilinear", "resize_nearest") or not isinstance(given["x"], Ref):
        return False
    if call.kernel == "pad":
        return not any(at(given[name], side_of) for borders in _BORDERS for name in borders)
    if call.kernel == "crop" and any(at(given[name], side_of) for name in ("top", "left")):
        return False
    wanted = [at(given[name], side_of) for pair in zip(*_EXPLICIT, strict=True) for name in pair if name in given]
    return wanted == [int(side) for side in other.shapes[numbers[given["x"].number]][1:3]]


def geometry(kernel: str, window: Window) -> tuple:
    """All of a window that a file says, which must be the same for images of all sizes."""
    own = (window.op, window.c_in, window.c_out, window.k_h, window.k_w, window.stride_h, window.stride_w)
    own += (window.rate_h, window.rate_w, window.pad_top, window.pad_bottom, window.pad_left, window.pad_right)
    if kernel in ("conv2d_grad_input", "max_pool2d_grad"):  # which of several sizes comes back
        own += left_over(window)
    return own


def left_over(window: Window) -> tuple[int, int]:
    """Rows and columns of the window's input beyond what its last row and column of outputs reach."""
    tall, wide = window.effective_kernel
    return (
        window.in_h - ((window.out_h - 1) * window.stride_h + tall - window.pad_top - window.pad_bottom),
        window.in_w - ((window.out_w - 1) * window.stride_w + wide - window.pad_left - window.pad_right),
    )


def _learn_rounding(call, peer, title) -> None:
    """Notes whether a pooling was seen to round its size up or down; one that does both has no formula here."""
    window = peer.given.get("win")
    if not isinstance(window, Window) or window.op != "pool" or call.kernel == "max_pool2d_grad":
        return
    call.rounds.update("up" if beyond < 0 else "down" for beyond in left_over(window) if beyond)
    if len(call.rounds) > 1:
        raise NotExportedError(f"{title}: {call.title} rounds up for some sizes only; give --size H W")
