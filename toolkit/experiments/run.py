"""Run: sends the requests of a workload that are not stored yet, and stores their completions."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from toolkit._internal.interrupts import DeferredInterrupts
from toolkit._internal.text import plural
from toolkit.core.completion import Completion
from toolkit.core.request import ResolvedRequest
from toolkit.engines.base import Engine
from toolkit.experiments.completion_writer import CompletionWriter
from toolkit.experiments.leased_requests import LeasedRequests, Pair
from toolkit.experiments.plan import STORE, Plan, plan
from toolkit.experiments.rates import remember_rate
from toolkit.experiments.unsendable import Generate, sendable_only
from toolkit.experiments.workload import Workload
from toolkit.pricing.budget import NO_BUDGET, Budget, Spent
from toolkit.results.results import Results
from toolkit.store.store import Store, open_store

_logger = logging.getLogger(__name__)

_POLL_SECONDS = 0.5
"""Seconds between looks at what another run has done."""


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
        vocabulary = engine.vocabulary
        with DeferredInterrupts() as interrupts:
            run_number = opened_store.begin_run(current_plan.sweep, current_plan.fingerprint, vocabulary)
            writer = CompletionWriter(
                opened_store, run_number, engine, title, current_plan.total, current_plan.stored
            )
            order = engine.ordered if generate is None else list
            ask = sendable_only(engine, generate)
            try:
                _Run(current_plan, limits, order, ask, opened_store, run_number, writer, interrupts).run()
            finally:
                remember_rate(opened_store, current_plan.fingerprint)
    return Results.of(opened_store, sweep=current_plan.sweep, fingerprint=current_plan.fingerprint)


def completions(workload: Workload, engine: Engine, store: Store | str | Path = STORE) -> list[Completion]:
    """Runs a workload without repeats, and returns the completion of each of its requests, in their order; equal
    requests share one."""
    by_key = {completion.request.key: completion for completion in run(workload, engine, store)}
    return [by_key[request.key] for request, _ in workload.requests(engine.defaults)]


@dataclass
class _Run:
    """Generates completions of the missing requests of a plan, as far as the limits allow, and stores them. Other
    runs may do the same in the same store: each asks what the others do not."""

    plan: Plan
    limits: Budget
    order: Callable[[Sequence[ResolvedRequest]], list[ResolvedRequest]]
    """Sorts the requests of a batch (`Engine.ordered`)."""
    generate: Callable[[Iterable[ResolvedRequest]], Iterator[Completion]]
    store: Store
    number: int
    writer: CompletionWriter
    interrupts: DeferredInterrupts
    pending: list[int] = field(default_factory=list)
    """Positions in `plan.missing` of what is still to be done."""
    spent: Spent = field(default_factory=Spent)
    start_time: float = field(default_factory=time.monotonic)

    def run(self) -> None:
        if note := self.plan.note():
            _logger.info(note)
        self.pending = list(range(len(self.plan.missing)))
        waiting = False
        last_failure = self.store.last_failure()
        with self.writer:
            while batch := self._next_batch():
                pairs = self._ordered([self.plan.missing[i] for i in batch])
                requests = LeasedRequests(self.store, self.number, pairs, last_failure, self.interrupts)
                self._ask(requests)
                self.writer.count_elsewhere(requests.elsewhere)
                self._put_off(batch, requests)
                if self._is_time_used_up:
                    break
                if requests.held and not requests.asked_any:
                    if not waiting:
                        number = plural(len(requests.held), "completion")
                        _logger.info(f"another run on {self.store.path} asks {number}: waiting for them")
                    waiting = True
                    with self.interrupts.allowed():
                        time.sleep(_POLL_SECONDS)
        if self.pending:
            _logger.info(self._sentence())

    @property
    def _is_time_used_up(self) -> bool:
        return self.limits.used_up(time.monotonic() - self.start_time)

    def _next_batch(self) -> list[int]:
        """The next missing requests, as many as the limits allow at once."""
        if self.limits == NO_BUDGET or not self.pending:
            return self.pending  # no need to count tokens before the run
        prompts, most = (numbers[self.pending] for numbers in self.plan.most_tokens())
        return self.pending[: self.limits.affordable(prompts, most, self.spent)]

    def _ordered(self, pairs: Sequence[Pair]) -> list[Pair]:
        order = self.order([request for request, _ in pairs])
        rank = {request.key: number for number, request in enumerate(order)}
        return sorted(pairs, key=lambda pair: rank[pair[0].key])

    def _ask(self, requests: LeasedRequests) -> None:
        """Stores the completions of a batch until they end, or the time is used up."""
        generated: Generator[Completion] = self.generate(requests)  # type: ignore[assignment]
        is_complete = False
        try:
            for completion in self._until_interrupted(generated):
                self.writer.put(completion, requests.finish(completion.request.key))
                if self.limits != NO_BUDGET:
                    most = self._most_tokens[completion.request.key]
                    self.spent.add(completion.usage, self.limits.price, most)
                if self._is_time_used_up:
                    break
            else:
                is_complete = True
        finally:
            generated.close()  # which cancels the rest
            requests.give_back(with_asked=is_complete)

    @cached_property
    def _most_tokens(self) -> dict[str, tuple[int, int]]:
        """Request key → the most prompt and completion tokens."""
        keys = (request.key for request, _ in self.plan.missing)
        counts = (numbers.tolist() for numbers in self.plan.most_tokens())
        return dict(zip(keys, zip(*counts, strict=True), strict=True))

    def _until_interrupted(self, generated: Generator[Completion]) -> Iterator[Completion]:
        """The completions of a generator. It may be interrupted while it works, but not between that and the storing;
        then it gives what it has finished, before the interrupt goes on."""
        interrupts = self.interrupts
        try:
            interrupts.allow()
            for completion in generated:
                # No call before this: Python would look for an interrupt there, and the completion would be lost.
                interrupts.is_allowed = False
                yield completion
                interrupts.allow()
        except KeyboardInterrupt as interrupt:
            yield from _finished(generated, interrupt)
            raise
        finally:
            interrupts.is_allowed = False

    def _put_off(self, batch: list[int], requests: LeasedRequests) -> None:
        """Keeps what another run is asking for the next look; and all that is not done, where the time is used up."""
        rest = self.pending[len(batch) :]
        missing = self.plan.missing
        pairs = {i: (missing[i][0].key, missing[i][1]) for i in batch}
        if self._is_time_used_up:
            self.pending = [i for i in batch if pairs[i] not in requests.finished] + rest
        else:
            self.pending = rest + [i for i in batch if pairs[i] in requests.held]

    def _sentence(self) -> str:
        """How far the run is, and how to run the rest."""
        total = len(self.plan.missing)
        progress = f"{total - len(self.pending)} of {total} missing completions were asked"
        return f"{self.limits}: {progress}; {self._next_step()}"

    def _next_step(self) -> str:
        prompts, most = (numbers[self.pending[:1]] for numbers in self.plan.most_tokens())
        if self.limits.affordable(prompts, most, Spent()):
            return "run again to go on"
        needed = self.limits.needed(int(prompts[0]), int(most[0]))
        return f"the next one alone may need {needed}: raise the limit"


def _finished(generated: Generator[Completion], interrupt: KeyboardInterrupt) -> Iterator[Completion]:
    """What a generator has finished when it is interrupted."""
    try:
        completion = generated.throw(interrupt)
        while True:
            yield completion
            completion = next(generated)
    except (KeyboardInterrupt, StopIteration):
        return
