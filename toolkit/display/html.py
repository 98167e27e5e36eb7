"""HTML tables, and a sweep as one self-contained HTML page."""

from __future__ import annotations

import base64
import io
from collections.abc import Mapping
from itertools import chain
from numbers import Number
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._internal.jsonable import is_missing
from toolkit.display.markup import Markup, joined, markup

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


_MAX_ROWS = 1000
"""Most rows of a table on a page; more make it slow to open."""
_MAX_UNBROKEN = 24
"""Most characters of a value that stays on one line."""
_CELL = "padding:2px 6px;vertical-align:top;overflow-wrap:anywhere;max-width:38em"
_CELL_TEMPLATE = '<td style="{}">{}</td>'
_STYLE = Markup("""
:root { color-scheme: light dark; }
body { font: 15px/1.45 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; margin: .5rem 0 1.5rem; }
th, td { text-align: left; vertical-align: top; padding: .25rem .6rem; border-bottom: 1px solid #8886; }
th { position: sticky; top: 0; background: Canvas; }
td { white-space: pre-wrap; overflow-wrap: anywhere; max-width: 40rem; font-variant-numeric: tabular-nums; }
figure { margin: 0 0 1.5rem; background: #fff; display: inline-block; } img { max-width: 100%; }
small { color: GrayText; }
""")
_PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><title>{}</title><style>{}</style></head>
<body><h1>{}</h1><p>{}</p>
<figure><img alt="{}" src="data:image/png;base64,{}"></figure>
<h2>By setting</h2>{}
<h2>Completions</h2>{}
<h2>Fingerprints</h2>{}
<small>Made by toolkit. An equal fingerprint does not prove equal output.</small>
</body></html>
"""
"""Title, style, title, counts, the picture's words and data, the tables of settings, completions and fingerprints."""


def html_table(frame: pd.DataFrame, rows: int = _MAX_ROWS) -> Markup:
    """A frame as an HTML table of at most `rows` rows; the number of others is given below it."""
    # Styles are inline in each cell: untrusted notebooks drop all others.
    head = joined(
        markup('<th style="{}">{}</th>', f"{_CELL};{_alignment(*frame.iloc[:, i])};white-space:nowrap", name)
        for i, name in enumerate(frame.columns)
    )
    line = "<tr>" + _CELL_TEMPLATE * frame.shape[1] + "</tr>"
    body = joined(
        markup(line, *chain.from_iterable(map(_style_and_text, row)))
        for row in frame.head(rows).itertuples(index=False)
    )
    rest = markup("<p>… and {} more rows</p>", f"{len(frame) - rows:,}") if len(frame) > rows else ""
    return markup("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>{}", head, body, rest)


def scrolling(page: Markup) -> Markup:
    """HTML that scrolls sideways where the page is too narrow for it."""
    return markup('<div style="overflow-x:auto">{}</div>', page)


def _style_and_text(value: Any) -> tuple[str, str]:
    """The style and text of a table cell. Short values stay on one line, or narrow columns would break words; long
    ones break anywhere."""
    text = _value_text(value)
    wrap = "white-space:nowrap" if len(text) <= _MAX_UNBROKEN and "\n" not in text else "white-space:pre-wrap"
    return f"{_CELL};{_alignment(value)};{wrap}", text


def _alignment(*values: Any) -> str:
    """The CSS that aligns numbers and their heading to the right, all else to the left."""
    present = [value for value in values if not is_missing(value)]
    numeric = present and all(isinstance(v, Number) and not isinstance(v, (bool, np.bool_)) for v in present)
    return f"text-align:{'right' if numeric else 'left'}"


def html_page(
    title: str,
    counts: str,
    summary: pd.DataFrame,
    completions: pd.DataFrame,
    figure: Figure,
    fingerprints: Mapping[str, Mapping[str, Any]],
) -> Markup:
    """The page: title and counts, a picture, the summary by setting, the completions, the fingerprints."""
    picture = io.BytesIO()
    figure.savefig(picture, format="png", dpi=150)
    source = base64.b64encode(picture.getvalue()).decode()
    alt = "completion tokens and agreement of the answers, by setting"
    records = joined(
        markup("<details><summary><code>{}</code></summary>{}</details>", name, _components_table(components))
        for name, components in fingerprints.items()
    )
    tables = html_table(summary.reset_index()), html_table(completions)
    return markup(_PAGE, title, _STYLE, title, counts, alt, source, *tables, records)


def _components_table(components: Mapping[str, Any]) -> Markup:
    return markup(
        "<table>{}</table>",
        joined(markup("<tr><td>{}</td><td>{}</td></tr>", *row) for row in components.items()),
    )


def _value_text(value: Any) -> str:
    if is_missing(value):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def three_digits(frame: pd.DataFrame) -> pd.DataFrame:
    """The frame with its floats rounded to three significant digits."""
    return frame.map(lambda value: float(f"{value:.3g}") if isinstance(value, float) else value)
