"""The pickle in a PyTorch file, read without being executed.

A pickle is a program. It is not given to Python's unpickler, not even with a strict `find_class`: that one would
still call what it is given, hash nested keys in C until the stack overflows, and allocate as large a memo as the file
asks for. `pickletools.genops` splits it into instructions and executes none; `StatePickle` follows the few that a
state dict needs and builds only plain values from them. No callable is ever looked up by a name of the file, so there
is nothing that a file could call.

What lies beside the weights (a date, a path, an optimiser, a whole configuration) must not decide whether they load.
So a name that is not on the short lists below is not refused: it becomes a `Placeholder`, and so does all that the file
would make with it. A placeholder carries the name and does nothing. What the file gives it, items and attributes, it
keeps by name, as inert as itself: the weights of a model that was saved as a whole lie there.
"""

import io
import pickletools
from dataclasses import dataclass

import numpy as np

from minideeplab.files.refusal import REDO, Refusal, shown
from minideeplab.weights.formats import RESAVE
from minideeplab.weights.raw_arrays import MAX_ELEMENTS, STORED, element_count

_MAX_INSTRUCTIONS = 1_000_000  # a tensor takes about sixty
_MAX_MARKS = 200

_STORAGES = {
    f"torch.{name}Storage": code
    for name, code in (
        ("Double", "F64"),
        ("Float", "F32"),
        ("Half", "F16"),
        ("BFloat16", "BF16"),
        ("Long", "I64"),
        ("Int", "I32"),
        ("Short", "I16"),
        ("Char", "I8"),
        ("Byte", "U8"),
        ("Bool", "BOOL"),
    )
}


@dataclass(eq=False)
class Placeholder:
    """Stands for a name that is not looked up, or for what the file would make with it.

    Attributes:
        name: dotted, as the file has it; of an object that of its class.
        content: the items and attributes that the file gives it, by name; None: nothing.
    """

    name: str
    content: dict | None = None

    def take(self, pairs) -> None:
        """Takes items or attributes; of those that it has, the first stay."""
        if self.content is None:
            self.content = {}
        for key, value in pairs:
            if type(key) is str:
                self.content.setdefault(key, value)


@dataclass(frozen=True)
class _Global:
    """A dotted name that the pickle refers to; only ever compared with the lists in this file."""

    name: str


@dataclass(frozen=True)
class Storage:
    """A flat array of the file.

    Attributes:
        code: a type of `raw_arrays.STORED`, or of those that are not read the name in the file.
        key: names it in the file; numel: number of elements.
    """

    code: str
    key: str
    numel: int


