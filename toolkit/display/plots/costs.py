"""Tokens of each setting, and quality against cost."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit._internal.value_text import short_number
from toolkit.display.plots.style import PALETTE, new_figure, setting_labels, tidy
from toolkit.display.plots.sweep import MAX_SETTINGS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_LINE = 30
"""Characters on a line of a setting's name."""
_LINE_HEIGHT = 0.15
"""Inches."""


def plot_costs(table: pd.DataFrame, quality: str | None, front: Any) -> Figure:
    """Tokens of a completion of each setting as bars (prompt and generated, means), and where there is a price and a
    quality, the quality with its 95 % interval against the cost of a completion: each setting is named, with the
    number of items, and those that no other beats (the Pareto front) are joined. Of many settings those on the front
    are drawn, and the first of the others.
    """
    drawn = _drawn(len(table), front)
    bars = table.iloc[drawn]
    names = [textwrap.fill(name, _LINE) for name in setting_labels(bars)]
    lines = sum(1.6 + name.count("\n") for name in names)
    figure = new_figure(11 if front is not None else 7, 1.6 + _LINE_HEIGHT * max(lines, 8))
    axes = figure.subplots(1, 2 if front is not None else 1, squeeze=False)[0]
    _plot_tokens(axes[0], bars, names)
    if front is not None and quality is not None:
        _plot_front(axes[1], bars, names, quality, front[drawn])
    if len(table) > len(bars):
        figure.suptitle(f"{len(bars)} of {len(table)} settings", size="medium")
    for axis in axes:
        tidy(axis, "x")
    return figure


def _drawn(settings: int, front: Any) -> npt.NDArray[np.int64]:
    """The places of the settings that are drawn: of many the first, and those on the front before others."""
    order = np.arange(settings) if front is None else np.argsort(~front, kind="stable")
    return np.sort(order[:MAX_SETTINGS])


def _plot_tokens(axis: Any, bars: pd.DataFrame, names: Sequence[str]) -> None:
    places, number = np.arange(len(bars)), np.maximum(bars["completions"].to_numpy(np.float64), 1)
    prompt, generated = (
        bars[f"{name}_tokens"].to_numpy(np.float64) / number for name in ("prompt", "completion")
    )
    axis.barh(places, prompt, color=PALETTE[4], label="prompt")
    axis.barh(places, generated, left=prompt, color=PALETTE[0], label="generated")
    axis.set_yticks(places, names)
    axis.invert_yaxis()
    axis.set(xlabel="tokens of a completion (mean)")
    axis.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2)


def _plot_front(axis: Any, table: pd.DataFrame, names: Sequence[str], quality: str, front: Any) -> None:
    from matplotlib.ticker import MaxNLocator

    cost = "cost_per_completion"  # settings have different numbers of them
    for x, *interval in table[[cost, f"{quality}_low", f"{quality}_high"]].itertuples(index=False):
        axis.plot([x, x], interval, color=PALETTE[4], lw=1.2, zorder=2)
    axis.scatter(table[cost], table[quality], color=PALETTE[4], edgecolor=PALETTE[0], zorder=3)
    best = table[front].sort_values(cost)
    axis.plot(best[cost], best[quality], drawstyle="steps-post", color=PALETTE[5], lw=1.2)
    axis.scatter(best[cost], best[quality], color=PALETTE[5], zorder=4)
    highest = max(filter(np.isfinite, table[cost]), default=0)
    items = table[f"{quality}_items"].tolist()
    same = len(set(items)) == 1
    labels = names if same else [f"{name}, n = {n}" for name, n in zip(names, items, strict=True)]
    counts = f", n = {items[0]}" if same else ""
    axis.set(
        xlabel="cost of a completion (US dollars)",
        ylabel=f"share {quality}\n(95 % interval{counts})",
        ylim=(-0.03, 1.08),
        xlim=(0, 1.05 * highest or None),
    )
    axis.set_title("red: no other is cheaper and better", size="medium")
    axis.xaxis.set_major_locator(MaxNLocator(4))
    axis.xaxis.set_major_formatter(_tick_label)
    _name_points(axis, table[cost].to_numpy(np.float64), table[quality].to_numpy(np.float64), labels)


def _name_points(
    axis: Any, x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], names: Sequence[str]
) -> None:
    """Writes the name of each point on the right of the picture, joined to its point: there names of any length and
    number do not cover points or each other."""
    known = np.flatnonzero(np.isfinite(x) & np.isfinite(y))
    order = known[np.lexsort((-x[known], y[known]))]
    low, high = axis.get_ylim()
    inches = axis.figure.get_size_inches()[1] - 1.2  # without its title and the names of its axes
    heights = [(1.3 + names[i].count("\n")) * _LINE_HEIGHT / inches * (high - low) for i in order]
    for i, height in zip(order, _spread(y[order], heights, low, high), strict=True):
        axis.annotate(
            names[i],
            (x[i], y[i]),
            xytext=(1.03, height),
            textcoords=axis.get_yaxis_transform(),
            annotation_clip=False,
            arrowprops={"arrowstyle": "-", "color": "#8888", "lw": 0.7},
            size=8,
            va="center",
        )


def _spread(
    centres: npt.NDArray[np.float64], heights: Sequence[float], low: float, high: float
) -> list[float]:
    """Ascending centres of boxes of some heights, moved apart so that none overlaps another, within limits where all
    fit in."""
    places: list[float] = []
    end = low
    for centre, height in zip(centres, heights, strict=True):
        places.append(max(centre, end + height / 2))
        end = places[-1] + height / 2
    end = max(high, low + sum(heights))
    for i in range(len(places) - 1, -1, -1):
        places[i] = min(places[i], end - heights[i] / 2)
        end = places[i] - heights[i] / 2
    return places


def _tick_label(value: float, _: int) -> str:
    """A function of the module, since a figure is pickled for its dark form."""
    return short_number(value)
