"""What people put around the weights of a file, and how it is taken off: checkpoints around them, prefixes of names."""

from minideeplab.files.refusal import Refusal, shown
from minideeplab.weights.formats import RESAVE
from minideeplab.weights.raw_arrays import Weights
from minideeplab.weights.state_pickle import Placeholder, StoredTensor, described

# Keys under which training scripts keep the weights, moving averages of them first.
WRAPPERS = (
    *("ema", "ema_state_dict", "model_ema", "model_ema_state_dict", "params_ema", "state_dict_ema"),
    *("state_dict", "model_state_dict", "model_state", "model", "net_state_dict", "net", "network", "module"),
    *("weights", "params", "state"),
)
# What wrapping modules (DataParallel, torch.compile, Lightning, a class of one's own) put before every name. No layout
# that is known here begins with one of these.
PREFIXES = ("module.", "_orig_mod.", "model.", "net.", "network.")
COUNTERS = ("n_averaged", "num_batches_tracked")  # no weights: no result depends on them
_DEPTH = 3


def state_dict_in(content) -> dict:
    """The dict of tensors by name in the content of a pickle, from under the keys that may be around it.

    Rule: of the dicts at the top and under `WRAPPERS`, nested up to three times, the one with most tensors; of several
    with equally many the moving average, which is what the published accuracy of such a file belongs to. Where none of
    them has tensors, the only other dict that has some.

    Raises:
        Refusal: there is none, or it cannot be told which is meant.
    """
    found = _candidates(content, WRAPPERS)
    best = max(found, key=_count, default={})
    if _count(best):
        return best
    others = {key: value for key, value in content.items() if _count(value)} if type(content) is dict else {}
    if len(others) == 1:
        return next(iter(others.values()))
    if others:
        raise Refusal(f"weights of several networks, under {_keys(others)}; keep one of them; {RESAVE}")
    raise Refusal(_nothing_in(content))


def _candidates(content, keys) -> list[dict]:
    """The dict itself, last, and those under the keys in it."""
    found, seen = [], set()

    def visit(value, depth):
        if type(value) is dict and id(value) not in seen:  # one may hold itself
            seen.add(id(value))
            if depth < _DEPTH:
                for key in keys:
                    visit(value.get(key), depth + 1)
            found.append(value)

    visit(content, 0)
    return found


def _count(state) -> int:
    """How many tensors are in a dict."""
    if type(state) is not dict:
        return 0
    return sum(type(value) is StoredTensor and name.split(".")[-1] not in COUNTERS for name, value in state.items())


def _keys(state: dict) -> str:
    return ", ".join(shown(key) for key in list(state)[:10]) + (", ..." if len(state) > 10 else "")


def _nothing_in(content) -> str:
    """Why there are no weights."""
    objects = {"": content} | (content if type(content) is dict else {})
    for key, value in objects.items():
        if type(value) is Placeholder and (key in WRAPPERS or not key):
            under = f" under {shown(key)}" if key else ""
            return (
                f"no tensors by name: its pickle refers to {shown(value.name)}{under}, a whole model or program was "
                f"saved, or an attack; nothing was run; {RESAVE}"
            )
    if type(content) is not dict:
        return f"it holds {described(content)}, not tensors by name; {RESAVE}"
    strange = {key: value for key, value in content.items() if type(value) is Placeholder}
    what = "".join(f"; {shown(key)} is {described(value)}" for key, value in list(strange.items())[:3])
    return (
        f"no tensors under state_dict, model_state, model and the like, nor at the top, where it has "
        f"{_keys(content) or 'nothing'}{what}; {RESAVE}"
    )


def unwrapped(weights: Weights) -> Weights:
    """Without the prefixes that all names of arrays have, and without the counter beside averaged weights."""
    arrays, unread = dict(weights.arrays), dict(weights.unread)
    while True:
        if len(arrays) > 1:
            arrays.pop("n_averaged", None)
        prefix = next((prefix for prefix in PREFIXES if _all_have(arrays, prefix)), None)
        if prefix is None:
            return Weights(arrays, unread)
        arrays = {name.removeprefix(prefix): array for name, array in arrays.items()}
        unread = {name.removeprefix(prefix): what for name, what in unread.items()}


def _all_have(names, prefix: str) -> bool:
    """And there is more in each name."""
    return bool(names) and all(name.startswith(prefix) and name != prefix for name in names)
