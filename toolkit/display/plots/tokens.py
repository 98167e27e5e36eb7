"""The tokens of a completion with a value for each, and the likely tokens of one step."""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.display.colored_tokens import strength
from toolkit.display.plots.style import PALETTE, drawable, new_figure, tidy, visible_spaces

if TYPE_CHECKING:
    from matplotlib.figure import Figure


_MAX_TOKENS = 400
_LINE_WIDTH = 100
"""Characters in a line of tokens."""


def plot_tokens(
    pieces: Sequence[tuple[int, int, str]], by: str, column: Any, surprisal: Any, low: Any, high: Any
) -> Figure:
    """A text of T tokens: its pieces (first token, end, text) coloured by a column, the surprisal of each token, and
    the band between the bounds of the entropy. All columns (T,), nats; tokens past the first 400 are left out, and
    the title says so.
    """
    visible = [piece for piece in pieces if piece[1] <= _MAX_TOKENS]
    positions, lines = _line_layout([text for _, _, text in visible])
    last = visible[-1][1] if visible else 0
    figure = new_figure(9, 0.27 * lines + 3.6)
    above, middle, below = figure.subplots(3, 1, height_ratios=(0.27 * lines, 1.5, 1.5))
    _draw_pieces(above, visible, positions, lines, strength(np.asarray(column[:last]), by))
    steps = np.arange(last)
    middle.bar(steps, surprisal[:last], color=PALETTE[0], width=0.8)
    middle.set(ylabel="surprisal (nats)")
    sides = np.repeat(np.arange(last + 1) - 0.5, 2)[1:-1]  # left and right edge of each token, even if single
    bottom, top = (np.repeat(bound[:last], 2) for bound in (low, high))
    below.fill_between(sides, bottom, top, color=PALETTE[4], alpha=0.6, lw=0)
    below.plot(sides, top, color=PALETTE[0], lw=0.8)
    below.set(ylabel="entropy (nats)", xlabel="token", ylim=(0, None))
    above.set_title(
        f"colour: {by}" + (f", the first {last} tokens of {len(column)}" if last < len(column) else "")
    )
    for axis in (middle, below):
        tidy(axis, "y")
        axis.set_xlim(-0.7, max(last, 1) - 0.3)
        axis.locator_params(axis="x", integer=True, min_n_ticks=1)
    return figure


def _line_layout(texts: list[str]) -> tuple[list[tuple[int, int, int]], int]:
    """(line, column, width) of each text in columns of a monospaced page, and the number of lines."""
    positions, line, column = [], 0, 0
    for text in texts:
        width = sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in visible_spaces(text))
        if column and column + width > _LINE_WIDTH:
            line, column = line + 1, 0
        positions.append((line, column, width))
        column += width
        if "\n" in text:
            line, column = line + 1, 0
    return positions, line + 1


def _draw_pieces(axis: Any, pieces: Any, positions: Any, lines: int, strengths: Any) -> None:
    from matplotlib.patches import Rectangle

    for (first, end, text), (line, column, width) in zip(pieces, positions, strict=True):
        alpha = 0.8 * float(strengths[first:end].max(initial=0))
        axis.add_patch(Rectangle((column, line), width, 0.92, facecolor=PALETTE[5], alpha=alpha, lw=0))
        axis.plot([column + 0.08, column + width - 0.08], [line + 0.96] * 2, color="#888", lw=0.6)
        axis.text(
            column, line + 0.5, drawable(text), family="monospace", size=9.6, va="center", parse_math=False
        )
    axis.set(xlim=(0, _LINE_WIDTH), ylim=(lines, 0))
    axis.axis("off")


def plot_step(texts: Sequence[str], before: Any, low: Any, high: Any) -> Figure:
    """Probabilities of next tokens before and after the sampling parameters, 0 to 1, with the sum of all others last:
    light bars are before, dark bars the lower bound after, and a line extends to the upper bound.
    """
    figure = new_figure(7, 0.8 + 0.3 * len(texts))
    axis = figure.subplots()
    places = np.arange(len(texts) + 1)
    axis.barh(places, before, height=0.8, color=PALETTE[4], alpha=0.5, label="before")
    axis.barh(places, low, height=0.45, color=PALETTE[0], label="after")
    axis.hlines(places, low, high, color=PALETTE[5], lw=2.5, label="not known")
    names = [*(drawable(f"{text!r}") for text in texts), "all others"]
    axis.set_yticks(places, names, family="monospace", parse_math=False)
    axis.invert_yaxis()
    axis.set(xlabel="probability", xlim=(0, None))
    axis.legend(frameon=False, loc="center right")
    tidy(axis, "x")
    return figure
