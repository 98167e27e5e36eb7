"""The plot of a sweep: what its settings change, by setting."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._internal.value_text import short_value
from toolkit.display.plots.style import (
    DRAWS,
    PALETTE,
    dot_offset,
    drawable,
    group_by_setting,
    new_figure,
    set_labels,
    set_share_axis,
    tidy,
)

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.display.plots.figure import NotebookFigure

Interval = Callable[[float, int], Any]
"""From a number of successes and of trials to the ends of an interval of their share."""
MAX_SETTINGS = 24
_MAX_LABELS, _LABEL_LENGTH = len(PALETTE), 40
"""The most labels, and the most characters of one."""
_MOST = 0.8
"""The share of outputs that are labels, where any are."""
_MAX_PANELS = 3


@dataclass(frozen=True)
class Panel:
    """One of the plots side by side, which share the settings."""

    name: str
    """What it shows, as a reader calls it."""
    width: int
    draw: Callable[[Any, Sequence[pd.DataFrame]], None]
    """From an axis and the completions of each setting, without errors."""


def plot_sweep(
    table: pd.DataFrame, axes: Sequence[str], score: str = "", interval: Interval | None = None
) -> NotebookFigure:
    """What differs between the settings of a sweep, a line for each setting, in up to three panels of these:

    - with a column `correct`, its mean, with the 95 % interval over the rows of data; score: what it means;
    - where the outputs are a few labels, the share of each;
    - with a column `valid`, the share of outputs that are valid for the response format, unless all or none are;
    - else the length of each completion, and the mean; completions that were cut are triangles;
    - where a question has several outputs in one setting, the share of them that equal the commonest (modal share,
      mean over the rows of data).

    The settings are the values of the axes that vary; where only rows of data do, the rows. Those past the first 24
    are left out, and the title says so.
    """
    groups = group_by_setting(table, _setting_axes(table, axes))
    settings = groups[:MAX_SETTINGS]
    parts = [_without_errors(part) for _, part in settings]
    panels = _panels(_without_errors(table), parts, score, interval)
    figure = new_figure(
        5.5 + 1.4 * len(panels),
        1.5 + 0.42 * len(settings),
        " and ".join(p.name for p in panels) + ", by setting",
    )
    drawn = figure.subplots(
        1, len(panels), sharey=True, width_ratios=[p.width for p in panels], squeeze=False
    )[0]
    for axis, panel in zip(drawn, panels, strict=True):
        panel.draw(axis, parts)
        tidy(axis, "x")
    set_labels(drawn[0], [label for label, _ in settings])
    drawn[0].set_ylim(len(settings) - 0.4, -0.6)
    for y, ((_, part), done) in enumerate(zip(settings, parts, strict=True)):
        if not len(done):
            _note(drawn[0], y, "all failed" if len(part) else "no completion yet")
    if len(groups) > len(settings):
        figure.suptitle(f"the first {len(settings)} of {len(groups)} settings")
    return figure


def _setting_axes(table: pd.DataFrame, axes: Sequence[str]) -> list[str]:
    """The axes that are settings; where only rows of data vary, the first variable that tells the rows apart."""
    names = [name for name in axes if name not in DRAWS and not name.startswith("row.")]
    rows = table["row"].nunique() if "row" in axes else 0
    variables = [name for name in axes if name.startswith("row.") and table[name].nunique() == rows]
    return names or (variables[:1] or ["row"] if rows else [])


def _without_errors(table: pd.DataFrame) -> pd.DataFrame:
    return table[table["finish_reason"] != "error"] if "finish_reason" in table else table


def _panels(
    table: pd.DataFrame, parts: Sequence[pd.DataFrame], score: str, interval: Interval | None
) -> list[Panel]:
    """The panels that have something to show: what is the same for every setting by construction is left out."""
    panels = []
    if "correct" in table and table["correct"].notna().any():
        panels.append(_share_panel("correct", score, interval))
    if labels := _labels(table):
        panels.append(Panel("share of each output", 3, lambda axis, parts: _draw_mix(axis, parts, labels)))
    if "valid" in table and table["valid"].nunique() > 1:
        panels.append(_share_panel("valid", "valid for the response format", interval))
    if not panels and table["completion_tokens"].nunique() > 1:
        panels.append(Panel("completion tokens", 3, _draw_lengths))
    if any(_repeated(part) for part in parts):
        panels.append(Panel("agreement of the answers", 2, _draw_agreement))
    return panels[:_MAX_PANELS] or [Panel("completion tokens", 3, _draw_lengths)]


def _labels(table: pd.DataFrame) -> list[str]:
    """The outputs that are labels, the commonest first: a few short texts that occur again and again, and that
    different rows of data share. Empty where most outputs are something else."""
    counts = table["text"].value_counts()
    repeated = counts[counts > 1].head(_MAX_LABELS)
    rows = table.groupby("text")["row"].nunique() if "row" in table else counts
    shared = repeated[rows[repeated.index] > 1] if "row" in table and table["row"].nunique() > 1 else repeated
    is_short = all(len(text) <= _LABEL_LENGTH for text in repeated.index)
    are_most = repeated.sum() >= _MOST * len(table) and shared.sum() >= len(table) / 2
    return [str(text) for text in repeated.index] if is_short and are_most and len(counts) > 1 else []


def _questions(part: pd.DataFrame) -> list[pd.DataFrame]:
    """The completions of each row of data."""
    if "row" not in part:
        return [part]
    return [answers for _, answers in part.groupby("row", dropna=False)]


def _repeated(part: pd.DataFrame) -> bool:
    return any(len(answers) > 1 for answers in _questions(part))


def _share_panel(column: str, label: str, interval: Interval | None) -> Panel:
    def draw(axis: Any, parts: Sequence[pd.DataFrame]) -> None:
        numbers = set()
        for y, part in enumerate(parts):
            values = [answers[column].astype(float).mean() for answers in _questions(part)]
            values = part[column].dropna().astype(float).tolist() if len(values) == 1 else values
            known = [value for value in values if not np.isnan(value)]
            if not known:
                continue
            numbers.add(len(known))
            mean = float(np.mean(known))
            if interval is not None:
                axis.hlines(y, *interval(mean * len(known), len(known)), color=PALETTE[4], lw=2.5)
            axis.plot(mean, y, "o", color=PALETTE[0], ms=7)
        n = "–".join(map(str, sorted({min(numbers), max(numbers)}))) if numbers else "no"
        noun = "rows" if any("row" in part for part in parts) else "outputs"
        line = ", line: 95 %" if interval is not None else ""
        set_share_axis(axis, f"{label}\n(mean of {n} {noun}{line})")

    return Panel(label, 2, draw)


def _draw_mix(axis: Any, parts: Sequence[pd.DataFrame], labels: Sequence[str]) -> None:
    left = np.zeros(len(parts))
    for color, label in zip(PALETTE, labels, strict=False):
        shares = np.array([(part["text"] == label).mean() if len(part) else 0.0 for part in parts])
        name = drawable(short_value(label, 18), "sans") or "(empty)"
        axis.barh(range(len(parts)), shares, left=left, height=0.62, color=color, label=name)
        left += shares
    others = np.array([float(len(part) > 0) for part in parts]) - left
    if (others > 1e-9).any():
        axis.barh(range(len(parts)), others, left=left, height=0.62, color="silver", label="other outputs")
    set_share_axis(axis, "share of each output")
    # Of the figure, which makes room for it: a legend of the panel may be wider than the panel.
    legend = axis.figure.legend(
        *axis.get_legend_handles_labels(), frameon=False, ncols=3, loc="outside upper right"
    )
    for text in legend.get_texts():
        text.set_parse_math(False)


def _draw_lengths(axis: Any, parts: Sequence[pd.DataFrame]) -> None:
    are_cut = False
    for y, part in enumerate(parts):
        part = part[part["completion_tokens"].notna()]  # a server may not report them
        tokens = part["completion_tokens"].to_numpy(float)
        heights = np.array([y + dot_offset(i, len(tokens)) for i in range(len(tokens))])
        cut = np.zeros(len(part), bool)
        if "finish_reason" in part:
            cut = (part["finish_reason"] == "length").to_numpy(bool)
        axis.plot(tokens[~cut], heights[~cut], "o", ms=4, alpha=0.6, color=PALETTE[0])
        if cut.any():
            are_cut = True
            axis.plot(tokens[cut], heights[cut], ">", ms=5, alpha=0.6, color=PALETTE[5])
        if len(tokens):
            axis.plot([tokens.mean()] * 2, [y - 0.32, y + 0.32], color=PALETTE[0], lw=2.5)
    axis.set(xlabel="completion tokens (bar: mean" + (", ▸: cut)" if are_cut else ")"), xlim=(0, None))


def _draw_agreement(axis: Any, parts: Sequence[pd.DataFrame]) -> None:
    for y, part in enumerate(parts):
        if _repeated(part):
            axis.barh(y, modal_share(part), height=0.6, color=PALETTE[2])
        elif len(part):
            _note(axis, y, "one output each")
    set_share_axis(axis, "equal to the commonest\noutput for the question")


def _note(axis: Any, y: int, text: str) -> None:
    axis.text(0.02, y, text, transform=axis.get_yaxis_transform(), va="center", color="gray", size=9)


def modal_share(table: pd.DataFrame) -> float:
    """Modal share: texts equal to the commonest one, over all texts; the mean over rows of data, if any, that have
    several."""
    several = [answers for answers in _questions(table) if len(answers) > 1]
    return float(np.mean([answers["text"].value_counts().iloc[0] / len(answers) for answers in several]))
