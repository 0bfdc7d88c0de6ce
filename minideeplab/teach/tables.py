"""Tables of a notebook."""

import html
import re
from collections.abc import Mapping, Sequence


class Table:
    """Rows that a notebook shows as a table, and a terminal as aligned text."""

    def __init__(self, heads: Sequence[str], rows: Sequence[Sequence], caption: str = ""):
        self.heads, self.rows, self.caption = list(heads), [list(row) for row in rows], caption

    def __repr__(self):
        sides = self._sides()
        cells = [self.heads] + [[_text(value) for value in row] for row in self.rows]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.heads))]
        lines = [
            "  ".join(c.ljust(w) if s == "left" else c.rjust(w) for c, w, s in zip(row, widths, sides, strict=True))
            for row in cells
        ]
        return "\n".join(([self.caption] if self.caption else []) + [line.rstrip() for line in lines])

    def _repr_html_(self):
        sides = self._sides()

        def row(values, tag):
            pairs = zip(values, sides, strict=True)
            cells = "".join(f"<{tag} style='text-align:{side}'>{html.escape(_text(v))}</{tag}>" for v, side in pairs)
            return f"<tr>{cells}</tr>"

        caption = f"<caption>{html.escape(self.caption)}</caption>" if self.caption else ""
        body = "".join(row(values, "td") for values in self.rows)
        return f"<table>{caption}<thead>{row(self.heads, 'th')}</thead><tbody>{body}</tbody></table>"

    def _sides(self):
        """Of each column: right if all its cells are numbers, formatted ones included, or empty."""
        columns = zip(*self.rows, strict=True) if self.rows else [[]] * len(self.heads)
        return ["right" if all(map(_is_number, column)) else "left" for column in columns]


def table(rows: Sequence[Sequence] | Sequence[Mapping], heads: Sequence[str] = (), caption: str = "") -> Table:
    """A table to end a cell with.

    Args:
        rows: lists of cells, or dicts of which the first gives the heads. Floats are shown with four digits: format
            a number where it needs another look.
        heads: one for each column; caption: a line above.

    Raises:
        ValueError: a row has more or fewer cells than there are heads.
    """
    rows = list(rows)
    if rows and isinstance(rows[0], Mapping):
        heads = heads or list(rows[0])
        rows = [[row[head] for head in heads] for row in rows]
    for row in rows:
        if len(row) != len(heads):
            raise ValueError(f"table: a row has {len(row)} cells, the heads are {len(heads)}: {', '.join(heads)}")
    return Table(heads, rows, caption)


def _text(value):
    value = value.item() if hasattr(value, "item") else value  # of NumPy
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return "" if value is None else str(value)


def _is_number(value):
    return not isinstance(value, str) or bool(re.fullmatch(r"[-+−±]?[\d., ]*\d[\d., ]*(e[-+]?\d+)?( ?[%MGkx])?", value))
