"""The grid of a comparison: some axes as rows, others as columns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from toolkit._internal.text import short_repr
from toolkit._internal.validation import limited_list, position
from toolkit.results.columns import Bools, Ints, RowColumns
from toolkit.results.table import RUN_NAME

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.display.tables import Table

_DETERMINED = ("row", "model", "system_fingerprint", "sweep", RUN_NAME)
"""Axes that may determine others, as the number of a row of data determines its variables."""


def side_by_side(
    table: pd.DataFrame, rows: list[str], columns: list[str], values: str, how: Any = "first"
) -> Table:
    """The values of a column, by the values of some columns as rows and of others as columns."""
    from toolkit.display.tables import Table

    # Not pivot_table, which drops rows whose key is missing: the seed of a greedy cell is.
    cells = table.groupby([*rows, *columns], dropna=False, sort=False)[values]
    if not callable(how) and not (isinstance(how, str) and callable(getattr(cells, how, None))):
        raise TypeError(
            f'how must be an aggregation of pandas, such as "first" or "mean", or a function, got {short_repr(how)}'
        )
    return Table(cells.agg(how).unstack(columns))


def other_axes(table: pd.DataFrame, axes: Sequence[str], columns: Sequence[str]) -> list[str]:
    """The axes that remain for the rows. Without those that determine a column axis, or that it determines, as the
    number of a row of data and its variables do: their rows would have outputs in some columns only."""

    def tied(name: str, column: str) -> bool:
        pairs = len(table[[name, column]].drop_duplicates())
        values, other = (table[axis].nunique(dropna=False) for axis in (name, column))
        return other > 1 and pairs in (values, other)

    candidates = [name for name in axes if name in _DETERMINED or name.startswith("row.")]
    without = {name for name in candidates for column in columns if tied(name, column)}
    if RUN_NAME in columns:
        without.add("repeat")  # no repeat of a run belongs to one of another
    remaining = [name for name in axes if name not in columns and name not in without]
    return remaining or ["repeat" if "repeat" not in columns else "sweep"]


class ComparisonGrid:
    """Which outputs of a results table are in which cell."""

    def __init__(
        self, facts: RowColumns, rows: Sequence[str], columns: Sequence[str], values: str = "text"
    ) -> None:
        rows = limited_list("rows", rows, 10_000)
        if both := [name for name in rows if name in columns]:
            raise ValueError(f"{', '.join(both)} cannot be rows and columns at once: leave it out of one")
        self.facts, self.rows, self.columns, self.values = facts, list(rows), list(columns), values
        self.row, first_rows = combined_codes(len(facts), [facts.codes(name)[0] for name in rows])
        self.column, first_columns = combined_codes(len(facts), [facts.codes(name)[0] for name in columns])
        self._first = {"rows": first_rows, "columns": first_columns}
        place = self.row * max(1, len(first_columns)) + self.column
        self._order = np.argsort(place, kind="stable")
        self.places = place[self._order]
        self._bases: dict[int, Ints] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self._first["rows"]), len(self._first["columns"])

    @property
    def axes(self) -> list[str]:
        """The axes that rows and columns may have."""
        return [*self.facts.axes, *(n for n in (*self.rows, *self.columns) if n not in self.facts.axes)]

    def frame(self) -> Table:
        """The grid as a table, with the first value of each cell. A text that was cut ends with ✂."""
        table = self.facts.table
        if self.values == "text":
            cut = table["finish_reason"] == "length"
            table = table.assign(text=table["text"].where(~cut, table["text"] + " ✂"))
        grid = side_by_side(table, self.rows, self.columns, self.values)
        grid.attrs["names"] = self.facts.system_names
        return grid

    def row_values(self, row: int) -> dict[str, Any]:
        """Axis → value of a row."""
        i = int(self._first["rows"][position("row", row, self.shape[0])])
        return {name: self.facts.value(name, i) for name in self.rows}

    def column_values(self, column: int) -> dict[str, Any]:
        i = int(self._first["columns"][position("column", column, self.shape[1])])
        return {name: self.facts.value(name, i) for name in self.columns}

    def varying(self, kind: Literal["rows", "columns"]) -> list[str]:
        """The axes of the rows or columns that differ between them, all where none does; without the number of a row
        of data beside its variables, and without the fingerprints of systems that their models tell apart."""
        names = self.rows if kind == "rows" else self.columns
        codes = {name: self.facts.codes(name)[0][self._first[kind]] for name in names}
        count = {name: len(np.unique(codes[name])) for name in names}
        hidden = {"row"} if any(name.startswith("row.") for name in names) else set()
        if {"model", "system_fingerprint"} <= codes.keys():
            pairs = np.stack([codes["model"], codes["system_fingerprint"]])
            # A model's name says more than a fingerprint, where each has one.
            hidden |= {"system_fingerprint"} if np.unique(pairs, axis=1).shape[1] == count["model"] else set()
        varying = [name for name in names if count[name] > 1] or names
        return [name for name in varying if name not in hidden]

    def differs(self, baseline: int = 0) -> Bools:
        """(N,) whether each output differs from the first one of its row in the baseline column; False where there is
        none."""
        base = self.base(baseline)[self.row]
        differs: Bools = (base >= 0) & (self.facts.output != self.facts.output[base])
        return differs

    def base(self, baseline: int) -> Ints:
        """(rows,) the first choice of each row in a column; −1 where there is none. Where no output of the column has
        a value of some axis of the rows, as greedy outputs have no seed, it is the one that agrees in the other axes.
        Raises IndexError for a column that does not exist."""
        baseline = position("baseline", baseline, max(1, self.shape[1]), from_end=False)
        if baseline not in self._bases:
            self._bases[baseline] = self._base(baseline)
        return self._bases[baseline]

    def _base(self, column: int) -> Ints:
        cells = np.arange(self.shape[0]) * self.shape[1] + column
        at = np.minimum(np.searchsorted(self.places, cells), len(self.places) - 1)
        base = np.where(self.places[at] == cells, self._order[at], -1)
        if (base < 0).any():
            outputs = np.flatnonzero(self.column == column)[::-1]  # reversed: the first of several is kept
            coded = [self.facts.codes(name) for name in self.rows]
            shared = [
                codes for codes, values in coded if any(values[code] is not None for code in codes[outputs])
            ]
            key, _ = combined_codes(len(self.facts), shared)
            first = np.full(int(key.max(initial=0)) + 1, -1)
            first[key[outputs]] = outputs
            base = np.where(base < 0, first[key[self._first["rows"]]], base)
        return base


def combined_codes(length: int, parts: Sequence[Ints]) -> tuple[Ints, Ints]:
    """A code for each combination of several codes, in their order, and the first index of each combination."""
    combined = np.zeros(length, np.int64)
    for codes in parts:
        # One at a time, so that the product of many codes does not overflow.
        combined = np.unique(combined * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)[1]
    return combined, np.unique(combined, return_index=True)[1]
