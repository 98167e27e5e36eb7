"""Tree: answers to one prompt, merged where they begin with the same tokens."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from toolkit.analysis.logprobs import logprobs
from toolkit.core.choice import Choice, Ints
from toolkit.core.completion import Completion
from toolkit.display.markup import Markup, markup
from toolkit.display.plots.tree import plot_tree

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


_MAX_LINES = 60
"""Lines of a tree that a notebook cell shows."""


def tree(what: Completion | Choice | Iterable[Completion | Choice]) -> Tree:
    """The tree of the answers to one prompt: those of `explore`, of many samples, or of one completion's n choices.

    Raises ValueError if logprobs were not requested, or if completions answer different prompts.

    >>> tk.tree(engine.chat("Name a colour.", n=50, temperature=1, logprobs=True))  # doctest: +SKIP
    """
    answers = (
        [what] if isinstance(what, (Completion, Choice)) or not isinstance(what, Iterable) else list(what)
    )
    if len({answer.prompt_token_ids.tobytes() for answer in answers if isinstance(answer, Completion)}) > 1:
        raise ValueError("these completions answer different prompts: a tree is of the answers to one")
    return Tree(logprobs(answers).choices)


@dataclass(frozen=True, eq=False)
class Node:
    """A run of tokens that some answers share, up to their next fork or their end."""

    first: int
    """The step of its first token."""
    token_ids: tuple[int, ...]
    text: str
    probability: float
    """Of its first token at the fork, 0 to 1; NaN if not known, and 1 for the root."""
    logprob: float
    """Of all tokens up to its end, nats; unknown ones at the very front (a prefix) are not counted."""
    members: tuple[int, ...]
    """Indices of the answers that pass through it."""
    ended: tuple[int, ...]
    """Indices of the answers that end with it."""
    children: tuple[Node, ...]
    """The nodes after it, the most likely first."""

    @property
    def joint(self) -> float:
        """The probability of all tokens up to its end."""
        return float(np.exp(self.logprob))

    @property
    def last(self) -> int:
        """The end of its tokens: the step at which its children diverge."""
        return self.first + len(self.token_ids)

    def walk(self) -> Iterator[Node]:
        """The node and all its descendants, in display order."""
        yield self
        for child in self.children:
            yield from child.walk()


class Tree:
    """Answers to one prompt as a tree of their tokens, with the model's probability of each branch (for raw_logprobs:
    at temperature 1 without truncation). Made by `tree` and `explore`."""

    def __init__(self, choices: Sequence[Choice]) -> None:
        self.choices = tuple(choices)

    def __len__(self) -> int:
        """The number of distinct answers."""
        return len(self.frame())

    @cached_property
    def root(self) -> Node:
        """The tokens that all answers begin with; there may be none."""
        return self._node(range(len(self.choices)), 0, None)

    def _node(self, members: Sequence[int], first: int, logprob_before: float | None) -> Node:
        sequences = [self.choices[i].token_ids for i in members]
        last = first + _common_prefix([ids[first:] for ids in sequences])
        choice = self.choices[members[0]]
        assert choice.logprobs is not None
        run_logprobs = choice.logprobs[first:last].astype(np.float64)
        if logprob_before is None:
            run_logprobs = run_logprobs[np.logical_or.accumulate(~np.isnan(run_logprobs))]
        total = (logprob_before or 0.0) + float(run_logprobs.sum())
        groups: dict[int, list[int]] = {}
        for i, ids in zip(members, sequences, strict=True):
            if len(ids) > last:
                groups.setdefault(int(ids[last]), []).append(i)
        children = [self._node(group, last, total) for group in groups.values()]
        children.sort(key=lambda node: -np.nan_to_num(node.probability))
        return Node(
            first=first,
            token_ids=tuple(choice.token_ids[first:last].tolist()),
            text=b"".join(map(choice.token_bytes, choice.token_ids[first:last].tolist())).decode(
                "utf-8", "replace"
            ),
            probability=float(np.exp(choice.logprobs[first].astype(np.float64)))
            if logprob_before is not None
            else 1.0,
            logprob=total,
            members=tuple(members),
            ended=tuple(i for i, ids in zip(members, sequences, strict=True) if len(ids) == last),
            children=tuple(children),
        )

    @property
    def explored(self) -> float:
        """The total probability of all distinct answers that ended, 0 to 1: the share of the model's possible answers
        that the tree has. Those of unknown probability are not counted."""
        return self._ended_mass(self.root)

    def _ended_mass(self, node: Node) -> float:
        if any(self.choices[i].finish_reason in ("stop", "tool_calls") for i in node.ended):
            return float(np.nan_to_num(node.joint))  # continuations of an answer are part of it
        return sum(map(self._ended_mass, node.children), 0.0)

    def frame(self) -> pd.DataFrame:
        """A row for each distinct answer, the most probable first: text, probability and logprob of all its tokens,
        count (of equal answers), finish_reason, tokens, and forks (the steps at which it forks from others)."""
        import pandas as pd

        rows = []
        for node, forks in _paths(self.root, ()):
            choice = self.choices[node.ended[0]]
            rows.append(
                {
                    "text": choice.text,
                    "probability": node.joint,
                    "logprob": node.logprob,
                    "count": len(node.ended),
                    "finish_reason": choice.finish_reason,
                    "tokens": len(choice.token_ids),
                    "forks": forks,
                }
            )
        return pd.DataFrame(rows).sort_values("logprob", ascending=False, ignore_index=True)

    def forks(self) -> pd.DataFrame:
        """A row for each branch of each fork: step, the text of the node before it, the branch's first token and its
        probability, the number of answers that take it, and the mass of all branches not taken at that fork."""
        import pandas as pd

        rows = []
        for node in self.root.walk():
            not_taken = 1 - sum(child.probability for child in node.children)
            rows += [
                {
                    "step": node.last,
                    "before": node.text,
                    "token": self._text(child.token_ids[:1]),
                    "probability": child.probability,
                    "answers": len(child.members),
                    "not_taken": max(not_taken, 0.0),
                }
                for child in node.children
            ]
        return pd.DataFrame(rows, columns=["step", "before", "token", "probability", "answers", "not_taken"])

    def _text(self, token_ids: Sequence[int]) -> str:
        return b"".join(map(self.choices[0].token_bytes, token_ids)).decode("utf-8", "replace")

    def plot(self) -> Figure:
        """The tree as a figure, from left to right (see `plot_tree`)."""
        return plot_tree(self.root)

    def _lines(self) -> list[str]:
        lines: list[str] = []

        def add(node: Node, indent: str, mark: str) -> None:
            text = node.text.replace("\n", "⏎")
            lines.append(f"{indent}{mark}{_percent(node.probability)} {_end_count(node)}{text}")
            child_indent = indent + {"": "", "├─ ": "│  ", "└─ ": "   "}[mark]
            for i, child in enumerate(node.children):
                add(child, child_indent, "└─ " if i == len(node.children) - 1 else "├─ ")

        add(self.root, "", "")
        rest = len(lines) - _MAX_LINES
        return lines[:_MAX_LINES] + ([f"… and {rest} more branches"] if rest > 0 else [])

    def _headline(self) -> str:
        return (
            f"{len(self.choices)} answers, {len(self)} different; those that ended have probability "
            f"{_percent(self.explored)} together"
        )

    def __repr__(self) -> str:
        return "\n".join([f"Tree({self._headline()})", *self._lines()])

    def _repr_html_(self) -> Markup:
        style, lines = "white-space:pre-wrap;font-family:monospace", "\n".join(self._lines())
        return markup('<p>{}</p><pre style="{}">{}</pre>', self._headline(), style, lines)


def _common_prefix(sequences: Sequence[Ints]) -> int:
    """The number of leading tokens that all sequences share."""
    shortest = min(map(len, sequences))
    rows = np.stack([ids[:shortest] for ids in sequences])
    differ = np.flatnonzero((rows != rows[0]).any(axis=0))
    return int(differ[0]) if len(differ) else shortest


def _paths(node: Node, forks: tuple[int, ...]) -> Iterator[tuple[Node, tuple[int, ...]]]:
    """Each node at which answers end, with the steps of the forks before it."""
    if node.ended:
        yield node, forks
    steps = (*forks, node.last) if len(node.children) + bool(node.ended) > 1 else forks
    for child in node.children:
        yield from _paths(child, steps)


def _percent(probability: float) -> str:
    return "?" if np.isnan(probability) else f"{100 * probability:.3g}%"


def _end_count(node: Node) -> str:
    """How many answers end at the node; empty where it is obvious."""
    n = len(node.ended)
    return f"×{n} " if n > 1 or (n and node.children) else ""
