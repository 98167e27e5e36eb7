"""Agreement: how alike the runs of a request are, with bounds, intervals and a test. Numbers in, numbers out."""

from __future__ import annotations

from decimal import ROUND_CEILING, Context
from typing import Any

import numpy as np
import numpy.typing as npt

Doubles = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

CONFIDENCE = 0.95
"""Of all bounds and intervals."""
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
    """The number of equally common outputs that would be as diverse: 1 / Σ p_c² (inverse Simpson; Hill 1973,
    doi:10.2307/1934352). NaN without runs."""
    n = np.asarray(counts, np.float64)
    return float(n.sum() ** 2 / (n**2).sum()) if n.sum() else float("nan")


def bound(events: int, trials: int) -> float:
    """The upper end of the one-sided 95 % interval for a share, of which `events` of `trials` were seen (Clopper and
    Pearson 1934, doi:10.1093/biomet/26.4.404): without an event about 3 / trials (the rule of three). 1 without
    trials."""
    from scipy.special import betaincinv  # the quantile that scipy.stats.beta gives, a hundred times faster

    return 1.0 if events >= trials else float(betaincinv(events + 1, trials - events, CONFIDENCE))


def percent(share: float) -> str:
    """Two digits of a bound, rounded up: it may not claim more than is known."""
    return f"{Context(prec=2, rounding=ROUND_CEILING).create_decimal(100 * share).normalize():f} %"


def interval(events: Any, trials: Any) -> Doubles:
    """(2, …) low and high, 95 %, of the shares events / trials (Wilson 1927, doi:10.1080/01621459.1927.10502953); NaN
    without trials."""
    z = 1.959963984540054
    n = np.where(np.asarray(trials) > 0, trials, np.nan)
    p = events / n
    half = z * np.sqrt(p * (1 - p) / n + (z / (2 * n)) ** 2)
    middle = p + z**2 / (2 * n)
    low, high = np.clip(np.stack([middle - half, middle + half]) / (1 + z**2 / n), 0, 1)
    # Rounding may not leave the share itself outside, where it is none or all.
    found: Doubles = np.stack([np.where(p == 0, 0.0, low), np.where(p == 1, 1.0, high)])
    return found


