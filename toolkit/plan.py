"""Plan: requests on an engine, what of them is stored already, and asking the rest."""

from __future__ import annotations

import contextlib
import html
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from toolkit.engine import Engine
from toolkit.examples import SHOTS
from toolkit.fingerprint import Fingerprint
from toolkit.recorder import Recorder
from toolkit.request import Request, digest
from toolkit.results import Results
from toolkit.sampling import DEFAULT_MAX_TOKENS
from toolkit.store import Cell, Store

STORE = "runs/toolkit.db"
"""Where completions go when no store is named; every sweep may share it."""
Labelled = Iterable[tuple[Request, Mapping[str, Any]]]
"""Requests with every parameter resolved, and what sets each apart from the others."""


def plan(
    requests: Labelled,
    repeats: int,
    body: Mapping[str, Any],
    engine: Engine,
    store: Store | str | Path = STORE,
) -> Plan:
    """What of the requests is stored on this engine's fingerprint, and what is missing. body: what the labels number
    (prompts, rows), as the store keeps it."""
    with _opened(store) as opened:
        return _plan(requests, repeats, body, engine, opened)


def run(
    requests: Callable[[], Labelled],
    repeats: int,
    body: Mapping[str, Any],
    engine: Engine,
    store: Store | str | Path = STORE,
) -> Results:
    """Asks what is missing, as one batch, and gives everything that belongs together (see `Sweep.run`)."""
    opened = store if isinstance(store, Store) else Store(store)
    made = plan(requests(), repeats, body, engine, opened)
    if made.missing:
        engine.start()
        if engine.fingerprint != made.fingerprint:  # the record was of an earlier state of this machine
            made = plan(requests(), repeats, body, engine, opened)
    made.define(opened)
    if made.missing:
        made.ask(engine, opened)
    return Results.of(opened, sweep=made.sweep, fingerprint=made.fingerprint.id)


@dataclass(frozen=True, eq=False)
class Plan:
    """Requests on an engine: what of them is stored, and what is missing. Made by `Sweep.plan`."""

    sweep: str
    """The id of the sweep: equal for equal questions."""
    fingerprint: Fingerprint
    requests: tuple[Request, ...]
    """One a cell, after collapsing."""
    cells: tuple[Cell, ...]
    combinations: int
    """Cells before those that cannot differ were collapsed into one."""
    missing: tuple[tuple[Request, int], ...]
    """(request, repeat) still to be asked."""
    body: Mapping[str, Any]
    """Prompts and rows, as the store keeps them."""
    count: Callable[[Request], int]
    """Prompt tokens of a request."""

    @property
    def total(self) -> int:
        """Completions that the finished sweep has."""
        repeats = {cell.request: cell.repeats for cell in self.cells}
        return sum(repeats.values())

    @property
    def stored(self) -> int:
        return self.total - len(self.missing)

    @property
    def max_completion_tokens(self) -> int:
        """The most tokens that the missing requests can generate."""
        return sum(
            (r.sampling.max_tokens or DEFAULT_MAX_TOKENS) * (r.sampling.n or 1) for r, _ in self.missing
        )

    @cached_property
    def prompt_tokens(self) -> int:
        """The prompt tokens of the missing requests, counted by the model's own tokenizer.

        Raises ValueError when one of them cannot be rendered.
        """
        return sum(self.count(request) for request, _ in self.missing)

    def note(self) -> str:
        """What was collapsed, in words; empty when nothing was."""
        if self.combinations == len(self.cells):
            return ""
        note = (
            f"{self.combinations} combinations are {len(self.cells)} cells: equal requests are asked once, "
            "and at temperature 0 seed, top_p, top_k and min_p change nothing"
        )
        shots = any(name in cell.labels for cell in self.cells for name in SHOTS)
        return f"{note}; no example needs no selector, and one no order" if shots else note

    def define(self, store: Store) -> None:
        store.define(self.sweep, self.body, self.requests, self.cells)

    def ask(self, engine: Engine, store: Store) -> None:
        """Asks the missing requests and records the answers."""
        if self.note():
            print(self.note())
        run = store.begin(self.sweep, self.fingerprint, engine.vocabulary)
        repeats: dict[str, list[int]] = {}
        for request, repeat in self.missing:
            repeats.setdefault(request.key, []).append(repeat)
        answers = engine.generate(request for request, _ in self.missing)
        with Recorder(store, run, engine, self.total, self.stored) as recorder:
            try:
                for completion in answers:
                    recorder.put(completion, repeats[completion.request.key].pop(0))
            finally:
                answers.close()  # type: ignore[attr-defined]  # generators cancel what is left when closed

    def __repr__(self) -> str:
        lines = [f"{name:<22} {value}" for name, value in self._facts()]
        return "\n".join([*lines, *([self.note()] if self.note() else [])])

    def _facts(self) -> list[tuple[str, str]]:
        return [
            ("cells", f"{len(self.cells):,} (of {self.combinations:,} combinations)"),
            ("completions", f"{self.total:,}"),
            ("stored", f"{self.stored:,}"),
            ("missing", f"{len(self.missing):,}"),
            ("prompt tokens", f"{self.prompt_tokens:,}"),
            ("completion tokens", f"at most {self.max_completion_tokens:,}"),
            ("fingerprint", self.fingerprint.id),
        ]

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{n}</td><td>{html.escape(v)}</td></tr>" for n, v in self._facts())
        return f"<table>{rows}</table><p>{html.escape(self.note())}</p>"


def _plan(requests: Labelled, repeats: int, body: Mapping[str, Any], engine: Engine, store: Store) -> Plan:
    found: dict[tuple[str, str], tuple[Request, Cell]] = {}
    combinations = 0
    for request, labels in requests:
        combinations += 1
        known_by = (request.key, repr(labels))
        if known_by not in found:
            found[known_by] = (request, Cell(request.key, repeats, labels))
    kept = tuple(request for request, _ in found.values())
    cells = tuple(cell for _, cell in found.values())
    fingerprint = engine.fingerprint
    stored = store.stored(fingerprint.id)
    missing = tuple(
        (request, repeat)
        for key, request in {request.key: request for request in kept}.items()
        for repeat in range(repeats)
        if repeat not in stored.get(key, ())
    )
    name = digest([[c.request, c.labels] for c in cells] + [repeats], size=5)
    return Plan(name, fingerprint, kept, cells, combinations, missing, body, engine.count)


def _opened(store: Store | str | Path) -> Any:
    """A context that closes the store only when it opened it."""
    return contextlib.nullcontext(store) if isinstance(store, Store) else Store(store)
