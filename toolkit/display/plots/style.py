"""Shared by all plots: colours, labels of settings, drawable text."""

from __future__ import annotations

from collections.abc import Sequence
from textwrap import fill
from typing import TYPE_CHECKING, Any, Literal

from toolkit._internal.missing import is_missing
from toolkit._internal.value_text import distinct_labels, short_value
from toolkit.display.progress import waiting_for

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.display.plots.figure import NotebookFigure


PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
"""Okabe and Ito's colours (https://jfly.uni-koeln.de/color/), without yellow and black."""
DRAWS = ("seed", "repeat", "choice", "row")
"""Axes along which the completions of one setting vary; they are plotted as dots, not as settings."""

_VALUE_LENGTH, _LINE_LENGTH = 32, 44
"""The most characters of a value in a label, and of a line of a label."""


def new_figure(width: float, height: float, description: str = "plot") -> NotebookFigure:
    """An empty figure, in inches. description: what it shows, for those who cannot see it."""
    with waiting_for("loading matplotlib"):
        import matplotlib.pyplot as plt

    from toolkit.display.plots.figure import NotebookFigure

    size = (width, height)
    figure = plt.figure(
        figsize=size, layout="constrained", FigureClass=NotebookFigure, description=description
    )
    assert isinstance(figure, NotebookFigure)
    plt.close(figure)  # else a notebook would show it twice where it is the value of a cell
    return figure


def tidy(axis: Any, grid: Literal["x", "y", "both"] = "both") -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis=grid, alpha=0.3)
    axis.set_axisbelow(True)


def set_share_axis(axis: Any, label: str) -> None:
    """An x axis from 0 to 1."""
    axis.set_xticks([0, 0.25, 0.5, 0.75, 1], ["0", "", "0.5", "", "1"])
    axis.set(xlabel=label, xlim=(-0.02, 1.02))


def setting_labels(table: pd.DataFrame) -> list[str]:
    """The label of each row of a table of settings, with the names of `attrs["names"]` in place of ids; the value of
    a single column may itself be a tuple."""
    if list(table.index.names) == [None]:  # no columns of settings
        return [str(value) for value in table.index]
    names, ids = list(map(str, table.index.names)), table.attrs.get("names", {})
    settings = table.index if len(names) > 1 else [(value,) for value in table.index]
    named = [tuple(ids.get(v, v) if isinstance(v, str) else v for v in values) for values in settings]
    return distinct_labels([_label(names, values) for values in named])


def group_by_setting(table: pd.DataFrame, names: list[str]) -> list[tuple[str, pd.DataFrame]]:
    """The label and the rows of each setting, in the order of the settings' values."""
    if not names:
        return [("all", table)]
    groups = list(table.groupby(names, dropna=False, sort=True))
    labels = distinct_labels([_label(names, value) for value, _ in groups])
    return [(label, part) for label, (_, part) in zip(labels, groups, strict=True)]


def _label(names: list[str], values: Any) -> str:
    """The label of a setting; without the axes that it has no value of, as a greedy one has no seed."""
    pairs = list(zip(names, values if isinstance(values, tuple) else (values,), strict=True))
    known = [(name, value) for name, value in pairs if not is_missing(value)]
    return ", ".join(f"{name} {short_value(value, _VALUE_LENGTH)}" for name, value in known or pairs)


def set_labels(axis: Any, labels: Sequence[str]) -> None:
    """Labels of the horizontal lines 0, 1, … of a plot, in at most two lines each."""
    names = [fill(drawable(label, "sans"), _LINE_LENGTH, max_lines=2, placeholder=" …") for label in labels]
    axis.set_yticks(range(len(names)), names, parse_math=False)


def dot_offset(i: int, n: int) -> float:
    """The offset of dot i of n that keeps the dots of one setting apart; deterministic."""
    return 0.0 if n < 2 else 0.5 * (i / (n - 1) - 0.5)


def visible_spaces(text: str) -> str:
    return text.replace("\n", "⏎").replace("\t", "⇥")


def drawable(text: str, family: Literal["monospace", "sans"] = "monospace") -> str:
    """The text with a square for each character that the font lacks."""
    from matplotlib import font_manager

    charmap = font_manager.get_font(font_manager.findfont(family)).get_charmap()
    return "".join(c if ord(c) in charmap else "▯" for c in visible_spaces(text))
