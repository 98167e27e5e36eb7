"""The completions of a sweep as a table, with analyses, comparisons and exports."""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from toolkit._internal.files import whole_file
from toolkit._internal.text import replace_lone_surrogates, short_repr
from toolkit._internal.validation import instance_of, unknown
from toolkit.analysis.determinism.repeats import FINGERPRINT
from toolkit.analysis.determinism.report import Determinism, determinism
from toolkit.analysis.determinism.statistics import interval
from toolkit.analysis.sensitivity import sensitivity
from toolkit.core.completion import Completion
from toolkit.core.fingerprint import Fingerprint, system_names
from toolkit.display.html import html_page, html_table
from toolkit.display.markup import Markup, markup
from toolkit.display.plots.style import DRAWS
from toolkit.display.plots.sweep import plot_sweep
from toolkit.pricing.costs import Costs, cost_per_row, costs
from toolkit.pricing.prices import LocalPrice, ModelPrice, model_price
from toolkit.results.columns import RowColumns
from toolkit.results.combine import combine
from toolkit.results.comparison import Comparison
from toolkit.results.comparison_grid import other_axes, side_by_side
from toolkit.results.completions import RowCompletions
from toolkit.results.csv_table import read_csv, write_csv
from toolkit.results.export import (
    from_records,
    read_jsonl,
    read_parquet,
    table_records,
    write_jsonl,
    write_parquet,
)
from toolkit.results.overview import overview, with_shown_names, with_system_names
from toolkit.results.table import (
    AXES,
    RUN_NAME,
    counts_text,
    equals,
    in_order_of_interest,
    narrowed_table,
    readable_table,
    summary,
    varies,
    with_grades,
    without_explained,
)
from toolkit.results.worth import Score, attempts, scores, with_correct, with_verdicts, with_worth
from toolkit.store.store import Store
from toolkit.structured.response_format import response_format

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.display.plots.figure import NotebookFigure
    from toolkit.display.tables import Table


