"""Tree: answers to one prompt, joined where they begin with the same tokens."""

from __future__ import annotations

import html
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from toolkit import plots
from toolkit.choice import Choice, Ints
from toolkit.completion import Completion
from toolkit.logprobs import logprobs

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_SHOWN = 60
"""Lines of a tree that a cell shows."""


def tree(what: Completion | Choice | Iterable[Completion | Choice]) -> Tree:
    """The tree of the answers to one prompt: those of `explore`, of many samples, or of one completion's n choices.

    Raises ValueError where logprobs were not asked for, or when completions answer different prompts.

    >>> tk.tree(engine.chat("Name a colour.", n=50, temperature=1, logprobs=True))  # doctest: +SKIP
    """
    many = [what] if isinstance(what, (Completion, Choice)) or not isinstance(what, Iterable) else list(what)
    if len({one.prompt_token_ids.tobytes() for one in many if isinstance(one, Completion)}) > 1:
        raise ValueError("these completions answer different prompts: a tree is of the answers to one")
    return Tree(logprobs(many).choices)


@dataclass(frozen=True, eq=False)
class Node:
    """A run of tokens that some of the answers share, up to their next fork or their end."""

    first: int
    """The step of its first token."""
    token_ids: tuple[int, ...]
    text: str
    probability: float
    """That of its first token at the fork, 0 to 1; NaN where it is not known, and 1 for the root."""
    logprob: float
    """That of everything up to its end, nats; what is not known at the very front (a prefix) is not counted."""
    members: tuple[int, ...]
    """The answers that go through it, by number."""
    ended: tuple[int, ...]
    """Those that end with it."""
    children: tuple[Node, ...]
    """What comes after, the likeliest first."""

    @property
    def joint(self) -> float:
        """The probability of everything up to its end."""
        return float(np.exp(self.logprob))

    @property
    def last(self) -> int:
        """The end of its tokens: the step at which its children part."""
        return self.first + len(self.token_ids)

    def walk(self) -> Iterator[Node]:
        """The node and all below it, in the order in which they are shown."""
        yield self
        for child in self.children:
            yield from child.walk()


