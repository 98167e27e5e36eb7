"""The requests of a batch, each leased in the store when the engine takes it, so that other runs do not ask it."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence

from toolkit._internal.interrupts import DeferredInterrupts
from toolkit.core.request import ResolvedRequest
from toolkit.store.store import Store

Pair = tuple[ResolvedRequest, int]
"""A request, and one of its repeats."""
_BLOCK = 64
"""Requests that are leased at a time: few, since what is leased and not stored when a run is killed may have been
asked."""


class LeasedRequests:
    """Iterating gives the requests that this run may ask. Another run on the same store has its share: some are
    leased whenever the engine wants more."""

    def __init__(
        self, store: Store, run: int, pairs: Sequence[Pair], last_failure: int, interrupts: DeferredInterrupts
    ) -> None:
        self._store, self._run, self._last_failure = store, run, last_failure
        self._interrupts = interrupts
        self._left = {(request.key, repeat): request for request, repeat in pairs}
        self._ahead: deque[tuple[str, int]] = deque()
        self._asked: dict[str, deque[int]] = {}
        self.held: set[tuple[str, int]] = set()
        """(request key, repeat) pairs that another run is asking."""
        self.finished: set[tuple[str, int]] = set()
        """Pairs whose completion has come."""
        self.elsewhere = 0
        """Pairs that another run has done meanwhile."""

    def __iter__(self) -> Iterator[ResolvedRequest]:
        pairs = deque(self._left)
        while pairs:
            block = [pairs.popleft() for _ in range(min(len(pairs), _BLOCK))]
            with self._interrupts.forbidden():  # in the middle of writing
                leased, held = self._store.lease(self._run, block, self._last_failure)
                self.held.update(held)
                self.elsewhere += len(block) - len(leased) - len(held)
                self._ahead.extend(leased)
            while self._ahead:
                key, repeat = self._ahead.popleft()
                self._asked.setdefault(key, deque()).append(repeat)
                yield self._left[key, repeat]

    def finish(self, key: str) -> int:
        """The repeat that a completion of a request is."""
        repeat = self._asked[key].popleft()
        self.finished.add((key, repeat))
        return repeat

    @property
    def asked_any(self) -> bool:
        return bool(self._asked)

    def give_back(self, with_asked: bool) -> None:
        """Ends the leases of what the engine has not taken; with_asked: also of what it took, and did not answer."""
        pairs = [*self._ahead]
        if with_asked:
            pairs += [(key, repeat) for key, repeats in self._asked.items() for repeat in repeats]
        self._store.give_back(self._run, pairs)
