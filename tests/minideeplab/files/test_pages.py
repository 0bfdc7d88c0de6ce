"""Pages: whatever a text says, it ends no element and fills no gap."""

import base64
import hashlib
import json
import re

import pytest
from html_pages import Page
from hypothesis import given
from hypothesis import strategies as st

from minideeplab.files.pages import as_json, filled, script_hash

PIECES = ["</script>", "<!--", "<script>", "{{one}}", "]]>", "&lt;", "\\", '"', "\u2028", "a", "雲"]
texts = st.lists(st.sampled_from(PIECES)).map("".join)


@given(texts, texts)
def test_json_in_a_script_element_is_read_back(key, value):
    [text] = Page(f"<script>{as_json({'a' + key: [value, 1]})}</script>").inside("script")
    assert json.loads(text) == {"a" + key: [value, 1]}


@given(texts, texts)
def test_a_gap_is_filled_once(one, two):
    assert filled("<{{one}}|{{two}}|{{one}}>", {"one": one, "two": two}) == f"<{one}|{two}|{one}>"


def test_a_gap_without_a_part_is_an_error():
    with pytest.raises(KeyError, match="two"):
        filled("{{two}}", {"one": ""})


def test_the_hash_is_that_of_the_policy():
    """CSP Level 3, 6.7.2.5: SHA-256 of the UTF-8 bytes, in base64."""
    digest = base64.b64encode(hashlib.sha256("é".encode()).digest()).decode()
    assert script_hash("é") == digest and re.fullmatch(r"[\w+/]{43}=", digest)
