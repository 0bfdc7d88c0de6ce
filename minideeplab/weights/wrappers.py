"""What people put around the weights of a file, and how it is taken off: checkpoints around them, prefixes of names."""

from collections.abc import Iterator

from minideeplab.files.refusal import Refusal, shown
from minideeplab.weights.formats import RESAVE
from minideeplab.weights.pickled_values import Placeholder, described
from minideeplab.weights.raw_arrays import COUNTER_OF_AVERAGES, Weights
from minideeplab.weights.whole_models import Contents

# Keys under which training scripts keep the weights, moving averages of them first.
WRAPPERS = (
    *("ema", "ema_state_dict", "model_ema", "model_ema_state_dict", "params_ema", "state_dict_ema", "ema_model"),
    *("shadow", "state_dict", "model_state_dict", "model_state", "model", "net_state_dict", "net", "network"),
    *("module", "model_weights", "network_weights", "weights", "weight", "params", "state"),
)
# What wrapping modules (DataParallel, torch.compile, Lightning, a class of one's own) put before every name. No layout
# that is known here begins with one of these.
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
_DEPTH = 3
_MAX_PREFIXES = 6  # a name may be megabytes of them


def state_dict_in(content) -> dict:
    """The dict of tensors by name in the content of a pickle, from under the keys that may be around it.

    1. The candidates are the dict at the top, and the dicts under the keys of `WRAPPERS` in it, in these again, up to
       three times.
    2. The candidate with most tensors is taken. Of several with equally many it is that whose key comes first in
       `WRAPPERS`. The moving averages come first there, because the published accuracy of such a file is theirs.
    3. If that is the top, or has no tensors, steps 1 and 2 are done with each other dict in the top, one level deep. If
       the result of one of them has more tensors, it is taken. If those of several have more, the file is refused.

    An object counts as the dict of its attributes and items, a module of PyTorch as that of its parameters and buffers.
    A list or a tuple at the top counts as a dict by number. Counters are no tensors here.

    Raises:
        Refusal: there is none, or it cannot be told which is meant.
    """
    contents = Contents()
    listed = {str(number): value for number, value in enumerate(content)} if type(content) in (tuple, list) else content
    top = contents.named(listed)
    if top is None:
        raise Refusal(_nothing_in(content))
    best = _most(top, contents)
    if best is top or not contents.count(best):
        others = {id(value): key for key, value in top.items() if contents.named(value) is not None}
        inner = {key: _most(contents.named(top[key]), contents, _DEPTH - 1) for key in others.values()}
        keys = [key for key, state in inner.items() if contents.count(state) > contents.count(best)]
        if len(keys) > 1:
            names = ", ".join(shown(key) for key in keys[:10])
            raise Refusal(
                f"weights of several networks, under {names}; keep one of them: if you trust the file, write "
                f"torch.load(path, weights_only=False)[{shown(keys[0])}] with torch.save in PyTorch"
            )
        best = inner[keys[0]] if keys else best
    if not contents.count(best):
        raise Refusal(_nothing_in(content))
    return best


def _most(content: dict, contents: Contents, depth: int = 0) -> dict:
    """That with most tensors of a dict and those under `WRAPPERS` in it, the first of several."""
    return max(_wrapped(content, contents, depth), key=contents.count)


def _wrapped(content: dict, contents: Contents, depth: int) -> Iterator[dict]:
    """The dicts under `WRAPPERS`, in their order, and then the dict that they are in."""
    if depth < _DEPTH:
        for key in WRAPPERS:
            inner = contents.named(content.get(key))
            if inner is not None:
                yield from _wrapped(inner, contents, depth + 1)
    yield content


def _nothing_in(content) -> str:
    """Why there are no weights."""
    objects = {"": content} | (content if type(content) is dict else {})
    for key, value in objects.items():
        if type(value) is Placeholder and (key in WRAPPERS or not key):
            under = f" under {shown(key)}" if key else ""
            return (
                f"no tensors by name: its pickle refers to {shown(value.name)}{under}, a program or an object without "
                f"parameters was saved, or an attack; nothing was run; {RESAVE}"
            )
    if type(content) is not dict:
        return f"it holds {described(content)}, not tensors by name; {RESAVE}"
    keys = ", ".join(shown(key) for key in list(content)[:10]) + (", ..." if len(content) > 10 else "")
    strange = [key for key, value in content.items() if type(value) is Placeholder]
    what = "".join(f"; {shown(key)} is {described(content[key])}" for key in strange[:3])
    return (
        f"no tensors under state_dict, model_state, model and the like, nor at the top, where it has "
        f"{keys or 'nothing'}{what}; {RESAVE}"
    )


def unwrapped(weights: Weights) -> Weights:
    """Without the prefixes that all names of arrays have, and without the counter beside averaged weights."""
    arrays, unread = dict(weights.arrays), dict(weights.unread)
    for _ in range(_MAX_PREFIXES):
        if len(arrays) > 1:
            arrays.pop(COUNTER_OF_AVERAGES, None)
        prefix = next((prefix for prefix in PREFIXES if _all_have(arrays, prefix)), "")
        arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
        unread = {name.removeprefix(prefix): what for name, what in unread.items()}
    return Weights(arrays, unread)


def _all_have(names, prefix: str) -> bool:
    """And there is more in each name."""
    return bool(names) and all(name.startswith(prefix) and name != prefix for name in names)
