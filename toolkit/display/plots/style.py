"""Shared by all plots: colours, labels of settings, drawable text."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from toolkit.display.progress import waiting_for

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
"""Okabe and Ito's colours (https://jfly.uni-koeln.de/color/), without yellow and black."""
DRAWS = ("seed", "repeat", "choice", "row")
"""Axes along which the completions of one setting vary; they are plotted as dots, not as settings."""


def new_figure(width: float, height: float) -> Figure:
    with waiting_for("loading matplotlib"):
        import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(width, height), layout="constrained")
    plt.close(figure)  # else a notebook would show it twice where it is the value of a cell
    return figure


def tidy(axis: Any, grid: Literal["x", "y", "both"] = "both") -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis=grid, alpha=0.3)


def setting_labels(table: pd.DataFrame) -> list[str]:
    """The label of each row of a table of settings; the value of a single column may itself be a tuple."""
    if list(table.index.names) == [None]:  # no columns of settings
        return [str(value) for value in table.index]
    names, values = [*map(str, table.index.names)], table.index
    return [_label(names, value if len(names) > 1 else (value,)) for value in values]


def group_by_setting(table: pd.DataFrame, names: list[str]) -> list[tuple[str, pd.DataFrame]]:
    if not names:
        return [("all", table)]
    groups = table.groupby(names, dropna=False, sort=True)
    return [(_label(names, value), part) for value, part in groups]


def _label(names: list[str], values: Any) -> str:
    pairs = zip(names, values if isinstance(values, tuple) else (values,), strict=True)
    return ", ".join(f"{name} {str(value)[:24]}" for name, value in pairs)


def dot_offset(i: int, n: int) -> float:
    """The offset of dot i of n that keeps the dots of one setting apart; deterministic."""
    return 0.0 if n < 2 else 0.5 * (i / (n - 1) - 0.5)


def visible_spaces(text: str) -> str:
    return text.replace("\n", "⏎").replace("\t", "⇥")


def drawable(text: str) -> str:
    """The text with a square for each character that the monospaced font lacks."""
    from matplotlib import font_manager

    charmap = font_manager.get_font(font_manager.findfont("monospace")).get_charmap()
    return "".join(c if ord(c) in charmap else "▯" for c in visible_spaces(text))
