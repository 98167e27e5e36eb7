"""Outputs side by side over any axes, with differences, costs and grades."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from toolkit.display.markup import Markup, escape
from toolkit.results.comparison_html import comparison_html, comparison_text
from toolkit.results.comparison_outputs import ComparedOutputs


class Comparison(ComparedOutputs):
    """Outputs side by side: a row for each combination of the values of some axes, a column for each of others. A
    cell holds the outputs for all values of the remaining axes. Made by `Results.compare`.

    `matches = comparison.find("Par[iy]s", differing=True, sort="seconds")` gives rows, `comparison.cell(row, column,
    matches)` the choices of a cell, as rows of the results table, `comparison.metadata(i)` the finish reason, tokens
    and more of one, and `comparison.diff(i, base)` its differences.
    """

    def over(self, rows: Sequence[str], columns: Sequence[str]) -> Comparison:
        """The same outputs over other axes. Raises KeyError for an unknown axis."""
        return Comparison(self.facts, rows, columns, self.values)

    def __repr__(self) -> str:
        return comparison_text(self)

    def _repr_html_(self) -> Markup:
        return self.html()

    def html(self, escape: Callable[[str], Markup] = escape) -> Markup:
        """The texts as a table, each with its difference from the first column, its metadata and its grade; the first
        60 rows and 8 columns. Where `values` is another column, the table of it. escape: converts a text to HTML."""
        return comparison_html(self, escape)