def interval_of_mean(values: npt.ArrayLike, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the mean of one value a request: percentiles of 2,000 resamples of requests, since the
    runs of one request are not independent. NaN of fewer than two. Of equal values it is that value: what was not
    seen is not in it (see `bound`)."""
    known = np.sort(_known(values))  # the same resamples, whatever the order of requests
    if len(known) < 2:
        return float("nan"), float("nan")
    low, high = _ends(known[_drawn(len(known), seed)].mean(axis=1))
    return float(low), float(high)


def _drawn(requests: int, seed: int) -> Counts:
    """(resamples, requests) with replacement: the same for the same seed."""
    return np.random.default_rng(seed).integers(0, requests, (_RESAMPLES, requests))


def _ends(values: Doubles) -> Doubles:
    """(2, ...) the ends of the middle 95 %."""
    return np.asarray(np.quantile(values, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2], axis=0))


def forks(ids: npt.NDArray[np.int32]) -> Counts:
    """(U, U) the first step at which each two of U different outputs differ (the divergence index of Yuan et al.,
    arXiv 2506.09501, from 0); on the diagonal the number of steps.

    ids: (U, S) token ids in which equal beginnings are neighbours, as np.unique sorts them, and whose ends are filled
    up with what is no id, so that an output that only goes on where the other ends differs there.
    """
    number, steps = ids.shape
    found = np.full((number, number), steps, np.int64)
    if number > 1:
        neighbours = (ids[1:] != ids[:-1]).argmax(axis=1)
        for row in range(number - 1):
            # Of sorted rows the shared beginning is the least that lies between them.
            found[row, row + 1 :] = np.minimum.accumulate(neighbours[row:])
            found[row + 1 :, row] = found[row, row + 1 :]
    return found


def survival(forked: npt.ArrayLike, ended: npt.ArrayLike, seed: int = 0) -> dict[str, Doubles]:
    """The share of pairs of runs that have not forked before each step, by Kaplan and Meier (1958,
    doi:10.1080/01621459.1958.10501452).

    forked, ended: (Q, T) for each of Q requests and T steps how many pairs fork at the step, and how many are the
    same to their end there (they are censored: longer, they might have forked). Gives (T + 1,) arrays: at_risk (pairs
    that reach the step), forked (at it), survival (S(t), the share that has not forked before step t), and low and
    high, 95 % by resampling requests; NaN where there is only one.
    """
    events, censored = np.asarray(forked, np.float64), np.asarray(ended, np.float64)
    order = np.lexsort(np.concatenate([events, censored], axis=1).T)  # the same resamples, as above
    events, censored = events[order], censored[order]
    risk = (events + censored)[:, ::-1].cumsum(axis=1)[:, ::-1]
    alone = np.ones(len(events))
    curve = _curve(events, risk, alone[None])[0]
    low = high = np.full(len(curve), np.nan)
    if len(events) > 1:
        drawn = _drawn(len(events), seed)
        weights = np.stack([np.bincount(row, minlength=len(events)) for row in drawn])
        low, high = _ends(_curve(events, risk, weights))
    pad = [0.0]
    return {
        "at_risk": np.append(risk.sum(axis=0), pad),
        "forked": np.append(events.sum(axis=0), pad),
        "survival": curve,
        "low": low,
        "high": high,
    }


def _curve(events: Doubles, risk: Doubles, weights: Any) -> Doubles:
    """(B, T + 1) survival for each of B weightings of the requests."""
    forked, reached = weights @ events, weights @ risk
    steps = 1 - np.divide(forked, reached, out=np.zeros_like(forked), where=reached > 0)
    return np.concatenate([np.ones((len(steps), 1)), np.cumprod(steps, axis=1)], axis=1)


def effect(pairs: list[tuple[npt.ArrayLike, npt.ArrayLike]], seed: int = 0) -> tuple[float, float]:
    """What another system changes beyond what runs of one differ anyhow: the mean over requests of
    (A_aa + A_bb) / 2 − A_ab, and its p-value: how often runs that are dealt out to the two systems at random, within
    each request, do as much (999 shuffles, and the one that was seen).

    pairs: for each request the counts of the same outputs in both systems. NaN where no request has two runs in each:
    then the system cannot be told from chance.
    """
    # The same shuffles, whatever the order of requests and of the two.
    ordered = sorted(sorted(np.asarray(one, np.int64).tolist() for one in pair) for pair in pairs)
    counted = [(np.array(a), np.array(b)) for a, b in ordered if min(sum(a), sum(b)) > 1]
    if not counted:
        return float("nan"), float("nan")
    seen = float(np.mean([_apart(a[None], b[None])[0] for a, b in counted]))
    draw = np.random.default_rng(seed)
    total = np.zeros(_SHUFFLES)
    for a, b in counted:
        both = a + b
        if both.max() > 1 and len(both) > 1:  # else every shuffle is alike, and gives 0
            dealt = draw.multivariate_hypergeometric(both, a.sum(), size=_SHUFFLES)
            total += _apart(dealt, both - dealt)
    shuffled = total / len(counted)
    return seen, float((1 + (shuffled >= seen - 1e-12).sum()) / (1 + _SHUFFLES))


def _apart(a: Counts, b: Counts) -> Doubles:
    """(B,) agreement within less agreement between, for B rows of counts."""
    own = [(n * (n - 1)).sum(axis=1) / (n.sum(axis=1) * (n.sum(axis=1) - 1.0)) for n in (a, b)]
    return np.asarray((own[0] + own[1]) / 2 - (a * b).sum(axis=1) / (a.sum(axis=1) * b.sum(axis=1) * 1.0))


def holm(p: npt.ArrayLike) -> Doubles:
    """(m,) p-values of m tests, corrected so that any false finding among them is rare (Holm 1979,
    https://www.jstor.org/stable/4615733); NaN stays and does not count."""
    given = np.asarray(p, np.float64)
    found = given.copy()
    known = np.flatnonzero(~np.isnan(given))
    order = known[np.argsort(given[known], kind="stable")]
    raised = given[order] * np.arange(len(order), 0, -1)
    found[order] = np.minimum(np.maximum.accumulate(raised), 1.0)
    return found


def ulps(a: npt.NDArray[np.float32], b: npt.NDArray[np.float32]) -> Counts:
    """How many float32 numbers each two lie apart (units in the last place): 1 for neighbours, 0 for the same, of
    which −0 and 0 are."""
    whole = (a.view(np.int32).astype(np.int64), b.view(np.int32).astype(np.int64))
    # Negative floats count downwards: so mapped, neighbours differ by one.
    first, second = (np.where(w < 0, -(w & 0x7FFFFFFF), w) for w in whole)
    return np.asarray(np.abs(first - second))


def _known(values: npt.ArrayLike) -> Doubles:
    numbers = np.asarray(values, np.float64)
    return np.asarray(numbers[~np.isnan(numbers)])


def mean(values: Any) -> float:
    """Without what is not known; NaN of nothing."""
    known = _known(values)
    return float(known.mean()) if len(known) else float("nan")


def median(values: Any) -> float:
    """Without what is not known; NaN of nothing."""
    known = _known(values)
    return float(np.median(known)) if len(known) else float("nan")


def std(values: Any) -> float:
    """Sample standard deviation; NaN of fewer than two."""
    known = np.asarray(values, np.float64)
    return float(known.std(ddof=1)) if len(known) > 1 else float("nan")
