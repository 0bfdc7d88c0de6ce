"""How commands end: messages, exit codes, and Ctrl-C, also one that is lost on its way."""

import os
import signal
import threading
import warnings

import pytest

from minideeplab import cli
from minideeplab.errors import DataError


@pytest.fixture(autouse=True)
def with_ctrl_c():
    """As at a terminal: a program in the background begins with Ctrl-C ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def press():
    os.kill(os.getpid(), signal.SIGINT)
    for _ in range(1000):  # the handler runs between two instructions
        pass


def lost():
    """Ctrl-C in a place that forgets exceptions, as a compiler that calls back into Python."""
    try:
        press()
    except KeyboardInterrupt:
        pass


def test_an_interrupt_ends_the_command(capsys):
    assert cli.main_guard(lambda argv: press())() == cli.INTERRUPTED
    assert capsys.readouterr().err == "interrupted\n"


def test_a_lost_interrupt_is_heard_at_the_next_step():
    steps = []

    def main(argv):
        with cli.Progress(9, "work") as bar:
            for i in range(9):
                if i == 2:
                    lost()
                steps.append(i)
                bar.update()
        return 0

    assert cli.main_guard(main)() == cli.INTERRUPTED
    assert steps == [0, 1, 2]


def test_a_lost_interrupt_is_heard_at_the_end_and_forgotten_by_the_next_command():
    assert cli.main_guard(lambda argv: lost() or 0)() == cli.INTERRUPTED
    assert cli.main_guard(lambda argv: 0)() == 0
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_deferred_interrupt_waits_for_the_block():
    done = []

    def main(argv):
        with cli.deferred_interrupt():
            press()
            done.append("block")
        done.append("after")

    assert cli.main_guard(main)() == cli.INTERRUPTED
    assert done == ["block"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_in_another_thread_signals_are_left_alone():
    codes = []
    thread = threading.Thread(target=lambda: codes.append(cli.main_guard(lambda argv: 0)()))
    thread.start()
    thread.join()
    assert codes == [0]


def test_another_programs_handler_is_left_alone():
    def handler(signum, frame):
        raise AssertionError

    before = signal.signal(signal.SIGINT, handler)
    try:
        assert cli.main_guard(lambda argv: 0 if signal.getsignal(signal.SIGINT) is handler else 1)() == 0
    finally:
        signal.signal(signal.SIGINT, before)


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (DataError("x.png: gone"), 3, "error: x.png: gone\n"),
        (MemoryError("9 GiB"), 1, "error: not enough memory (9 GiB); take smaller images"),
        (OSError(28, "No space left on device"), 1, "No space left on device"),
    ],
)
def test_errors_are_a_message_and_a_code(capsys, error, code, said):
    def main(argv):
        raise error

    assert cli.main_guard(main)() == code
    assert said in capsys.readouterr().err


def test_warnings_are_one_line(capsys):
    assert cli.main_guard(lambda argv: warnings.warn("look out", stacklevel=1) or 0)() == 0
    assert capsys.readouterr().err == "warning: look out\n"
