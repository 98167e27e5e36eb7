"""Statistics of the agreement between runs: estimates, bounds, intervals and a test, from arrays of numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit._internal.intervals import wilson

if TYPE_CHECKING:
    import pandas as pd

Doubles = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]
CONFIDENCE = 0.95
"""Confidence level of all bounds and intervals."""
_RESAMPLES = 2000
_SHUFFLES = 999


def agreement(counts: npt.ArrayLike) -> float:
    """How often two different runs agree: A = Σ n_c (n_c − 1) / (N (N − 1)) over the counts n_c of each distinct
    output; the unbiased estimate of Simpson's index (Simpson 1949, doi:10.1038/163688a0), which does not depend on N
    as the number of distinct outputs does. NaN for fewer than two runs."""
    n = np.asarray(counts, np.float64)
    total = n.sum()
    return float((n * (n - 1)).sum() / (total * (total - 1))) if total > 1 else float("nan")


def agreement_between(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """How often a run of one system agrees with a run of another: Σ a_c b_c / (N_a N_b), over the counts of the same
    outputs in both. NaN where one has no run."""
    first, second = np.asarray(a, np.float64), np.asarray(b, np.float64)
    total = first.sum() * second.sum()
    return float(first @ second / total) if total else float("nan")


def effective(counts: npt.ArrayLike) -> float:
    """The number of equally common outputs of the same diversity: 1 / Σ p_c² (inverse Simpson; Hill 1973,
    doi:10.2307/1934352). NaN without runs."""
    n = np.asarray(counts, np.float64)
    return float(n.sum() ** 2 / (n**2).sum()) if n.sum() else float("nan")


def bound(events: int, trials: int) -> float:
    """The upper end of the one-sided 95 % confidence interval of a share, given `events` in `trials` (Clopper and
    Pearson 1934, doi:10.1093/biomet/26.4.404): without an event about 3 / trials (the rule of three). 1 without
    trials."""
    from scipy.special import betaincinv  # the quantile that scipy.stats.beta gives, a hundred times faster

    return 1.0 if events >= trials else float(betaincinv(events + 1, trials - events, CONFIDENCE))


def interval(events: Any, trials: Any) -> Doubles:
    """(2, …) low and high ends of the 95 % confidence intervals of the shares events / trials (Wilson 1927,
    doi:10.1080/01621459.1927.10502953); NaN without trials."""
    n = np.where(np.asarray(trials) > 0, trials, np.nan)
    return wilson(events / n, n)


def interval_of_mean(values: npt.ArrayLike, seed: int = 0) -> tuple[float, float]:
    """The 95 % confidence interval of the mean of one value per request: percentiles of 2,000 bootstrap resamples of
    requests, since the runs of one request are not independent. NaN for fewer than two. For equal values it is that
    value: it does not include what was not observed (see `bound`)."""
    sample = np.sort(_without_nan(values))  # independent of the order of requests
    if len(sample) < 2:
        return float("nan"), float("nan")
    low, high = _central_interval(sample[_resample_indices(len(sample), seed)].mean(axis=1))
    return float(low), float(high)


def _resample_indices(requests: int, seed: int) -> Counts:
    """(resamples, requests) indices drawn with replacement: the same for the same seed."""
    return np.random.default_rng(seed).integers(0, requests, (_RESAMPLES, requests))


def _central_interval(values: Doubles) -> Doubles:
    """(2, …) the ends of the central 95 % of the first axis."""
    return np.asarray(np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0))


def forks(ids: npt.NDArray[np.int32]) -> Counts:
    """(U, U) the first step at which each two of U different outputs differ (the divergence index of Yuan et al.,
    arXiv 2506.09501, from 0); on the diagonal the number of steps.

    ids: (U, S) token IDs, sorted so that equal prefixes are neighbours, as np.unique does, and padded with values
    that are no IDs, so that an output that continues where another ends differs there.
    """
    outputs, steps = ids.shape
    result = np.full((outputs, outputs), steps, np.int64)
    if outputs > 1:
        neighbours = (ids[1:] != ids[:-1]).argmax(axis=1)
        for row in range(outputs - 1):
            # The shared prefix of two sorted rows is the shortest of all neighbours between them.
            result[row, row + 1 :] = np.minimum.accumulate(neighbours[row:])
            result[row + 1 :, row] = result[row, row + 1 :]
    return result


def survival(forked: npt.ArrayLike, ended: npt.ArrayLike, seed: int = 0) -> dict[str, Doubles]:
    """The share of pairs of runs that have not forked before each step: the estimator of Kaplan and Meier (1958,
    doi:10.1080/01621459.1958.10501452).

    forked, ended: (Q, T) for each of Q requests and T steps the number of pairs that fork at the step, and that are
    the same to their end there (censored: longer, they might have forked). Returns (T + 1,) arrays: at_risk (pairs
    that reach the step), forked (at it), survival (S(t), the share that has not forked before step t), and low and
    high, the 95 % confidence interval by resampling requests; NaN if there is only one.
    """
    events, censored = np.asarray(forked, np.float64), np.asarray(ended, np.float64)
    order = np.lexsort(np.concatenate([events, censored], axis=1).T)  # independent of the order of requests
    events, censored = events[order], censored[order]
    at_risk = (events + censored)[:, ::-1].cumsum(axis=1)[:, ::-1]
    unit_weights = np.ones(len(events))
    curve = _curve(events, at_risk, unit_weights[None])[0]
    low = high = np.full(len(curve), np.nan)
    if len(events) > 1:
        resamples = _resample_indices(len(events), seed)
        weights = np.stack([np.bincount(row, minlength=len(events)) for row in resamples])
        low, high = _central_interval(_curve(events, at_risk, weights))
    pad = [0.0]
    return {
        "at_risk": np.append(at_risk.sum(axis=0), pad),
        "forked": np.append(events.sum(axis=0), pad),
        "survival": curve,
        "low": low,
        "high": high,
    }


def _curve(events: Doubles, at_risk: Doubles, weights: Any) -> Doubles:
    """(B, T + 1) survival for each of B weightings of the requests."""
    forked, reached = weights @ events, weights @ at_risk
    steps = 1 - np.divide(forked, reached, out=np.zeros_like(forked), where=reached > 0)
    return np.concatenate([np.ones((len(steps), 1)), np.cumprod(steps, axis=1)], axis=1)


def effect(pairs: list[tuple[npt.ArrayLike, npt.ArrayLike]], seed: int = 0) -> tuple[float, float]:
    """The effect of another system beyond the differences between runs of one: the mean over requests of
    (A_aa + A_bb) / 2 − A_ab, and its p-value by a permutation test: how often runs assigned to the two systems at
    random, within each request, have at least that effect (999 shuffles and the observed assignment).

    pairs: for each request the counts of the same outputs in both systems. NaN if no request has two runs in each:
    then the effect cannot be distinguished from chance.
    """
    # Sorted, so that the shuffles do not depend on the order of requests and of the two systems.
    ordered = sorted(sorted(np.asarray(counts, np.int64).tolist() for counts in pair) for pair in pairs)
    repeated = [(np.array(a), np.array(b)) for a, b in ordered if min(sum(a), sum(b)) > 1]
    if not repeated:
        return float("nan"), float("nan")
    observed = float(np.mean([_excess_agreement(a[None], b[None])[0] for a, b in repeated]))
    rng = np.random.default_rng(seed)
    total = np.zeros(_SHUFFLES)
    for a, b in repeated:
        pooled = a + b
        if pooled.max() > 1 and len(pooled) > 1:  # else all shuffles are equal and add 0
            sample = rng.multivariate_hypergeometric(pooled, a.sum(), size=_SHUFFLES)
            total += _excess_agreement(sample, pooled - sample)
    shuffled = total / len(repeated)
    return observed, float((1 + (shuffled >= observed - 1e-12).sum()) / (1 + _SHUFFLES))


def _excess_agreement(a: Counts, b: Counts) -> Doubles:
    """(B,) agreement within the systems minus agreement between them, for B rows of counts."""
    within = [(n * (n - 1)).sum(axis=1) / (n.sum(axis=1) * (n.sum(axis=1) - 1.0)) for n in (a, b)]
    return np.asarray(
        (within[0] + within[1]) / 2 - (a * b).sum(axis=1) / (a.sum(axis=1) * b.sum(axis=1) * 1.0)
    )


SMALLEST = float(np.finfo(np.float64).smallest_subnormal)
"""The smallest positive number: no exact test gives p = 0."""


def mcnemar(a: pd.Series[Any], b: pd.Series[Any]) -> dict[str, float]:
    """first_only and second_only (pairs in which one alone is true) and p, the two-sided exact test (McNemar 1947,
    doi:10.1007/BF02295996: a binomial over those that differ). a, b: paired values; pairs with a missing one are
    left out; NaN where none is left. p is at least the smallest positive number, where the test's is smaller."""
    from scipy.stats import binomtest

    paired = a.notna() & b.notna()
    first, second = a[paired].astype(bool), b[paired].astype(bool)
    first_only, second_only = int((first & ~second).sum()), int((second & ~first).sum())
    differing = first_only + second_only
    p = max(float(binomtest(first_only, differing).pvalue), SMALLEST) if differing else 1.0
    counts = {"first_only": first_only, "second_only": second_only, "p": p}
    return counts if paired.any() else dict.fromkeys(counts, float("nan"))


