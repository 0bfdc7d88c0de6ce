"""What training starts from, other than random numbers."""

from pathlib import Path

from minideeplab import models
from minideeplab.errors import CheckpointError
from minideeplab.weights.checkpoint import fit_state
from minideeplab.weights.pretrained import load


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
    found = load(path)
    source = found.model
    own = model.state_dict()
    given = {name: array for name, array in source.state_dict().items() if name not in found.fresh}
    here, there = model.config["num_classes"], source.config["num_classes"]
    kind = source.config["name"]
    if kind in models.CLASSIFIERS and kind != model.config["name"]:
        backbone = model.config.get("backbone")
        if kind in models.BACKBONES and backbone not in (None, kind):
            raise CheckpointError(f"{path}: a {kind}, but the backbone here is {backbone}; add --backbone {kind}")
        given = {name: array for name, array in given.items() if _is_taken(name, array, own)}
        if not any(name.startswith("backbone.") for name in own.keys() & given.keys()):
            raise CheckpointError(
                f"{path}: {model.config['name']} has no backbone that the classifier {kind} of this file could be; "
                f"start from a file of {model.config['name']}, or without --init-from"
            )
        kept = [name for name in own if name not in given and not name.startswith("backbone.")]
        why = f"; what the file's classifier {kind} does not have begins anew"
    elif found.fresh:
        kept = sorted(found.fresh)
        why = "; a backbone without a classifier, whose scores begin anew"
    else:
        kept = [
            name
            for name in (own.keys() & given.keys() if here != there else ())
            if _is_head(own, given, name, here, there)
        ]
        why = f"; head skipped, {there} classes there, {here} here: {', '.join(sorted(kept))}" if kept else ""
    fit_state(path, model, given | {name: own[name] for name in kept})
    return f"weights of {path}: {len(own) - len(kept)} of {len(own)} arrays{why}"


def _is_taken(name: str, array, own: dict) -> bool:
    """The backbone of a classifier, and what else fits: VGG-16's fc6 and fc7 in FCN and DeepLab v1."""
    return name.startswith("backbone.") or (name in own and own[name].shape == array.shape)


def _is_head(own: dict, given: dict, name: str, here: int, there: int) -> bool:
    """Whether an array differs in the number of classes alone."""
    return own[name].shape[-1:] == (here,) and given[name].shape == (*own[name].shape[:-1], there)
