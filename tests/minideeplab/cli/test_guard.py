"""How commands end: messages, exit codes, and Ctrl-C, also one that is lost on its way."""

import contextlib
import os
import signal
import threading
import warnings

import pytest

from minideeplab import cli
from minideeplab.cli import signals
from minideeplab.errors import DataError

SIGNALS = [getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name)]
USUAL = {each: signal.default_int_handler if each == signal.SIGINT else signal.SIG_DFL for each in SIGNALS}


@pytest.fixture(autouse=True)
def with_usual_signals():
    """As at a terminal: a program in the background begins with Ctrl-C ignored."""
    before = {each: signal.signal(each, usual) for each, usual in USUAL.items()}
    yield
    assert {each: signal.getsignal(each) for each in SIGNALS} == USUAL
    for each, handler in before.items():
        signal.signal(each, handler)


def press(signum=signal.SIGINT):
    os.kill(os.getpid(), signum)
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


@pytest.mark.parametrize("signum", SIGNALS)
def test_every_request_to_stop_waits_for_the_block_and_has_its_code(signum, capsys):
    done = []

    def main(argv):
        try:
            with cli.deferred_interrupt():
                press(signum)
                done.append("block")
            done.append("after")
        except KeyboardInterrupt as stop:
            return cli.exit_code(stop)

    assert cli.main_guard(main)() == 128 + signum
    assert done == ["block"]
    name = "" if signum == signal.SIGINT else f"{signum.name}: "
    again = "press Ctrl-C again" if signum == signal.SIGINT else "send it again"
    assert f"\n{name}stopping after this step" in (error := capsys.readouterr().err) and f"{again} to stop" in error


@pytest.mark.parametrize("signum", SIGNALS)
def test_every_request_ends_a_command_that_has_nothing_to_save(signum, capsys):
    assert cli.main_guard(lambda argv: press(signum))() == 128 + signum
    said = "interrupted" if signum == signal.SIGINT else f"stopped by {signum.name}"
    assert capsys.readouterr().err == f"{said}\n"


@pytest.mark.parametrize("signum", SIGNALS)
def test_the_same_signal_twice_in_an_instant_is_one_request(signum):
    """As `timeout` and a closed terminal send them; another signal is no second request either."""
    done = []

    def main(argv):
        with cli.deferred_interrupt():
            for each in (signum, signum, *SIGNALS):
                press(each)
            done.append("block")

    assert cli.main_guard(main)() == 128 + signum
    assert done == ["block"]


@pytest.mark.parametrize("within", [True, False])
@pytest.mark.parametrize("signum", SIGNALS)
def test_a_second_request_stops_at_once(signum, within, monkeypatch):
    monkeypatch.setattr(signals, "AGAIN", -1.0)
    done = []

    def main(argv):
        with cli.deferred_interrupt() if within else contextlib.nullcontext():
            with contextlib.suppress(KeyboardInterrupt):
                press(signum)
            done.append("first")
            press(signum)
            done.append("second")

    with pytest.raises(SystemExit) as stop:
        cli.main_guard(main)()
    assert stop.value.code == 128 + signum and done == ["first"]


def test_a_request_while_saving_after_the_first_does_not_stop_the_save():
    done = []

    def main(argv):
        try:
            press(SIGNALS[-1])
        except KeyboardInterrupt as stop:
            with cli.deferred_interrupt():
                press(SIGNALS[0])
                done.append("saved")
            return cli.exit_code(stop)

    assert cli.main_guard(main)() == 128 + SIGNALS[-1]
    assert done == ["saved"]


def test_without_a_command_ctrl_c_alone_is_held_back():
    """As in a notebook, where the other signals belong to somebody else."""
    done = []
    with pytest.raises(KeyboardInterrupt), cli.deferred_interrupt():
        press()
        done += [signal.getsignal(each) for each in SIGNALS[1:]]
    assert done == [signal.SIG_DFL] * (len(SIGNALS) - 1)


def test_a_command_within_a_command_gives_the_signals_back():
    handlers = []

    def outer(argv):
        handlers.append(signal.getsignal(signal.SIGINT))
        assert cli.main_guard(lambda argv: press() or 0)() == cli.INTERRUPTED
        handlers.append(signal.getsignal(signal.SIGINT))
        return 0

    assert cli.main_guard(outer)() == 0
    assert handlers[0] is handlers[1]


def test_ignored_signals_stay_ignored():
    """`nohup`, and a shell that starts a command in the background."""
    before = signal.signal(SIGNALS[-1], signal.SIG_IGN)
    try:
        assert cli.main_guard(lambda argv: press(SIGNALS[-1]) or 0)() == 0
    finally:
        signal.signal(SIGNALS[-1], before)


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
        (
            OSError(28, "No space left on device: 9 bytes are needed", "x.npz"),
            1,
            "error: x.npz: No space left on device: 9 bytes are needed; free some space, and start the command again\n",
        ),
        (OSError(30, "Read-only file system", "x.npz"), 1, "x.npz: Read-only file system; change the permissions, or"),
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
