"""Microscope: what the sampler's settings make of each next-token distribution, from stored log probabilities."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from toolkit import plots
from toolkit.choice import ARRAYS, UNLIKELY, Choice
from toolkit.completion import Completion
from toolkit.logprobs import Logprobs
from toolkit.sampling import NEUTRAL, Sampling

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

Reals = npt.NDArray[np.float64]
Wholes = npt.NDArray[np.int64]

FOLLOWED = ("temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty", "logit_bias")
"""The settings that the microscope follows."""
REFUSED = {
    "repetition_penalty": "it multiplies or divides a logit by its sign, which log probabilities do not tell",
    "allowed_token_ids": "it bans tokens before all else",
    "bad_words": "it bans tokens before all else",
    "min_tokens": "it bans the end of text at this step",
}
"""Settings that it cannot follow, and why."""
_CUTS = ("min_p", "top_k", "top_p")
"""The settings that cut tokens, in the order in which vLLM's sampler does."""
_COLDEST = 0.01
"""vLLM raises temperatures between 0 and this to it."""
_ROUNDING, _ROUNDING_EACH = 2e-6, 2.0**-27
"""How far from 1 the stored probabilities of a vocabulary may add up, and how much farther for each token of it:
PyTorch divides by their sum in float32, made in 8 lanes or more on a CPU, of which each step may be off by 2**-24."""
_HAIR = 1e-12
"""Less than the gap between two log probabilities in float32, more than the rounding of their sums in float64."""
_LIGHTEST, _HEAVIEST = 1e-200, 1e100
"""Weights, that of the best known token being 1, are held between these: floats cannot divide what lies beyond."""
_SHOWN = 30
"""Tokens in the table of a step."""


def microscope(of: Completion | Choice, choice: int = 0) -> Microscope:
    """What logit_bias, penalties, temperature, min_p, top_k and top_p do at each step of a completion.

    of: a completion with raw log probabilities; choice: which of its choices. Nothing tells how a bare Choice was
    sampled: `NEUTRAL` settings are taken. No engine is asked: tokens that are not stored are bounded.

    Raises ValueError where raw log probabilities or the vocabulary are missing, IndexError for a choice there is not.

    >>> tk.microscope(completion).at(12, temperature=0.7, top_p=0.9)  # doctest: +SKIP
    """
    if not isinstance(of, (Completion, Choice)):
        raise TypeError(f"the microscope takes a Completion or a Choice, got {of!r}")
    choices = (of,) if isinstance(of, Choice) else of.choices
    if choice not in range(len(choices)):
        raise IndexError(f"choice must be from 0 to {len(choices) - 1}, got {choice}")
    sampling = Sampling() if isinstance(of, Choice) else of.request.sampling
    # n shapes nothing, and one above 1 would forbid temperature=0.
    completion = None if isinstance(of, Choice) else of
    return Microscope(choices[choice], sampling.with_(n=1).resolve({}), completion)


