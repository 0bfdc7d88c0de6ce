"""The pickle in a PyTorch file, read without being executed.

A pickle is a program. It is not given to Python's unpickler, not even with a strict `find_class`: that one would
still call what it is given, hash nested keys in C until the stack overflows, and allocate as large a memo as the file
asks for. `pickletools.genops` splits it into instructions and executes none; `StatePickle` follows the few that a
state dict needs and builds only plain values from them. No callable is ever looked up by a name of the file, so there
is nothing that a file could call.

What lies beside the weights (a date, a path, an optimiser, a whole configuration) must not decide whether they load.
So a name that is not on the short lists of `pickled_values` is not refused: it becomes a `Placeholder`, and so does all
that the file would make with it. A placeholder carries the name and does nothing. What the file gives it, items and
attributes, it keeps by name, as inert as itself: the weights of a model that was saved as a whole lie there.
"""

import io
import pickletools

from minideeplab.files.refusal import REDO, Refusal, shown
from minideeplab.weights.formats import RESAVE
from minideeplab.weights.pickled_values import (
    MAKERS,
    STORAGES,
    Global,
    Placeholder,
    Storage,
    StoredTensor,
    fill,
    made_by,
)
from minideeplab.weights.raw_arrays import MAX_ELEMENTS

_MAX_INSTRUCTIONS = 1_000_000  # a tensor takes about sixty
_MAX_MARKS = 200
_MAX_NAMES = 2**22  # characters of all names together: two long texts of the file join to a new name in five bytes


class StatePickle:
    """Follows the instructions of one pickle, with plain values in place of everything that it would make.

    Attributes:
        storages: all storages that were referred to, by key.
    """

    def __init__(self):
        self.stack, self.marks, self.memo = [], [], {}
        self.storages: dict[str, Storage] = {}
        self.texts: dict[str, str] = {}
        self.copied = self.named = 0

    def run(self, stream: io.BytesIO):
        """Returns the value, and leaves the stream after the last instruction.

        Raises:
            Refusal: an instruction or value outside what torch.save writes, or too many of them.
        """
        for number, (opcode, argument, _) in enumerate(pickletools.genops(stream)):
            if number == _MAX_INSTRUCTIONS:
                raise Refusal(f"its pickle has more than {_MAX_INSTRUCTIONS} instructions; {RESAVE}")
            if opcode.name in _CONSTANTS:
                self.push(self.only(argument) if type(argument) is str else argument)
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
            fill(target, zip(values[::2], values[1::2], strict=True))
        elif type(target) is Placeholder:
            target.take(zip(values[::2], values[1::2], strict=True))
        else:
            raise Refusal(f"its pickle sets items of {shown(target)}; {RESAVE}")

    def dict_since_mark(self, _):
        values = self.since_mark()
        self.push({})
        self.set_items(values)

    def only(self, text: str) -> str:
        """The first of equal texts: one is compared with itself in no time, and with a copy in that of its length."""
        return self.texts.setdefault(text, text)

    def refer(self, *parts):
        """What stands for a dotted name. Its parts may be in the memo, so that few bytes of the file ask for many."""
        if not all(type(part) is str for part in parts):
            parts = ("a name that is no text",)
        self.named += sum(map(len, parts))
        if self.named > _MAX_NAMES:
            raise Refusal(f"its pickle refers to names of more than {_MAX_NAMES} characters in all; {RESAVE}")
        full = self.only(".".join(parts))
        self.push(Global(full) if full in STORAGES or full in MAKERS else Placeholder(full))

    def call(self, values: list):
        """A function or class and a tuple of arguments; named ones are for placeholders alone."""
        function, arguments, *named = values
        if type(function) is Placeholder:
            self.push(made_by(function, arguments))
        elif type(function) is Global and function.name in MAKERS and type(arguments) is tuple and not any(named):
            self.copy(len(arguments))  # before they are looked at
            self.copy(sum(len(argument) for argument in arguments if type(argument) in (list, tuple)))
            self.push(MAKERS[function.name](*arguments))
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
        self.refer(f"extension {code} of copyreg")

    def build(self, _):
        """Attributes of a dict, such as `_metadata` of a state dict, and of a tensor are dropped.

        Those of an object are a dict, or the pair of one and of what its `__slots__` hold, or in an object again.
        """
        target, state = self.last(2)
        if type(target) is Placeholder:
            for part in state if type(state) is tuple and len(state) == 2 else (state,):
                given = part.content if type(part) is Placeholder else part
                if type(given) is dict:
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
        known = type(kind) is Placeholder or (type(kind) is Global and kind.name in STORAGES)
        if not known or type(key) is not str or type(location) is not str or identity[5:] not in ((), (None,)):
            raise Refusal(f"a storage {shown(key)} is not described as those of torch.save are; {RESAVE}")
        if type(numel) is not int or not 0 <= numel <= MAX_ELEMENTS:
            raise Refusal(f"the storage {shown(key)} has {shown(numel)} elements, not possible; {REDO}")
        storage = Storage(STORAGES.get(kind.name, kind.name), key, numel)
        if self.storages.setdefault(key, storage) != storage:
            raise Refusal(f"the storage {shown(key)} is described in two ways; {RESAVE}")
        self.push(storage)


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
