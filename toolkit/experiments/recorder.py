"""Recorder: writes completions to a store as they come, and shows how far a run is."""

from __future__ import annotations

import queue
import sys
import threading
import time
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Any, Self

from toolkit import energy
from toolkit.completion import Completion
from toolkit.engine import Engine
from toolkit.request import Request
from toolkit.store import Answer, Store, StoreBusy, StoreError

_PERIOD = 0.3
"""Seconds between writes: a finished completion is on disk well within a second."""


class Recorder:
    """A thread beside the one that waits for the engine, so that what is finished is written, and the clock
    runs, while nothing new comes. What the bar counts is on disk already."""

    def __init__(self, store: Store, run: int, engine: Engine, total: int, stored: int) -> None:
        self._store, self._run, self._engine = store, run, engine
        self._total, self._stored = total, stored
        self._incoming: queue.SimpleQueue[Answer] = queue.SimpleQueue()
        self._pending: list[Answer] = []
        self._error: Exception | None = None
        self._stop = threading.Event()
        self._done = self._failed = 0
        self._began = time.monotonic()
        self._tokens = engine.generated_tokens
        self._meter = energy.meter(engine.fingerprint.components.get("device"))
        self._thread = threading.Thread(target=self._work, name="toolkit-recorder", daemon=True)

    def put(self, completion: Completion, repeat: int) -> None:
        """Takes a completion; raises what ended the writing, if something did: mostly a StoreError."""
        self._incoming.put(Answer(completion, repeat, self._run))
        if self._error is not None:
            raise self._error

    def record(
        self, answers: Iterable[Completion], asked: Iterable[tuple[Request, int]]
    ) -> Iterator[Completion]:
        """Puts the answers to (request, repeat) that were asked, and yields each."""
        repeats: dict[str, list[int]] = {}
        for request, repeat in asked:
            repeats.setdefault(request.key, []).append(repeat)
        for completion in answers:
            self.put(completion, repeats[completion.request.key].pop(0))
            yield completion

    def __enter__(self) -> Self:
        from tqdm.auto import tqdm

        form = "{desc} {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}<{remaining}{postfix}]"
        self._bar: Any = tqdm(
            total=self._total, initial=self._stored, desc=self._engine.model, bar_format=form, disable=None
        )
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        try:
            self._finish()
            self._store.end(self._run, time.monotonic() - self._began, self._drawn())
        finally:
            self._bar.close()
        if kind is not None and value is not self._error:
            print(self._said(kind), file=sys.stderr)

    def _said(self, kind: type[BaseException]) -> str:
        what = "interrupted" if issubclass(kind, KeyboardInterrupt) else "stopped"
        have = self._stored + self._done
        return f"{what}: {have} of {self._total} completions are in {self._store.path}; run again to go on"

    def _work(self) -> None:
        while not self._stop.wait(_PERIOD) and self._error is None:
            try:
                self._write(patience=0.0)
            except StoreBusy:
                continue  # another process has the file; the answers wait here, the engine goes on
            except Exception as error:  # noqa: BLE001  # whoever puts the next one is told
                self._error = error
            self._drawn()
            self._show()

    def _drawn(self) -> float | None:
        """Joules since the run began."""
        try:
            return None if self._meter is None else self._meter.read()
        except OSError:
            self._meter = None  # half a count is none
            return None

    def _write(self, patience: float) -> None:
        while not self._incoming.empty():
            self._pending.append(self._incoming.get())
        if self._pending:
            self._store.add(self._pending, patience, self._engine.fingerprints)
            self._failed += sum(a.completion.error is not None for a in self._pending)
            self._done += sum(a.completion.error is None for a in self._pending)
            self._pending.clear()

    def _finish(self) -> None:
        """The last write, patiently; what cannot be written is kept for the next run in this process."""
        try:
            self._write(patience=60.0)
        except Exception as error:
            self._store.keep(self._pending, self._engine.fingerprints)
            kind = type(error) if isinstance(error, StoreError) else StoreError
            raise kind(
                f"{error}. {len(self._pending)} finished completions are kept in this process: the next run "
                "writes them first"
            ) from error
        self._show()

    def _show(self) -> None:
        self._bar.n = self._stored + self._done + self._failed
        rate = (self._engine.generated_tokens - self._tokens) / max(time.monotonic() - self._began, 1e-9)
        facts = {"stored": self._stored + self._done, "failed": self._failed, "tok/s": f"{rate:.0f}"}
        self._bar.set_postfix(facts, refresh=False)
        self._bar.refresh()
