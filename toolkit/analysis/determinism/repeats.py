"""Repeats: all answers to one request: which are the same, where they diverge, and by how much they drift."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit.analysis.determinism.statistics import Counts, Doubles, forks, mean, std, ulps
from toolkit.core.choice import UNLIKELY, Vocabulary
from toolkit.store.store import Store

if TYPE_CHECKING:
    import pandas as pd


FINGERPRINT = "system_fingerprint"
"""The column of a results table that identifies the system."""
Floats = npt.NDArray[np.float32]
_END, _PADDING = -1, -2
"""In place of token IDs: after the last one, and from there on. They are no IDs, so that an output that ends where
another continues differs there."""
_COMPLETION_KEY = ("request", "system_fingerprint", "repeat", "choice")
"""The columns that identify a choice of a completion."""


@dataclass(frozen=True, eq=False)
class Repeats:
    """n runs of one request (of one of its choices), of at most T steps, on S systems, with U distinct outputs.

    Systems are fingerprints, or the values of another column that runs are compared across.
    """

    request: str
    choice: int
    rows: Counts
    """(n,) positions of the runs in the table, from 0."""
    system: Counts
    """(n,) indices of systems, 0 to S − 1."""
    systems: int
    output: Counts
    """(n,) indices of distinct outputs, 0 to U − 1."""
    ids: npt.NDArray[np.int32]
    """(n, T + 1) token IDs; −1 after the last, −2 from there on. (n, 0) if a server reports none, or the systems have
    different tokenizers: then the texts are compared, and no step is shared."""
    length: Counts
    """(n,) number of tokens of each run."""
    fork: Doubles
    """(U, U) the first step at which two outputs differ; T + 1 on the diagonal. NaN without token IDs."""
    logprobs: Floats | None
    """(n, T) of the chosen tokens; NaN past the end. None if some run has none, or without token IDs."""
    top_ids: npt.NDArray[np.int32] | None
    """(n, T, k) with the largest k of the runs; −1 past the end of an answer, and of a shorter list. None if no run
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
        """(S,) the first run of each system with its commonest output (of equally common ones, that of the lowest
        index); −1 if it has no run."""
        result = np.full(self.systems, -1, np.int64)
        runs = np.flatnonzero(self.output == self.counts.argmax(axis=1)[self.system])[::-1]
        result[self.system[runs]] = runs  # in reverse order, so that the first run is assigned last
        return result

    def first_fork(self, system: int | None = None) -> float:
        """The first step at which any two runs (of a system) differ; NaN if none do."""
        outputs = np.flatnonzero((self.counts.sum(axis=0) if system is None else self.counts[system]) > 0)
        if len(outputs) < 2:
            return float("nan")
        steps = self.fork[np.ix_(outputs, outputs)]
        return float(steps[np.triu_indices(len(outputs), 1)].min())

    def shared(self, runs: npt.ArrayLike, others: npt.ArrayLike) -> Counts:
        """(m,) number of steps that each run shares with another, up to the fork or the end; 0 without token IDs."""
        a, b = np.asarray(runs), np.asarray(others)
        fork_steps = np.nan_to_num(self.fork[self.output[a], self.output[b]])
        return np.asarray(np.minimum(fork_steps, self.length[a]), np.int64)

    def compared(self, runs: npt.ArrayLike, others: npt.ArrayLike) -> Compared | None:
        """Compares the log probabilities of some runs with those of others, over the steps that they share; None
        without log probabilities."""
        if self.logprobs is None:
            return None
        a, b = np.asarray(runs), np.asarray(others)
        lengths = self.shared(a, b)
        within = np.arange(self.logprobs.shape[1]) < lengths[:, None]
        first, second = self.logprobs[a], self.logprobs[b]
        is_known = within & (first > UNLIKELY) & (second > UNLIKELY)
        nans = np.full(first.shape, np.nan)
        drift = np.subtract(second, first, out=nans, where=is_known, dtype=np.float64)
        same = first.view(np.int32) == second.view(np.int32)
        distance = np.where(is_known, ulps(first, second), 0)
        margin = np.full(first.shape, np.nan)
        if self.top_logprobs is not None and self.top_ids is not None and self.top_ids.shape[2]:
            same_top = self.top_logprobs[a].view(np.int32) == self.top_logprobs[b].view(np.int32)
            same = same & (same_top & (self.top_ids[a] == self.top_ids[b])).all(axis=2)
            if self.top_ids.shape[2] > 1:
                top = self.top_logprobs[a].astype(np.float64)
                margin = top[:, :, 0] - top[:, :, 1]
        return Compared(within, drift, same & within, distance, np.where(within, margin, np.nan))

    def margin(self, run: int, step: float) -> float:
        """Log probability of a run's best token minus the second's at a step, nats; NaN if not known."""
        top = self.top_logprobs
        if top is None or top.shape[2] < 2 or np.isnan(step) or step >= self.length[run]:
            return float("nan")
        return float(top[run, int(step), 0]) - float(top[run, int(step), 1])

    def pairs(self, system: int, other_system: int) -> tuple[Doubles, Doubles]:
        """(T,) number of pairs of runs that fork at each step, and (T,) of pairs that are the same and have that step
        as their last: among all runs of a system, or between those of two systems. Needs token IDs."""
        steps = int(self.length.max())
        a, b = (self.counts[s].astype(np.float64) for s in (system, other_system))
        products = np.outer(a, b)
        equal = np.diag(products).copy() if system != other_system else a * (a - 1) / 2
        if system == other_system:
            products = np.triu(products, 1)
        np.fill_diagonal(products, 0)
        lengths = np.zeros(len(a), np.int64)
        lengths[self.output] = self.length
        # The diagonal of forks, past the last step, has weight 0.
        forked = np.minimum(self.fork.ravel().astype(np.int64), steps - 1)
        return (
            np.bincount(forked, products.ravel(), steps).astype(np.float64),
            np.bincount(lengths - 1, equal, steps).astype(np.float64),
        )


