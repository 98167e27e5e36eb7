"""HTML tables, and a sweep as one self-contained HTML page."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import chain
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._internal.missing import is_missing
from toolkit._internal.value_text import column_texts
from toolkit.display.markup import Markup, joined, markup

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.display.plots.figure import NotebookFigure


_MAX_ROWS = 1000
"""Most rows of a table on a page; more make it slow to open."""
_MAX_UNBROKEN = 24
"""Most characters of a value that stays on one line."""
_MAX_NARROW = 80
"""Most characters of a value that does not need a wide column."""
_CELL = "padding:2px 6px;vertical-align:top;overflow-wrap:anywhere;max-width:38em"
_CELL_TEMPLATE = '<td style="{}">{}</td>'
_ROW_START = '<tr style="background:transparent">'
"""Else JupyterLab's own colours of rows hide the shadows of `_SCROLLING`."""
_TABLE = '<div style="{}"><table><thead>' + _ROW_START + "{}</tr></thead><tbody>{}</tbody></table></div>{}"
_PAPER = "var(--jp-layout-color0,var(--vscode-editor-background,Canvas))"
"""The colour behind a cell's output in JupyterLab, in VS Code, and in a page of its own."""
_SCROLLING = (
    "overflow-x:auto;max-width:100%;background:"
    f"linear-gradient(to right,{_PAPER} 40%,transparent) 0 0/48px 100% no-repeat local,"
    f"linear-gradient(to left,{_PAPER} 40%,transparent) 100% 0/48px 100% no-repeat local,"
    "linear-gradient(to right,#888c,transparent) 0 0/18px 100% no-repeat scroll,"
    "linear-gradient(to left,#888c,transparent) 100% 0/18px 100% no-repeat scroll"
)
"""CSS: shadows at the edges of what can be scrolled, which scroll away under covers of the page's colour at the ends
of the content (Lea Verou, https://lea.verou.me/blog/2012/04/background-attachment-local/)."""
_STYLE = Markup("""
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .6rem; border-bottom: 1px solid #8886; }
td { white-space: pre-wrap; overflow-wrap: anywhere; max-width: 40rem; font-variant-numeric: tabular-nums; }
figure { margin: 0 0 1.5rem; } img { max-width: 100%; }
small { color: GrayText; }
""")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{}</title><style>{}</style></head>
<body><h1>{}</h1><p>{}</p>
<figure><picture><source media="(prefers-color-scheme: dark)" srcset="{}">
<img alt="{}" width="{}" src="{}"></picture></figure>
<h2>By setting</h2>{}
<h2>Completions</h2>{}
<h2>Fingerprints</h2>{}
<small>Made by toolkit. An equal fingerprint does not prove equal output.</small>
</body></html>
"""
"""Title, style, title, counts; of the picture its dark form, words, width and light form; the tables of settings,
completions and fingerprints."""


def html_table(frame: pd.DataFrame, rows: int = _MAX_ROWS) -> Markup:
    """A frame as an HTML table of at most `rows` rows, which scrolls sideways where the page is too narrow for it;
    the number of other rows is given below it."""
    # Styles are inline in each cell: untrusted notebooks drop all others.
    visible = frame.head(rows)
    columns = [list(column) for _, column in visible.items()]
    alignments = [_alignment(*column) for column in columns]
    head = joined(
        markup('<th style="{};{};white-space:nowrap">{}</th>', _CELL, alignment, name)
        for alignment, name in zip(alignments, frame.columns, strict=True)
    )
    styled = [
        [(f"{_CELL};{alignment};{_wrapping(text)}", text) for text in column_texts(column)]
        for alignment, column in zip(alignments, columns, strict=True)
    ]
    line = _ROW_START + _CELL_TEMPLATE * len(columns) + "</tr>"
    body = joined(markup(line, *chain.from_iterable(cells)) for cells in zip(*styled, strict=True))
    rest = markup("<p>… and {} more rows</p>", f"{len(frame) - rows:,}") if len(frame) > rows else ""
    return markup(_TABLE, _SCROLLING, head, body, rest)


def scrolling(page: Markup) -> Markup:
    """HTML that scrolls sideways where the page is too narrow for it, with shadows where there is more."""
    return markup('<div style="{}">{}</div>', _SCROLLING, page)


def _wrapping(text: str) -> str:
    """The CSS of a cell's lines. Short texts stay on one line, or narrow columns would break words; long ones break
    anywhere, in columns that a narrow page scrolls to instead of crushing them."""
    is_short = len(text) <= _MAX_UNBROKEN and "\n" not in text
    least = 15 if len(text) <= _MAX_NARROW else 24
    return "white-space:nowrap" if is_short else f"white-space:pre-wrap;min-width:{least}em"


def _alignment(*values: Any) -> str:
    """The CSS that aligns numbers and their heading to the right, all else to the left."""
    present = [value for value in values if not is_missing(value)]
    numeric = present and all(isinstance(v, Number) and not isinstance(v, (bool, np.bool_)) for v in present)
    return f"text-align:{'right' if numeric else 'left'}"


def html_page(
    title: str,
    counts: str,
    summary: Markup,
    completions: pd.DataFrame,
    figure: NotebookFigure,
    fingerprints: Mapping[str, Mapping[str, Any]],
) -> Markup:
    """The page: title and counts, a picture, the summary by setting, the completions, the fingerprints."""
    picture = figure.dark().png_url(), figure.description, figure.shown_width, figure.png_url()
    records = joined(
        markup("<details><summary><code>{}</code></summary>{}</details>", name, _components_table(components))
        for name, components in fingerprints.items()
    )
    return markup(_PAGE, title, _STYLE, title, counts, *picture, summary, html_table(completions), records)


def _components_table(components: Mapping[str, Any]) -> Markup:
    return markup(
        "<table>{}</table>",
        joined(markup("<tr><td>{}</td><td>{}</td></tr>", *row) for row in components.items()),
    )


def three_digits(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its floats rounded to three significant digits."""
    return frame.map(lambda value: float(f"{value:.3g}") if isinstance(value, float) else value)
