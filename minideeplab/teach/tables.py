"""Tables of a notebook."""

import html
from collections.abc import Mapping, Sequence


class Table:
    """Rows that a notebook shows as a table, and a terminal as aligned text."""

    def __init__(self, heads: Sequence[str], rows: Sequence[Sequence], caption: str = ""):
        self.heads, self.rows, self.caption = list(heads), [list(row) for row in rows], caption

    def __repr__(self):
        cells = [self.heads] + [[_text(value) for value in row] for row in self.rows]
        widths = [max(len(row[i]) for row in cells) for i in range(len(self.heads))]
        sides = [["left"] * len(self.heads)] + [[_side(value) for value in row] for row in self.rows]
        lines = [
            "  ".join(c.ljust(w) if s == "left" else c.rjust(w) for c, w, s in zip(*row, strict=True)).rstrip()
            for row in zip(cells, [widths] * len(cells), sides, strict=True)
        ]
        return "\n".join(([self.caption] if self.caption else []) + lines)

    def _repr_html_(self):
        def row(values, tag):
            cells = "".join(f"<{tag} style='text-align:{_side(v)}'>{html.escape(_text(v))}</{tag}>" for v in values)
            return f"<tr>{cells}</tr>"

        caption = f"<caption>{html.escape(self.caption)}</caption>" if self.caption else ""
        body = "".join(row(values, "td") for values in self.rows)
        return f"<table>{caption}<thead>{row(self.heads, 'th')}</thead><tbody>{body}</tbody></table>"


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


def _side(value):
    return "left" if isinstance(value, str) else "right"
