"""Processes that are killed: forks of a server that has done no work, so that no lock is held when they start.

A fork of the test itself would share what the test holds: tqdm has one lock for a process and all its forks, and a fork
that is killed while it writes a line keeps it for ever.
"""

import multiprocessing
import os
import signal

import numpy as np

from minideeplab.evaluation import ConfusionMatrix
from minideeplab.train import command as train
from minideeplab.train import loop
from minideeplab.train.run_folder import RunFolder

LONGEST = 120  # seconds that a child may take to end; seconds are usual


class Child:
    """A function of this module in a process of its own."""

    def __init__(self, function, *arguments):
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload([train.__name__])
        self.process = context.Process(target=quiet, args=(function, *arguments), daemon=True)
        self.process.start()

    def runs(self):
        return self.process.exitcode is None

    def kill(self):
        self.process.kill()
        assert self.code() == -signal.SIGKILL

    def code(self):
        self.process.join(LONGEST)
        code = self.process.exitcode
        self.process.kill()
        assert code is not None, f"it did not end in {LONGEST} seconds"
        return code


def quiet(function, *arguments):
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)
    os._exit(function(*arguments))


class Number:
    """A loss without a tensor."""

    def __init__(self, value):
        self.item, self.weight = lambda: value, 1.0


def train_without_kernels(arguments):
    """The real command, with steps and validations in NumPy that depend on weights, batch and step."""

    def step(model, optimiser, images, labels, lr, *options):
        for name, parameter in optimiser.parameters.items():
            optimiser.velocity[name] += np.float32(images.mean()) + parameter.data
            parameter.data += np.float32(lr) * optimiser.velocity[name]
        return Number(float(np.float32(labels.mean())))

    def confusion(training, predictor, group):
        matrix = ConfusionMatrix(training.val_set.num_classes)
        first = next(iter(predictor.model.parameters())).data
        matrix.counts[0, :2] = 1000, abs(int(first.astype(np.float64).sum() * 100)) % 1000
        return matrix

    loop.train_step = step
    loop.first_not_finite = lambda arrays: None
    loop.Training._validate = confusion
    loop.Training._draw = lambda training, path, *arguments: path.touch()
    return train.main(arguments)


def save_for_ever(out, checkpoint):
    folder = RunFolder(out).hold()
    while True:
        checkpoint.progress["step"] += 1
        folder.add_step({"step": checkpoint.progress["step"], "loss": 1.0, "lr": 0.1})
        folder.save_last(checkpoint)
