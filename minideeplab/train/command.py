"""The training command: data, network and run folder put together, then `Training`."""

import argparse
import contextlib
from collections.abc import Sequence
from functools import partial

from minideeplab import cli, models
from minideeplab.cli.model_options import given_options
from minideeplab.data import Loader, TrainTransform, require_labels
from minideeplab.distributed import Alone, differences, require_same, world
from minideeplab.errors import UsageError
from minideeplab.evaluation import percent
from minideeplab.models.aspp import RATES_AT_16, rates_for_crops
from minideeplab.models.segmenter import SMALLEST_SIDE
from minideeplab.report.machine import processor
from minideeplab.train import class_weights, room
from minideeplab.train.arguments import parse_arguments, require_equal_parts, settle
from minideeplab.train.dry_run import dry_run
from minideeplab.train.equality import data_changes, program_changes
from minideeplab.train.folder_states import Found, require_free, set_aside
from minideeplab.train.loop import Training
from minideeplab.train.rate_search import find_rate
from minideeplab.train.run_folder import RunFolder, fingerprint, versions
from minideeplab.train.schedule import extend
from minideeplab.train.state import TrainState
from minideeplab.train.warnings import start_warnings
from minideeplab.weights import initialise


@cli.main_guard(for_ranks=True)
def main(argv: Sequence[str] | None = None) -> int:
    """Runs the command; returns the exit code."""
    return start(argv)[1]


def start(argv: Sequence[str] | None) -> tuple[object, int]:
    """Does what a command line asks for; of several ranks all call it, with the same command line.

    Returns:
        The path of the run's folder, or what --find-lr or --dry-run found; and the exit code.
    """
    group = world()
    with contextlib.ExitStack() as held:
        ended = _run(argv, held, group)
    group.any(False)  # all wait until the first has let the folder go: a script may go on with it
    return ended


def _run(argv: Sequence[str] | None, held: contextlib.ExitStack, group: Alone) -> tuple[object, int]:
    """As `start`; `held` lets the run folder go in the end."""
    with group.agreed():
        args, found, given = parse_arguments(argv, asks=group.is_first)
    same = {f"--{name.replace('_', '-')}": value for name, value in vars(args).items() if name != "threads"}
    require_same(group, same, "give all of them one command line")
    if found:
        progress = found.checkpoint.progress
        stands = found.path.name, *(progress.get(name) for name in ("step", "epoch", "batch", "best"))
        require_same(group, {f"the checkpoint in {args.out}": stands}, "let all of them see the same files, and resume")
    checkpoint, folder = found and found.checkpoint, None
    with group.agreed():
        if found and group.is_first:
            folder = held.enter_context(RunFolder(args.out).hold())
    threads = cli.use_device(args, group)
    train_set = cli.open_data(args, args.split, group)
    val_set = cli.open_data(args, args.val_split, group)
    with group.agreed():
        notes = [] if found else [settle(args, given, len(train_set), group.size)]
        require_equal_parts(args, group.size)
        model, loader = _build(args, train_set, found, group)
        model.to(args.device)
        if args.checkpoint_activations:
            model.checkpoint_activations()
        if args.init_from and not found:
            notes.append(initialise(model, args.init_from))
        if args.out and not found and group.is_first:
            require_free(args.out)
        palettes = train_set.colours()  # of both splits
        for dataset in (train_set, val_set):  # last, for it reads every file
            with cli.Progress(len(dataset), f"checking '{dataset.split}'", leave=False, computes=False) as bar:
                dataset.check(bar.update, palettes)
            require_labels(dataset)
    notes += _compared(group, train_set, val_set)
    state = TrainState(fingerprint=fingerprint(train_set, val_set))
    notes = [note for note in notes if note]
    if args.find_lr or args.dry_run:
        trial = Training(args, loader, val_set, model, state, None, group)
        print("\n".join([*notes, *_description(trial, threads)]))
        return (find_rate if args.find_lr else dry_run)(trial, given), 0
    extension = ""
    if found:
        changes = partial(data_changes, found.path.parent / "data.json", train_set, val_set)
        state = TrainState.restore(found.path, checkpoint.progress, state.fingerprint, changes)
        extension = extend(args, state, len(loader)) if args.extend else ""
    with group.agreed():
        if group.is_first and not found:
            parts = (args.model, args.backbone, train_set.name)
            folder = held.enter_context(RunFolder.create(args.out, "-".join(part for part in parts if part)))
            folder.write_start(args, threads, group.size, train_set, val_set, state.fingerprint, model)
            folder.rewind(0, [])
    path = group.all(folder and folder.path)[0]
    training = Training(args, loader, val_set, model, state, folder, group)
    if found:
        state.require_within(found.path, training.total_steps, training.total_epochs, len(loader))
        training.take_up(found.path, checkpoint)
    with group.agreed():
        if found and group.is_first:
            _take_up(training, found)
        if extension and group.is_first:
            folder.log(extension)
            folder.write_start(args, threads, group.size, train_set, val_set, state.fingerprint, model)
    if training.is_finished():
        if group.is_first:
            _say_finished(training)
        return path, 0
    if folder:
        for line in [*notes, *_description(training, threads)]:
            folder.log(line)
    return path, training.run()


