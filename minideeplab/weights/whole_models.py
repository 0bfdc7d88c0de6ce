"""The weights of a model that was saved as a whole, `torch.save(model, path)`, without its class.

A module of PyTorch keeps its tensors in dicts by name, `_parameters` and `_buffers`, and in `_modules` the modules in
it, which are the same again. So the names of the state dict follow from what the file gives the object. Its class,
which only the program that wrote the file knows, is not needed.
"""

from minideeplab.files.refusal import Refusal, shown
from minideeplab.weights.formats import RESAVE
from minideeplab.weights.pickled_values import Placeholder, StoredTensor
from minideeplab.weights.raw_arrays import is_counter

_PACKED = "torch.ScriptObject"  # what holds the weights of a quantised layer; no tensor, but not to be passed over
_MAX_DEPTH = 100
_MAX_STEPS = 200_000  # of known networks a few thousand; a module in two others, each in two others, takes few bytes
_MAX_CHARACTERS = 2**24  # of all names together


class Contents:
    """Dicts by name of what a pickle gives; each object is looked into once, and all of them within one limit."""

    def __init__(self):
        self.found: dict[int, dict | None] = {}
        self.counts: dict[int, int] = {}
        self.steps = self.characters = 0

    def named(self, value) -> dict | None:
        """A dict itself; of an object the attributes and items; of a module its state dict; None of anything else."""
        if type(value) is not Placeholder:
            return value if type(value) is dict else None
        if id(value) not in self.found:
            self.found[id(value)] = self._state_dict(value) if _is_module(value) else value.content
        return self.found[id(value)]

    def count(self, state: dict) -> int:
        """How many tensors are in a dict; a file may name one dict often, and count on the time that takes."""
        if id(state) not in self.counts:
            tensors = (name for name, value in state.items() if type(value) is StoredTensor)
            self.counts[id(state)] = sum(not is_counter(name) for name in tensors)
        return self.counts[id(state)]

    def _state_dict(self, module: Placeholder) -> dict:
        state, waiting = {}, [("", module, 0)]
        while waiting:
            prefix, module, depth = waiting.pop()
            if depth > _MAX_DEPTH:
                raise Refusal(f"modules are nested more than {_MAX_DEPTH} deep in its {shown(module.name)}; {RESAVE}")
            left_out = module.content.get("_non_persistent_buffers_set")
            left_out = left_out if type(left_out) is list else []
            self._take(len(left_out))
            left_out = {name for name in left_out if type(name) is str}
            for kind in ("_parameters", "_buffers"):
                for name, value in self._items(module, kind, prefix):
                    if value is not None and name not in left_out:
                        state.setdefault(prefix + name, value)
            inner = []
            for name, value in self._items(module, "_modules", prefix):
                if _is_module(value):
                    inner.append((f"{prefix}{name}.", value, depth + 1))
                elif value is not None:
                    state.setdefault(prefix + name, value)
            self._take(len(module.content))
            for name, value in module.content.items():
                if type(value) is Placeholder and value.name == _PACKED:
                    state.setdefault(prefix + name, value)
            waiting += reversed(inner)
        return state

    def _items(self, module: Placeholder, kind: str, prefix: str) -> list:
        """Of one of the three dicts, or of an ordered one's subclass, whose names fit behind the prefix."""
        found = module.content.get(kind)
        found = found.content if type(found) is Placeholder else found
        if type(found) is not dict:
            return []
        self._take(len(found), sum(len(prefix) + len(name) for name in found))
        return list(found.items())

    def _take(self, steps: int, characters: int = 0) -> None:
        self.steps += 1 + steps
        self.characters += characters
        if self.steps > _MAX_STEPS or self.characters > _MAX_CHARACTERS:
            raise Refusal(f"its modules have more than {_MAX_STEPS} parts, or names beyond any network's; {RESAVE}")


def _is_module(value) -> bool:
    return type(value) is Placeholder and bool(value.content) and "_parameters" in value.content
