"""Choice: one of the texts that answer a request, with its tokens as arrays."""

from __future__ import annotations

import codecs
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit.tools import ToolCall

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Vocabulary = Sequence[bytes]
"""The bytes of every token id of a model; empty for those that pad its matrices."""


ARRAYS = {
    "token_ids": np.int32,
    "logprobs": np.float32,
    "ranks": np.int32,
    "top_ids": np.int32,
    "top_logprobs": np.float32,
}
"""The arrays of a Choice."""


PROMPT = -1
"""The index of the choice that is the prompt itself."""
UNLIKELY = -9999.0
"""What OpenAI's API and vLLM's server write for a log probability of minus infinity; no value to compute with."""

UNNAMED = (
    "the server gave log probabilities and no token ids, and its tokenizer is not known; `logprobs` of the choice "
    "has the numbers"
)
"""Why what needs the tokens of an answer does not work."""


def mode_of_prompt(engine: str | None) -> str | None:
    """What the log probabilities of a prompt are on an engine of that logprobs_mode: no setting of the sampler
    reaches them, so that vLLM gives the raw ones in processed modes too."""
    return engine and engine.replace("processed", "raw")


def shaped(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of a Choice from flat ones (a store, a file): those of the top k get their T rows."""
    steps = len(flat["token_ids"])
    columns = {n: a.size // steps if steps else 0 for n, a in flat.items() if a is not None}
    wide: dict[str, Any] = {
        n: flat[n].reshape(steps, columns[n]) for n in ("top_ids", "top_logprobs") if n in columns
    }
    return {**flat, **wide}


@dataclass(frozen=True)
class Token:
    """One generated token, made on demand from a choice's arrays."""

    id: int
    text: str
    """Its bytes as UTF-8; bytes that are only part of a character show as U+FFFD."""
    bytes: bytes
    logprob: float | None
    rank: int | None
    """Rank of the token in the whole vocabulary; 1 is the most likely."""
    top: tuple[tuple[int, str, float], ...]
    """(id, text, logprob) of the most likely tokens at this step, best first."""


@dataclass(frozen=True, eq=False)
class Choice:
    """One of the n texts that answer a request. T tokens, k = top_logprobs."""

    index: int
    text: str
    finish_reason: str
    """stop (the model ended, or a stop string), length (max_tokens or the window was reached), tool_calls (the model
    wants functions called) or error."""
    stop_reason: str | int | None = None
    """The stop string or stop token id that ended the text; None for the model's own end of text."""
    token_ids: Ints = field(default_factory=lambda: np.zeros(0, np.int32))
    """(T,) ids, the end-of-text token included."""
    logprobs: Floats | None = None
    """(T,) natural log probabilities of the chosen tokens, NaN where not known, or None when not asked for. Where a
    server gives no ids of tokens they stand alone: then `token_ids` is empty."""
    ranks: Ints | None = None
    """(T,) vocabulary ranks of the chosen tokens, 1 is the most likely."""
    top_ids: Ints | None = None
    """(T, k) ids of the most likely tokens at each step, best first."""
    top_logprobs: Floats | None = None
    """(T, k) their log probabilities."""
    logprobs_mode: str | None = None
    """What the log probabilities are: raw_logprobs (before temperature and penalties, vLLM's default),
    processed_logprobs (after them), raw_logits, processed_logits, constrained_logprobs (raw, but after the mask of a
    grammar), or None when it is not known."""
    given: int = 0
    """Tokens at the front that were given (`Request.prefix`), not generated."""
    tool_calls: tuple[ToolCall, ...] = ()
    """Functions that the model wants called; then `text` is what it said beside them."""
    vocabulary: Callable[[], Vocabulary] | None = field(default=None, repr=False)
    """Gives the tokenizer's vocabulary when token texts are asked for."""

    @property
    def tokens(self) -> tuple[Token, ...]:
        """The tokens as objects, made anew at each call."""
        return tuple(self._token(step) for step in range(len(self.token_ids)))

    @property
    def pieces(self) -> list[tuple[int, int, str]]:
        """(first token, end, text) of each shortest run of tokens that is whole characters: mostly of one token.
        Made anew at each call."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        found, first, text = [], 0, ""
        last = len(self.token_ids)
        for end, token_id in enumerate(self.token_ids.tolist(), 1):
            text += decoder.decode(self.token_bytes(token_id), final=end == last)
            if not decoder.getstate()[0]:
                found.append((first, end, text))
                first, text = end, ""
        return found

    def _token(self, step: int) -> Token:
        top: tuple[tuple[int, str, float], ...] = ()
        if self.top_ids is not None and self.top_logprobs is not None:
            pairs = zip(self.top_ids[step].tolist(), self.top_logprobs[step].tolist(), strict=True)
            top = tuple((i, _text(self.token_bytes(i)), p) for i, p in pairs if not math.isnan(p))
        own = int(self.token_ids[step])
        raw = self.token_bytes(own)
        logprob = None if self.logprobs is None else float(self.logprobs[step])
        logprob = None if logprob is None or math.isnan(logprob) else logprob
        rank = None if self.ranks is None else int(self.ranks[step]) or None
        return Token(own, _text(raw), raw, logprob, rank, top)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of a token id. Raises ValueError when the tokenizer's vocabulary is not at hand."""
        if self.vocabulary is None:
            raise ValueError(
                "the tokenizer's vocabulary is not at hand: token texts need the engine or the store"
            )
        known = self.vocabulary()
        return known[token_id] if token_id < len(known) else b""


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
