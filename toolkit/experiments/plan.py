"""Plan: which requests of a workload are stored already, and what the rest will take."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit._internal.field_docs import documented
from toolkit._internal.files import user_path
from toolkit._internal.hashing import digest
from toolkit._internal.text import shortened
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.request import Request, ResolvedRequest
from toolkit.core.sampling import DEFAULT_MAX_TOKENS
from toolkit.display.markup import Markup, joined, markup
from toolkit.engines.base import Engine, as_engine, reported_window, request_errors
from toolkit.errors import NotTold
from toolkit.experiments.rates import tokens_per_second
from toolkit.experiments.unsendable import prompt_counter
from toolkit.experiments.workload import Workload
from toolkit.pricing.prices import LocalPrice, ModelPrice, model_price
from toolkit.prompts.selectors import FEW_SHOT_AXES
from toolkit.store.rows import Cell
from toolkit.store.store import Store

if TYPE_CHECKING:
    import pandas as pd


Wholes = npt.NDArray[np.int64]
STORE = "runs/toolkit.db"
"""Where completions go when no store is named; every sweep may share it."""
_NOT_COUNTED = -2
"""Stands for a number of prompt tokens that a server does not report."""
_REASON_LENGTH = 200
"""Characters of an engine's error that a plan shows."""


def plan(workload: Workload, engine: Engine, store: Store | str | Path = STORE) -> Plan:
    """Which requests of a workload are stored under this engine's fingerprint, and which are missing. Repeats that
    are to be reserved are reserved here, in the store: what is missing depends on them."""
    engine = as_engine(engine)
    with _open_context(store, create=workload.reserved_sweep is not None) as opened_store:
        return _plan(workload, engine, opened_store)


@documented
@dataclass(frozen=True, eq=False)
class Plan:
    """Requests on an engine: which of them are stored, and which are missing. Made by `Sweep.plan`."""

    sweep: str
    """The id of the sweep: equal for equal requests, labels and repeats."""
    fingerprint: Fingerprint
    """The record of the engine."""
    requests: tuple[ResolvedRequest, ...]
    """One for each cell, after collapsing."""
    cells: tuple[Cell, ...]
    """The cells of the sweep: a request, its repeats and its labels."""
    combinations: int
    """The number of cells before those that cannot differ were collapsed into one."""
    missing: tuple[tuple[ResolvedRequest, int], ...]
    """(request, repeat) pairs that are not stored yet."""
    body: Mapping[str, Any]
    """Prompts and rows, as the store keeps them."""
    count: Callable[[Request], int]
    """Prompt tokens of a request."""
    window: int | None
    """The context window: the most tokens of prompt and answer together; None where a server does not report it."""
    rate: float | None
    """Tokens a second (generated, and of prompts where not cached) of this engine so far, in this store or else in
    that of its last run on this machine; None before its first run."""

    @cached_property
    def total(self) -> int:
        """The number of completions of the finished sweep."""
        return len(_repeats(self.cells))

    @property
    def stored(self) -> int:
        return self.total - len(self.missing)

    @cached_property
    def _counts_by_input(self) -> dict[str, int | str]:
        """Hash of a prompt → its tokens, or why the engine refuses it; −2 where a server does not count."""
        counts: dict[str, int | str] = {}
        for request, _ in self.missing:
            if request.input not in counts:
                try:
                    with request_errors():
                        counts[request.input] = self.count(request)
                except NotTold:
                    counts[request.input] = _NOT_COUNTED
                except ValueError as error:
                    counts[request.input] = str(error)
        return counts

    @cached_property
    def _prompt_counts(self) -> Wholes:
        """(M,) prompt tokens of each missing request; −1 where the engine refuses it, −2 where a server does not
        count."""
        counts = (self._counts_by_input[request.input] for request, _ in self.missing)
        return np.array([-1 if isinstance(count, str) else count for count in counts], np.int64)

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
    def refused(self) -> tuple[ResolvedRequest, ...]:
        """Missing requests that do not fit the context window, whose row cannot be filled in, or that cannot be
        prepared, mostly since the chat template refuses them: each will be a row with an `error`."""
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
        """What was collapsed, and which random draws the settings share, in words; empty where there is neither."""
        return ". ".join(filter(None, [self._collapse_note(), self._shared_seeds_note()]))

    def _shared_seeds_note(self) -> str:
        """A note where two requests that differ in their seeds share choices: choice j of seed s is drawn with seed
        s + j (see `Sampling.seed`)."""
        shared, total = _shared_seeds(self.requests)
        if not shared:
            return ""
        return (
            f"choice j of seed s is drawn with seed s + j: of {total:,} choices {shared:,} repeat the draw of "
            "another seed. Take seeds that are n apart"
        )

    def _collapse_note(self) -> str:
        if self.combinations == len(self.cells):
            return ""
        note = (
            f"{self.combinations} combinations are {len(self.cells)} cells: equal requests are asked once, "
            "and at temperature 0 seed, top_p, top_k and min_p change nothing"
        )
        shots = any(name in cell.labels for cell in self.cells for name in FEW_SHOT_AXES)
        return f"{note}; no example needs no selector, and one no order" if shots else note

    def most_tokens(self) -> tuple[Wholes, Wholes]:
        """(M,) the most prompt and completion tokens of missing requests. Raises ValueError where a server does not
        count prompts."""
        if self.uncounted:
            raise ValueError(
                f"a limit needs the tokens of prompts, and the server does not count those of {self.uncounted} "
                "requests: leave the limit out"
            )
        # Requests that will be refused cost nothing.
        prompts, most = (np.where(self._fits, n, 0) for n in (self._prompt_counts, self._token_bounds[1]))
        return prompts, most

    def __repr__(self) -> str:
        lines = [f"{name:<22} {value}" for name, value in self._table_rows()]
        return "\n".join([*lines, *filter(None, [self.note()])])

    def _time_text(self) -> str:
        if self.seconds is None:
            return "not known before this engine's first run"
        return "{} to {}".format(*map(_duration_text, self.seconds)) + f", at {self.rate:.0f} tokens a second"

    def _uncounted_note(self) -> str:
        number = self.uncounted
        return f" without those of {number:,} requests: the server does not count" if number else ""

    def _refusal_text(self) -> str:
        """How many requests will be refused, and why; of several reasons other than the window, the first."""
        reasons = [
            r for request, _ in self.missing if isinstance(r := self._counts_by_input[request.input], str)
        ]
        too_long = len(self.refused) - len(reasons)
        parts = [f"{too_long:,} do not fit the window of {self.window:,} tokens"] if too_long else []
        if reasons:
            example = "for example " if len(set(reasons)) > 1 else ""
            parts.append(
                f"{len(reasons):,} cannot be sent ({example}{shortened(reasons[0], _REASON_LENGTH)})"
            )
        return "; ".join(parts)

    def _table_rows(self) -> list[tuple[str, str]]:
        return [
            ("cells", f"{len(self.cells):,} (of {self.combinations:,} combinations)"),
            ("completions", f"{self.total:,}"),
            ("stored", f"{self.stored:,}"),
            ("missing", f"{len(self.missing):,}"),
            ("prompt tokens", f"{self.prompt_tokens:,}{self._uncounted_note()}"),
            ("completion tokens", "{:,} to {:,}".format(*self.completion_tokens)),
            ("time", self._time_text()),
            *([("refused", self._refusal_text())] if self.refused else []),
            ("fingerprint", self.fingerprint.id),
        ]

    def _repr_html_(self) -> Markup:
        rows = joined(markup("<tr><td>{}</td><td>{}</td></tr>", *row) for row in self._table_rows())
        return markup("<table>{}</table><p>{}</p>", rows, self.note())


