"""Plots of a table of completions. Colour-blind safe, readable on light and dark, matplotlib figures."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from toolkit.strip import strength

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from toolkit.tree import Node

PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00")
"""Okabe and Ito's colours (https://jfly.uni-koeln.de/color/), without yellow and black."""
DRAWS = ("seed", "repeat", "choice", "row")
"""Axes along which completions of one setting are drawn; they are shown as dots, not as settings."""
_SETTINGS_SHOWN = 24
_TOKENS_SHOWN = 400
_ENDS_SHOWN = 40
_WIDE, _RUN, _GAP = 150, 30, 9
"""Of a tree: characters across, of a run between forks, and of the lines between runs."""
_PAGE = 100
"""Characters of a line of tokens."""


def overview(table: pd.DataFrame, axes: list[str]) -> Figure:
    """Length of each completion and agreement of the answers, by setting.

    Left: a dot for each completion, a bar at the mean. Right: the share of answers that equal the commonest
    answer to the same question (modal share, mean over the rows of data): 1 when all agree. Settings past
    the first 24 are left out, and the title says so.
    """
    names = [a for a in axes if a not in DRAWS and not a.startswith("row.")]
    groups = _groups(table, names)
    shown = groups[:_SETTINGS_SHOWN]
    figure = _figure(9, 1.4 + 0.42 * len(shown))
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
        _tidy(axis, "x")
    return figure


def _figure(width: float, height: float) -> Figure:
    import matplotlib.pyplot as plt

    figure = plt.figure(figsize=(width, height), layout="constrained")
    plt.close(figure)  # a notebook shows it where a cell ends in it, and not a second time
    return figure


def _tidy(axis: Any, grid: Literal["x", "y", "both"] = "both") -> None:
    axis.spines[["top", "right"]].set_visible(False)
    axis.grid(axis=grid, alpha=0.3)


def agreement(table: pd.DataFrame) -> float:
    """Modal share: texts equal to the commonest one, over all texts; the mean over rows of data, if any."""
    rows = table.groupby("row", dropna=False) if "row" in table else [(None, table)]
    return float(np.mean([part["text"].value_counts().iloc[0] / len(part) for _, part in rows]))


def costs(table: pd.DataFrame, quality: str | None, front: Any) -> Figure:
    """Tokens of each setting as bars (prompt and completion), and where there is a price and a quality, the quality
    against the cost of a completion: the settings that no other beats (the Pareto front) are joined and named.
    """
    shown = table.head(_SETTINGS_SHOWN)
    names = labels(shown)
    figure = _figure(11 if front is not None else 7, 1.6 + 0.4 * len(shown))
    axes = figure.subplots(1, 2 if front is not None else 1, squeeze=False)[0]
    places = np.arange(len(shown))
    axes[0].barh(places, shown["prompt_tokens"], color=PALETTE[4], label="prompt")
    axes[0].barh(
        places, shown["completion_tokens"], left=shown["prompt_tokens"], color=PALETTE[0], label="completion"
    )
    axes[0].set_yticks(places, names)
    axes[0].invert_yaxis()
    axes[0].set(xlabel="tokens")
    axes[0].legend(frameon=False)
    if front is not None and quality is not None:
        _against(axes[1], table, quality, front)
    if len(table) > len(shown):
        figure.suptitle(f"bars of the first {len(shown)} of {len(table)} settings")
    for axis in axes:
        _tidy(axis, "x")
    return figure


def _against(axis: Any, table: pd.DataFrame, quality: str, front: Any) -> None:
    each = "cost_per_completion"  # settings have different numbers of them
    axis.scatter(table[each], table[quality], color=PALETTE[4], edgecolor=PALETTE[0], zorder=3)
    best = table[front].sort_values(each)
    axis.plot(best[each], best[quality], drawstyle="steps-post", color=PALETTE[5], lw=1.2)
    axis.scatter(best[each], best[quality], color=PALETTE[5], zorder=4)
    for name, cost, worth in zip(labels(best), best[each], best[quality], strict=True):
        axis.annotate(name, (cost, worth), xytext=(4, 5), textcoords="offset points", size=8)
    axis.set(
        xlabel="cost of a completion (US dollars)",
        ylabel=f"share {quality}",
        ylim=(-0.03, 1.08),
        xlim=(0, None),
    )


