"""The plot of a sweep: length and agreement, by setting."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from toolkit.display.plots.style import DRAWS, PALETTE, dot_offset, group_by_setting, new_figure, tidy

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


MAX_SETTINGS = 24


def plot_sweep(table: pd.DataFrame, axes: list[str]) -> Figure:
    """Length of each completion and agreement of the answers, by setting.

    Left: a dot for each completion, a bar at the mean. Right: the share of answers that equal the commonest
    answer to the same question (modal share, mean over the rows of data): 1 when all agree. Settings past
    the first 24 are left out, and the title says so.
    """
    names = [a for a in axes if a not in DRAWS and not a.startswith("row.")]
    groups = group_by_setting(table, names)
    settings = groups[:MAX_SETTINGS]
    figure = new_figure(9, 1.4 + 0.42 * len(settings))
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for y, (_, part) in enumerate(settings):
        color = PALETTE[y % len(PALETTE)]
        tokens = part["completion_tokens"].dropna().to_numpy(float)
        left.plot(
            tokens,
            [y + dot_offset(i, len(tokens)) for i in range(len(tokens))],
            "o",
            ms=4,
            alpha=0.5,
            color=color,
        )
        if len(tokens):  # else a server does not report them
            left.plot([tokens.mean()] * 2, [y - 0.32, y + 0.32], color=color, lw=2.5)
        right.barh(y, modal_share(part), height=0.6, color=color)
    left.set_yticks(range(len(settings)), [label for label, _ in settings])
    left.invert_yaxis()
    left.set(xlabel="completion tokens (bar: mean)", xlim=(0, None))
    right.set(xlabel="answers that agree with the commonest", xlim=(0, 1.02))
    if len(groups) > len(settings):
        figure.suptitle(f"the first {len(settings)} of {len(groups)} settings")
    for axis in (left, right):
        tidy(axis, "x")
    return figure


def modal_share(table: pd.DataFrame) -> float:
    """Modal share: texts equal to the commonest one, over all texts; the mean over rows of data, if any."""
    rows = table.groupby("row", dropna=False) if "row" in table else [(None, table)]
    return float(np.mean([part["text"].value_counts().iloc[0] / len(part) for _, part in rows]))