@dataclass(frozen=True, eq=False)
class Microscope:
    """The steps of a choice, T of them. Made by `microscope`."""

    choice: Choice
    sampling: Sampling
    """How it was sampled: what `at` takes where it is told nothing else."""
    completion: Completion | None = None
    """What the choice is one of; None for a bare one."""

    def __post_init__(self) -> None:
        c = self.choice
        if c.logprobs is None or c.top_ids is None or c.top_logprobs is None:
            raise ValueError(
                "the choice has no log probabilities: ask for them, for example with top_logprobs=20"
            )
        if c.logprobs_mode != "raw_logprobs":
            raise ValueError(
                f"logprobs_mode must be 'raw_logprobs', got {c.logprobs_mode!r}: settings can only be followed from "
                "before all of them; load the model without logprobs_mode, and ask without a form"
            )
        c.token_bytes(0)  # raises where there is no vocabulary

    def __len__(self) -> int:
        return len(self.choice.token_ids)

    def at(self, step: int, **options: Any) -> Step:
        """The distribution at a step (negative ones count from the end), before and after the completion's own
        settings, changed by `options`, fields of Sampling. Those that shape no distribution (seed, stop) are ignored.

        The order is that of vLLM's sampler (vllm/v1/sample/sampler.py): logit_bias; penalties, for tokens generated
        before the step; temperature; min_p; top_k; top_p. At temperature 0 all goes to the most likely token. Of
        tokens that are equally likely at the edge of a cut, vLLM's builds keep different ones: they are uncertain.

        Raises IndexError for a step there is not, TypeError for an unknown option, naming the nearest one, ValueError
        for settings that cannot be followed (repetition_penalty, bans) and for a step without log probabilities.
        """
        if step not in range(-len(self), len(self)):
            raise IndexError(f"step must be from {-len(self)} to {len(self) - 1}, got {step}")
        step = range(len(self))[step]
        settings = self.sampling.with_(**options).resolve({})
        history = self.choice.token_ids[self.choice.given : step]
        _check(settings, len(history))
        ids, logprobs, below = self._known(step)
        size = max(len(self.choice.vocabulary()) if self.choice.vocabulary else 0, int(ids.max()) + 1)
        shifts = _shifts(settings, history, size)
        unseen = np.ones(size, bool)
        unseen[ids] = False
        low, high, by, tail = _bounds(logprobs, shifts[ids], below, shifts[unseen], settings.given())
        raw = np.exp(logprobs)
        missing = max(0.0, 1 - float(raw.sum())) if unseen.any() else 0.0
        chosen = int(np.flatnonzero(ids == self.choice.token_ids[step])[0])
        number = int(np.count_nonzero(unseen))
        return Step(step, ids, raw, low, high, by, missing, number, *tail, chosen, settings, self.choice)

    def _known(self, step: int) -> tuple[Wholes, Reals, float]:
        """Ids and log probabilities of the known tokens, best first, and what those of unseen tokens stay below.

        That is the least of the top k. One that is equal to it is reckoned with only where stored ones are equal, as
        they are with logits of 16 bits; with those of 32 it does not happen.
        """
        top_ids, top_logprobs, logprob = (
            np.asarray(getattr(self.choice, name)[step]) for name in ("top_ids", "top_logprobs", "logprobs")
        )
        stored = ~np.isnan(top_logprobs)
        ids, found = top_ids[stored].astype(np.int64), top_logprobs[stored].astype(np.float64)
        below = float(found.min(initial=0)) + (_HAIR if len(np.unique(found)) < len(found) else -_HAIR)
        own = self.choice.token_ids[step]
        if own not in ids:
            ids, found = np.append(ids, own), np.append(found, np.float64(logprob))
        if np.isnan(found).any():
            raise ValueError(f"the log probabilities of step {step} are not known: take another step")
        order = np.argsort(-found, kind="stable")
        return ids[order], found[order], below

    def __repr__(self) -> str:
        return f"Microscope({len(self)} steps, {_told(self.sampling)})"


