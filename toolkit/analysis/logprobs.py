"""Logprobs: what the log probabilities of tokens tell, as columns over one text or a million tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit import plots, strip
from toolkit.choice import UNLIKELY, UNNAMED, Choice, Floats, Ints
from toolkit.completion import Completion
from toolkit.sampling import unknown
from toolkit.spans import spans

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import HTML
    from matplotlib.figure import Figure

Doubles = npt.NDArray[np.float64]

_ROWS = 1 << 15
"""Tokens worked on at once: their top k fit into the processor's cache."""
_ROUNDING = 1e-4
"""Absolute error of a log probability in float32. Torch's log_softmax on a CPU adds 49,152 terms one after another
and loses small ones: with AVX-512 all log probabilities of a step were up to 1.9e-5 too high in 400 real steps, and
3.6e-5 with 256,000 made-up logits; with AVX2, whose registers hold half as many sums, 7.9e-5 with those."""
_APART = 1e-2
"""Two engine passes over the same tokens differ by less than this in a log probability."""
BY = ("probability", "rank", "surprisal", "entropy")
"""What tokens can be coloured by."""


def logprobs(what: Completion | Choice | Iterable[Completion | Choice]) -> Logprobs:
    """The log probabilities of a completion, a choice (`c.prompt` is one too), or many of them (results).

    A completion gives a text for each of its choices. Raises ValueError where logprobs were not asked for, or where
    the engine's logprobs_mode makes them logits.

    >>> tk.logprobs(engine.chat("Hi", top_logprobs=20)).frame()  # doctest: +SKIP
    """
    return Logprobs(tuple(_choices(what)))


def _choices(what: Any) -> Iterator[Choice]:
    if isinstance(what, Choice):
        yield what
    elif isinstance(what, Completion):
        if what.error is not None:
            raise ValueError(
                f"this completion is an error and has no tokens ({what.error}): leave such out, of results with "
                'results.filter(finish_reason=["stop", "length"])'
            )
        yield from what.choices
    elif isinstance(what, Iterable) and not isinstance(what, (str, bytes)):
        for one in what:
            yield from _choices(one)
    else:
        raise TypeError(f"logprobs are those of a completion, a choice or many of them, got {what!r}")


