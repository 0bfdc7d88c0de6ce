"""A progress bar in a notebook, without any package but the notebook's own."""

import html
import sys
import time

INTERVAL = 0.2  # seconds between two pictures of a bar


def in_notebook() -> bool:
    """Whether the program runs in a notebook, which can show HTML."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


class NotebookBar:
    """The methods of tqdm's bar that `Progress` calls, shown as HTML, or as text where a viewer has no HTML.

    Args:
        total, initial: number of updates to come, and of those made before.
        leave: whether the bar stays when it is closed.
    """

    def __init__(self, total: int, desc: str, initial: int = 0, leave: bool = True):
        self.total, self.title, self.values, self.done, self.leave = total, desc, "", initial, leave
        self.first, self.began = initial, time.perf_counter()
        self.shown = -INTERVAL
        from IPython.display import display

        self.handle = display(self._bundle(), raw=True, display_id=True)

    def set_description(self, title: str, refresh: bool = False) -> None:
        self.title = title

    def set_postfix_str(self, values: str, refresh: bool = False) -> None:
        self.values = values

    def update(self) -> None:
        self.done += 1
        now = time.perf_counter()
        if now - self.shown >= INTERVAL or self.done == self.total:
            self.shown = now
            self.handle.update(self._bundle(), raw=True)

    def close(self) -> None:
        self.handle.update(self._bundle() if self.leave else {"text/plain": ""}, raw=True)

    def _bundle(self) -> dict:
        passed = time.perf_counter() - self.began
        left = passed / (self.done - self.first) * (self.total - self.done) if self.done > self.first else None
        text = f"{self.title}  {self.done}/{self.total}  {self.values}" + (f"  left {left:.0f} s" if left else "")
        bar = f'<progress max="{self.total}" value="{self.done}" style="width: 16em"></progress>'
        return {"text/plain": text, "text/html": f"{bar} <code>{html.escape(text)}</code>"}
