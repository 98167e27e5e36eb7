"""Compare: outputs side by side over any axes, what differs, what each cost, and grades that the store keeps."""

from __future__ import annotations

import dataclasses
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.comparison import NOTHING, Comparison, Found
from toolkit.completion import Completion
from toolkit.diff import Piece
from toolkit.messages import plain_text
from toolkit.report import is_missing
from toolkit.results import Results
from toolkit.store import Grade
from toolkit.verdict import verdict
from toolkit.widgets.view import View, assets, escaped, visible

_PAGE, _ACROSS = 20, 6
"""Rows and columns that are shown at once."""
_VALUES = 2000
"""Values of a column that are offered to choose from."""
_FILES = {"csv": Results.to_csv, "jsonl": Results.to_jsonl}


class CompareView(View):
    """A table of outputs whose rows and columns are any axes, with what differs from a baseline column.

    In it outputs are found, sorted, grouped, read in full, graded (saved in the store at once) and selected;
    `selected()` gives the selection as Results.

    >>> CompareView(results.compare("temperature"))  # doctest: +SKIP
    """

    _esm, _css = assets("compare")

    def __init__(self, comparison: Comparison) -> None:
        self.comparison = comparison
        self._selected: list[int] = []
        judged = ["verdict"] if comparison.facts.judged else []

        super().__init__(
            {
                "rows": comparison.rows,
                "columns": comparison.columns,
                "axes": comparison.axes,
                "measures": comparison.measures,
                "filters": [*comparison.axes, "finish_reason", *judged, "grade"],
                "gradable": comparison.gradable,
                # A table that was read from CSV has no completions for the lines of JSONL.
                "files": [*_FILES] if comparison.facts.store else ["csv"],
                "size": _PAGE,
                "across": _ACROSS,
                "page": self.do_page(comparison.rows, comparison.columns),
            }
        )

    def selected(self) -> Results:
        """The outputs that are selected in the widget."""
        return self._results(self._selected)

    def _results(self, places: Sequence[int]) -> Results:
        facts = self.comparison.facts
        return Results(facts.table.iloc[list(places)].reset_index(drop=True), facts.store)

    def _over(self, rows: Sequence[str], columns: Sequence[str]) -> Comparison:
        if (list(rows), list(columns)) != (self.comparison.rows, self.comparison.columns):
            self.comparison = self.comparison.over(rows, columns)
        return self.comparison

    def _find(self, comparison: Comparison, where: Mapping[str, Iterable[int]], **query: Any) -> Found:
        """where: column → places of the values in what `do_values` gives."""
        known = {name: comparison.facts.codes(name)[1] for name in where}
        chosen = {name: [known[name][place] for place in places] for name, places in where.items()}
        return comparison.find(where=chosen, **query)

    # What the browser asks

    def do_page(
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
        """The rows from `start` on and the columns from `across` on; `problem` where the search is no pattern. diff:
        word, token, or none."""
        comparison = self._over(rows, columns)
        try:
            found = self._find(comparison, where or {}, search=search, baseline=baseline, **query)
        except ValueError as error:
            return {"problem": visible(str(error), 300)}
        there = np.unique(comparison.column[found.kept])
        shown = found.rows[start : start + _PAGE].tolist()
        seen = there[across : across + _ACROSS].tolist()
        bases = comparison.base(baseline)
        cells = {(r, c): comparison.cell(r, c, found) for r in shown for c in seen}
        if diff == "token":
            firsts = [here[0] for here in cells.values() if here]
            comparison.facts.tokens({*firsts, *bases[comparison.row[firsts]].tolist()} - {-1})
        grades = comparison.facts.grades()
        differing = comparison.differs(baseline)

        def cell(row: int, column: int) -> dict[str, Any] | None:
            here = cells[row, column]
            if not here:
                return None
            i = here[0]
            base = int(bases[comparison.row[i]])
            compared = base if diff != "none" and base not in (-1, i) else None
            return {
                "i": i,
                "all": here,
                "base": base,
                "same": None if base in (-1, i) else not differing[i],
                "without": comparison.without(i, row),
                "pieces": _shown(comparison.in_brief(i, compared, search, diff)),
                "told": _told(comparison.told(i)),
                "grade": _grade(grades[i]),
            }

        return {
            "found": len(found),
            "rows_in_all": comparison.lines,
            "outputs": int(found.matching.sum()),
            "start": start,
            "columns_in_all": len(there),
            "baseline": _values(comparison.column_values(baseline)) if comparison.shape[1] else [],
            "columns": self._columns(comparison, found, seen, differing),
            "rows": [
                {
                    "row": row,
                    "group": _group(found, place),
                    "axes": _values(comparison.row_values(row)),
                    "cells": [cell(row, column) for column in seen],
                }
                for place, row in enumerate(shown, start)
            ],
        }

    def _columns(
        self, comparison: Comparison, found: Found, columns: Sequence[int], differing: Any
    ) -> list[dict[str, Any]]:
        """The columns, with what is true of all their outputs in the rows that were found."""
        facts = comparison.facts
        tokens, seconds = (facts.numbers(name) for name in ("completion_tokens", "seconds"))

        def told(column: int) -> dict[str, Any]:
            own = comparison.shown(column, found)
            known = own & ~np.isnan(seconds)
            return {
                "column": column,
                "label": _values(comparison.column_values(column)),
                "outputs": int(own.sum()),
                "differing": int(differing[own].sum()),
                "tokens": tokens[own].mean() if own.any() else None,
                "seconds": seconds[known].mean() if known.any() else None,
                "cost": None if facts.cost is None else np.nansum(facts.cost[own]),
            }

        return [told(column) for column in columns]

    def do_values(self, name: str) -> dict[str, Any]:
        """What a column may be filtered by, and how many more values it has."""
        values = self.comparison.facts.codes(name)[1]
        shown = [visible(_text(value), 80) for value in values[:_VALUES]]
        return {"values": shown, "more": len(values) - len(shown)}

    def do_known(self, places: Sequence[int]) -> dict[str, Any]:
        """The grades of some outputs and the selection by now: what is shown again may be older."""
        grades = self.comparison.facts.grades()
        return {"grades": [_grade(grades[i]) for i in places], "selected": self._selected}

    def do_detail(self, i: int, base: int = -1, diff: str = "word", search: str = "") -> dict[str, Any]:
        """All that is known of one output."""
        comparison, row = self.comparison, dict(self.comparison.facts.table.iloc[i])
        compared = base if diff != "none" and base not in (-1, i) else None
        pieces = comparison.pieces(i, compared, search, diff)
        found: dict[str, Any] = {
            "pieces": _shown(pieces),
            "told": _told(comparison.told(i)),
            "grade": _grade(comparison.facts.grades()[i]),
            "facts": [
                [name, visible(_text(row[name]), 300)]
                for name in (
                    "model",
                    "system_fingerprint",
                    "repeat",
                    "choice",
                    "first_token_seconds",
                    "request",
                )
            ],
        }
        if comparison.facts.store is None:
            return {**found, "prompt": [], "settings": [], "problem": None}
        return {**found, **_asked(self._results([i])[0], int(row["choice"]))}

    def do_grade(self, i: int, **given: Any) -> dict[str, Any] | None:
        """Saves a grade, and gives it as it is now."""
        return _grade(self.comparison.grade(i, **given))

    def do_select(self, places: Sequence[int]) -> int:
        """Keeps what is selected; places: rows of the results table."""
        self._selected = sorted(set(places))
        return len(self._selected)

    def do_found(
        self, rows: Sequence[str], columns: Sequence[str], where: Mapping[str, Iterable[int]], **query: Any
    ) -> list[int]:
        """Every output that is sought, on whatever page."""
        found = self._find(self._over(rows, columns), where, **query)
        return [int(i) for i in np.flatnonzero(found.matching)]

    def do_export(self, kind: str, places: Sequence[int]) -> str:
        """Some outputs as the text of a file, csv or jsonl, which `Results` reads again."""
        with tempfile.TemporaryDirectory() as folder:
            path = _FILES[kind](self._results(sorted(set(places))), Path(folder) / f"outputs.{kind}")
            return path.read_bytes().decode()

    # Without a kernel

    def html(self) -> str:
        return self.comparison.html(escaped)

    def text(self) -> str:
        return visible(repr(self.comparison), 100_000)


def _asked(completion: Completion, number: int) -> dict[str, Any]:
    """What was asked for an output, how, and what is wrong with its form."""
    choice, request = completion.choice(number), completion.request
    prompt = [[m["role"], visible(plain_text(m))] for m in request.messages or ()]
    settings = dict(request.sampling.given())
    if request.prompt is not None:
        prompt = [["prompt", visible(str(request.prompt))]]
    form = request.response_format
    if form is not None:
        settings["response_format"] = form.name or form.kind
    told = None
    if form is not None and completion.error is None and not choice.tool_calls:
        told = verdict(choice.text, form, choice.finish_reason)
    return {
        "prompt": prompt,
        "settings": [[name, visible(_text(value), 300)] for name, value in settings.items()],
        "problem": None if told is None or told.valid else visible(str(told), 2000),
    }


def _shown(pieces: Iterable[Piece]) -> list[list[Any]]:
    return [[op, visible(text), hit] for op, text, hit in pieces]


def _told(told: Mapping[str, Any]) -> dict[str, Any]:
    return {name: visible(v, 2000) if isinstance(v, str) else v for name, v in told.items()}


def _grade(grade: Grade | None) -> dict[str, Any] | None:
    return dataclasses.asdict(grade) if grade else None


def _group(found: Found, place: int) -> str | None:
    """What the group that begins in a row is called, with its number of rows; None within a group."""
    if not found.groups or (place and found.groups[place] == found.groups[place - 1]):
        return None
    name = found.groups[place]
    rows = found.groups.count(name)
    return f"{visible(name)} ({rows:,} {'row' if rows == 1 else 'rows'})"


def _values(values: Mapping[str, Any]) -> list[list[str]]:
    """Axes and their values. The number of a row says nothing beside its variables."""
    named = any(name.startswith("row.") for name in values)
    return [[n, visible(_text(v), 300)] for n, v in values.items() if not (named and n == "row")]


def _text(value: Any) -> str:
    if is_missing(value):
        return NOTHING
    return f"{value:g}" if isinstance(value, float) else str(value)
