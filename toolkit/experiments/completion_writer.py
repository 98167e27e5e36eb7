"""Writes completions to a store as they arrive, and shows the progress of a run."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import time
from types import TracebackType
from typing import Self

from toolkit.core.completion import Completion
from toolkit.display.progress import Progress
from toolkit.engines.base import Engine
from toolkit.errors import StoreBusy, StoreError
from toolkit.pricing import energy
from toolkit.store.rows import StoredCompletion
from toolkit.store.runs import HEARTBEAT_SECONDS
from toolkit.store.store import Store

_logger = logging.getLogger(__name__)

_PERIOD = 0.3
"""Seconds between writes: a finished completion is on disk well within a second."""


class CompletionWriter:
    """A thread beside the one that waits for the engine, so that finished completions are written, and the clock
    runs, while nothing new arrives. What the progress bar counts is on disk already."""

    def __init__(self, store: Store, run: int, engine: Engine, title: str, total: int, stored: int) -> None:
        self._store, self._run, self._engine, self._title = store, run, engine, title
        self._total, self._stored = total, stored
        self._incoming: queue.SimpleQueue[StoredCompletion] = queue.SimpleQueue()
        self._pending: list[StoredCompletion] = []
        self._error: Exception | None = None
        self._stop = threading.Event()
        self._done = self._failed = 0
        self._start_time = time.monotonic()
        self._next_heartbeat = self._start_time + HEARTBEAT_SECONDS
        self._tokens_at_start = engine.generated_tokens
        self._meter = energy.meter(engine.fingerprint.components.get("device"))
        self._thread = threading.Thread(
            target=self._write_periodically, name="toolkit-completion-writer", daemon=True
        )

    def put(self, completion: Completion, repeat: int) -> None:
        """Queues a completion; raises the error that ended the writing, if any: mostly a StoreError."""
        self._incoming.put(StoredCompletion(completion, repeat, self._run))
        if self._error is not None:
            raise self._error

    def count_elsewhere(self, number: int) -> None:
        """Completions that another run has stored meanwhile."""
        self._stored += number

    def __enter__(self) -> Self:
        self._bar = Progress(self._title, self._total, self._stored)
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        try:
            self._finish()
            self._end_run()
        except StoreError:
            with contextlib.suppress(StoreError):  # it can hardly be written, either
                self._end_run()
            raise
        finally:
            self._bar.close()
        if kind is not None and value is not self._error:
            _logger.warning(self._exit_message(kind))

    def _end_run(self) -> None:
        self._store.end_run(self._run, time.monotonic() - self._start_time, self._joules())

    def _exit_message(self, kind: type[BaseException]) -> str:
        reason = "interrupted" if issubclass(kind, KeyboardInterrupt) else "stopped"
        stored = self._stored + self._done
        return (
            f"{reason}: {stored} of {self._total} completions are in {self._store.path}; run again to go on"
        )

    def _write_periodically(self) -> None:
        while not self._stop.wait(_PERIOD) and self._error is None:
            try:
                self._write(patience=0.0)
            except StoreBusy:
                continue  # another process has locked the file; completions wait here, the engine goes on
            except Exception as error:  # noqa: BLE001  # the next call of `put` raises it
                self._error = error
            self._joules()
            self._show()
            self._tell_others()

    def _tell_others(self) -> None:
        """Says now and then in the store that the run goes on."""
        if time.monotonic() >= self._next_heartbeat:
            self._next_heartbeat = time.monotonic() + HEARTBEAT_SECONDS
            with contextlib.suppress(StoreError):
                self._store.heartbeat(self._run)

    def _joules(self) -> float | None:
        """Joules since the run began; None when they cannot be measured."""
        try:
            return None if self._meter is None else self._meter.read()
        except OSError:
            self._meter = None  # a partial measurement is useless
            return None

    def _write(self, patience: float) -> None:
        while not self._incoming.empty():
            self._pending.append(self._incoming.get())
        if self._pending:
            self._store.add(self._pending, patience, self._engine.fingerprints)
            self._failed += sum(stored.completion.error is not None for stored in self._pending)
            self._done += sum(stored.completion.error is None for stored in self._pending)
            self._pending.clear()

    def _finish(self) -> None:
        """The last write, with a long timeout; what cannot be written is kept for the next run in this process."""
        try:
            self._write(patience=60.0)
        except Exception as error:
            self._store.hold_unsaved(self._pending, self._engine.fingerprints)
            kind = type(error) if isinstance(error, StoreError) else StoreError
            raise kind(
                f"{error}. {len(self._pending)} finished completions are kept in this process: the next run "
                "writes them first"
            ) from error
        self._show()

    def _show(self) -> None:
        rate = (self._engine.generated_tokens - self._tokens_at_start) / max(
            time.monotonic() - self._start_time, 1e-9
        )
        failed = {"failed": self._failed} if self._failed else {}
        counts = {**failed, "tok/s": f"{rate:.0f}"}
        self._bar.show(self._stored + self._done + self._failed, counts)