@dataclass(frozen=True)
class Compared:
    """Runs compared with others, over the steps that they share: each array is (m, T)."""

    within: npt.NDArray[np.bool_]
    """Whether the step is shared."""
    drift: Doubles
    """Log probability of the chosen token in the other run minus that in the run, nats; NaN past the shared steps,
    and where either is not known, minus infinity, or a server's −9999."""
    same: npt.NDArray[np.bool_]
    """Whether all stored log probabilities of the step have the same bits, top k included."""
    ulps: Counts
    """Distance of the two in units in the last place."""
    margin: Doubles
    """Of the run's best token over its second, nats; NaN if not known."""

    @property
    def largest_drift(self) -> float:
        differences = np.abs(self.drift[~np.isnan(self.drift)])
        return float(differences.max()) if len(differences) else float("nan")


def gather(table: pd.DataFrame, store: Store, across: str) -> tuple[list[Any], list[Repeats]]:
    """The systems in a column, in order of appearance, and the runs of each request of a results table. Each
    completion counts once, however many rows have it."""
    answered = np.flatnonzero(table["finish_reason"] != "error")
    duplicate = table.iloc[answered].duplicated([*_COMPLETION_KEY, across]).to_numpy()
    rows = answered[~duplicate]
    completions = table.iloc[rows]
    systems = completions[across]
    if across == FINGERPRINT:  # a server may have several, of earlier versions and of its model's aliases
        systems = systems.map(store.system_ids(systems.unique().tolist()))
    system, names = systems.factorize(use_na_sentinel=False)
    keys = list(zip(*(completions[name].tolist() for name in _COMPLETION_KEY), strict=True))
    texts, tokens = completions["text"].tolist(), completions["completion_tokens"]
    counted, counts = tokens.notna().to_numpy(), tokens.fillna(0).to_numpy(np.int64)
    arrays = store.arrays(list(dict.fromkeys(completions["request"])))
    vocabularies = _vocabulary_numbers(store, completions["system_fingerprint"].unique().tolist())
    multiple_choices = {request for request, _, _, choice in keys if choice > 0}
    groups: dict[tuple[str, int], list[int]] = {}
    for position, (request, _, _, choice) in enumerate(keys):
        groups.setdefault((request, choice), []).append(position)
    repeats = []
    for (request, choice), runs in groups.items():
        run_arrays = [arrays[keys[position]] for position in runs]
        length = np.array([len(run["token_ids"]) for run in run_arrays])
        tokenizers = {vocabularies[keys[position][1]] for position in runs} - {None}
        if length.all() and len(tokenizers) < 2:
            output, numbers = _outputs_by_tokens(run_arrays, length)
        else:
            # Of several choices a server reports only the total, and some report none.
            is_known = counted[runs].all() and (length.all() or request not in multiple_choices)
            length = counts[runs] if is_known else np.zeros_like(counts[runs])
            output, numbers = _outputs_by_text([texts[position] for position in runs])
        repeats.append(
            Repeats(request, choice, rows[runs], system[runs], len(names), output, length=length, **numbers)
        )
    return list(names), repeats


def _vocabulary_numbers(store: Store, fingerprints: list[str]) -> dict[str, int | None]:
    """Fingerprint → number of its vocabulary, equal for equal vocabularies; None if none is stored."""
    if len(fingerprints) < 2:
        return dict.fromkeys(fingerprints)
    vocabularies: list[Vocabulary] = []
    numbers = dict[str, int | None]()
    for name in fingerprints:
        try:
            vocabulary = store.vocabulary(name)
        except KeyError:
            vocabulary = []
        if vocabulary and vocabulary not in vocabularies:
            vocabularies.append(vocabulary)
        numbers[name] = vocabularies.index(vocabulary) if vocabulary else None
    return numbers


