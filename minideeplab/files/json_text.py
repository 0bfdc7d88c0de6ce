"""JSON of somebody else's files, read without trust: size, number of values and depth are bounded."""

import json
from collections.abc import Callable

from minideeplab.files.refusal import Refusal, shown

MAX_BYTES = 16_000_000
MAX_VALUES = 500_000  # each may take a hundred bytes of memory, and two of the file
MAX_DEPTH = 100  # what reads a value later may be recursive, too


def parse_json(
    data: bytes | str,
    *,
    max_bytes: int = MAX_BYTES,
    max_values: int = MAX_VALUES,
    object_pairs_hook: Callable | None = None,
):
    """The value of a JSON text in UTF-8.

    Args:
        data: the text.
        max_bytes: its longest length; max_values: the largest number of values in it.
        object_pairs_hook: as of `json.loads`.

    Raises:
        Refusal: (a ValueError) not JSON, or larger or deeper than it may be.

    Cost: before it is refused, one walk over its bytes.
    """
    text = data.encode("utf-8", "surrogatepass") if isinstance(data, str) else data
    if len(text) > max_bytes:
        raise Refusal(f"JSON of {len(text)} bytes, the limit is {max_bytes}")
    # Marks within texts are counted, too: a bound, not a number.
    if (values := sum(text.count(mark) for mark in (b"{", b"[", b","))) > max_values:
        raise Refusal(f"JSON of {values} values, the limit is {max_values}")
    try:
        value = json.loads(text.decode("utf-8-sig"), object_pairs_hook=object_pairs_hook)
    except Refusal:
        raise
    except (ValueError, RecursionError) as error:
        raise Refusal(f"not JSON ({str(error)[:200]})") from error
    if _depth(value) > MAX_DEPTH:
        raise Refusal(f"JSON nested more than {MAX_DEPTH} deep")
    return value


def parse_json_object(data: bytes | str, **limits) -> dict:
    """As `parse_json`, of a text that must be an object."""
    value = parse_json(data, **limits)
    if not isinstance(value, dict):
        raise Refusal(f"JSON, but {shown(value)}; an object in braces was expected")
    return value


def _depth(value) -> int:
    """How many lists and objects are in one another, found without recursion; at most MAX_DEPTH + 1."""
    level, depth = [value], 0
    while depth <= MAX_DEPTH and (level := [each for each in level if isinstance(each, dict | list)]):
        depth += 1
        level = [child for each in level for child in (each.values() if isinstance(each, dict) else each)]
    return depth
