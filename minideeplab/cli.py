"""What all commands share: help format, argument types, threads, exit codes, handling of Ctrl-C."""

import argparse
import contextlib
import functools
import math
import os
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import kernels
from minideeplab.crf import PRESETS, preset_of
from minideeplab.errors import MiniDeepLabError, UsageError

INTERRUPTED = 130


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows each default, except where it is None: there the help text says what happens."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


class _Parser(argparse.ArgumentParser):
    """Ends with one line that says what is wrong, not with the whole usage before it."""

    def error(self, message: str):
        self.exit(UsageError.exit_code, f"error: {message}; {self.prog} --help lists the options\n")


def command_parser(command: str, description: str, example: str) -> argparse.ArgumentParser:
    """A parser for `python -m minideeplab.COMMAND`, with a worked example below the list of options."""
    return _Parser(
        prog=f"python -m minideeplab.{command}",
        description=description,
        epilog=f"example:\n{example}",
        formatter_class=_HelpFormatter,
        allow_abbrev=False,
    )


def add_data_arguments(parser: argparse.ArgumentParser, default: str | None) -> None:
    """--data, --dataset and --limit; `default` is that of --data, None makes it required."""
    parser.add_argument(
        "--data", default=default, required=default is None, help="folder of the data set, or 'synthetic'"
    )
    parser.add_argument(
        "--dataset",
        choices=["auto", "voc", "camvid"],
        default="auto",
        help="its classes: those of class_names.txt, if there is one, or of VOC or CamVid",
    )
    parser.add_argument("--limit", type=positive_int, help="use only the first LIMIT images of each split")


def add_crf_argument(parser: argparse.ArgumentParser, default: str | None = None) -> None:
    """--crf."""
    parser.add_argument(
        "--crf", type=crf_settings, metavar="PRESET", default=default,
        help=f"refine the labels by a dense CRF: {', '.join(PRESETS)}; with other settings: deeplab-v2,sxy=50,srgb=5",
    )  # fmt: skip


def crf_settings(text: str) -> str:
    """An argument type: the text, if it names a preset and its settings."""
    try:
        preset_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error
    return text


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """--device, --precision and --threads."""
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu", help="where to compute: cuda is a GPU")
    parser.add_argument(
        "--precision", choices=["float32", "tf32"], default="float32",
        help="of convolutions on a GPU: tf32 rounds their inputs to 10 bits of mantissa and is several times as fast",
    )  # fmt: skip
    parser.add_argument("--threads", type=positive_int, help="number of CPU threads (all cores if not given)")


def command_line(command: str, *arguments: object) -> str:
    """A command of minideeplab as text that the user's shell runs, with the Python that runs now."""
    return shlex.join([sys.executable, "-m", f"minideeplab.{command}", *map(str, arguments)])


def announce_compilation() -> None:
    """Says why the first image takes so long, where nothing lies compiled yet."""
    if not kernels.is_compiled():
        print("compiling kernels (first run only) ...", file=sys.stderr)


def use_device(args: argparse.Namespace) -> int:
    """Checks that --device can be used, sets --precision and the number of --threads; returns the number in use.

    Raises:
        UsageError: a device or a precision that cannot be used here, more threads than there are.
    """
    try:
        kernels.load(args.device)
    except (ImportError, RuntimeError) as error:
        raise UsageError(f"--device {args.device}: {error}") from error
    if args.device == "cuda":
        try:
            kernels.load("cuda").set_precision(args.precision)
        except RuntimeError as error:
            raise UsageError(f"--precision {args.precision}: {error}") from error
    elif args.precision != "float32":
        raise UsageError(f"--precision {args.precision} needs tensor cores: add --device cuda")
    return set_threads(args)


def set_threads(args: argparse.Namespace) -> int:
    """Sets the number of --threads; returns the number in use."""
    if args.threads is not None:
        try:
            kernels.set_num_threads(args.threads)
        except ValueError as error:
            raise UsageError(f"--threads {args.threads}: {error}") from error
    return kernels.num_threads()


def _number(convert: Callable[[str], float], accepts: Callable[[float], bool], expected: str):
    """An argument type: `convert(text)`, if it is a number that is accepted."""

    def parse(text: str):
        try:
            value = convert(text)
        except ValueError:
            value = None
        if value is None or not accepts(value):
            raise argparse.ArgumentTypeError(f"{text}: expected {expected}")
        return value

    return parse


positive_int = _number(int, lambda value: value >= 1, "a whole number, 1 or more")
non_negative_int = _number(int, lambda value: value >= 0, "a whole number, 0 or more")
positive_float = _number(float, lambda value: 0 < value < math.inf, "a number above 0")
non_negative_float = _number(float, lambda value: 0 <= value < math.inf, "a number, 0 or more")
fraction = _number(float, lambda value: 0 <= value <= 1, "a number from 0 to 1")
open_fraction = _number(float, lambda value: 0 < value < 1, "a number between 0 and 1")
fraction_below_one = _number(float, lambda value: 0 <= value < 1, "a number, 0 or more and below 1")


def create_folder(option: str, path: str | Path) -> Path:
    """Makes a folder for results, before any work is done.

    Raises:
        UsageError: it cannot be made or written.
    """
    path = Path(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"{option} {path}: no folder can be made there ({error.strerror}); give another") from error
    if not os.access(path, os.W_OK):
        raise UsageError(f"{option} {path}: this folder is not writable; give another")
    return path


def output_file(option: str, path: str | Path, suffix: str) -> Path:
    """The path of a file to be written, whose folder exists from now on.

    Raises:
        UsageError: another suffix, or a place where no file can be.
    """
    path = Path(path)
    if path.suffix.lower() != suffix or path.is_dir():
        raise UsageError(f"{option} {path}: expected the name of a {suffix} file")
    create_folder(option, path.parent)
    return path


def main_guard(main: Callable[[Sequence[str] | None], int]) -> Callable[[Sequence[str] | None], int]:
    """Wraps `main(argv) -> exit code`: bad input ends in a message on stderr, never in a traceback."""

    @functools.wraps(main)
    def guarded(argv: Sequence[str] | None = None) -> int:
        try:
            return main(argv)
        except MiniDeepLabError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
        except BrokenPipeError:  # whoever read the output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except OSError as error:
            print(f"error: {error}", file=sys.stderr)
            return MiniDeepLabError.exit_code
        except MemoryError as error:
            why = f"not enough memory ({error}); take smaller images, crops or batches, or a narrower network"
            print(f"error: {why}", file=sys.stderr)
            return MiniDeepLabError.exit_code
        except KeyboardInterrupt:
            print("interrupted", file=sys.stderr)
            return INTERRUPTED

    return guarded


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[None]:
    """Holds a Ctrl-C back until the block has ended: no step is left half done. A second one stops at once."""
    ours_to_handle = (
        threading.current_thread() is threading.main_thread()
        and signal.getsignal(signal.SIGINT) is signal.default_int_handler
    )
    if not ours_to_handle:
        yield
        return
    pending = False

    def stop_at_once(signum, frame):
        # Not a KeyboardInterrupt: nobody may take the half-done state for one worth saving.
        raise SystemExit(INTERRUPTED)

    def hold_back(signum, frame):
        nonlocal pending
        pending = True
        signal.signal(signal.SIGINT, stop_at_once)
        print("\nstopping after this step; press Ctrl-C again to stop at once", file=sys.stderr)

    signal.signal(signal.SIGINT, hold_back)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if pending:
        raise KeyboardInterrupt
