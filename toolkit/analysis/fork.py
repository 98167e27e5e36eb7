"""Fork: two answers to one prompt, token by token, up to and at the step where they part."""

from __future__ import annotations

import difflib
import html
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit import report
from toolkit.choice import Choice
from toolkit.completion import Completion

if TYPE_CHECKING:
    import pandas as pd

Doubles = npt.NDArray[np.float64]


def fork(a: Completion | Choice, b: Completion | Choice) -> Fork:
    """Where and how two answers to the same prompt part; of completions their first choices.

    Raises ValueError when the prompts or the tokenizers differ: then steps cannot be compared.
    """
    first, second = (_choice(one) for one in (a, b))
    prompts = [c.prompt_token_ids for c in (a, b) if isinstance(c, Completion)]
    if len(prompts) == 2 and not np.array_equal(prompts[0], prompts[1]):
        raise ValueError("the two completions answer different prompts: compare answers to the same one")
    known = [c.vocabulary() for c in (first, second) if c.vocabulary is not None]
    if len(known) == 2 and known[0] != known[1]:
        raise ValueError("the two answers have different tokenizers: their tokens cannot be compared")
    return Fork(first, second)


def _choice(one: Completion | Choice) -> Choice:
    if isinstance(one, Choice):
        return one
    if not isinstance(one, Completion):
        raise TypeError(f"a fork is one of two completions or choices, got {one!r}")
    if one.error is not None:
        raise ValueError(f"this completion is an error and has no tokens: {one.error}")
    return one.choices[0]


@dataclass(frozen=True, eq=False)
class Fork:
    """Two answers a and b to one prompt. Made by `fork`. Steps are counted from 0; S of them are shared."""

    a: Choice
    b: Choice

    @cached_property
    def at(self) -> int | None:
        """The first step at which the tokens differ (Yuan et al., arXiv 2506.09501: divergence index), or at which
        only one of the two goes on; None when they are the same to the end."""
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
        """(S,) log probability of each shared token in b minus that in a; NaN where one is not known."""
        first, second = self.a.logprobs, self.b.logprobs
        if first is None or second is None:
            return np.full(self.shared, np.nan)
        return np.asarray(second[: self.shared].astype(np.float64) - first[: self.shared])

    @property
    def largest_drift(self) -> float:
        """The greatest absolute difference before the fork; NaN when nothing is known."""
        known = np.abs(self.drift[~np.isnan(self.drift)])
        return float(known.max()) if len(known) else float("nan")

    @property
    def identical(self) -> float:
        """The share of the shared steps whose stored log probabilities are bitwise the same, top k included."""
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
        """Estimates k1, k2 and k3 of KL(a‖b) per token, nats, over the shared tokens and that of the fork where b
        lists it: with log r = log p_b − log p_a of a's tokens, the means of −log r, (log r)²/2 and r − 1 − log r
        (Schulman 2020, http://joschu.net/blog/kl-approx.html). They hold for texts sampled at temperature 1 with no
        cut; of shared tokens alone they are too low, for a fork ends them where the two differ."""
        log_r = np.append(self.drift, self._at_fork("b", self.a) - self._at_fork("a", self.a))
        log_r = log_r[~np.isnan(log_r)]
        if not len(log_r):
            return dict.fromkeys(("k1", "k2", "k3"), float("nan"))
        parts = {"k1": -log_r, "k2": log_r**2 / 2, "k3": np.expm1(log_r) - log_r}
        return {name: float(value.mean()) for name, value in parts.items()}

    def _at_fork(self, where: str, whose: Choice) -> float:
        """The log probability, in one of the two, of the token that one of them takes at the fork."""
        if self.at is None or self.at >= len(whose.token_ids):
            return float("nan")
        return _listed(getattr(self, where), self.at).get(int(whose.token_ids[self.at]), float("nan"))

    @property
    def margins(self) -> tuple[float, float]:
        """How far the best token lies above the second at the fork, in a and in b, nats; NaN when not known."""
        return _margin(self.a, self.at), _margin(self.b, self.at)

    @property
    def near_ties(self) -> float:
        """The share of the shared steps whose margin in a is smaller than the largest drift: where such noise can
        turn the choice."""
        margins = np.array([_margin(self.a, step) for step in range(self.shared)])
        known = margins[~np.isnan(margins)]
        drift = self.largest_drift
        return float((known < drift).mean()) if len(known) and not np.isnan(drift) else float("nan")

    def candidates(self) -> pd.DataFrame:
        """A row for each token that either of the two lists at the fork, the best of a first: id, text, logprob_a,
        logprob_b, difference (b − a), taken ("a", "b" or ""). Empty without a fork."""
        import pandas as pd

        columns = ["id", "text", "logprob_a", "logprob_b", "difference", "taken"]
        if self.at is None:
            return pd.DataFrame(columns=columns)
        lists = [_listed(c, self.at) for c in (self.a, self.b)]
        taken = {
            int(c.token_ids[self.at]): n
            for n, c in (("a", self.a), ("b", self.b))
            if self.at < len(c.token_ids)
        }
        ids = dict.fromkeys([*lists[0], *lists[1], *taken])
        rows = [
            (i, self._text([i]), *(known.get(i, np.nan) for known in lists), taken.get(i, "")) for i in ids
        ]
        table = pd.DataFrame(rows, columns=[c for c in columns if c != "difference"])
        table.insert(4, "difference", table["logprob_b"] - table["logprob_a"])
        return table.sort_values(["logprob_a", "logprob_b"], ascending=False, ignore_index=True)

    def alignment(self) -> pd.DataFrame:
        """The two answers laid side by side over their whole length: runs of tokens that are equal, replaced, or only
        in one (Ratcliff and Obershelp's matching, `difflib`): what, first and last (the end) in a and b, texts."""
        import pandas as pd

        ids = [c.token_ids.tolist() for c in (self.a, self.b)]
        found = difflib.SequenceMatcher(a=ids[0], b=ids[1], autojunk=False).get_opcodes()
        rows = [
            (what, i, j, m, n, self._text(ids[0][i:j]), self._text(ids[1][m:n])) for what, i, j, m, n in found
        ]
        return pd.DataFrame(
            rows, columns=["what", "first_a", "last_a", "first_b", "last_b", "text_a", "text_b"]
        )

    def _text(self, token_ids: Iterable[int]) -> str:
        return b"".join(map(self.a.token_bytes, map(int, token_ids))).decode("utf-8", "replace")

    def sentence(self) -> str:
        """What happened, in words."""
        drift = (
            ""
            if np.isnan(self.largest_drift)
            else f"; the largest drift before it is {self.largest_drift:.2g} nats"
        )
        if self.at is None:
            return f"the same {self.shared} tokens{drift.replace(' before it', '')}"
        said = [repr(self._text([int(c.token_ids[self.at])])) if self.at < len(c.token_ids) else "the end"
                for c in (self.a, self.b)]  # fmt: skip
        margins = ["unknown" if np.isnan(m) else f"{m:.2g}" for m in self.margins]
        return (
            f"{self.shared} shared tokens, then at step {self.at} a says {said[0]} and b says {said[1]} "
            f"(margin {margins[0]} and {margins[1]} nats){drift}"
        )

    def __repr__(self) -> str:
        return f"Fork({self.sentence()})"

    def _repr_html_(self) -> str:
        said = f"<p>{_said(self.sentence())}</p>"
        if self.at is None:
            return said
        sides = "".join(
            _row(name, *map(self._text, (ids[:1], ids[1:])))
            for name, ids in (("a", self.a.token_ids[self.at :]), ("b", self.b.token_ids[self.at :]))
        )
        shared = self._text(self.a.token_ids[: self.at])
        table = self.candidates().assign(
            text=lambda frame: [report.cut(text, _LONG) for text in frame["text"]]
        )
        both = (
            f'<tr style="opacity:.65">{_NAME.format("both")}{_TEXT.format(_said(shared))}</tr>'
            if shared
            else ""
        )
        return f"<div>{said}<table>{both}{sides}</table>{report.table(report.short(table))}</div>"


