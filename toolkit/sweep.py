"""Sweep: what to ask (prompts × rows × settings × repeats), what is known already, and asking the rest."""

from __future__ import annotations

import contextlib
import html
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.cells import Cells
from toolkit.completion import Request, digest
from toolkit.engine import Engine
from toolkit.fingerprint import Fingerprint
from toolkit.prompt import Message, Prompt, messages
from toolkit.recorder import Recorder
from toolkit.results import Results
from toolkit.sampling import DEFAULT_MAX_TOKENS, Sampling
from toolkit.store import Cell, Store

if TYPE_CHECKING:
    import pandas as pd

Promptlike = str | Prompt | list[Message] | tuple[Message, ...]
STORE = "runs/toolkit.db"
"""Where completions go when no store is named; every sweep may share it."""


@dataclass(frozen=True, eq=False)
class Sweep:
    """Every prompt with every row and every setting, each `repeats` times. Made by `sweep`."""

    prompts: tuple[Promptlike, ...]
    rows: tuple[Mapping[str, Any], ...]
    """The data that fills the prompt's variables; empty when the prompt has none."""
    cells: Cells
    repeats: int

    def __post_init__(self) -> None:
        if isinstance(self.repeats, bool) or not isinstance(self.repeats, int) or self.repeats < 1:
            raise ValueError(f"repeats must be a whole number from 1 up, got {self.repeats!r}")
        self._conversations  # noqa: B018  # a bad row or prompt fails here, before anything runs

    def __repr__(self) -> str:
        rows = f"{len(self.rows)} rows × " if self.rows else ""
        return f"Sweep({len(self.prompts)} prompt(s) × {rows}{self.cells!r} × {self.repeats} repeat(s))"

    @cached_property
    def _conversations(self) -> dict[tuple[int, int | None], tuple[dict[str, str], ...]]:
        """(prompt, row) → messages."""
        found = {}
        for p, prompt in enumerate(self.prompts):
            for r, row in enumerate(self.rows) if self.rows else [(None, {})]:
                try:
                    found[p, r] = _render(prompt, row, bool(self.rows))
                except ValueError as error:
                    where = "" if r is None else f"row {r}: "
                    raise ValueError(f"{where}{error}") from None
        return found

    def requests(self, defaults: Mapping[str, Any]) -> Iterator[tuple[Request, dict[str, Any]]]:
        """Each request with every parameter resolved, and its labels (prompt, row, case)."""
        settings = []
        for setting in self.cells:
            axes = {k: v for k, v in setting.items() if k not in ("prompt", "case")}
            settings.append((setting, Sampling(**axes).resolve(defaults)))
        for (p, r), turns in self._conversations.items():
            for setting, sampling in settings:
                if setting.get("prompt", self.prompts[p]) != self.prompts[p]:
                    continue
                labels: dict[str, Any] = {"prompt": p} if len(self.prompts) > 1 else {}
                if r is not None:
                    labels["row"] = r
                if "case" in setting:
                    labels["case"] = setting["case"]
                yield Request(messages=turns, sampling=sampling), labels

    def plan(self, engine: Engine, store: Store | str | Path = STORE) -> Plan:
        """What a run would ask, without asking it. Starts no engine whose fingerprint is known."""
        with _opened(store) as opened:
            return _plan(self, engine, opened)

    def run(self, engine: Engine, store: Store | str | Path = STORE) -> Results:
        """Asks what is missing, as one batch, and returns everything that belongs to this sweep.

        Each completion is on disk within a second of its end. Interrupt it and run it again: only what is
        missing is asked. A request that cannot be answered is a row with an `error`, asked again next time.

        Raises StoreError when the store cannot be written, EngineError when the engine dies; what was
        finished until then is kept.
        """
        opened = store if isinstance(store, Store) else Store(store)
        plan = self.plan(engine, opened)
        if plan.missing:
            engine.start()
            if engine.fingerprint != plan.fingerprint:  # the record was of an earlier state of this machine
                plan = self.plan(engine, opened)
        plan.define(opened)
        if plan.missing:
            plan.ask(engine, opened)
        return Results.of(opened, sweep=plan.sweep, fingerprint=plan.fingerprint.id)


