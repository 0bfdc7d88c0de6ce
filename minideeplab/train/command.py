"""The training command: data, network and run folder put together, then `Training`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from minideeplab import cli, models
from minideeplab.cli.model_options import given_options
from minideeplab.data import Loader, TrainTransform, require_labels
from minideeplab.errors import CheckpointError, UsageError
from minideeplab.models.segmenter import SMALLEST_SIDE
from minideeplab.train.arguments import parse_arguments, run_config, settle
from minideeplab.train.dry_run import dry_run
from minideeplab.train.loop import Training
from minideeplab.train.rate_search import find_rate
from minideeplab.train.run_folder import RunFolder, fingerprint
from minideeplab.train.state import TrainState
from minideeplab.train.warnings import start_warnings
from minideeplab.weights import Checkpoint, initialise


@cli.main_guard
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    return start(argv)[1]


def start(argv: Sequence[str] | None) -> tuple[object, int]:
    """Does what a command line asks for.

    Returns:
        The folder of the run, or what --find-lr or --dry-run found; and the exit code.
    """
    args, checkpoint, given = parse_arguments(argv)
    threads = cli.use_device(args)
    train_set = cli.open_data(args, args.split)
    val_set = cli.open_data(args, args.val_split)
    notes = [] if checkpoint else [settle(args, given, len(train_set))]
    model, loader = _build(args, train_set, checkpoint)
    model.to(args.device)
    if args.checkpoint_activations:
        model.checkpoint_activations()
    if args.init_from and not checkpoint:
        notes.append(initialise(model, args.init_from))
    if args.out and not checkpoint:
        RunFolder.require_free(Path(args.out))
    for dataset in (train_set, val_set):  # last, for it reads every file
        with cli.Progress(len(dataset), f"checking '{dataset.split}'", leave=False, computes=False) as bar:
            dataset.check(bar.update)
        require_labels(dataset)
    state = TrainState(fingerprint=fingerprint(train_set, val_set))
    notes = [note for note in notes if note]
    if args.find_lr or args.dry_run:
        trial = Training(args, loader, val_set, model, state, folder=None)
        print("\n".join([*notes, *_description(trial, threads)]))
        return (find_rate if args.find_lr else dry_run)(trial, given), 0
    if checkpoint:
        folder = RunFolder(args.out)
        state = TrainState.restore(folder.last, checkpoint.progress, state.fingerprint)
        folder.rewind(state.step, state.history)
    else:
        parts = (args.model, args.backbone, train_set.name)
        folder = RunFolder.create(args.out, "-".join(part for part in parts if part))
        folder.write_args(vars(args), threads, train_set, state.fingerprint, model)
        folder.write_config(run_config(args))
        folder.rewind(0, [])
    training = Training(args, loader, val_set, model, state, folder)
    if checkpoint:
        try:
            training.optimiser.load_state_dict(checkpoint.optimiser)
        except (ValueError, KeyError) as error:
            raise CheckpointError(f"{folder.last}: its optimiser slots do not fit: {error}") from error
    if state.epoch == training.total_epochs:
        training.draw_what_is_due()
        folder.log(f"training of {state.epoch} epochs is finished, nothing to resume; {training.best()}")
        folder.log(folder.next_commands(args))
        return folder, 0
    for line in [*notes, *_description(training, threads)]:
        folder.log(line)
    return folder, training.run()


def _description(training: Training, threads: int) -> list[str]:
    """Lines about data, network and run, and what there is to warn of."""
    args, train_set, val_set = training.args, training.train_set, training.val_set
    lines = [
        f"data   {train_set.name} at {train_set.root}: {len(train_set)} training images "
        f"('{train_set.split}'), {len(val_set)} validation images ('{val_set.split}'), {train_set.num_classes} classes"
    ]
    lines += [f"warning: {sentence}" for sentence in start_warnings(args, training.model, train_set, val_set)]
    parameters = sum(parameter.data.size for parameter in training.model.parameters())
    backbone = f", {args.backbone}" if args.backbone else ""
    stride, place = training.model.output_stride, f", to {training.folder.path}" if training.folder else ""
    lines.append(f"model  {args.model}{backbone}, output stride {stride}: {parameters:,} parameters")
    lines.append(
        f"run    {training.total_steps} steps in {training.total_epochs} epochs, batches of {args.batch_size} "
        f"crops of {args.crop_size} x {args.crop_size}, {threads} threads, seed {args.seed}{place}"
    )
    if training.state.step:
        lines.append(f"resume after step {training.state.step}; {training.best()}")
    return lines


def _build(args: argparse.Namespace, train_set, checkpoint: Checkpoint | None):
    """The network, of a resumed run as it began, and the loader of its batches."""
    if args.crop_size < SMALLEST_SIDE:
        raise UsageError(f"--crop-size {args.crop_size}: the network needs at least {SMALLEST_SIDE} pixels")
    try:
        options = given_options(args) | {"num_classes": train_set.num_classes}
        if args.model in models.CLASSIFIERS:
            options["dense"] = True  # a classifier of every position
        if checkpoint:
            model = checkpoint.build_model(RunFolder(args.out).last)
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
    return model, Loader(train_set, transform, args.batch_size, seed=args.seed)
