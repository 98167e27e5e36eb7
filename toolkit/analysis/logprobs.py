"""Logprobs: token log probabilities and metrics of them, as columns over one text or a million tokens."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit._internal.validation import instance_of, position, unknown
from toolkit.analysis.choices import check_logprobs, choices_of, require_array, stack_rows
from toolkit.analysis.entropy import Doubles, entropy_bounds
from toolkit.analysis.spans import spans
from toolkit.core.choice import UNLIKELY, Choice, Floats, Ints
from toolkit.core.completion import Completion
from toolkit.display import colored_tokens
from toolkit.display.markup import Markup
from toolkit.display.plots.tokens import plot_tokens

if TYPE_CHECKING:
    import pandas as pd
    from IPython.display import HTML
    from matplotlib.figure import Figure


_BATCH_TOKENS = 1 << 15
"""Tokens processed at once: their top k fit into the processor's cache."""
_TOLERANCE = 1e-2
"""Two engine passes over the same tokens differ by less than this in a log probability."""
BY = ("probability", "rank", "surprisal", "entropy")
"""The metrics that tokens can be coloured by."""


def logprobs(what: Completion | Choice | Iterable[Completion | Choice]) -> Logprobs:
    """The log probabilities of a completion, a choice (`c.prompt` is one too), or many of them (results).

    A completion gives a text for each of its choices. Raises ValueError if logprobs were not requested, or if the
    engine's logprobs_mode makes them logits.

    >>> tk.logprobs(engine.chat("Hi", top_logprobs=20)).frame()  # doctest: +SKIP
    """
    return Logprobs(tuple(choices_of(what)))


