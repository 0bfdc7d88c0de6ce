"""What stands for the values of a pickle: placeholders, storages and tensors, and the few functions that make them.

None of them does anything: a name of the file is compared with the lists here, and never looked up.
"""

from dataclasses import dataclass, field

import numpy as np

from minideeplab.files.refusal import REDO, Refusal, shown
from minideeplab.weights.formats import RESAVE
from minideeplab.weights.raw_arrays import MAX_ELEMENTS, STORED, element_count

STORAGES = {
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
    content: dict | None = field(default=None, repr=False)

    def take(self, pairs) -> None:
        """Takes items or attributes; of those that it has, the first stay."""
        if self.content is None:
            self.content = {}
        for key, value in pairs:
            if type(key) is str:
                self.content.setdefault(key, value)


@dataclass(frozen=True)
class Global:
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
    """A view of a storage; offset and strides count elements. The stride of an axis of size 1 is 0."""

    storage: Storage
    offset: int
    size: tuple[int, ...]
    stride: tuple[int, ...]

    def view(self, vector: np.ndarray) -> np.ndarray:
        """The array; NumPy checks the bounds a second time."""
        if 0 in self.size:
            return np.empty(self.size, vector.dtype)
        strides = [step * vector.itemsize for step in self.stride]
        return np.ndarray(self.size, vector.dtype, vector, self.offset * vector.itemsize, strides)


def described(value) -> str:
    """A value of a pickle for a message."""
    if type(value) is StoredTensor:
        return "one tensor without a name"
    if type(value) not in (Placeholder, Global):
        return shown(value)
    kind = _KINDS.get(value.name)
    return f"{kind} ({value.name})" if kind else f"an object of {shown(value.name)}"


def made_by(function: Placeholder, arguments) -> Placeholder:
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


def fill(target: dict, pairs) -> None:
    """Adds items to a dict.

    Raises:
        Refusal: a name occurs twice.
    """
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
    fill(result, pairs)
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
    # The stride of an axis of size 1 is never used, and may be any number.
    stride = tuple(0 if n == 1 else step for n, step in zip(size, stride, strict=True))
    if max(offset, *stride, 0) > MAX_ELEMENTS:  # also where the tensor has no elements, and nothing below compares
        raise Refusal(f"a tensor of shape {size} begins or steps beyond element {MAX_ELEMENTS}; {REDO}")
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
    if type(function) is Global and function.name in _TENSORS and type(arguments) is tuple:
        return MAKERS[function.name](*arguments)
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
    "torch.ScriptObject": "the packed weights of a quantised layer",
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
MAKERS = {
    **_TENSORS,
    "torch._tensor._rebuild_from_type": _of_type,
    "torch._tensor._rebuild_from_type_v2": _of_type,
    "torch.Size": _size,
    "collections.OrderedDict": _ordered_dict,
    "builtins.set": _listed,
    "__builtin__.set": _listed,
}