def _plan(workload: Workload, engine: Engine, store: Store) -> Plan:
    cells_by_key: dict[tuple[str, str], tuple[ResolvedRequest, Cell]] = {}
    combinations = 0
    for request, labels in workload.requests(engine.defaults):
        combinations += 1
        cell_key = (request.key, repr(labels))
        if cell_key not in cells_by_key:
            cells_by_key[cell_key] = (request, Cell(request.key, workload.repeats, labels))
    requests = tuple(request for request, _ in cells_by_key.values())
    cells = tuple(cell for _, cell in cells_by_key.values())
    sweep = workload.reserved_sweep
    if sweep is None:
        sweep = digest([[c.request, c.labels] for c in cells] + [workload.repeats], size=5)
    else:
        cells = tuple(store.define_with_reserved_repeats(sweep, workload.body, requests, cells))
    fingerprint = engine.fingerprint
    return Plan(
        sweep,
        fingerprint,
        requests,
        cells,
        combinations,
        _missing(requests, cells, store.stored(fingerprint)),
        workload.body,
        prompt_counter(engine),
        reported_window(engine),
        tokens_per_second(store, fingerprint),
    )


def _repeats(cells: Iterable[Cell]) -> dict[tuple[str, int], None]:
    """The (request key, repeat) pairs of cells, each once: cells of equal requests may share theirs."""
    return dict.fromkeys((cell.request, cell.first + n) for cell in cells for n in range(cell.repeats))


def _missing(
    requests: Iterable[ResolvedRequest], cells: Iterable[Cell], stored: Mapping[str, set[int]]
) -> tuple[tuple[ResolvedRequest, int], ...]:
    by_key = {request.key: request for request in requests}
    return tuple(
        (by_key[key], repeat) for key, repeat in _repeats(cells) if repeat not in stored.get(key, ())
    )


def _shared_seeds(requests: Iterable[ResolvedRequest]) -> tuple[int, int]:
    """Of requests that are equal but for seed and n: how many choices have the seed of another's choice, and how many
    choices there are; (0, 0) where no request with a seed has several choices."""
    seeded = [r for r in requests if r.sampling.seed is not None]
    if all(r.sampling.n in (None, 1) for r in seeded):
        return 0, 0
    groups: dict[Any, list[int]] = {}
    for request in seeded:
        sampling = request.sampling
        others = tuple((name, value) for name, value in sampling.given().items() if name not in ("seed", "n"))
        seeds = groups.setdefault((request.input, request.response_format, others), [])
        seeds.extend(int(sampling.seed or 0) + j for j in range(sampling.n or 1))
    total = sum(map(len, groups.values()))
    return total - sum(len(set(seeds)) for seeds in groups.values()), total


def _duration_text(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _open_context(store: Store | str | Path, create: bool) -> Any:
    """A context that closes the store only when it opened it. One that does not exist is made where something is to
    be reserved in it; otherwise it is empty, and a plan makes no file."""
    if isinstance(store, Store):
        return contextlib.nullcontext(store)
    exists = user_path(store).exists()
    return Store(store if create or exists else ":memory:", create=create or not exists)
