"""Report: a sweep as one self-contained HTML page. Every text of a model is escaped."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_ROWS = 1000
"""Rows of the table that a page shows; more make it slow to open."""

_SHORT = 24
"""Characters of a value that is not broken over lines."""
_CELL = "padding:2px 6px;vertical-align:top;overflow-wrap:anywhere;max-width:38em"

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .6rem; border-bottom: 1px solid #8886; }
th { position: sticky; top: 0; background: Canvas; }
td { white-space: pre-wrap; overflow-wrap: anywhere; max-width: 40rem; font-variant-numeric: tabular-nums; }
figure { margin: 0 0 1.5rem; background: #fff; display: inline-block; } img { max-width: 100%; }
small { color: GrayText; }
"""


def table(frame: pd.DataFrame, rows: int = _ROWS) -> str:
    """A frame as an escaped HTML table; what is past `rows` is counted below it."""
    # Styles are written into each cell: notebooks that are not trusted drop everything else.
    head = "".join(
        f'<th style="{_CELL};{_side(*frame.iloc[:, i])};white-space:nowrap">{html.escape(str(name))}</th>'
        for i, name in enumerate(frame.columns)
    )
    body = "".join(
        "<tr>" + "".join(map(_cell, row)) + "</tr>" for row in frame.head(rows).itertuples(index=False)
    )
    rest = f"<p>… and {len(frame) - rows:,} more rows</p>" if len(frame) > rows else ""
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{rest}"


def wide(page: str) -> str:
    """HTML that moves within its box where the page is too narrow for it."""
    return f'<div style="overflow-x:auto">{page}</div>'


def _cell(value: Any) -> str:
    """Short values stay on one line, or narrow columns would break words; long ones break anywhere."""
    text = _show(value)
    wrap = "white-space:nowrap" if len(text) <= _SHORT and "\n" not in text else "white-space:pre-wrap"
    return f'<td style="{_CELL};{_side(value)};{wrap}">{html.escape(text)}</td>'


def _side(*values: Any) -> str:
    """Numbers below each other, and their heading, stand at the right."""
    known = [value for value in values if not is_missing(value)]
    numbers = known and all(isinstance(v, Number) and not isinstance(v, (bool, np.bool_)) for v in known)
    return f"text-align:{'right' if numbers else 'left'}"


def page(
    title: str,
    counts: str,
    summary: pd.DataFrame,
    shown: pd.DataFrame,
    figure: Figure,
    fingerprints: Mapping[str, Mapping[str, Any]],
) -> str:
    """The page: title and counts, a picture, the summary by setting, the completions, the fingerprints."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    source = base64.b64encode(picture.getvalue()).decode()
    alt = "completion tokens and agreement of the answers, by setting"
    records = "".join(
        f"<details><summary><code>{html.escape(name)}</code></summary>{_record(parts)}</details>"
        for name, parts in fingerprints.items()
    )
    return f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title><style>{_STYLE}</style></head>
<body><h1>{html.escape(title)}</h1><p>{html.escape(counts)}</p>
<figure><img alt="{alt}" src="data:image/png;base64,{source}"></figure>
<h2>By setting</h2>{table(summary.reset_index())}
<h2>Completions</h2>{table(shown)}
<h2>Fingerprints</h2>{records}
<small>Made by toolkit. An equal fingerprint does not prove equal output.</small>
</body></html>
"""


def _record(parts: Mapping[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{html.escape(name)}</td><td>{html.escape(str(value))}</td></tr>"
        for name, value in parts.items()
    )
    return f"<table>{rows}</table>"


def _show(value: Any) -> str:
    if is_missing(value):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def short(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its fractions in three digits, however small they are."""
    return frame.map(lambda value: float(f"{value:.3g}") if isinstance(value, float) else value)


def cut(text: str, most: int) -> str:
    """A text that says what is left out of it."""
    return text if len(text) <= most else f"{text[:most]}… ({len(text) - most:,} more characters)"


def is_missing(value: Any) -> bool:
    """None, NaN or pandas' NA; a text never is."""
    import pandas as pd

    return value is None or (not isinstance(value, (str, tuple)) and bool(pd.isna(value)))