class Tree:
    """Answers to one prompt as a tree of their tokens, with the probabilities that the model gives to the branches
    (for raw_logprobs: at temperature 1 with no cut). Made by `tree` and `explore`."""

    def __init__(self, choices: Sequence[Choice]) -> None:
        self.choices = tuple(choices)

    def __len__(self) -> int:
        """The number of different answers."""
        return len(self.frame())

    @cached_property
    def root(self) -> Node:
        """What all answers begin with; it may be nothing."""
        return self._node(range(len(self.choices)), 0, None)

    def _node(self, members: Sequence[int], first: int, before: float | None) -> Node:
        texts = [self.choices[i].token_ids for i in members]
        last = first + _common([ids[first:] for ids in texts])
        own = self.choices[members[0]]
        assert own.logprobs is not None
        known = own.logprobs[first:last].astype(np.float64)
        if before is None:
            known = known[np.logical_or.accumulate(~np.isnan(known))]
        total = (before or 0.0) + float(known.sum())
        groups: dict[int, list[int]] = {}
        for i, ids in zip(members, texts, strict=True):
            if len(ids) > last:
                groups.setdefault(int(ids[last]), []).append(i)
        children = [self._node(group, last, total) for group in groups.values()]
        children.sort(key=lambda node: -np.nan_to_num(node.probability))
        return Node(
            first=first,
            token_ids=tuple(own.token_ids[first:last].tolist()),
            text=b"".join(map(own.token_bytes, own.token_ids[first:last].tolist())).decode(
                "utf-8", "replace"
            ),
            probability=float(np.exp(own.logprobs[first].astype(np.float64))) if before is not None else 1.0,
            logprob=total,
            members=tuple(members),
            ended=tuple(i for i, ids in zip(members, texts, strict=True) if len(ids) == last),
            children=tuple(children),
        )

    @property
    def explored(self) -> float:
        """The probability of all different answers that came to their end, together, 0 to 1: how much of what the
        model could say is here. Those of unknown probability are not counted."""
        return self._ended(self.root)

    def _ended(self, node: Node) -> float:
        if any(self.choices[i].finish_reason in ("stop", "tool_calls") for i in node.ended):
            return float(np.nan_to_num(node.joint))  # what goes on from there is part of it
        return sum(map(self._ended, node.children), 0.0)

    def frame(self) -> pd.DataFrame:
        """A row for each different answer, the most probable first: text, probability and logprob of all its tokens,
        how many of the answers it is, finish_reason, tokens, and the steps at which it forks from others."""
        import pandas as pd

        rows = []
        for node, forks in _paths(self.root, ()):
            own = self.choices[node.ended[0]]
            rows.append(
                {
                    "text": own.text,
                    "probability": node.joint,
                    "logprob": node.logprob,
                    "count": len(node.ended),
                    "finish_reason": own.finish_reason,
                    "tokens": len(own.token_ids),
                    "forks": forks,
                }
            )
        return pd.DataFrame(rows).sort_values("logprob", ascending=False, ignore_index=True)

    def forks(self) -> pd.DataFrame:
        """A row for each branch of each fork: step, what comes before, the branch's first token, its probability
        there, how many answers take it, and the mass of all branches not taken at that fork."""
        import pandas as pd

        rows = []
        for node in self.root.walk():
            left = 1 - sum(child.probability for child in node.children)
            rows += [
                {
                    "step": node.last,
                    "before": node.text,
                    "token": self._text(child.token_ids[:1]),
                    "probability": child.probability,
                    "answers": len(child.members),
                    "not_taken": max(left, 0.0),
                }
                for child in node.children
            ]
        return pd.DataFrame(rows, columns=["step", "before", "token", "probability", "answers", "not_taken"])

    def _text(self, token_ids: Sequence[int]) -> str:
        return b"".join(map(self.choices[0].token_bytes, token_ids)).decode("utf-8", "replace")

    def plot(self) -> Figure:
        """The tree as a picture, from left to right (see `plots.branches`)."""
        return plots.branches(self.root)

    def _lines(self) -> list[str]:
        found: list[str] = []

        def add(node: Node, lead: str, mark: str) -> None:
            text = node.text.replace("\n", "⏎")
            found.append(f"{lead}{mark}{_percent(node.probability)} {_times(node)}{text}")
            inner = lead + {"": "", "├─ ": "│  ", "└─ ": "   "}[mark]
            for i, child in enumerate(node.children):
                add(child, inner, "└─ " if i == len(node.children) - 1 else "├─ ")

        add(self.root, "", "")
        rest = len(found) - _SHOWN
        return found[:_SHOWN] + ([f"… and {rest} more branches"] if rest > 0 else [])

    def _head(self) -> str:
        return (
            f"{len(self.choices)} answers, {len(self)} different; those that ended have probability "
            f"{_percent(self.explored)} together"
        )

    def __repr__(self) -> str:
        return "\n".join([f"Tree({self._head()})", *self._lines()])

    def _repr_html_(self) -> str:
        lines = html.escape("\n".join(self._lines()))
        style = "white-space:pre-wrap;font-family:monospace"
        return f'<p>{html.escape(self._head())}</p><pre style="{style}">{lines}</pre>'


def _common(texts: Sequence[Ints]) -> int:
    """How many first tokens all texts share."""
    shortest = min(map(len, texts))
    rows = np.stack([ids[:shortest] for ids in texts])
    differ = np.flatnonzero((rows != rows[0]).any(axis=0))
    return int(differ[0]) if len(differ) else shortest


def _paths(node: Node, forks: tuple[int, ...]) -> Iterator[tuple[Node, tuple[int, ...]]]:
    """Each node with which answers end, and the steps of the forks before it."""
    if node.ended:
        yield node, forks
    parts = (*forks, node.last) if len(node.children) + bool(node.ended) > 1 else forks
    for child in node.children:
        yield from _paths(child, parts)


def _percent(probability: float) -> str:
    return "?" if np.isnan(probability) else f"{100 * probability:.3g}%"


def _times(node: Node) -> str:
    """How many answers end here, unless it goes without saying."""
    n = len(node.ended)
    return f"×{n} " if n > 1 or (n and node.children) else ""
