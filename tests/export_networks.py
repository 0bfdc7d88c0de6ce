"""Narrow networks with statistics that are no zeros and ones, as tests of `minideeplab.export` need them."""

import numpy as np

from minideeplab import models
from minideeplab.data import voc_colour_map
from minideeplab.weights import Checkpoint, Trained


def narrow(name, **options):
    """The network in evaluation mode, with three classes, few channels, and buffers and biases of random numbers."""
    known, chosen = models.options_of(name), {"num_classes": 3, "width": 1 / 16, **options}
    if "head_width" in known:
        chosen.setdefault("head_width", 8)
    return shaken(models.build(name, **chosen).eval())


def shaken(model):
    """The model with random numbers where training has not been: statistics, biases, layers that begin with zeros."""
    generator = np.random.default_rng(0)
    for name, t in (*model.named_parameters(), *model.named_buffers()):
        if name.endswith("running_var") or name.endswith("gamma"):
            t.data = generator.uniform(0.5, 1.5, t.shape).astype(np.float32)
        elif len(t.shape) == 1 or not t.data.any():
            t.data = generator.normal(0, 0.2, t.shape).astype(np.float32)
    return model


def trained(model, name="a network"):
    """The network with names of its classes."""
    return Trained(name, model, ["sky", "häuser", '<"trees">'], voc_colour_map())


def checkpoint(path, model):
    """Writes a checkpoint of the network; returns its path."""
    names = [f"class {i}" for i in range(model.config["num_classes"])]
    Checkpoint(model.config, model.state_dict(), names, voc_colour_map()).save(path)
    return path
