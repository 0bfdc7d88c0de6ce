"""Progress: lines, nothing, a notebook's bar; and threads that do not get the processor."""

import sys
import types

import pytest

from minideeplab import cli
from minideeplab.cli import notebook, processor, progress
from minideeplab.cli.processor import LEAST_SHARE, WINDOW, ProcessorWatch


@pytest.fixture
def clock(monkeypatch):
    """A wall clock and a processor clock that stand still until they are set."""
    found = types.SimpleNamespace(wall=0.0, processor=0.0)
    for module in (processor, progress):
        monkeypatch.setattr(module.time, "perf_counter", lambda: found.wall)
    monkeypatch.setattr(processor.time, "process_time", lambda: found.processor)
    monkeypatch.setattr(ProcessorWatch, "said", False)
    return found


def test_threads_that_wait_are_said_once_with_what_to_do(clock):
    watch = ProcessorWatch(2)
    clock.wall, clock.processor = WINDOW, 0.9 * LEAST_SHARE * 2 * WINDOW
    sentence = watch.sentence()
    assert sentence.startswith(
        "in the last 20 seconds 2 threads got the time of 0.8 processors: other programs use them"
    )
    assert "; try --threads 1, or OMP_WAIT_POLICY=passive" in sentence
    clock.wall += WINDOW
    assert watch.sentence() is None and ProcessorWatch(2).sentence() is None


@pytest.mark.parametrize(
    ("threads", "wall", "share"), [(1, WINDOW, 0.1), (2, WINDOW - 1, 0.1), (2, WINDOW, 0.5), (16, WINDOW, 0.5)]
)
def test_one_thread_a_short_time_or_half_of_the_time_is_no_news(clock, threads, wall, share):
    watch = ProcessorWatch(threads)
    clock.wall, clock.processor = wall, share * threads * wall
    assert watch.sentence() is None


def test_each_window_counts_by_itself(clock):
    watch = ProcessorWatch(4)
    clock.wall, clock.processor = WINDOW, 4 * WINDOW
    assert watch.sentence() is None
    clock.wall, clock.processor = 2 * WINDOW, 4 * WINDOW + 2.1 / 4 * WINDOW
    assert "4 threads got the time of 0.5 processors" in watch.sentence()


def test_progress_says_it_where_kernels_run(clock, monkeypatch, capsys):
    monkeypatch.setattr(progress, "threads_in_use", lambda: 2)
    for computes in (False, True):
        with cli.Progress(9, "work", computes=computes) as bar:
            bar.update()  # the first may compile: the watch begins after it
            clock.wall += 3 * WINDOW
            bar.update()
            bar.update()
        assert capsys.readouterr().err.count("warning: in the last 20 seconds 2 threads got") == computes


def test_hidden_progress_is_silent(clock, capsys):
    with cli.hidden_progress(), cli.Progress(3, "work") as bar:
        for _ in range(3):
            clock.wall += 100
            bar.update()
    with cli.Progress(2, "work") as bar:
        clock.wall += 100
        bar.update()
    assert capsys.readouterr().err == "work  1/2  \n"


class Display:
    """IPython.display's function, which notes what is shown."""

    def __init__(self):
        self.shown = []

    def __call__(self, bundle, raw, display_id):
        assert raw and display_id
        self.shown.append(bundle)
        return self

    def update(self, bundle, raw):
        self.shown.append(bundle)


@pytest.fixture
def shell(monkeypatch):
    display = Display()
    shell = types.SimpleNamespace(kernel=object(), display=display)
    package = types.ModuleType("IPython")
    package.get_ipython, package.display = lambda: shell, types.ModuleType("IPython.display")
    package.display.display = display
    monkeypatch.setitem(sys.modules, "IPython", package)
    monkeypatch.setitem(sys.modules, "IPython.display", package.display)
    return shell


def test_a_notebook_shows_a_bar_and_text(shell, monkeypatch, capsys):
    monkeypatch.setattr(notebook, "INTERVAL", 0.0)
    with cli.Progress(3, "train") as bar:
        for _ in range(3):
            bar.update("epoch <1>", "loss 0.5")
    last = shell.display.shown[-1]
    assert last["text/plain"] == "epoch <1>  3/3  loss 0.5"
    assert '<progress max="3" value="3"' in last["text/html"] and "epoch &lt;1&gt;" in last["text/html"]
    assert capsys.readouterr().err == ""


def test_a_bar_that_does_not_stay_is_cleared_and_pictures_are_few(shell):
    with cli.Progress(1000, "checking", leave=False) as bar:
        for _ in range(1000):
            bar.update()
    assert len(shell.display.shown) < 50 and shell.display.shown[-1] == {"text/plain": ""}
    assert shell.display.shown[-2]["text/plain"].startswith("checking  1000/1000")


def test_a_terminal_of_ipython_is_no_notebook(shell):
    assert notebook.in_notebook()
    shell.kernel = None
    assert not notebook.in_notebook()
    del sys.modules["IPython"]
    assert not notebook.in_notebook()
