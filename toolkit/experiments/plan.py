"""Plan: requests on an engine, which of them are stored already, and running the rest."""

from __future__ import annotations

import contextlib
import html
import logging
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit._internal.hashing import digest
from toolkit.core.completion import Completion
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.request import Request
from toolkit.core.sampling import DEFAULT_MAX_TOKENS
from toolkit.engines.base import Engine
from toolkit.errors import NotTold
from toolkit.experiments.completion_writer import CompletionWriter
from toolkit.pricing.budget import NO_BUDGET, Budget, Spent
from toolkit.pricing.machine_time import machine_seconds
from toolkit.pricing.prices import LocalPrice, ModelPrice, model_price
from toolkit.prompts.selectors import SHOTS
from toolkit.results.results import Results
from toolkit.store.rows import Cell
from toolkit.store.store import Store, open_store

if TYPE_CHECKING:
    import pandas as pd

_logger = logging.getLogger(__name__)


Wholes = npt.NDArray[np.int64]
STORE = "runs/toolkit.db"
"""Where completions go when no store is named; every sweep may share it."""
_NOT_COUNTED = -2
"""Stands for a number of prompt tokens that a server does not report."""
Labelled = Iterable[tuple[Request, Mapping[str, Any]]]
"""Requests with every parameter resolved, each with its labels."""


def plan(
    requests: Labelled,
    repeats: int,
    body: Mapping[str, Any],
    engine: Engine,
    store: Store | str | Path = STORE,
) -> Plan:
    """Which of the requests are stored under this engine's fingerprint, and which are missing. body: the prompts and
    rows whose numbers the labels give, as the store keeps them."""
    with _open_context(store) as opened_store:
        return _plan(requests, repeats, body, engine, opened_store)


def run(
    requests: Callable[[], Labelled],
    repeats: int,
    body: Mapping[str, Any],
    engine: Engine,
    store: Store | str | Path = STORE,
    limits: Budget = NO_BUDGET,
) -> Results:
    """Runs what is missing, as one batch, and returns all results of the sweep (see `Sweep.run`)."""
    opened_store = open_store(store)
    current_plan = plan(requests(), repeats, body, engine, opened_store)
    if current_plan.missing:
        engine.start()
        # The remembered fingerprint may be of an earlier state of this machine.
        if engine.fingerprint != current_plan.fingerprint:
            current_plan = plan(requests(), repeats, body, engine, opened_store)
    current_plan.define(opened_store)
    if current_plan.missing:
        current_plan.ask(engine, opened_store, limits)
    return Results.of(opened_store, sweep=current_plan.sweep, fingerprint=current_plan.fingerprint.id)