def labels(table: pd.DataFrame) -> list[str]:
    """What each row of a table of settings is called; the value of a single column may be a tuple itself."""
    if list(table.index.names) == [None]:  # nothing that settings are told by
        return [str(value) for value in table.index]
    names, values = [*map(str, table.index.names)], table.index
    return [_label(names, value if len(names) > 1 else (value,)) for value in values]


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


def reliability(bins: pd.DataFrame, confidence: np.typing.NDArray[np.float64]) -> Figure:
    """Reliability diagram of a `Calibration`'s frame: above, accuracy against mean confidence, a dot for each bin,
    its area by n, with the Wilson interval; on the diagonal, confidence is what it says. Below, the confidences."""
    figure = _figure(5.2, 6.4)
    above, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    above.plot([0, 1], [0, 1], "--", color="gray", lw=1)
    above.text(0.02, 0.98, "underconfident", color="gray", va="top")
    above.text(0.98, 0.02, "overconfident", color="gray", ha="right")
    above.vlines(bins["confidence"], bins["accuracy_low"], bins["accuracy_high"], color=PALETTE[0], lw=1.5)
    area = 16 + 110 * bins["n"] / bins["n"].max()
    above.scatter(bins["confidence"], bins["accuracy"], s=area, color=PALETTE[0], edgecolor="white", zorder=3)
    above.set(
        ylabel="accuracy (dot: a bin, area: its items, line: 95 % interval)",
        ylim=(-0.03, 1.03),
        aspect="equal",
    )
    # Bars (low, high], as the bins of a Calibration: 0.9 and 0.95 are common, and lie on edges.
    below.hist(np.nextafter(confidence, 0), bins=(np.arange(41) / 40).tolist(), color=PALETTE[4])
    below.set(xlabel="confidence", ylabel="items", xlim=(-0.03, 1.03))
    below.locator_params(axis="y", integer=True, nbins=4)
    for axis in (above, below):
        _tidy(axis)
        axis.set_axisbelow(True)
    return figure


def tokens(
    pieces: Sequence[tuple[int, int, str]], by: str, column: Any, surprisal: Any, low: Any, high: Any
) -> Figure:
    """A text of T tokens: its pieces (first token, end, text) coloured by a column, the surprisal of each token, and
    the band between the bounds of the entropy. All columns (T,), nats; tokens past the first 400 are left out, and
    the title says so.
    """
    shown = [piece for piece in pieces if piece[1] <= _TOKENS_SHOWN]
    placed, lines = _lines([text for _, _, text in shown])
    last = shown[-1][1] if shown else 0
    figure = _figure(9, 0.27 * lines + 3.6)
    above, middle, below = figure.subplots(3, 1, height_ratios=(0.27 * lines, 1.5, 1.5))
    _strip(above, shown, placed, lines, strength(np.asarray(column[:last]), by))
    steps = np.arange(last)
    middle.bar(steps, surprisal[:last], color=PALETTE[0], width=0.8)
    middle.set(ylabel="surprisal (nats)")
    sides = np.repeat(np.arange(last + 1) - 0.5, 2)[1:-1]  # left and right of each token, a single one too
    bottom, top = (np.repeat(bound[:last], 2) for bound in (low, high))
    below.fill_between(sides, bottom, top, color=PALETTE[4], alpha=0.6, lw=0)
    below.plot(sides, top, color=PALETTE[0], lw=0.8)
    below.set(ylabel="entropy (nats)", xlabel="token", ylim=(0, None))
    above.set_title(
        f"colour: {by}" + (f", the first {last} tokens of {len(column)}" if last < len(column) else "")
    )
    for axis in (middle, below):
        _tidy(axis, "y")
        axis.set_xlim(-0.7, max(last, 1) - 0.3)
        axis.locator_params(axis="x", integer=True, min_n_ticks=1)
    return figure


def _lines(texts: list[str]) -> tuple[list[tuple[int, int, int]], int]:
    """(line, column, width) of each text in columns of a monospaced page, and the number of lines."""
    placed, line, column = [], 0, 0
    for text in texts:
        width = sum(1 + (unicodedata.east_asian_width(c) in "WF") for c in _visible(text))
        if column and column + width > _PAGE:
            line, column = line + 1, 0
        placed.append((line, column, width))
        column += width
        if "\n" in text:
            line, column = line + 1, 0
    return placed, line + 1


def _visible(text: str) -> str:
    return text.replace("\n", "⏎").replace("\t", "⇥")