class Logprobs:
    """N tokens of S texts as columns, with the k most likely tokens at each step. Made by `logprobs`.

    All logarithms are natural. Unknown values (the first token of a prompt, OpenAI's −9999) are NaN, and left out of
    sums and means. Formulas: entropy, perplexity, surprisal as in Cover and Thomas, Elements of Information Theory.
    """

    def __init__(self, choices: Sequence[Choice]) -> None:
        if not choices:
            raise ValueError("there is no completion: give at least one")
        for choice in choices:
            check_logprobs(choice)
        self.choices = tuple(choices)
        self.starts: npt.NDArray[np.int64] = np.cumsum([0, *(len(c.token_ids) for c in choices)])
        """(S + 1,) index in the columns at which each text begins, and the end of the last."""

    def __len__(self) -> int:
        return int(self.starts[-1])

    @property
    def logprobs_mode(self) -> str | None:
        """The mode of all texts; None if unknown or not the same."""
        modes = {c.logprobs_mode for c in self.choices}
        return modes.pop() if len(modes) == 1 else None

    # Columns, (N,) unless stated otherwise

    @cached_property
    def sequence(self) -> npt.NDArray[np.int64]:
        """Index of the text that a token belongs to."""
        return np.repeat(np.arange(len(self.choices)), np.diff(self.starts))

    @cached_property
    def token_ids(self) -> Ints:
        return np.asarray(np.concatenate([c.token_ids for c in self.choices]))

    @cached_property
    def logprobs(self) -> Floats:
        """Log probabilities of the tokens; NaN where not known."""
        values: Floats = np.concatenate([require_array(c.logprobs) for c in self.choices])
        values[values <= UNLIKELY] = np.nan
        return values

    @cached_property
    def ranks(self) -> Ints:
        """Ranks in the vocabulary, 1 is the most likely; 0 where not known."""
        return np.asarray(np.concatenate([require_array(c.ranks) for c in self.choices]))

    @cached_property
    def top_ids(self) -> Ints:
        """(N, k), best first; −1 where not known, or where a text has fewer."""
        ids: Ints = stack_rows([require_array(c.top_ids) for c in self.choices], -1)
        ids[np.isnan(self.top_logprobs)] = -1
        return ids

    @cached_property
    def top_logprobs(self) -> Floats:
        """(N, k), best first; NaN where not known, −inf where impossible."""
        values: Floats = stack_rows([require_array(c.top_logprobs) for c in self.choices], np.nan)
        values[values <= UNLIKELY] = -np.inf
        return values

    @cached_property
    def probability(self) -> Doubles:
        return np.asarray(np.exp(self.logprobs.astype(np.float64)))

    @cached_property
    def surprisal(self) -> Doubles:
        """−ln p, nats; divided by ln 2 it is bits."""
        return np.asarray(0 - self.logprobs.astype(np.float64))  # 0 − x: no −0 for certain tokens

    @cached_property
    def margin(self) -> Doubles:
        """Log probability of the best token minus that of the second; NaN with fewer than two."""
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
        """Upper bound, nats: the missing mass spread over all unlisted tokens; NaN if their number is not known,
        since the tokenizer's vocabulary is not at hand."""
        return np.asarray(self._bounds[2])

    @cached_property
    def _bounds(self) -> Doubles:
        bounds = np.empty((3, len(self)))
        size = max((len(c.vocabulary()) for c in self.choices if c.vocabulary), default=0) or np.nan
        for first in range(0, len(self), _BATCH_TOKENS):
            part = slice(first, first + _BATCH_TOKENS)
            top, ids, chosen = self.top_logprobs[part], self.top_ids[part], self.token_ids[part]
            bounds[:, part] = entropy_bounds(
                top, self.logprobs[part], (ids == chosen[:, None]).any(axis=1), size
            )
        return bounds

    # The effect of a grammar, given scores of the same tokens without it

    def removed_mass(self, free: Logprobs) -> Doubles:
        """(N,) the total probability, 0 to 1, of the tokens that a grammar forbade; NaN where not known.

        free: the same tokens without the grammar, for example from `engine.score(c.prompt_token_ids, [c.token_ids])`.
        Probabilities constrained to a schema are renormalised over the allowed tokens, p' = p / (1 − removed). Raises
        ValueError for other tokens.
        """
        instance_of(Logprobs, "free", free, "toolkit.logprobs(engine.score(…)) gives one")
        if not np.array_equal(self.token_ids, free.token_ids):
            raise ValueError(
                f"free must hold the same tokens without the grammar, got {len(free)} tokens for {len(self)}: "
                "toolkit.logprobs(engine.score(c.prompt_token_ids, [c.token_ids], top_logprobs=20))"
            )
        log_ratio = free.logprobs.astype(np.float64) - self.logprobs
        return np.asarray(0 - np.expm1(np.minimum(log_ratio, 0)))

    def forbidden(self, free: Logprobs) -> npt.NDArray[np.int8]:
        """(N, k) for the most likely tokens without the grammar (`free.top_ids`): 1 if the grammar forbade the token,
        0 if it allowed it, −1 if that is not known. Raises as `removed_mass` does."""
        with np.errstate(divide="ignore"):
            scale = np.log1p(-self.removed_mass(free))
        result = np.empty(free.top_ids.shape, np.int8)
        allowed = np.isfinite(self.top_logprobs)
        # A mask keeps the order of the allowed tokens: one that is likelier than the last listed token, and not
        # listed, is forbidden. Where some of the top k are impossible, all possible tokens are listed.
        lowest = np.nan_to_num(self.top_logprobs, nan=np.inf, neginf=-np.inf).min(axis=1, initial=np.inf)
        for first in range(0, len(self), _BATCH_TOKENS >> 4):
            part = slice(first, first + (_BATCH_TOKENS >> 4))
            ids = np.where(allowed[part], self.top_ids[part], -2)
            listed = (free.top_ids[part][:, :, None] == ids[:, None, :]).any(axis=2)
            is_chosen = free.top_ids[part] == self.token_ids[part][:, None]
            likelier = free.top_logprobs[part] - scale[part][:, None] > lowest[part][:, None] + _TOLERANCE
            is_known = ~np.isnan(free.top_logprobs[part]) & ~np.isnan(scale[part])[:, None]
            result[part] = np.where(listed | is_chosen, 0, np.where(likelier & is_known, 1, -1))
        return result

    # One number per text, (S,)

    @cached_property
    def unknown(self) -> npt.NDArray[np.int64]:
        """The number of tokens whose log probability is not known."""
        return self._sums(np.isnan(self.logprobs)).astype(np.int64)

    @cached_property
    def sequence_logprob(self) -> Doubles:
        """Sum of the log probabilities: that of the whole text given its prompt. NaN if none of its tokens is known,
        0 for an empty text."""
        sums = self._sums(np.nan_to_num(self.logprobs))
        return np.where((self.unknown > 0) & (self.unknown == np.diff(self.starts)), np.nan, sums)

    @property
    def perplexity(self) -> Doubles:
        """exp of the mean surprisal; NaN for a text without known tokens.

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
        result = np.full(len(self.choices), np.nan)
        nonempty = np.flatnonzero(np.diff(self.starts))
        if len(nonempty):
            result[nonempty] = np.fmin.reduceat(self.probability, self.starts[:-1][nonempty])
        return result

    def _sums(self, column: npt.NDArray[Any]) -> Doubles:
        totals: Doubles = np.concatenate([[0.0], np.cumsum(column, dtype=np.float64)])
        return np.asarray(totals[self.starts[1:]] - totals[self.starts[:-1]])

    def _means(self, column: Doubles) -> Doubles:
        counts = self._sums(~np.isnan(column))
        with np.errstate(invalid="ignore"):
            return np.asarray(self._sums(np.nan_to_num(column)) / counts)

    # Tables

    def frame(self) -> pd.DataFrame:
        """A row for each token: the text it belongs to, its position there, id, text (a character that spans several
        tokens is at the first of them), whether it was given (a prefix), log probability, probability, surprisal,
        rank, margin, missing mass and the bounds of the entropy."""
        import pandas as pd

        return pd.DataFrame(
            {
                "sequence": self.sequence,
                "position": np.arange(len(self)) - self.starts[self.sequence],
                "id": self.token_ids,
                "text": [text for choice in self.choices for text in _texts(choice)],
                "given": np.concatenate(
                    [np.arange(len(c.token_ids)) < c.prefix_tokens for c in self.choices]
                ),
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
        """A row for each text: tokens, those of unknown log probability, total log probability, perplexity (in raw
        mode), probability of the least likely token, means of surprisal, missing mass and entropy bounds."""
        from toolkit.display.tables import Table

        raw = self.logprobs_mode == "raw_logprobs"
        return Table(
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
        text, logprob, probability, and whether it was the chosen one."""
        import pandas as pd

        choice = self.choices[position("sequence", sequence, len(self.choices))]
        rows = [
            (step, place, i, text, p if p > UNLIKELY else -np.inf, np.exp(p), i == token.id)
            for step, token in enumerate(choice.tokens)
            for place, (i, text, p) in enumerate(token.top, 1)
        ]
        names = ["position", "place", "id", "text", "logprob", "probability", "taken"]
        return pd.DataFrame(rows, columns=names)

    def spans(self, by: str | re.Pattern[str] = "word") -> pd.DataFrame:
        """A row for each span of the texts: "word", "sentence", "json" (each value of a JSON document, by its path)
        or the matches of a compiled regular expression. Its tokens are all that overlap it; logprob is their sum,
        probability their joint one, and min_probability that of the least likely.

        Raises ValueError for another name, or for text that is not JSON.
        """
        import pandas as pd

        rows = []
        for number, choice in enumerate(self.choices):
            first = self.starts[number]
            for span in spans(choice, by):
                span_logprobs = self.logprobs[first + span.first : first + span.last].astype(np.float64)
                known_logprobs = span_logprobs[~np.isnan(span_logprobs)]
                rows.append(
                    {
                        "sequence": number,
                        "span": span.name,
                        "text": span.text,
                        "first": span.first,
                        "last": span.last,
                        "tokens": span.last - span.first,
                        "logprob": known_logprobs.sum() if len(known_logprobs) else np.nan,
                        "min_probability": np.exp(known_logprobs.min()) if len(known_logprobs) else np.nan,
                    }
                )
        columns = ["sequence", "span", "text", "first", "last", "tokens", "logprob", "min_probability"]
        table = pd.DataFrame(rows, columns=columns)
        table.insert(7, "probability", np.exp(table["logprob"].astype(float)))
        return table

    # Display

    def column(self, by: str) -> Doubles:
        """One of `BY` as numbers; the entropy is its upper bound. Raises ValueError for another name."""
        if not isinstance(by, str) or by not in BY:
            raise ValueError(unknown("colouring", by, BY))
        name = "entropy_high" if by == "entropy" else "ranks" if by == "rank" else by
        return np.asarray(getattr(self, name), np.float64)

    def highlight(self, by: str = "probability") -> HTML:
        """The texts with each token coloured, the more surprising the stronger: by probability, rank, surprisal or
        entropy. A tooltip shows the token's numbers."""
        from IPython.display import HTML

        return HTML(self._html(by))

    def plot(self, sequence: int = 0, by: str = "probability") -> Figure:
        """One text: its tokens coloured, their surprisal by position, and the bounds of the entropy as a band."""
        number = position("sequence", sequence, len(self.choices))
        choice = self.choices[number]
        part = slice(self.starts[number], self.starts[number + 1])
        columns = (self.column(by), self.surprisal, self.entropy_low, self.entropy_high)
        return plot_tokens(choice.pieces, by, *(c[part] for c in columns))

    def _html(self, by: str) -> Markup:
        column, texts = self.column(by), []
        for number, choice in enumerate(self.choices[: colored_tokens.TEXTS]):
            first = self.starts[number]
            pieces = [
                (text, column[first + a : first + b], "; ".join(map(self._hint, range(first + a, first + b))))
                for a, b, text in choice.pieces
            ]
            texts.append(colored_tokens.text(pieces, by))
        return colored_tokens.page(texts, by, len(self.choices))

    def _hint(self, i: int) -> str:
        if np.isnan(self.logprobs[i]):
            return "probability not known"
        return f"probability {self.probability[i]:.4f}, rank {self.ranks[i]}, surprisal {self.surprisal[i]:.2f} nats"

    def __repr__(self) -> str:
        mode = self.logprobs_mode or "mode unknown"
        head = (
            f"Logprobs({len(self.choices)} text(s), {len(self)} tokens, top {self.top_ids.shape[1]}, {mode})"
        )
        from toolkit.display.tables import text_table

        return f"{head}\n{text_table(self.summary(), 20, 40)}"

    def _repr_html_(self) -> Markup:
        return self._html("probability")


def _texts(choice: Choice) -> list[str]:
    texts = [""] * len(choice.token_ids)
    for first, _, text in choice.pieces:
        texts[first] = text
    return texts
