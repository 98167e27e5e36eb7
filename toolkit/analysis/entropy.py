"""Bounds of the entropy of a next-token distribution of which only the most likely tokens are known."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.core.choice import Floats

Doubles = npt.NDArray[np.float64]
_ROUNDING = 1e-4
"""Absolute error of a log probability in float32. Torch's log_softmax on a CPU adds 49,152 terms one after another
and loses small ones: with AVX-512 all log probabilities of a step were up to 1.9e-5 too high in 400 real steps, and
3.6e-5 with 256,000 synthetic logits; with AVX2, whose registers hold half as many sums, 7.9e-5 with the latter."""


def entropy_bounds(
    top: Floats, chosen: Floats, in_top: npt.NDArray[np.bool_], vocabulary_size: float
) -> Doubles:
    """(3, N): missing mass, lower and upper bound of the entropy (nats) of each step.

    top: (N, k) log probabilities; chosen: (N,) that of the chosen token; in_top: (N,) whether it is among the top k
    (if not, it is a further known token); vocabulary_size: V, NaN if not known. With a missing mass r, and no missing
    token likelier than the least of the top k, p_k: r lies on at least r / p_k tokens (the lowest entropy) and at
    most on all V − k others, evenly (the highest).
    """
    logs = top.astype(np.float64)
    shares = np.exp(logs)
    listed = ~np.isnan(shares)
    shares[~listed] = 0
    logs[~(shares > 0)] = 0
    outside = ~in_top & ~np.isnan(chosen)
    outside_mass = np.where(outside, np.exp(chosen.astype(np.float64)), 0.0)
    known_mass = shares.sum(axis=1) + outside_mass
    entropy = -(shares * logs).sum(axis=1) - np.where(outside, outside_mass * chosen, 0.0)
    unlisted = vocabulary_size - listed.sum(axis=1) - outside
    cap = np.where(listed, shares, 1.0).min(axis=1, initial=1.0)
    complete = (unlisted <= 0) | (cap == 0)  # every possible token is listed
    missing = np.where(complete, 0.0, np.clip(1 - known_mass, 0, 1))
    # float32 rounding changes each p by up to p · _ROUNDING, and −p ln p and the cap accordingly.
    least_missing, most_missing = np.maximum(missing - _ROUNDING, 0), np.minimum(missing + _ROUNDING, 1)
    slack = _ROUNDING * (1 + entropy)
    lowest = np.minimum(_concentrated_entropy(least_missing, cap), _concentrated_entropy(most_missing, cap))
    # −p ln p is greatest at p = 1 / e.
    highest = _even_entropy(np.clip(unlisted / np.e, least_missing, most_missing), unlisted)
    low = np.maximum(entropy + np.where(complete, 0.0, lowest) - slack, 0)
    high = np.maximum(entropy + np.where(complete, 0.0, highest) + slack, low)
    return np.where(listed.any(axis=1) | outside, np.stack([missing, low, high]), np.nan)


def _concentrated_entropy(mass: Doubles, cap: Doubles) -> Doubles:
    """Entropy of a mass on the fewest tokens, each of probability at most `cap`."""
    with np.errstate(divide="ignore", invalid="ignore"):
        full = np.floor(np.where(cap > 0, mass / cap, 0.0))
    remainder = np.maximum(mass - full * cap, 0)
    return np.asarray(-full * _xlogx(cap) - _xlogx(remainder))


def _even_entropy(mass: Doubles, tokens: npt.NDArray[Any]) -> Doubles:
    """Entropy of a mass spread evenly over a number of tokens."""
    return np.asarray(-mass * np.log(np.maximum(mass, 1e-300) / np.maximum(tokens, 1)))


def _xlogx(x: Doubles) -> Doubles:
    return np.asarray(x * np.log(np.where(x > 0, x, 1.0)))