@dataclass(frozen=True)
class StoredTensor:
    """A view of a storage; offset and strides count elements."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def view(self, vector: np.ndarray) -> np.ndarray:
        """The array; NumPy checks the bounds a second time."""
        if 0 in self.size:
            return np.empty(self.size, vector.dtype)
        # The stride of an axis of size 1 is never used, but may be too large for NumPy.
        strides = [step * vector.itemsize if n > 1 else 0 for n, step in zip(self.size, self.stride, strict=True)]
        return np.ndarray(self.size, vector.dtype, vector, self.offset * vector.itemsize, strides)


class StatePickle:
    """Follows the instructions of one pickle, with plain values in place of everything that it would make.

    Attributes:
        storages: all storages that were referred to, by key.
    """

    def __init__(self):
        self.stack, self.marks, self.memo = [], [], {}
        self.storages: dict[str, Storage] = {}
        self.copied = 0

    def run(self, stream: io.BytesIO):
        """Returns the value, and leaves the stream after the last instruction.

        Raises:
            Refusal: an instruction or value outside what torch.save writes, or too many of them.
        """
        for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if number == _MAX_INSTRUCTIONS:
                raise Refusal(f"its pickle has more than {_MAX_INSTRUCTIONS} instructions; {RESAVE}")
            if opcode.name in _CONSTANTS:
                self.push(argument)
            elif opcode.name in _FRESH:
                self.push(_FRESH[opcode.name]())
            elif opcode.name in _STEPS:
                _STEPS[opcode.name](self, argument)
            else:
                raise Refusal(f"its pickle has the instruction {opcode.name}, torch.save writes none; {RESAVE}")
        return self.stack.pop()

    def push(self, value):
        self.stack.append(value)

    def ignore(self, _):
        pass

    def mark(self, _):
        if len(self.marks) == _MAX_MARKS:
            raise Refusal(f"its pickle is nested more than {_MAX_MARKS} deep; {RESAVE}")
        self.marks.append(self.stack)
        self.stack = []

    def since_mark(self) -> list:
        values, self.stack = self.stack, self.marks.pop()
        return values

    def pop(self, _):
        """The last value, or the mark where it is the last thing."""
        self.stack.pop() if self.stack else self.since_mark()

    def last(self, count: int) -> list:
        if len(self.stack) < count:
            raise Refusal(f"its pickle takes values that it never gave; {REDO}")
        values = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return values

    def put(self, index: int):
        self.memo[index] = self.stack[-1]

    def get(self, index: int):
        self.push(self.memo[index])

    def append(self, values: list):
        target = self.stack[-1]
        if type(target) is list:
            target.extend(values)
        elif type(target) is not Placeholder:
            raise Refusal(f"its pickle appends to {shown(target)}; {RESAVE}")

    def set_items(self, values: list):
        target = self.stack[-1]
        if type(target) is dict:
            _fill(target, zip(values[::2], values[1::2], strict=True))
        elif type(target) is Placeholder:
            target.take(zip(values[::2], values[1::2], strict=True))
        else:
            raise Refusal(f"its pickle sets items of {shown(target)}; {RESAVE}")

    def dict_since_mark(self, _):
        values = self.since_mark()
        self.push({})
        self.set_items(values)

    def refer(self, module, name):
        full = f"{module}.{name}" if type(module) is type(name) is str else "a name that is no text"
        self.push(_Global(full) if full in _STORAGES or full in _MAKERS else Placeholder(full))

    def call(self, values: list):
        """A function or class and a tuple of arguments; named ones are for placeholders alone."""
        function, arguments, *named = values
        if type(function) is Placeholder:
            self.push(_made_by(function, arguments))
        elif type(function) is _Global and function.name in _MAKERS and type(arguments) is tuple and not any(named):
            self.copy(sum(len(argument) for argument in arguments if type(argument) in (list, tuple)))
            self.push(_MAKERS[function.name](*arguments))
        else:
            raise Refusal(f"its pickle calls {shown(getattr(function, 'name', function))}; {RESAVE}")

    def copy(self, count: int) -> None:
        """Counts values that are copied: one long list may be, by each of many instructions."""
        self.copied += count
        if self.copied > _MAX_INSTRUCTIONS:
            raise Refusal(f"its pickle makes objects of more than {_MAX_INSTRUCTIONS} values; {RESAVE}")

    def call_since_mark(self, names: str | None):
        """The oldest pickles' calls: the arguments since the mark, and the class before them or in the instruction."""
        values = self.since_mark()
        if names is not None:
            self.refer(*names.split(" ", 1))
            values.insert(0, self.stack.pop())
        self.call([values[0], tuple(values[1:])])

    def extension(self, code: int):
        """A number of `copyreg`'s registry, which stands for a name that only the writing program knows."""
        self.push(Placeholder(f"extension {code} of copyreg"))

    def build(self, _):
        """Attributes of a dict, such as `_metadata` of a state dict, and of a tensor are dropped.

        Those of an object are a dict, or the pair of one and of what its `__slots__` hold, or in an object again.
        """
        target, state = self.last(2)
        if type(target) is Placeholder:
            for part in state if type(state) is tuple and len(state) == 2 else (state,):
                given = part.content if type(part) is Placeholder else part
                if type(given) is dict and given is not target.content:
                    self.copy(len(given))
                    target.take(given.items())
        elif type(target) not in (dict, StoredTensor):
            raise Refusal(f"its pickle sets attributes of {shown(target)}; {RESAVE}")
        self.push(target)

    def persistent(self, _):
        """('storage', type, key, location, numel), in the legacy format with a view of it at the end, now None.

        In the legacy format also ('module', class, its source text, ...), of which the class is taken.
        """
        identity = self.stack.pop()
        if type(identity) is tuple and len(identity) == 4 and identity[0] == "module":
            if type(identity[1]) is Placeholder:
                return self.push(identity[1])
        if type(identity) is not tuple or len(identity) not in (5, 6) or identity[0] != "storage":
            raise Refusal(f"its pickle refers to {shown(identity)}, not to a storage; {RESAVE}")
        _, kind, key, location, numel = identity[:5]
        known = type(kind) is Placeholder or (type(kind) is _Global and kind.name in _STORAGES)
        if not known or type(key) is not str or type(location) is not str or identity[5:] not in ((), (None,)):
            raise Refusal(f"a storage {shown(key)} is not described as those of torch.save are; {RESAVE}")
        if type(numel) is not int or not 0 <= numel <= MAX_ELEMENTS:
            raise Refusal(f"the storage {shown(key)} has {shown(numel)} elements, not possible; {REDO}")
        storage = Storage(_STORAGES.get(kind.name, kind.name), key, numel)
        if self.storages.setdefault(key, storage) != storage:
            raise Refusal(f"the storage {shown(key)} is described in two ways; {RESAVE}")
        self.push(storage)


