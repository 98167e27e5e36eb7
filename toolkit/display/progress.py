"""Progress of long work: a bar on a terminal and in a notebook, elsewhere a line through `logging` now and then."""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

_logger = logging.getLogger(__name__)

LINE_SECONDS = 30.0
"""Seconds between lines where there is no terminal."""
_UNEXPLAINED_SECONDS = 1.0
"""So long a display may take without saying why."""
_BAR = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"


class Progress:
    """How far counted work is. Updated by one thread."""

    def __init__(self, title: str, total: int, done: int) -> None:
        from tqdm.auto import tqdm

        self._bar: Any = tqdm(total=total, initial=done, desc=title, bar_format=_BAR, disable=None)
        _keep_on_one_line(self._bar)
        self._line = _Line()
        self._title, self._total, self.n = title, total, done

    def show(self, n: int, counts: Mapping[str, Any]) -> None:
        """n: how much of the total is done. counts: what else is shown, by name."""
        self.n = self._bar.n = n
        if self._bar.disable:
            self._line.log(lambda: ", ".join([f"{self._title}: {n} of {self._total}", *_texts(counts)]))
        else:
            self._bar.set_postfix(counts, refresh=False)
            self._bar.refresh()

    def close(self) -> None:
        self._bar.close()


@contextlib.contextmanager
def status(text: str) -> Iterator[Callable[[], None]]:
    """A line with a running clock, removed when the work is done. Yields the function that updates the clock."""
    from tqdm.auto import tqdm

    line = _Line()
    with tqdm(bar_format="{desc} … {elapsed}", desc=text, leave=False, disable=None) as bar:

        def update() -> None:
            if bar.disable:
                line.log(lambda: f"{text} …")
            else:
                bar.refresh()

        yield update


@contextlib.contextmanager
def waiting_for(text: str) -> Iterator[None]:
    """Shows a line with what is waited for, and a running clock, once that takes more than a second."""
    done = threading.Event()

    def show() -> None:
        if not done.wait(_UNEXPLAINED_SECONDS):
            with status(text) as update:
                while not done.wait(0.2):
                    update()

    thread = threading.Thread(target=show, name="toolkit-waiting", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _keep_on_one_line(bar: Any) -> None:
    """A bar of a notebook is as wide as its texts leave room for, which would be broken into lines otherwise; where
    there is none, the title is cut."""
    if (box := getattr(bar, "container", None)) is not None:
        before, middle, after = box.children
        before.layout.flex, before.layout.min_width = "0 1 auto", "0"
        before.layout.overflow, before.layout.max_height = "hidden", "28px"  # the height of a line
        middle.layout.flex, middle.layout.width = "1 0 40px", "auto"
        after.layout.flex = "0 0 auto"


class _Line:
    """Logs a line, with the time so far, when `LINE_SECONDS` have passed since the last one."""

    def __init__(self) -> None:
        self._begin = self._last = time.monotonic()

    def log(self, text: Callable[[], str]) -> None:
        now = time.monotonic()
        if now - self._last >= LINE_SECONDS:
            self._last = now
            _logger.info("%s (%.0f s)", text(), now - self._begin)


def _texts(counts: Mapping[str, Any]) -> list[str]:
    return [f"{value} {name}" for name, value in counts.items()]