class Logprobs:
    """N tokens of S texts as columns; k most likely tokens at each step. Made by `logprobs`.

    All logarithms are natural. What is not known (the first token of a prompt, OpenAI's −9999) is NaN, and no sum or
    mean counts it. Formulas: entropy, perplexity, surprisal as in Cover and Thomas, Elements of Information Theory.
    """

    def __init__(self, choices: Sequence[Choice]) -> None:
        if not choices:
            raise ValueError("there is no completion: give at least one")
        for choice in choices:
            _check(choice)
        self.choices = tuple(choices)
        self.starts: npt.NDArray[np.int64] = np.cumsum([0, *(len(c.token_ids) for c in choices)])
        """(S + 1,) where each text begins in the columns, and the end of the last."""

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def logprobs_mode(self) -> str | None:
        """That of all texts; None when it is unknown, or not the same."""
        modes = {c.logprobs_mode for c in self.choices}
        return modes.pop() if len(modes) == 1 else None

    # Columns, (N,) unless said otherwise

    @cached_property
    def sequence(self) -> npt.NDArray[np.int64]:
        """The number of the text that a token belongs to."""
        return np.repeat(np.arange(len(self.choices)), np.diff(self.starts))

    @cached_property
    def token_ids(self) -> Ints:
        return np.asarray(np.concatenate([c.token_ids for c in self.choices]))

    @cached_property
    def logprobs(self) -> Floats:
        """Log probabilities of the tokens; NaN where not known."""
        found: Floats = np.concatenate([_known(c.logprobs) for c in self.choices])
        found[found <= UNLIKELY] = np.nan
        return found

    @cached_property
    def ranks(self) -> Ints:
        """Ranks in the vocabulary, 1 is the most likely; 0 where not known."""
        return np.asarray(np.concatenate([_known(c.ranks) for c in self.choices]))

    @cached_property
    def top_ids(self) -> Ints:
        """(N, k), best first; −1 where not known, or where a text has fewer."""
        found: Ints = _wide([_known(c.top_ids) for c in self.choices], -1)
        found[np.isnan(self.top_logprobs)] = -1
        return found

    @cached_property
    def top_logprobs(self) -> Floats:
        """(N, k), best first; NaN where not known, −inf where impossible."""
        found: Floats = _wide([_known(c.top_logprobs) for c in self.choices], np.nan)
        found[found <= UNLIKELY] = -np.inf
        return found

    @cached_property
    def probability(self) -> Doubles:
        return np.asarray(np.exp(self.logprobs.astype(np.float64)))

    @cached_property
    def surprisal(self) -> Doubles:
        """−ln p, nats; divided by ln 2 it is bits."""
        return np.asarray(0 - self.logprobs.astype(np.float64))  # and not −0 for what is certain

    @cached_property
    def margin(self) -> Doubles:
        """How far the best token's log probability lies above that of the second; NaN with fewer than two."""
        if self.top_logprobs.shape[1] < 2:
            return np.full(len(self), np.nan)
        return np.asarray(self.top_logprobs[:, 0].astype(np.float64) - self.top_logprobs[:, 1])

    @property
    def missing_mass(self) -> Doubles:
        """The probability, 0 to 1, of all tokens that are neither among the top k nor chosen."""
        return np.asarray(self._bounds[0])

    @property
    def entropy_low(self) -> Doubles:
        """Lower bound of the entropy of the next token, nats: the missing mass on as few tokens as it can lie on."""
        return np.asarray(self._bounds[1])

    @property
    def entropy_high(self) -> Doubles:
        """Upper bound, nats: the missing mass spread over all tokens that were not told; NaN where the tokenizer's
        vocabulary, which tells how many they are, is not at hand."""
        return np.asarray(self._bounds[2])

    @cached_property
    def _bounds(self) -> Doubles:
        found = np.empty((3, len(self)))
        size = max((len(c.vocabulary()) for c in self.choices if c.vocabulary), default=0) or np.nan
        for first in range(0, len(self), _ROWS):
            part = slice(first, first + _ROWS)
            top, ids, own = self.top_logprobs[part], self.top_ids[part], self.token_ids[part]
            found[:, part] = _entropy(top, self.logprobs[part], (ids == own[:, None]).any(axis=1), size)
        return found

    # What a grammar did, where the same tokens were scored without it

    def removed_mass(self, free: Logprobs) -> Doubles:
        """(N,) the probability, 0 to 1, that a grammar took from all the tokens that it forbade; NaN where not known.

        free: the same tokens without the grammar, such as `engine.score(c.prompt_token_ids, [c.token_ids])` gives.
        Those of an answer held to a form are renormalised over what was allowed, p' = p / (1 − removed). Raises
        ValueError for other tokens.
        """
        if not np.array_equal(self.token_ids, free.token_ids):
            raise ValueError(
                f"free must hold the same tokens without the grammar, got {len(free)} tokens for {len(self)}: "
                "toolkit.logprobs(engine.score(c.prompt_token_ids, [c.token_ids], top_logprobs=20))"
            )
        lost = free.logprobs.astype(np.float64) - self.logprobs
        return np.asarray(0 - np.expm1(np.minimum(lost, 0)))

    def forbidden(self, free: Logprobs) -> npt.NDArray[np.int8]:
        """(N, k) of the tokens that are the most likely ones without the grammar (`free.top_ids`): 1 what the grammar
        forbade, 0 what it allowed, −1 where that is not known. Raises as `removed_mass` does."""
        with np.errstate(divide="ignore"):
            scale = np.log1p(-self.removed_mass(free))
        found = np.empty(free.top_ids.shape, np.int8)
        allowed = np.isfinite(self.top_logprobs)
        # A mask keeps the order of what it allows: what is likelier than the last that was told, and not among those
        # that were, is forbidden. Where some of the top k are impossible, all that are possible were told.
        last = np.nan_to_num(self.top_logprobs, nan=np.inf, neginf=-np.inf).min(axis=1, initial=np.inf)
        for first in range(0, len(self), _ROWS >> 4):
            part = slice(first, first + (_ROWS >> 4))
            ids = np.where(allowed[part], self.top_ids[part], -2)
            told = (free.top_ids[part][:, :, None] == ids[:, None, :]).any(axis=2)
            own = free.top_ids[part] == self.token_ids[part][:, None]
            above = free.top_logprobs[part] - scale[part][:, None] > last[part][:, None] + _APART
            known = ~np.isnan(free.top_logprobs[part]) & ~np.isnan(scale[part])[:, None]
            found[part] = np.where(told | own, 0, np.where(above & known, 1, -1))
        return found

    # One number a text, (S,)

    @cached_property
    def unknown(self) -> npt.NDArray[np.int64]:
        """Tokens whose log probability is not known."""
        return self._sums(np.isnan(self.logprobs)).astype(np.int64)

    @cached_property
    def sequence_logprob(self) -> Doubles:
        """Sum of the log probabilities: that of the whole text after its prompt. NaN where none of its tokens is
        known, 0 for an empty text."""
        sums = self._sums(np.nan_to_num(self.logprobs))
        return np.where((self.unknown > 0) & (self.unknown == np.diff(self.starts)), np.nan, sums)

    @property
    def perplexity(self) -> Doubles:
        """exp of the mean surprisal; NaN for a text without a known token.

        Raises ValueError unless the log probabilities are the model's own (raw_logprobs).
        """
        if self.logprobs_mode != "raw_logprobs":
            raise ValueError(
                f"perplexity needs the model's own log probabilities (raw_logprobs), and these are "
                f"{self.logprobs_mode or 'of unknown or several modes'}: score the text with engine.score on an "
                'engine of logprobs_mode="raw_logprobs"'
            )
        return np.asarray(np.exp(self._means(self.surprisal)))

    @cached_property
    def min_probability(self) -> Doubles:
        """The probability of each text's least likely token."""
        found = np.full(len(self.choices), np.nan)
        filled = np.flatnonzero(np.diff(self.starts))
        if len(filled):
            found[filled] = np.fmin.reduceat(self.probability, self.starts[:-1][filled])
        return found

    def _sums(self, column: npt.NDArray[Any]) -> Doubles:
        totals: Doubles = np.concatenate([[0.0], np.cumsum(column, dtype=np.float64)])
        return np.asarray(totals[self.starts[1:]] - totals[self.starts[:-1]])

    def _means(self, column: Doubles) -> Doubles:
        known = self._sums(~np.isnan(column))
        with np.errstate(invalid="ignore"):
            return np.asarray(self._sums(np.nan_to_num(column)) / known)

    # Tables

    def frame(self) -> pd.DataFrame:
        """A row for each token: the text it belongs to, its position there, id, text (that of a character which spans
        several tokens stands at the first of them), whether it was given (a prefix), log probability, probability,
        surprisal, rank, margin, missing mass and the bounds of the entropy."""
        import pandas as pd

        return pd.DataFrame(
            {
                "sequence": self.sequence,
                "position": np.arange(len(self)) - self.starts[self.sequence],
                "id": self.token_ids,
                "text": [text for choice in self.choices for text in _texts(choice)],
                "given": np.concatenate([np.arange(len(c.token_ids)) < c.given for c in self.choices]),
                "logprob": self.logprobs,
                "probability": self.probability,
                "surprisal": self.surprisal,
                "rank": pd.array(self.ranks, "Int64").copy(),
                "margin": self.margin,
                "missing_mass": self.missing_mass,
                "entropy_low": self.entropy_low,
                "entropy_high": self.entropy_high,
            }
        ).assign(rank=lambda t: t["rank"].where(t["rank"] > 0))

    def summary(self) -> pd.DataFrame:
        """A row for each text: tokens, those of unknown log probability, log probability of the whole, perplexity
        (where the mode is raw), probability of the least likely token, means of surprisal, missing mass and entropy's
        bounds."""
        import pandas as pd

        raw = self.logprobs_mode == "raw_logprobs"
        return pd.DataFrame(
            {
                "text": [c.text for c in self.choices],
                "tokens": np.diff(self.starts),
                "unknown": self.unknown,
                "logprob": self.sequence_logprob,
                **({"perplexity": self.perplexity} if raw else {}),
                "min_probability": self.min_probability,
                "surprisal": self._means(self.surprisal),
                "missing_mass": self._means(self.missing_mass),
                "entropy_low": self._means(self.entropy_low),
                "entropy_high": self._means(self.entropy_high),
            }
        )

    def top(self, sequence: int = 0) -> pd.DataFrame:
        """A row for each of the k most likely tokens at each step of a text: position, place (1 is the best), id,
        text, logprob, probability, and whether it was the one taken."""
        import pandas as pd

        choice = self.choices[sequence]
        rows = [
            (step, place, i, text, p if p > UNLIKELY else -np.inf, np.exp(p), i == token.id)
            for step, token in enumerate(choice.tokens)
            for place, (i, text, p) in enumerate(token.top, 1)
        ]
        names = ["position", "place", "id", "text", "logprob", "probability", "taken"]
        return pd.DataFrame(rows, columns=names)

    def spans(self, by: str | re.Pattern[str] = "word") -> pd.DataFrame:
        """A row for each span of the texts: "word", "sentence", "json" (each value of a JSON document, by its path)
        or the matches of a compiled regular expression. Its tokens are those that overlap it, whole; logprob is the
        sum of theirs, probability the joint one of them all, and min_probability that of the least likely.

        Raises ValueError for another name, or for text that is not JSON.
        """
        import pandas as pd

        found = []
        for number, choice in enumerate(self.choices):
            first = self.starts[number]
            for span in spans(choice, by):
                own = self.logprobs[first + span.first : first + span.last].astype(np.float64)
                known = own[~np.isnan(own)]
                found.append(
                    {
                        "sequence": number,
                        "span": span.name,
                        "text": span.text,
                        "first": span.first,
                        "last": span.last,
                        "tokens": span.last - span.first,
                        "logprob": known.sum() if len(known) else np.nan,
                        "min_probability": np.exp(known.min()) if len(known) else np.nan,
                    }
                )
        columns = ["sequence", "span", "text", "first", "last", "tokens", "logprob", "min_probability"]
        table = pd.DataFrame(found, columns=columns)
        table.insert(7, "probability", np.exp(table["logprob"].astype(float)))
        return table

    # For eyes

    def column(self, by: str) -> Doubles:
        """One of `BY` as numbers; the entropy is its upper bound. Raises ValueError for another name."""
        if by not in BY:
            raise ValueError(unknown("colouring", by, BY))
        name = "entropy_high" if by == "entropy" else "ranks" if by == "rank" else by
        return np.asarray(getattr(self, name), np.float64)

    def highlight(self, by: str = "probability") -> HTML:
        """The texts with each token coloured, the more surprising the stronger: by probability, rank, surprisal or
        entropy. What a token's numbers are shows when the pointer rests on it."""
        from IPython.display import HTML

        return HTML(self._html(by))

    def plot(self, sequence: int = 0, by: str = "probability") -> Figure:
        """One text: its tokens coloured, their surprisal over positions, and the band that holds the entropy."""
        choice, number = self.choices[sequence], range(len(self.choices))[sequence]
        part = slice(self.starts[number], self.starts[number + 1])
        columns = (self.column(by), self.surprisal, self.entropy_low, self.entropy_high)
        return plots.tokens(choice.pieces, by, *(c[part] for c in columns))

    def _html(self, by: str) -> str:
        column, parts = self.column(by), []
        for number, choice in enumerate(self.choices[: strip.TEXTS]):
            first = self.starts[number]
            told = [
                (text, column[first + a : first + b], "; ".join(map(self._told, range(first + a, first + b))))
                for a, b, text in choice.pieces
            ]
            parts.append(strip.text(told, by))
        return strip.page(parts, by, len(self.choices))

    def _told(self, i: int) -> str:
        if np.isnan(self.logprobs[i]):
            return "probability not known"
        return f"probability {self.probability[i]:.4f}, rank {self.ranks[i]}, surprisal {self.surprisal[i]:.2f} nats"

    def __repr__(self) -> str:
        mode = self.logprobs_mode or "mode unknown"
        head = (
            f"Logprobs({len(self.choices)} text(s), {len(self)} tokens, top {self.top_ids.shape[1]}, {mode})"
        )
        return f"{head}\n{self.summary().to_string(max_rows=20, max_colwidth=40)}"

    def _repr_html_(self) -> str:
        return self._html("probability")


