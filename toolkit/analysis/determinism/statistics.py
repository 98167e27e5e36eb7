"""Statistics of the agreement between runs: estimates, bounds, intervals and a test, from arrays of numbers."""

from __future__ import annotations

import math
from functools import lru_cache
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
_ONE_TAIL = (1 + CONFIDENCE) / 2
"""Confidence level of one end of an interval."""
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


def bound(events: float, trials: float) -> float:
    """The upper end of the one-sided 95 % confidence interval of a share, given `events` in `trials` (Clopper and
    Pearson 1934, doi:10.1093/biomet/26.4.404): without an event 1 − 0.05^(1 / trials), about 3 / trials. 1 without
    trials. Trials must be independent: runs of one request are, runs of several requests are not (see
    `bound_of_mean`)."""
    return float(_clopper_pearson_end(events / trials, trials, CONFIDENCE)) if trials else 1.0


def _clopper_pearson_end(share: Any, trials: Any, confidence: float) -> Doubles:
    """(…) the upper ends of the one-sided intervals of shares; neither they nor the trials need to be whole."""
    from scipy.special import betaincinv  # the quantile that scipy.stats.beta gives, a hundred times faster

    events = np.minimum(share, 1.0) * trials
    end = betaincinv(events + 1, np.maximum(trials - events, 1e-300), confidence)
    return np.asarray(np.where(events >= trials, 1.0, end))


@lru_cache(maxsize=4096)
def bound_of_repeats(differ: int, runs: int) -> float:
    """At 95 % confidence no more than this share of further runs of one request differ from its commonest output,
    which `differ` of its `runs` do not give. 1 for a single run.

    When all runs are equal: if every output had a share below t, all n runs would be equal with a probability of at
    most k tⁿ + (1 − k t)ⁿ, where k = ⌊1 / t⌋ outputs have the share t. The bound is 1 − t where that is 5 %: from 6
    runs on 1 − 0.05^(1 / n). Otherwise that of Clopper and Pearson over n − 1 trials, since the commonest output was
    chosen from the same runs; it is too low if many outputs are about as common as that.
    """
    if runs < 2 or differ:
        return bound(differ, max(runs - 1, 0))
    low, high = 0.0, 1.0
    for _ in range(60):  # bisection
        share = (low + high) / 2
        outputs = math.floor(1 / share)
        equal = outputs * share**runs + max(0.0, 1 - outputs * share) ** runs
        low, high = (share, high) if equal < 1 - CONFIDENCE else (low, share)
    return 1 - low


def differing_share(counts: npt.ArrayLike) -> float:
    """The share of runs that differ from the commonest output of the other runs, given the counts of each output:
    the leave-one-out estimate of the share of further runs that do, which the choice of the commonest output does
    not bias. Between equally common outputs the choice is by lot. NaN for fewer than two runs."""
    n = np.sort(np.asarray(counts, np.int64))[::-1]
    runs, most = int(n.sum()), int(n[0])
    if runs < 2:
        return float("nan")
    if (n == most).sum() > 1:
        return 1.0  # without one of its runs, a commonest output is no longer commonest
    # Where the next outputs have one run fewer, they are as common as the first once one of its runs is left out.
    return 1 - most / (1 + int((n == most - 1).sum() if most > 1 else 0)) / runs


def interval(events: Any, trials: Any) -> Doubles:
    """(2, …) low and high ends of the 95 % confidence intervals of the shares events / trials (Wilson 1927,
    doi:10.1080/01621459.1927.10502953); NaN without trials. Its coverage is 95 % on average over shares; with few
    trials and a share near 0 or 1 it is less (83 % for 0.96 of 5): `exact_interval` is never below."""
    n = np.where(np.asarray(trials) > 0, trials, np.nan)
    return wilson(events / n, n)


def exact_interval(events: float, trials: float) -> tuple[float, float]:
    """The 95 % confidence interval of a share (Clopper and Pearson 1934): it holds in at least 95 % of samples,
    whatever the share and however few the trials, and in more where these are few, since counts are discrete. NaN
    without trials."""
    if not trials:
        return float("nan"), float("nan")
    share = events / trials
    low = 1 - _clopper_pearson_end(1 - share, trials, _ONE_TAIL)
    return float(low), float(_clopper_pearson_end(share, trials, _ONE_TAIL))


