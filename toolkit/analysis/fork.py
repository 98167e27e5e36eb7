"""Fork: two answers to one prompt, token by token, up to and at the step where they diverge."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit._internal.field_docs import documented
from toolkit._internal.text import short_repr, shortened
from toolkit.core.choice import Choice
from toolkit.core.completion import Completion
from toolkit.display.html import html_table, three_digits
from toolkit.display.markup import Markup, joined, markup

if TYPE_CHECKING:
    import pandas as pd


Doubles = npt.NDArray[np.float64]


def fork(a: Completion | Choice, b: Completion | Choice) -> Fork:
    """Where and how two answers to the same prompt diverge; of completions, their first choices.

    Raises ValueError if the prompts or the tokenizers differ, so that steps cannot be compared.
    """
    first, second = (_choice(answer) for answer in (a, b))
    prompts = [c.prompt_token_ids for c in (a, b) if isinstance(c, Completion)]
    if len(prompts) == 2 and not np.array_equal(prompts[0], prompts[1]):
        raise ValueError("the two completions answer different prompts: compare answers to the same one")
    vocabularies = [c.vocabulary() for c in (first, second) if c.vocabulary is not None]
    if len(vocabularies) == 2 and vocabularies[0] != vocabularies[1]:
        raise ValueError("the two answers have different tokenizers: their tokens cannot be compared")
    return Fork(first, second)


def _choice(answer: Completion | Choice) -> Choice:
    if isinstance(answer, Choice):
        return answer
    if not isinstance(answer, Completion):
        raise TypeError(f"fork compares two completions or choices, got {short_repr(answer)}")
    if answer.error is not None:
        raise ValueError(f"this completion is an error and has no tokens: {answer.error}")
    return answer.choices[0]


@documented
@dataclass(frozen=True, eq=False)
class Fork:
    """Two answers a and b to one prompt. Made by `fork`. Steps count from 0; S of them are shared."""

    a: Choice
    """The first answer."""
    b: Choice
    """The second answer."""

    @cached_property
    def at(self) -> int | None:
        """The first step at which the tokens differ (Yuan et al., arXiv 2506.09501: divergence index), or at which
        only one of the two continues; None if they are the same to the end."""
        if np.array_equal(self.a.token_ids, self.b.token_ids):
            return None
        n = min(len(self.a.token_ids), len(self.b.token_ids))
        differ = np.flatnonzero(self.a.token_ids[:n] != self.b.token_ids[:n])
        return int(differ[0]) if len(differ) else n

    @property
    def shared(self) -> int:
        """S, the number of tokens before the fork."""
        return len(self.a.token_ids) if self.at is None else self.at

    @cached_property
    def drift(self) -> Doubles:
        """(S,) log probability of each shared token in b minus that in a; NaN where either is not known."""
        first, second = self.a.logprobs, self.b.logprobs
        if first is None or second is None:
            return np.full(self.shared, np.nan)
        return np.asarray(second[: self.shared].astype(np.float64) - first[: self.shared])

    @property
    def largest_drift(self) -> float:
        """The largest absolute drift before the fork, nats; NaN if none is known."""
        differences = np.abs(self.drift[~np.isnan(self.drift)])
        return float(differences.max()) if len(differences) else float("nan")

    @property
    def identical(self) -> float:
        """The share of the shared steps whose stored log probabilities are bitwise equal, top k included."""
        if not self.shared:
            return float("nan")
        same = np.ones(self.shared, bool)
        for name in ("logprobs", "top_ids", "top_logprobs"):
            first, second = getattr(self.a, name), getattr(self.b, name)
            if first is None or second is None or first.shape[1:] != second.shape[1:]:
                return float("nan")
            bits = np.int32 if first.dtype == np.float32 else first.dtype
            equal = first[: self.shared].view(bits) == second[: self.shared].view(bits)
            same &= equal.reshape(self.shared, -1).all(axis=1)
        return float(same.mean())

    def divergence(self) -> dict[str, float]:
        """Estimates k1, k2 and k3 of KL(a‖b) per token, nats, over the shared tokens, and the token at the fork if b
        lists it: with log r = log p_b − log p_a of a's tokens, the means of −log r, (log r)²/2 and r − 1 − log r
        (Schulman 2020, http://joschu.net/blog/kl-approx.html). They are valid for texts sampled at temperature 1
        without truncation; over shared tokens alone they are too low, since these end where the two differ."""
        log_r = np.append(self.drift, self._at_fork("b", self.a) - self._at_fork("a", self.a))
        log_r = log_r[~np.isnan(log_r)]
        if not len(log_r):
            return dict.fromkeys(("k1", "k2", "k3"), float("nan"))
        estimates = {"k1": -log_r, "k2": log_r**2 / 2, "k3": np.expm1(log_r) - log_r}
        return {name: float(value.mean()) for name, value in estimates.items()}

    def _at_fork(self, where: str, whose: Choice) -> float:
        """The log probability that answer `where` ("a" or "b") gives at the fork to the token that `whose` takes."""
        if self.at is None or self.at >= len(whose.token_ids):
            return float("nan")
        return _token_logprobs(getattr(self, where), self.at).get(int(whose.token_ids[self.at]), float("nan"))

    @property
    def margins(self) -> tuple[float, float]:
        """Log probability of the best token minus the second's at the fork, in a and in b, nats; NaN if not known."""
        return _margin(self.a, self.at), _margin(self.b, self.at)

    @property
    def near_ties(self) -> float:
        """The share of the shared steps whose margin in a is smaller than the largest drift: where such noise can
        change the chosen token."""
        margins = np.array([_margin(self.a, step) for step in range(self.shared)])
        known_margins = margins[~np.isnan(margins)]
        drift = self.largest_drift
        return (
            float((known_margins < drift).mean())
            if len(known_margins) and not np.isnan(drift)
            else float("nan")
        )

    def candidates(self) -> pd.DataFrame:
        """A row for each token that either answer lists at the fork, the best of a first: id, text, logprob_a,
        logprob_b, difference (b − a), taken ("a", "b" or ""). Empty without a fork."""
        import pandas as pd

        columns = ["id", "text", "logprob_a", "logprob_b", "difference", "taken"]
        if self.at is None:
            return pd.DataFrame(columns=columns)
        lists = [_token_logprobs(c, self.at) for c in (self.a, self.b)]
        taken = {
            int(c.token_ids[self.at]): n
            for n, c in (("a", self.a), ("b", self.b))
            if self.at < len(c.token_ids)
        }
        ids = dict.fromkeys([*lists[0], *lists[1], *taken])
        rows = [
            (i, self._text([i]), *(logprobs.get(i, np.nan) for logprobs in lists), taken.get(i, ""))
            for i in ids
        ]
        table = pd.DataFrame(rows, columns=[c for c in columns if c != "difference"])
        table.insert(4, "difference", table["logprob_b"] - table["logprob_a"])
        return table.sort_values(["logprob_a", "logprob_b"], ascending=False, ignore_index=True)

    def alignment(self) -> pd.DataFrame:
        """The two answers aligned over their whole length: runs of tokens that are equal, replaced, or only in one
        (Ratcliff and Obershelp's matching, `difflib`): what, first and last (the end) in a and b, texts."""
        import pandas as pd

        ids = [c.token_ids.tolist() for c in (self.a, self.b)]
        opcodes = difflib.SequenceMatcher(a=ids[0], b=ids[1], autojunk=False).get_opcodes()
        rows = [
            (op, i, j, m, n, self._text(ids[0][i:j]), self._text(ids[1][m:n])) for op, i, j, m, n in opcodes
        ]
        return pd.DataFrame(
            rows, columns=["what", "first_a", "last_a", "first_b", "last_b", "text_a", "text_b"]
        )

    def _text(self, token_ids: Iterable[int]) -> str:
        return b"".join(map(self.a.token_bytes, map(int, token_ids))).decode("utf-8", "replace")

    def sentence(self) -> str:
        """A summary in one sentence."""
        drift = (
            ""
            if np.isnan(self.largest_drift)
            else f"; the largest drift before it is {self.largest_drift:.2g} nats"
        )
        if self.at is None:
            return f"the same {self.shared} tokens{drift.replace(' before it', '')}"
        tokens = [repr(self._text([int(c.token_ids[self.at])])) if self.at < len(c.token_ids) else "the end"
                for c in (self.a, self.b)]  # fmt: skip
        margins = ["unknown" if np.isnan(m) else f"{m:.2g}" for m in self.margins]
        return (
            f"{self.shared} shared tokens, then at step {self.at} a says {tokens[0]} and b says {tokens[1]} "
            f"(margin {margins[0]} and {margins[1]} nats){drift}"
        )

    def __repr__(self) -> str:
        return f"Fork({self.sentence()})"

    def _repr_html_(self) -> Markup:
        sentence = markup("<p>{}</p>", shortened(self.sentence(), _MAX_CHARACTERS))
        if self.at is None:
            return sentence
        sides = joined(
            _row(name, *map(self._text, (ids[:1], ids[1:])))
            for name, ids in (("a", self.a.token_ids[self.at :]), ("b", self.b.token_ids[self.at :]))
        )
        shared = self._text(self.a.token_ids[: self.at])
        table = self.candidates().assign(
            text=lambda frame: [shortened(text, _MAX_TOKEN_CHARACTERS) for text in frame["text"]]
        )
        both = joined([markup(_NAME, "both"), markup(_TEXT, shortened(shared, _MAX_CHARACTERS))])
        shared_row = markup('<tr style="opacity:.65">{}</tr>', both) if shared else ""
        candidates = html_table(three_digits(table))
        return markup("<div>{}<table>{}{}</table>{}</div>", sentence, shared_row, sides, candidates)


_NAME = '<td style="vertical-align:top;text-align:left">{}</td>'
_TEXT = '<td style="text-align:left;white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate">{}</td>'
_MARK = '<mark style="background:rgba(230,159,0,.45);color:inherit">{}</mark>'
_MAX_CHARACTERS = 4000
"""Of each part of an answer in a notebook cell."""
_MAX_TOKEN_CHARACTERS = 200
"""Of a token in the table of candidates."""


def _row(name: str, first: str, rest: str) -> Markup:
    """A table row of an answer from the fork on, with its first token highlighted."""
    highlighted = markup(_MARK, shortened(first or "the end", _MAX_CHARACTERS))
    text = joined([highlighted, shortened(rest, _MAX_CHARACTERS)])
    return markup("<tr>{}{}</tr>", markup(_NAME, name), markup(_TEXT, text))


def _token_logprobs(choice: Choice, step: int) -> dict[int, float]:
    """Token ID → log probability of the tokens known at a step, best first."""
    logprobs: dict[int, float] = {}
    if choice.logprobs is None or step >= len(choice.token_ids):
        return logprobs
    if choice.top_ids is not None and choice.top_logprobs is not None:
        logprobs = dict(zip(choice.top_ids[step].tolist(), choice.top_logprobs[step].tolist(), strict=True))
    logprobs.setdefault(int(choice.token_ids[step]), float(choice.logprobs[step]))
    return {i: p for i, p in logprobs.items() if not np.isnan(p)}


def _margin(choice: Choice, step: int | None) -> float:
    top: Any = choice.top_logprobs
    if step is None or top is None or step >= len(top) or top.shape[1] < 2:
        return float("nan")
    return float(top[step, 0]) - float(top[step, 1])