def holm(p: npt.ArrayLike) -> Doubles:
    """(m,) p-values of m tests with Holm's correction of the family-wise error rate (Holm 1979,
    https://www.jstor.org/stable/4615733); NaN stays NaN and is not counted as a test."""
    values = np.asarray(p, np.float64)
    corrected = values.copy()
    valid = np.flatnonzero(~np.isnan(values))
    order = valid[np.argsort(values[valid], kind="stable")]
    raised = values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return corrected


def ulps(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> Counts:
    """Distances of float32 numbers in units in the last place: 1 for neighbours, 0 for equal ones (−0 equals 0)."""
    integers = (a.view(np.int32).astype(np.int64), b.view(np.int32).astype(np.int64))
    # The bits of negative floats count downwards: mapped so, neighbours differ by one.
    first, second = (np.where(w < 0, -(w & 0x7FFFFFFF), w) for w in integers)
    return np.asarray(np.abs(first - second))


def _without_nan(values: npt.ArrayLike) -> Doubles:
    numbers = np.asarray(values, np.float64)
    return np.asarray(numbers[~np.isnan(numbers)])


def mean(values: Any) -> float:
    """Without NaN; NaN for no values."""
    numbers = _without_nan(values)
    return float(numbers.mean()) if len(numbers) else float("nan")


def median(values: Any) -> float:
    """Without NaN; NaN for no values."""
    numbers = _without_nan(values)
    return float(np.median(numbers)) if len(numbers) else float("nan")


def std(values: Any) -> float:
    """Sample standard deviation; NaN for fewer than two values."""
    numbers = np.asarray(values, np.float64)
    return float(numbers.std(ddof=1)) if len(numbers) > 1 else float("nan")
