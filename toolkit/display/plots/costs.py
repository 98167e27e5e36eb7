"""Tokens of each setting, and quality against cost."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.display.plots.style import PALETTE, new_figure, setting_labels, tidy
from toolkit.display.plots.sweep import MAX_SETTINGS

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


def plot_costs(table: pd.DataFrame, quality: str | None, front: Any) -> Figure:
    """Tokens of each setting as bars (prompt and completion), and where there is a price and a quality, the quality
    against the cost of a completion: the settings that no other beats (the Pareto front) are joined and named.
    """
    bars = table.head(MAX_SETTINGS)
    names = setting_labels(bars)
    figure = new_figure(11 if front is not None else 7, 1.6 + 0.4 * len(bars))
    axes = figure.subplots(1, 2 if front is not None else 1, squeeze=False)[0]
    places = np.arange(len(bars))
    axes[0].barh(places, bars["prompt_tokens"], color=PALETTE[4], label="prompt")
    axes[0].barh(
        places, bars["completion_tokens"], left=bars["prompt_tokens"], color=PALETTE[0], label="completion"
    )
    axes[0].set_yticks(places, names)
    axes[0].invert_yaxis()
    axes[0].set(xlabel="tokens")
    axes[0].legend(frameon=False)
    if front is not None and quality is not None:
        _plot_front(axes[1], table, quality, front)
    if len(table) > len(bars):
        figure.suptitle(f"bars of the first {len(bars)} of {len(table)} settings")
    for axis in axes:
        tidy(axis, "x")
    return figure


def _plot_front(axis: Any, table: pd.DataFrame, quality: str, front: Any) -> None:
    cost = "cost_per_completion"  # settings have different numbers of them
    axis.scatter(table[cost], table[quality], color=PALETTE[4], edgecolor=PALETTE[0], zorder=3)
    best = table[front].sort_values(cost)
    axis.plot(best[cost], best[quality], drawstyle="steps-post", color=PALETTE[5], lw=1.2)
    axis.scatter(best[cost], best[quality], color=PALETTE[5], zorder=4)
    for name, x, y in zip(setting_labels(best), best[cost], best[quality], strict=True):
        axis.annotate(name, (x, y), xytext=(4, 5), textcoords="offset points", size=8)
    axis.set(
        xlabel="cost of a completion (US dollars)",
        ylabel=f"share {quality}",
        ylim=(-0.03, 1.08),
        xlim=(0, None),
    )
