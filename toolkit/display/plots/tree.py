"""The plot of a tree of answers."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from toolkit.display.plots.style import PALETTE, drawable, new_figure

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_MAX_LEAVES = 40
_PAGE_WIDTH, _MAX_RUN, _GAP = 150, 30, 9
"""Characters: the width of a page, the longest run between forks, and the lines between runs."""


class TreeNode(Protocol):
    """What a plot needs of a node (see `toolkit.analysis.tree.Node`)."""

    @property
    def text(self) -> str: ...

    @property
    def probability(self) -> float: ...

    @property
    def children(self) -> Sequence[TreeNode]: ...

    def walk(self) -> Iterator[TreeNode]: ...


def plot_tree(root: TreeNode) -> Figure:
    """A tree of answers from left to right: each run of tokens as text, with a line to it as thick as it is probable,
    labelled with its probability. Long runs are shortened; after the first 40 answers the title counts the rest.
    """
    leaves = [node for node in root.walk() if not node.children]
    rows = {id(node): row for row, node in enumerate(leaves[:_MAX_LEAVES])}
    height = 0.6 + 0.32 * max(2, len(rows))
    figure = new_figure(11, height)
    axis = figure.subplots()
    _draw_branch(axis, root, 0.0, rows)
    width = max([_PAGE_WIDTH, *(text.get_position()[0] + len(text.get_text()) for text in axis.texts)])
    figure.set_size_inches(11 * width / _PAGE_WIDTH, height)  # a tree of many forks is wider than a page
    if len(leaves) > len(rows):
        axis.set_title(f"the first {len(rows)} of {len(leaves)} branches")
    axis.set(xlim=(0, width), ylim=(max(1.0, len(rows)) - 0.4, -0.6))
    axis.axis("off")
    return figure


def _draw_branch(axis: Any, node: TreeNode, x: float, rows: dict[int, int]) -> float | None:
    """Draws a node and its descendants. Returns the y at which its line arrives, None for a node that is omitted."""
    text = _shorten_middle(node.text, _MAX_RUN if node.children else max(_MAX_RUN, int(_PAGE_WIDTH - x) - 1))
    right = x + len(text) + 1
    branches = [
        (child, y)
        for child in node.children
        if (y := _draw_branch(axis, child, right + _GAP, rows)) is not None
    ]
    if not node.children and id(node) not in rows:
        return None
    if node.children and not branches:
        return None
    y = float(np.mean([y for _, y in branches])) if branches else float(rows[id(node)])
    for child, child_y in branches:
        axis.plot(
            [right, right + 2, right + _GAP - 0.5],
            [y, child_y, child_y],
            color=PALETTE[0],
            lw=0.6 + 5 * np.nan_to_num(child.probability),
        )
        share = "?" if np.isnan(child.probability) else f"{100 * child.probability:.2g}%"
        axis.text(right + _GAP - 1, child_y - 0.06, share, size=7, ha="right", va="bottom")
    axis.text(x, y, drawable(text), family="monospace", size=8.2, va="center", parse_math=False)
    return y


def _shorten_middle(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit // 2] + "…" + text[-(limit - limit // 2 - 1) :]
