"""Comparison: outputs side by side over any axes: what differs, what each cost, and what people think of it."""

from __future__ import annotations

import html
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit import report
from toolkit.diff import Diff, Piece, brief, diff, marked, words
from toolkit.facts import GRADED, LONG, Bools, Doubles, Facts, Ints
from toolkit.findings import many
from toolkit.prices import dollars
from toolkit.store import Grade, StoreError

if TYPE_CHECKING:
    import pandas as pd


_MEASURED = ("completion_tokens", "prompt_tokens", "seconds", "first_token_seconds")
_TIED = ("row", "model", "system_fingerprint")
"""Axes that stand for others, as the number of a row does for its variables."""
_ROOM = 600
"""Characters of a text that a cell of a table shows."""
_FEW = 150
"""Words of each text that are compared for a cell, from the first difference on."""
_PATIENCE = 2.0
"""Seconds that one search may take over all texts."""
_RANGES = 12
"""Different numbers from which on rows are grouped by quarters of them."""
_STATIC_ROWS, _STATIC_COLUMNS, _PLAIN_ROWS = 60, 8, 20
_ONE_LINE = 24
"""Characters of a value that is not broken over lines."""
NOTHING = "–"
"""What is shown for a value that is missing."""


def side_by_side(
    table: pd.DataFrame, rows: list[str], columns: list[str], values: str, how: Any = "first"
) -> pd.DataFrame:
    """The values of a column, with those of some columns as rows and of others as columns."""
    # Not pivot_table, which drops rows whose key is missing: the seed of a greedy cell is.
    cells = table.groupby([*rows, *columns], dropna=False, sort=False)[values]
    found: pd.DataFrame = cells.agg(how).unstack(columns)
    return found


def other_axes(table: pd.DataFrame, axes: Sequence[str], columns: Sequence[str]) -> list[str]:
    """The axes that are left for the rows. Without those that stand for a column's, or it for them, as the number of
    a row of data and its variables do: rows would have outputs in some columns only."""

    def tied(name: str, column: str) -> bool:
        pairs = len(table[[name, column]].drop_duplicates())
        own, other = (table[one].nunique(dropna=False) for one in (name, column))
        return other > 1 and pairs in (own, other)

    stand = [name for name in axes if name in _TIED or name.startswith("row.")]
    without = {name for name in stand for column in columns if tied(name, column)}
    found = [name for name in axes if name not in columns and name not in without]
    return found or ["repeat" if "repeat" not in columns else "sweep"]


@dataclass(frozen=True, eq=False)
class Found:
    """The rows of a comparison that were asked for."""

    rows: Ints
    """(R,) numbers of its rows, in the order asked for."""
    groups: tuple[str, ...]
    """(R,) what each row's group is called; empty without groups."""
    kept: Bools
    """(N,) choices whose axes are those asked for."""
    matching: Bools
    """(N,) of these, the ones that were sought."""

    def __len__(self) -> int:
        return len(self.rows)