@dataclass(frozen=True, eq=False)
class Step:
    """A next-token distribution before and after the sampler's settings, in probabilities from 0 to 1. K tokens are
    known: the top k and the chosen one. Those after lie between bounds, equal where nothing that is missing matters.
    """

    step: int
    """Which token of the choice, from 0."""
    ids: Wholes
    """(K,) token ids, best first by `raw`."""
    raw: Reals
    """(K,) before all settings."""
    low: Reals
    """(K,) after the settings, at least; 0 for a token that may be cut."""
    high: Reals
    """(K,) after the settings, at most; 0 for a token that is cut."""
    by: npt.NDArray[np.str_]
    """(K,) the setting that cuts the token, or may: min_p, top_k, top_p, or temperature, which at 0 leaves one token.
    Empty for what is kept, and for what the model itself has made impossible."""
    missing: float
    """Before all settings, of the tokens that are not stored, together."""
    unseen: int
    """How many these are."""
    tail_low: float
    """Theirs after the settings, at least."""
    tail_high: float
    """Theirs after the settings, at most."""
    tail_most: float
    """That of one of them after the settings, at most."""
    chosen: int
    """The place in `ids` of the token that was drawn."""
    settings: Sampling
    choice: Choice = field(repr=False)

    @property
    def exact(self) -> bool:
        """Whether the bounds are equal to 0.001, about what the sum over a vocabulary in float32 leaves open."""
        return bool(max((self.high - self.low).max(), self.tail_high - self.tail_low) < 1e-3)

    @cached_property
    def seen(self) -> Wholes:
        """(K,) how often each was generated before the step: what the penalties count."""
        history = self.choice.token_ids[self.choice.given : self.step]
        return np.bincount(history, minlength=int(self.ids.max()) + 1)[self.ids]

    @cached_property
    def fate(self) -> npt.NDArray[np.str_]:
        """(K,) kept, cut, or unknown, where tokens decide that are not stored or are equally likely."""
        return np.select([self.low > 0, self.high == 0], ["kept", "cut"], "unknown")

    @property
    def entropy_before(self) -> tuple[float, float]:
        """Least and greatest entropy before all settings, nats (see `Logprobs.entropy_low`)."""
        here = slice(self.step, self.step + 1)
        rows: dict[str, Any] = {n: a[here] for n in ARRAYS if (a := getattr(self.choice, n)) is not None}
        found = Logprobs((replace(self.choice, given=0, **rows),))
        return float(found.entropy_low[0]), float(found.entropy_high[0])

    @property
    def entropy(self) -> tuple[float, float]:
        """Least and greatest entropy after the settings, nats: equal where nothing that is missing matters."""
        return self._least_entropy(), self._most_entropy()

    def _least_entropy(self) -> float:
        """That of as much on as few tokens as the bounds allow: the sum of any j tokens is at most that of the j
        greatest `high`, and at most 1 less the least that the others have. What adds up so majorises all else."""
        each = self.tail_most
        number = math.ceil(self.tail_high / each) if each else 0
        low, high = (
            np.sort(np.concatenate([known, np.clip(tail - each * np.arange(number), 0, each)]))[::-1]
            for known, tail in ((self.low, self.tail_low), (self.high, self.tail_high))
        )
        sums = np.minimum(np.cumsum(high), 1 - (low.sum() - np.cumsum(low)))
        return _entropy(np.diff(np.maximum(sums, 0), prepend=0))

    def _most_entropy(self) -> float:
        """That of a distribution as even as the bounds allow: all tokens at one level, or at the bound nearest it."""
        number = float(self.unseen)
        if floor := (self.settings.min_p or 0) * float(
            self.low.max()
        ):  # an unseen one that is kept has as much
            number = min(number, self.tail_high / floor)
        spread = (
            [self.tail_low / number, self.tail_high / number] if self.tail_high and number else [0.0, 0.0]
        )
        low, high = np.append(self.low, spread[0]), np.append(self.high, spread[1])
        count = np.append(np.ones(len(self.ids)), number)
        under, over = 0.0, 1.0
        for _ in range(50):
            level = (under + over) / 2
            less = float(count @ np.clip(level, low, high)) < 1
            under, over = (level, over) if less else (under, level)
        return _entropy(np.clip(over, low, high), count)

    def frame(self) -> pd.DataFrame:
        """A row for each known token: token (its text; part of a character shows as U+FFFD), id, before, low, high,
        and fate: kept, cut, or unknown, where tokens decide that are not stored or are equally likely."""
        import pandas as pd

        texts = [self.choice.token_bytes(i).decode("utf-8", "replace") for i in self.ids.tolist()]
        columns = {"before": self.raw, "low": self.low, "high": self.high, "fate": self.fate}
        return pd.DataFrame({"token": texts, "id": self.ids, **columns})

    def plot(self, tokens: int = 15) -> Figure:
        """The best tokens before and after as bars, and what all others have together (see `plots.step`)."""
        shown = self.frame().head(tokens)
        rest = self.missing + float(self.raw[tokens:].sum())
        low, high = (float(part[tokens:].sum()) for part in (self.low, self.high))
        parts = ([rest], [self.tail_low + low], [min(1.0, self.tail_high + high)])
        columns = [
            np.append(shown[name], part) for name, part in zip(("before", "low", "high"), parts, strict=True)
        ]
        return plots.step(list(shown["token"]), *columns)

    def __repr__(self) -> str:
        return f"{self._summary()}\n{self.frame().head(_SHOWN).to_string(index=False)}"

    def _repr_html_(self) -> str:
        from toolkit.report import table

        return f"<p>{html.escape(self._summary())}</p>{table(self.frame(), _SHOWN)}"

    def _summary(self) -> str:
        return (
            f"Step {self.step} at {_told(self.settings)}: tokens that are not stored have {self.missing:.3g} of the "
            f"probability before, {self.tail_low:.3g} to {self.tail_high:.3g} after."
        )