def _outputs_by_text(texts: list[str]) -> tuple[Counts, dict[str, Any]]:
    """(n,) indices of distinct outputs, and placeholders for the unknown arrays."""
    numbers = {text: number for number, text in enumerate(sorted(set(texts)))}
    return np.array([numbers[text] for text in texts]), {
        "ids": np.zeros((len(texts), 0), np.int32),
        "fork": np.full((len(numbers), len(numbers)), np.nan),
        **dict.fromkeys(("logprobs", "top_ids", "top_logprobs")),
    }


def _outputs_by_tokens(run_arrays: list[Any], length: Counts) -> tuple[Counts, dict[str, Any]]:
    """(n,) indices of distinct outputs, and the stacked arrays of all runs."""
    steps = int(length.max())
    ids = np.full((len(run_arrays), steps + 1), _PADDING, np.int32)
    for run, arrays in enumerate(run_arrays):
        ids[run, : length[run]] = arrays["token_ids"]
    ids[np.arange(len(run_arrays)), length] = _END
    # Compared as bytes, which is a hundred times faster than by columns and keeps equal prefixes together.
    rows = ids.view(f"V{ids.itemsize * ids.shape[1]}").ravel()
    _, first, output = np.unique(rows, return_index=True, return_inverse=True)
    fill_values = {"logprobs": np.nan, "top_ids": -1, "top_logprobs": np.nan}
    padded = {
        n: _stack_padded([arrays[n] for arrays in run_arrays], length, steps, value)
        for n, value in fill_values.items()
    }
    if any(arrays["logprobs"] is None for arrays in run_arrays):
        padded = dict.fromkeys(padded)
    return output, {"ids": ids, "fork": forks(ids[first]).astype(np.float64), **padded}


def _stack_padded(arrays: list[Any], length: Counts, steps: int, fill_value: float) -> Any:
    """(n, T, …) from n arrays of fewer steps or columns, padded; None if all are missing."""
    present = [(run, array) for run, array in enumerate(arrays) if array is not None]
    if not present:
        return None
    shape = max(array.shape[1:] for _, array in present)
    result = np.full((len(arrays), steps, *shape), fill_value, present[0][1].dtype)
    for run, array in present:
        place: Any = (run, slice(length[run]), *map(slice, array.shape[1:]))
        result[place] = array
    return result


def compare_with_mode(r: Repeats, runs: Any, mode: int) -> dict[str, float]:
    """Compares a system's runs with its commonest output."""
    others = runs[runs != mode]
    compared = r.compared(others, np.full(len(others), mode)) if len(others) else None
    if compared is None or not compared.within.any():
        return dict.fromkeys(("drift", "ulps", "bitwise", "near_ties"), float("nan"))
    return {
        "drift": compared.largest_drift,
        "ulps": float(compared.ulps.max()),
        "bitwise": float(compared.same.sum() / compared.within.sum()),
        "near_ties": _near_tie_share(compared.margin, compared.largest_drift),
    }


def compare_modes(repeats: list[Repeats], a: int, b: int) -> dict[str, float]:
    """Compares the commonest outputs of two systems, over all requests."""
    comparisons = [c for r in repeats if (c := r.compared([r.modes[a]], [r.modes[b]])) is not None]
    drift = np.concatenate([c.drift.ravel() for c in comparisons]) if comparisons else np.zeros(0)
    margin = np.concatenate([c.margin.ravel() for c in comparisons]) if comparisons else np.zeros(0)
    log_r = drift[~np.isnan(drift)]
    largest = float(np.abs(log_r).max()) if len(log_r) else float("nan")
    steps = sum(int(c.within.sum()) for c in comparisons)
    return {
        "drift": largest,
        "bitwise": sum(int(c.same.sum()) for c in comparisons) / steps if steps else np.nan,
        "near_ties": _near_tie_share(margin, largest),
        "k1": mean(-log_r),
        "k2": mean(log_r**2 / 2),
        "k3": mean(np.expm1(log_r) - log_r),
    }


def _near_tie_share(margin: Doubles, drift: float) -> float:
    margins = margin[~np.isnan(margin)]
    return float((margins < drift).mean()) if len(margins) and not np.isnan(drift) else float("nan")


def top1_std(r: Repeats, runs: Any, first: float) -> float:
    """Standard deviation over runs of the best token's probability, averaged over the steps before the first fork."""
    if r.top_logprobs is None or not r.top_logprobs.shape[2] or len(runs) < 2:
        return float("nan")
    end = int(r.length[runs].min() if np.isnan(first) else first)
    best = np.exp(r.top_logprobs[runs, :end, 0].astype(np.float64))
    # mean() ignores NaN: the tokens of a given prefix may have no log probabilities.
    return mean(best.std(axis=0, ddof=1))


def tokens_std(length: Any) -> float:
    """Standard deviation of the lengths; NaN also if no length is known."""
    return std(length) if length.any() else float("nan")
