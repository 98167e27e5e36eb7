"""The outputs of a comparison: finding rows, the differences of two outputs, grades."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np
from typing_extensions import deprecated

from toolkit._internal.validation import instance_of, position
from toolkit.analysis.text_diff import Diff, Piece, brief, diff, marked, words
from toolkit.errors import StoreError
from toolkit.results.columns import GRADED, LONG, Bools, Ints
from toolkit.results.comparison_grid import ComparisonGrid
from toolkit.results.comparison_search import MEASURED, RowFinder, RowMatches, search_spans
from toolkit.store.rows import Grade

_CELL_CHARACTERS = 600
"""Characters of a text that a cell of a table shows."""
_CELL_WORDS = 150
"""Words of each text that are compared for a cell, from the first difference on."""


class ComparedOutputs(ComparisonGrid):
    """The outputs of a comparison: found, with their differences, metadata and grades (see `Comparison`)."""

    @property
    def measures(self) -> list[str]:
        """What rows may be sorted and grouped by, besides axes; `differing` is the number of outputs that differ from
        the baseline's."""
        facts = self.facts
        available = {
            "correct": facts.target is not None,
            "verdict": facts.judged,
            "cost": facts.cost is not None,
        }
        optional = [name for name, is_available in available.items() if is_available]
        return ["differing", *MEASURED, *optional, "finish_reason", *GRADED[1:]]

    # Finding rows

    @cached_property
    def _finder(self) -> RowFinder:
        return RowFinder(self)

    def find(
        self,
        search: str = "",
        differing: bool = False,
        where: Mapping[str, Sequence[Any]] | None = None,
        sort: str | None = None,
        descending: bool = False,
        group: str | None = None,
        baseline: int = 0,
    ) -> RowMatches:
        """The rows with a matching output: one that `search`, a regular expression (ignoring case), matches, that
        differs from the baseline's (`differing`), and whose columns have the values in `where`: column → allowed
        values. Axes in `where` also leave out other columns.

        where: any column, also verdict, finish_reason, and grade (up, down, other, none). sort, group: axes, or
        `measures`: means over the outputs of a row, texts in alphabetical order; a row with outputs of several groups
        is "mixed".

        Raises ValueError for a bad regular expression, or one that takes too long; KeyError for an unknown column,
        IndexError for a baseline that does not exist.
        """
        return self._finder.find(search, differing, where or {}, sort, descending, group, baseline)

    @cached_property
    def lines(self) -> int:
        """The number of rows without a search."""
        return len(self.find())

    # What a cell holds

    def cell(self, row: int, column: int, matches: RowMatches) -> list[int]:
        """The choices of a cell, as rows of the results table: matching ones first. Where no output of a column has a
        value of some axis of the rows, each is in every row that it agrees with in the other axes, as greedy outputs
        are for every seed (see `missing_axes`)."""
        row, column = position("row", row, self.shape[0]), position("column", column, self.shape[1])
        instance_of(RowMatches, "matches", matches, "comparison.find(…) gives them")
        outputs = self._outputs_at(row, column)
        if not len(outputs) and (i := int(self.base(column)[row])) >= 0:
            outputs = self._outputs_at(int(self.row[i]), column)
        outputs = outputs[matches.kept[outputs]]
        return [*outputs[matches.matching[outputs]].tolist(), *outputs[~matches.matching[outputs]].tolist()]

    def _outputs_at(self, row: int, column: int) -> Ints:
        place = row * self.shape[1] + column
        outputs: Ints = self._order[slice(*np.searchsorted(self.places, [place, place + 1]))]
        return outputs

    def missing_axes(self, i: int, row: int) -> list[str]:
        """The axes of a row for which a choice in it has no value; empty in the choice's own row."""
        i, row = self._output(i), position("row", row, self.shape[0])
        if row == self.row[i]:
            return []
        return [name for name in self.rows if self.facts.value(name, i) is None]

    def _output(self, i: Any) -> int:
        return position("i", i, len(self.facts))

    def visible_choices(self, column: int, matches: RowMatches) -> Bools:
        """(N,) whether each choice is in this column, in a cell of the matching rows."""
        instance_of(RowMatches, "matches", matches, "comparison.find(…) gives them")
        base = self.base(column)[matches.rows]
        rows = np.zeros(self.shape[0], bool)
        rows[self.row[base[base >= 0]]] = True
        return np.asarray(matches.kept & (self.column == column) & rows[self.row])

    @deprecated("Comparison.shown is now Comparison.visible_choices")
    def shown(self, column: int, matches: RowMatches) -> Bools:
        """The former name of `visible_choices`."""
        return self.visible_choices(column, matches)

    def metadata(self, i: int) -> dict[str, Any]:
        """Of a choice: finish_reason, error, verdict, prompt_tokens, completion_tokens, seconds, cost; None where not
        known."""
        i, names = self._output(i), ["finish_reason", "error", *MEASURED[:3]]
        optional = {"verdict": self.facts.judged, "cost": self.facts.cost is not None}
        values = {name: self.facts.value(name, i) for name in [*names, *(n for n in optional if optional[n])]}
        return {"verdict": None, "cost": None, **values}

    def diff(self, i: int, base: int, by: str = "word", most: int = 3000) -> Diff:
        """The edits that turn the output `base` into the output `i`, rows of the results table: in words or,
        by="token", in tokens (in words where their tokens are not known). Compares the first 20,000 characters of
        each, and at most `most` words or tokens from the first difference on."""
        i, base = self._output(i), self._output(base)
        tokens = self.facts.tokens([base, i]) if by == "token" else {}
        if base in tokens and i in tokens:
            return diff(tokens[base], tokens[i], most)
        a, b = (words(self.facts.texts[k][:LONG]) for k in (base, i))
        return diff(a, b, most)

    def pieces(
        self, i: int, base: int | None = None, search: str = "", by: str = "word", most: int = 3000
    ) -> list[Piece]:
        """An output as pieces, with its differences from another (see `diff`; None for no other) and the matches of a
        search: (equal, insert, delete, rest or gap; text; whether it matches)."""
        i = self._output(i)
        pieces = self._pieces(i, base, search, by, most)
        omitted = len(self.facts.texts[i]) - LONG
        return [*pieces, ("gap", f"… {omitted:,} more characters", False)] if omitted > 0 else pieces

    def in_brief(self, i: int, base: int | None = None, search: str = "", by: str = "word") -> list[Piece]:
        """The same, shortened to fit a cell of a table."""
        i = self._output(i)
        pieces = self._pieces(i, base, search, by, _CELL_WORDS)
        return brief(pieces, _CELL_CHARACTERS, max(0, len(self.facts.texts[i]) - LONG))

    def _pieces(self, i: int, base: int | None, search: str, by: str, most: int) -> list[Piece]:
        """Pieces of the first `LONG` characters."""
        text = self.facts.texts[i][:LONG]
        unchanged = Diff((("equal", text),) if text else (), True)
        edits = unchanged if base is None else self.diff(i, base, by, most)
        pieces = marked(edits.ops, search_spans(search, text) if search else [])
        if not edits.whole:
            at = next((k for k, piece in enumerate(pieces) if piece[0] == "rest"), len(pieces))
            pieces.insert(at, ("gap", " ⋯ too long to be compared from here on ⋯ ", False))
        return pieces

    # Grades

    @property
    def gradable(self) -> bool:
        """Whether there is a store file for grades."""
        return self.facts.store is not None and self.facts.store.path != ":memory:"

    def grade(self, i: int, **changes: Any) -> Grade:
        """Grades the choice of a row of the results table, in the store: see `Store.grade`. Raises ValueError for a
        row that is an error, StoreError where there is no store file."""
        if self.facts.store is None:
            raise StoreError(
                "a table that was read from CSV has no store to keep a grade in: grade the results of the store "
                "itself, toolkit.results('run.db')"
            )
        i = self._output(i)
        if self.facts.failed[i]:
            raise ValueError("an error has no answer that could be graded")
        return self.facts.store.grade(*self.facts.places[i], **changes)

    def tally(self, outputs: Bools) -> dict[str, int]:
        """How many of some outputs, (N,) whether each counts, are right, wrong and unclear where the data has right
        answers (see `RowColumns.correct`), and valid and invalid where they have response formats. Without those that
        are not known."""
        counted = np.flatnonzero(outputs & ~self.facts.failed).tolist()
        known = [self.facts.correct[i] for i in counted] if self.facts.target else []
        tally = {"right": known.count(True), "wrong": known.count(False), "unclear": known.count(None)}
        statuses = [self.facts.verdicts[i] for i in counted] if self.facts.judged else []
        checked = [status == "valid" for status in statuses if status not in (None, "timeout")]
        validity = {"valid": sum(checked), "invalid": len(checked) - sum(checked)}
        return {**(tally if known else {}), **(validity if checked else {})}
