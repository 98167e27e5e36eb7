"""Runs: all answers to one request, side by side: which are the same, where they part, what their numbers say."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit.agreement import Counts, Doubles, forks, mean, std, ulps
from toolkit.choice import UNLIKELY, Vocabulary
from toolkit.store import Store

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.float32]
_END, _BEYOND = -1, -2
"""In the place of token ids: after the last one, and from there on. No id, and so that the shorter of two outputs of
which one goes on differs where it ends."""
_KNOWN_BY = ("request", "system_fingerprint", "repeat", "choice")
"""The columns that a completion is known by."""


@dataclass(frozen=True, eq=False)
class Runs:
    """n runs of one request (of one of its choices), of at most T steps, on S systems. U of the outputs are
    different.

    Systems are fingerprints, or whatever else the runs are compared across.
    """

    request: str
    choice: int
    rows: Counts
    """(n,) places in the table that the runs are from, from 0."""
    system: Counts
    """(n,) numbers of systems, 0 to S − 1."""
    systems: int
    output: Counts
    """(n,) numbers of different outputs, 0 to U − 1."""
    ids: npt.NDArray[np.int32]
    """(n, T + 1) token ids; −1 after the last, −2 from there on. (n, 0) where a server tells none, or the systems
    have different tokenizers: then the texts are compared, and no step is shared."""
    length: Counts
    """(n,) tokens of each run."""
    fork: Doubles
    """(U, U) the first step at which two outputs differ; on the diagonal T + 1. NaN where there are no token ids."""
    logprobs: Floats | None
    """(n, T) of the chosen tokens; NaN past the end. None when some run has none, or no token ids."""
    top_ids: npt.NDArray[np.int32] | None
    """(n, T, k) with the largest k of the runs; −1 past the end of an answer, and of a shorter list. None when no run
    has any."""
    top_logprobs: Floats | None
    """(n, T, k); NaN where top_ids are −1."""

    @cached_property
    def counts(self) -> Counts:
        """(S, U) how often each system gave each output."""
        wide = int(self.output.max()) + 1
        flat = np.bincount(self.system * wide + self.output, minlength=self.systems * wide)
        return flat.reshape(self.systems, wide)

    @cached_property
    def modes(self) -> Counts:
        """(S,) the first run of each system with its commonest output (of equally common ones that of the lowest
        number); −1 where it has none."""
        found = np.full(self.systems, -1, np.int64)
        runs = np.flatnonzero(self.output == self.counts.argmax(axis=1)[self.system])[::-1]
        found[self.system[runs]] = runs  # of several the last assigned, so the first
        return found

    def first_fork(self, system: int | None = None) -> float:
        """The first step at which any two runs (of a system) differ; NaN when none do."""
        own = np.flatnonzero((self.counts.sum(axis=0) if system is None else self.counts[system]) > 0)
        if len(own) < 2:
            return float("nan")
        among = self.fork[np.ix_(own, own)]
        return float(among[np.triu_indices(len(own), 1)].min())

    def shared(self, runs: npt.ArrayLike, others: npt.ArrayLike) -> Counts:
        """(m,) steps that each run shares with another, up to the fork or the end of both; 0 without token ids."""
        a, b = np.asarray(runs), np.asarray(others)
        known = np.nan_to_num(self.fork[self.output[a], self.output[b]])
        return np.asarray(np.minimum(known, self.length[a]), np.int64)

    def compared(self, runs: npt.ArrayLike, others: npt.ArrayLike) -> Compared | None:
        """The numbers of some runs beside those of others, over the steps that they share; None when there are
        none."""
        if self.logprobs is None:
            return None
        a, b = np.asarray(runs), np.asarray(others)
        reach = self.shared(a, b)
        within = np.arange(self.logprobs.shape[1]) < reach[:, None]
        first, second = self.logprobs[a], self.logprobs[b]
        known = within & (first > UNLIKELY) & (second > UNLIKELY)
        empty = np.full(first.shape, np.nan)
        drift = np.subtract(second, first, out=empty, where=known, dtype=np.float64)
        same = first.view(np.int32) == second.view(np.int32)
        far = np.where(known, ulps(first, second), 0)
        margin = np.full(first.shape, np.nan)
        if self.top_logprobs is not None and self.top_ids is not None and self.top_ids.shape[2]:
            bits = self.top_logprobs[a].view(np.int32) == self.top_logprobs[b].view(np.int32)
            same = same & (bits & (self.top_ids[a] == self.top_ids[b])).all(axis=2)
            if self.top_ids.shape[2] > 1:
                top = self.top_logprobs[a].astype(np.float64)
                margin = top[:, :, 0] - top[:, :, 1]
        return Compared(within, drift, same & within, far, np.where(within, margin, np.nan))

    def margin(self, run: int, step: float) -> float:
        """How far the best token of a run lies above the second at a step, nats; NaN when not known."""
        top = self.top_logprobs
        if top is None or top.shape[2] < 2 or np.isnan(step) or step >= self.length[run]:
            return float("nan")
        return float(top[run, int(step), 0]) - float(top[run, int(step), 1])

    def pairs(self, one: int, other: int) -> tuple[Doubles, Doubles]:
        """(T,) pairs of runs that fork at each step, and (T,) pairs that are the same to their end, of which that
        step is the last: of all runs of a system among themselves, or with those of another one. Needs token ids."""
        steps = int(self.length.max())
        a, b = (self.counts[s].astype(np.float64) for s in (one, other))
        together = np.outer(a, b)
        equal = np.diag(together).copy() if one != other else a * (a - 1) / 2
        if one == other:
            together = np.triu(together, 1)
        np.fill_diagonal(together, 0)
        lengths = np.zeros(len(a), np.int64)
        lengths[self.output] = self.length
        # What stands on the diagonal of forks, past the last step, has no weight.
        forked = np.minimum(self.fork.ravel().astype(np.int64), steps - 1)
        return (
            np.bincount(forked, together.ravel(), steps).astype(np.float64),
            np.bincount(lengths - 1, equal, steps).astype(np.float64),
        )


@dataclass(frozen=True)
class Compared:
    """Runs beside others, over the steps that they share: each (m, T)."""

    within: npt.NDArray[np.bool_]
    """The step is shared."""
    drift: Doubles
    """Log probability of the chosen token there minus here, nats; NaN past the shared steps and where one is not
    known, minus infinity, or a server's −9999."""
    same: npt.NDArray[np.bool_]
    """Every stored log probability of the step has the same bits, top k included."""
    ulps: Counts
    """Units in the last place between the two."""
    margin: Doubles
    """Of the best token above the second, here; NaN when not known."""

    @property
    def largest_drift(self) -> float:
        known = np.abs(self.drift[~np.isnan(self.drift)])
        return float(known.max()) if len(known) else float("nan")


