"""Confidence intervals of shares."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

_Z = 1.959963984540054
"""The quantile of the normal distribution for 95 %."""


def wilson(share: Any, trials: Any) -> npt.NDArray[np.float64]:
    """(2, …) low and high ends of the 95 % confidence intervals of shares of so many trials, which need not be whole
    numbers (Wilson 1927, doi:10.1080/01621459.1927.10502953); NaN where the trials are."""
    p, n = np.asarray(share, np.float64), np.asarray(trials, np.float64)
    half = _Z * np.sqrt(p * (1 - p) / n + (_Z / (2 * n)) ** 2)
    middle = p + _Z**2 / (2 * n)
    low, high = np.clip(np.stack([middle - half, middle + half]) / (1 + _Z**2 / n), 0, 1)
    # Rounding must not exclude the share itself, where it is 0 or 1.
    ends: npt.NDArray[np.float64] = np.stack([np.where(p == 0, 0.0, low), np.where(p == 1, 1.0, high)])
    return ends


def mean_share(scores: npt.ArrayLike, items: npt.ArrayLike) -> tuple[float, tuple[float, float], int]:
    """The mean of scores from 0 to 1, its 95 % interval, and the number of different items that they are of.

    (n,) scores, NaN where there is none, and (n,) the item of each. The answers to one item are no independent
    trials: the interval is Wilson's for (Σ m)² / Σ m² trials (Kish 1965, Survey Sampling), m the answers to each
    item: as many as there are items, where all have equally many. It holds however alike the answers to an item are,
    and is wider than need be where they are not. NaN without scores, and for scores outside 0 to 1.
    """
    values, names = np.asarray(scores, np.float64), np.asarray(items)
    names = names[~np.isnan(values)]
    values = values[~np.isnan(values)]
    if not len(values):
        return float("nan"), (float("nan"), float("nan")), 0
    sizes = np.unique(names, return_counts=True)[1]
    mean = float(values.mean())
    if values.min() < 0 or values.max() > 1:
        return mean, (float("nan"), float("nan")), len(sizes)
    low, high = wilson(mean, sizes.sum() ** 2 / (sizes**2).sum()).tolist()
    return mean, (low, high), len(sizes)
