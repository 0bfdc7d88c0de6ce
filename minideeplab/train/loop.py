"""The training loop: steps, validation, checkpoints, and the records that a run keeps."""

import contextlib
import copy
import dataclasses
import math
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import kernels
from minideeplab import cli, figures
from minideeplab.data import Loader
from minideeplab.distributed import ALONE, Alone, ElsewhereError, Replica
from minideeplab.errors import CheckpointError, DataError, DivergedError
from minideeplab.evaluation import ConfusionMatrix, Predictor, percent
from minideeplab.evaluation.epochs import best_row, over_some
from minideeplab.nn import SGD, WeightAverage, freeze_batch_norm
from minideeplab.report import Report, Seen, fixed_samples
from minideeplab.train import class_weights
from minideeplab.train.run_folder import EPOCH_COLUMNS, RunFolder
from minideeplab.train.schedule import Schedule, is_finished
from minideeplab.train.state import TrainState
from minideeplab.train.step import first_not_finite, train_step
from minideeplab.train.warnings import Watch
from minideeplab.weights import Checkpoint
from minideeplab.weights.checkpoint import fit_state

SAVE_INTERVAL = 30.0  # seconds between checkpoints of epochs without validation, which may be as short as a step


class Training:
    """The records of one run: which step is next, what was reached, what is on disk. `train_step` does the work.

    Of several ranks each has a `Training`, with the same weights, the same `TrainState` and its part of every batch.
    The first one has the folder, and writes. What ends one rank, a signal or a fault, is agreed on between two steps,
    so that the first one can save.

    Args:
        folder: of the run, held by this process; None on other ranks, and for trials, which keep nothing.
        group: of the ranks that train together.
    """

    def __init__(
        self, args, loader: Loader, val_set, model, state: TrainState, folder: RunFolder | None, group: Alone = ALONE
    ):
        self.args, self.loader, self.val_set, self.group = args, loader, val_set, group
        self.train_set = loader.dataset
        self.model, self.state, self.folder = model, state, folder
        heads = [name for name, _ in model.named_parameters() if not name.startswith("backbone.")]
        factors = dict.fromkeys(heads, args.head_lr_factor)
        self.optimiser = SGD(model, args.lr, args.momentum, args.weight_decay, factors)
        self.class_weights = class_weights.weights_of(args.class_weights, self.train_set)
        self.schedule = Schedule.of(args, len(loader))
        self.total_steps, self.total_epochs = self.schedule.steps, self.schedule.epochs
        if args.freeze_bn:
            freeze_batch_norm(model, affine=args.freeze_bn == "all")
        self.replica = Replica(model, group, args.sync_bn != "off") if group.size > 1 else None
        self.average = WeightAverage(model, args.ema) if args.ema else None
        self.judged = self.average.model if self.average else model  # what is validated, and is best.npz
        self.speed = cli.Speed()
        self.report = Report(folder.path, self.train_set, val_set, args.device) if folder else Seen(len(val_set))
        self.watch = Watch(args, self.train_set)

    def take_up(self, path: Path, checkpoint: Checkpoint) -> None:
        """Goes on with the optimiser's slots, and with --ema the weights in training, of a checkpoint.

        Raises:
            CheckpointError: they do not fit; `path` is the file.
        """
        if self.average:
            fit_state(path, self.model, checkpoint.trained)
        try:
            self.optimiser.load_state_dict(checkpoint.optimiser)
        except (ValueError, KeyError) as error:
            raise CheckpointError(f"{path}: its optimiser slots do not fit: {error}") from error

    def run(self) -> int:
        """Trains to the end, or to the stop that was asked for; returns the exit code.

        Raises:
            DivergedError: the loss, a parameter or a buffer is not finite.
            DataError: a file went bad since the check at the start.
        """
        self.began, self.first_step = time.perf_counter(), self.state.step
        self.earlier_seconds, self.saved = self.state.seconds, self.began
        if not kernels.is_compiled():
            self._log("compiling kernels (first run only) ...")
        if self.group.size == 1:
            return self._run()
        with cli.deferred_interrupt():  # a rank hears a signal where all agree on what comes next
            return self._run()

    def _run(self) -> int:
        try:
            # Overflow is not worth a warning from NumPy: the loss tells, and its message says what to do.
            with cli.Progress(self.total_steps, "train", done=self.state.step) as bar, np.errstate(all="ignore"):
                finished = self._epochs(bar)
        except KeyboardInterrupt as stop:
            cli.stop_is_told()
            self._pause()
            return cli.exit_code(stop)
        except (DataError, MemoryError, OSError, ElsewhereError):
            self._pause_after_a_fault()  # which never costs the work that is done
            raise
        if not finished:
            self._pause()
        elif self.folder:
            self.folder.drop_previous()
            self.folder.log(f"finished after {cli.duration(self.state.seconds)}; {self.best()}{self.why_early()}")
            self.folder.log(self.folder.next_commands(self.args))
        return 0

    def best(self) -> str:
        """The best validation so far, in words; a mean over some of the classes is called so."""
        if self.state.best is None:
            return "best mIoU n/a"
        some = over_some(best_row(self.state.history), self.val_set.num_classes)
        return f"best mIoU {percent(self.state.best)}{some}"

    def why_early(self) -> str:
        """A clause about the end of a run before its last epoch; empty for one that did them all."""
        if self.state.epoch == self.total_epochs or not self.state.is_out_of_patience(self.args.patience):
            return ""
        return (
            f"; ended by --patience {self.args.patience} after {self.state.epoch} of {self.total_epochs} epochs, the "
            "validations since the best were no better"
        )

    def is_finished(self) -> bool:
        """Whether the run has done its epochs, or was ended by its patience."""
        return is_finished(self.args, self.state, len(self.loader))

    def finish_what_is_due(self) -> None:
        """What a finished run still lacks, where it was stopped in its last moments or its last.npz was damaged."""
        if not self.folder.last.exists():
            self.folder.save_last(self._checkpoint())
        self.folder.drop_previous()
        self.draw_what_is_due()

    def draw_what_is_due(self) -> None:
        """The pictures, where the run was stopped between writing its checkpoints and drawing them.

        The first rank does that alone.
        """
        if not self.folder or not self.folder.pictures_due():
            return
        try:
            checkpoint = Checkpoint.load(self.folder.best)
            best = checkpoint.build_model(self.folder.best).to(self.args.device)
        except CheckpointError as error:
            self.folder.log(f"warning: the pictures of the best epoch cannot be drawn: {error}")
        else:
            # Where last.npz did not fit on the disk, best.npz is of an epoch that is done again, with its pictures.
            if self.state.best is not None and checkpoint.progress.get("best") == self.state.best:
                predictor = Predictor(best)
                confusion = self._validate(predictor, ALONE)
                self._draw_best(predictor, confusion)
                self._add_to_report(best_row(self.state.history)["epoch"], confusion, True)
        self._add_last_epoch_to_report()
        self._draw_curves()

    def _add_last_epoch_to_report(self) -> None:
        """What the report keeps of an epoch that ended with no better validation, and was stopped right after it."""
        rows = self.state.history
        if self.state.batch == 0 and rows and rows[-1]["val_miou"] is not None and rows[-1] is not best_row(rows):
            self._add_to_report(rows[-1]["epoch"], self._validate(Predictor(self.judged), ALONE), False)

    def _epochs(self, bar: cli.Progress) -> bool:
        """The training loop; False if it stopped early on request."""
        state = self.state
        with self.group.agreed():
            self.draw_what_is_due()
        self.model.train()
        for epoch in range(state.epoch, self.total_epochs):
            self.speed.restart()
            batches = self.loader.epoch(epoch, start=state.batch)
            for _ in range(min(len(self.loader) - state.batch, self.total_steps - state.step)):
                with self.group.agreed():
                    images, labels = next(batches)
                with cli.deferred_interrupt():
                    loss, lr = self._step(images, labels)
                with self.group.agreed():
                    self.speed.add(len(images) * self.group.size)
                    if state.step == self.first_step + 1:
                        self._report_first_step(loss)
                    values = f"loss {state.mean_loss():.4f}  lr {lr:.2e}  {self.speed.per_second():.1f} images/s"
                    bar.update(f"epoch {epoch + 1}/{self.total_epochs}", values)
                if self._stop_asked():
                    return False
            self._finish_epoch()
            if state.is_out_of_patience(self.args.patience):
                break
        if self.group.size > 1:
            with self.group.agreed():
                cli.check_interrupt()
        return True

    def _step(self, images: np.ndarray, labels: np.ndarray) -> tuple[float, float]:
        """One step and its line in the records: images (N, H, W, 3), labels (N, H, W) -> loss and learning rate.

        N of several ranks is the part of this one, the loss that of all.
        """
        args, state = self.args, self.state
        lr, share = self.schedule.rate(state.step), self.schedule.share(state.step)
        self.model.reseed(step_seed(args.seed, state.step))
        void = self.train_set.ignore_index
        try:
            loss = train_step(
                self.model, self.optimiser, images, labels, lr, self.class_weights, void, args.accumulate, share,
                self.replica,
            )  # fmt: skip
        except DivergedError as error:
            with self.group.agreed():
                self._diverged(f"in step {state.step + 1} {error}")
        if self.average:
            self.average.update(state.step)
        value = loss.item()
        state.add_step(value, loss.weight)
        self.watch.add_batch(loss.weight)
        state.seconds = self._seconds()
        row = {"step": state.step, "epoch": state.epoch + 1, "loss": value, "lr": lr}
        if self.folder:
            self.folder.add_step(row | {"seconds": round(state.seconds, 3)})
        return value, lr

    def _seconds(self) -> float:
        """Time spent on the run, earlier starts included."""
        return self.earlier_seconds + time.perf_counter() - self.began

    def _finish_epoch(self) -> None:
        """Validates when it is due, and then, or when the last time is long ago, writes checkpoints and reports.

        Weights are written first and pictures after: no picture costs what was learnt.
        """
        state = self.state
        speed = self.speed.per_second()
        with self.group.agreed():
            self._require_finite()
        if self.replica:
            self.replica.require_equal()
        number = state.epoch + 1
        due = number % self.args.eval_every == 0 or number == self.total_epochs
        predictor = Predictor(self.judged)
        confusion = self._validate(predictor, self.group) if due else None

        row = dict.fromkeys(EPOCH_COLUMNS)
        row |= {
            "epoch": number,
            "step": state.step,
            "train_loss": state.mean_loss(),
            "lr": self.schedule.rate(state.step - 1),
        }
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
        with self.group.agreed():
            if self.folder:
                self._keep_epoch(row, best, improved, predictor, confusion)
            else:
                state.end_epoch(row, best)

    def _keep_epoch(self, row: dict, best: float | None, improved: bool, predictor: Predictor, confusion) -> None:
        """Ends the epoch, and keeps what it gave, a row of EPOCH_COLUMNS; `confusion` is None without validation."""
        state, number = self.state, row["epoch"]
        with cli.deferred_interrupt():
            before = copy.deepcopy(state)
            state.end_epoch(row, best)
            if not confusion and time.perf_counter() - self.saved < SAVE_INTERVAL:
                return
            checkpoint = self._checkpoint()
            self.folder.mark_pictures_due()
            try:
                if improved:
                    checkpoint.save(self.folder.best)
                self.folder.save_last(checkpoint)
            except OSError:
                self.state = before  # the epoch has not ended: whoever resumes validates again
                raise
            self.folder.write_epochs(state.history)
            self.saved = time.perf_counter()
            line = f"epoch {number}/{self.total_epochs}  loss {row['train_loss']:.4f}"
            self.folder.log(f"{line}  {confusion.summary()}  {self.best()}" if confusion else line)
        if improved:
            self._draw_best(predictor, confusion)
        if confusion:
            self._add_to_report(number, confusion, improved)
        self._draw_curves()
        for sentence in self.watch.sentences(confusion):
            self.folder.log(f"warning: {sentence}")

    def _validate(self, predictor: Predictor, group: Alone) -> ConfusionMatrix:
        """The confusion matrix of the validation set, whose images the ranks of the group share."""
        self.report.begin()
        images = len(group.share(range(len(self.val_set))))
        with cli.Progress(images, cli.on_ranks("validate", group), leave=False) as bar:
            confusion = predictor.confusion(self.val_set, bar.update, self.report.see, group)
        self.report.gather(group)
        return confusion

    def _draw_best(self, predictor: Predictor, confusion: ConfusionMatrix) -> None:
        """per_class.csv, confusion.png and samples/, which always belong to best.npz."""
        val_set, folder = self.val_set, self.folder
        folder.write_per_class(confusion, val_set.class_names)
        self._draw(folder.path / "confusion.png", figures.save_confusion, confusion, val_set.class_names)
        for i in fixed_samples(len(val_set)):
            self._draw(folder.samples / figures.picture_name(val_set.ids[i]), self._draw_sample, predictor, i)

    def _draw_sample(self, path: Path, predictor: Predictor, number: int) -> None:
        image, truth = self.val_set.sample(number)
        labels = predictor.labels(image)
        title = f"{self.val_set.ids[number]}: {figures.image_score(truth, labels, self.val_set)}"
        figures.save_sample(path, image, truth, labels, self.val_set, title)

    def _add_to_report(self, epoch: int, confusion: ConfusionMatrix, improved: bool) -> None:
        self._draw(self.report.kept, lambda path: self.report.add(epoch, confusion, improved))

    def _draw_curves(self) -> None:
        """curves.png and report.html, the last of the pictures of an epoch."""
        self._draw(self.folder.path / "curves.png", self._draw_curves_to)
        self._draw(self.folder.path / "report.html", self._write_report_to)
        self.folder.pictures_are_drawn()

    def _draw_curves_to(self, path: Path) -> None:
        figures.save_curves(path, self.folder.step_rows(), self.state.history, self.val_set.num_classes)

    def _write_report_to(self, path: Path) -> None:
        totals = (self.total_epochs, self.total_steps)
        self.report.write(path, self.state.history, self.folder.step_rows(), totals)

    def _log(self, text: str) -> None:
        """A line in the log, on the first rank."""
        if self.folder:
            self.folder.log(text)

    def _draw(self, path: Path, draw: Callable, *arguments) -> None:
        """Draws one picture; one that fails is worth a warning, and no more."""
        try:
            draw(path, *arguments)
        except Exception as error:
            self.folder.log(f"warning: {path} could not be drawn ({type(error).__name__}: {error}); training goes on")

    def _checkpoint(self) -> Checkpoint:
        return Checkpoint(
            model=self.model.config,
            state=self.judged.state_dict(),
            class_names=list(self.train_set.class_names),
            palette=self.train_set.palette,
            ignore_index=self.train_set.ignore_index,
            optimiser=self.optimiser.state_dict(),
            progress=dataclasses.asdict(self.state),
            args=vars(self.args),
            trained=self.model.state_dict() if self.average else {},
        )

    def _pause(self) -> None:
        """Saves between two steps, and says how to go on; on the first rank."""
        if not self.folder:
            return
        with cli.deferred_interrupt():
            self._require_finite()
            self.folder.save_last(self._checkpoint())
            self.folder.write_epochs(self.state.history)
        command = cli.command_line("train", "--resume", "--out", self.folder.path, ranks=self.group.size)
        self.folder.log(f"stopped after step {self.state.step} of {self.total_steps}; to continue:\n  {command}")
        if self.folder.best.exists():
            self.folder.log(f"so far {self.best()}; {self.folder.next_commands(self.args)}")

    def _pause_after_a_fault(self) -> None:
        """Saves if that can be done; the fault itself is told by whoever raised it."""
        try:
            self._pause()
        except OSError as error:
            text = f"warning: step {self.state.step} cannot be saved: {error.filename}: {error.strerror}"
            kept = [path for path in (self.folder.last, self.folder.best) if path.exists()]
            if kept:
                text += f"; {kept[0]} is the last good one, --resume goes on from there"
            self.folder.log(text)

    def _stop_asked(self) -> bool:
        if self.state.step == self.total_steps:
            return False  # only the last validation is left
        enough_steps = self.args.stop_after and self.state.step - self.first_step >= self.args.stop_after
        minutes = (time.perf_counter() - self.began) / 60
        out_of_time = self.args.minutes and self.group.any(minutes >= self.args.minutes)  # clocks of ranks differ
        return bool(enough_steps or out_of_time)

    def _report_first_step(self, loss: float) -> None:
        which = "first step after resuming" if self.first_step else "first step"
        self._log(f"{which} done after {time.perf_counter() - self.began:.1f} s")
        if self.state.step == 1:
            classes = self.train_set.num_classes
            over = " over the hardest pixels" if self.schedule.share(0) < 1 else ""
            self._log(f"initial loss {loss:.4f}{over}; a uniform guess gives ln {classes} = {math.log(classes):.4f}")
        self.speed.restart()  # it may have compiled kernels, which is no measure of speed

    def _require_finite(self) -> None:
        """No checkpoint but diverged.npz ever holds a NaN."""
        if name := first_not_finite(self.model.state_dict()) or first_not_finite(self.judged.state_dict()):
            self._diverged(f"'{name}' is not finite after step {self.state.step}")

    def _diverged(self, what: str) -> None:
        """Writes diverged.npz and raises DivergedError, which says what to do."""
        if not self.folder:
            raise ElsewhereError(f"training diverged: {what}")  # the first rank says more
        with contextlib.suppress(OSError):
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