class Results:
    """A table of completions, one row a choice, over the store that holds them.

    `results.frame()` is a pandas DataFrame; `results[i]` the Completion behind row i, with its arrays;
    `results[:10]` the first ten rows; iterating gives all completions.
    """

    def __init__(self, table: pd.DataFrame, store: Store | None) -> None:
        self._rows = table
        self._store = store
        self._completions = RowCompletions(table, store)
        self._last_grade = 0

    @property
    def _table(self) -> pd.DataFrame:
        """The rows, with the current grades of the store."""
        if self._store is not None and (last := self._store.last_grade()) != self._last_grade:
            self._rows, self._last_grade = with_grades(self._rows, self._store), last
        return self._rows

    @classmethod
    def of(
        cls, store: Store, sweep: str | None = None, fingerprint: Fingerprint | str | None = None
    ) -> Results:
        """Everything in a store that belongs to a sweep (None: all) on the system of a fingerprint (a record, or the
        ID of a stored one; None: all). Where several systems answer behind one address, also completions of the
        others that this one does not have."""
        instance_of(Store, "store", store, "toolkit.results(path) opens one")
        return cls(readable_table(store, sweep, fingerprint), store)

    def __len__(self) -> int:
        return len(self._table)

    @overload
    def __getitem__(self, row: int) -> Completion: ...

    @overload
    def __getitem__(self, row: slice) -> Results: ...

    def __getitem__(self, row: int | slice) -> Completion | Results:
        """The completion behind a row of the table, with those of its choices that are in the table; or some of the
        rows. Raises IndexError past the end."""
        if isinstance(row, slice):
            return self._part(row)
        if not hasattr(row, "__index__") or np.ndim(row):
            fix = f"give a number or a slice such as results[0:3], got {short_repr(row)}"
            raise TypeError(f"results have rows: {fix}; columns are in results.frame()")
        return self._completions[operator.index(row)]

    def __iter__(self) -> Iterator[Completion]:
        """Each completion once, with those of its choices that are in the table."""
        return iter(self._completions)

    def _part(self, rows: Any) -> Results:
        """Some rows: a slice, or a Boolean for each row."""
        return Results(self._table.iloc[rows].reset_index(drop=True), self._store)

    def __add__(self, other: Results) -> Results:
        """The rows of both, with the names of their files in the column `run_name`: see `toolkit.results`."""
        if not isinstance(other, Results):
            return NotImplemented
        return Results(*combine([self._table, other._table], [self._store, other._store], [None, None]))

    def __repr__(self) -> str:
        from toolkit.display.tables import text_table

        return f"Results({counts_text(self._table)})\n{text_table(self._overview, 20, 60)}"

    def _repr_html_(self) -> Markup:
        return markup("<p>{}</p>{}", counts_text(self._table), html_table(self._overview, rows=20))

    @property
    def _overview(self) -> pd.DataFrame:
        return overview(self._table, self.axes, self.fingerprints, self._store)

    def _settings(self) -> list[str]:
        """The axes other than rows of data and repeated draws of a setting."""
        return [name for name in self.axes if name not in DRAWS and not name.startswith("row.")]

    @property
    def axes(self) -> list[str]:
        """The columns that identify requests and systems, and differ between rows; not the hash of a sweep or a
        system where the name of its run, prompt or model tells as much."""
        names = [c for c in map(str, self._table.columns) if c in (RUN_NAME, *AXES) or c.startswith("row.")]
        return without_explained([name for name in names if varies(self._table[name])], self._table)

    def frame(self) -> pd.DataFrame:
        """The table: the axes first, then the outcomes, then what is the same in all rows. Whole numbers are Int64,
        True and False boolean, whether or not some are missing; a list is a tuple, a document its JSON text."""
        return narrowed_table(self._table[in_order_of_interest(self._table, self.axes)])

    def filter(self, where: Callable[[pd.DataFrame], Any] | None = None, **equal: Any) -> Results:
        """The rows whose columns equal the given values (a list means any of them, None a missing value), or for
        which `where(frame)` gives True. Raises KeyError for an unknown column.

        >>> results.filter(temperature=[0, 0.7], finish_reason="stop")  # doctest: +SKIP
        """
        if where is not None and not callable(where):
            raise TypeError(
                f"where must be a function of a table, got {short_repr(where)}: columns go by name"
            )
        keep = np.ones(len(self), bool)
        for name, value in equal.items():
            keep &= equals(self._table[self._column(name)], value)
        if where is not None:
            keep &= np.asarray(where(self._table), bool)
        return self._part(keep)

    def on(self, asked: Iterable[tuple[str, str]]) -> Results:
        """The rows of some sweeps on some fingerprints: (sweep id, fingerprint id) pairs."""
        selected = set(asked)
        pairs = zip(self._table["sweep"], self._table["system_fingerprint"], strict=True)
        return self.filter(lambda _: [pair in selected for pair in pairs])

    def group(self, by: str | Sequence[str]) -> Iterator[tuple[Any, Results]]:
        """(value, Results) for each value of a column, or tuple of values of several, in sorted order."""
        names = self._some_columns(by)
        for value, part in self._table.groupby(names if len(names) > 1 else names[0], dropna=False):
            yield value, Results(part.reset_index(drop=True), self._store)

    def pivot(
        self,
        rows: str | Sequence[str],
        columns: str | Sequence[str],
        values: str = "text",
        how: Any = "first",
    ) -> Table:
        """A table with the values of some columns as rows and of others as columns. `how` aggregates the
        values of a cell: any pandas aggregation ("first", "mean", "nunique", …)."""
        names = self._some_columns(rows), self._some_columns(columns), self._column(values)
        return with_shown_names(side_by_side(self._table, *names, how), self.fingerprints)

    def compare(
        self,
        by: str | Sequence[str],
        values: str = "text",
        rows: str | Sequence[str] | None = None,
        price: str | ModelPrice | LocalPrice | None = None,
    ) -> Comparison:
        """Side by side: one column for each value of an axis (each combination of several), one row for each setting
        of the other axes, or of `rows`. `.frame()` gives it as a table, in which a text that was cut (finish_reason
        "length") ends with ✂; the comparison finds, sorts, groups and pages rows, shows differences word by word, and
        stores grades (see `Comparison`).

        values: the column that the table shows. price: the price of each completion, as in `costs`.

        Raises KeyError for an unknown column, ValueError for one in both, and what `costs` does for a price.

        >>> results.compare("temperature").frame()  # doctest: +SKIP
        """
        columns = self._some_columns(by)
        row_axes = other_axes(self._table, self.axes, columns) if rows is None else self._columns(rows)
        resolved_price = price if isinstance(price, LocalPrice) or price is None else model_price(price)
        cost = None if resolved_price is None else cost_per_row(self._table, self._store, resolved_price)
        row_columns = RowColumns(self._table, self._store, self.axes, cost)
        return Comparison(row_columns, row_axes, columns, self._column(values))

    def summary(self, by: str | Sequence[str] | None = None) -> Table:
        """A row for each setting: completions; of those without an error distinct texts, mean tokens, and the share
        cut at max_tokens; failed, those with one.

        by: columns to group by; by default the axes without rows, seed, repeat and choice.
        """
        names = self._settings() if by is None else self._columns(by)
        return with_shown_names(summary(self._table, names), self.fingerprints)

    def sensitivity(self, over: str = "order_seed", score: Score | None = None) -> Table:
        """How much the answers depend on an axis that should not matter, by setting (see `sensitivity`).

        score: from a row of `frame()` to a number: `lambda row: row["text"].strip() == row["row.expected"]`.
        """
        table = self._table[self._table["finish_reason"] != "error"]
        if not varies(table[self._column(over)]):
            raise ValueError(f"{over} is the same in all rows: run a sweep with an axis {over}=range(5)")
        if score is not None:
            table = table.assign(score=scores(score, table))
        others = [name for name in self.axes if name != over and not name.startswith("row.")]
        by = [name for name in others if name not in DRAWS and name != "row"]
        return with_shown_names(sensitivity(table, over, by, others or ["sweep"]), self.fingerprints)

    def determinism(
        self,
        by: str | Sequence[str] | None = None,
        score: Score | None = None,
        parse: Callable[[str], Any] | None = None,
    ) -> Determinism:
        """Whether equal requests got equal answers: by request, setting and fingerprint, and between fingerprints;
        with bounds, forks and sentences (see `Determinism`). It compares the repeats of each request: run sweeps with
        `repeats=`, and on several systems with `Sweep.run_across`.

        by: columns that identify settings; by default the axes without rows and draws. score: from a row of `frame()`
        to a score, 0 to 1. parse: from a text to the answer in it, None where there is none: then the report says how
        often the answers agree, whatever the wording.

        Raises ValueError when there is no answer yet.

        >>> results.determinism().between  # doctest: +SKIP
        """
        if self._store is None:
            raise ValueError("a table read from CSV has no tokens behind it: read Parquet or JSONL instead")
        names = [n for n in self._settings() if n != RUN_NAME] if by is None else self._columns(by)
        store, table = self._store, self._table[self._table["finish_reason"] != "error"]
        if score is not None:
            table = table.assign(correct=scores(score, table))
        if parse is not None:
            table = table.assign(answer=[parse(text) for text in table["text"]])

        def difference(a: str, b: str) -> str:
            return str(store.fingerprint(a).diff(store.fingerprint(b)))

        return determinism(table, store, [n for n in names if n != FINGERPRINT], difference=difference)

    def verdicts(self, form: Any = None) -> pd.DataFrame:
        """The table of `frame()` with columns that check each text against its request's response format, or against
        `form`: verdict (see `Verdict`; missing without a response format), problem (in words), and parsed (the data
        of a valid text). No request is sent. A store keeps the schema of a type, not the type: give it here for
        instances, and for its own validators.
        """
        return with_verdicts(self.frame(), self._store, response_format(form))

    def costs(
        self,
        by: str | Sequence[str] | None = None,
        price: str | ModelPrice | LocalPrice | None = None,
        at: str | ModelPrice | Sequence[str | ModelPrice] = (),
        score: Score | None = None,
    ) -> Costs:
        """Tokens, time and money by setting, each completion counted once, though several rows may show it.

        by: columns to group by; by default the axes without rows, seed, repeat and choice. price: the price that is
        paid: a `LocalPrice` of this machine's hours, or of a model sold by tokens. at: models whose price for the
        same numbers of tokens is shown for comparison (another tokenizer counts differently, and tokens in the local
        prefix cache are not cached there). score: from a row of `frame()` to a score, 0 to 1.

        Columns: completions; valid (share of the rows without an error whose answer is valid for its response format)
        and correct (mean score of these rows), each with its 95 % interval (_low, _high) of so many _items (see
        `mean_share`); with a price, in US dollars, cost (of all, as if generated here), spent, saved,
        spent_on_failures, and cost_per_completion, cost_per_valid, cost_per_correct: cost and, where known,
        spent_on_failures, by the number of them (one answer to several rows of data counts for each); prompt_tokens,
        cached_tokens, completion_tokens; spent_tokens and saved_tokens (of completions generated by a run of this
        sweep, or found in the store); machine_seconds (attributed by tokens, see `machine_seconds`)
        and machine_share (of all); queued_seconds and first_token_seconds (medians, from arrival), tokens_per_second
        (of one sequence in its batch, after its first token); cut (reached max_tokens or the context window);
        failed_attempts (of this sweep, also what was generated twice); lost_attempts (at most, where runs were killed
        or interrupted: cost unknown); kwh (by the watts of `price`, or the measured power; left out when unknown).
        What is not known, as the runs and failures of a table read from a file, is NaN.

        Raises PriceError for an unknown model, ValueError for a price of energy where the power is not known, and for
        two prices of one name in `at`, TypeError for a score that is no function or gives no number.
        """
        offers = tuple(map(model_price, [at] if isinstance(at, (str, ModelPrice)) else at))
        resolved_price = price if isinstance(price, LocalPrice) or price is None else model_price(price)
        names = self._settings() if by is None else self._columns(by)
        return costs(
            with_worth(self._table, self._store, score),
            names,
            *attempts(self._table, self._store),
            resolved_price,
            offers,
            system_names(self.fingerprints),
        )

    def plot(self, score: Score | None = None) -> NotebookFigure:
        """What the settings change, a line for each: scores, shares of labels, lengths, agreement (see `plot_sweep`).
        In a dark notebook it is dark; `results.plot().dark()` gives that form.

        score: from a row of `frame()` to a score, 0 to 1; by default whether the text equals the row's `expected`.
        """
        table, meaning = with_correct(with_worth(self._table, self._store, score))
        return plot_sweep(with_system_names(table, self.fingerprints), self.axes, meaning, interval)

    def _column(self, name: str) -> str:
        if not isinstance(name, str):
            raise TypeError(f"a column is named by a text, got {short_repr(name)}")
        if name not in self._table.columns:
            raise KeyError(unknown("column", name, map(str, self._table.columns)))
        return name

    def _columns(self, names: str | Sequence[str]) -> list[str]:
        several = [names] if isinstance(names, str) or not isinstance(names, Iterable) else names
        return [self._column(name) for name in several]

    def _some_columns(self, names: str | Sequence[str]) -> list[str]:
        if not (columns := self._columns(names)):
            raise ValueError(f"no column is named, got {short_repr(names)}: give at least one")
        return columns

    @property
    def fingerprints(self) -> dict[str, Fingerprint]:
        """Fingerprint id → record, for all fingerprints in the table."""
        names = map(str, self._table["system_fingerprint"].unique())
        return {} if self._store is None else {name: self._store.fingerprint(name) for name in names}

    def to_parquet(self, path: str | Path) -> Path:
        """Everything, arrays included, as one Parquet file."""
        return write_parquet(self._records(), path)

    @classmethod
    def from_parquet(cls, path: str | Path) -> Results:
        """What `to_parquet` wrote: its `frame()` is the same. Raises ValueError for another file, OSError."""
        return cls(*from_records(read_parquet(path), path))

    def to_jsonl(self, path: str | Path) -> Path:
        """Everything, arrays included, as one JSON object a line; −inf is {"$numberDouble": "-Infinity"}."""
        return write_jsonl(self._records(), path)

    @classmethod
    def from_jsonl(cls, path: str | Path) -> Results:
        """What `to_jsonl` wrote: its `frame()` is the same. Raises ValueError for another file, OSError."""
        return cls(*from_records(read_jsonl(path), path))

    def to_csv(self, path: str | Path) -> Path:
        """The table of `frame()`, without arrays, for a spreadsheet: texts are quoted, lists are JSON, and a text
        that a spreadsheet would run as a formula begins with an apostrophe."""
        return write_csv(self.frame(), path)

    @classmethod
    def from_csv(cls, path: str | Path) -> Results:
        """The table that `to_csv` wrote, without completions. Its `frame()` is the same, but for lists in rows of
        data, which are JSON texts. Raises ValueError for another file, OSError."""
        return cls(read_csv(path), None)

    def to_html(self, path: str | Path, title: str = "Sweep") -> Path:
        """A self-contained page: plot, summary, table (a long one is cut, with a note), fingerprints, all escaped."""
        records = {name: dict(f.components) for name, f in self.fingerprints.items()}
        counts, by_setting = counts_text(self._table), self.summary()._repr_html_()
        page = html_page(title, counts, by_setting, self._overview, self.plot(), records)
        with whole_file(path) as draft:
            draft.write_text(replace_lone_surrogates(page), encoding="utf-8")
        return Path(path)

    def _records(self) -> Iterator[dict[str, Any]]:
        grades = {} if self._store is None else self._store.grades()
        completions = (self._completions[i] for i in range(len(self)))
        return table_records(self._table, completions, self.fingerprints, grades)