def interval_of_mean(values: npt.ArrayLike) -> tuple[float, float]:
    """The 95 % confidence interval of the mean of one value from 0 to 1 per request; NaN for fewer than two requests.

    That of Clopper and Pearson for a share of as many trials as have the variance of this mean: Korn and Graubard
    1998, "Confidence intervals for proportions with small expected number of positive counts estimated from survey
    data", Survey Methodology 24 (method "beta" of R's survey::svyciprop). It has a width where all values are equal.

    In simulations it holds the mean of continuous values (near 1, skewed, uniform, U-shaped, many of them 1) in 93.5
    to 98 % of samples of 5 requests and more, and of 2 and 3 in at least 91.5 %. Values that are discrete and mostly
    equal, as agreements of few runs are, have no interval of the same coverage everywhere: there it is wider than
    needed, and holds the mean in up to 100 % of small samples.
    """
    sample = np.sort(_without_nan(values))  # sums do not depend on the order of requests
    if len(sample) < 2:
        return float("nan"), float("nan")
    low, high = 1 - _upper_ends(1 - sample, _ONE_TAIL), _upper_ends(sample, _ONE_TAIL)
    return float(low), float(high)


def bound_of_mean(values: npt.ArrayLike) -> float:
    """At 95 % confidence the mean of one value from 0 to 1 per request is at most this (see `interval_of_mean`):
    1 − 0.05^(1 / n) where all of n values are 0; 1 without values. In the simulations named there it holds in at
    least 94 % of samples of 5 requests and more; in 92.5 % where all values are very near 0 and none is 0."""
    sample = np.sort(_without_nan(values))
    return float(_upper_ends(sample, CONFIDENCE)) if len(sample) else 1.0


def _upper_ends(samples: Doubles, confidence: float) -> Doubles:
    """(…) the upper ends for (…, n) values."""
    n = samples.shape[-1]
    share = np.clip(samples.mean(axis=-1), 0, 1)
    variance = samples.var(axis=-1, ddof=1) / n if n > 1 else np.zeros_like(share)
    # A mean of n values from 0 to 1 varies at most as a share of n trials does.
    trials = np.maximum(n, _effective_trials(share, variance, n))
    return _clopper_pearson_end(share, trials, confidence)


def _effective_trials(share: Any, variance: Any, requests: Any) -> Doubles:
    """(…) the number of independent trials whose share has this variance, times the squared ratio of the quantiles
    of the normal and Student's distribution: the variance is an estimate from so many requests. As many as requests
    where they do not vary."""
    from scipy.special import ndtri, stdtrit

    ratio = ndtri(_ONE_TAIL) / stdtrit(np.maximum(requests - 1, 1), _ONE_TAIL)
    spread = np.asarray(share * (1 - share) * ratio**2, np.float64)
    known = np.asarray(variance) > 1e-15
    fallback = np.broadcast_to(np.asarray(requests, np.float64), spread.shape).copy()
    return np.asarray(np.divide(spread, variance, out=fallback, where=known))


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


def survival(forked: npt.ArrayLike, ended: npt.ArrayLike) -> dict[str, Doubles]:
    """The share of pairs of runs that have not forked before each step: the estimator of Kaplan and Meier (1958,
    doi:10.1080/01621459.1958.10501452).

    forked, ended: (Q, T) for each of Q requests and T steps the number of pairs that fork at the step, and that are
    the same to their end there (censored: longer, they might have forked). Returns (T + 1,) arrays: at_risk (pairs
    that reach the step), forked (at it), survival (S(t), the share that has not forked before step t), and low and
    high, the 95 % confidence interval over requests (as in `interval_of_mean`, with the variance of leaving out one
    request at a time); NaN if there is only one.
    """
    events, censored = np.asarray(forked, np.float64), np.asarray(ended, np.float64)
    at_risk = (events + censored)[:, ::-1].cumsum(axis=1)[:, ::-1]
    requests = len(events)
    forked_pairs, pairs_at_risk = events.sum(axis=0), at_risk.sum(axis=0)
    curve = _curve(forked_pairs, pairs_at_risk)
    low = high = np.full(len(curve), np.nan)
    if requests > 1:
        left_out = _curve(forked_pairs - events, pairs_at_risk - at_risk)
        variance = (requests - 1) * left_out.var(axis=0)
        # Requests tell of the share after a step if some of their pairs reached it, or forked before.
        informed = np.append(requests, ((at_risk > 0) | (events.cumsum(axis=1) > 0)).sum(axis=0))
        trials = np.maximum(_effective_trials(curve, variance, informed), 1e-9)
        low = 1 - _clopper_pearson_end(1 - curve, trials, _ONE_TAIL)
        high = _clopper_pearson_end(curve, trials, _ONE_TAIL)
        low[0] = 1.0
    pad = [0.0]
    return {
        "at_risk": np.append(pairs_at_risk, pad),
        "forked": np.append(forked_pairs, pad),
        "survival": curve,
        "low": low,
        "high": high,
    }


def _curve(forked: Doubles, at_risk: Doubles) -> Doubles:
    """(…, T + 1) survival for (…, T) pairs that fork at each step, and that reach it."""
    steps = 1 - np.divide(forked, at_risk, out=np.zeros_like(forked), where=at_risk > 0)
    return np.concatenate([np.ones((*steps.shape[:-1], 1)), np.cumprod(steps, axis=-1)], axis=-1)


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