def _strip(axis: Any, shown: Any, placed: Any, lines: int, strengths: Any) -> None:
    from matplotlib.patches import Rectangle

    for (first, end, text), (line, column, width) in zip(shown, placed, strict=True):
        alpha = 0.8 * float(strengths[first:end].max(initial=0))
        axis.add_patch(Rectangle((column, line), width, 0.92, facecolor=PALETTE[5], alpha=alpha, lw=0))
        axis.plot([column + 0.08, column + width - 0.08], [line + 0.96] * 2, color="#888", lw=0.6)
        axis.text(
            column, line + 0.5, _drawable(text), family="monospace", size=9.6, va="center", parse_math=False
        )
    axis.set(xlim=(0, _PAGE), ylim=(lines, 0))
    axis.axis("off")


def _drawable(text: str) -> str:
    """The text with a square for each character that the monospaced font lacks."""
    from matplotlib import font_manager

    known = font_manager.get_font(font_manager.findfont("monospace")).get_charmap()
    return "".join(c if ord(c) in known else "▯" for c in _visible(text))


def step(texts: Sequence[str], before: Any, low: Any, high: Any) -> Figure:
    """Next tokens before and after the sampler's settings, 0 to 1, and what all others have together, last: light
    bars are before, dark ones what is sure after, and a line goes to the most that it can be.
    """
    figure = _figure(7, 0.8 + 0.3 * len(texts))
    axis = figure.subplots()
    places = np.arange(len(texts) + 1)
    axis.barh(places, before, height=0.8, color=PALETTE[4], alpha=0.5, label="before")
    axis.barh(places, low, height=0.45, color=PALETTE[0], label="after")
    axis.hlines(places, low, high, color=PALETTE[5], lw=2.5, label="not known")
    names = [*(_drawable(f"{text!r}") for text in texts), "all others"]
    axis.set_yticks(places, names, family="monospace", parse_math=False)
    axis.invert_yaxis()
    axis.set(xlabel="probability", xlim=(0, None))
    axis.legend(frameon=False, loc="center right")
    _tidy(axis, "x")
    return figure


def branches(root: Node) -> Figure:
    """A tree of answers from left to right: each run of tokens as text, the line to it as thick as it is probable and
    labelled with its probability. Long runs are cut, and past the first 40 answers the rest are counted.
    """
    ends = [node for node in root.walk() if not node.children]
    kept = {id(node) for node in ends[:_ENDS_SHOWN]}
    rows = {id(node): row for row, node in enumerate(ends[:_ENDS_SHOWN])}
    height = 0.6 + 0.32 * max(2, len(rows))
    figure = _figure(11, height)
    axis = figure.subplots()
    _branch(axis, root, 0.0, rows)
    wide = max([_WIDE, *(text.get_position()[0] + len(text.get_text()) for text in axis.texts)])
    figure.set_size_inches(11 * wide / _WIDE, height)  # a tree of many forks is wider than a page
    if len(ends) > len(kept):
        axis.set_title(f"the first {len(kept)} of {len(ends)} branches")
    axis.set(xlim=(0, wide), ylim=(max(1.0, len(rows)) - 0.4, -0.6))
    axis.axis("off")
    return figure


def _branch(axis: Any, node: Node, x: float, rows: dict[int, int]) -> float | None:
    """Draws a node and what is below it; gives the height at which its line comes in, None where it is left out."""
    text = _clipped(node.text, _RUN if node.children else max(_RUN, int(_WIDE - x) - 1))
    right = x + len(text) + 1
    below = [
        (child, y) for child in node.children if (y := _branch(axis, child, right + _GAP, rows)) is not None
    ]
    if not node.children and id(node) not in rows:
        return None
    if node.children and not below:
        return None
    y = float(np.mean([y for _, y in below])) if below else float(rows[id(node)])
    for child, to in below:
        axis.plot(
            [right, right + 2, right + _GAP - 0.5],
            [y, to, to],
            color=PALETTE[0],
            lw=0.6 + 5 * np.nan_to_num(child.probability),
        )
        share = "?" if np.isnan(child.probability) else f"{100 * child.probability:.2g}%"
        axis.text(right + _GAP - 1, to - 0.06, share, size=7, ha="right", va="bottom")
    axis.text(x, y, _drawable(text), family="monospace", size=8.2, va="center", parse_math=False)
    return y


