"""What the page shows, before it is a page."""

from dataclasses import dataclass

import numpy as np

from minideeplab.evaluation import epochs


@dataclass
class Content:
    """All that report.html is made of.

    Attributes:
        name: of the run's folder; arguments: args.json.
        epochs: rows of metrics.csv; steps: rows of metrics.jsonl; totals: epochs and steps of the whole run.
        train_set, val_set: data sets with their `counts`.
        colours: (256, 3) uint8, no two equal.
        best: best.json, None before the first validation; scenes: samples.json; answers: epoch -> epoch-*.json.
        warnings: sentences; machine: name -> value.
    """

    name: str
    arguments: dict
    epochs: list[dict]
    steps: list[dict]
    totals: tuple[int, int]
    train_set: object
    val_set: object
    colours: np.ndarray
    best: dict | None
    scenes: list[dict]
    answers: dict[int, list[dict]]
    warnings: list[str]
    machine: dict[str, str]

    def validated(self) -> list[dict]:
        """The rows of the epochs with a validation."""
        return epochs.validated(self.epochs)

    def best_row(self) -> dict | None:
        """The row of the best validation, the first of equal ones."""
        return epochs.best_row(self.epochs)
