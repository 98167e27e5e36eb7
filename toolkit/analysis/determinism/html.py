"""The determinism report as HTML for notebooks: sentences, the matrix, the systems, the first forks."""

from __future__ import annotations

import html
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from toolkit._internal.text import shortened
from toolkit.display.html import html_table, scrolling, three_digits

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
) -> str:
    """agreements, within, forks: tables of `Determinism`; prompts: those of the first forks."""
    items = "".join(f"<li>{html.escape(sentence)}</li>" for sentence in sentences)
    heat = _heat_map(systems, agreements) if len(systems) > 1 else ""
    parts = [f"<ul>{items}</ul>", scrolling(heat), scrolling(html_table(three_digits(within)))]
    return '<div style="overflow-wrap:anywhere">' + "".join([*parts, *_forks(forks, prompts)]) + "</div>"


def _forks(forks: pd.DataFrame, prompts: Sequence[str]) -> list[str]:
    if not len(forks):
        return []
    choice_column = [] if forks["choice"].any() else ["choice"]
    table = forks.head(FORKS_SHOWN).drop(columns=["request", *choice_column])
    table.insert(0, "prompt", list(prompts))
    table = table.map(lambda value: shortened(value, _MAX_CHARACTERS) if isinstance(value, str) else value)
    rest = len(forks) - len(table)
    return [
        "<p>forks (step: tokens from 0; margin and drift: nats)</p>",
        # Prompts may wrap anywhere, so that on a narrow page they would be one letter wide.
        scrolling(f'<div style="min-width:72em">{html_table(three_digits(table))}</div>'),
        f"<p>… and {rest:,} more forks</p>" if rest else "",
    ]


def _heat_map(systems: Sequence[Any], agreements: pd.DataFrame) -> str:
    """The agreement matrix of several systems: the higher the agreement, the darker."""
    rows: Any = agreements.itertuples(index=False)
    indices = range(len(systems))
    cells = dict(zip(((a, b) for a in indices for b in indices if a <= b), rows, strict=True))
    names = [html.escape(shortened(str(name), _MAX_CHARACTERS)) for name in systems]
    body = (
        f"<tr><th>{names[a]}</th>{''.join(_heat_cell(cells[min(a, b), max(a, b)], a == b) for b in indices)}</tr>"
        for a in indices
    )
    header = "".join(f"<th>{name}</th>" for name in names)
    caption = (
        "how often two runs of a request agree, and how many requests fork; on the diagonal in one system"
    )
    return f"<table><caption>{caption}</caption><tr><th></th>{header}</tr>{''.join(body)}</table>"


def _heat_cell(cell: Any, is_diagonal: bool) -> str:
    """A cell of the matrix: the agreement and the number of forked requests."""
    no_requests = "single runs" if is_diagonal else "none in common"
    rounded = f"{100 * cell.agreement:.1f} %"
    # A share below 1 is not rounded up to 100 %.
    share = "> 99.9 %" if cell.agreement < 1 and rounded == "100.0 %" else rounded
    count = f"{cell.forked} of {cell.requests} fork" if cell.requests else no_requests
    depth = 0.5 * (cell.agreement if cell.requests else 0)
    base_style = "text-align:right;white-space:nowrap;padding:3px 8px;border:1px solid rgba(128,128,128,.4)"
    style = f"{base_style};background:rgba(0,114,178,{depth:.2f})"
    return f'<td style="{style}"><b>{share if cell.requests else "–"}</b><br>{count}</td>'