def gather(table: pd.DataFrame, store: Store, across: str) -> tuple[list[Any], list[Runs]]:
    """The systems that a column names, in order of appearance, and the runs of each request of a results table. Each
    completion counts once, however many rows show it."""
    answered = np.flatnonzero(table["finish_reason"] != "error")
    again = table.iloc[answered].duplicated([*_KNOWN_BY, across]).to_numpy()
    rows = answered[~again]
    once = table.iloc[rows]
    system, names = once[across].factorize(use_na_sentinel=False)
    keys = list(zip(*(once[name].tolist() for name in _KNOWN_BY), strict=True))
    texts, tokens = once["text"].tolist(), once["completion_tokens"].to_numpy(np.int64)
    arrays = store.arrays(list(dict.fromkeys(once["request"])))
    spelt = _spelt(store, once["system_fingerprint"].unique().tolist())
    several = {request for request, _, _, choice in keys if choice > 0}
    places: dict[tuple[str, int], list[int]] = {}
    for place, (request, _, _, choice) in enumerate(keys):
        places.setdefault((request, choice), []).append(place)
    made = []
    for (request, choice), own in places.items():
        found = [arrays[keys[place]] for place in own]
        length = np.array([len(one["token_ids"]) for one in found])
        tokenizers = {spelt[keys[place][1]] for place in own} - {None}
        if length.all() and len(tokenizers) < 2:
            output, numbers = _by_tokens(found, length)
        else:
            told = length.all() or request not in several  # of several choices a server tells the sum alone
            length = tokens[own] if told else np.zeros_like(tokens[own])
            output, numbers = _by_texts([texts[place] for place in own])
        made.append(
            Runs(request, choice, rows[own], system[own], len(names), output, length=length, **numbers)
        )
    return list(names), made


def _spelt(store: Store, fingerprints: list[str]) -> dict[str, int | None]:
    """Fingerprint → number of its vocabulary, the same for equal ones; None where none is stored."""
    if len(fingerprints) < 2:
        return dict.fromkeys(fingerprints)
    known: list[Vocabulary] = []
    found = dict[str, int | None]()
    for name in fingerprints:
        try:
            vocabulary = store.vocabulary(name)
        except KeyError:
            vocabulary = []
        if vocabulary and vocabulary not in known:
            known.append(vocabulary)
        found[name] = known.index(vocabulary) if vocabulary else None
    return found