def _entropy(p: Reals, count: Reals | float = 1.0) -> float:
    """−Σ p ln p, nats, of so many tokens each."""
    # Rounding, and the −0 of a single token, would be shown with their sign.
    return max(0.0, float(-(count * p * np.log(np.where(p > 0, p, 1.0))).sum()))


def _told(settings: Sampling) -> str:
    shown = {name: value for name, value in settings.canonical().items() if name in FOLLOWED}
    return ", ".join(f"{name}={value}" for name, value in shown.items()) or "neutral settings"


def _check(settings: Sampling, generated: int) -> None:
    for name, reason in REFUSED.items():
        value, neutral = getattr(settings, name), NEUTRAL.get(name)
        if value and value != neutral and not (name == "min_tokens" and generated >= value):
            raise ValueError(f"{name} must be {neutral} under the microscope, got {value!r}: {reason}")


def _shifts(settings: Sampling, history: npt.NDArray[np.int32], size: int) -> Reals:
    """(V,) what is added to each token's logit: its bias, less its penalties."""
    values = settings.given()
    counts = np.bincount(history, minlength=size)
    shifts = np.zeros(len(counts))
    for token, bias in values.get("logit_bias", ()):
        if token >= size:
            raise ValueError(f"logit_bias must name tokens from 0 to {size - 1}, got {token}")
        shifts[token] = bias
    shifts -= values["frequency_penalty"] * counts + values["presence_penalty"] * (counts > 0)
    return shifts


def _bounds(
    logprobs: Reals, shifts: Reals, below: float, unseen: Reals, values: Mapping[str, Any]
) -> tuple[Reals, Reals, npt.NDArray[np.str_], tuple[float, float, float]]:
    """Least and greatest probabilities of the known tokens, and what cuts them; those of the unseen ones together,
    and the greatest of one of these. unseen: their shifts; their log probabilities are below `below`."""
    order = np.argsort(-(logprobs + shifts), kind="stable")
    order = order[logprobs[order] > UNLIKELY]
    scores = logprobs[order] + shifts[order]
    # At temperature 0 the heaviest is kept alone, and any power tells which that is.
    power = 1 / max(values["temperature"] or 1, _COLDEST)
    values = values if values["temperature"] else {**values, "top_k": 1}
    rest = 1 - float(np.exp(logprobs).sum())
    slack = _ROUNDING + _ROUNDING_EACH * (len(logprobs) + len(unseen))
    tail = _tail((rest - slack, rest + slack), below, unseen - scores[0], -scores[0], power)
    left = [_Left.all(scores - scores[0], tail, power)]
    cuts = [name for name in _CUTS if values[name] != NEUTRAL[name]]
    for name in cuts:
        left.append(getattr(left[-1], name)(values[name]))
    low, high = np.zeros((2, len(logprobs)))
    low[order], high[order], together = left[-1].probabilities()
    by = np.full(len(logprobs), "", "<U11")
    by[order] = _by(cuts if values["temperature"] else ["temperature"], left[1:], len(order))
    return low, high, by, together


