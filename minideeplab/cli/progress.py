"""Progress: a bar on a terminal and in a notebook, one plain line every ten seconds on stderr elsewhere."""

import contextlib
import contextvars
import datetime
import sys
import time

from tqdm import tqdm

from minideeplab.cli.device import threads_in_use
from minideeplab.cli.guard import check_interrupt
from minideeplab.cli.notebook import NotebookBar, in_notebook
from minideeplab.cli.processor import ProcessorWatch
from minideeplab.distributed import Alone

PLAIN_INTERVAL = 10.0  # seconds
_is_hidden = contextvars.ContextVar("_is_hidden", default=False)


@contextlib.contextmanager
def hidden_progress():
    """Inside the block no progress is shown."""
    token = _is_hidden.set(True)
    try:
        yield
    finally:
        _is_hidden.reset(token)


class Progress:
    """Counts towards `total` and shows how far it got, some values, and the time left.

    Args:
        total: number of updates to come, `done` included.
        title: shown in front.
        done: number of updates made in an earlier start; they do not count for the speed.
        leave: whether the bar stays on the terminal when it is full.
        computes: whether the work runs kernels on --threads, which is then watched; False where files are read only.
    """

    def __init__(self, total: int, title: str, done: int = 0, leave: bool = True, computes: bool = True):
        self.total, self.title, self.done = total, title, done
        self.shown = time.perf_counter()
        self.first = None  # (count, time) after the first update, which may have compiled kernels
        self.bar = None
        self.watch = ProcessorWatch(threads_in_use() if computes else 1)
        if _is_hidden.get():
            self.shown = float("inf")  # no line is ever due
        elif in_notebook():
            self.bar = NotebookBar(total, title, done, leave)
        elif sys.stderr.isatty():
            self.bar = tqdm(total=total, desc=title, initial=done, leave=leave, dynamic_ncols=True)

    def update(self, title: str | None = None, values: str = "") -> None:
        """Counts one more; `values` is text such as 'loss 1.234  lr 0.008'. KeyboardInterrupt if one was lost."""
        self.done += 1
        self.title = title or self.title
        if self.first is None:
            self.first = self.done, time.perf_counter()
            self.watch.restart()
        if sentence := self.watch.sentence():
            tqdm.write(f"warning: {sentence}", file=sys.stderr)
        if self.bar is not None:
            self.bar.set_description(self.title, refresh=False)
            self.bar.set_postfix_str(values, refresh=False)
            self.bar.update()
        elif (now := time.perf_counter()) - self.shown >= PLAIN_INTERVAL:
            self.shown = now
            count, start = self.first
            rate = (self.done - count) / (now - start) if self.done > count else 0.0
            left = f"  left {duration((self.total - self.done) / rate)}" if rate else ""
            print(f"{self.title}  {self.done}/{self.total}  {values}{left}", file=sys.stderr, flush=True)
        check_interrupt()

    def __enter__(self) -> "Progress":
        return self

    def __exit__(self, *exception) -> None:
        if self.bar is not None:
            self.bar.close()


class Speed:
    """Images per second since the last restart."""

    def __init__(self):
        self.restart()

    def restart(self) -> None:
        self.start, self.images = time.perf_counter(), 0

    def add(self, images: int) -> None:
        self.images += images

    def per_second(self) -> float:
        return self.images / max(time.perf_counter() - self.start, 1e-9)


def counted(number: int, noun: str) -> str:
    """A number with its noun: 1 image, 2 images."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def on_ranks(title: str, group: Alone) -> str:
    """A title with the number of ranks, where there are several: evaluate on 4 ranks."""
    return title if group.size == 1 else f"{title} on {counted(group.size, 'rank')}"


def threads_text(threads: int, group: Alone) -> str:
    """The threads that compute: 2 threads, or 4 ranks of 2 threads.

    Args:
        threads: of this rank.
    """
    of_each = counted(threads, "thread")
    return of_each if group.size == 1 else f"{counted(group.size, 'rank')} of {of_each}"


def duration(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    return str(datetime.timedelta(seconds=round(seconds)))
