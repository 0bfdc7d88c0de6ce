"""How a command ends: bad input in a message and an exit code, Ctrl-C between two steps."""

import contextlib
import functools
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence

from minideeplab.errors import MiniDeepLabError

INTERRUPTED = 130
_asked = False  # whether Ctrl-C was pressed since the command began


def main_guard(main: Callable[[Sequence[str] | None], int]) -> Callable[[Sequence[str] | None], int]:
    """Wraps `main(argv) -> exit code`: bad input ends in a message on stderr, never in a traceback.

    Warnings are one line each: whoever uses a command did not write the line of code that they would name. A Ctrl-C
    that is lost, as while kernels compile, is heard at the next step of a progress bar, or at the end.
    """

    @functools.wraps(main)
    def guarded(argv: Sequence[str] | None = None) -> int:
        try:
            with warnings.catch_warnings(), _heard_interrupts():
                warnings.showwarning = _print_warning
                code = main(argv)
                if code == 0:
                    check_interrupt()
                return code
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


def check_interrupt() -> None:
    """Raises KeyboardInterrupt if Ctrl-C was pressed, although the exception was lost on its way.

    The compiler calls back into Python, and what is raised there is printed and forgotten.
    """
    if _asked:
        raise KeyboardInterrupt


@contextlib.contextmanager
def _heard_interrupts() -> Iterator[None]:
    global _asked
    _asked = False
    if not _is_ours():
        yield
        return

    def interrupt(signum, frame):
        global _asked
        _asked = True
        raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupt)
    try:
        yield
    finally:
        _asked = False
        signal.signal(signal.SIGINT, signal.default_int_handler)


def _is_ours() -> bool:
    """Whether Ctrl-C has its meaning for this thread, and not one that another program gave it."""
    if threading.current_thread() is not threading.main_thread():
        return False
    handler = signal.getsignal(signal.SIGINT)
    return handler is signal.default_int_handler or getattr(handler, "__module__", None) == __name__


def _print_warning(message, category, filename, lineno, file=None, line=None) -> None:
    print(f"warning: {message}", file=sys.stderr)


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[None]:
    """Holds a Ctrl-C back until the block has ended: no step is left half done. A second one stops at once."""
    if not _is_ours():
        yield
        return
    pending, previous = False, signal.getsignal(signal.SIGINT)

    def stop_at_once(signum, frame):
        # Not a KeyboardInterrupt: nobody may take the half-done state for one worth saving.
        raise SystemExit(INTERRUPTED)

    def hold_back(signum, frame):
        nonlocal pending
        pending = True
        signal.signal(signal.SIGINT, stop_at_once)
        print(
            "\nstopping after this step (the first one may still compile); press Ctrl-C again to stop at once",
            file=sys.stderr,
        )

    signal.signal(signal.SIGINT, hold_back)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if pending:
        raise KeyboardInterrupt
