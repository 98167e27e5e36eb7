"""Bounds of what top-k, top-p and min-p keep, where only the most likely tokens are known."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from toolkit.core.choice import UNLIKELY
from toolkit.core.sampling import NEUTRAL

Reals = npt.NDArray[np.float64]
Wholes = npt.NDArray[np.int64]
_CUTS = ("min_p", "top_k", "top_p")
"""The sampling parameters that cut tokens, in the order in which vLLM's sampler applies them."""
_MIN_TEMPERATURE = 0.01
"""vLLM raises temperatures between 0 and this one to it."""
_ROUNDING, _ROUNDING_EACH = 2e-6, 2.0**-27
"""How far from 1 the stored probabilities of a vocabulary may add up, and how much further for each of its tokens:
PyTorch divides by their float32 sum, which a CPU computes in 8 or more lanes, each step off by up to 2**-24."""
TIE_TOLERANCE = 1e-12
"""Less than the gap between two log probabilities in float32, more than the rounding of their sums in float64."""
_LIGHTEST, _HEAVIEST = 1e-200, 1e100
"""Weights, relative to 1 for the best known token, are clipped to this range: floats outside it cannot be divided."""


def entropy(p: Reals, count: Reals | float = 1.0) -> float:
    """−Σ p ln p, nats; count: how many tokens have each p."""
    # Rounding, and the −0 of a single token, would show a minus sign.
    return max(0.0, float(-(count * p * np.log(np.where(p > 0, p, 1.0))).sum()))


def truncation_bounds(
    logprobs: Reals, shifts: Reals, below: float, unseen_shifts: Reals, parameters: Mapping[str, Any]
) -> tuple[Reals, Reals, npt.NDArray[np.str_], tuple[float, float, float]]:
    """Least and greatest probabilities of the known tokens, and the parameter that cuts each; least and greatest of
    the unseen tokens together, and the greatest of a single one.

    shifts, unseen_shifts: what is added to the logits of known and of unseen tokens; below: an upper limit of the
    unseen tokens' log probabilities; parameters: sampling parameters by name.
    """
    order = np.argsort(-(logprobs + shifts), kind="stable")
    order = order[logprobs[order] > UNLIKELY]
    scores = logprobs[order] + shifts[order]
    # At temperature 0 only the heaviest token is kept, and any power gives the same order.
    power = 1 / max(parameters["temperature"] or 1, _MIN_TEMPERATURE)
    parameters = parameters if parameters["temperature"] else {**parameters, "top_k": 1}
    cuts = [name for name in _CUTS if parameters[name] != NEUTRAL[name]]
    if power == 1 and not (cuts or shifts.any() or unseen_shifts.any()):
        return _unchanged(logprobs, below, len(unseen_shifts))
    missing = 1 - float(np.exp(logprobs).sum())
    slack = _ROUNDING + _ROUNDING_EACH * (len(logprobs) + len(unseen_shifts))
    tail = _tail_bounds(
        (missing - slack, missing + slack), below, unseen_shifts - scores[0], -scores[0], power
    )
    stages = [_Remaining.all(scores - scores[0], tail, power)]
    for name in cuts:
        stages.append(getattr(stages[-1], name)(parameters[name]))
    low, high = np.zeros((2, len(logprobs)))
    low[order], high[order], tail_probabilities = stages[-1].probabilities()
    by = np.full(len(logprobs), "", "<U11")
    by[order] = _cutting_settings(
        cuts if parameters["temperature"] else ["temperature"], stages[1:], len(order)
    )
    return low, high, by, tail_probabilities


def _unchanged(
    logprobs: Reals, below: float, unseen: int
) -> tuple[Reals, Reals, npt.NDArray[np.str_], tuple[float, float, float]]:
    """The same without any effect: the stored distribution itself, without the slack that computing with it needs."""
    p = np.exp(logprobs)
    missing = max(0.0, 1 - float(p.sum())) if unseen else 0.0
    return p, p.copy(), np.full(len(p), "", "<U11"), (missing, missing, min(missing, math.exp(below)))


