"""Compiles in one visible step what the notebooks run: `python -m minideeplab.teach warm`."""

import sys
import time
from collections.abc import Sequence

import numpy as np

from minideeplab import cli, models
from minideeplab.autograd import Tensor
from minideeplab.crf import refine
from minideeplab.data import normalise
from minideeplab.evaluation import Predictor
from minideeplab.teach.images import sample


@cli.main_guard
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    parser = cli.command_parser(
        "teach", "What the notebooks in `tutorials/` need before they start.", "  python -m minideeplab.teach warm"
    )
    parser.add_argument("task", choices=["warm"], help="warm: compile all kernels now, not in the middle of a notebook")
    parser.parse_args(argv)
    return warm()


def warm() -> int:
    """Runs each kind of network for one step; later runs take the kernels from the disk."""
    began = time.perf_counter()
    image, labels = sample()
    names = ("deeplabv3plus", "deeplabv1-largefov", "pspnet", "segnet", "unet", "densenet121", "drn-c-26")
    with cli.Progress(len(names) + 1, "compiling") as progress:
        for name in names:
            _step(name, image, labels)
            progress.update()
        refine(np.full((*image.shape[:2], 2), 0.5, np.float32), image)
        progress.update()
    print(f"kernels are compiled ({time.perf_counter() - began:.0f} s)", file=sys.stderr)
    return 0


def _step(name, image, labels):
    """One training step and one prediction of a narrow network."""
    options = {"dense": True} if name in models.CLASSIFIERS else {}
    model = models.build(name, num_classes=7, width=0.25, **options)
    crops = normalise(image[None, :97, :97])
    model.loss(Tensor(crops), np.ascontiguousarray(labels[None, :97, :97])).backward()
    Predictor(model)(image)


if __name__ == "__main__":
    sys.exit(main())
