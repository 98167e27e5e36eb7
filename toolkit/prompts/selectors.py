"""Selectors: which few-shot examples are put into a row's prompt, and in which order.

A selection depends on the row, the pool and the selector only, never on earlier requests. The row itself is
never among its examples, neither by id nor by text. A new selector is a subclass of `Selector` with
`@register_selector("name")`, in any file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from hashlib import blake2b
from itertools import islice, zip_longest
from typing import Any, TypeVar

import numpy as np

from toolkit._internal.text import short_repr
from toolkit._internal.validation import Real, Whole, suggestion, unknown
from toolkit.prompts.example_pool import SEARCH_WIDTH, Embed, Floats, Item, Pool


@dataclass(frozen=True)
class Selector(ABC):
    """A method to select k examples for an item. A subclass with options is a frozen dataclass, too; its fields are
    the options, plain data with defaults."""

    def __post_init__(self) -> None:
        for name, rule in _RULES.items():
            if hasattr(self, name):
                object.__setattr__(self, name, rule(name, getattr(self, name)))

    @abstractmethod
    def select(self, pool: Pool, item: Item, k: int) -> list[int]:
        """Positions in the pool, in the order of the prompt: k of them, or as many as there are. `pool.open(item)`
        has those that are not the item itself."""

    @property
    def registered(self) -> bool:
        """Whether its class has a name of its own, which files and sweeps may use."""
        return "_name" in vars(type(self))

    @property
    def name(self) -> str:
        """The name in tables: the registered one, else that of the class in lower case."""
        return str(vars(type(self)).get("_name", type(self).__name__.lower()))

    def __str__(self) -> str:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        changed = {f.name: values[f.name] for f in fields(self) if values[f.name] != f.default}
        options = ", ".join(f"{n}={_option_text(v)}" for n, v in changed.items())
        return f"{self.name}({options})" if options else self.name

    def to_dict(self) -> dict[str, Any]:
        """As plain data. Raises ValueError for a selector that holds a function, or that is not registered."""
        if not self.registered:
            raise ValueError(
                f"{type(self).__name__} has no name that a file could hold: put "
                f'@register_selector("{self.name}") above the class'
            )
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        if values.get("embed") is not None:
            raise ValueError(
                f"{self} holds a function, which a file cannot: save the prompt without it and set "
                "prompt.with_(selector=…) after loading"
            )
        return {"name": self.name, **{n: v for n, v in values.items() if v is not None}}


S = TypeVar("S", bound=Selector)
SELECTORS: dict[str, type[Selector]] = {}
"""The registered selectors by name."""


def register_selector(name: str) -> Callable[[type[S]], type[S]]:
    """Class decorator: prompts, their files and sweeps may call the selector by this name. A class that is defined
    again (a notebook's cell that is run twice) replaces itself.

    Raises TypeError without a name, ValueError for one that another class has.
    """
    if not isinstance(name, str) or not name:
        raise TypeError(
            f'a selector is registered by name, @register_selector("longest"), got {short_repr(name)}'
        )

    def register(kind: type[S]) -> type[S]:
        owner = SELECTORS.setdefault(name, kind)
        if (owner.__module__, owner.__qualname__) != (kind.__module__, kind.__qualname__):
            raise ValueError(
                f"the selector name {short_repr(name)} is taken by {owner.__module__}.{owner.__qualname__}: choose "
                "another"
            )
        SELECTORS[name] = kind
        kind._name = name  # type: ignore[attr-defined]  # on the class, so that it travels to other processes
        return kind

    return register


def _option_text(value: Any) -> str:
    """An option as text: a function by its name, without its memory address, which differs each time."""
    if callable(value):
        return str(getattr(getattr(value, "func", value), "__qualname__", type(value).__name__))
    return repr(value)


_seed = Whole(0, 2**63 - 1, "a whole number such as 7")
_RULES: dict[str, Callable[[str, object], Any]] = {
    "seed": _seed,
    "relevance": Real(0, 1, "1 looks at similarity only, 0 at diversity only"),
}


@register_selector("first")
@dataclass(frozen=True)
class First(Selector):
    """The first k of the pool, in its order."""

    def select(self, pool: Pool, item: Item, k: int) -> list[int]:
        return [int(i) for i in pool.open(item)[:k]]


@register_selector("random")
@dataclass(frozen=True)
class Random(Selector):
    """k drawn without replacement, independently for each item. With the same seed, a smaller k draws a prefix of
    a larger one, so that curves over k change nothing else."""

    seed: int = 0

    def select(self, pool: Pool, item: Item, k: int) -> list[int]:
        shuffled = item.generator("random", self.seed).permutation(pool.open(item))
        return [int(i) for i in shuffled[:k]]


@register_selector("balanced")
@dataclass(frozen=True)
class Balanced(Selector):
    """k drawn with labels as evenly as k and the pool allow, alternating, independently for each item."""

    seed: int = 0
    by: str | None = None
    """The variable that holds the label; the answer's text by default."""

    def select(self, pool: Pool, item: Item, k: int) -> list[int]:
        generator, duplicates = item.generator("balanced", self.seed), pool.same(item)
        groups = list(pool.groups(self.by).values())
        shuffled = [generator.permutation(groups[i]) for i in generator.permutation(len(groups))]
        if duplicates:
            shuffled = [group[~np.isin(group, duplicates)] for group in shuffled]
        alternating = (int(i) for turn in zip_longest(*shuffled) for i in turn if i is not None)
        return list(islice(alternating, k))


@register_selector("similar")
@dataclass(frozen=True)
class Similar(Selector):
    """The k most similar examples, the most similar one last, next to the question: by BM25 over words, or by the
    cosine similarity of an embedding function's vectors. Ties keep the pool's order."""

    embed: Embed | None = None
    """list of texts → array (texts, dimensions)."""

    def select(self, pool: Pool, item: Item, k: int) -> list[int]:
        return _top_positions(self.scores(pool, item), pool, item, k)[::-1]

    def scores(self, pool: Pool, item: Item) -> Floats:
        return pool.bm25(item.text) if self.embed is None else pool.cosine(self.embed, item.text)


@register_selector("mmr")
@dataclass(frozen=True)
class MMR(Similar):
    """Maximal marginal relevance (Carbonell and Goldstein, SIGIR 1998): each next example is similar to the item
    and unlike those already selected. The most relevant one comes last.

    BM25 scores are scaled to 0 … 1: those with the item by the best of them, those between two examples by the score
    of an example with itself.
    """

    relevance: float = 0.5
    """λ: 1 looks at similarity only, 0 at diversity only."""

    def select(self, pool: Pool, item: Item, k: int) -> list[int]:
        scores = self.scores(pool, item)
        candidates = _top_positions(scores, pool, item, max(SEARCH_WIDTH * k, 32) if k else 0)
        if not candidates:
            return []
        similarity = scores[candidates]
        if self.embed is None:
            similarity = similarity / max(float(similarity[0]), 1e-12)
        pairwise = self._pairwise_similarity(pool, candidates)
        selected: list[int] = []
        redundancy = np.zeros(len(candidates), np.float32)
        for _ in range(min(k, len(candidates))):
            marginal = self.relevance * similarity - (1 - self.relevance) * redundancy
            marginal[selected] = -np.inf
            best = int(np.argmax(marginal))
            redundancy = np.maximum(redundancy, pairwise[best]) if selected else pairwise[best].copy()
            selected.append(best)
        return [candidates[i] for i in selected][::-1]

    def _pairwise_similarity(self, pool: Pool, positions: list[int]) -> Floats:
        """(n, n) similarity of examples to each other."""
        if self.embed is not None:
            vectors = pool.vectors(self.embed, [pool.texts[i] for i in positions])
            similarity: Floats = vectors @ vectors.T
            return similarity
        return np.stack([pool.likeness(i)[positions] for i in positions])


def _top_positions(scores: Floats, pool: Pool, item: Item, k: int) -> list[int]:
    """Positions of the k highest scores, best first; ties in the pool's order."""
    masked = scores.copy()
    masked[duplicates := pool.same(item)] = -np.inf
    k = min(k, len(pool) - len(set(duplicates)))
    if k <= 0:
        return []
    # Only scores that reach the k-th best are sorted: the pool may be large.
    threshold = np.partition(masked, len(masked) - k)[len(masked) - k]
    reaching = np.flatnonzero(masked >= threshold)
    order = np.argsort(-masked[reaching], kind="stable")[:k]
    return [int(i) for i in reaching[order]]


def selector(given: object) -> Selector:
    """A selector from its name or its plain data; a selector is returned as it is.

    >>> str(selector({"name": "random", "seed": 3}))
    'random(seed=3)'
    """
    if isinstance(given, Selector):
        return given
    options = dict(given) if isinstance(given, Mapping) else {"name": given}
    name = options.pop("name", None)
    if not isinstance(name, str):
        raise ValueError(
            f"selector must be one of {', '.join(SELECTORS)}, or one of toolkit.examples, got {short_repr(given)}"
        )
    if name not in SELECTORS:
        hint = f"{suggestion(name, SELECTORS)} Registered: {', '.join(SELECTORS)}".strip()
        raise ValueError(
            f"unknown selector {short_repr(name)}: {hint}, and your own once their files are imported"
        )
    kind = SELECTORS[name]
    for option in options.keys() - {f.name for f in fields(kind)}:
        raise TypeError(unknown(f"option of {name}", option, [f.name for f in fields(kind)]))
    return kind(**options)


FEW_SHOT_AXES: dict[str, Callable[[str, object], Any]] = {
    "k": Whole(0, None, "the number of examples to show"),
    "selector": lambda _, value: selector(value),
    "order_seed": Whole(0, 2**63 - 1, "a whole number such as 7, or None for the selector's own order"),
}
"""Validators of a prompt's few-shot settings: the number of examples, the selector, the seed of their order."""


def ordered(positions: list[int], order_seed: int | None) -> list[int]:
    """The examples in another order: one permutation for each seed and number of examples, the same for all items,
    so that orders can be compared over items (Lu et al., ACL 2022). None keeps the selector's order."""
    if order_seed is None or len(positions) < 2:
        return positions
    seed = int.from_bytes(blake2b(str(order_seed).encode(), digest_size=4).digest())
    permutation = np.random.RandomState(seed).permutation(len(positions))
    return [positions[i] for i in permutation]
