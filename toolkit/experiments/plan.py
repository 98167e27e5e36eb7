"""Plan: requests on an engine, what of them is stored already, and asking the rest."""

from __future__ import annotations

import contextlib
import html
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit.completion import Completion
from toolkit.cost import machine_seconds
from toolkit.engine import Engine, NotTold
from toolkit.examples import SHOTS
from toolkit.fingerprint import Fingerprint
from toolkit.limits import NO_LIMITS, Limits, Spent
from toolkit.prices import LocalPrice, ModelPrice, model_price
from toolkit.recorder import Recorder
from toolkit.request import Request, digest
from toolkit.results import Results
from toolkit.sampling import DEFAULT_MAX_TOKENS
from toolkit.store import Cell, Store, opened

if TYPE_CHECKING:
    import pandas as pd

Wholes = npt.NDArray[np.int64]
STORE = "runs/toolkit.db"
"""Where completions go when no store is named; every sweep may share it."""
_NOT_TOLD = -2
"""In the place of a number of tokens that a server does not tell."""
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
    with _opened(store) as kept:
        return _plan(requests, repeats, body, engine, kept)


def run(
    requests: Callable[[], Labelled],
    repeats: int,
    body: Mapping[str, Any],
    engine: Engine,
    store: Store | str | Path = STORE,
    limits: Limits = NO_LIMITS,
) -> Results:
    """Asks what is missing, as one batch, and gives everything that belongs together (see `Sweep.run`)."""
    kept = opened(store)
    made = plan(requests(), repeats, body, engine, kept)
    if made.missing:
        engine.start()
        if engine.fingerprint != made.fingerprint:  # the record was of an earlier state of this machine
            made = plan(requests(), repeats, body, engine, kept)
    made.define(kept)
    if made.missing:
        made.ask(engine, kept, limits)
    return Results.of(kept, sweep=made.sweep, fingerprint=made.fingerprint.id)


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
    window: int | None
    """The most tokens of prompt and answer together; None where a server does not tell."""
    rate: float | None
    """Tokens a second (of prompts, where not cached, and generated) that this engine had so far; None before its
    first run in the store."""

    @property
    def total(self) -> int:
        """Completions that the finished sweep has."""
        repeats = {cell.request: cell.repeats for cell in self.cells}
        return sum(repeats.values())

    @property
    def stored(self) -> int:
        return self.total - len(self.missing)

    @cached_property
    def _prompts(self) -> Wholes:
        """(M,) prompt tokens of each missing request; −1 for one that cannot be rendered, −2 where a server does not
        count."""
        found: dict[str, int] = {}
        for request, _ in self.missing:
            if request.input not in found:
                try:
                    found[request.input] = self.count(request)
                except NotTold:
                    found[request.input] = _NOT_TOLD
                except ValueError:
                    found[request.input] = -1
        return np.array([found[request.input] for request, _ in self.missing], np.int64)

    @cached_property
    def _longest(self) -> Wholes:
        """(M,) the most tokens that one choice of each missing request can have."""
        asked = [request.sampling.max_tokens or DEFAULT_MAX_TOKENS for request, _ in self.missing]
        return np.array(asked, np.int64)

    @cached_property
    def _answers(self) -> tuple[Wholes, Wholes]:
        """(M,) the least and the most tokens that each missing request can generate, its choices together."""
        asked = [request.sampling for request, _ in self.missing]
        shortest = np.array([max(1, s.min_tokens or 0) for s in asked], np.int64)
        to_the_end = np.array(
            [bool(s.ignore_eos and not s.stop and not s.stop_token_ids) for s in asked], bool
        )
        choices = np.array([s.n or 1 for s in asked], np.int64)
        return np.where(to_the_end, self._longest, shortest) * choices, self._longest * choices

    @cached_property
    def _fits(self) -> npt.NDArray[np.bool_]:
        """(M,) whether the engine will take each missing request."""
        known = self._prompts >= 0
        short = True if self.window is None else self._prompts + self._longest <= self.window
        return np.asarray((known & short) | (self._prompts == _NOT_TOLD))

    @property
    def uncounted(self) -> int:
        """Missing requests whose prompts a server does not count: their tokens are in no sum."""
        return int((self._prompts == _NOT_TOLD).sum())

    @property
    def refused(self) -> tuple[Request, ...]:
        """Missing requests that do not fit the window, or that the chat template refuses: each will be a row with an
        `error`."""
        return tuple(request for (request, _), fits in zip(self.missing, self._fits, strict=True) if not fits)

    @property
    def prompt_tokens(self) -> int:
        """The prompt tokens of the missing requests that fit, counted by the model's own tokenizer."""
        return int(self._prompts[self._prompts >= 0][self._fits[self._prompts >= 0]].sum())

    @property
    def completion_tokens(self) -> tuple[int, int]:
        """The least and the most tokens that they can generate."""
        least, most = (int(tokens[self._fits].sum()) for tokens in self._answers)
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
        sold by tokens: as if it counted tokens as this one does; this machine: by the rate so far), and too_long: how
        many of them do not fit its context window, missing where that is not known. Raises PriceError for an unknown
        model."""
        import pandas as pd

        asked = [at] if isinstance(at, (str, ModelPrice, LocalPrice)) else at
        prices = [price if isinstance(price, LocalPrice) else model_price(price) for price in asked]
        columns = ["at", "least", "most", "too_long", "price"]
        table = pd.DataFrame([self._cost(price) for price in prices], columns=columns)
        return table.astype({"too_long": "Int64"})

    def _cost(self, price: ModelPrice | LocalPrice) -> dict[str, Any]:
        prompts = np.maximum(self._prompts[self._fits], 0)
        too_long: int | None
        if isinstance(price, LocalPrice):
            seconds = self.seconds or (float("nan"),) * 2
            least, most = price.of(seconds).tolist()
            name, too_long = "this machine", 0  # those that do not fit are refused, and cost nothing
        else:
            least, most = (float(price.of(prompts, tokens[self._fits]).sum()) for tokens in self._answers)
            name, window = price.model, price.context_window
            longest = prompts + self._longest[self._fits]
            too_long = None if window is None else int((longest > window).sum())
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

    def ask(self, engine: Engine, store: Store, limits: Limits) -> None:
        """Asks the missing requests, as far as the limits go, and records the answers."""
        if self.note():
            print(self.note())
        run = store.begin(self.sweep, self.fingerprint, engine.vocabulary)
        with Recorder(store, run, engine, self.total, self.stored) as recorder:
            spent, asked, began = Spent(), 0, time.monotonic()
            while asked < len(self.missing):
                upto = asked + self._affordable(asked, limits, spent)
                if upto == asked:
                    break
                answers = engine.generate(request for request, _ in self.missing[asked:upto])
                try:
                    asked = self._record(answers, recorder, limits, spent, asked, upto, began)
                finally:
                    answers.close()  # type: ignore[attr-defined]  # generators cancel what is left when closed
                if limits.used_up(time.monotonic() - began):
                    break
        if asked < len(self.missing):
            have = f"{asked} of {len(self.missing)} missing completions were asked"
            print(f"{limits}: {have}; {self._onward(asked, limits)}")

    def _onward(self, asked: int, limits: Limits) -> str:
        """How the rest gets asked, in words."""
        prompts, most = (numbers[:1] for numbers in self._most(asked))
        if limits.affordable(prompts, most, Spent()):
            return "run again to go on"
        return f"the next one alone may need {limits.needed(int(prompts[0]), int(most[0]))}: raise the limit"

    def _affordable(self, first: int, limits: Limits, spent: Spent) -> int:
        """How many of the missing requests, from a place on, can be handed out at once."""
        if limits == NO_LIMITS:
            return len(self.missing) - first  # they need not be counted before they run
        return limits.affordable(*self._most(first), spent)

    def _most(self, first: int) -> tuple[Wholes, Wholes]:
        """(M − first,) the most prompt and completion tokens of missing requests, from a place on."""
        if self.uncounted:
            raise ValueError(
                f"a limit needs the tokens of prompts, and the server does not count those of {self.uncounted} "
                "requests: leave the limit out"
            )
        fits = self._fits[first:]  # those that will be refused cost nothing
        prompts, most = (np.where(fits, n[first:], 0) for n in (self._prompts, self._answers[1]))
        return prompts, most

    def _record(
        self, answers: Iterator[Completion], recorder: Recorder, limits: Limits, spent: Spent, asked: int, upto: int,
        began: float,
    ) -> int:  # fmt: skip
        """Records answers until they end, or the time is used up; gives the number of those asked so far."""
        for completion in recorder.record(answers, self.missing[asked:upto]):
            spent.add(completion.usage, limits.price)
            asked += 1
            if limits.used_up(time.monotonic() - began):
                return asked
        return upto

    def __repr__(self) -> str:
        lines = [f"{name:<22} {value}" for name, value in self._facts()]
        return "\n".join([*lines, *([self.note()] if self.note() else [])])

    def _time(self) -> str:
        if self.seconds is None:
            return "not known before this engine's first run"
        return "{} to {}".format(*map(_clock, self.seconds)) + f", at {self.rate:.0f} tokens a second"

    def _without(self) -> str:
        number = self.uncounted
        return f" without those of {number:,} requests: the server does not count" if number else ""

    def _why_refused(self) -> str:
        if self.window is None:
            return "the chat template refuses"
        return f"do not fit the window of {self.window:,} tokens"

    def _facts(self) -> list[tuple[str, str]]:
        refused = len(self.refused)
        return [
            ("cells", f"{len(self.cells):,} (of {self.combinations:,} combinations)"),
            ("completions", f"{self.total:,}"),
            ("stored", f"{self.stored:,}"),
            ("missing", f"{len(self.missing):,}"),
            ("prompt tokens", f"{self.prompt_tokens:,}{self._without()}"),
            ("completion tokens", "{:,} to {:,}".format(*self.completion_tokens)),
            ("time", self._time()),
            *([("refused", f"{refused:,} {self._why_refused()}")] if refused else []),
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
    rate = _rate(store, fingerprint.id)
    return Plan(
        name, fingerprint, kept, cells, combinations, missing, body, engine.count, _window(engine), rate
    )


def _window(engine: Engine) -> int | None:
    try:
        return engine.window
    except NotTold:
        return None


def _rate(store: Store, fingerprint: str) -> float | None:
    """Tokens that were worked through in each second in which the engine ran."""
    ran = store.ran([fingerprint])
    ran = ran[ran["seconds"].notna()]
    seconds = float(machine_seconds(ran).sum()) if len(ran) else 0.0
    tokens = float((ran["prompt_tokens"] - ran["cached_tokens"] + ran["completion_tokens"]).sum())
    return tokens / seconds if seconds > 0 else None


def _clock(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 5400 else f"{seconds / 3600:.1f} h"


def _opened(store: Store | str | Path) -> Any:
    """A context that closes the store only when it opened it."""
    return contextlib.nullcontext(store) if isinstance(store, Store) else Store(store)
