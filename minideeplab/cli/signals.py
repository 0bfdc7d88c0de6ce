"""Requests to stop: Ctrl-C, SIGTERM and SIGHUP, which are heard between two steps."""

import contextlib
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence

INTERRUPTED = 130  # exit code after Ctrl-C; that of another signal is 128 and its number, too
# Ctrl-C; what `kill`, `timeout`, a batch system and a machine that shuts down send; a terminal that is closed.
SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
# `timeout` and a shell whose terminal is closed send the same signal twice in an instant: that is one request.
AGAIN = 0.5  # seconds


class Stop(KeyboardInterrupt):
    """A signal asked this command to stop. Whoever catches KeyboardInterrupt hears all of them.

    Args:
        signum: the signal.
    """

    def __init__(self, signum: int):
        super().__init__()
        self.signum = signum


def exit_code(stop: KeyboardInterrupt) -> int:
    """128 and the number of the signal, as shells count; 130 after Ctrl-C."""
    return 128 + getattr(stop, "signum", signal.SIGINT)


def check_interrupt() -> None:
    """Raises Stop if a signal has asked for it, although the exception was lost on its way.

    The compiler calls back into Python, and what is raised there is printed and forgotten.
    """
    if _requests is not None and _requests.first is not None and _is_main_thread():
        _requests.waiting = False  # what was held back is told now
        raise Stop(_requests.first)


def stop_is_told() -> None:
    """A request to stop that was held back has reached whoever acts on it: it is not raised again."""
    if _requests is not None:
        _requests.waiting = False


@contextlib.contextmanager
def heard(signals: Sequence[int] = SIGNALS) -> Iterator[None]:
    """Listens to signals while the block runs, and gives them back.

    Only in the main thread, and only to signals with their usual meaning: `nohup`, a shell that starts a command in
    the background, and a program that has handlers of its own have the say.
    """
    global _requests
    ours = {each: signal.getsignal(each) for each in signals if _is_main_thread() and _is_free(each)}
    if not ours:
        yield
        return
    outer, _requests = _requests, _Requests()
    for each in ours:
        signal.signal(each, _requests)
    try:
        yield
    finally:
        for each, handler in ours.items():
            if not _requests.over:
                signal.signal(each, handler)
        _requests = outer


def hear_no_more() -> None:
    """From now on, and after the block of `heard`, no signal does anything: this process is about to end."""
    if _requests is not None:
        _requests.over = True


@contextlib.contextmanager
def deferred_interrupt() -> Iterator[None]:
    """Holds a request to stop back until the block has ended: no step is left half done. A second one stops at once."""
    if not _is_main_thread():
        yield
        return
    with contextlib.nullcontext() if _requests else heard([signal.SIGINT]):
        requests = _requests or _Requests()
        within, requests.deferred = requests.deferred, True
        try:
            yield
        finally:
            requests.deferred = within
        if requests.waiting and not within:
            requests.waiting = False
            raise Stop(requests.first)


class _Requests:
    """A handler of signals, and what it has heard."""

    def __init__(self):
        self.first, self.time = None, 0.0  # the signal that came first, and when
        self.deferred = self.waiting = False  # whether a block is not to be interrupted; whether one should have been
        self.over = False  # whether the command has ended

    def __call__(self, signum, frame) -> None:
        if self.over:
            return
        now = time.monotonic()
        if self.first is not None:
            if signum == self.first and now - self.time > AGAIN:
                # Not a KeyboardInterrupt: nobody may take the half-done state for one worth saving.
                raise SystemExit(128 + signum)
            return
        self.first, self.time = signum, now
        if not self.deferred:
            raise Stop(signum)
        self.waiting = True
        again = "press Ctrl-C again" if signum == signal.SIGINT else "send it again"
        name = "" if signum == signal.SIGINT else f"{signal.Signals(signum).name}: "
        with contextlib.suppress(OSError, RuntimeError):  # nobody reads it, or it comes in the middle of another line
            text = f"\n{name}stopping after this step (the first one may still compile); {again} to stop at once"
            print(text, file=sys.stderr)


_requests: _Requests | None = None  # those that are listened to now


def _is_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _is_free(signum: int) -> bool:
    """Whether a signal has its usual meaning, or the one that a command around this one gave it."""
    handler = signal.getsignal(signum)
    return handler in (signal.SIG_DFL, signal.default_int_handler) or isinstance(handler, _Requests)
