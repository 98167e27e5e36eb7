"""The determinism report as HTML for notebooks: sentences, a table by setting, the matrix, the first forks."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from toolkit._internal.missing import is_missing
from toolkit._internal.text import MISSING, percent, shortened
from toolkit._internal.value_text import short_value
from toolkit.analysis.determinism.settings import MOST_SETTINGS, Summary
from toolkit.display.html import html_table, scrolling, three_digits
from toolkit.display.markup import Markup, joined, markup

if TYPE_CHECKING:
    import pandas as pd

FORKS_SHOWN = 10
"""Rows in the table of forks."""
_MAX_CHARACTERS = 200
"""Of a prompt, a token or the name of a system."""
COLUMNS: Mapping[str, str] = {
    "requests": "asked for",
    "runs": "answers to all of them",
    "same": "of the requests with several runs (one run tells nothing) those that gave the same tokens in all "
    "(TARr@N), with the 95 % interval of their share",
    "agreement": "how often two runs of a request are the same: mean over requests, with its 95 % interval",
    "unique": "the most different outputs of one request",
    "differ": "runs that are not the commonest output of their request",
    "bound_requests": "at 95 % confidence no more than this share of such requests has runs that differ",
    "bound": "at 95 % confidence no more than this share of such runs differs; of one repeated request, of its runs",
    "fork": "the first token at which two runs differ, from 0",
    "drift": "the largest difference of a log probability before a fork, nats",
    "bitwise": "share of the shared tokens whose stored log probabilities have the same bits",
    "near_ties": "share of the tokens whose best two lie closer together than the drift",
    "accuracy": "mean score",
    "spread": "accuracy if any run of a request counts, minus that if all must be right",
    "same_answer": "requests whose parsed answers are all the same, whatever the words (TARa@N)",
}
"""What each column of the table says."""


def report_html(
    sentences: Sequence[str],
    systems: Sequence[str],
    agreements: pd.DataFrame,
    summaries: Sequence[Summary],
    forks: pd.DataFrame,
    fork_count: int,
) -> Markup:
    """systems: their labels; agreements: a table of `Determinism`; forks: the first ones (see
    `Determinism.first_forks`); fork_count: how many there are."""
    items = joined(markup("<li>{}</li>", sentence) for sentence in sentences)
    heat = _heat_map(systems, agreements) if len(systems) > 1 else Markup()
    table = summary_table(summaries)
    tables = joined(
        [
            scrolling(_wide(html_table(table), "84em")),
            legend(table, COLUMNS),
            scrolling(heat),
            _forks(forks, fork_count),
        ]
    )
    return markup('<div style="overflow-wrap:anywhere"><ul>{}</ul>{}</div>', items, tables)


def legend(table: pd.DataFrame, columns: Mapping[str, str]) -> Markup:
    """What the columns of a table say, below it."""
    parts = [markup("<b>{}</b> {}", name, columns[name]) for name in table.columns if name in columns]
    return markup('<p style="opacity:.75;max-width:72em;font-size:90%">{}</p>', joined(parts, "; "))


def summary_table(summaries: Sequence[Summary]) -> pd.DataFrame:
    """A row for each setting and system, then for all settings of a system, with numbers as texts; without the
    columns of which nothing is known."""
    import pandas as pd

    settings, pooled = [s for s in summaries if s.sampling], [s for s in summaries if not s.sampling]
    displayed = [*settings[:MOST_SETTINGS], *pooled]
    rows = [_summary_cells(summary) for summary in displayed]
    table = pd.DataFrame(rows, columns=[name for name in COLUMNS if name in rows[0]], dtype=object)
    known = [name for name in table.columns if table[name].notna().any()]
    labels = [shortened(s.label, _MAX_CHARACTERS) for s in displayed]
    return table[known].set_axis(pd.Index(labels, name="setting")).reset_index()


def _summary_cells(summary: Summary) -> dict[str, Any]:
    """The numbers of a summary as they are shown; None for what is not known, and for bounds on runs that differ by
    design."""
    row = summary.row
    repeated = int(row["repeated"])
    cells: dict[str, Any] = {"requests": int(row["requests"]), "runs": int(row["runs"])}
    cells |= dict.fromkeys(("same", "agreement", "unique", "differ", "bound_requests", "bound"))
    if repeated:
        same = round(repeated * row["same"])
        cells["same"] = f"{same} of {repeated}{interval_text(row['same_low'], row['same_high'])}"
        interval = interval_text(row["agreement_low"], row["agreement_high"])
        cells["agreement"] = f"{share_text(row['agreement'])}{interval}"
        cells |= {name: int(row[name]) for name in ("unique", "differ")}
        if not summary.differ_by_design:
            cells |= {name: percent(row[name]) for name in ("bound_requests", "bound")}
    cells["fork"] = None if is_missing(row["fork"]) else int(row["fork"])
    cells["drift"] = rounded(row["drift"])
    shares = ("bitwise", "near_ties", "accuracy", "spread", "same_answer")
    known = [name for name in shares if name in row]
    return cells | {name: None if is_missing(row[name]) else share_text(row[name]) for name in known}


def rounded(value: float) -> float | None:
    """With three significant digits; None for NaN."""
    return None if math.isnan(value) else float(f"{value:.3g}")


def share_text(share: float) -> str:
    """A share in percent; one below 1 is not rounded up to 100 %."""
    if math.isnan(share):
        return MISSING
    text = f"{100 * share:.1f} %"
    return "> 99.9 %" if share < 1 and text == "100.0 %" else text


def interval_text(low: float, high: float) -> str:
    """The ends of an interval in percent, rounded outwards; empty if they are not known."""
    if math.isnan(low) or math.isnan(high):
        return ""
    # Ends are rounded outwards; 1e-9 keeps 0.29 · 100 = 28.999… from becoming 28.
    return f" ({math.floor(100 * low + 1e-9)} to {math.ceil(100 * high - 1e-9)} %)"


def _wide(table: Markup, width: str) -> Markup:
    """A table at least so wide: its texts may wrap anywhere, so that on a narrow page they would be one letter
    wide."""
    return markup('<div style="min-width:{}">{}</div>', width, table)


def _forks(forks: pd.DataFrame, fork_count: int) -> Markup:
    if not fork_count:
        return Markup()
    table = forks.map(lambda value: shortened(value, _MAX_CHARACTERS) if isinstance(value, str) else value)
    rest = fork_count - len(table)
    note = markup("<p>… and {} more forks</p>", f"{rest:,}") if rest else ""
    caption = "forks (step: tokens from 0; margin and drift: nats)"
    return markup("<p>{}</p>{}{}", caption, scrolling(_wide(html_table(three_digits(table)), "72em")), note)


def text_table(frame: pd.DataFrame) -> str:
    """A table as text: three significant digits, and a dash for what is missing."""
    return frame.map(_text).to_string(index=False)


def _text(value: Any) -> str:
    if is_missing(value):
        return MISSING
    return f"{value:.3g}" if isinstance(value, float) else short_value(value)


def _heat_map(systems: Sequence[str], agreements: pd.DataFrame) -> Markup:
    """The agreement matrix of several systems: the higher the agreement, the darker."""
    rows: Any = agreements.itertuples(index=False)
    indices = range(len(systems))
    cells = dict(zip(((a, b) for a in indices for b in indices if a <= b), rows, strict=True))
    names = [shortened(name, _MAX_CHARACTERS) for name in systems]
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
    count = f"{cell.forked} of {cell.requests} fork" if cell.requests else no_requests
    depth = 0.5 * (cell.agreement if cell.requests else 0)
    base_style = "text-align:right;white-space:nowrap;padding:3px 8px;border:1px solid rgba(128,128,128,.4)"
    style = f"{base_style};background:rgba(0,114,178,{depth:.2f})"
    share = share_text(cell.agreement) if cell.requests else MISSING
    return markup('<td style="{}"><b>{}</b><br>{}</td>', style, share, count)
