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


def main_guard(main: Callable[[Sequence[str] | None], int]) -> Callable[[Sequence[str] | None], int]:
    """Wraps `main(argv) -> exit code`: bad input ends in a message on stderr, never in a traceback.

    Warnings are one line each: whoever uses a command did not write the line of code that they would name.
    """

    @functools.wraps(main)
    def guarded(argv: Sequence[str] | None = None) -> int:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _print_warning
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


def _print_warning(message, category, filename, lineno, file=None, line=None) -> None:
    print(f"warning: {message}", file=sys.stderr)


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
        print(
            "\nstopping after this step (the first one may still compile); press Ctrl-C again to stop at once",
            file=sys.stderr,
        )

    signal.signal(signal.SIGINT, hold_back)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    if pending:
        raise KeyboardInterrupt
