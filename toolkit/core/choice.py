"""Choice: one of the texts generated for a request, with its tokens as arrays."""

from __future__ import annotations

import codecs
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from typing_extensions import deprecated

from toolkit._internal.field_docs import documented
from toolkit._internal.text import short_repr
from toolkit.structured.tools import ToolCall

Ints = npt.NDArray[np.int32]
Floats = npt.NDArray[np.float32]
Vocabulary = Sequence[bytes]
"""The bytes of every token ID of a model; empty for the IDs that pad its matrices."""
ARRAYS = {
    "token_ids": np.int32,
    "logprobs": np.float32,
    "ranks": np.int32,
    "top_ids": np.int32,
    "top_logprobs": np.float32,
}
"""The arrays of a Choice, with their types."""
PROMPT = -1
"""The index of the choice that is the prompt itself."""
UNLIKELY = -9999.0
"""What OpenAI's API and vLLM's server write for a log probability of minus infinity; not to be used in arithmetic."""
UNNAMED = (
    "the server gave log probabilities and no token ids, and its tokenizer is not known; `logprobs` of the choice "
    "has the numbers"
)
"""The reason that errors give when the tokens of a choice are needed."""


def mode_of_prompt(engine: str | None) -> str | None:
    """The mode of a prompt's log probabilities on an engine with that logprobs_mode: the sampler does not apply to a
    prompt, so vLLM reports raw values in processed modes too."""
    return engine and engine.replace("processed", "raw")


def shaped(flat: Mapping[str, Any]) -> dict[str, Any]:
    """The arrays of a Choice from flat ones (a store, a file): those of the top k become (T, k)."""
    steps = len(flat["token_ids"])
    widths = {n: a.size // steps if steps else 0 for n, a in flat.items() if a is not None}
    top: dict[str, Any] = {
        n: flat[n].reshape(steps, widths[n]) for n in ("top_ids", "top_logprobs") if n in widths
    }
    return {**flat, **top}


@documented
@dataclass(frozen=True)
class Token:
    """One generated token, built on demand from a choice's arrays."""

    id: int
    """Its number in the vocabulary."""
    text: str
    """Its bytes decoded as UTF-8; bytes that are only part of a character become U+FFFD."""
    bytes: bytes
    """Its bytes, of which several tokens may make one character."""
    logprob: float | None
    """Its natural log probability; None where it was not requested."""
    rank: int | None
    """Rank of the token in the whole vocabulary; 1 is the most likely."""
    top: tuple[tuple[int, str, float], ...]
    """(id, text, logprob) of the most likely tokens at this step, best first."""


@documented
@dataclass(frozen=True, eq=False)
class Choice:
    """One of the n texts generated for a request. T tokens, k = top_logprobs."""

    index: int
    """Its number among the choices of the request, from 0."""
    text: str
    """The generated text."""
    finish_reason: str
    """stop (end of text, or a stop string), length (max_tokens or the context window was reached), tool_calls (the
    model called functions) or error."""
    stop_reason: str | int | None = None
    """The stop string or stop token ID that ended the text; None for the model's own end of text."""
    token_ids: Ints = field(default_factory=lambda: np.zeros(0, np.int32))
    """(T,) token IDs, the end-of-text token included."""
    logprobs: Floats | None = None
    """(T,) natural log probabilities of the chosen tokens, NaN where unknown, or None when not requested. Where a
    server gives no token IDs, `token_ids` is empty and these are all there is."""
    ranks: Ints | None = None
    """(T,) vocabulary ranks of the chosen tokens, 1 is the most likely."""
    top_ids: Ints | None = None
    """(T, k) IDs of the most likely tokens at each step, best first."""
    top_logprobs: Floats | None = None
    """(T, k) their log probabilities."""
    logprobs_mode: str | None = None
    """What the log probabilities are: raw_logprobs (before temperature and penalties, vLLM's default),
    processed_logprobs (after them), raw_logits, processed_logits, constrained_logprobs (raw, but after the mask of a
    grammar), or None when unknown."""
    prefix_tokens: int = 0
    """Tokens at the front that come from `Request.prefix` and were not generated."""
    tool_calls: tuple[ToolCall, ...] = ()
    """The model's tool calls; `text` is then what it said beside them."""
    vocabulary: Callable[[], Vocabulary] | None = field(default=None, repr=False)
    """Returns the tokenizer's vocabulary; called when token texts are needed."""

    @property
    @deprecated("Choice.given is now Choice.prefix_tokens")
    def given(self) -> int:
        """The former name of `prefix_tokens`."""
        return self.prefix_tokens

    @property
    def tokens(self) -> tuple[Token, ...]:
        """The tokens as objects, rebuilt on each access."""
        return tuple(self._token(step) for step in range(len(self.token_ids)))

    @property
    def pieces(self) -> list[tuple[int, int, str]]:
        """(first token, end, text) of each shortest run of tokens that is whole characters: mostly one token. Rebuilt
        on each access."""
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        pieces, first, text = [], 0, ""
        count = len(self.token_ids)
        for end, token_id in enumerate(self.token_ids.tolist(), 1):
            text += decoder.decode(self.token_bytes(token_id), final=end == count)
            if not decoder.getstate()[0]:
                pieces.append((first, end, text))
                first, text = end, ""
        return pieces

    def _token(self, step: int) -> Token:
        top: tuple[tuple[int, str, float], ...] = ()
        if self.top_ids is not None and self.top_logprobs is not None:
            pairs = zip(self.top_ids[step].tolist(), self.top_logprobs[step].tolist(), strict=True)
            top = tuple((i, _text(self.token_bytes(i)), p) for i, p in pairs if not math.isnan(p))
        token_id = int(self.token_ids[step])
        raw = self.token_bytes(token_id)
        logprob = None if self.logprobs is None else float(self.logprobs[step])
        logprob = None if logprob is None or math.isnan(logprob) else logprob
        rank = None if self.ranks is None else int(self.ranks[step]) or None
        return Token(token_id, _text(raw), raw, logprob, rank, top)

    def token_bytes(self, token_id: int) -> bytes:
        """The bytes of a token ID; none for one that is not in the vocabulary. Raises ValueError when the tokenizer's
        vocabulary is not available, TypeError for what is no ID."""
        if self.vocabulary is None:
            raise ValueError(
                "the tokenizer's vocabulary is not at hand: token texts need the engine or the store"
            )
        vocabulary = self.vocabulary()
        try:
            index = operator.index(token_id)
        except TypeError:
            raise TypeError(f"a token id must be a whole number, got {short_repr(token_id)}") from None
        return vocabulary[index] if 0 <= index < len(vocabulary) else b""


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