def described(value) -> str:
    """A value of a pickle for a message."""
    if type(value) is StoredTensor:
        return "one tensor without a name"
    if type(value) not in (Placeholder, _Global):
        return shown(value)
    kind = _KINDS.get(value.name)
    return f"{kind} ({value.name})" if kind else f"an object of {shown(value.name)}"


def _made_by(function: Placeholder, arguments) -> Placeholder:
    """What stands for the result of a call.

    It has the name of the function; of the class where the function makes an object of any; and what is in the object
    where one attribute of it is taken: of `torch.save(model.state_dict, path)`, where the brackets were forgotten.
    """
    first = arguments[0] if type(arguments) is tuple and arguments else None
    if type(first) is Placeholder and function.name in _OBJECT_MAKERS:
        return Placeholder(first.name)
    if type(first) is Placeholder and function.name in ("builtins.getattr", "__builtin__.getattr"):
        return Placeholder(first.name, first.content)
    return Placeholder(function.name)


def _fill(target: dict, pairs) -> None:
    for key, value in pairs:
        if type(key) is not str:
            continue  # numbers, as in the state of an optimiser: never looked up, and hashing a tuple may recurse
        if key in target:
            raise Refusal(f"its pickle has {shown(key)} twice; {REDO}")
        target[key] = value


def _ordered_dict(pairs=()) -> dict:
    """Empty and filled later, or (Python 2) from a list of pairs."""
    result = {}
    if type(pairs) not in (tuple, list) or not all(type(pair) in (tuple, list) and len(pair) == 2 for pair in pairs):
        raise Refusal(f"its pickle makes an OrderedDict of {shown(pairs)}; {RESAVE}")
    _fill(result, pairs)
    return result


def _tensor(
    storage, offset, size, stride, requires_grad=False, hooks=None, bits=None, *_
) -> StoredTensor | Placeholder:
    """A tensor whose last element, offset + sum((size - 1) * stride), lies in its storage.

    `bits` may say that the values are those of the storage times -1; such a tensor is not read.
    """
    if type(storage) is Placeholder:
        return storage
    if type(storage) is not Storage or type(offset) is not int or type(size) is not tuple or type(stride) is not tuple:
        raise Refusal(f"a tensor is described by {shown(storage)}, {shown(offset)}, {shown(size)}; {RESAVE}")
    if storage.code not in STORED:
        return Placeholder(storage.code)
    if type(bits) is dict and bits.get("neg") is True:
        return Placeholder("torch._neg_view")
    count = element_count(size)
    if len(stride) != len(size) or any(type(step) is not int or step < 0 for step in stride) or offset < 0:
        raise Refusal(f"a tensor of shape {size} has offset {shown(offset)} and impossible strides; {REDO}")
    last = offset + sum((n - 1) * step for n, step in zip(size, stride, strict=True))
    if count and last >= storage.numel:
        raise Refusal(
            f"a tensor of shape {size} ends at element {shown(last)} of storage {shown(storage.key)}, which has "
            f"{storage.numel}; {REDO}"
        )
    return StoredTensor(storage, offset, size, stride)


def _typed_tensor(storage, offset, size, stride, grad, hooks, dtype, *_) -> Placeholder:
    """A tensor of uint16 and other types that have no storage of their own: none of them is read."""
    return dtype if type(dtype) is Placeholder else Placeholder("torch._utils._rebuild_tensor_v3")


def _of_type(function, kind, arguments, *_) -> StoredTensor | Placeholder:
    """A tensor with attributes, or of a subclass: what it holds is the tensor under it."""
    if type(function) is _Global and function.name in _TENSORS and type(arguments) is tuple:
        return _MAKERS[function.name](*arguments)
    return function if type(function) is Placeholder else Placeholder("torch._tensor._rebuild_from_type_v2")


def _parameter(tensor, *_) -> StoredTensor | Placeholder:
    if type(tensor) not in (StoredTensor, Placeholder):
        raise Refusal(f"a parameter is made of {shown(tensor)}; {RESAVE}")
    return tensor