class Comparison:
    """Outputs side by side: a row for each combination of the values of some axes, a column for each of others. Axes
    that are neither have their values in one cell. Made by `Results.compare`.

    `found = comparison.find("Par[iy]s", differing=True, sort="seconds")` gives rows, `comparison.cell(row, column,
    found)` the choices of a cell, as rows of the results table, `comparison.told(i)` what is known of one, and
    `comparison.diff(i, base)` what differs.
    """

    def __init__(
        self, facts: Facts, rows: Sequence[str], columns: Sequence[str], values: str = "text"
    ) -> None:
        if both := [name for name in rows if name in columns]:
            raise ValueError(f"{', '.join(both)} cannot be rows and columns at once: leave it out of one")
        self.facts, self.rows, self.columns, self.values = facts, list(rows), list(columns), values
        self.row, first_rows = _joined(len(facts), [facts.codes(name)[0] for name in rows])
        self.column, first_columns = _joined(len(facts), [facts.codes(name)[0] for name in columns])
        self._first = {"rows": first_rows, "columns": first_columns}
        place = self.row * max(1, len(first_columns)) + self.column
        self._order = np.argsort(place, kind="stable")
        self._places = place[self._order]
        self._bases: dict[int, Ints] = {}

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and columns."""
        return len(self._first["rows"]), len(self._first["columns"])

    @property
    def axes(self) -> list[str]:
        """What rows and columns may be."""
        return [*self.facts.axes, *(n for n in (*self.rows, *self.columns) if n not in self.facts.axes)]

    @property
    def measures(self) -> list[str]:
        """What rows may be sorted and grouped by, beside axes; `differing` is how many outputs differ from the
        baseline's."""
        known = {"verdict": self.facts.judged, "cost": self.facts.cost is not None}
        more = [name for name, there in known.items() if there]
        return ["differing", *_MEASURED, *more, "finish_reason", *GRADED[1:]]

    def over(self, rows: Sequence[str], columns: Sequence[str]) -> Comparison:
        """The same outputs over other axes. Raises KeyError for an unknown one."""
        return Comparison(self.facts, rows, columns, self.values)

    def frame(self) -> pd.DataFrame:
        """One column for each column, one row for each row; the first value of each cell. A text that was cut ends
        with ✂."""
        table = self.facts.table
        if self.values == "text":
            cut = table["finish_reason"] == "length"
            table = table.assign(text=table["text"].where(~cut, table["text"] + " ✂"))
        return side_by_side(table, self.rows, self.columns, self.values)

    def row_values(self, row: int) -> dict[str, Any]:
        """Axis → value of a row."""
        i = int(self._first["rows"][row])
        return {name: self.facts.value(name, i) for name in self.rows}

    def column_values(self, column: int) -> dict[str, Any]:
        i = int(self._first["columns"][column])
        return {name: self.facts.value(name, i) for name in self.columns}

    # Finding rows

    def differs(self, baseline: int = 0) -> Bools:
        """(N,) whether each output differs from the first one of its row in the baseline column; False where that is
        missing."""
        base = self.base(baseline)[self.row]
        found: Bools = (base >= 0) & (self.facts.output != self.facts.output[base])
        return found

    def base(self, baseline: int) -> Ints:
        """(rows,) the first choice of each row in a column; −1 where there is none. Where the column lacks an axis of
        the rows altogether, as greedy outputs lack the seed, it is the one that agrees in the others. Raises
        IndexError for a column that is not there."""
        if not 0 <= baseline < max(1, self.shape[1]):
            raise IndexError(f"baseline must be a column from 0 to {self.shape[1] - 1}, got {baseline}")
        if baseline not in self._bases:
            self._bases[baseline] = self._base(baseline)
        return self._bases[baseline]

    def _base(self, column: int) -> Ints:
        wanted = np.arange(self.shape[0]) * self.shape[1] + column
        at = np.minimum(np.searchsorted(self._places, wanted), len(self._places) - 1)
        found = np.where(self._places[at] == wanted, self._order[at], -1)
        if (found < 0).any():
            here = np.flatnonzero(self.column == column)[::-1]  # of several the first stays
            coded = [self.facts.codes(name) for name in self.rows]
            shared = [
                codes for codes, values in coded if any(values[code] is not None for code in codes[here])
            ]
            key, _ = _joined(len(self.facts), shared)
            first = np.full(int(key.max(initial=0)) + 1, -1)
            first[key[here]] = here
            found = np.where(found < 0, first[key[self._first["rows"]]], found)
        return found

    def find(
        self,
        search: str = "",
        differing: bool = False,
        where: Mapping[str, Sequence[Any]] | None = None,
        sort: str | None = None,
        descending: bool = False,
        group: str | None = None,
        baseline: int = 0,
    ) -> Found:
        """The rows with an output that is sought: that `search`, a regular expression (without regard to case), finds
        something in, that differs from the baseline's, and that has what `where` says: column → values that it may
        have. Axes in `where` also leave out other columns.

        where: any column, also verdict, finish_reason, and grade (up, down, other, none). sort, group: axes, or
        `measures`: means over the outputs of a row, texts by the alphabet; those of a row that is in no one group are
        "mixed".

        Raises ValueError for a bad regular expression, or one that takes too long; KeyError for an unknown column,
        IndexError for a baseline that is not there.
        """
        kept = np.ones(len(self.facts), bool)
        matching = kept.copy()
        for name, values in (where or {}).items():
            codes, known = self.facts.codes(name)
            wanted = [i for i, value in enumerate(known) if value in values]
            (kept if name in self.axes else matching)[~np.isin(codes, wanted)] = False
        if differing:
            matching &= self.differs(baseline)
        matching &= kept
        if search:
            matching &= self._searched(search, matching)
        rows = np.flatnonzero(np.bincount(self.row[matching], minlength=self.shape[0]))
        rows = rows[~self._repeated(rows)]
        keys: list[npt.NDArray[Any]] = [rows]
        if sort:
            measure = self._measure(sort, kept, baseline)[rows]
            # What has no number comes last either way.
            keys.append(np.where(np.isnan(measure), np.inf, -measure if descending else measure))
        names = np.zeros(0, object)
        if group:
            order, names = self._groups(group, kept, baseline, rows)
            keys.append(order)
        ordered = np.lexsort(keys)
        return Found(rows[ordered], tuple(names[ordered]) if group else (), kept, matching)

    def _repeated(self, rows: Ints) -> Bools:
        """Which of some rows need no line of their own: all their outputs are in others (see `cell`)."""
        shown = np.zeros(self.shape[0], np.int64)
        for column in self._lacking:
            here = self.base(column)[rows]
            own = self.row[here]
            shown[np.unique(own[(here >= 0) & (own != rows)])] += 1
        found: Bools = (shown == self._filled)[rows]
        return found

    @cached_property
    def _lacking(self) -> list[int]:
        """The columns with an output that lacks an axis of the rows."""
        coded = [self.facts.codes(name) for name in self.rows]
        lacks = [np.array([value is None for value in values])[codes] for codes, values in coded]
        columns: list[int] = np.unique(self.column[np.any(lacks, axis=0)]).tolist()
        return columns

    @cached_property
    def _filled(self) -> Ints:
        """(rows,) in how many columns each row has outputs."""
        return np.bincount(np.unique(self._places) // self.shape[1], minlength=self.shape[0])

    @cached_property
    def lines(self) -> int:
        """Rows that are shown while nothing is sought."""
        return len(self.find())

    def _searched(self, search: str, among: Bools) -> Bools:
        """(N,) where a pattern is found; equal outputs are looked at once."""
        pattern, began = _pattern(search), time.monotonic()
        found = np.zeros(len(self.facts), bool)
        outputs, first = np.unique(self.facts.output[among], return_index=True)
        texts, rows = self.facts.texts, np.flatnonzero(among)[first].tolist()
        hits = np.zeros(int(self.facts.output.max(initial=0)) + 1, bool)
        for output, i in zip(outputs.tolist(), rows, strict=True):
            left = began + _PATIENCE - time.monotonic()
            try:
                hits[output] = left > 0 and pattern.search(texts[i], timeout=left) is not None
            except TimeoutError:
                left = 0
            if left <= 0:
                raise ValueError(
                    f"{search!r} takes too long: nested repeats such as (a+)+ do; make it simpler"
                )
        found[among] = hits[self.facts.output[among]]
        return found

    def _measure(self, name: str, kept: Bools, baseline: int) -> Doubles:
        """(rows,) the mean of a column over the outputs of each row, NaN where nothing is known."""
        if name == "differing":
            return np.bincount(self.row[kept], self.differs(baseline)[kept], self.shape[0]).astype(np.float64)
        values = self.facts.numbers(name)
        known = kept & ~np.isnan(values)
        total = np.bincount(self.row[known], values[known], self.shape[0])
        with np.errstate(invalid="ignore"):
            return np.asarray(total / np.bincount(self.row[known], minlength=self.shape[0]))

    def _groups(self, name: str, kept: Bools, baseline: int, rows: Ints) -> tuple[Ints, npt.NDArray[Any]]:
        """Numbers of the groups of some rows, in their order, and what each is called."""
        if name in ("differing", "cost", *_MEASURED, "grade.score"):
            return _ranges(name, self._measure(name, kept, baseline)[rows])
        codes, values = self.facts.codes(name)
        low = np.full(self.shape[0], len(values))
        high = np.full(self.shape[0], -1)
        np.minimum.at(low, self.row[kept], codes[kept])
        np.maximum.at(high, self.row[kept], codes[kept])
        group = np.where(low == high, low, len(values))[rows]
        called = _apart([f"{name} {_short(v)}" for v in values])
        return group, np.array([*called, f"{name} mixed"], object)[group]

    # What a cell holds

    def cell(self, row: int, column: int, found: Found) -> list[int]:
        """The choices of a cell, as rows of the results table: those that were sought first. Those of a column that
        lacks an axis of the rows altogether stand in every row that they agree with in the others, as greedy outputs
        do for every seed (see `without`)."""
        here = self._own(row, column)
        if not len(here) and (i := int(self.base(column)[row])) >= 0:
            here = self._own(int(self.row[i]), column)
        here = here[found.kept[here]]
        return [*here[found.matching[here]].tolist(), *here[~found.matching[here]].tolist()]

    def _own(self, row: int, column: int) -> Ints:
        place = row * self.shape[1] + column
        own: Ints = self._order[slice(*np.searchsorted(self._places, [place, place + 1]))]
        return own

    def without(self, i: int, row: int) -> list[str]:
        """The axes of a row that a choice in it lacks; none in the row that is its own."""
        if row == self.row[i]:
            return []
        return [name for name in self.rows if self.facts.value(name, i) is None]

    def shown(self, column: int, found: Found) -> Bools:
        """(N,) the choices of a column that are in the cells of the rows found."""
        here = self.base(column)[found.rows]
        rows = np.zeros(self.shape[0], bool)
        rows[self.row[here[here >= 0]]] = True
        return np.asarray(found.kept & (self.column == column) & rows[self.row])

    def told(self, i: int) -> dict[str, Any]:
        """What is known of a choice: finish_reason, error, verdict, prompt_tokens, completion_tokens, seconds, cost;
        None where it is not known."""
        names = ["finish_reason", "error", *_MEASURED[:3]]
        more = {"verdict": self.facts.judged, "cost": self.facts.cost is not None}
        known = {name: self.facts.value(name, i) for name in [*names, *(n for n in more if more[n])]}
        return {"verdict": None, "cost": None, **known}

    def diff(self, i: int, base: int, by: str = "word", most: int = 3000) -> Diff:
        """What turns one output, of a row of the results table, into another: in words or, by="token", in tokens (in
        words where their tokens are not known). Only the first 20,000 characters of each are looked at, and `most`
        words or tokens from the first difference on."""
        known = self.facts.tokens([base, i]) if by == "token" else {}
        if base in known and i in known:
            return diff(known[base], known[i], most)
        a, b = (words(self.facts.texts[k][:LONG]) for k in (base, i))
        return diff(a, b, most)

    def pieces(
        self, i: int, base: int | None = None, search: str = "", by: str = "word", most: int = 3000
    ) -> list[Piece]:
        """An output as pieces that tell how it differs from another (see `diff`; None for none), and what a search
        finds in it: (equal, insert, delete, rest or gap; text; found)."""
        found = self._pieces(i, base, search, by, most)
        more = len(self.facts.texts[i]) - LONG
        return [*found, ("gap", f"… {more:,} more characters", False)] if more > 0 else found

    def in_brief(self, i: int, base: int | None = None, search: str = "", by: str = "word") -> list[Piece]:
        """The same, as a cell of a table has room for it."""
        found = self._pieces(i, base, search, by, _FEW)
        return brief(found, _ROOM, max(0, len(self.facts.texts[i]) - LONG))

    def _pieces(self, i: int, base: int | None, search: str, by: str, most: int) -> list[Piece]:
        """Of the first `LONG` characters."""
        text = self.facts.texts[i][:LONG]
        plain = Diff((("equal", text),) if text else (), True)
        compared = plain if base is None else self.diff(i, base, by, most)
        found = marked(compared.ops, _spans(search, text) if search else [])
        if not compared.whole:
            at = next((k for k, piece in enumerate(found) if piece[0] == "rest"), len(found))
            found.insert(at, ("gap", " ⋯ too long to be compared from here on ⋯ ", False))
        return found

    # Grades

    @property
    def gradable(self) -> bool:
        """Whether there is a file to keep grades in."""
        return self.facts.store is not None and self.facts.store.path != ":memory:"

    def grade(self, i: int, **given: Any) -> Grade:
        """Grades the choice of a row of the results table, in the store: see `Store.grade`. Raises ValueError for a
        row that is an error, StoreError where there is no file to keep it in."""
        if self.facts.store is None:
            raise StoreError(
                "a table that was read from CSV has no store to keep a grade in: grade the results of the store "
                "itself, toolkit.results('run.db')"
            )
        if self.facts.failed[i]:
            raise ValueError("an error has no answer that could be graded")
        return self.facts.store.grade(*self.facts.places[i], **given)

    # Showing itself

    def _counts(self, found: Found) -> str:
        rows, columns = len(found.rows), self.shape[1]
        failed = int(self.facts.failed.sum())
        differing = np.unique(self.row[self.differs()]).size
        across = ", ".join(self.columns) or "all"
        size = f"{many(rows, 'row')} × {many(columns, 'column')} ({across})"
        parts = [size, many(len(self.facts), "output")]
        parts += [f"{many(differing, 'row')} with an output that differs from the first column's"]
        parts += [f"{failed:,} failed"] if failed else []
        return ", ".join(parts)

    def __repr__(self) -> str:
        found = self.find()
        if self.values == "text":
            return f"Comparison({self._counts(found)})\n{self._plain(found)}"
        shown = self.frame().iloc[:, :_STATIC_COLUMNS].to_string(max_rows=_PLAIN_ROWS, max_colwidth=60)
        return f"Comparison({self._counts(found)})\n{shown}"

    def _plain(self, found: Found) -> str:
        """The texts as `html` has them, for a terminal."""
        import pandas as pd

        axes = self._told_axes()
        shown = range(min(self.shape[1], _STATIC_COLUMNS))
        lines = []
        for row in found.rows[:_PLAIN_ROWS].tolist():
            values = self.row_values(row)
            cells = [self.cell(row, column, found) for column in shown]
            said = [self._said(cell[0]) if cell else NOTHING for cell in cells]
            lines.append([*(_short(values[name]) for name in axes), *said])
        names = [*axes, *(_label(self.column_values(column)) for column in shown)]
        table = pd.DataFrame(lines, columns=names).to_string(index=False, max_colwidth=60)
        return "\n".join([table, *self._left(found, _PLAIN_ROWS)])

    def _said(self, i: int) -> str:
        if self.facts.failed[i]:
            return f"error: {self.facts.value('error', i)}"
        return self.facts.texts[i] + (" ✂" if self.facts.value("finish_reason", i) == "length" else "")

    def _told_axes(self) -> list[str]:
        """The axes of the rows. The number of a row of data says nothing beside its variables."""
        named = any(name.startswith("row.") for name in self.rows)
        return [name for name in self.rows if not (named and name == "row")]

    def _left(self, found: Found, most: int) -> list[str]:
        """What a static form leaves out, in words."""
        left = [(len(found.rows) - most, "rows"), (self.shape[1] - _STATIC_COLUMNS, "columns")]
        return [f"… and {n:,} more {what}" for n, what in left if n > 0]

    def _repr_html_(self) -> str:
        if self.values == "text":
            return self.html()
        return f"<p>{html.escape(self._counts(self.find()))}</p>{report.table(self.frame().reset_index(), rows=200)}"

    def html(self, escape: Callable[[str], str] = html.escape) -> str:
        """The texts as a table, each with its difference from the first column, and what is known of it; the first 60
        rows and 8 columns. escape: what makes a text HTML."""
        found, grades, axes = self.find(), self.facts.grades(), self._told_axes()
        shown = range(min(self.shape[1], _STATIC_COLUMNS))
        head = [*axes, *(_label(self.column_values(column)) for column in shown)]
        label = "".join(f'<th style="{_CELL};{_wrap(name)}">{escape(name)}</th>' for name in head)
        lines = []
        for row in found.rows[:_STATIC_ROWS].tolist():
            values = self.row_values(row)
            said = [_short(values[name], 300) for name in axes]
            cells = [self._cell_html(row, column, found, grades, escape) for column in shown]
            lines += ["<tr>"]
            lines += [f'<td style="{_CELL};{_wrap(value)}">{escape(value)}</td>' for value in said]
            lines += [*(f'<td style="{_CELL}">{cell}</td>' for cell in cells), "</tr>"]
        rest = "".join(f"<p>{left}</p>" for left in self._left(found, _STATIC_ROWS))
        return (
            f"<div><p>{escape(self._counts(found))}. <ins>Only here</ins>, <del>only in the first column</del>.</p>"
            f"<table><thead><tr>{label}</tr></thead><tbody>{''.join(lines)}</tbody></table>{rest}</div>"
        )

    def _cell_html(
        self,
        row: int,
        column: int,
        found: Found,
        grades: Sequence[Grade | None],
        escape: Callable[[str], str],
    ) -> str:
        here = self.cell(row, column, found)
        if not here:
            return NOTHING
        i = here[0]
        told, base = self.told(i), int(self.base(0)[self.row[i]])
        compared = None if base in (-1, i) else base
        if told["error"] is not None:
            said = f"<b>error</b> {escape(told['error'])}"
        else:
            pieces = self.in_brief(i, compared)
            said = "".join(_MARKS.get(op, "{}").format(escape(text)) for op, text, _ in pieces)
        facts = [f"without {name}" for name in self.without(i, row)]
        if compared is not None and self.facts.output[i] == self.facts.output[compared]:
            facts.append("= as the first column")
        facts += [summary(told), opinion(grades[i]), f"+{len(here) - 1:,}" if len(here) > 1 else ""]
        return f'<div style="{_SAID}">{said}</div><small>{escape(" · ".join(filter(None, facts)))}</small>'


def _wrap(text: str) -> str:
    """Short values stay on one line, or narrow columns would break words."""
    return "white-space:nowrap" if len(text) <= _ONE_LINE else "white-space:pre-wrap;overflow-wrap:anywhere"


_CELL = "text-align:left;vertical-align:top;max-width:26em;border-bottom:1px solid #8886"
_SAID = "white-space:pre-wrap;overflow-wrap:anywhere;unicode-bidi:isolate"
_MARKS = {
    "insert": '<ins style="background:rgba(0,114,178,0.18)">{}</ins>',
    "delete": '<del style="background:rgba(230,159,0,0.22)">{}</del>',
    "gap": "<small>{}</small>",
}


def summary(told: Mapping[str, Any]) -> str:
    """What is known of an output (`Comparison.told`), in a line."""
    parts = [told["verdict"], {"length": "✂ length"}.get(told["finish_reason"], told["finish_reason"])]
    parts += [f"{told['prompt_tokens']} + {told['completion_tokens']} tokens"]
    parts += [] if told["seconds"] is None else [f"{told['seconds']:.2f} s"]
    parts += [] if told["cost"] is None else [dollars(told["cost"])]
    return " · ".join(filter(None, parts))


def opinion(grade: Grade | None) -> str:
    """What a person thinks of an output, in a line."""
    if grade is None:
        return ""
    thumb = {1: "thumb up", -1: "thumb down", None: ""}[grade.thumb]
    score = "" if grade.score is None else f"score {grade.score:g}"
    return " · ".join(filter(None, [thumb, score, _short(grade.note, 300)]))


def _joined(length: int, parts: Sequence[Ints]) -> tuple[Ints, Ints]:
    """Numbers for the combinations of several codes, in their order, and the first place of each combination."""
    found = np.zeros(length, np.int64)
    for codes in parts:
        # One after the other, so that the product of many codes does not overflow.
        found = np.unique(found * (int(codes.max(initial=0)) + 1) + codes, return_inverse=True)[1]
    return found, np.unique(found, return_index=True)[1]


def _ranges(name: str, values: Doubles) -> tuple[Ints, npt.NDArray[Any]]:
    """Groups of numbers: each number, or quarters of many; and what each is called."""
    known = np.unique(values[~np.isnan(values)])
    if len(known) > _RANGES:
        known = np.unique(np.quantile(values[~np.isnan(values)], [0, 0.25, 0.5, 0.75]))
    group = np.where(np.isnan(values), len(known), np.searchsorted(known, values, side="right") - 1)
    each = len(np.unique(values[~np.isnan(values)])) <= _RANGES
    called = [f"{name} {low:.4g}" + ("" if each else " and more") for low in known]
    return group, np.array([*called, f"{name} {NOTHING}"], object)[group]


def _pattern(search: str) -> Any:
    import regex

    try:
        return regex.compile(search, regex.IGNORECASE)
    except regex.error as error:
        raise ValueError(f"{search!r} is no regular expression: {error}") from None


def _spans(search: str, text: str) -> list[tuple[int, int]]:
    """What to mark of a text; nothing where that takes too long."""
    try:
        return [m.span() for m in _pattern(search).finditer(text, timeout=0.1) if m.end() > m.start()]
    except TimeoutError:
        return []


def _apart(names: Sequence[str]) -> list[str]:
    """Names of which no two are equal, as those of long texts may be that were cut."""
    count = Counter(names)
    return [f"{name} [{i}]" if count[name] > 1 else name for i, name in enumerate(names)]


def _short(value: Any, most: int = 80) -> str:
    text = NOTHING if value is None else f"{value:g}" if isinstance(value, float) else str(value)
    return text if len(text) <= most else text[: most - 1] + "…"


def _label(values: Mapping[str, Any]) -> str:
    """What a column is called."""
    return ", ".join(f"{name} {_short(value)}" for name, value in values.items()) or "all"