def _cutting_settings(cuts: list[str], stages: list[_Remaining], number: int) -> npt.NDArray[np.str_]:
    """(A,) for each known token, heaviest first, the first parameter that cuts it, or else the first that may."""
    names = np.full(number, "", "<U11")
    for limit in ("sure", "maybe"):
        for name, stage in reversed(list(zip(cuts, stages, strict=True))):
            names[getattr(stage, limit) :] = name
    return names


class _Tail(NamedTuple):
    """The unseen tokens that remain: their greatest number, bounds of their total weight, and the greatest score and
    weight that one of them may have."""

    number: int = 0
    low: float = 0.0
    high: float = 0.0
    best: float = -math.inf
    most: float = 0.0


def _tail_bounds(
    missing: tuple[float, float], below: float, shifts: Reals, base_shift: float, power: float
) -> _Tail:
    """Bounds of unseen tokens with scores log p + shift, where log p < `below` and all p add up to `missing` (least,
    greatest).

    How much of that mass the tokens have whose shift is not `base_shift` is not known. So either all tokens are
    assumed to have the extreme shift, or those are counted separately, with nothing or with the greatest p.
    """
    number, shifted, max_p = len(shifts), shifts[shifts != base_shift], math.exp(below)
    least_mass, most_mass = (min(max(0.0, mass), number * max_p) for mass in missing)
    if not most_mass:
        return _Tail()
    if most_mass < max_p:
        below, max_p = math.log(most_mass), most_mass

    def weight(shift: Any) -> Any:
        """Of a token with the greatest p and that shift."""
        return np.exp(np.minimum(power * (below + shift), math.log(_HEAVIEST)))

    low = max(
        _power_sum_bounds(least_mass / max_p, number, power)[0] * weight(shifts.min()),
        _power_sum_bounds(least_mass / max_p - len(shifted), number - len(shifted), power)[0]
        * weight(base_shift),
    )
    high = min(
        _power_sum_bounds(most_mass / max_p, number, power)[1] * weight(shifts.max()),
        _power_sum_bounds(most_mass / max_p, number - len(shifted), power)[1] * weight(base_shift)
        + weight(shifted).sum(),
    )
    return _Tail(number, low, high, below + shifts.max(), min(high, weight(shifts.max())))


def _power_sum_bounds(mass: float, number: int, power: float) -> tuple[float, float]:
    """Least and greatest sum of x**power over `number` values x from 0 to 1 that add up to `mass`.

    x**power is convex for a power above 1 and concave below it: at one extreme all are equal, at the other as many
    as possible are 1, and one is the remainder.
    """
    mass = max(0.0, min(mass, number))
    extremes = number * (mass / max(1, number)) ** power, mass // 1 + (mass % 1) ** power
    return min(extremes), max(extremes)


