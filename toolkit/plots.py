"""Plots of a table of completions. Colour-blind safe, readable on light and dark, matplotlib figures."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
"""Okabe and Ito's colours (https://jfly.uni-koeln.de/color/), without yellow and black."""
DRAWS = ("seed", "repeat", "choice", "row")
"""Axes along which completions of one setting are drawn; they are shown as dots, not as settings."""
_SETTINGS_SHOWN = 24


def overview(table: pd.DataFrame, axes: list[str]) -> Figure:
    """Length of each completion and agreement of the answers, by setting.

    Left: a dot for each completion, a bar at the mean. Right: the share of answers that equal the commonest
    answer to the same question (modal share, mean over the rows of data): 1 when all agree. Settings past
    the first 24 are left out, and the title says so.
    """
    import matplotlib.pyplot as plt

    names = [a for a in axes if a not in DRAWS and not a.startswith("row.")]
    groups = _groups(table, names)
    shown = groups[:_SETTINGS_SHOWN]
    figure = plt.figure(figsize=(9, 1.4 + 0.42 * len(shown)), layout="constrained")
    plt.close(figure)  # a notebook shows it where a cell ends in it, and not a second time
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=(3, 2))
    for y, (_, part) in enumerate(shown):
        color = PALETTE[y % len(PALETTE)]
        tokens = part["completion_tokens"].to_numpy()
        left.plot(
            tokens,
            [y + _spread(i, len(tokens)) for i in range(len(tokens))],
            "o",
            ms=4,
            alpha=0.5,
            color=color,
        )
        left.plot([tokens.mean()] * 2, [y - 0.32, y + 0.32], color=color, lw=2.5)
        right.barh(y, agreement(part), height=0.6, color=color)
    left.set_yticks(range(len(shown)), [label for label, _ in shown])
    left.invert_yaxis()
    left.set(xlabel="completion tokens (bar: mean)", xlim=(0, None))
    right.set(xlabel="answers that agree with the commonest", xlim=(0, 1.02))
    if len(groups) > len(shown):
        figure.suptitle(f"the first {len(shown)} of {len(groups)} settings")
    for axis in (left, right):
        axis.spines[["top", "right"]].set_visible(False)
        axis.grid(axis="x", alpha=0.3)
    return figure


def agreement(table: pd.DataFrame) -> float:
    """Modal share: texts equal to the commonest one, over all texts; the mean over rows of data, if any."""
    rows = table.groupby("row", dropna=False) if "row" in table else [(None, table)]
    return float(np.mean([part["text"].value_counts().iloc[0] / len(part) for _, part in rows]))


def _groups(table: pd.DataFrame, names: list[str]) -> list[tuple[str, pd.DataFrame]]:
    if not names:
        return [("all", table)]
    groups = table.groupby(names, dropna=False, sort=True)
    return [(_label(names, value), part) for value, part in groups]


def _label(names: list[str], values: Any) -> str:
    pairs = zip(names, values if isinstance(values, tuple) else (values,), strict=True)
    return ", ".join(f"{name} {str(value)[:24]}" for name, value in pairs)


def _spread(i: int, n: int) -> float:
    """Moves the dots of one setting apart, the same way each time."""
    return 0.0 if n < 2 else 0.5 * (i / (n - 1) - 0.5)
