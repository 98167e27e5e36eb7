"""The time limit on everything that is done to one text of a model."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

TIME_LIMIT = 1.0
"""Seconds of computing in which a text is checked. Most take milliseconds, half a megabyte a third of a second; a
pattern, a schema and a text can be such that they would take hours."""
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


class OutOfTime(Exception):
    """The time limit of a text is used up."""


@contextmanager
def time_limit() -> Iterator[None]:
    """Everything in this block shares one limit; what checks `remaining_seconds` ends when it is used up."""
    # Computing of this thread: neither a busy machine nor a debugger changes what a text's verdict is.
    token = _deadline.set(time.thread_time() + TIME_LIMIT)
    try:
        yield
    finally:
        _deadline.reset(token)


def remaining_seconds() -> float:
    """What is left of the limit; all of it outside of one. Raises OutOfTime when nothing is."""
    deadline = _deadline.get()
    seconds = TIME_LIMIT if deadline is None else deadline - time.thread_time()
    if seconds <= 0:
        raise OutOfTime
    return seconds