_NAME = '<td style="vertical-align:top;text-align:left">{}</td>'
_TEXT = '<td style="text-align:left;white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate">{}</td>'
_MARK = '<mark style="background:rgba(230,159,0,.45);color:inherit">{}</mark>'
_CHARACTERS = 4000
"""Of each part of an answer that a notebook shows."""
_LONG = 200
"""Of a token in a list."""


def _row(name: str, first: str, rest: str) -> str:
    """An answer from the fork on, with its first token marked."""
    return (
        f"<tr>{_NAME.format(name)}{_TEXT.format(_MARK.format(_said(first or 'the end')) + _said(rest))}</tr>"
    )


def _said(text: str) -> str:
    return html.escape(report.cut(text, _CHARACTERS))


def _listed(choice: Choice, step: int) -> dict[int, float]:
    """Token id → log probability of the tokens known at a step, best first."""
    found: dict[int, float] = {}
    if choice.logprobs is None or step >= len(choice.token_ids):
        return found
    if choice.top_ids is not None and choice.top_logprobs is not None:
        found = dict(zip(choice.top_ids[step].tolist(), choice.top_logprobs[step].tolist(), strict=True))
    found.setdefault(int(choice.token_ids[step]), float(choice.logprobs[step]))
    return {i: p for i, p in found.items() if not np.isnan(p)}


def _margin(choice: Choice, step: int | None) -> float:
    top: Any = choice.top_logprobs
    if step is None or top is None or step >= len(top) or top.shape[1] < 2:
        return float("nan")
    return float(top[step, 0]) - float(top[step, 1])
