"""What training starts from, other than random numbers."""

from pathlib import Path

from minideeplab import models
from minideeplab.weights.checkpoint import fit_state
from minideeplab.weights.pretrained import load_pretrained


def initialise(model, path: str | Path) -> str:
    """Starts a model from weights of the same network, perhaps of other classes, or from a classifier as its backbone.

    The layers whose size is the number of classes keep their own weights where those numbers differ; of a classifier of
    another name the backbone is taken, and all else keeps its own weights.

    Args:
        model: the model to fill in, by `models.build`.
        path: a checkpoint, or any file that `load_pretrained` takes.

    Returns:
        One line that says what was taken.

    Raises:
        CheckpointError: the file is bad, or does not fit the model in the rest.
    """
    source = load_pretrained(path)
    own, given = model.state_dict(), source.state_dict()
    here, there = model.config["num_classes"], source.config["num_classes"]
    kind = source.config["name"]
    if kind in models.CLASSIFIERS and kind != model.config["name"]:
        given = {name: array for name, array in given.items() if name.startswith("backbone.")}
        kept = [name for name in own if not name.startswith("backbone.")]
        why = f"; all but the backbone begins anew, the file holds the classifier {kind}"
    else:
        kept = [
            name
            for name in (own.keys() & given.keys() if here != there else ())
            if _is_head(own, given, name, here, there)
        ]
        why = f"; head skipped, {there} classes there, {here} here: {', '.join(sorted(kept))}" if kept else ""
    fit_state(path, model, given | {name: own[name] for name in kept})
    return f"weights of {path}: {len(own) - len(kept)} of {len(own)} arrays{why}"


def _is_head(own: dict, given: dict, name: str, here: int, there: int) -> bool:
    """Whether an array differs in the number of classes alone."""
    return own[name].shape[-1:] == (here,) and given[name].shape == (*own[name].shape[:-1], there)