def _compared(group: Alone, train_set, val_set) -> list[str]:
    """What there is to say of ranks that are not alike.

    Raises:
        UsageError: they have other data, or other versions of what computes.
    """
    data = {f"split '{each.split}'": (each.counts.pixels.tolist(), fingerprint(each)) for each in (train_set, val_set)}
    require_same(group, data, "let all of them read the same files")
    require_same(group, versions(), "install the same versions on all machines")
    return [f"warning: {each}: the last digits may differ" for each in differences(group, {"processor": processor()})]


def _say_finished(training: Training) -> None:
    """Nothing is left to train; what is due is done."""
    folder, state = training.folder, training.state
    training.finish_what_is_due()
    ended = f"training of {state.epoch} epochs is finished, nothing to resume; {training.best()}"
    folder.say(f"{ended}{training.why_early()}; --extend N adds epochs")
    folder.say(folder.next_commands(training.args))


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
    began, now, ranks = found.checkpoint.args, vars(training.args), training.group.size
    if changes := program_changes(folder.path / "args.json", began, now, versions(), ranks):
        folder.log(f"warning: {', '.join(changes)}: the last digits may differ from those of a run in one go")


def _description(training: Training, threads: int) -> list[str]:
    """Lines about data, network and run, and what there is to warn of."""
    args, train_set, val_set = training.args, training.train_set, training.val_set
    lines = [
        f"data   {train_set.name} at {train_set.root}: {cli.counted(len(train_set), 'training image')} "
        f"('{train_set.split}'), {cli.counted(len(val_set), 'validation image')} ('{val_set.split}'), "
        f"{train_set.num_classes} classes"
    ]
    ranks = training.group.size
    warnings = start_warnings(args, training.model, train_set, val_set, training.total_steps, ranks)
    lines += [f"warning: {sentence}" for sentence in warnings]
    parameters = sum(parameter.data.size for parameter in training.model.parameters())
    backbone = f", {args.backbone}" if args.backbone else ""
    stride, place = training.model.output_stride, f", to {training.folder.path}" if training.folder else ""
    rates = ", no atrous rates" if args.atrous_rates == [] else ""
    if args.atrous_rates:
        usual = " ".join(map(str, RATES_AT_16))
        shrunk = args.atrous_rates == rates_for_crops(args.crop_size, stride) != list(RATES_AT_16)
        why = f" ({usual} in proportion to the crops)" if shrunk else ""
        rates = f", atrous rates {' '.join(map(str, args.atrous_rates))}{why}"
    decoder = ", no decoder" if args.decoder is False else ""
    lines.append(f"model  {args.model}{backbone}, output stride {stride}{rates}{decoder}: {parameters:,} parameters")
    steps, epochs = cli.counted(training.total_steps, "step"), cli.counted(training.total_epochs, "epoch")
    size = f"{args.crop_size} x {args.crop_size}" + (f" in {args.accumulate} parts" if args.accumulate > 1 else "")
    norm = "each with its own batch norm" if args.sync_bn == "off" else "batch norm over all"
    shared = f", {norm}" if ranks > 1 else ""
    lines.append(
        f"run    {steps} in {epochs}, batches of {args.batch_size} crops of {size}, "
        f"{cli.threads_text(threads, training.group)}{shared}, {args.precision}, seed {args.seed}{place}"
    )
    if training.class_weights is not None and not training.state.step:
        lines.append(class_weights.table(training.class_weights, train_set))
    if training.state.step:
        lines.append(f"resume after step {training.state.step}; {training.best()}")
    return lines


def _build(args: argparse.Namespace, train_set, found: Found | None, group: Alone):
    """The network, of a resumed run as it began, and the loader of this rank's part of its batches."""
    if args.crop_size < SMALLEST_SIDE:
        raise UsageError(f"--crop-size {args.crop_size}: the network needs at least {SMALLEST_SIDE} pixels")
    class_weights.check(args.class_weights, train_set.class_names)
    memory = room.memory_here()
    try:
        options = given_options(args) | {"num_classes": train_set.num_classes}
        if args.model in models.CLASSIFIERS:
            options["dense"] = True  # a classifier of every position
        if found:
            model = found.checkpoint.build_model(found.path)
        else:
            with room.network_within(memory):
                model = models.build(args.model, args.seed, **options)
        room.require_room(model, args, memory, group.local_size / group.size)
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
    ranks = {"rank": group.rank, "ranks": group.size, "parts": args.accumulate}
    return model, Loader(train_set, transform, args.batch_size, args.seed, **ranks)