@dataclass(frozen=True, eq=False)
class Plan:
    """Requests on an engine: which of them are stored, and which are missing. Made by `Sweep.plan`."""

    sweep: str
    """The id of the sweep: equal for equal requests, labels and repeats."""
    fingerprint: Fingerprint
    requests: tuple[Request, ...]
    """One for each cell, after collapsing."""
    cells: tuple[Cell, ...]
    combinations: int
    """The number of cells before those that cannot differ were collapsed into one."""
    missing: tuple[tuple[Request, int], ...]
    """(request, repeat) pairs that are not stored yet."""
    body: Mapping[str, Any]
    """Prompts and rows, as the store keeps them."""
    count: Callable[[Request], int]
    """Prompt tokens of a request."""
    window: int | None
    """The context window: the most tokens of prompt and answer together; None where a server does not report it."""
    rate: float | None
    """Tokens a second (generated, and of prompts where not cached) of this engine so far; None before its first run
    in the store."""

    @property
    def total(self) -> int:
        """The number of completions of the finished sweep."""
        repeats = {cell.request: cell.repeats for cell in self.cells}
        return sum(repeats.values())

    @property
    def stored(self) -> int:
        return self.total - len(self.missing)

    @cached_property
    def _prompt_counts(self) -> Wholes:
        """(M,) prompt tokens of each missing request; −1 where it cannot be rendered, −2 where a server does not
        count."""
        counts: dict[str, int] = {}
        for request, _ in self.missing:
            if request.input not in counts:
                try:
                    counts[request.input] = self.count(request)
                except NotTold:
                    counts[request.input] = _NOT_COUNTED
                except ValueError:
                    counts[request.input] = -1
        return np.array([counts[request.input] for request, _ in self.missing], np.int64)

    @cached_property
    def _choice_limits(self) -> Wholes:
        """(M,) the most tokens that one choice of each missing request can have."""
        max_tokens = [request.sampling.max_tokens or DEFAULT_MAX_TOKENS for request, _ in self.missing]
        return np.array(max_tokens, np.int64)

    @cached_property
    def _token_bounds(self) -> tuple[Wholes, Wholes]:
        """(M,) the least and the most tokens that each missing request can generate, its choices together."""
        samplings = [request.sampling for request, _ in self.missing]
        shortest = np.array([max(1, s.min_tokens or 0) for s in samplings], np.int64)
        full_length = np.array(
            [bool(s.ignore_eos and not s.stop and not s.stop_token_ids) for s in samplings], bool
        )
        choices = np.array([s.n or 1 for s in samplings], np.int64)
        return np.where(full_length, self._choice_limits, shortest) * choices, self._choice_limits * choices

    @cached_property
    def _fits(self) -> npt.NDArray[np.bool_]:
        """(M,) whether the engine will accept each missing request."""
        counted = self._prompt_counts >= 0
        fits = True if self.window is None else self._prompt_counts + self._choice_limits <= self.window
        return np.asarray((counted & fits) | (self._prompt_counts == _NOT_COUNTED))

    @property
    def uncounted(self) -> int:
        """The number of missing requests whose prompts a server does not count: their tokens are in no sum."""
        return int((self._prompt_counts == _NOT_COUNTED).sum())

    @property
    def refused(self) -> tuple[Request, ...]:
        """Missing requests that do not fit the context window, or that the chat template refuses: each will be a row
        with an `error`."""
        return tuple(request for (request, _), fits in zip(self.missing, self._fits, strict=True) if not fits)

    @property
    def prompt_tokens(self) -> int:
        """The prompt tokens of the missing requests that fit, counted by the model's own tokenizer."""
        return int(self._prompt_counts[self._prompt_counts >= 0][self._fits[self._prompt_counts >= 0]].sum())

    @property
    def completion_tokens(self) -> tuple[int, int]:
        """The least and the most tokens that the missing requests that fit can generate."""
        least, most = (int(tokens[self._fits].sum()) for tokens in self._token_bounds)
        return least, most

    @property
    def seconds(self) -> tuple[float, float] | None:
        """The least and the most seconds that the run may take at the rate so far; None before there is one. The
        least: every prompt is in the prefix cache, and answers are as short as they can be. The most: no prompt is,
        and answers are as long as they can be."""
        if self.rate is None:
            return None
        least, most = self.completion_tokens
        return least / self.rate, (self.prompt_tokens + most) / self.rate

    def costs(
        self, at: str | ModelPrice | LocalPrice | Sequence[str | ModelPrice | LocalPrice]
    ) -> pd.DataFrame:
        """What the missing requests would cost, in US dollars: a row for each price, with least and most (a model
        sold by tokens: with this model's token counts; this machine: by the rate so far), and too_long: how many of
        them do not fit its context window, missing where that is unknown. Raises PriceError for an unknown model."""
        import pandas as pd

        given_prices = [at] if isinstance(at, (str, ModelPrice, LocalPrice)) else at
        prices = [price if isinstance(price, LocalPrice) else model_price(price) for price in given_prices]
        columns = ["at", "least", "most", "too_long", "price"]
        table = pd.DataFrame([self._cost(price) for price in prices], columns=columns)
        return table.astype({"too_long": "Int64"})

    def _cost(self, price: ModelPrice | LocalPrice) -> dict[str, Any]:
        prompts = np.maximum(self._prompt_counts[self._fits], 0)
        too_long: int | None
        if isinstance(price, LocalPrice):
            seconds = self.seconds or (float("nan"),) * 2
            least, most = price.of(seconds).tolist()
            name, too_long = "this machine", 0  # those that do not fit are refused, and cost nothing
        else:
            least, most = (
                float(price.of(prompts, tokens[self._fits]).sum()) for tokens in self._token_bounds
            )
            name, window = price.model, price.context_window
            totals = prompts + self._choice_limits[self._fits]
            too_long = None if window is None else int((totals > window).sum())
        return {"at": name, "least": least, "most": most, "too_long": too_long, "price": str(price)}

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

    def ask(self, engine: Engine, store: Store, limits: Budget) -> None:
        """Runs the missing requests, as far as the limits allow, and records the completions."""
        if self.note():
            _logger.info(self.note())
        run = store.begin_run(self.sweep, self.fingerprint, engine.vocabulary)
        with CompletionWriter(store, run, engine, self.total, self.stored) as writer:
            spent, done, start_time = Spent(), 0, time.monotonic()
            while done < len(self.missing):
                end = done + self._affordable_count(done, limits, spent)
                if end == done:
                    break
                completions = engine.generate(request for request, _ in self.missing[done:end])
                try:
                    done = self._record(completions, writer, limits, spent, done, end, start_time)
                finally:
                    completions.close()  # type: ignore[attr-defined]  # a closed generator cancels the rest
                if limits.used_up(time.monotonic() - start_time):
                    break
        if done < len(self.missing):
            progress = f"{done} of {len(self.missing)} missing completions were asked"
            _logger.info("%s: %s; %s", limits, progress, self._how_to_continue(done, limits))

    def _how_to_continue(self, done: int, limits: Budget) -> str:
        """How to run the rest, in words."""
        prompts, most = (numbers[:1] for numbers in self._most_tokens(done))
        if limits.affordable(prompts, most, Spent()):
            return "run again to go on"
        return f"the next one alone may need {limits.needed(int(prompts[0]), int(most[0]))}: raise the limit"

    def _affordable_count(self, first: int, limits: Budget, spent: Spent) -> int:
        """How many of the missing requests, from index `first` on, the limits allow at once."""
        if limits == NO_BUDGET:
            return len(self.missing) - first  # no need to count tokens before the run
        return limits.affordable(*self._most_tokens(first), spent)

    def _most_tokens(self, first: int) -> tuple[Wholes, Wholes]:
        """(M − first,) the most prompt and completion tokens of missing requests, from index `first` on."""
        if self.uncounted:
            raise ValueError(
                f"a limit needs the tokens of prompts, and the server does not count those of {self.uncounted} "
                "requests: leave the limit out"
            )
        fits = self._fits[first:]  # requests that will be refused cost nothing
        prompts, most = (np.where(fits, n[first:], 0) for n in (self._prompt_counts, self._token_bounds[1]))
        return prompts, most

    def _record(
        self, completions: Iterator[Completion], writer: CompletionWriter, limits: Budget, spent: Spent, done: int,
        end: int, start_time: float,
    ) -> int:  # fmt: skip
        """Records completions until they end, or the time is used up; returns the number of requests done so far."""
        for completion in writer.record(completions, self.missing[done:end]):
            spent.add(completion.usage, limits.price)
            done += 1
            if limits.used_up(time.monotonic() - start_time):
                return done
        return end

    def __repr__(self) -> str:
        lines = [f"{name:<22} {value}" for name, value in self._table_rows()]
        return "\n".join([*lines, *([self.note()] if self.note() else [])])

    def _time_text(self) -> str:
        if self.seconds is None:
            return "not known before this engine's first run"
        return "{} to {}".format(*map(_duration_text, self.seconds)) + f", at {self.rate:.0f} tokens a second"

    def _uncounted_note(self) -> str:
        number = self.uncounted
        return f" without those of {number:,} requests: the server does not count" if number else ""

    def _refusal_reason(self) -> str:
        if self.window is None:
            return "the chat template refuses"
        return f"do not fit the window of {self.window:,} tokens"

    def _table_rows(self) -> list[tuple[str, str]]:
        refused = len(self.refused)
        return [
            ("cells", f"{len(self.cells):,} (of {self.combinations:,} combinations)"),
            ("completions", f"{self.total:,}"),
            ("stored", f"{self.stored:,}"),
            ("missing", f"{len(self.missing):,}"),
            ("prompt tokens", f"{self.prompt_tokens:,}{self._uncounted_note()}"),
            ("completion tokens", "{:,} to {:,}".format(*self.completion_tokens)),
            ("time", self._time_text()),
            *([("refused", f"{refused:,} {self._refusal_reason()}")] if refused else []),
            ("fingerprint", self.fingerprint.id),
        ]

    def _repr_html_(self) -> str:
        rows = "".join(f"<tr><td>{n}</td><td>{html.escape(v)}</td></tr>" for n, v in self._table_rows())
        return f"<table>{rows}</table><p>{html.escape(self.note())}</p>"


