"""A comparison as HTML without a script, and as text."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from toolkit._internal.text import MISSING, dollars, plural
from toolkit._internal.value_text import seconds_text, short_value
from toolkit.analysis.text_diff import Piece
from toolkit.core.completion import Usage
from toolkit.display.html import html_table, scrolling
from toolkit.display.markup import Markup, joined, markup
from toolkit.display.tables import text_table, with_index_columns
from toolkit.results.comparison_outputs import ComparedOutputs
from toolkit.results.comparison_search import RowMatches
from toolkit.store.rows import Grade

_ROWS, _COLUMNS, _TEXT_ROWS = 60, 8, 20
_ONE_LINE = 24
"""The most characters of a value that stays on one line."""
Escape = Callable[[str], Markup]


def comparison_text(comparison: ComparedOutputs) -> str:
    """The comparison for a terminal."""
    matches = comparison.find()
    head = f"Comparison({_size(comparison, matches)})"
    if comparison.values != "text":
        table = comparison.frame().named().iloc[:, :_COLUMNS]
        return f"{head}\n{text_table(table, _TEXT_ROWS, 60)}"
    return f"{head}\n{_text_table(comparison, matches)}"


def _text_table(comparison: ComparedOutputs, matches: RowMatches) -> str:
    import pandas as pd

    axes = comparison.varying("rows")
    columns = range(min(comparison.shape[1], _COLUMNS))
    lines = []
    for row in matches.rows[:_TEXT_ROWS].tolist():
        values = comparison.row_values(row)
        cells = [comparison.cell(row, column, matches) for column in columns]
        texts = [_plain_text(comparison, cell[0]) if cell else MISSING for cell in cells]
        lines.append([*(value_label(comparison, name, values[name]) for name in axes), *texts])
    names = [*axes, *(column_label(comparison, column) for column in columns)]
    table = pd.DataFrame(lines, columns=names).to_string(index=False, max_colwidth=60)
    return "\n".join([table, *_omitted(comparison, matches, _TEXT_ROWS)])


def _plain_text(comparison: ComparedOutputs, i: int) -> str:
    facts = comparison.facts
    if facts.failed[i]:
        return f"error: {facts.value('error', i)}"
    sign = f"{_SIGNS[facts.correct[i]]} " if facts.target else ""
    return sign + facts.texts[i] + (" ✂" if facts.value("finish_reason", i) == "length" else "")


def comparison_html(comparison: ComparedOutputs, escape: Escape) -> Markup:
    """See `Comparison.html`."""
    matches = comparison.find()
    size = escape(_size(comparison, matches))
    if comparison.values != "text":
        return markup(
            "<p>{}</p>{}", size, html_table(with_index_columns(comparison.frame().named()), rows=200)
        )
    columns = range(min(comparison.shape[1], _COLUMNS))
    axes = comparison.varying("rows")
    axis_heads = [markup('<th style="{};{}">{}</th>', _CELL, _wrap(name), escape(name)) for name in axes]
    column_heads = [_column_head(comparison, column, matches, escape) for column in columns]
    lines = _rows_html(comparison, matches, axes, columns, escape)
    omitted = _omitted(comparison, matches, _ROWS)
    rest = joined(markup("<p>{}</p>", line) for line in omitted)
    table = markup(_TABLE, joined([*axis_heads, *column_heads]), joined(lines))
    return markup(_PAGE, size, _legend(comparison), scrolling(table), rest)


def _column_head(comparison: ComparedOutputs, column: int, matches: RowMatches, escape: Escape) -> Markup:
    label = column_label(comparison, column)
    counts = ", ".join(tally_texts(comparison.tally(comparison.visible_choices(column, matches))).values())
    note = markup("<br><small>{}</small>", escape(counts)) if counts else ""
    return markup('<th style="{};{}">{}{}</th>', _CELL, _wrap(label), escape(label), note)


def _rows_html(
    comparison: ComparedOutputs,
    matches: RowMatches,
    axes: Sequence[str],
    columns: Sequence[int],
    escape: Escape,
) -> list[Markup]:
    """The rows. The variables of a row of data that the row above has too are not repeated."""
    grades, lines = comparison.facts.grades(), []
    item: dict[str, Any] = {}
    for row in matches.rows[:_ROWS].tolist():
        values = comparison.row_values(row)
        above, item = item, {name: values[name] for name in axes if is_item(name)}
        labels = [
            "" if item == above and is_item(n) else value_label(comparison, n, values[n], 300) for n in axes
        ]
        cells = [_cell_html(comparison, row, column, matches, grades, escape) for column in columns]
        axis_cells = [markup('<td style="{};{}">{}</td>', _CELL, _wrap(v), escape(v)) for v in labels]
        text_cells = [markup('<td style="{}">{}</td>', _CELL, cell) for cell in cells]
        lines.append(markup("<tr>{}</tr>", joined([*axis_cells, *text_cells])))
    return lines


def _cell_html(
    comparison: ComparedOutputs,
    row: int,
    column: int,
    matches: RowMatches,
    grades: Sequence[Grade | None],
    escape: Escape,
) -> Markup:
    outputs, facts = comparison.cell(row, column, matches), comparison.facts
    if not outputs:
        return escape(MISSING)
    i = outputs[0]
    metadata, base = comparison.metadata(i), int(comparison.base(0)[comparison.row[i]])
    compared = None if base in (-1, i) else base
    if metadata["error"] is not None:
        body = markup("<b>error</b> {}", escape(metadata["error"]))
    else:
        pieces = without_replaced(comparison.in_brief(i, compared))
        text = joined(markup(_MARKS.get(op, "{}"), escape(text)) for op, text, _ in pieces)
        body = joined([_answer_mark(comparison, i, escape), text])
    notes = [f"without {name}" for name in comparison.missing_axes(i, row)]
    if compared is not None and facts.output[i] == facts.output[compared]:
        notes.append("= as the first column")
    notes += [problems(metadata) if facts.target else summary(metadata), opinion(grades[i])]
    notes += [f"+{len(outputs) - 1:,}"] if len(outputs) > 1 else []
    note = escape(" · ".join(filter(None, notes)))
    return markup('<div style="{}">{}</div><small>{}</small>', _BODY, body, note)


def _answer_mark(comparison: ComparedOutputs, i: int, escape: Escape) -> Markup:
    """The sign of a right, wrong or unclear answer; nothing where the data has no right answers."""
    facts = comparison.facts
    if facts.target is None:
        return Markup()
    right = facts.correct[i]
    return markup(
        '<b style="color:{}" title="{}">{}</b> ',
        _COLORS[right],
        escape(answer_title(comparison, i)),
        _SIGNS[right],
    )


def answer_title(comparison: ComparedOutputs, i: int) -> str:
    """What the sign of an answer says, in words."""
    facts = comparison.facts
    assert facts.target is not None
    target = short_value(facts.value(facts.target, i))
    return {True: "right", False: f"wrong: {target} is right", None: f"unclear: {target} is right"}[
        facts.correct[i]
    ]


def _legend(comparison: ComparedOutputs) -> Markup:
    diff = "<ins>Only here</ins>, <del>only in the first column</del>."
    if comparison.facts.target is None:
        return Markup(diff)
    return markup(f"{diff} ✓ right, ✗ wrong, ? unclear: by {{}}.", comparison.facts.target)


def _size(comparison: ComparedOutputs, matches: RowMatches) -> str:
    rows, columns = len(matches.rows), comparison.shape[1]
    failed = int(comparison.facts.failed.sum())
    differing = np.unique(comparison.row[comparison.differs()]).size
    across = ", ".join(comparison.columns) or "all"
    size = f"{plural(rows, 'row')} × {plural(columns, 'column')} ({across})"
    parts = [size, plural(len(comparison.facts), "output")]
    parts += [f"{plural(differing, 'row')} with an output that differs from the first column's"]
    parts += [f"{failed:,} failed"] if failed else []
    return ", ".join(parts)


def _omitted(comparison: ComparedOutputs, matches: RowMatches, most: int) -> list[str]:
    """What a static table leaves out, in words."""
    omitted = [(len(matches.rows) - most, "rows"), (comparison.shape[1] - _COLUMNS, "columns")]
    return [f"… and {n:,} more {what}" for n, what in omitted if n > 0]


def is_item(name: str) -> bool:
    """Whether an axis is a row of data, or one of its variables."""
    return name == "row" or name.startswith("row.")


def column_label(comparison: ComparedOutputs, column: int) -> str:
    """The axes that differ between the columns, with their values in one."""
    values = comparison.column_values(column)
    names = comparison.varying("columns")
    return ", ".join(f"{name} {value_label(comparison, name, values[name])}" for name in names) or "all"


def value_label(comparison: ComparedOutputs, name: str, value: Any, limit: int = 80) -> str:
    """A value of an axis as displays show it: a system by its name."""
    return short_value(comparison.facts.display_value(name, value), limit)


def tally_texts(tally: Mapping[str, int]) -> dict[str, str]:
    """The counts of `Comparison.tally` in words, by their kind. Right and wrong are always among them, even 0; valid
    answers only where some are not, or nothing else is known."""
    texts = {kind: f"{tally[kind]:,} {kind}" for kind in ("right", "wrong") if kind in tally}
    texts |= {"unclear": f"{tally['unclear']:,} unclear"} if tally.get("unclear") else {}
    if "valid" in tally and (tally["invalid"] or not texts):
        checked = tally["valid"] + tally["invalid"]
        texts["invalid" if tally["invalid"] else "valid"] = f"{tally['valid']:,} of {checked:,} valid"
    return texts


def without_replaced(pieces: Sequence[Piece]) -> list[Piece]:
    """The pieces of a cell. Where it has no word in common with the other text, that one is left out."""
    if any(op == "equal" and text.strip() for op, text, _ in pieces):
        return list(pieces)
    has_text = any(op == "insert" for op, _, _ in pieces)
    return [piece for piece in pieces if not (has_text and piece[0] == "delete")]


def _wrap(text: str) -> str:
    """CSS: short values stay on one line, since narrow columns would break words."""
    return "white-space:nowrap" if len(text) <= _ONE_LINE else "white-space:pre-wrap;overflow-wrap:anywhere"


_CELL = "text-align:left;vertical-align:top;max-width:26em;border-bottom:1px solid #8886"
_BODY = "white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate"
_SIGNS = {True: "✓", False: "✗", None: "?"}
_COLORS = {True: "#009e73", False: "#d55e00", None: "#8a8a8a"}
_MARKS = {
    "insert": '<ins style="background:rgba(0,114,178,0.18)">{}</ins>',
    "delete": '<del style="background:rgba(230,159,0,0.22)">{}</del>',
    "gap": "<small>{}</small>",
}
_TABLE = "<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>"
_PAGE = "<div><p>{}. {}</p>{}{}</div>"


def summary(metadata: Mapping[str, Any]) -> str:
    """The metadata of an output (`Comparison.metadata`) in a line."""
    parts = [
        metadata["verdict"],
        {"length": "✂ length"}.get(metadata["finish_reason"], metadata["finish_reason"]),
    ]
    parts += [str(Usage(metadata["prompt_tokens"], metadata["completion_tokens"]))]
    parts += [] if metadata["seconds"] is None else [seconds_text(metadata["seconds"])]
    parts += [] if metadata["cost"] is None else [dollars(metadata["cost"])]
    return " · ".join(filter(None, parts))


def problems(metadata: Mapping[str, Any]) -> str:
    """What is not as it should be with an output, in a line."""
    reason, verdict = metadata["finish_reason"], metadata["verdict"]
    parts = ["" if verdict in (None, "valid") else verdict, "✂ length" if reason == "length" else ""]
    return " · ".join(filter(None, [*parts, reason if reason not in ("stop", "length", "error") else ""]))


def opinion(grade: Grade | None) -> str:
    """A grade in a line."""
    if grade is None:
        return ""
    thumb = {1: "thumb up", -1: "thumb down", None: ""}[grade.thumb]
    score = "" if grade.score is None else f"score {short_value(grade.score)}"
    return " · ".join(filter(None, [thumb, score, short_value(grade.note, 300)]))
