"""Progress display while something loads."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator


@contextlib.contextmanager
def status(text: str) -> Iterator[Callable[[], None]]:
    """A line with a running clock, removed when the work is done. Yields the function that updates the clock."""
    from tqdm.auto import tqdm

    with tqdm(bar_format="{desc} … {elapsed}", desc=text, leave=False, disable=None) as bar:
        yield lambda: bar.refresh()