def _plan(requests: Labelled, repeats: int, body: Mapping[str, Any], engine: Engine, store: Store) -> Plan:
    cells_by_key: dict[tuple[str, str], tuple[Request, Cell]] = {}
    combinations = 0
    for request, labels in requests:
        combinations += 1
        cell_key = (request.key, repr(labels))
        if cell_key not in cells_by_key:
            cells_by_key[cell_key] = (request, Cell(request.key, repeats, labels))
    unique_requests = tuple(request for request, _ in cells_by_key.values())
    cells = tuple(cell for _, cell in cells_by_key.values())
    fingerprint = engine.fingerprint
    stored = store.stored(fingerprint.id)
    missing = tuple(
        (request, repeat)
        for key, request in {request.key: request for request in unique_requests}.items()
        for repeat in range(repeats)
        if repeat not in stored.get(key, ())
    )
    name = digest([[c.request, c.labels] for c in cells] + [repeats], size=5)
    rate = _rate(store, fingerprint.id)
    return Plan(
        name,
        fingerprint,
        unique_requests,
        cells,
        combinations,
        missing,
        body,
        engine.count,
        _window(engine),
        rate,
    )


def _window(engine: Engine) -> int | None:
    try:
        return engine.window
    except NotTold:
        return None


def _rate(store: Store, fingerprint: str) -> float | None:
    """Tokens processed per second of engine time."""
    timings = store.completion_timings([fingerprint])
    timings = timings[timings["seconds"].notna()]
    seconds = float(machine_seconds(timings).sum()) if len(timings) else 0.0
    tokens = float((timings["prompt_tokens"] - timings["cached_tokens"] + timings["completion_tokens"]).sum())
    return tokens / seconds if seconds > 0 else None


def _duration_text(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _open_context(store: Store | str | Path) -> Any:
    """A context that closes the store only when it opened it."""
    return contextlib.nullcontext(store) if isinstance(store, Store) else Store(store)
