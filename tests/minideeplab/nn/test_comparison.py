"""Expected and found arrays: every name is in exactly one of four groups, and the table says what it is."""

from hypothesis import given
from hypothesis import strategies as st

from minideeplab.nn.comparison import differences

SHAPES = st.dictionaries(st.sampled_from("abcdef"), st.sampled_from([(), (1,), (2, 3)]))


@given(expected=SHAPES, found=SHAPES)
def test_each_name_is_in_one_group(expected, found):
    wrong = differences(expected, found)
    equal = {name for name in expected if found.get(name) == expected[name]}
    groups = [set(wrong.missing), set(wrong.unknown), set(wrong.misshapen), equal]
    assert set().union(*groups) == expected.keys() | found.keys()
    assert sum(map(len, groups)) == len(expected.keys() | found.keys())
    assert len(wrong) == sum(map(len, groups[:3])) and bool(wrong) == (expected != found)
    assert set(wrong.missing).isdisjoint(found) and set(wrong.unknown).isdisjoint(expected)


def test_the_table():
    wrong = differences({"a": (1,), "b": (2, 3), "c": ()}, {"c": (), "b": [3, 2], "d\n": (4,)})
    assert wrong.counts() == "1 arrays are missing, 1 are unknown and 1 have another shape"
    assert wrong.table().splitlines() == [
        "  array: expected / found",
        "  a: (1,) / nothing",
        "  b: (2, 3) / (3, 2)",
        "  d\\n: nothing / (4,)",
    ]
    assert wrong.table(limit=2).splitlines()[1:] == [
        "  a: (1,) / nothing", "  b: (2, 3) / (3, 2)", "  ... and 1 more"
    ]  # fmt: skip


def test_a_list_is_the_same_shape():
    assert not differences({"a": (2, 3)}, {"a": [2, 3]})


def test_the_message_is_short_where_nothing_fits():
    expected, found = ({f"{letter}{i}": (i,) for i in range(100)} for letter in "ef")
    wrong = differences(expected, found | {"e1": (7,)})
    assert wrong.counts() == "none of the 101 arrays has a name and a shape that are expected"
    assert len(wrong.table().splitlines()) == 1 + 3 + 1 + 3 + 1
    assert wrong.table().endswith("  ... and 193 more")
    assert len(differences({"x" * 1000: ()}, {}).table()) < 200
