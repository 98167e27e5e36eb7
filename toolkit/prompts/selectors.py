"""Examples: which few-shot examples a row is shown, and in which order.

A choice depends on the row, the pool and the selector alone: never on what was asked before. The row itself is
never among its examples, neither by id nor by text.
"""

from __future__ import annotations

import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from functools import cached_property
from hashlib import blake2b
from itertools import islice, zip_longest
from typing import Any

import numpy as np
import numpy.typing as npt
import regex

from toolkit.sampling import Real, Whole, unknown

Floats = npt.NDArray[np.float32]
Embed = Callable[[list[str]], Any]
"""Texts to vectors: an array (texts, dimensions)."""

_WORD = regex.compile(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]|[\p{L}\p{M}\p{N}_]+")
"""A word, or one character of a script that puts no spaces between words."""
_MEANING = "-*/#%&@\\"
"""Punctuation that tells texts apart (2 - 3, 2 / 3, C#)."""
_WIDER = 4
"""MMR looks at this many times k of the most similar examples."""
_REMEMBERED = 4096
"""Examples in a pool whose likeness to each other is remembered: at most 64 MiB."""


def normalised(text: str) -> str:
    """Case, width, accents' encoding, spacing and sentence marks taken away: what is left equal is the same text."""
    plain = unicodedata.normalize("NFKC", text).casefold()
    marks = (" " if unicodedata.category(c)[0] == "P" and c not in _MEANING else c for c in plain)
    return " ".join("".join(marks).split()) or text  # a text of marks only equals itself only


def identity(row: Mapping[str, Any]) -> str | None:
    """The id of a row as text; None where it has none, or a missing one. (A frame with a missing id makes floats of
    the others: 1.0 is 1.)"""
    found = row.get("id")
    if found is None or found != found:  # NaN is not equal to itself
        return None
    return str(int(found)) if isinstance(found, float) and found.is_integer() else str(found)


@dataclass(frozen=True, eq=False)
class Pool:
    """Examples to choose from, with the texts by which they are compared."""

    rows: tuple[Mapping[str, Any], ...]
    texts: tuple[str, ...]
    """What is asked in each example."""
    answers: tuple[str, ...]
    """What is answered in each: their labels, where answers are labels."""
    _vectors: dict[Embed, dict[str, Floats]] = field(default_factory=dict)
    _groups: dict[str | None, dict[str, list[int]]] = field(default_factory=dict)
    _likeness: dict[int, Floats] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.rows)

    @cached_property
    def _places(self) -> dict[tuple[str, Any], list[int]]:
        """(kind, id or normalised text) → positions."""
        found: dict[tuple[str, Any], list[int]] = {}
        for i, (row, text) in enumerate(zip(self.rows, self.texts, strict=True)):
            if text:
                found.setdefault(("text", normalised(text)), []).append(i)
            if (name := identity(row)) is not None:
                found.setdefault(("id", name), []).append(i)
        return found

    def same(self, item: Item) -> list[int]:
        """Positions of the examples that are the item itself, by id or by normalised text."""
        by_id = self._places.get(("id", item.id), []) if item.id is not None else []
        by_text = self._places.get(("text", item.normalised), []) if item.text else []
        return [*by_id, *by_text]

    def open(self, item: Item) -> npt.NDArray[np.intp]:
        """Positions that may be shown to an item, ascending."""
        keep = np.ones(len(self), bool)
        keep[self.same(item)] = False
        return np.flatnonzero(keep)

    def groups(self, by: str | None) -> dict[str, list[int]]:
        """Label → positions; the label is a variable of the row, or the answer's text."""
        if by not in self._groups:
            found: dict[str, list[int]] = {}
            for i in range(len(self)):
                found.setdefault(self._label(i, by), []).append(i)
            self._groups[by] = found
        return self._groups[by]

    def _label(self, position: int, by: str | None) -> str:
        if by is None:
            return self.answers[position]
        if by not in self.rows[position]:
            raise ValueError(
                f"examples[{position}] has no {by!r} to balance by: give it, or leave `by` out "
                "to balance by the answer"
            )
        return str(self.rows[position][by])

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
        found = self._likeness.get(position)
        if found is None:
            scores = self.bm25(self.texts[position])
            found = scores / max(float(scores[position]), 1e-12)
            if len(self) <= _REMEMBERED:
                self._likeness[position] = found
        return found

    def vectors(self, embed: Embed, texts: Sequence[str]) -> Floats:
        """(n, d) unit vectors of some texts; each text is embedded once."""
        known = self._vectors.setdefault(embed, {})
        new = [t for t in dict.fromkeys(texts) if t not in known]
        if new:
            rows = np.asarray(embed(new), np.float32)
            if rows.ndim != 2 or len(rows) != len(new) or not np.isfinite(rows).all():
                raise ValueError(
                    f"embed must give one vector of finite numbers for each of {len(new)} texts, "
                    f"got an array of shape {rows.shape}"
                )
            lengths = np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12)
            known |= zip(new, rows / lengths, strict=True)
        return np.stack([known[t] for t in texts])

    def cosine(self, embed: Embed, text: str) -> Floats:
        """(N,) cosine similarities of all examples to a text."""
        pool = self.vectors(embed, self.texts)
        similar: Floats = pool @ self.vectors(embed, [text])[0]
        return similar


