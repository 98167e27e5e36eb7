"""The Pareto front of cost and quality."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def pareto(cost: npt.ArrayLike, quality: npt.ArrayLike) -> npt.NDArray[np.bool_]:
    """(n,) True on the Pareto front, where no other point dominates: costs no more and is no worse, with one of the
    two better. Equal points are on it together; one with NaN is not. Raises ValueError for different lengths."""
    costs, qualities = np.asarray(cost, np.float64), np.asarray(quality, np.float64)
    if costs.shape != qualities.shape:
        raise ValueError(f"cost and quality must be of one length, got {len(costs)} and {len(qualities)}")
    keep = np.zeros(len(costs), bool)
    valid = np.flatnonzero(~(np.isnan(costs) | np.isnan(qualities)))
    # The cheap first, the best first among equals.
    order = valid[np.lexsort((-qualities[valid], costs[valid]))]
    if len(order):
        c, q = costs[order], qualities[order]
        first = np.searchsorted(c, c)
        before = np.concatenate([[-np.inf], np.maximum.accumulate(q)])
        keep[order] = (q == q[first]) & (q > before[first])
    return keep
