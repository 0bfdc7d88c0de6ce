"""The epochs of a run, as rows of metrics.csv: those that were validated, and the best of them."""

from collections.abc import Sequence


def validated(rows: Sequence[dict]) -> list[dict]:
    """The rows with a validation."""
    return [row for row in rows if row["val_miou"] is not None]


def best_row(rows: Sequence[dict]) -> dict | None:
    """The row of the highest mean IoU, the first of equal ones, which is what best.npz holds; None without any."""
    return max(validated(rows), key=lambda row: row["val_miou"], default=None)


def over_some(row: dict, classes: int) -> str:
    """What to say beside the mean IoU of a row where only some of the classes are present; else nothing."""
    present = row["val_classes_present"]
    return f" over {present} of {classes} classes" if present < classes else ""