def _size(sizes=()) -> tuple:
    if type(sizes) not in (tuple, list):
        raise Refusal(f"a size is made of {shown(sizes)}; {RESAVE}")
    return tuple(sizes)


def _listed(values=(), *_) -> list:
    return list(values) if type(values) in (tuple, list) else []


# What an object of any class is made with, by the names of Python 2 and 3.
_OBJECT_MAKERS = {
    f"{module}.{name}"
    for module in ("copyreg", "copy_reg")
    for name in ("_reconstructor", "__newobj__", "__newobj_ex__")
}
# Words for what else a tensor may be.
_KINDS = {
    "torch._utils._rebuild_sparse_tensor": "a sparse tensor",
    "torch._utils._rebuild_sparse_csr_tensor": "a sparse tensor",
    "torch._utils._rebuild_qtensor": "a quantised tensor",
    "torch._utils._rebuild_nested_tensor": "a nested tensor",
    "torch.nested._internal.nested_tensor._rebuild_njt": "a nested tensor",
    "torch._neg_view": "a tensor whose values are negated when they are used",
    "torch.ComplexFloatStorage": "a tensor of complex numbers",
    "torch.ComplexDoubleStorage": "a tensor of complex numbers",
    "torch._utils._rebuild_meta_tensor_no_storage": "a tensor without values, of the device 'meta'",
} | {
    f"numpy.{core}.{name}": "an array of NumPy"
    for core in ("core", "_core")
    for name in ("multiarray._reconstruct", "numeric._frombuffer")
}
_TENSORS = {
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    "torch.nn.parameter.Parameter": _parameter,
}
# All that is ever made: the functions above, by the names that files have for what they stand for.
_MAKERS = {
    **_TENSORS,
    "torch._tensor._rebuild_from_type": _of_type,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch.Size": _size,
    "collections.OrderedDict": _ordered_dict,
    "builtins.set": _listed,
    "__builtin__.set": _listed,
}

# Instructions that give their argument as it is.
_CONSTANTS = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
# Instructions that make a new value. Sets are kept as lists: nothing of them is ever needed.
_FRESH = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_TUPLE": tuple,
    "EMPTY_LIST": list,
    "EMPTY_SET": list,
    "EMPTY_DICT": dict,
}


_STEPS = {
    "PROTO": StatePickle.ignore,
    "FRAME": StatePickle.ignore,
    "STOP": StatePickle.ignore,
    "MARK": StatePickle.mark,
    "POP": StatePickle.pop,
    "POP_MARK": lambda self, _: self.since_mark(),
    "DUP": lambda self, _: self.push(self.stack[-1]),
    "TUPLE": lambda self, _: self.push(tuple(self.since_mark())),
    "TUPLE1": lambda self, _: self.push(tuple(self.last(1))),
    "TUPLE2": lambda self, _: self.push(tuple(self.last(2))),
    "TUPLE3": lambda self, _: self.push(tuple(self.last(3))),
    "LIST": lambda self, _: self.push(self.since_mark()),
    "FROZENSET": lambda self, _: self.push(self.since_mark()),
    "DICT": StatePickle.dict_since_mark,
    "APPEND": lambda self, _: self.append(self.last(1)),
    "APPENDS": lambda self, _: self.append(self.since_mark()),
    "ADDITEMS": lambda self, _: self.append(self.since_mark()),
    "SETITEM": lambda self, _: self.set_items(self.last(2)),
    "SETITEMS": lambda self, _: self.set_items(self.since_mark()),
    "PUT": StatePickle.put,
    "BINPUT": StatePickle.put,
    "LONG_BINPUT": StatePickle.put,
    "MEMOIZE": lambda self, _: self.put(len(self.memo)),
    "GET": StatePickle.get,
    "BINGET": StatePickle.get,
    "LONG_BINGET": StatePickle.get,
    "GLOBAL": lambda self, names: self.refer(*names.split(" ", 1)),
    "STACK_GLOBAL": lambda self, _: self.refer(*self.last(2)),
    "EXT1": StatePickle.extension,
    "EXT2": StatePickle.extension,
    "EXT4": StatePickle.extension,
    "REDUCE": lambda self, _: self.call(self.last(2)),
    "NEWOBJ": lambda self, _: self.call(self.last(2)),
    "NEWOBJ_EX": lambda self, _: self.call(self.last(3)),
    "INST": StatePickle.call_since_mark,
    "OBJ": StatePickle.call_since_mark,
    "BUILD": StatePickle.build,
    "BINPERSID": StatePickle.persistent,
}
