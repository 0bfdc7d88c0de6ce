"""The training command: data, network and run folder put together, then `Training`."""

import argparse
import contextlib
import math
from collections.abc import Sequence
from functools import partial

from minideeplab import cli, models
from minideeplab.cli.model_options import given_options
from minideeplab.data import Loader, TrainTransform, label_warnings, require_labels
from minideeplab.errors import UsageError
from minideeplab.evaluation import percent
from minideeplab.models.segmenter import SMALLEST_SIDE
from minideeplab.train import class_weights
from minideeplab.train.arguments import parse_arguments
from minideeplab.train.equality import data_changes, program_changes, write_data
from minideeplab.train.folder_states import Found, require_free, set_aside
from minideeplab.train.loop import Training
from minideeplab.train.run_folder import RunFolder, fingerprint, versions
from minideeplab.train.schedule import extend
from minideeplab.train.state import TrainState
from minideeplab.weights import initialise


@cli.main_guard
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    with contextlib.ExitStack() as held:
        return _run(argv, held)


def _run(argv: Sequence[str] | None, held: contextlib.ExitStack) -> int:
    """Runs the command; `held` lets the run folder go in the end."""
    args, found = parse_arguments(argv)
    checkpoint = found and found.checkpoint
    folder = held.enter_context(RunFolder(args.out).hold()) if found else None
    threads = cli.use_device(args)
    train_set = cli.open_data(args, args.split)
    val_set = cli.open_data(args, args.val_split)
    model, loader = _build(args, train_set, found)
    model.to(args.device)
    if args.checkpoint_activations:
        model.checkpoint_activations()
    note = initialise(model, args.init_from) if args.init_from and not checkpoint else ""
    if args.out and not checkpoint:
        require_free(args.out)
    palettes = train_set.colours()  # of both splits
    for dataset in (train_set, val_set):  # last, for it reads every file
        with cli.Progress(len(dataset), f"checking '{dataset.split}'", leave=False) as bar:
            dataset.check(bar.update, palettes)
        require_labels(dataset)
    state = TrainState(fingerprint=fingerprint(train_set, val_set))
    extension = ""
    if found:
        changes = partial(data_changes, folder.path / "data.json", train_set, val_set)
        state = TrainState.restore(found.path, checkpoint.progress, state.fingerprint, changes)
        extension = extend(args, state, len(loader)) if args.extend else ""
    else:
        parts = (args.model, args.backbone, train_set.name)
        folder = held.enter_context(RunFolder.create(args.out, "-".join(part for part in parts if part)))
        folder.write_args(vars(args), threads, train_set, state.fingerprint, model)
        write_data(folder.path / "data.json", train_set, val_set)
        folder.rewind(0, [])
        if note:
            folder.log(note)
    training = Training(args, loader, val_set, model, state, folder)
    if found:
        state.require_within(found.path, training.total_steps, training.total_epochs, len(loader))
        training.take_up(found.path, checkpoint)
        _take_up(training, found)
    if extension:
        folder.log(extension)
        folder.write_args(vars(args), threads, train_set, state.fingerprint, model)
    if training.is_finished():
        training.finish_what_is_due()
        ended = f"training of {state.epoch} epochs is finished, nothing to resume; {training.best()}"
        folder.say(f"{ended}{training.why_early()}; --extend N adds epochs")
        folder.say(folder.next_commands(args))
        return 0
    _describe(training, threads)
    return training.run()


def _take_up(training: Training, found: Found) -> None:
    """Brings the folder of a resumed run to where its checkpoint stands, and says what may change its numbers."""
    folder, state = training.folder, training.state
    if training.is_finished() and found.path == folder.last and not folder.pictures_due():
        return  # nothing was left undone
    set_aside(list(found.damaged))
    folder.rewind(state.step, state.history)
    for sentence in found.notes():
        folder.log(sentence)
    if state.best is not None and not folder.best.exists():
        folder.log(
            f"warning: there is no {folder.best}; it comes back with the first validation above {percent(state.best)}"
        )
    began, now = found.checkpoint.args, vars(training.args)
    if changes := program_changes(folder.path / "args.json", began, now, versions()):
        folder.log(f"warning: {', '.join(changes)}: the last digits may differ from those of a run in one go")


