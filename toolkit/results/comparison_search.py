"""Search for rows of a comparison: by pattern, difference and column values; sorted and grouped."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from toolkit._internal.text import MISSING, short_repr
from toolkit._internal.validation import instance_of
from toolkit._internal.value_text import distinct_labels, short_value
from toolkit.results.columns import Bools, Doubles, Ints
from toolkit.results.comparison_grid import ComparisonGrid

MEASURED = (
    "completion_tokens",
    "prompt_tokens",
    "seconds",
    "first_token_seconds",
    "queued_seconds",
    "decode_seconds",
)
_SEARCH_SECONDS = 2.0
"""The most seconds that a search may take over all texts."""
_MAX_GROUPS = 12
"""The most different numbers that are groups of their own; more are grouped by quarters."""


@dataclass(frozen=True, eq=False)
class RowMatches:
    """The rows that match a search."""

    rows: Ints
    """(R,) row numbers, sorted as requested."""
    groups: tuple[str, ...]
    """(R,) the name of each row's group; empty without groups."""
    kept: Bools
    """(N,) choices whose axes have the requested values."""
    matching: Bools
    """(N,) those of them that match the whole search."""

    def __len__(self) -> int:
        return len(self.rows)


class RowFinder:
    """Searches the rows of a grid."""

    def __init__(self, grid: ComparisonGrid) -> None:
        self._grid = grid

    def find(
        self,
        search: str,
        differing: bool,
        where: Mapping[str, Sequence[Any]],
        sort: str | None,
        descending: bool,
        group: str | None,
        baseline: int,
    ) -> RowMatches:
        """See `Comparison.find`."""
        instance_of(Mapping, "where", where, "{column: [allowed values]}")  # type: ignore[type-abstract]
        kept = np.ones(len(self._grid.facts), bool)
        matching = kept.copy()
        for name, values in where.items():
            codes, column_values = self._grid.facts.codes(name)
            allowed = [code for code, value in enumerate(column_values) if value in values]
            (kept if name in self._grid.axes else matching)[~np.isin(codes, allowed)] = False
        if differing:
            matching &= self._grid.differs(baseline)
        matching &= kept
        if search:
            matching &= self._pattern_matches(search, matching)
        rows = np.flatnonzero(np.bincount(self._grid.row[matching], minlength=self._grid.shape[0]))
        rows = rows[~self._redundant(rows)]
        keys: list[npt.NDArray[Any]] = [rows]
        if sort:
            measure = self._measure(sort, kept, baseline)[rows]
            # Rows without a number come last in both orders.
            keys.append(np.where(np.isnan(measure), np.inf, -measure if descending else measure))
        names = np.zeros(0, object)
        if group:
            order, names = self._groups(group, kept, baseline, rows)
            keys.append(order)
        ordered = np.lexsort(keys)
        return RowMatches(rows[ordered], tuple(names[ordered]) if group else (), kept, matching)

    def _redundant(self, rows: Ints) -> Bools:
        """Which of some rows are left out: all their outputs also appear in others (see `cell`)."""
        elsewhere = np.zeros(self._grid.shape[0], np.int64)
        for column in self._lacking:
            base = self._grid.base(column)[rows]
            base_row = self._grid.row[base]
            elsewhere[np.unique(base_row[(base >= 0) & (base_row != rows)])] += 1
        redundant: Bools = (elsewhere == self._filled)[rows]
        return redundant

    @cached_property
    def _lacking(self) -> list[int]:
        """The columns with an output that has no value of some axis of the rows."""
        coded = [self._grid.facts.codes(name) for name in self._grid.rows]
        lacks = [np.array([value is None for value in values])[codes] for codes, values in coded]
        columns: list[int] = np.unique(self._grid.column[np.any(lacks, axis=0)]).tolist()
        return columns

    @cached_property
    def _filled(self) -> Ints:
        """(rows,) the number of columns in which each row has outputs."""
        return np.bincount(np.unique(self._grid.places) // self._grid.shape[1], minlength=self._grid.shape[0])

    def _pattern_matches(self, search: str, among: Bools) -> Bools:
        """(N,) the outputs that a pattern matches; equal outputs are searched once."""
        pattern, start_time = compile_search(search), time.monotonic()
        matches = np.zeros(len(self._grid.facts), bool)
        outputs, first = np.unique(self._grid.facts.output[among], return_index=True)
        texts, rows = self._grid.facts.texts, np.flatnonzero(among)[first].tolist()
        hits = np.zeros(int(self._grid.facts.output.max(initial=0)) + 1, bool)
        for output, i in zip(outputs.tolist(), rows, strict=True):
            remaining = start_time + _SEARCH_SECONDS - time.monotonic()
            try:
                hits[output] = remaining > 0 and pattern.search(texts[i], timeout=remaining) is not None
            except TimeoutError:
                remaining = 0
            if remaining <= 0:
                raise ValueError(
                    f"{short_repr(search)} takes too long: nested repeats such as (a+)+ do; make it simpler"
                )
        matches[among] = hits[self._grid.facts.output[among]]
        return matches

    def _measure(self, name: str, kept: Bools, baseline: int) -> Doubles:
        """(rows,) the mean of a column over the outputs of each row; NaN for a row without values."""
        if name == "differing":
            return np.bincount(
                self._grid.row[kept], self._grid.differs(baseline)[kept], self._grid.shape[0]
            ).astype(np.float64)
        values = self._grid.facts.numbers(name)
        has_value = kept & ~np.isnan(values)
        total = np.bincount(self._grid.row[has_value], values[has_value], self._grid.shape[0])
        with np.errstate(invalid="ignore"):
            return np.asarray(total / np.bincount(self._grid.row[has_value], minlength=self._grid.shape[0]))

    def _groups(self, name: str, kept: Bools, baseline: int, rows: Ints) -> tuple[Ints, npt.NDArray[Any]]:
        """(R,) the group number of each of some rows, in order of the groups, and its name."""
        if name in ("differing", "cost", *MEASURED, "grade.score"):
            return _numeric_groups(name, self._measure(name, kept, baseline)[rows])
        codes, values = self._grid.facts.codes(name)
        low = np.full(self._grid.shape[0], len(values))
        high = np.full(self._grid.shape[0], -1)
        np.minimum.at(low, self._grid.row[kept], codes[kept])
        np.maximum.at(high, self._grid.row[kept], codes[kept])
        group = np.where(low == high, low, len(values))[rows]
        labels = distinct_labels([f"{name} {short_value(v)}" for v in values])
        return group, np.array([*labels, f"{name} mixed"], object)[group]


def _numeric_groups(name: str, values: Doubles) -> tuple[Ints, npt.NDArray[Any]]:
    """Groups of numbers: one for each number, or for each quarter of many; and the name of each value's group."""
    starts = np.unique(values[~np.isnan(values)])
    if len(starts) > _MAX_GROUPS:
        starts = np.unique(np.quantile(values[~np.isnan(values)], [0, 0.25, 0.5, 0.75]))
    group = np.where(np.isnan(values), len(starts), np.searchsorted(starts, values, side="right") - 1)
    each = len(np.unique(values[~np.isnan(values)])) <= _MAX_GROUPS
    labels = [f"{name} {low:.4g}" + ("" if each else " and more") for low in starts]
    return group, np.array([*labels, f"{name} {MISSING}"], object)[group]


def compile_search(search: str) -> Any:
    """The compiled pattern, which ignores case. Raises ValueError for a bad one."""
    import regex

    if not isinstance(search, str):
        raise TypeError(f"search must be a text, a regular expression, got {short_repr(search)}")
    try:
        return regex.compile(search, regex.IGNORECASE)
    except regex.error as error:
        raise ValueError(f"{short_repr(search)} is no regular expression: {error}") from None


def search_spans(search: str, text: str) -> list[tuple[int, int]]:
    """(start, end) of each match in a text; empty when the search takes too long."""
    try:
        return [m.span() for m in compile_search(search).finditer(text, timeout=0.1) if m.end() > m.start()]
    except TimeoutError:
        return []
