"""Tokens: a text as the tokens that a model reads it in."""

from __future__ import annotations

import html
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from toolkit.choice import Ints
from toolkit.coder import Coder, Longs, coder
from toolkit.engine import Engine
from toolkit.findings import many
from toolkit.messages import encodable

if TYPE_CHECKING:
    import pandas as pd

_SHOWN = 2000
"""Pieces of a text that are shown: mostly of one token each."""
_SHADES = ("0,114,178,.25", "230,159,0,.25")
"""Okabe and Ito's blue and orange; see-through, so that light and dark text stays readable on them."""


def tokens(text: str, model: str | Engine | None = None) -> Tokens:
    """A text by itself, cut into tokens.

    model: as for `count_tokens`. The names of special tokens are ordinary text to OpenAI's encodings, and those
    tokens to all others.

    Raises TypeError for what is no text, ValueError and ModelError as `count_tokens` does.

    >>> tokens("ChatGPT is great!", "gpt-4")
    Chat|G|PT| is| great|!
    """
    if not isinstance(text, str):
        raise TypeError(f"text must be a string, got {text!r}: toolkit.count_tokens counts messages")
    return _cut(text, coder(model))


def _cut(text: str, found: Coder) -> Tokens:
    ids = found.ids(encodable("text", text))
    parts = tuple(found.token_bytes(ids))
    return Tokens(text, ids, parts, *_offsets(text, parts, found), found.name, found)


def _offsets(text: str, parts: tuple[bytes, ...], found: Coder) -> tuple[Longs, Longs]:
    """First and last characters by the tokens' bytes, where they make up the text; else as the tokenizer has them: it
    drops or changes white space, say, and what it leaves out goes to the token after it."""
    raw = text.encode()
    if b"".join(parts) == raw:
        ends = np.cumsum([len(part) for part in parts], dtype=np.int64)
        starts = np.concatenate([[0], ends[:-1]]) if len(ends) else ends
        # Which character each byte belongs to: all but the first of one begin with the bits 10.
        of_byte = np.cumsum((np.frombuffer(raw, np.uint8) & 0xC0) != 0x80) - 1
        return of_byte[starts], of_byte[ends - 1] + 1
    first, last = found.offsets(text)
    last = np.maximum.accumulate(last)
    last[-1:] = len(text)
    return np.minimum(first, np.concatenate([[0], last[:-1]])), last


@dataclass(frozen=True, eq=False, repr=False)
class Tokens:
    """T tokens of a text. Made by `tokens`."""

    text: str
    ids: Ints
    """(T,)"""
    bytes: tuple[bytes, ...]
    """Of each token; joined they are the text, unless the tokenizer changes it."""
    first: Longs
    """(T,) the first character of each token in the text; that of which it has a part, where it is no whole one."""
    last: Longs
    """(T,) the character after its last one."""
    tokenizer: str
    """In words."""
    coder: Coder
    """What cut the text."""

    def cut(self, text: str) -> Tokens:
        """Another text, cut by the same tokenizer. Raises ValueError for a text that is not valid Unicode."""
        return _cut(text, self.coder)

    def same(self, other: Tokens) -> npt.NDArray[np.bool_]:
        """(T,) which of these tokens begin and end where one of the other's does; of those that make up a character
        together all or none. Raises ValueError where the other is of another text."""
        if self.text != other.text:
            raise ValueError("the tokens are of two texts: cut the same one with both tokenizers")
        cuts = set(other._cuts())
        return np.repeat([cut in cuts for cut in self._cuts()], [b - a for a, b, _ in self.pieces]).astype(
            np.bool_
        )

    def _cuts(self) -> Iterator[tuple[int, int, tuple[int, ...]]]:
        """Of each piece its first character, the one after its last, and where its tokens part the bytes of one."""
        for a, b, _ in self.pieces:
            yield int(self.first[a]), int(self.last[b - 1]), tuple(map(len, self.bytes[a : b - 1]))

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def pieces(self) -> list[tuple[int, int, str]]:
        """(first token, end, text) of each shortest run of tokens that is whole characters: mostly of one token."""
        if not len(self):
            return []
        # A run ends where the next token begins behind all characters so far.
        ends = np.append(np.flatnonzero(self.first[1:] >= self.last[:-1]) + 1, len(self)).tolist()
        runs = zip([0, *ends[:-1]], ends, strict=True)
        return [(a, b, self.text[self.first[a] : self.last[b - 1]]) for a, b in runs]

    def counts(self) -> list[str]:
        """How many tokens, characters and bytes there are, in words."""
        size = len(self.text.encode())
        numbers = {"token": len(self), "character": len(self.text), "byte": size}
        each = [f"{size / len(self):.1f} bytes a token"] if len(self) else []
        return [*(many(n, noun) for noun, n in numbers.items()), *each]

    def frame(self) -> pd.DataFrame:
        """A row for each token: position, id, text (bytes that are only part of a character show as U+FFFD), bytes,
        first, last (characters)."""
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

    def _rest(self) -> str:
        shown = self.pieces[:_SHOWN]
        left = len(self) - (shown[-1][1] if shown else 0)
        return f" … and {left:,} more tokens" if left else ""

    def __repr__(self) -> str:
        return "|".join(text for _, _, text in self.pieces[:_SHOWN]) + self._rest()

    def _repr_html_(self) -> str:
        return self._html(np.zeros(len(self), np.bool_))

    def beside(self, other: Tokens) -> str:
        """These tokens as HTML; those that the other does not have are dotted. Raises as `same` does."""
        return self._html(~self.same(other))

    def _html(self, apart: npt.NDArray[np.bool_]) -> str:
        marks = "".join(
            self._mark(i, *piece, apart[piece[0]]) for i, piece in enumerate(self.pieces[:_SHOWN])
        )
        caption = f"{len(self):,} tokens, {len(self.text):,} characters; {self.tokenizer}"
        style = "white-space:pre-wrap;overflow-wrap:anywhere;text-align:left;line-height:1.8"
        return f'<div><div style="{style}">{marks}{self._rest()}</div><small>{html.escape(caption)}</small></div>'

    def _mark(self, number: int, first: int, end: int, text: str, apart: bool) -> str:
        told = "; ".join(f"{self.ids[i]} {self.bytes[i]!r}" for i in range(first, end))
        dots = ";border-bottom:2px dotted currentColor" if apart else ""
        style = f"background:rgba({_SHADES[number % 2]});border-radius:2px{dots}"
        shown = html.escape(text).replace("\n", "⏎\n")
        return f'<span style="{style}" title="{html.escape(told)}">{shown}</span>'
