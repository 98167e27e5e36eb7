"""Microscope: how sampling parameters change each next-token distribution, from stored log probabilities."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit._internal.text import short_value
from toolkit._internal.validation import position
from toolkit.analysis.logprobs import Logprobs
from toolkit.analysis.truncation_bounds import TIE_TOLERANCE, Reals, Wholes, entropy, truncation_bounds
from toolkit.core.choice import ARRAYS, Choice
from toolkit.core.completion import Completion
from toolkit.core.sampling import NEUTRAL, Sampling
from toolkit.display.markup import Markup, markup
from toolkit.display.plots.tokens import plot_step

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


FOLLOWED = ("temperature", "top_p", "top_k", "min_p", "frequency_penalty", "presence_penalty", "logit_bias")
"""The sampling parameters that the microscope applies."""
REFUSED = {
    "repetition_penalty": "it multiplies or divides a logit by its sign, which log probabilities do not tell",
    "allowed_token_ids": "it bans tokens before all else",
    "bad_words": "it bans tokens before all else",
    "min_tokens": "it bans the end of text at this step",
}
"""Sampling parameters that it cannot apply, and why."""
_ROWS_SHOWN = 30
"""Tokens in the displayed table of a step."""


def microscope(of: Completion | Choice, choice: int = 0) -> Microscope:
    """What logit_bias, penalties, temperature, min_p, top_k and top_p do at each step of a completion.

    of: a completion with raw log probabilities; choice: the index of a choice. A bare Choice does not record how it
    was sampled: `NEUTRAL` parameters are assumed. No engine is called: tokens that are not stored are bounded.

    Raises ValueError where raw log probabilities or the vocabulary are missing, IndexError for a bad choice index.

    >>> tk.microscope(completion).at(12, temperature=0.7, top_p=0.9)  # doctest: +SKIP
    """
    if not isinstance(of, (Completion, Choice)):
        raise TypeError(f"the microscope takes a Completion or a Choice, got {of!r}")
    choices = (of,) if isinstance(of, Choice) else of.choices
    if choice not in range(len(choices)):
        raise IndexError(f"choice must be from 0 to {len(choices) - 1}, got {choice}")
    sampling = Sampling() if isinstance(of, Choice) else of.request.sampling
    # n does not change the distribution, and an n above 1 would forbid temperature=0.
    completion = None if isinstance(of, Choice) else of
    return Microscope(choices[choice], sampling.with_(n=1).resolve({}), completion)


@dataclass(frozen=True, eq=False)
class Microscope:
    """The T steps of a choice. Made by `microscope`."""

    choice: Choice
    sampling: Sampling
    """How it was sampled: the defaults of `at`."""
    completion: Completion | None = None
    """The completion that has the choice; None for a bare choice."""

    def __post_init__(self) -> None:
        c = self.choice
        if c.logprobs is None or c.top_ids is None or c.top_logprobs is None:
            raise ValueError(
                "the choice has no log probabilities: ask for them, for example with top_logprobs=20"
            )
        if c.logprobs_mode != "raw_logprobs":
            raise ValueError(
                f"logprobs_mode must be 'raw_logprobs', got {c.logprobs_mode!r}: settings can only be followed from "
                "before all of them; load the model without logprobs_mode, and request without a response format"
            )
        c.token_bytes(0)  # raises where there is no vocabulary

    def __len__(self) -> int:
        return len(self.choice.token_ids)

    def at(self, step: int, **options: Any) -> Step:
        """The distribution at a step (negative ones count from the end), before and after the completion's sampling
        parameters, overridden by `options`, fields of Sampling. Those that do not change it (seed, stop) are ignored.

        The order is that of vLLM's sampler (vllm/v1/sample/sampler.py): logit_bias; penalties, for tokens generated
        before the step; temperature; min_p; top_k; top_p. At temperature 0 the most likely token has it all. Of
        tokens that are equally likely at the edge of a cut, vLLM's builds keep different ones: they are uncertain.

        Raises IndexError for a step out of range, TypeError for a step that is no number, and for an unknown option,
        naming the nearest one, ValueError for parameters that cannot be applied (repetition_penalty, bans) and for a
        step without log probabilities.
        """
        step = position("step", step, len(self))
        settings = self.sampling.with_(**options).resolve({})
        history = self.choice.token_ids[self.choice.prefix_tokens : step]
        _check_settings(settings, len(history))
        ids, logprobs, below = self._known_tokens(step)
        size = max(len(self.choice.vocabulary()) if self.choice.vocabulary else 0, int(ids.max()) + 1)
        shifts = _shifts(settings, history, size)
        unseen = np.ones(size, bool)
        unseen[ids] = False
        low, high, by, tail = truncation_bounds(
            logprobs, shifts[ids], below, shifts[unseen], settings.given()
        )
        raw = np.exp(logprobs)
        missing = max(0.0, 1 - float(raw.sum())) if unseen.any() else 0.0
        chosen = int(np.flatnonzero(ids == self.choice.token_ids[step])[0])
        number = int(np.count_nonzero(unseen))
        return Step(step, ids, raw, low, high, by, missing, number, *tail, chosen, settings, self.choice)

    def _known_tokens(self, step: int) -> tuple[Wholes, Reals, float]:
        """IDs and log probabilities of the known tokens, best first, and an upper limit of those of unseen tokens.

        The limit is the least of the top k. That an unseen one equals it is considered only where stored ones are
        equal, as they are with 16-bit logits; with 32-bit logits it does not happen.
        """
        top_ids, top_logprobs, logprob = (
            np.asarray(getattr(self.choice, name)[step]) for name in ("top_ids", "top_logprobs", "logprobs")
        )
        stored = ~np.isnan(top_logprobs)
        ids, logprobs = top_ids[stored].astype(np.int64), top_logprobs[stored].astype(np.float64)
        below = float(logprobs.min(initial=0)) + (
            TIE_TOLERANCE if len(np.unique(logprobs)) < len(logprobs) else -TIE_TOLERANCE
        )
        chosen = self.choice.token_ids[step]
        if chosen not in ids:
            ids, logprobs = np.append(ids, chosen), np.append(logprobs, np.float64(logprob))
        if np.isnan(logprobs).any():
            raise ValueError(f"the log probabilities of step {step} are not known: take another step")
        order = np.argsort(-logprobs, kind="stable")
        return ids[order], logprobs[order], below

    def __repr__(self) -> str:
        return f"Microscope({len(self)} steps, {_describe(self.sampling)})"


@dataclass(frozen=True, eq=False)
class Step:
    """A next-token distribution before and after the sampling parameters, in probabilities from 0 to 1. K tokens are
    known: the top k and the chosen one. Those after have bounds, which are equal where no missing token matters.
    """

    step: int
    """Index of the token in the choice."""
    ids: Wholes
    """(K,) token IDs, best first by `raw`."""
    raw: Reals
    """(K,) before all parameters."""
    low: Reals
    """(K,) lower bound after the parameters; 0 for a token that may be cut."""
    high: Reals
    """(K,) upper bound after the parameters; 0 for a token that is cut."""
    by: npt.NDArray[np.str_]
    """(K,) the parameter that cuts the token, or may: min_p, top_k, top_p, or temperature (at 0 one token is kept).
    Empty for kept tokens, and for those to which the model itself gives no probability."""
    missing: float
    """Total probability, before all parameters, of the tokens that are not stored."""
    unseen: int
    """The number of tokens that are not stored."""
    tail_low: float
    """Lower bound of their total after the parameters."""
    tail_high: float
    """Upper bound of their total after the parameters."""
    tail_most: float
    """Upper bound of a single one of them after the parameters."""
    chosen: int
    """Index in `ids` of the token that was sampled."""
    settings: Sampling
    choice: Choice = field(repr=False)

    @property
    def exact(self) -> bool:
        """Whether the bounds are equal to 0.001, about the float32 error of a sum over a vocabulary."""
        return bool(max((self.high - self.low).max(), self.tail_high - self.tail_low) < 1e-3)

    @cached_property
    def seen(self) -> Wholes:
        """(K,) how often each token was generated before the step: what the penalties count."""
        history = self.choice.token_ids[self.choice.prefix_tokens : self.step]
        return np.bincount(history, minlength=int(self.ids.max()) + 1)[self.ids]

    @cached_property
    def fate(self) -> npt.NDArray[np.str_]:
        """(K,) kept, cut, or unknown, where it depends on tokens that are not stored or are equally likely."""
        return np.select([self.low > 0, self.high == 0], ["kept", "cut"], "unknown")

    @property
    def entropy_before(self) -> tuple[float, float]:
        """Bounds of the entropy before all parameters, nats (see `Logprobs.entropy_low`)."""
        row = slice(self.step, self.step + 1)
        arrays: dict[str, Any] = {n: a[row] for n in ARRAYS if (a := getattr(self.choice, n)) is not None}
        single = Logprobs((replace(self.choice, prefix_tokens=0, **arrays),))
        return float(single.entropy_low[0]), float(single.entropy_high[0])

    @property
    def entropy(self) -> tuple[float, float]:
        """Bounds of the entropy after the parameters, nats: equal where no missing token matters. Parameters that
        change nothing leave `entropy_before`."""
        if np.array_equal(self.low, self.raw) and np.array_equal(self.high, self.raw):
            return self.entropy_before
        return self._least_entropy(), self._most_entropy()

    def _least_entropy(self) -> float:
        """That of the most concentrated distribution within the bounds: any j tokens sum to at most the j greatest
        `high`, and to at most 1 minus the least of the others. One that attains these sums majorises all others."""
        cap = self.tail_most
        count = math.ceil(self.tail_high / cap) if cap else 0
        low, high = (
            np.sort(np.concatenate([bounds, np.clip(tail - cap * np.arange(count), 0, cap)]))[::-1]
            for bounds, tail in ((self.low, self.tail_low), (self.high, self.tail_high))
        )
        sums = np.minimum(np.cumsum(high), 1 - (low.sum() - np.cumsum(low)))
        return entropy(np.diff(np.maximum(sums, 0), prepend=0))

    def _most_entropy(self) -> float:
        """That of the most even distribution within the bounds: every token at one level, or at its nearest bound."""
        number = float(self.unseen)
        # An unseen token that min_p keeps has at least this much.
        if floor := (self.settings.min_p or 0) * float(self.low.max()):
            number = min(number, self.tail_high / floor)
        unseen_bounds = (
            [self.tail_low / number, self.tail_high / number] if self.tail_high and number else [0.0, 0.0]
        )
        low, high = np.append(self.low, unseen_bounds[0]), np.append(self.high, unseen_bounds[1])
        count = np.append(np.ones(len(self.ids)), number)
        below, above = 0.0, 1.0
        for _ in range(50):
            level = (below + above) / 2
            too_low = float(count @ np.clip(level, low, high)) < 1
            below, above = (level, above) if too_low else (below, level)
        return entropy(np.clip(above, low, high), count)

    def frame(self) -> pd.DataFrame:
        """A row for each known token: token (its text; part of a character shows as U+FFFD), id, before, low, high,
        and fate: kept, cut, or unknown, where it depends on tokens that are not stored or are equally likely."""
        import pandas as pd

        texts = [self.choice.token_bytes(i).decode("utf-8", "replace") for i in self.ids.tolist()]
        columns = {"before": self.raw, "low": self.low, "high": self.high, "fate": self.fate}
        return pd.DataFrame({"token": texts, "id": self.ids, **columns})

    def plot(self, tokens: int = 15) -> Figure:
        """The best tokens before and after as bars, and the total of all others (see `plot_step`)."""
        best = self.frame().head(tokens)
        rest = self.missing + float(self.raw[tokens:].sum())
        low, high = (float(part[tokens:].sum()) for part in (self.low, self.high))
        parts = ([rest], [self.tail_low + low], [min(1.0, self.tail_high + high)])
        columns = [
            np.append(best[name], part) for name, part in zip(("before", "low", "high"), parts, strict=True)
        ]
        return plot_step(list(best["token"]), *columns)

    def __repr__(self) -> str:
        table = self.frame().head(_ROWS_SHOWN).to_string(index=False, float_format="{:.4g}".format)
        return f"{self._summary()}\n{table}"

    def _repr_html_(self) -> Markup:
        from toolkit.display.html import html_table

        return markup("<p>{}</p>{}", self._summary(), html_table(self.frame(), _ROWS_SHOWN))

    def _summary(self) -> str:
        return (
            f"Step {self.step} at {_describe(self.settings)}: tokens that are not stored have {self.missing:.3g} "
            f"of the probability before, {self.tail_low:.3g} to {self.tail_high:.3g} after."
        )


def _describe(settings: Sampling) -> str:
    values = {name: value for name, value in settings.canonical().items() if name in FOLLOWED}
    return ", ".join(f"{name}={short_value(value)}" for name, value in values.items()) or "neutral settings"


def _check_settings(settings: Sampling, generated: int) -> None:
    for name, reason in REFUSED.items():
        value, neutral = getattr(settings, name), NEUTRAL.get(name)
        if value and value != neutral and not (name == "min_tokens" and generated >= value):
            raise ValueError(f"{name} must be {neutral} under the microscope, got {value!r}: {reason}")


def _shifts(settings: Sampling, history: npt.NDArray[np.int32], size: int) -> Reals:
    """(V,) what is added to each token's logit: its bias minus its penalties."""
    values = settings.given()
    counts = np.bincount(history, minlength=size)
    shifts = np.zeros(len(counts))
    for token, bias in values.get("logit_bias", ()):
        if token >= size:
            raise ValueError(f"logit_bias must name tokens from 0 to {size - 1}, got {token}")
        shifts[token] = bias
    shifts -= values["frequency_penalty"] * counts + values["presence_penalty"] * (counts > 0)
    return shifts