@dataclass(frozen=True, eq=False)
class Plan:
    """A sweep on an engine: its cells, and what of it is stored."""

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
        return (
            f"{self.combinations} combinations are {len(self.cells)} cells: equal requests are asked once, "
            "and at temperature 0 seed, top_p, top_k and min_p change nothing"
        )

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


def sweep(
    prompt: Promptlike | None,
    rows: Iterable[Mapping[str, Any]] | pd.DataFrame | Cells | None = None,
    cells: Cells | None = None,
    repeats: int = 1,
) -> Sweep:
    """A sweep of a prompt over rows of data and settings; `rows` may be left out: `sweep(prompt, cells)`.

    prompt: text, messages, or a `Prompt`; with rows, `{name}` in text is a variable. None when the prompts
    are an axis of `cells`. rows: dicts, or a DataFrame. repeats: completions of each request.

    >>> sweep("Write a haiku.", grid(temperature=[0, 0.7], seed=range(3)))  # doctest: +SKIP
    """
    if isinstance(rows, Cells):
        if cells is not None:
            raise TypeError("both rows and cells are settings: join them with + or *")
        rows, cells = None, rows
    cells = Cells([{}]) if cells is None else cells
    if not isinstance(cells, Cells):
        raise TypeError(f"cells must come from grid, zipped or cases, got {cells!r}")
    own = list(dict.fromkeys(c["prompt"] for c in cells if "prompt" in c))
    if (prompt is None) == (not own):
        raise ValueError("give the prompt either as the first argument or as an axis `prompt` of the cells")
    return Sweep(tuple(own) if prompt is None else (prompt,), _rows(rows), cells, repeats)


def _rows(given: Any) -> tuple[Mapping[str, Any], ...]:
    if given is None:
        return ()
    if hasattr(given, "to_dict"):
        given = given.to_dict("records")
    rows = tuple(given)
    for i, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise TypeError(f"rows[{i}] must be a dict of variable → value, got {row!r}")
    if not rows:
        raise ValueError("rows is empty: give at least one row, or leave rows out")
    return rows


def _render(prompt: Promptlike, row: Mapping[str, Any], filled: bool) -> tuple[dict[str, str], ...]:
    if isinstance(prompt, Prompt):
        return prompt.messages(row)
    if isinstance(prompt, str):
        # Without rows nothing is filled in, so braces in the text are just braces.
        return Prompt(prompt).messages(row) if filled else messages(prompt)
    return messages(prompt)


def _plan(sweep: Sweep, engine: Engine, store: Store) -> Plan:
    found: dict[tuple[str, str], tuple[Request, Cell]] = {}
    combinations = 0
    for request, labels in sweep.requests(engine.defaults):
        combinations += 1
        known_by = (request.key, repr(labels))
        if known_by not in found:
            found[known_by] = (request, Cell(request.key, sweep.repeats, labels))
    requests = tuple(request for request, _ in found.values())
    cells = tuple(cell for _, cell in found.values())
    fingerprint = engine.fingerprint
    stored = store.stored(fingerprint.id)
    unique = {request.key: request for request in requests}
    missing = tuple(
        (request, repeat)
        for key, request in unique.items()
        for repeat in range(sweep.repeats)
        if repeat not in stored.get(key, ())
    )
    body = {
        "prompts": [_plain(p) for p in sweep.prompts],
        "rows": [dict(row) for row in sweep.rows],
        "repeats": sweep.repeats,
    }
    name = digest([[c.request, c.labels] for c in cells] + [sweep.repeats], size=5)
    return Plan(name, fingerprint, requests, cells, combinations, missing, body, engine.count)


def _plain(prompt: Promptlike) -> Any:
    if isinstance(prompt, Prompt):
        return {"template": prompt.template, "system": prompt.system}
    return prompt


def _opened(store: Store | str | Path) -> Any:
    """A context that closes the store only when it opened it."""
    return contextlib.nullcontext(store) if isinstance(store, Store) else Store(store)
