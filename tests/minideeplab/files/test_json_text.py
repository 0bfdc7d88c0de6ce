"""JSON without trust: what is read is what json reads; size, values and depth have limits."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minideeplab.files.json_text import MAX_DEPTH, parse_json, parse_json_object
from minideeplab.files.refusal import Refusal

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_json_writes_is_read(value):
    text = json.dumps(value)
    assert parse_json(text) == parse_json(text.encode()) == value


def nested(depth, start="[", stop="]"):
    return start * depth + "1" + stop * depth


def test_depth_is_bounded():
    for start, stop in (("[", "]"), ('{"a":', "}")):
        parse_json(nested(MAX_DEPTH, start, stop))
        for depth in (MAX_DEPTH + 1, 100_000):
            with pytest.raises(Refusal, match=r"nested more than 100 deep|not JSON .*recursion"):
                parse_json(nested(depth, start, stop))


@pytest.mark.parametrize(
    ("text", "limits", "message"),
    [
        ("[1, 2, 3]", {"max_bytes": 8}, "JSON of 9 bytes, the limit is 8"),
        ("[" + "0," * 50 + "0]", {"max_values": 50}, "JSON of 51 values, the limit is 50"),
        ("[1, 2", {}, "not JSON"),
        (b"\xff", {}, "not JSON"),
        ("9" * 5000, {}, "not JSON"),
        ("\ud800", {}, "not JSON"),
    ],
)
def test_refusals(text, limits, message):
    with pytest.raises(Refusal, match=message):
        parse_json(text, **limits)


def test_an_object_is_asked_for():
    assert parse_json_object('{"a": 1}') == {"a": 1}
    with pytest.raises(Refusal, match="JSON, but a list of 2; an object"):
        parse_json_object("[1, 2]")
