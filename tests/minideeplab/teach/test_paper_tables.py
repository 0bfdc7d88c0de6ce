"""Quoted tables: each has its source, and what can be computed agrees with it."""

import pytest

from minideeplab import models, teach
from minideeplab.cost import cost_of
from minideeplab.summary import PAPER
from minideeplab.teach import paper_tables
from minideeplab.teach.paper_tables import PaperTable

TABLES = {name: value for name, value in vars(paper_tables).items() if isinstance(value, PaperTable)}


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_whole_and_names_its_source(name):
    quoted = TABLES[name]
    assert quoted.source and len(set(quoted.heads)) == len(quoted.heads)
    assert all(len(row) == len(quoted.heads) for row in quoted.rows)
    assert quoted.source in repr(quoted) and "quoted" in quoted._repr_html_()
    assert [list(record) for record in quoted.records()] == [list(quoted.heads)] * len(quoted.rows)


def test_summary_prints_the_same_numbers():
    rows = [row for row in teach.paper_tables.V3PLUS_XCEPTION.records() if row["scales"] == 1]
    found = {(r["output stride"], r["decoder"], r["separable"]): r["multiply-adds, 1e9"] for r in rows}
    assert found == PAPER


def test_mirrored_images_double_the_multiply_adds():
    """So no digit is mistyped: each pair of rows agrees within 0.2."""
    for quoted in (paper_tables.V3PLUS_XCEPTION, paper_tables.V3PLUS_RESNET101):
        rows = {tuple(row[1:-2]): row[-1] for row in quoted.rows if row[-3]}
        rows_once = {tuple(row[1:-2]): row[-1] for row in quoted.rows}
        for key, doubled in rows.items():
            once = rows_once.get((*key[:-1], False))
            assert once is None or abs(2 * once - doubled) < 0.2


@pytest.mark.parametrize("name", ["resnet101", "drn-a-18", "drn-a-34", "drn-a-50", "drn-c-26", "drn-c-42"])
def test_parameters_that_are_quoted(name):
    quoted = dict(zip(paper_tables.DRN_IMAGENET.column("network"), paper_tables.DRN_IMAGENET.column("parameters, M"),
                      strict=True))  # fmt: skip
    assert round(cost_of(models.create(name), 65).parameters / 1e6, 1) == quoted[name]


def test_columns_by_name():
    assert paper_tables.V3PLUS_LOW_LEVEL.column("channels") == [8, 16, 32, 48, 64]
    assert "parameters" not in repr(paper_tables.DRN_IMAGENET.shown("network", "top-1")).splitlines()[1]
    with pytest.raises(ValueError, match="no column 'size'"):
        paper_tables.RESNET_FLOPS.column("size")
