"""How a command ends: bad input in a message and an exit code, a signal between two steps."""

import errno
import functools
import signal
import sys
import warnings
from collections.abc import Callable, Sequence

from minideeplab.autograd.precision import precision, precision_in_use
from minideeplab.cli.signals import INTERRUPTED, check_interrupt, deferred_interrupt, exit_code, heard
from minideeplab.cli.streams import lasting_streams
from minideeplab.errors import MiniDeepLabError
from minideeplab.files.refusal import plain
from minideeplab.files.whole import DISK_FULL

__all__ = ["INTERRUPTED", "check_interrupt", "deferred_interrupt", "main_guard"]

_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}


def main_guard(main: Callable[[Sequence[str] | None], int]) -> Callable[[Sequence[str] | None], int]:
    """Wraps `main(argv) -> exit code`: bad input ends in a message on stderr, never in a traceback.

    Warnings are one line each: whoever uses a command did not write the line of code that they would name. A signal
    that is lost, as while kernels compile, is heard at the next step of a progress bar, or at the end. Work goes on
    when nobody reads its output any more.
    """

    @functools.wraps(main)
    def guarded(argv: Sequence[str] | None = None) -> int:
        with lasting_streams(), precision(precision_in_use()):  # --precision holds for the command alone
            try:
                with warnings.catch_warnings(), heard():
                    warnings.showwarning = _print_warning
                    code = main(argv)
                    if code == 0:
                        check_interrupt()
                    sys.stdout.flush()  # here a full disk is still told
                    return code
            except MiniDeepLabError as error:
                print(f"error: {plain(str(error))}", file=sys.stderr)
                return error.exit_code
            except OSError as error:
                print(f"error: {plain(_cause(error))}", file=sys.stderr)
                return MiniDeepLabError.exit_code
            except MemoryError as error:
                why = f"not enough memory ({error}); take smaller images, crops or batches, or a narrower network"
                print(f"error: {why}", file=sys.stderr)
                return MiniDeepLabError.exit_code
            except KeyboardInterrupt as stop:
                code = exit_code(stop)
                name = "interrupted" if code == INTERRUPTED else f"stopped by {signal.Signals(code - 128).name}"
                print(name, file=sys.stderr)
                return code

    return guarded


def _cause(error: OSError) -> str:
    """What the system could not do, with which file, and the next step where that is plain."""
    text = f"{error.filename}: {error.strerror}" if error.filename and error.strerror else str(error)
    if error.errno in DISK_FULL:
        return f"{text}; free some space, and start the command again"
    if error.errno in _NOT_WRITABLE:
        return f"{text}; change the permissions, or give another file or folder"
    return text


def _print_warning(message, category, filename, lineno, file=None, line=None) -> None:
    print(f"warning: {message}", file=sys.stderr)
