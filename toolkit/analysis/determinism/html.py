"""The determinism report as HTML for notebooks: sentences, the matrix, the systems, the first forks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from toolkit._internal.text import shortened
from toolkit.display.html import html_table, scrolling, three_digits
from toolkit.display.markup import Markup, joined, markup

if TYPE_CHECKING:
    import pandas as pd

FORKS_SHOWN = 10
"""Rows in the table of forks."""
_MAX_CHARACTERS = 200
"""Of a prompt, a token or the name of a system."""


def report_html(
    sentences: Sequence[str],
    systems: Sequence[Any],
    agreements: pd.DataFrame,
    within: pd.DataFrame,
    forks: pd.DataFrame,
    prompts: Sequence[str],
) -> Markup:
    """agreements, within, forks: tables of `Determinism`; prompts: those of the first forks."""
    items = joined(markup("<li>{}</li>", sentence) for sentence in sentences)
    heat = _heat_map(systems, agreements) if len(systems) > 1 else Markup()
    tables = joined([scrolling(heat), scrolling(html_table(three_digits(within))), _forks(forks, prompts)])
    return markup('<div style="overflow-wrap:anywhere"><ul>{}</ul>{}</div>', items, tables)


def _forks(forks: pd.DataFrame, prompts: Sequence[str]) -> Markup:
    if not len(forks):
        return Markup()
    choice_column = [] if forks["choice"].any() else ["choice"]
    table = forks.head(FORKS_SHOWN).drop(columns=["request", *choice_column])
    table.insert(0, "prompt", list(prompts))
    table = table.map(lambda value: shortened(value, _MAX_CHARACTERS) if isinstance(value, str) else value)
    rest = len(forks) - len(table)
    # Prompts may wrap anywhere, so that on a narrow page they would be one letter wide.
    wide = markup('<div style="min-width:72em">{}</div>', html_table(three_digits(table)))
    note = markup("<p>… and {} more forks</p>", f"{rest:,}") if rest else ""
    caption = "forks (step: tokens from 0; margin and drift: nats)"
    return markup("<p>{}</p>{}{}", caption, scrolling(wide), note)


def _heat_map(systems: Sequence[Any], agreements: pd.DataFrame) -> Markup:
    """The agreement matrix of several systems: the higher the agreement, the darker."""
    rows: Any = agreements.itertuples(index=False)
    indices = range(len(systems))
    cells = dict(zip(((a, b) for a in indices for b in indices if a <= b), rows, strict=True))
    names = [shortened(str(name), _MAX_CHARACTERS) for name in systems]
    lines = [joined(_heat_cell(cells[min(a, b), max(a, b)], a == b) for b in indices) for a in indices]
    body = joined(
        markup("<tr><th>{}</th>{}</tr>", name, line) for name, line in zip(names, lines, strict=True)
    )
    header = joined(markup("<th>{}</th>", name) for name in names)
    caption = (
        "how often two runs of a request agree, and how many requests fork; on the diagonal in one system"
    )
    return markup("<table><caption>{}</caption><tr><th></th>{}</tr>{}</table>", caption, header, body)


def _heat_cell(cell: Any, is_diagonal: bool) -> Markup:
    """A cell of the matrix: the agreement and the number of forked requests."""
    no_requests = "single runs" if is_diagonal else "none in common"
    rounded = f"{100 * cell.agreement:.1f} %"
    # A share below 1 is not rounded up to 100 %.
    share = "> 99.9 %" if cell.agreement < 1 and rounded == "100.0 %" else rounded
    count = f"{cell.forked} of {cell.requests} fork" if cell.requests else no_requests
    depth = 0.5 * (cell.agreement if cell.requests else 0)
    base_style = "text-align:right;white-space:nowrap;padding:3px 8px;border:1px solid rgba(128,128,128,.4)"
    style = f"{base_style};background:rgba(0,114,178,{depth:.2f})"
    return markup('<td style="{}"><b>{}</b><br>{}</td>', style, share if cell.requests else "–", count)