def _describe(training: Training, threads: int) -> None:
    args, log, train_set, val_set = training.args, training.folder.log, training.train_set, training.val_set
    log(
        f"data   {train_set.name} at {train_set.root}: {cli.counted(len(train_set), 'training image')} "
        f"('{train_set.split}'), {cli.counted(len(val_set), 'validation image')} ('{val_set.split}'), "
        f"{train_set.num_classes} classes"
    )
    for sentence in label_warnings(train_set):
        log(f"warning: {sentence}")
    if (shared := len(set(train_set.ids) & set(val_set.ids))) > 0:
        both = f"{cli.counted(shared, 'image')} {'is' if shared == 1 else 'are'} in both splits"
        log(f"warning: {both}, the validation numbers will be too good")
    has_rates = "atrous_rates" in models.options_of(args.model)
    if untrained := _rates_beyond_crops(training.model, args.crop_size):
        log(
            f"warning: crops of {args.crop_size} are too small for the atrous rates {untrained}: their outer taps see "
            f"only padding and learn nothing. Choose larger crops{' or smaller --atrous-rates' if has_rates else ''}"
        )
    parameters = sum(parameter.data.size for parameter in training.model.parameters())
    backbone = f", {args.backbone}" if args.backbone else ""
    log(f"model  {args.model}{backbone}, output stride {training.model.output_stride}: {parameters:,} parameters")
    steps, epochs = cli.counted(training.total_steps, "step"), cli.counted(training.total_epochs, "epoch")
    size = f"{args.crop_size} x {args.crop_size}" + (f" in {args.accumulate} parts" if args.accumulate > 1 else "")
    log(
        f"run    {steps} in {epochs}, batches of {args.batch_size} crops of {size}, "
        f"{cli.counted(threads, 'thread')}, seed {args.seed}, to {training.folder.path}"
    )
    if args.warmup > training.total_steps:
        log(
            f"warning: --warmup {args.warmup} is longer than the run of {training.total_steps} steps: it ends before "
            f"the learning rate reaches {args.lr:g}"
        )
    if args.freeze_bn and not args.init_from:
        log(
            "warning: --freeze-bn without --init-from keeps the statistics of a network that has seen no image: "
            "nothing is normalised"
        )
    if training.class_weights is not None and not training.state.step:
        log(class_weights.table(training.class_weights, train_set))
    if training.state.step:
        log(f"resume after step {training.state.step}; {training.best()}")


def _rates_beyond_crops(model, crop_size: int) -> list[int]:
    """Rates of the ASPP that reach beyond the feature map of a crop."""
    return [
        rate for rate in sorted(set(getattr(model, "rates", ()))) if rate >= math.ceil(crop_size / model.output_stride)
    ]


def _build(args: argparse.Namespace, train_set, found: Found | None):
    """The network, of a resumed run as it began, and the loader of its batches."""
    if args.crop_size < SMALLEST_SIDE:
        raise UsageError(f"--crop-size {args.crop_size}: the network needs at least {SMALLEST_SIDE} pixels")
    class_weights.check(args.class_weights, train_set.class_names)
    try:
        options = given_options(args) | {"num_classes": train_set.num_classes}
        if args.model in models.CLASSIFIERS:
            options["dense"] = True  # a classifier of every position
        if found:
            model = found.checkpoint.build_model(found.path)
        else:
            model = models.build(args.model, args.seed, **options)
        transform = TrainTransform(
            args.crop_size,
            tuple(args.scale_range),
            mirror=args.mirror,
            blur=args.blur,
            jitter=args.jitter,
            ignore_index=train_set.ignore_index,
        )
    except (ValueError, TypeError) as error:
        raise UsageError(str(error)) from error
    if args.head_lr_factor != 1 and not hasattr(model, "backbone"):
        raise UsageError(
            f"--head-lr-factor {args.head_lr_factor:g}: {args.model} has no backbone that learns more slowly"
        )
    return model, Loader(train_set, transform, args.batch_size, seed=args.seed)
