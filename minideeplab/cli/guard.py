"""How a command ends: bad input in a message and an exit code, a signal between two steps."""

import contextlib
import errno
import functools
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence

from minideeplab.autograd.precision import precision, precision_in_use
from minideeplab.cli.signals import INTERRUPTED, check_interrupt, deferred_interrupt, exit_code, hear_no_more, heard
from minideeplab.cli.streams import lasting_streams
from minideeplab.distributed import Alone, ElsewhereError, is_first_started, world
from minideeplab.errors import MiniDeepLabError, UsageError
from minideeplab.files.refusal import plain
from minideeplab.files.whole import DISK_FULL

__all__ = ["INTERRUPTED", "check_interrupt", "deferred_interrupt", "main_guard"]

_NOT_WRITABLE = {errno.EACCES, errno.EPERM, errno.EROFS}


def main_guard(main: Callable | None = None, *, for_ranks: bool = False) -> Callable:
    """Wraps `main(argv) -> exit code`: bad input ends in a message on stderr, never in a traceback.

    Warnings are one line each: whoever uses a command did not write the line of code that they would name. A signal
    that is lost, as while kernels compile, is heard at the next step of a progress bar, or at the end. Work goes on
    when nobody reads its output any more. Of several ranks the first prints; one that fails ends them all.

    Args:
        for_ranks: whether several processes share the work; a command that is for one refuses to be started as more.
    """
    if main is None:
        return functools.partial(main_guard, for_ranks=for_ranks)

    @functools.wraps(main)
    def guarded(argv: Sequence[str] | None = None) -> int:
        group = None
        with lasting_streams(), precision(precision_in_use()), heard():  # --precision holds for the command alone
            try:
                group = world()
                if group.size > 1 and not for_ranks:
                    raise UsageError(
                        f"this command is for one process, and {group.size} were started: leave mpiexec out"
                    )
                with silent_but_first(group), warnings.catch_warnings():
                    warnings.showwarning = _print_warning
                    code, text = main(argv), ""
                    if code == 0:
                        check_interrupt()
                    sys.stdout.flush()  # here a full disk is still told
                if code == 0:
                    return code
            except (Exception, KeyboardInterrupt, SystemExit) as error:
                code, text = _ended_by(error, group)
            if group and group.size > 1:
                hear_no_more()  # one signal comes to each rank at another time, also when all have agreed to stop
            if group:
                code, text = group.end(code, text)
            if text and (group or is_first_started()):
                sys.stderr.write(f"{text}\n")  # at once: other ranks write, too
                sys.stderr.flush()
            if group:
                group.leave()
            return code

    return guarded


def _ended_by(error: BaseException, group: Alone | None) -> tuple[int, str]:
    """(exit code, message) of what has ended a command; other errors are raised again, unless other ranks wait."""
    match error:
        case ElsewhereError():
            return 0, ""
        case MiniDeepLabError():
            return error.exit_code, f"error: {plain(str(error))}"
        case OSError():
            return MiniDeepLabError.exit_code, f"error: {plain(_cause(error))}"
        case MemoryError():
            why = f"not enough memory ({error}); take smaller images, crops or batches, or a narrower network"
            return MiniDeepLabError.exit_code, f"error: {why}"
        case KeyboardInterrupt():
            code = exit_code(error)
            return code, "interrupted" if code == INTERRUPTED else f"stopped by {signal.Signals(code - 128).name}"
    if group is None or group.size == 1:
        raise error
    if isinstance(error, SystemExit):  # of the parser, which has said why
        return error.code or 0, ""
    return MiniDeepLabError.exit_code, "".join(traceback.format_exception(error)).rstrip()


@contextlib.contextmanager
def silent_but_first(group: Alone) -> Iterator[None]:
    """Inside the block ranks print nothing but the first, on stdout and stderr."""
    if group.is_first:
        yield
        return
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
        yield


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