def _check(choice: Choice) -> None:
    if choice.logprobs is None:
        raise ValueError(
            f"{choice.text[:40]!r} has no log probabilities: ask with logprobs=True, or top_logprobs=5 for the most "
            "likely tokens as well"
        )
    if len(choice.logprobs) != len(choice.token_ids):
        raise ValueError(f"{choice.text[:40]!r} has no tokens: {UNNAMED}")
    if choice.logprobs_mode in ("raw_logits", "processed_logits"):
        raise ValueError(
            f"these are logits, not log probabilities (logprobs_mode={choice.logprobs_mode!r}): load the model with "
            'logprobs_mode="raw_logprobs"'
        )


def _known(array: Any) -> Any:
    """An array that is there, since logprobs are."""
    assert array is not None
    return array


def _wide(arrays: list[Any], empty: float) -> Any:
    """Arrays of different widths one below the other."""
    if len({a.shape[1] for a in arrays}) == 1:
        return np.concatenate(arrays)
    width = max(a.shape[1] for a in arrays)
    rows = [np.pad(a, ((0, 0), (0, width - a.shape[1])), constant_values=empty) for a in arrays]
    return np.concatenate(rows)


def _entropy(top: Floats, own: Floats, among: npt.NDArray[np.bool_], size: float) -> Doubles:
    """(3, N): missing mass, lower and upper bound of the entropy (nats) of each step.

    top: (N, k) log probabilities; own: (N,) that of the chosen token, a further known one where it is not `among` the
    top k; size: tokens of the vocabulary, NaN where not known. With r missing, and no missing token likelier than the
    least of the top k, p_k: r lies on at least r / p_k tokens (the lowest entropy) and at most on all V − k others,
    evenly (the highest).
    """
    logs = top.astype(np.float64)
    shares = np.exp(logs)
    told = ~np.isnan(shares)
    shares[~told] = 0
    logs[~(shares > 0)] = 0
    alone = ~among & ~np.isnan(own)
    single = np.where(alone, np.exp(own.astype(np.float64)), 0.0)
    known = shares.sum(axis=1) + single
    entropy = -(shares * logs).sum(axis=1) - np.where(alone, single * own, 0.0)
    rest = size - told.sum(axis=1) - alone
    cap = np.where(told, shares, 1.0).min(axis=1, initial=1.0)
    whole = (rest <= 0) | (cap == 0)  # every token that is possible is told
    missing = np.where(whole, 0.0, np.clip(1 - known, 0, 1))
    # What float32 rounds changes each p by up to p · _ROUNDING, and −p ln p and the cap accordingly.
    least, most = np.maximum(missing - _ROUNDING, 0), np.minimum(missing + _ROUNDING, 1)
    slack = _ROUNDING * (1 + entropy)
    lowest = np.minimum(_concentrated(least, cap), _concentrated(most, cap))
    highest = _spread(np.clip(rest / np.e, least, most), rest)  # most of all with 1 / e on each
    low = np.maximum(entropy + np.where(whole, 0.0, lowest) - slack, 0)
    high = np.maximum(entropy + np.where(whole, 0.0, highest) + slack, low)
    return np.where(told.any(axis=1) | alone, np.stack([missing, low, high]), np.nan)


def _concentrated(mass: Doubles, cap: Doubles) -> Doubles:
    """Entropy of a mass on as few tokens of at most `cap` as it can lie on."""
    with np.errstate(divide="ignore", invalid="ignore"):
        whole = np.floor(np.where(cap > 0, mass / cap, 0.0))
    left = np.maximum(mass - whole * cap, 0)
    return np.asarray(-whole * _xlogx(cap) - _xlogx(left))


def _spread(mass: Doubles, tokens: npt.NDArray[Any]) -> Doubles:
    """Entropy of a mass spread evenly over so many tokens."""
    return np.asarray(-mass * np.log(np.maximum(mass, 1e-300) / np.maximum(tokens, 1)))


def _xlogx(x: Doubles) -> Doubles:
    return np.asarray(x * np.log(np.where(x > 0, x, 1.0)))


def _texts(choice: Choice) -> list[str]:
    found = [""] * len(choice.token_ids)
    for first, _, text in choice.pieces:
        found[first] = text
    return found