def _by_texts(texts: list[str]) -> tuple[Counts, dict[str, Any]]:
    """Numbers of different outputs, and what is not known of them."""
    numbers = {text: number for number, text in enumerate(sorted(set(texts)))}
    return np.array([numbers[text] for text in texts]), {
        "ids": np.zeros((len(texts), 0), np.int32),
        "fork": np.full((len(numbers), len(numbers)), np.nan),
        **dict.fromkeys(("logprobs", "top_ids", "top_logprobs")),
    }


def _by_tokens(found: list[Any], length: Counts) -> tuple[Counts, dict[str, Any]]:
    """Numbers of different outputs, and the arrays of all runs side by side."""
    steps = int(length.max())
    ids = np.full((len(found), steps + 1), _BEYOND, np.int32)
    for run, one in enumerate(found):
        ids[run, : length[run]] = one["token_ids"]
    ids[np.arange(len(found)), length] = _END
    # Compared as bytes, which is a hundred times faster than by columns and keeps equal beginnings together.
    rows = ids.view(f"V{ids.itemsize * ids.shape[1]}").ravel()
    _, first, output = np.unique(rows, return_index=True, return_inverse=True)
    empty = {"logprobs": np.nan, "top_ids": -1, "top_logprobs": np.nan}
    wide = {n: _padded([one[n] for one in found], length, steps, value) for n, value in empty.items()}
    if any(one["logprobs"] is None for one in found):
        wide = dict.fromkeys(wide)
    return output, {"ids": ids, "fork": forks(ids[first]).astype(np.float64), **wide}


def _padded(arrays: list[Any], length: Counts, steps: int, empty: float) -> Any:
    """(n, T, …) from n arrays of fewer steps, and of fewer columns; None when there are none."""
    known = [(run, array) for run, array in enumerate(arrays) if array is not None]
    if not known:
        return None
    wide = max(array.shape[1:] for _, array in known)
    made = np.full((len(arrays), steps, *wide), empty, known[0][1].dtype)
    for run, array in known:
        place: Any = (run, slice(length[run]), *map(slice, array.shape[1:]))
        made[place] = array
    return made


def beside_mode(r: Runs, own: Any, mode: int) -> dict[str, float]:
    """Of a system's runs beside its commonest output."""
    others = own[own != mode]
    found = r.compared(others, np.full(len(others), mode)) if len(others) else None
    if found is None or not found.within.any():
        return dict.fromkeys(("drift", "ulps", "bitwise", "near_ties"), float("nan"))
    return {
        "drift": found.largest_drift,
        "ulps": float(found.ulps.max()),
        "bitwise": float(found.same.sum() / found.within.sum()),
        "near_ties": _near(found.margin, found.largest_drift),
    }


def between(both: list[Runs], a: int, b: int) -> dict[str, float]:
    """Of the commonest outputs of two systems, over all requests."""
    found = [c for r in both if (c := r.compared([r.modes[a]], [r.modes[b]])) is not None]
    drift = np.concatenate([c.drift.ravel() for c in found]) if found else np.zeros(0)
    margin = np.concatenate([c.margin.ravel() for c in found]) if found else np.zeros(0)
    log_r = drift[~np.isnan(drift)]
    largest = float(np.abs(log_r).max()) if len(log_r) else float("nan")
    steps = sum(int(c.within.sum()) for c in found)
    return {
        "drift": largest,
        "bitwise": sum(int(c.same.sum()) for c in found) / steps if steps else np.nan,
        "near_ties": _near(margin, largest),
        "k1": mean(-log_r),
        "k2": mean(log_r**2 / 2),
        "k3": mean(np.expm1(log_r) - log_r),
    }


def _near(margin: Doubles, drift: float) -> float:
    known = margin[~np.isnan(margin)]
    return float((known < drift).mean()) if len(known) and not np.isnan(drift) else float("nan")


def top1_std(r: Runs, own: Any, first: float) -> float:
    """Mean over the steps before the first fork of the standard deviation, over runs, of the best token's
    probability."""
    if r.top_logprobs is None or not r.top_logprobs.shape[2] or len(own) < 2:
        return float("nan")
    end = int(r.length[own].min() if np.isnan(first) else first)
    best = np.exp(r.top_logprobs[own, :end, 0].astype(np.float64))
    # Without what is not known: a prefix that was given may have no log probabilities.
    return mean(best.std(axis=0, ddof=1))


def tokens_std(length: Any) -> float:
    """NaN also where no answer's length is known."""
    return std(length) if length.any() else float("nan")
