"""CompareView: outputs side by side over any axes, their differences, their costs, and grades saved in the store."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from toolkit._internal.value_text import short_value
from toolkit.analysis.text_diff import Piece
from toolkit.core.completion import Completion
from toolkit.display.markup import Markup
from toolkit.prompts.messages import plain_text
from toolkit.results.comparison import Comparison
from toolkit.results.comparison_html import answer_title, column_label, tally_texts
from toolkit.results.comparison_search import RowMatches
from toolkit.results.results import Results
from toolkit.store.rows import Grade
from toolkit.structured.verdict import verdict
from toolkit.widgets.base import View, assets, command, escaped, visible

_PAGE, _ACROSS = 20, 6
"""Rows and columns shown at once."""
_VALUES = 2000
"""Values of a column offered in a filter."""
_FILES = {"csv": Results.to_csv, "jsonl": Results.to_jsonl}


class _Cells:
    """The cells of one page: some rows and columns of a comparison."""

    def __init__(
        self,
        comparison: Comparison,
        matches: RowMatches,
        rows: list[int],
        columns: list[int],
        baseline: int,
        diff: str,
        search: str,
    ) -> None:
        self._comparison, self._matches, self._rows, self._columns = comparison, matches, rows, columns
        self._diff, self._search = diff, search
        self._baselines = comparison.base(baseline)
        self._outputs = {(r, c): comparison.cell(r, c, matches) for r in rows for c in columns}
        if diff == "token":  # load all tokens of the page in one query
            firsts = [outputs[0] for outputs in self._outputs.values() if outputs]
            comparison.facts.tokens({*firsts, *self._baselines[comparison.row[firsts]].tolist()} - {-1})
        self._grades = comparison.facts.grades()
        self.differing = comparison.differs(baseline)

    def lines(self, start: int) -> list[dict[str, Any]]:
        """The rows; start: the position of the first among all rows of the search."""
        return [
            {
                "row": row,
                "group": _group(self._matches, place),
                "axes": _values(self._comparison.row_values(row)),
                "cells": [self._cell(row, column) for column in self._columns],
            }
            for place, row in enumerate(self._rows, start)
        ]

    def _cell(self, row: int, column: int) -> dict[str, Any] | None:
        outputs = self._outputs[row, column]
        if not outputs:
            return None
        i = outputs[0]
        base = int(self._baselines[self._comparison.row[i]])
        diffed = base if self._diff != "none" and base not in (-1, i) else None
        return {
            "i": i,
            "all": outputs,
            "base": base,
            "same": None if base in (-1, i) else not self.differing[i],
            "missing_axes": self._comparison.missing_axes(i, row),
            "pieces": _visible_pieces(self._comparison.in_brief(i, diffed, self._search, self._diff)),
            "metadata": _visible_metadata(self._comparison.metadata(i)),
            "grade": _grade(self._grades[i]),
            **self._answer(i),
        }

    def _answer(self, i: int) -> dict[str, Any]:
        """Whether an output is right, and that in words; nothing where the data has no right answers."""
        if self._comparison.facts.target is None or self._comparison.facts.failed[i]:
            return {}
        title = visible(answer_title(self._comparison, i), 300)
        return {"right": self._comparison.facts.correct[i], "answer": title}


class CompareView(View):
    """A table of outputs whose rows and columns are any axes, with the differences from a baseline column.

    Outputs can be searched, sorted, grouped, read in full, graded (saved in the store at once) and selected;
    `selected()` returns the selection as Results.

    >>> tk.widgets.CompareView(results.compare("temperature"))  # doctest: +SKIP
    """

    live_only = "search, sorting and grades"
    _esm, _css = assets("comparison_grades", "comparison_table", "comparison")

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self._selected: list[int] = []
        facts = comparison.facts
        outcomes = {"correct": facts.target is not None, "verdict": facts.judged}
        super().__init__(
            {
                "rows": comparison.rows,
                "columns": comparison.columns,
                "axes": comparison.axes,
                "measures": comparison.measures,
                "filters": [
                    *comparison.axes,
                    "finish_reason",
                    *(n for n in outcomes if outcomes[n]),
                    "grade",
                ],
                "gradable": comparison.gradable,
                # A table read from CSV has no completions to write as JSONL.
                "files": [*_FILES] if comparison.facts.store else ["csv"],
                "size": _PAGE,
                "across": _ACROSS,
                "page": self.page(comparison.rows, comparison.columns),
            }
        )

    @classmethod
    def opened(cls, target: Comparison) -> Self:
        """Raises ValueError for a comparison of numbers, which is a table."""
        if target.values != "text":
            raise ValueError(f"the widget compares texts, and this is a table of {target.values}")
        return cls(target)

    def selected(self) -> Results:
        """The outputs selected in the widget."""
        return self._results(self._selected)

    def _results(self, places: Sequence[int]) -> Results:
        facts = self.comparison.facts
        return Results(facts.table.iloc[list(places)].reset_index(drop=True), facts.store)

    def _with_axes(self, rows: Sequence[str], columns: Sequence[str]) -> Comparison:
        if (list(rows), list(columns)) != (self.comparison.rows, self.comparison.columns):
            self.comparison = self.comparison.over(rows, columns)
        return self.comparison

    def _find(self, comparison: Comparison, where: Mapping[str, Iterable[int]], **query: Any) -> RowMatches:
        """where: column → indices into the values that `filter_values` returns."""
        values = {name: comparison.facts.codes(name)[1] for name in where}
        selected = {name: [values[name][index] for index in indices] for name, indices in where.items()}
        return comparison.find(where=selected, **query)

    # Commands of the frontend

    @command
    def page(
        self,
        rows: Sequence[str],
        columns: Sequence[str],
        start: int = 0,
        across: int = 0,
        baseline: int = 0,
        diff: str = "word",
        where: Mapping[str, Iterable[int]] | None = None,
        search: str = "",
        **query: Any,
    ) -> dict[str, Any]:
        """The rows from `start` on and the columns from `across` on; `problem` for an invalid search pattern. diff:
        word, token, or none."""
        comparison = self._with_axes(rows, columns)
        try:
            matches = self._find(comparison, where or {}, search=search, baseline=baseline, **query)
        except ValueError as error:
            return {"problem": visible(str(error), 300)}
        all_columns = np.unique(comparison.column[matches.kept])
        page_rows = matches.rows[start : start + _PAGE].tolist()
        page_columns = all_columns[across : across + _ACROSS].tolist()
        cells = _Cells(comparison, matches, page_rows, page_columns, baseline, diff, search)
        return {
            "matching_rows": len(matches),
            "total_rows": comparison.lines,
            "outputs": int(matches.matching.sum()),
            "start": start,
            "total_columns": len(all_columns),
            "baseline": visible(column_label(comparison, baseline)) if comparison.shape[1] else "all",
            "columns": self._columns(comparison, matches, page_columns, cells.differing),
            "rows": cells.lines(start),
            "row_axes": comparison.varying("rows"),
            "target": comparison.facts.target,
        }

    def _columns(
        self, comparison: Comparison, matches: RowMatches, columns: Sequence[int], differing: Any
    ) -> list[dict[str, Any]]:
        """The columns, with the totals and means of their outputs in the rows of the search."""
        facts, axes = comparison.facts, comparison.varying("columns")
        tokens, seconds = (facts.numbers(name) for name in ("completion_tokens", "seconds"))

        def summary(column: int) -> dict[str, Any]:
            outputs = comparison.visible_choices(column, matches)
            timed = outputs & ~np.isnan(seconds)
            values = comparison.column_values(column)
            return {
                "column": column,
                "label": _values({name: values[name] for name in axes}),
                "tally": tally_texts(comparison.tally(outputs)),
                "outputs": int(outputs.sum()),
                "differing": int(differing[outputs].sum()),
                "tokens": tokens[outputs].mean() if outputs.any() else None,
                "seconds": seconds[timed].mean() if timed.any() else None,
                "cost": None if facts.cost is None else np.nansum(facts.cost[outputs]),
            }

        return [summary(column) for column in columns]

    @command
    def filter_values(self, name: str) -> dict[str, Any]:
        """The values by which a column can be filtered, and how many more it has."""
        values = self.comparison.facts.codes(name)[1]
        texts = [visible(_text(value), 80) for value in values[:_VALUES]]
        return {"values": texts, "more": len(values) - len(texts)}

    @command
    def current_state(self, places: Sequence[int]) -> dict[str, Any]:
        """The current grades of some outputs and the current selection: a view that is shown again may be stale."""
        grades = self.comparison.facts.grades()
        return {"grades": [_grade(grades[i]) for i in places], "selected": self._selected}

    @command
    def detail(self, i: int, base: int = -1, diff: str = "word", search: str = "") -> dict[str, Any]:
        """Everything about one output."""
        comparison, row = self.comparison, dict(self.comparison.facts.table.iloc[i])
        diffed = base if diff != "none" and base not in (-1, i) else None
        pieces = comparison.pieces(i, diffed, search, diff)
        detail: dict[str, Any] = {
            "pieces": _visible_pieces(pieces),
            "metadata": _visible_metadata(comparison.metadata(i)),
            "grade": _grade(comparison.facts.grades()[i]),
            "facts": [
                [name, visible(_text(row[name]), 300)]
                for name in (
                    "model",
                    "system_fingerprint",
                    "repeat",
                    "choice",
                    "first_token_seconds",
                    "queued_seconds",
                    "decode_seconds",
                    "request",
                )
            ],
        }
        if comparison.facts.store is None:
            return {**detail, "prompt": [], "settings": [], "problem": None}
        return {**detail, **_request_detail(self._results([i])[0], int(row["choice"]))}

    @command
    def grade(self, i: int, **fields: Any) -> dict[str, Any] | None:
        """Saves a grade, and returns it as stored."""
        return _grade(self.comparison.grade(i, **fields))

    @command
    def select(self, places: Sequence[int]) -> int:
        """Sets the selection; places: rows of the results table."""
        self._selected = sorted(set(places))
        return len(self._selected)

    @command
    def matching_outputs(
        self, rows: Sequence[str], columns: Sequence[str], where: Mapping[str, Iterable[int]], **query: Any
    ) -> list[int]:
        """All outputs that match the search, on any page."""
        matches = self._find(self._with_axes(rows, columns), where, **query)
        return [int(i) for i in np.flatnonzero(matches.matching)]

    @command
    def export(self, kind: str, places: Sequence[int]) -> str:
        """Some outputs as the text of a file, csv or jsonl, which `Results` can read."""
        with tempfile.TemporaryDirectory() as folder:
            path = _FILES[kind](self._results(sorted(set(places))), Path(folder) / f"outputs.{kind}")
            return path.read_bytes().decode()

    # Without a kernel

    def html(self) -> Markup:
        return self.comparison.html(escaped)

    def text(self) -> str:
        return visible(repr(self.comparison), 100_000)


def _request_detail(completion: Completion, number: int) -> dict[str, Any]:
    """The prompt and settings of an output, and how it violates its response format."""
    choice, request = completion.choice(number), completion.request
    prompt = [[m["role"], visible(plain_text(m))] for m in request.messages or ()]
    settings = dict(request.sampling.given())
    if request.prompt is not None:
        prompt = [["prompt", visible(str(request.prompt))]]
    response_format = request.response_format
    if response_format is not None:
        settings["response_format"] = response_format.name or response_format.kind
    outcome = None
    if response_format is not None and completion.error is None and not choice.tool_calls:
        outcome = verdict(choice.text, response_format, choice.finish_reason)
    return {
        "prompt": prompt,
        "settings": [[name, visible(_text(value), 300)] for name, value in settings.items()],
        "problem": None if outcome is None or outcome.valid else visible(str(outcome), 2000),
    }


def _visible_pieces(pieces: Iterable[Piece]) -> list[list[Any]]:
    return [[op, visible(text), hit] for op, text, hit in pieces]


def _visible_metadata(metadata: Mapping[str, Any]) -> dict[str, Any]:
    return {name: visible(v, 2000) if isinstance(v, str) else v for name, v in metadata.items()}


def _grade(grade: Grade | None) -> dict[str, Any] | None:
    return dataclasses.asdict(grade) if grade else None


def _group(matches: RowMatches, place: int) -> str | None:
    """The label of the group that begins in a row, with its number of rows; None within a group."""
    if not matches.groups or (place and matches.groups[place] == matches.groups[place - 1]):
        return None
    name = matches.groups[place]
    rows = matches.groups.count(name)
    return f"{visible(name)} ({rows:,} {'row' if rows == 1 else 'rows'})"


def _values(values: Mapping[str, Any]) -> list[list[str]]:
    """Axes and their values, without the row number if the row's variables are among them."""
    named = any(name.startswith("row.") for name in values)
    return [[n, visible(_text(v), 300)] for n, v in values.items() if not (named and n == "row")]


def _text(value: Any) -> str:
    return short_value(value, 10**9)