def _clipped(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most // 2] + "…" + text[-(most - most // 2 - 1) :]


def determinism(
    matrix: np.typing.NDArray[np.float64],
    systems: Sequence[str],
    curves: Mapping[str, pd.DataFrame],
    drift: pd.DataFrame,
    margins: Any,
) -> Figure:
    """What a `Determinism` found: agreement of S systems as a heat map (S, S), the survival of pairs of runs with its
    95 % band, the drift of log probabilities by step, and the margins at forks, nats. What is not known is left
    empty, and says so."""
    figure = _figure(11, 8)
    (first, second), (third, fourth) = figure.subplots(2, 2)
    _heat(first, matrix, systems)
    _curves(second, curves)
    _drift(third, drift)
    known = np.asarray(margins, np.float64)
    known = known[np.isfinite(known)]  # where a grammar allows one token, the margin is infinite
    if len(known):
        fourth.hist(known, bins=min(30, max(5, len(known))), color=PALETTE[0])
    fourth.set(
        xlabel="margin of the best token at a fork (nats)",
        ylabel="forks",
        xlim=(0, None),
        ylim=(0, None if len(known) else 1),
    )
    fourth.locator_params(axis="y", integer=True)
    for axis, there, what in (
        (second, any(map(len, curves.values())), "no pair of runs whose token ids are known"),
        (third, bool(drift["pairs"].any()), "no shared token whose log probabilities are known"),
        (fourth, len(known), "no fork whose margin is known"),
    ):
        _tidy(axis)
        if not there:
            axis.text(0.5, 0.5, what, transform=axis.transAxes, ha="center", color="gray")
    return figure


def _heat(axis: Any, matrix: Any, systems: Sequence[str]) -> None:
    axis.imshow(matrix, vmin=0, vmax=1, cmap="cividis")
    places = range(len(systems))
    names = [name if len(name) <= 26 else name[:25] + "…" for name in systems]
    few = len(systems) <= 4
    axis.set_xticks(places, names, rotation=30 if few else 90, ha="right" if few else "center", size=8)
    axis.set_yticks(places, names, size=8)
    for (y, x), value in np.ndenumerate(matrix):
        text = "–" if np.isnan(value) else f"{value:.2f}"
        ink = "white" if value < 0.55 else "black"
        axis.text(x, y, text, ha="center", va="center", size=8, color=ink)
    axis.set_title("agreement of two runs (– : single runs)", size=10)


def _curves(axis: Any, curves: Mapping[str, pd.DataFrame]) -> None:
    for color, (name, curve) in zip(PALETTE, curves.items(), strict=False):
        if not len(curve):
            continue
        axis.step(curve.index, curve["survival"], where="post", color=color, lw=1.6, label=name)
        axis.fill_between(
            curve.index, curve["low"], curve["high"], step="post", color=color, alpha=0.15, lw=0
        )
    axis.set(xlabel="token", ylabel="pairs of runs that have not forked", ylim=(0, 1.05), xlim=(0, None))
    axis.locator_params(axis="x", integer=True)
    if axis.lines:
        axis.legend(frameon=False, fontsize=8)


def _drift(axis: Any, drift: pd.DataFrame) -> None:
    if drift["pairs"].any():
        dot = "." if len(drift) < 20 else None  # a line of one step is none
        axis.plot(drift.index, drift["largest"], color=PALETTE[5], lw=1.2, marker=dot, label="largest")
        axis.plot(drift.index, drift["high"], color=PALETTE[1], lw=1.2, marker=dot, label="95 %")
        axis.plot(drift.index, drift["median"], color=PALETTE[0], lw=1.6, marker=dot, label="median")
        # Above the lines, which may be anywhere.
        axis.legend(frameon=False, fontsize=8, ncols=3, loc="lower left", bbox_to_anchor=(0, 1))
    axis.set(
        xlabel="token",
        ylabel="difference of log probabilities (nats)",
        ylim=(0, None),
        xlim=(-0.5, max(len(drift), 1) - 0.5),
    )
    axis.locator_params(axis="x", integer=True, min_n_ticks=1)


def ladder(table: pd.DataFrame) -> Figure:
    """A ladder's conditions from top to bottom. Left: the share of runs that are not what is answered alone, with its
    95 % interval. Right: the largest difference of a log probability, nats, on a logarithmic scale."""
    figure = _figure(10, 1.2 + 0.36 * len(table))
    left, right = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(table))
    left.barh(places, table["differ"] / table["runs"], color=PALETTE[0], height=0.6)
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
        _tidy(axis, "x")
    return figure
