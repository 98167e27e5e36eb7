"""Agreement, forks and drift of systems; the determinism ladder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.display.plots.style import PALETTE, new_figure, tidy

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


_MOST_SETTINGS = 20
"""Settings in a picture."""


def plot_determinism(
    matrix: np.typing.NDArray[np.float64],
    systems: Sequence[str],
    curves: Mapping[str, pd.DataFrame],
    drift: pd.DataFrame,
    margins: Any,
    settings: Mapping[str, Sequence[float]] = MappingProxyType({}),
) -> Figure:
    """What a `Determinism` found: the agreement of two runs in each setting, if there are several; agreement of S
    systems as a heat map (S, S), the survival of pairs of runs with its 95 % band, the drift of log probabilities by
    step, and the margins at forks, nats. What is unknown is left empty, with a note. settings: label → agreement and
    the ends of its 95 % interval."""
    shown = dict(list(settings.items())[:_MOST_SETTINGS])
    top = [0.8 + 0.3 * len(shown)] if shown else []
    figure = new_figure(11, 8 + sum(top))
    grid = figure.add_gridspec(2 + len(top), 2, height_ratios=[*top, 4, 4])
    if shown:
        _plot_settings(figure.add_subplot(grid[0, :]), shown)
    row = len(top)
    # Of a single system the heat map is one number, which the settings have told.
    if shown and len(systems) == 1:
        second = figure.add_subplot(grid[row, :])
    else:
        _plot_heat_map(figure.add_subplot(grid[row, 0]), matrix, systems)
        second = figure.add_subplot(grid[row, 1])
    third, fourth = (figure.add_subplot(grid[row + 1, column]) for column in (0, 1))
    _plot_survival(second, curves)
    _plot_drift(third, drift)
    finite = np.asarray(margins, np.float64)
    finite = finite[np.isfinite(finite)]  # where a grammar allows one token, the margin is infinite
    if len(finite):
        fourth.hist(finite, bins=min(30, max(5, len(finite))), color=PALETTE[0])
    fourth.set(
        xlabel="margin of the best token at a fork (nats)",
        ylabel="forks",
        xlim=(0, None),
        ylim=(0, None if len(finite) else 1),
    )
    fourth.locator_params(axis="y", integer=True)
    for axis, has_data, message in (
        (second, any(map(len, curves.values())), "no pair of runs whose token ids are known"),
        (third, bool(drift["pairs"].any()), "no shared token whose log probabilities are known"),
        (fourth, len(finite), "no fork whose margin is known"),
    ):
        tidy(axis)
        if not has_data:
            axis.text(0.5, 0.5, message, transform=axis.transAxes, ha="center", color="gray")
    return figure


def _plot_settings(axis: Any, settings: Mapping[str, Sequence[float]]) -> None:
    places = np.arange(len(settings))
    agreement, low, high = np.array(list(settings.values()), np.float64).T
    axis.hlines(places, low, high, color=PALETTE[0], lw=2, alpha=0.5)
    axis.plot(agreement, places, "o", color=PALETTE[0])
    for place, value in zip(places, agreement, strict=True):
        if np.isnan(value):
            axis.text(0.01, place, "asked once: tells nothing", va="center", size=8, color="gray")
    axis.set_yticks(places, [_shortened(name, 60) for name in settings], size=8)
    axis.set(xlim=(-0.01, 1.02), ylim=(len(settings) - 0.5, -0.5))
    axis.set_title("how often two runs of a request agree, by setting (line: 95 %)", size=10)
    tidy(axis, "x")


def _shortened(name: str, limit: int = 48) -> str:
    return name if len(name) <= limit else name[: limit - 1] + "…"


def _plot_heat_map(axis: Any, matrix: Any, systems: Sequence[str]) -> None:
    from toolkit.display.plots.figure import FIXED  # imported here, since it imports matplotlib

    axis.imshow(matrix, vmin=0, vmax=1, cmap="cividis")
    places = range(len(systems))
    names = [_shortened(name, 26) for name in systems]
    rotation, ha = (30, "right") if len(systems) <= 4 else (90, "center")
    axis.set_xticks(places, names, rotation=rotation, ha=ha, size=8)
    axis.set_yticks(places, names, size=8)
    for (y, x), value in np.ndenumerate(matrix):
        if np.isnan(value):
            axis.text(x, y, "–", ha="center", va="center", size=8)
            continue
        ink = "white" if value < 0.55 else "black"
        axis.text(x, y, f"{value:.2f}", ha="center", va="center", size=8, color=ink, gid=FIXED)
    axis.set_title("how often two runs agree, by system (–: single runs)", size=10)


def _plot_survival(axis: Any, curves: Mapping[str, pd.DataFrame]) -> None:
    for color, (name, curve) in zip(PALETTE, curves.items(), strict=False):
        if not len(curve):
            continue
        axis.step(curve.index, curve["survival"], where="post", color=color, lw=1.6, label=_shortened(name))
        axis.fill_between(
            curve.index, curve["low"], curve["high"], step="post", color=color, alpha=0.15, lw=0
        )
    axis.set(xlabel="token", ylabel="pairs of runs that have not forked", ylim=(0, 1.05), xlim=(0, None))
    axis.locator_params(axis="x", integer=True)
    if axis.lines:
        rest = f"first {len(PALETTE)} of {len(curves)}" if len(curves) > len(PALETTE) else None
        axis.legend(frameon=False, fontsize=8, title=rest, title_fontsize=8)


def _plot_drift(axis: Any, drift: pd.DataFrame) -> None:
    if drift["pairs"].any():
        dot = "." if len(drift) < 20 else None  # a line of one step would be invisible
        axis.plot(drift.index, drift["largest"], color=PALETTE[5], lw=1.2, marker=dot, label="largest")
        axis.plot(drift.index, drift["high"], color=PALETTE[1], lw=1.2, marker=dot, label="95 %")
        axis.plot(drift.index, drift["median"], color=PALETTE[0], lw=1.6, marker=dot, label="median")
        # Above the axes: the lines may be anywhere in them.
        axis.legend(frameon=False, fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    axis.set(
        xlabel="token",
        ylabel="difference of log probabilities (nats)",
        ylim=(0, None),
        xlim=(-0.5, max(len(drift), 1) - 0.5),
    )
    axis.locator_params(axis="x", integer=True, min_n_ticks=1)


def plot_ladder(table: pd.DataFrame) -> Figure:
    """A ladder's conditions from top to bottom. Left: the share of runs that differ from the answer of the request
    run alone, with its 95 % interval. Right: the largest difference of a log probability, nats, logarithmic."""
    figure = new_figure(10, 1.2 + 0.36 * len(table))
    left, right = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(table))
    left.barh(places, table["share"], color=PALETTE[0], height=0.6)
    left.hlines(places, table["low"], table["high"], color=PALETTE[5], lw=2)
    left.set_yticks(places, table.index.tolist())
    left.invert_yaxis()
    left.set(xlabel="runs that differ from the answer alone (line: 95 %)", xlim=(0, 1.02))
    drift = table["drift"].where(table["drift"] > 0)
    right.plot(drift, places, "o", color=PALETTE[0])
    for place, value in zip(places, table["drift"], strict=True):
        if value == 0:
            right.annotate(
                "0", (0.01, place), xycoords=("axes fraction", "data"), va="center", color=PALETTE[0]
            )
    right.set(xlabel="largest difference of a log probability (nats)")
    if drift.notna().any():
        right.set_xscale("log")
    for axis in (left, right):
        tidy(axis, "x")
    return figure