def _by(cuts: list[str], left: list[_Left], number: int) -> npt.NDArray[np.str_]:
    """(A,) of the known tokens, heaviest first, the first setting that cuts each, or else that may."""
    found = np.full(number, "", "<U11")
    for ends in ("sure", "maybe"):
        for name, after in reversed(list(zip(cuts, left, strict=True))):
            found[getattr(after, ends) :] = name
    return found


class _Tail(NamedTuple):
    """The unseen tokens that are left: at most how many, bounds of their weight together, and the greatest score and
    weight that one of them may have."""

    number: int = 0
    low: float = 0.0
    high: float = 0.0
    best: float = -math.inf
    most: float = 0.0


def _tail(rest: tuple[float, float], below: float, shifts: Reals, plain: float, power: float) -> _Tail:
    """Unseen tokens with the scores log p + shift, where log p is below `below`, and all p add up to the `rest`.

    How much of the rest those tokens have whose shift is not the `plain` one is not known. So either all are taken to
    have the extreme shift, or those are taken by themselves, with nothing or with the greatest p.
    """
    number, moved, last = len(shifts), shifts[shifts != plain], math.exp(below)
    least, most = (min(max(0.0, mass), number * last) for mass in rest)
    if not most:
        return _Tail()
    if most < last:
        below, last = math.log(most), most

    def weight(shift: Any) -> Any:
        """Of a token with the greatest p."""
        return np.exp(np.minimum(power * (below + shift), math.log(_HEAVIEST)))

    low = max(
        _sums(least / last, number, power)[0] * weight(shifts.min()),
        _sums(least / last - len(moved), number - len(moved), power)[0] * weight(plain),
    )
    high = min(
        _sums(most / last, number, power)[1] * weight(shifts.max()),
        _sums(most / last, number - len(moved), power)[1] * weight(plain) + weight(moved).sum(),
    )
    return _Tail(number, low, high, below + shifts.max(), min(high, weight(shifts.max())))


def _sums(mass: float, number: int, power: float) -> tuple[float, float]:
    """Least and greatest sum of x**power over `number` values x from 0 to 1 that add up to `mass`.

    x**power is convex for a power above 1 and concave below it: one extreme has all equal, the other as many ones as
    there can be, and one remainder.
    """
    mass = max(0.0, min(mass, number))
    ends = number * (mass / max(1, number)) ** power, mass // 1 + (mass % 1) ** power
    return min(ends), max(ends)


