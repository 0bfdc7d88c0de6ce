"""The training loop: steps, validation, checkpoints, and the records that a run keeps."""

import dataclasses
import itertools
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import kernels
from minideeplab import cli, figures
from minideeplab.data import Loader
from minideeplab.data.statistics import median_frequency_weights
from minideeplab.errors import CheckpointError, DataError, DivergedError
from minideeplab.evaluation import ConfusionMatrix, Predictor, percent
from minideeplab.nn import SGD, poly, step_policy
from minideeplab.train.run_folder import EPOCH_COLUMNS, RunFolder
from minideeplab.train.state import TrainState
from minideeplab.train.step import first_not_finite, train_step
from minideeplab.train.warnings import Watch
from minideeplab.weights import Checkpoint

SAMPLE_PICTURES = 4
SAVE_INTERVAL = 30.0  # seconds between checkpoints of epochs without validation, which may be as short as a step
CLASS_WEIGHT_POWERS = {"median": 1.0, "root": 0.5}  # the root lifts rare classes and leaves the frequent ones a say


class Training:
    """The records of one run: which step is next, what was reached, what is on disk. `train_step` does the work."""

    def __init__(self, args, loader: Loader, val_set, model, state: TrainState, folder: RunFolder | None):
        self.args, self.loader, self.val_set = args, loader, val_set
        self.train_set = loader.dataset
        self.model, self.state, self.folder = model, state, folder
        self.optimiser = SGD(model, args.lr, momentum=args.momentum, weight_decay=args.weight_decay)
        self.class_weights = None
        if args.class_weights != "none":
            self.class_weights = median_frequency_weights(self.train_set) ** CLASS_WEIGHT_POWERS[args.class_weights]
        self.total_steps = args.steps or args.epochs * len(loader)
        self.total_epochs = math.ceil(self.total_steps / len(loader))
        self.speed = cli.Speed()
        self.watch = Watch(args, self.train_set)

    def run(self) -> int:
        """Trains to the end, or to the stop that was asked for; returns the exit code.

        Raises:
            DivergedError: the loss, a parameter or a buffer is not finite.
            DataError: a file went bad since the check at the start.
        """
        self.began, self.first_step = time.perf_counter(), self.state.step
        self.earlier_seconds, self.saved = self.state.seconds, self.began
        if not kernels.is_compiled():
            self.folder.log("compiling kernels (first run only) ...")
        try:
            # Overflow is not worth a warning from NumPy: the loss tells, and its message says what to do.
            with cli.Progress(self.total_steps, "train", done=self.state.step) as bar, np.errstate(all="ignore"):
                finished = self._epochs(bar)
        except KeyboardInterrupt:
            self._pause()
            return cli.INTERRUPTED
        except (DataError, MemoryError):
            self._pause()  # bad input never costs the work that is done
            raise
        finally:
            self.folder.close()
        if finished:
            self.folder.log(f"finished after {cli.duration(self.state.seconds)}; {self.best()}")
            self.folder.log(self.folder.next_commands(self.args))
        else:
            self._pause()
        return 0

    def best(self) -> str:
        """The best validation so far, in words; a mean over some of the classes is called so."""
        if self.state.best is None:
            return "best mIoU n/a"
        row = next(row for row in self.state.history if row["val_miou"] == self.state.best)
        present, classes = row["val_classes_present"], self.val_set.num_classes
        some = f" over {present} of {classes} classes" if present < classes else ""
        return f"best mIoU {percent(self.state.best)}{some}"

    def draw_what_is_due(self) -> None:
        """The pictures, where the run was stopped between writing its checkpoints and drawing them."""
        if not self.folder.pictures_due():
            return
        try:
            best = Checkpoint.load(self.folder.best).build_model(self.folder.best).to(self.args.device)
        except CheckpointError as error:
            self.folder.log(f"warning: the pictures of the best epoch cannot be drawn: {error}")
        else:
            predictor = Predictor(best)
            self._draw_best(predictor, self._validate(predictor))
        self._draw_curves()

    def _epochs(self, bar: cli.Progress) -> bool:
        """The training loop; False if it stopped early on request."""
        state = self.state
        self.draw_what_is_due()
        self.model.train()
        for epoch in range(state.epoch, self.total_epochs):
            self.speed.restart()
            batches = self.loader.epoch(epoch, start=state.batch)
            for images, labels in itertools.islice(batches, self.total_steps - state.step):
                with cli.deferred_interrupt():
                    loss, lr = self._step(images, labels)
                self.speed.add(len(images))
                if state.step == self.first_step + 1:
                    self._report_first_step(loss)
                values = f"loss {state.mean_loss():.4f}  lr {lr:.2e}  {self.speed.per_second():.1f} images/s"
                bar.update(f"epoch {epoch + 1}/{self.total_epochs}", values)
                if self._stop_asked():
                    return False
            self._finish_epoch()
        return True

    def _step(self, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
        """One step and its line in the records: images (N, H, W, 3), labels (N, H, W) -> loss and learning rate."""
        args, state = self.args, self.state
        lr = self._lr(state.step)
        self.model.reseed(step_seed(args.seed, state.step))
        void = self.train_set.ignore_index
        try:
            loss = train_step(self.model, self.optimiser, images, labels, lr, self.class_weights, void)
        except DivergedError as error:
            self._diverged(f"in step {state.step + 1} {error}")
        value = loss.item()
        state.add_step(value, loss.weight)
        self.watch.add_batch(loss.weight)
        state.seconds = self._seconds()
        row = {"step": state.step, "epoch": state.epoch + 1, "loss": value, "lr": lr}
        self.folder.add_step(row | {"seconds": round(state.seconds, 3)})
        return value, lr

    def _seconds(self) -> float:
        """Time spent on the run, earlier starts included."""
        return self.earlier_seconds + time.perf_counter() - self.began

    def _lr(self, step: int) -> float:
        """The learning rate of a step, by the policy that was chosen."""
        args = self.args
        if args.lr_every:
            return step_policy(args.lr, step, args.lr_every)
        return poly(args.lr, step, self.total_steps, power=args.power, end_lr=args.end_lr)

    def _finish_epoch(self) -> None:
        """Validates when it is due, and then, or when the last time is long ago, writes checkpoints and reports.

        Weights are written first and pictures after: no picture costs what was learnt.
        """
        state = self.state
        speed = self.speed.per_second()
        self._require_finite()
        number = state.epoch + 1
        due = number % self.args.eval_every == 0 or number == self.total_epochs
        predictor = Predictor(self.model)
        confusion = self._validate(predictor) if due else None

        row = dict.fromkeys(EPOCH_COLUMNS)
        row |= {"epoch": number, "step": state.step, "train_loss": state.mean_loss(), "lr": self._lr(state.step - 1)}
        best, improved = state.best, False
        if confusion:
            score = _finite_or_zero(confusion.mean_iou())
            improved = best is None or score > best
            best = score if improved else best
            row["val_miou"] = score
            row["val_classes_present"] = confusion.classes_present()
            row["val_pixel_accuracy"] = _finite_or_zero(confusion.pixel_accuracy())
            row["val_largest_prediction"] = _finite_or_zero(confusion.largest_prediction()[1])
        state.seconds = self._seconds()
        row |= {"best_miou": best, "images_per_second": round(speed, 2) or None, "seconds": round(state.seconds, 1)}

        with cli.deferred_interrupt():
            state.end_epoch(row, best)
            if not due and time.perf_counter() - self.saved < SAVE_INTERVAL:
                return
            checkpoint = self._checkpoint()
            self.folder.mark_pictures_due()
            if improved:
                checkpoint.save(self.folder.best)
            checkpoint.save(self.folder.last)
            self.folder.write_epochs(state.history)
            self.saved = time.perf_counter()
            line = f"epoch {number}/{self.total_epochs}  loss {row['train_loss']:.4f}"
            self.folder.log(f"{line}  {confusion.summary()}  {self.best()}" if confusion else line)
        if improved:
            self._draw_best(predictor, confusion)
        self._draw_curves()
        for sentence in self.watch.sentences(confusion):
            self.folder.log(f"warning: {sentence}")

    def _validate(self, predictor: Predictor) -> ConfusionMatrix:
        with cli.Progress(len(self.val_set), "validate", leave=False) as bar:
            return predictor.confusion(self.val_set, bar.update)

    def _draw_best(self, predictor: Predictor, confusion: ConfusionMatrix) -> None:
        """per_class.csv, confusion.png and samples/, which always belong to best.npz."""
        val_set, folder = self.val_set, self.folder
        folder.write_per_class(confusion, val_set.class_names)
        self._draw(folder.path / "confusion.png", figures.save_confusion, confusion, val_set.class_names)
        for i in np.linspace(0, len(val_set) - 1, min(SAMPLE_PICTURES, len(val_set))).round().astype(int):
            self._draw(folder.samples / figures.picture_name(val_set.ids[i]), self._draw_sample, predictor, i)

    def _draw_sample(self, path: Path, predictor: Predictor, number: int) -> None:
        image, truth = self.val_set.sample(number)
        figures.save_sample(path, image, truth, predictor.labels(image), self.val_set)

    def _draw_curves(self) -> None:
        """curves.png, the last of the pictures of an epoch."""
        self._draw(self.folder.path / "curves.png", self._draw_curves_to)
        self.folder.pictures_are_drawn()

    def _draw_curves_to(self, path: Path) -> None:
        figures.save_curves(path, self.folder.step_rows(), self.state.history)

    def _draw(self, path: Path, draw: Callable, *arguments) -> None:
        """Draws one picture; one that fails is worth a warning, and no more."""
        try:
            draw(path, *arguments)
        except Exception as error:
            self.folder.log(f"warning: {path} could not be drawn ({type(error).__name__}: {error}); training goes on")

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(
            model=self.model.config,
            state=self.model.state_dict(),
            class_names=list(self.train_set.class_names),
            palette=self.train_set.palette,
            ignore_index=self.train_set.ignore_index,
            optimiser=self.optimiser.state_dict(),
            progress=dataclasses.asdict(self.state),
            args=vars(self.args),
        )

    def _pause(self) -> None:
        """Saves between two steps, and says how to go on."""
        self._require_finite()
        self._checkpoint().save(self.folder.last)
        self.folder.write_epochs(self.state.history)
        command = cli.command_line("train", "--resume", "--out", self.folder.path)
        self.folder.log(f"stopped after step {self.state.step} of {self.total_steps}; to continue:\n  {command}")

    def _stop_asked(self) -> bool:
        if self.state.step == self.total_steps:
            return False  # only the last validation is left
        enough_steps = self.args.stop_after and self.state.step - self.first_step >= self.args.stop_after
        out_of_time = self.args.minutes and time.perf_counter() - self.began >= 60 * self.args.minutes
        return bool(enough_steps or out_of_time)

    def _report_first_step(self, loss: float) -> None:
        which = "first step after resuming" if self.first_step else "first step"
        self.folder.log(f"{which} done after {time.perf_counter() - self.began:.1f} s")
        if self.state.step == 1:
            classes = self.train_set.num_classes
            self.folder.log(f"initial loss {loss:.4f}; a uniform guess gives ln {classes} = {math.log(classes):.4f}")
        self.speed.restart()  # it may have compiled kernels, which is no measure of speed

    def _require_finite(self) -> None:
        """No checkpoint but diverged.npz ever holds a NaN."""
        if name := first_not_finite(self.model.state_dict()):
            self._diverged(f"'{name}' is not finite after step {self.state.step}")

    def _diverged(self, what: str) -> None:
        """Writes diverged.npz and raises DivergedError, which says what to do."""
        self._checkpoint().save(self.folder.diverged)
        kept = f"{self.folder.last} is the last good one" if self.folder.last.exists() else "none was saved before"
        raise DivergedError(
            f"training diverged: {what}. The weights are in {self.folder.diverged}; of the "
            f"checkpoints, {kept}. Train again with a lower rate, such as --lr {min(0.01, self.args.lr / 10):g}"
        )


def step_seed(seed: int, step: int) -> int:
    """Dropout depends on (seed, step) alone, so that a resumed run draws the same masks."""
    return int(np.random.SeedSequence([seed, step]).generate_state(1)[0])


def _finite_or_zero(value: float) -> float:
    """A validation set of void pixels only has no score: it counts as 0, for JSON has no NaN."""
    return value if math.isfinite(value) else 0.0
