"""The pool that few-shot examples are selected from, with its BM25 index and embeddings."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt
import regex

from toolkit._internal.missing import is_missing
from toolkit._internal.text import short_repr
from toolkit.prompts.template import written_value

Floats = npt.NDArray[np.float32]
Embed = Callable[[list[str]], Any]
"""Texts to vectors: an array (texts, dimensions)."""
_WORD = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]|[\p{L}\p{M}\p{N}_]+")
"""A word, or one character of a script without spaces between words."""
_MEANINGFUL = "-*/#%&@\\"
"""Punctuation that changes the meaning of a text (2 - 3, 2 / 3, C#)."""
SEARCH_WIDTH = 4
"""MMR considers this many times k of the most similar examples."""
_MAX_CACHED = 4096
"""Largest pool whose pairwise BM25 similarities are cached: at most 64 MiB."""


def normalised(text: str) -> str:
    """The text without its case, width, Unicode composition, spacing and punctuation: equal results are one text."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    marks = (" " if unicodedata.category(c)[0] == "P" and c not in _MEANINGFUL else c for c in plain)
    return " ".join("".join(marks).split()) or text  # a text of punctuation alone equals only itself


def row_id(row: Mapping[str, Any]) -> str | None:
    """The id of a row as text; None where there is none or it is missing. (In a data frame with a missing id, the
    others become floats: 1.0 is 1.)"""
    value = written_value(row.get("id"))
    if is_missing(value):
        return None
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


@dataclass(frozen=True, eq=False)
class Pool:
    """Examples to select from, with the texts by which they are compared."""

    rows: tuple[Mapping[str, Any], ...]
    texts: tuple[str, ...]
    """The question of each example."""
    answers: tuple[str, ...]
    """The answer of each example: its label, where answers are labels."""
    _vectors: dict[Embed, dict[str, Floats]] = field(default_factory=dict)
    _groups: dict[str | None, dict[str, list[int]]] = field(default_factory=dict)
    _likeness: dict[int, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def _positions(self) -> dict[tuple[str, Any], list[int]]:
        """(kind, id or normalised text) → positions."""
        positions: dict[tuple[str, Any], list[int]] = {}
        for i, (row, text) in enumerate(zip(self.rows, self.texts, strict=True)):
            if text:
                positions.setdefault(("text", normalised(text)), []).append(i)
            if (identifier := row_id(row)) is not None:
                positions.setdefault(("id", identifier), []).append(i)
        return positions

    def same(self, item: Item) -> list[int]:
        """Positions of the examples that are the item itself, by id or by normalised text."""
        by_id = self._positions.get(("id", item.id), []) if item.id is not None else []
        by_text = self._positions.get(("text", item.normalised), []) if item.text else []
        return [*by_id, *by_text]

    def open(self, item: Item) -> npt.NDArray[np.intp]:
        """Positions of the examples that an item may be given, ascending."""
        keep = np.ones(len(self), bool)
        keep[self.same(item)] = False
        return np.flatnonzero(keep)

    def groups(self, by: str | None) -> dict[str, list[int]]:
        """Label → positions; the label is a variable of the row, or the answer's text."""
        if by not in self._groups:
            groups: dict[str, list[int]] = {}
            for i in range(len(self)):
                groups.setdefault(self._label(i, by), []).append(i)
            self._groups[by] = groups
        return self._groups[by]

    def _label(self, position: int, by: str | None) -> str:
        if by is None:
            return self.answers[position]
        if by not in self.rows[position]:
            raise ValueError(
                f"examples[{position}] has no {short_repr(by)} to balance by: give it, or leave `by` out "
                "to balance by the answer"
            )
        if is_missing(value := self.rows[position][by]):
            raise ValueError(
                f"examples[{position}] has no value for {short_repr(by)} to balance by, got {short_repr(value)}: "
                "fill it"
            )
        return str(value)

    @cached_property
    def _bm25(self) -> Any:
        import bm25s

        words = [_words(t) for t in self.texts]
        if not any(words):
            return None
        index = bm25s.BM25()
        index.index(words, show_progress=False)
        return index

    def bm25(self, text: str) -> Floats:
        """(N,) BM25 scores (Lucene's variant, k1 = 1.5, b = 0.75) of all examples for a text."""
        words = _words(text)
        if self._bm25 is None or not words:
            return np.zeros(len(self), np.float32)
        scores: Floats = self._bm25.get_scores(words)
        return scores

    def likeness(self, position: int) -> Floats:
        """(N,) BM25 scores of all examples for one of them, scaled so that its own is 1."""
        scaled = self._likeness.get(position)
        if scaled is None:
            scores = self.bm25(self.texts[position])
            scaled = scores / max(float(scores[position]), 1e-12)
            if len(self) <= _MAX_CACHED:
                self._likeness[position] = scaled
        return scaled

    def vectors(self, embed: Embed, texts: Sequence[str]) -> Floats:
        """(n, d) unit vectors of some texts; each text is embedded once."""
        cached = self._vectors.setdefault(embed, {})
        new = [t for t in dict.fromkeys(texts) if t not in cached]
        if new:
            rows = np.asarray(embed(new), np.float32)
            if rows.ndim != 2 or len(rows) != len(new) or not np.isfinite(rows).all():
                raise ValueError(
                    f"embed must give one vector of finite numbers for each of {len(new)} texts, "
                    f"got an array of shape {rows.shape}"
                )
            lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
            cached |= zip(new, rows / lengths, strict=True)
        return np.stack([cached[t] for t in texts])

    def cosine(self, embed: Embed, text: str) -> Floats:
        """(N,) cosine similarities of all examples to a text."""
        pool = self.vectors(embed, self.texts)
        similarities: Floats = pool @ self.vectors(embed, [text])[0]
        return similarities


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


@dataclass(frozen=True)
class Item:
    """The row that examples are selected for."""

    text: str
    id: str | None = None

    @cached_property
    def normalised(self) -> str:
        return normalised(self.text)

    def generator(self, *salt: object) -> np.random.RandomState:
        """Random numbers that depend only on the item and the salt. (RandomState, since NumPy guarantees that its
        streams never change.)"""
        key = repr((*salt, self.text if self.id is None else self.id)).encode("utf-8", "surrogatepass")
        return np.random.RandomState(int.from_bytes(blake2b(key, digest_size=4).digest()))