@dataclass(frozen=True)
class _Remaining:
    """The tokens that remain after some of the sampler's cuts. Every cut removes the lightest: of the known ones,
    heaviest first, the first `sure` remain whatever the unseen ones are, and none after the first `maybe` do."""

    scores: Reals
    """(A,) log probability plus shift, minus that of the first."""
    weights: Reals
    """(A,) exp(score / temperature)."""
    total: Reals
    """(A + 1,) total weight of the first 0, 1, … tokens."""
    above: Wholes
    """(A,) how many known tokens are heavier."""
    upto: Wholes
    """(A,) how many known tokens are as heavy or heavier."""
    sure: int
    maybe: int
    tail: _Tail
    least: float = 0.0
    """Least and most: bounds of the total weight of the remaining tokens, known and unseen."""
    most: float = math.inf

    @classmethod
    def all(cls, scores: Reals, tail: _Tail, power: float) -> _Remaining:
        weights = np.maximum(np.exp(power * scores), _LIGHTEST)
        total = np.concatenate([[0.0], np.cumsum(weights)])
        above, upto = (np.searchsorted(-scores, -scores, side) for side in ("left", "right"))
        return cls(scores, weights, total, above, upto, len(scores), len(scores), tail)

    def _counts(self, sure: Any, maybe: Any) -> tuple[int, int]:
        """How many tokens remain, surely and maybe, where the conditions (A,) hold."""
        return min(self.sure, int(np.count_nonzero(sure))), min(self.maybe, int(np.count_nonzero(maybe)))

    @property
    def ahead(self) -> int:
        """How many known tokens surely remain and are heavier than every unseen one."""
        return min(self.sure, int(np.count_nonzero(self.scores > self.tail.best)))

    def min_p(self, p: float) -> _Remaining:
        """Keeps tokens with at least p times the weight of the heaviest, which is the first or an unseen one."""
        tail, max_cutoff = self.tail, p * max(1.0, self.tail.most)
        sure, maybe = self._counts(self.weights >= max_cutoff, self.weights >= p)
        tail_after = (
            tail._replace(low=max(0.0, tail.low - tail.number * max_cutoff)) if tail.most >= p else _Tail()
        )
        return replace(self, sure=sure, maybe=maybe, tail=tail_after)

    def top_k(self, k: int) -> _Remaining:
        """Keeps the k heaviest. Of ties with the last, vLLM's PyTorch code keeps all, its Triton kernel some."""
        tail = self.tail
        # How many unseen tokens may be as heavy or heavier: the clipped weights of the lightest do not show it.
        as_heavy = np.where(self.weights > _LIGHTEST, tail.high // self.weights, tail.number)
        unseen_above = np.where(self.scores > tail.best, 0, np.minimum(as_heavy, tail.number))
        sure, maybe = self._counts(self.upto + unseen_above <= k, self.above < k)
        # The heaviest unseen tokens, as many as make up k, have at least this share of the unseen weight.
        share = np.clip((k - np.arange(len(self.total))) / max(1, tail.number), 0, 1)
        # The k heaviest weigh at least as much as any k tokens, such as sure ones and unseen ones to make up k.
        least = (self.total + tail.low * share)[: min(k, self.sure) + 1].max()
        tail_after = tail._replace(low=tail.low * share[maybe]) if self.ahead < k else _Tail()
        return replace(self, sure=sure, maybe=maybe, tail=tail_after, least=least)

    def top_p(self, p: float) -> _Remaining:
        """Keeps tokens with less than p of the total weight above them; so those kept have at least p of it."""
        tail, sure_total, ahead_total = self.tail, self.total[self.sure], self.total[self.ahead]
        least = p * max(sure_total + tail.low, self.least)
        most = p * (self.total[self.maybe] + tail.high)
        # If unseen tokens may be above, the worst case is that all are: in full above, times p in the sum.
        limit = np.where(self.scores > tail.best, least, p * sure_total - (1 - p) * tail.high)
        sure, maybe = self._counts(self.total[self.upto - 1] < limit, self.total[self.above] < most)
        # The last unseen token that is kept has less than p above it, and adds its own weight.
        high = min(tail.high, most - ahead_total + tail.most) if ahead_total < most else 0.0
        tail_after = tail._replace(low=min(high, max(0.0, least - self.total[maybe])), high=high)
        # So does the lightest kept token, if more than the sure ones are kept.
        lightest = self.weights[sure : sure + 1].max(initial=tail.most)
        most = max(self.total[sure], most + lightest)
        return replace(self, sure=sure, maybe=maybe, tail=tail_after, least=least, most=most)

    def probabilities(self) -> tuple[Reals, Reals, tuple[float, float, float]]:
        """(A,) least and (A,) greatest of the known tokens; those of all unseen tokens, and the greatest of one."""
        index = np.arange(len(self.weights))
        few, many = self.total[self.sure], self.total[self.maybe]
        tail_least, tail_most = self.tail.low, self.tail.high
        # At least the weight of a remaining token and of all heavier ones.
        kept_weight = self.total[np.maximum(self.above, self.sure)] + np.where(
            index < self.sure, 0, self.weights
        )
        low = self.weights / min(many + tail_most, self.most) * (index < self.sure)
        high = self.weights / np.maximum(kept_weight + tail_least, self.least) * (index < self.maybe)
        tail_low = tail_least / min(many + tail_least, self.most)
        single = min(tail_most, self.tail.most)
        # Beside a single unseen token are the others: together they have at least the least weight of all.
        tail_high, most = (
            x / max(few + max(x, rest), self.least) if x else 0.0
            for x, rest in ((tail_most, 0.0), (single, tail_least))
        )
        return low, high, (float(tail_low), float(tail_high), float(most))
