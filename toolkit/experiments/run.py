"""Run: sends the requests of a workload that are not stored yet, and stores their completions."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from toolkit.core.completion import Completion
from toolkit.core.request import ResolvedRequest
from toolkit.engines.base import Engine
from toolkit.experiments.completion_writer import CompletionWriter
from toolkit.experiments.plan import STORE, Plan, plan
from toolkit.experiments.unsendable import Generate, sendable_only
from toolkit.experiments.workload import Workload
from toolkit.pricing.budget import NO_BUDGET, Budget, Spent
from toolkit.results.results import Results
from toolkit.store.store import Store, open_store

_logger = logging.getLogger(__name__)

Pairs = tuple[tuple[ResolvedRequest, int], ...]
"""Requests, each with one of its repeats."""


def run(
    workload: Workload,
    engine: Engine,
    store: Store | str | Path = STORE,
    limits: Budget = NO_BUDGET,
    generate: Generate | None = None,
) -> Results:
    """Runs what is missing, and returns all results of the workload (see `Sweep.run`). generate: how missing requests
    become completions; as one batch (`Engine.generate`) when left out."""
    opened_store = open_store(store)
    current_plan = plan(workload, engine, opened_store)
    if current_plan.missing:
        engine.start()
        # The cached fingerprint may be of an earlier state of this machine.
        if engine.fingerprint != current_plan.fingerprint:
            current_plan = plan(workload, engine, opened_store)
    opened_store.define(current_plan.sweep, current_plan.body, current_plan.requests, current_plan.cells)
    if current_plan.missing:
        title = f"{engine.model}, {workload.name}" if workload.name else engine.model
        run_number = opened_store.begin_run(current_plan.sweep, current_plan.fingerprint, engine.vocabulary)
        writer = CompletionWriter(
            opened_store, run_number, engine, title, current_plan.total, current_plan.stored
        )
        _run_missing(current_plan, limits, sendable_only(engine, generate), writer)
    return Results.of(opened_store, sweep=current_plan.sweep, fingerprint=current_plan.fingerprint)


def completions(workload: Workload, engine: Engine, store: Store | str | Path = STORE) -> list[Completion]:
    """Runs a workload without repeats, and returns the completion of each of its requests, in their order; equal
    requests share one."""
    by_key = {completion.request.key: completion for completion in run(workload, engine, store)}
    return [by_key[request.key] for request, _ in workload.requests(engine.defaults)]


def _run_missing(
    plan: Plan, limits: Budget, generate: Callable[..., Iterator[Completion]], writer: CompletionWriter
) -> None:
    """Generates completions of the missing requests, as far as the limits allow, and stores them."""
    if note := plan.note():
        _logger.info(note)
    with writer:
        progress = _Progress(plan, limits)
        while batch := progress.next_batch():
            generated = generate([request for request, _ in batch])
            try:
                progress.record(generated, batch, writer)
            finally:
                generated.close()  # type: ignore[attr-defined]  # a closed generator cancels the rest
            if progress.is_time_used_up:
                break
    if progress.done < len(plan.missing):
        _logger.info(progress.sentence())


@dataclass
class _Progress:
    """How many of a plan's missing requests a run has done, and what it has spent."""

    plan: Plan
    limits: Budget
    done: int = 0
    spent: Spent = field(default_factory=Spent)
    start_time: float = field(default_factory=time.monotonic)

    @property
    def is_time_used_up(self) -> bool:
        return self.limits.used_up(time.monotonic() - self.start_time)

    def next_batch(self) -> Pairs:
        """The next missing requests, as many as the limits allow at once."""
        missing = self.plan.missing[self.done :]
        if self.limits == NO_BUDGET or not missing:
            return missing  # no need to count tokens before the run
        return missing[: self.limits.affordable(*self.plan.most_tokens(self.done), self.spent)]

    def record(self, generated: Iterator[Completion], batch: Pairs, writer: CompletionWriter) -> None:
        """Stores the completions of a batch until they end, or the time is used up."""
        end = self.done + len(batch)
        for completion in writer.record(generated, batch):
            if self.limits != NO_BUDGET:
                most = self._most_tokens[completion.request.key]
                self.spent.add(completion.usage, self.limits.price, most)
            self.done += 1
            if self.is_time_used_up:
                return
        self.done = end

    @cached_property
    def _most_tokens(self) -> dict[str, tuple[int, int]]:
        """Request key → the most prompt and completion tokens."""
        keys = (request.key for request, _ in self.plan.missing)
        counts = (numbers.tolist() for numbers in self.plan.most_tokens(0))
        return dict(zip(keys, zip(*counts, strict=True), strict=True))

    def sentence(self) -> str:
        """How far the run is, and how to run the rest."""
        progress = f"{self.done} of {len(self.plan.missing)} missing completions were asked"
        return f"{self.limits}: {progress}; {self._next_step()}"

    def _next_step(self) -> str:
        prompts, most = (numbers[:1] for numbers in self.plan.most_tokens(self.done))
        if self.limits.affordable(prompts, most, Spent()):
            return "run again to go on"
        needed = self.limits.needed(int(prompts[0]), int(most[0]))
        return f"the next one alone may need {needed}: raise the limit"
