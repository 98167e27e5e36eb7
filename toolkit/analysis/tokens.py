"""Tokens: a text split into the tokens that a model reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from toolkit._internal.field_docs import documented
from toolkit._internal.text import plural, short_repr
from toolkit._internal.validation import encodable, instance_of
from toolkit.analysis.tokenizer_lookup import find_tokenizer
from toolkit.core.choice import Ints
from toolkit.display.markup import Markup, joined, markup
from toolkit.engines.base import Engine
from toolkit.tokenizers.text_tokenizer import Longs, TextTokenizer

if TYPE_CHECKING:
    import pandas as pd


_MAX_PIECES = 2000
"""Pieces of a text that a notebook cell shows; most are one token."""
_SHADES = ("0,114,178,.25", "230,159,0,.25")
"""Okabe and Ito's blue and orange; transparent, so that light and dark text stays readable on them."""


def tokens(text: str, model: str | Engine | None = None) -> Tokens:
    """Splits a text into tokens, without a chat template or added special tokens.

    model: as for `count_tokens`. OpenAI's encodings read the names of special tokens as ordinary text; all others
    read them as those tokens.

    Raises TypeError unless `text` is a string, ValueError and ModelError as `count_tokens` does.

    >>> tokens("ChatGPT is great!", "gpt-4")
    Chat|G|PT| is| great|!
    """
    if not isinstance(text, str):
        raise TypeError(
            f"text must be a string, got {short_repr(text)}: toolkit.count_tokens counts messages"
        )
    return _tokenize(text, find_tokenizer(model))


def _tokenize(text: str, tokenizer: TextTokenizer) -> Tokens:
    ids = tokenizer.ids(encodable("text", text))
    parts = tuple(tokenizer.token_bytes(ids))
    return Tokens(text, ids, parts, *_offsets(text, parts, tokenizer), tokenizer.name, tokenizer)


def _offsets(text: str, parts: tuple[bytes, ...], tokenizer: TextTokenizer) -> tuple[Longs, Longs]:
    """(T,) first characters of the tokens and (T,) the ends of their last, from the tokens' bytes where these join to
    the text. Else from the tokenizer's offsets (it may drop or change white space, for example): characters that it
    skips go to the token after them."""
    raw = text.encode()
    if b"".join(parts) == raw:
        ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
        # The character of each byte: all bytes of a character but its first begin with the bits 10.
        characters = np.cumsum((np.frombuffer(raw, np.uint8) & 0xC0) != 0x80) - 1
        return characters[starts], characters[ends - 1] + 1
    first, last = tokenizer.offsets(text)
    last = np.maximum.accumulate(last)
    last[-1:] = len(text)
    return np.minimum(first, np.concatenate([[0], last[:-1]])), last


@documented
@dataclass(frozen=True, eq=False, repr=False)
class Tokens:
    """T tokens of a text. Made by `tokens`."""

    text: str
    """The text that was split."""
    ids: Ints
    """(T,)"""
    bytes: tuple[bytes, ...]
    """Bytes of each token; joined they are the text, unless the tokenizer changes it."""
    first: Longs
    """(T,) index in the text of each token's first character, which may belong to it only in part."""
    last: Longs
    """(T,) index after its last character."""
    tokenizer: str
    """Description of the tokenizer."""
    coder: TextTokenizer
    """The tokenizer that split the text."""

    def cut(self, text: str) -> Tokens:
        """Splits another text with the same tokenizer. Raises ValueError for a text that is not valid Unicode."""
        return _tokenize(text, self.coder)

    def same(self, other: Tokens) -> npt.NDArray[np.bool_]:
        """(T,) which of these tokens begin and end where a token of the other does; tokens that share a character are
        all True or all False. Raises ValueError if the other has another text."""
        if self.text != instance_of(Tokens, "other", other, "toolkit.tokens(text, model) gives one").text:
            raise ValueError("the tokens are of two texts: cut the same one with both tokenizers")
        edges = set(other._boundaries())
        return np.repeat(
            [edge in edges for edge in self._boundaries()], [b - a for a, b, _ in self.pieces]
        ).astype(np.bool_)

    def _boundaries(self) -> Iterator[tuple[int, int, tuple[int, ...]]]:
        """For each piece its first character, the one after its last, and the byte lengths of all its tokens but the
        last."""
        for a, b, _ in self.pieces:
            yield int(self.first[a]), int(self.last[b - 1]), tuple(map(len, self.bytes[a : b - 1]))

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def pieces(self) -> list[tuple[int, int, str]]:
        """(first token, end, text) of each shortest run of tokens that is whole characters; most are one token."""
        if not len(self):
            return []
        # A run ends where the next token begins after all characters so far.
        ends = np.append(np.flatnonzero(self.first[1:] >= self.last[:-1]) + 1, len(self)).tolist()
        runs = zip([0, *ends[:-1]], ends, strict=True)
        return [(a, b, self.text[self.first[a] : self.last[b - 1]]) for a, b in runs]

    def counts(self) -> list[str]:
        """The numbers of tokens, characters and bytes, as phrases."""
        size = len(self.text.encode())
        numbers = {"token": len(self), "character": len(self.text), "byte": size}
        each = [f"{size / len(self):.1f} bytes a token"] if len(self) else []
        return [*(plural(n, noun) for noun, n in numbers.items()), *each]

    def frame(self) -> pd.DataFrame:
        """A row for each token: position, id, text (bytes that are only part of a character show as U+FFFD), bytes,
        first and last (in characters)."""
        import pandas as pd

        columns = {
            "position": np.arange(len(self)),
            "id": self.ids,
            "text": [part.decode("utf-8", "replace") for part in self.bytes],
            "bytes": list(self.bytes),
            "first": self.first,
            "last": self.last,
        }
        return pd.DataFrame(columns)

    def _omitted(self) -> str:
        pieces = self.pieces[:_MAX_PIECES]
        remaining = len(self) - (pieces[-1][1] if pieces else 0)
        return f" … and {remaining:,} more tokens" if remaining else ""

    def __repr__(self) -> str:
        return "|".join(text for _, _, text in self.pieces[:_MAX_PIECES]) + self._omitted()

    def _repr_html_(self) -> Markup:
        return self._html(np.zeros(len(self), np.bool_))

    def beside(self, other: Tokens) -> Markup:
        """These tokens as HTML; those that the other lacks have a dotted underline. Raises as `same` does."""
        return self._html(~self.same(other))

    def _html(self, dotted: npt.NDArray[np.bool_]) -> Markup:
        marks = joined(
            self._mark(i, *piece, dotted[piece[0]]) for i, piece in enumerate(self.pieces[:_MAX_PIECES])
        )
        caption = f"{len(self):,} tokens, {len(self.text):,} characters; {self.tokenizer}"
        style = "white-space:pre-wrap;overflow-wrap:anywhere;text-align:left;line-height:1.8"
        text = markup('<div style="{}">{}{}</div>', style, marks, self._omitted())
        return markup("<div>{}<small>{}</small></div>", text, caption)

    def _mark(self, number: int, first: int, end: int, text: str, dotted: bool) -> Markup:
        tooltip = "; ".join(f"{self.ids[i]} {self.bytes[i]!r}" for i in range(first, end))
        dots = ";border-bottom:2px dotted currentColor" if dotted else ""
        style = f"background:rgba({_SHADES[number % 2]});border-radius:2px{dots}"
        return markup('<span style="{}" title="{}">{}</span>', style, tooltip, text.replace("\n", "⏎\n"))
