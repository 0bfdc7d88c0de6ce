"""One batch through everything that a run will do, before it runs for hours: `--dry-run`."""

import math
import statistics
import time
from dataclasses import dataclass

import numpy as np

import kernels
from minideeplab import cli, models
from minideeplab.cost import cost_of
from minideeplab.errors import DivergedError
from minideeplab.evaluation import Predictor
from minideeplab.train.loop import step_seed
from minideeplab.train.step import first_not_finite, train_step

TIMED_STEPS = 3  # after the first, which may compile


@dataclass
class DryRun:
    """What one batch tells of a run.

    Attributes:
        shapes: name of an array -> its shape, in the order in which they come.
        parameters: of the network.
        loss: of the first batch; uniform_loss: ln C, that of a uniform guess.
        gradient: root of the sum of squares over all parameters.
        first_step_seconds: with compiling; step_seconds: of a later one; image_seconds: to validate one image.
        total_seconds: estimate for the whole run, pictures and checkpoints left out.
        activation_bytes: outputs of all layers for a batch, or of several ranks for one's part of it, by counting.
        peak_bytes: the most memory that the process held so far, None where the system does not tell.
    """

    shapes: dict[str, tuple]
    parameters: int
    loss: float
    uniform_loss: float
    gradient: float
    first_step_seconds: float
    step_seconds: float
    image_seconds: float
    total_seconds: float
    activation_bytes: int
    peak_bytes: int | None

    def __str__(self) -> str:
        shapes = ", ".join(f"{name} {' x '.join(map(str, shape))}" for name, shape in self.shapes.items())
        measured = f"{_size(self.peak_bytes)} were held at most" if self.peak_bytes else "this system does not tell"
        return "\n".join(
            [
                f"shapes {shapes}",
                f"loss   {self.loss:.4f} of the first batch; a uniform guess gives {self.uniform_loss:.4f}"
                f"{self._remark()}",
                f"grad   {self.gradient:.3g}, the norm over {self.parameters:,} parameters: all finite",
                f"memory {measured}; the layers of a batch give {_size(self.activation_bytes)} of activations",
                f"time   first step {self.first_step_seconds:.1f} s, later ones {self.step_seconds:.3f} s, "
                f"validation {self.image_seconds:.3f} s an image",
                f"total  about {cli.duration(self.total_seconds)}, pictures and checkpoints left out",
            ]
        )

    def _remark(self) -> str:
        far = abs(self.loss - self.uniform_loss) > 0.5 * self.uniform_loss
        return ": far from it, as after --init-from; without that, look at the masks" if far else ""


def dry_run(training, given: dict) -> DryRun:
    """Trains a few steps and validates one image, prints what that tells, and writes nothing.

    Args:
        training: a `Training` before its first step; given: unused, as `find_rate` is called.

    Raises:
        DivergedError: the loss or a gradient is not finite.
    """
    args, model, train_set, val_set = training.args, training.model, training.train_set, training.val_set
    images, labels = next(training.loader.epoch(0))
    cli.announce_compilation()
    seconds = []
    with np.errstate(all="ignore"), cli.Progress(TIMED_STEPS + 2, "dry run", leave=False) as bar:
        model.train()
        for step in range(1 + TIMED_STEPS):
            began = time.perf_counter()
            model.reseed(step_seed(args.seed, step))
            now = min(step, training.total_steps - 1)
            rate, share = training.schedule.rate(now), training.schedule.share(now)
            more = rate, training.class_weights, train_set.ignore_index, args.accumulate, share, training.replica
            try:
                loss = train_step(model, training.optimiser, images, labels, *more)
            except DivergedError as error:
                lower = f"train with a lower rate, such as --lr {min(0.01, args.lr / 10):g}"
                raise DivergedError(f"the dry run diverged in step {step + 1}: {error}; {lower}") from error
            seconds.append(time.perf_counter() - began)
            if step == 0:
                first, gradient = loss.item(), _gradient_norm(model)
            bar.update()
        predictor = Predictor(model)
        image, _ = val_set.sample(0)
        predictor.labels(image)  # other kernels than in training: the first image compiles them
        began = time.perf_counter()
        prediction = predictor.labels(image)
        image_seconds = time.perf_counter() - began
        bar.update()
    epochs = training.total_epochs
    validations, validated = math.ceil(epochs / args.eval_every), len(training.group.share(range(len(val_set))))
    step_seconds = statistics.median(seconds[1:])
    options = {key: value for key, value in model.config.items() if key not in ("name", "seed")}
    cost = cost_of(models.create(model.config["name"], **options), args.crop_size)
    found = DryRun(
        shapes={"images": images.shape, "labels": labels.shape, "a validation image": image.shape,
                "its prediction": prediction.shape},
        parameters=cost.parameters,
        loss=first,
        uniform_loss=math.log(train_set.num_classes),
        gradient=gradient,
        first_step_seconds=seconds[0],
        step_seconds=step_seconds,
        image_seconds=image_seconds,
        total_seconds=training.total_steps * step_seconds + validations * validated * image_seconds,
        activation_bytes=args.batch_size // training.group.size * cost.activation_bytes,
        peak_bytes=cli.peak_memory(),
    )  # fmt: skip
    print(found)
    return found


def _gradient_norm(model) -> float:
    """Of all parameters together; DivergedError names the first gradient that is not finite."""
    gradients = {name: p.grad for name, p in model.named_parameters() if p.grad is not None}
    if name := first_not_finite(gradients):
        raise DivergedError(f"the gradient of '{name}' is not finite after one batch; look at the images and the masks")
    squares = (np.square(kernels.to_device(grad, "cpu"), dtype=np.float64).sum() for grad in gradients.values())
    return math.sqrt(sum(squares))


def _size(number: int) -> str:
    return f"{number / 1e9:.2f} GB" if number >= 1e9 else f"{number / 1e6:.0f} MB"