def _words(text: str) -> list[str]:
    return _WORD.findall(unicodedata.normalize("NFKC", text).casefold())


@dataclass(frozen=True)
class Item:
    """The row that examples are chosen for."""

    text: str
    id: str | None = None

    @cached_property
    def normalised(self) -> str:
        return normalised(self.text)

    def generator(self, *salt: object) -> np.random.RandomState:
        """Random numbers that depend on the item and the salt alone. (RandomState, since NumPy promises that
        its streams never change.)"""
        known_by = repr((*salt, self.text if self.id is None else self.id)).encode("utf-8", "surrogatepass")
        return np.random.RandomState(int.from_bytes(blake2b(known_by, digest_size=4).digest()))


@dataclass(frozen=True)
class Selector(ABC):
    """A way to choose k examples for an item."""

    def __post_init__(self) -> None:
        for name, rule in _RULES.items():
            if hasattr(self, name):
                object.__setattr__(self, name, rule(name, getattr(self, name)))

    @abstractmethod
    def select(self, pool: Pool, item: Item, k: int) -> list[int]:
        """Positions in the pool, in the order to be shown: k of them, or as many as there are."""

    def __str__(self) -> str:
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        changed = {f.name: given[f.name] for f in fields(self) if given[f.name] != f.default}
        options = ", ".join(f"{n}={_called(v)}" for n, v in changed.items())
        return f"{type(self).__name__.lower()}({options})" if options else type(self).__name__.lower()

    def to_dict(self) -> dict[str, Any]:
        """As plain data. Raises ValueError for a selector that holds a function."""
        given = {f.name: getattr(self, f.name) for f in fields(self)}
        if given.get("embed") is not None:
            raise ValueError(
                f"{self} holds a function, which a file cannot: save the prompt without it and set "
                "prompt.with_(selector=…) after loading"
            )
        return {"name": type(self).__name__.lower(), **{n: v for n, v in given.items() if v is not None}}


def _called(value: Any) -> str:
    """An option in words: a function by its name, without an address that differs each time."""
    if callable(value):
        return str(getattr(getattr(value, "func", value), "__qualname__", type(value).__name__))
    return repr(value)


_seed = Whole(0, 2**63 - 1, "a whole number such as 7")
_RULES: dict[str, Callable[[str, object], Any]] = {
    "seed": _seed,
    "relevance": Real(0, 1, "1 looks at similarity only, 0 at diversity only"),
}


@dataclass(frozen=True)
class First(Selector):
    """The first k of the pool, as they stand."""

    def select(self, pool: Pool, item: Item, k: int) -> list[int]:
        return [int(i) for i in pool.open(item)[:k]]


@dataclass(frozen=True)
class Random(Selector):
    """k drawn without replacement, anew for each item. A smaller k of the same seed is the beginning of a larger
    one, so that curves over k change nothing else."""

    seed: int = 0

    def select(self, pool: Pool, item: Item, k: int) -> list[int]:
        shuffled = item.generator("random", self.seed).permutation(pool.open(item))
        return [int(i) for i in shuffled[:k]]


@dataclass(frozen=True)
class Balanced(Selector):
    """k drawn so that labels are as even as k and the pool allow, in turn, drawn anew for each item."""

    seed: int = 0
    by: str | None = None
    """The variable that holds the label; the answer's text when left out."""

    def select(self, pool: Pool, item: Item, k: int) -> list[int]:
        generator, same = item.generator("balanced", self.seed), pool.same(item)
        groups = list(pool.groups(self.by).values())
        drawn = [generator.permutation(groups[i]) for i in generator.permutation(len(groups))]
        if same:
            drawn = [group[~np.isin(group, same)] for group in drawn]
        turns = (int(i) for turn in zip_longest(*drawn) for i in turn if i is not None)
        return list(islice(turns, k))


