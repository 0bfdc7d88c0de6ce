"""What all commands share: help format, argument types, threads, exit codes, handling of Ctrl-C."""

import argparse
import contextlib
import functools
import shlex
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Sequence

import kernels
from minideeplab.errors import MiniDeepLabError, UsageError

INTERRUPTED = 130


class _HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Shows each default, except where it is None: there the help text says what happens."""

    def _get_help_string(self, action: argparse.Action) -> str | None:
        return action.help if action.default is None else super()._get_help_string(action)


def command_parser(command: str, description: str, example: str) -> argparse.ArgumentParser:
    """A parser for `python -m minideeplab.COMMAND`, with a worked example below the list of options."""
    return argparse.ArgumentParser(
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
    parser.add_argument("--dataset", choices=["auto", "voc", "camvid"], default="auto", help="its layout")
    parser.add_argument("--limit", type=positive_int, help="use only the first LIMIT images of each split")


def add_device_arguments(parser: argparse.ArgumentParser) -> None:
    """--device and --threads."""
    parser.add_argument("--device", choices=["cpu"], default="cpu", help="where to compute")
    parser.add_argument("--threads", type=positive_int, help="number of CPU threads (all cores if not given)")


def command_line(command: str, *arguments: object) -> str:
    """A command of minideeplab as text that the user's shell runs, with the Python that runs now."""
    return shlex.join([sys.executable, "-m", f"minideeplab.{command}", *map(str, arguments)])


def announce_compilation() -> None:
    """Says why the first image takes so long, where nothing lies compiled yet."""
    if not kernels.is_compiled():
        print("compiling kernels (first run only) ...", file=sys.stderr)


def use_threads(threads: int | None) -> int:
    """Sets the number of threads of the kernels; returns the number in use.

    Raises:
        UsageError: more than there are.
    """
    if threads is not None:
        try:
            kernels.set_num_threads(threads)
        except ValueError as error:
            raise UsageError(f"--threads {threads}: {error}") from error
    return kernels.num_threads()


def positive_int(text: str) -> int:
    """Argument type: a whole number from 1 on."""
    if (value := int(text)) < 1:
        raise argparse.ArgumentTypeError(f"{text}, expected at least 1")
    return value


def non_negative_int(text: str) -> int:
    """Argument type: a whole number from 0 on."""
    if (value := int(text)) < 0:
        raise argparse.ArgumentTypeError(f"{text}, expected 0 or more")
    return value


def positive_float(text: str) -> float:
    """Argument type: a finite number above 0."""
    if not 0 < (value := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}, expected a number above 0")
    return value


def non_negative_float(text: str) -> float:
    """Argument type: a finite number, 0 or more."""
    if not 0 <= (value := float(text)) < float("inf"):
        raise argparse.ArgumentTypeError(f"{text}, expected 0 or more")
    return value


def fraction(text: str) -> float:
    """Argument type: a number from 0 to 1."""
    if not 0 <= (value := float(text)) <= 1:
        raise argparse.ArgumentTypeError(f"{text}, expected a number from 0 to 1")
    return value


def main_guard(main: Callable[[Sequence[str] | None], int]) -> Callable[[Sequence[str] | None], int]:
    """Wraps `main(argv) -> exit code`: bad input ends in a message on stderr, never in a traceback."""

    @functools.wraps(main)
    def guarded(argv: Sequence[str] | None = None) -> int:
        try:
            return main(argv)
        except MiniDeepLabError as error:
            print(f"error: {error}", file=sys.stderr)
            return error.exit_code
        except OSError as error:
            print(f"error: {error}", file=sys.stderr)
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