@dataclass(frozen=True)
class _Left:
    """The tokens that are left after some of the sampler's cuts. Every cut takes the lightest: of the known ones,
    heaviest first, the first `sure` are left whatever the unseen ones are, and none after the first `maybe`."""

    scores: Reals
    """(A,) log probability plus shift, that of the first being 0."""
    weights: Reals
    """(A,) exp(score / temperature)."""
    total: Reals
    """(A + 1,) weight of the first 0, 1, … of them."""
    above: Wholes
    """(A,) how many of them are heavier."""
    upto: Wholes
    """(A,) how many of them are as heavy or heavier."""
    sure: int
    maybe: int
    tail: _Tail
    least: float = 0.0
    """Weight of all that are left, known and unseen, at least, and at most."""
    most: float = math.inf

    @classmethod
    def all(cls, scores: Reals, tail: _Tail, power: float) -> _Left:
        weights = np.maximum(np.exp(power * scores), _LIGHTEST)
        total = np.concatenate([[0.0], np.cumsum(weights)])
        above, upto = (np.searchsorted(-scores, -scores, side) for side in ("left", "right"))
        return cls(scores, weights, total, above, upto, len(scores), len(scores), tail)

    def _where(self, sure: Any, maybe: Any) -> tuple[int, int]:
        """How many are left, surely and maybe, where the conditions (A,) hold."""
        return min(self.sure, int(np.count_nonzero(sure))), min(self.maybe, int(np.count_nonzero(maybe)))

    @property
    def ahead(self) -> int:
        """How many known tokens are surely left and heavier than every unseen one."""
        return min(self.sure, int(np.count_nonzero(self.scores > self.tail.best)))

    def min_p(self, p: float) -> _Left:
        """Those with at least p of the weight of the heaviest, which is the first or an unseen one."""
        tail, most = self.tail, p * max(1.0, self.tail.most)
        sure, maybe = self._where(self.weights >= most, self.weights >= p)
        cut = tail._replace(low=max(0.0, tail.low - tail.number * most)) if tail.most >= p else _Tail()
        return replace(self, sure=sure, maybe=maybe, tail=cut)

    def top_k(self, k: int) -> _Left:
        """The k heaviest. Of those as heavy as the last, vLLM's PyTorch code keeps all and its Triton kernel some."""
        tail = self.tail
        # How many unseen ones may be as heavy or heavier: of the lightest, no weight tells.
        fit = np.where(self.weights > _LIGHTEST, tail.high // self.weights, tail.number)
        over = np.where(self.scores > tail.best, 0, np.minimum(fit, tail.number))
        sure, maybe = self._where(self.upto + over <= k, self.above < k)
        # As many unseen ones as make k, the heaviest of them, have at least this part of their weight.
        part = np.clip((k - np.arange(len(self.total))) / max(1, tail.number), 0, 1)
        # What is left weighs as much as any k tokens: as some of those surely here, and unseen ones to make k.
        least = (self.total + tail.low * part)[: min(k, self.sure) + 1].max()
        cut = tail._replace(low=tail.low * part[maybe]) if self.ahead < k else _Tail()
        return replace(self, sure=sure, maybe=maybe, tail=cut, least=least)

    def top_p(self, p: float) -> _Left:
        """Those with less than p of the sum above them; so what is kept has at least p of it."""
        tail, held, above = self.tail, self.total[self.sure], self.total[self.ahead]
        least = p * max(held + tail.low, self.least)
        most = p * (self.total[self.maybe] + tail.high)
        # Where unseen tokens may be above, the worst is that all are: they count in full there, in the sum by p.
        bar = np.where(self.scores > tail.best, least, p * held - (1 - p) * tail.high)
        sure, maybe = self._where(self.total[self.upto - 1] < bar, self.total[self.above] < most)
        # The last unseen one that is kept has less than p above it, and adds itself.
        high = min(tail.high, most - above + tail.most) if above < most else 0.0
        cut = tail._replace(low=min(high, max(0.0, least - self.total[maybe])), high=high)
        # So does the lightest of all that is kept, where that is more than the sure ones.
        lightest = self.weights[sure : sure + 1].max(initial=tail.most)
        most = max(self.total[sure], most + lightest)
        return replace(self, sure=sure, maybe=maybe, tail=cut, least=least, most=most)

    def probabilities(self) -> tuple[Reals, Reals, tuple[float, float, float]]:
        """(A,) least and greatest of the known tokens; those of the unseen ones together, and the greatest of one."""
        place = np.arange(len(self.weights))
        few, many = self.total[self.sure], self.total[self.maybe]
        unseen, more = self.tail.low, self.tail.high
        # Beside a token that is left are all heavier ones.
        beside = self.total[np.maximum(self.above, self.sure)] + np.where(place < self.sure, 0, self.weights)
        low = self.weights / min(many + more, self.most) * (place < self.sure)
        high = self.weights / np.maximum(beside + unseen, self.least) * (place < self.maybe)
        tail_low = unseen / min(many + unseen, self.most)
        tail_high, most = (
            x / max(few + x, self.least) if x else 0.0 for x in (more, min(more, self.tail.most))
        )
        return low, high, (float(tail_low), float(tail_high), float(most))
