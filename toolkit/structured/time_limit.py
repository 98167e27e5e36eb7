"""The time limit on everything that is done to one text of a model."""

from __future__ import annotations

import itertools
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

TIME_LIMIT = 1.0
"""Seconds of computing in which a text is checked. Most take milliseconds, half a megabyte a third of a second; a
pattern, a schema and a text can be such that they would take hours."""
_LINES_BETWEEN_CHECKS = 100
"""The clock takes longer than a line of Python."""
_deadline: ContextVar[float | None] = ContextVar("deadline", default=None)


class OutOfTime(BaseException):
    """The time limit of a text is used up. No error: no `except Exception` on its way may take it for one."""


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


@contextmanager
def interrupting() -> Iterator[None]:
    """Ends Python code of others in this block, which knows no limit, with OutOfTime. Its lines are counted, which
    makes it a few times as slow, and the limit is checked at some of them."""
    lines = itertools.count(1)

    def count(frame: Any, event: str, argument: Any) -> Any:
        if next(lines) % _LINES_BETWEEN_CHECKS == 0:
            remaining_seconds()
        return count

    previous = sys.gettrace()
    sys.settrace(count)
    try:
        yield
    finally:
        sys.settrace(previous)