@dataclass(frozen=True)
class Similar(Selector):
    """The k most similar examples, the most similar one last, next to the question: by BM25 over words, or by the
    cosine of an embedding function's vectors. Equally similar ones keep the pool's order."""

    embed: Embed | None = None
    """list of texts → array (texts, dimensions)."""

    def select(self, pool: Pool, item: Item, k: int) -> list[int]:
        return _best(self.scores(pool, item), pool, item, k)[::-1]

    def scores(self, pool: Pool, item: Item) -> Floats:
        return pool.bm25(item.text) if self.embed is None else pool.cosine(self.embed, item.text)


@dataclass(frozen=True)
class MMR(Similar):
    """Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): each next example is similar to the item
    and unlike those chosen already. The most relevant one stands last.

    BM25 scores are scaled to 0 … 1: for the item by the best score, between two examples by the score of an
    example with itself.
    """

    relevance: float = 0.5
    """λ: 1 looks at similarity only, 0 at diversity only."""

    def select(self, pool: Pool, item: Item, k: int) -> list[int]:
        scores = self.scores(pool, item)
        near = _best(scores, pool, item, max(_WIDER * k, 32) if k else 0)
        if not near:
            return []
        own = scores[near] / max(float(scores[near[0]]), 1e-12) if self.embed is None else scores[near]
        between = self._between(pool, near)
        chosen: list[int] = []
        redundancy = np.zeros(len(near), np.float32)
        for _ in range(min(k, len(near))):
            value = self.relevance * own - (1 - self.relevance) * redundancy
            value[chosen] = -np.inf
            best = int(np.argmax(value))
            redundancy = np.maximum(redundancy, between[best]) if chosen else between[best].copy()
            chosen.append(best)
        return [near[i] for i in chosen][::-1]

    def _between(self, pool: Pool, near: list[int]) -> Floats:
        """(n, n) similarity of examples to each other."""
        if self.embed is not None:
            vectors = pool.vectors(self.embed, [pool.texts[i] for i in near])
            similar: Floats = vectors @ vectors.T
            return similar
        return np.stack([pool.likeness(i)[near] for i in near])


def _best(scores: Floats, pool: Pool, item: Item, k: int) -> list[int]:
    """Positions of the k highest scores, best first; equal ones in the pool's order."""
    masked = scores.copy()
    masked[same := pool.same(item)] = -np.inf
    k = min(k, len(pool) - len(set(same)))
    if k <= 0:
        return []
    # Only what reaches the k-th best score is sorted: the pool may be large.
    least = np.partition(masked, len(masked) - k)[len(masked) - k]
    reach = np.flatnonzero(masked >= least)
    order = np.argsort(-masked[reach], kind="stable")[:k]
    return [int(i) for i in reach[order]]


SELECTORS: dict[str, type[Selector]] = {
    kind.__name__.lower(): kind for kind in (First, Random, Balanced, Similar, MMR)
}


def selector(given: object) -> Selector:
    """A selector from its name, its plain data, or itself.

    >>> str(selector({"name": "random", "seed": 3}))
    'random(seed=3)'
    """
    if isinstance(given, Selector):
        return given
    options = dict(given) if isinstance(given, Mapping) else {"name": given}
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ValueError(
            f"selector must be one of {', '.join(SELECTORS)}, or one of toolkit.examples, got {given!r}"
        )
    if name not in SELECTORS:
        raise ValueError(unknown("selector", name, SELECTORS))
    kind = SELECTORS[name]
    for option in options.keys() - {f.name for f in fields(kind)}:
        raise TypeError(unknown(f"option of {name}", option, [f.name for f in fields(kind)]))
    return kind(**options)


SHOTS: dict[str, Callable[[str, object], Any]] = {
    "k": Whole(0, None, "the number of examples to show"),
    "selector": lambda _, given: selector(given),
    "order_seed": Whole(0, 2**63 - 1, "a whole number such as 7, or None for the selector's own order"),
}
"""The rules of what may vary about a prompt's examples: how many, which, in which order."""


def ordered(positions: list[int], order_seed: int | None) -> list[int]:
    """The same examples in another order: one permutation for each seed and number of examples, the same for all
    items, so that an order can be compared over them (Lu et al., ACL 2022). None leaves the selector's order."""
    if order_seed is None or len(positions) < 2:
        return positions
    number = int.from_bytes(blake2b(str(order_seed).encode(), digest_size=4).digest())
    places = np.random.RandomState(number).permutation(len(positions))
    return [positions[i] for i in places]
