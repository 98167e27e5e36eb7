"""Interrupts (Ctrl-C, a notebook's Stop) that stop work without losing what is finished."""

from __future__ import annotations

import contextlib
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Iterator
from types import FrameType, TracebackType
from typing import Any, Self


class DeferredInterrupts:
    """Within this context an interrupt is raised only while `is_allowed`, and only once: the first ends the work, and
    no later one can prevent that what is finished is stored. One that came while it was not allowed is raised by the
    next `allow`, or when the context ends. Outside the main thread, which alone is interrupted, it does nothing.

    What is raised is what the handler of the signal raises: KeyboardInterrupt.
    """

    is_allowed = False

    def __init__(self) -> None:
        self._handler: Callable[[int, FrameType | None], Any] | None = None
        self._is_pending = self._was_raised = False

    def __enter__(self) -> Self:
        if threading.current_thread() is threading.main_thread():
            handler = signal.getsignal(signal.SIGINT)
            if callable(handler):  # neither ignored nor the system's
                self._handler = handler
                signal.signal(signal.SIGINT, self._handle)
        return self

    def _handle(self, number: int, frame: FrameType | None) -> None:
        self._is_pending = True
        if self.is_allowed:
            self._raise(frame)

    def _raise(self, frame: FrameType | None) -> None:
        if self._is_pending and not self._was_raised and self._handler is not None:
            self._was_raised = True
            self._handler(signal.SIGINT, frame)

    def allow(self) -> None:
        """From now on the interrupt may be raised, until `is_allowed` is set to False."""
        self.is_allowed = True
        self._raise(None)

    @contextlib.contextmanager
    def allowed(self) -> Iterator[None]:
        """The interrupt may be raised within."""
        try:
            self.allow()
            yield
        finally:
            self.is_allowed = False

    @contextlib.contextmanager
    def forbidden(self) -> Iterator[None]:
        """The interrupt may not be raised within, even where it is allowed."""
        was_allowed, self.is_allowed = self.is_allowed, False
        try:
            yield
        finally:
            if was_allowed:
                self.allow()

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
            if kind is None:
                self._raise(None)


def shorten_tracebacks() -> None:
    """In a notebook, an interrupt of the toolkit's work ends in one line, without the traceback of all that waited.
    Outside a notebook, or where an extension shows interrupts in its own way, nothing changes."""
    shell = sys.modules["IPython"].get_ipython() if "IPython" in sys.modules else None
    if shell is not None and not shell.custom_exceptions:
        shell.set_custom_exc((KeyboardInterrupt,), _show_interrupt)


def _show_interrupt(
    shell: Any,
    kind: type[BaseException],
    value: BaseException,
    trace: TracebackType,
    tb_offset: int | None = None,
) -> None:
    frames = (frame for frame, _ in traceback.walk_tb(trace))
    names = [f.f_code.co_qualname for f in frames if f.f_globals.get("__name__", "").startswith("toolkit.")]
    if names:
        shell._showtraceback(kind, value, [f"{kind.__name__}: {names[0]} was interrupted"])
    else:
        shell.showtraceback((kind, value, trace), tb_offset=tb_offset)
