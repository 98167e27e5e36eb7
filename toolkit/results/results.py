"""Results: the completions of a sweep as a table, and what can be made of it."""

from __future__ import annotations

import html
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit import plots, report
from toolkit.choice import Choice
from toolkit.comparison import Comparison, other_axes, side_by_side
from toolkit.completion import Completion, Usage
from toolkit.cost import Costs, costs, of_each, ran
from toolkit.determinism import FINGERPRINT, Determinism, determinism
from toolkit.examples import SHOTS
from toolkit.facts import Facts
from toolkit.fingerprint import Fingerprint
from toolkit.messages import plain_text
from toolkit.prices import LocalPrice, ModelPrice, model_price
from toolkit.records import plain, record, restored
from toolkit.sampling import FIELDS, unknown
from toolkit.schema import ResponseFormat, response_format
from toolkit.sensitivity import sensitivity
from toolkit.store import ON, PEERS, PLACE, Store, opened
from toolkit.verdict import parsed, verdict

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

_LABELS = ("prompt", "case", "row", *SHOTS, "response_format", "rung")
AXES = ("sweep", *_LABELS, *FIELDS, "model", "system_fingerprint", "repeat", "choice")
"""Columns that say what was asked, of which system; the variables of a row are `row.<name>`."""
OUTCOMES = (
    "text", "finish_reason", "error", "stop_reason", "prompt_tokens", "completion_tokens", "cached_tokens",
    "seconds", "first_token_seconds",
)  # fmt: skip
"""Columns that say what came back. `seconds` from arrival to last token, waiting in the batch included."""
MADE = ("examples", "dropped")
"""Columns that say how the prompt was made: ids of its examples in the order shown, what did not fit."""
GRADES = ("grade.thumb", "grade.score", "grade.note")
"""Columns that say what people think of the answers; there are none where no answer has a grade (see `Grade`)."""
_KEYS = ("request", "run", "position", "created")
_TEXTS = (
    "sweep", "prompt", "case", "model", "system_fingerprint", "text", "finish_reason", "error", "grade.note",
    "request",
)  # fmt: skip
"""Columns that are texts, whatever they look like."""
_WHOLE = (
    "seed", "n", "max_tokens", "top_logprobs", "top_k", "min_tokens", "row", "run", "position", "k", "order_seed",
    "grade.thumb",
)  # fmt: skip
_COMPLETED = f"""
SELECT cells.sweep, cells.position AS cell, cells.labels, x.request, x.fingerprint AS system_fingerprint,
       x.repeat, x.choice, x.text, x.finish_reason, NULL AS error, x.stop_reason, x.prompt_tokens,
       x.completion_tokens, x.cached_tokens, x.seconds, x.first_token_seconds, x.run, x.position, x.created
FROM completions x JOIN cells ON cells.request = x.request
  AND x.repeat >= cells.first AND x.repeat < cells.first + cells.repeats
WHERE (?2 IS NULL OR cells.sweep = ?2) AND (?1 IS NULL OR {ON}) AND x.choice >= 0
"""
_FAILED = f"""
SELECT cells.sweep, cells.position, cells.labels, x.request, x.fingerprint, x.repeat, 0, '', 'error', x.error,
       NULL, 0, 0, 0, NULL, NULL, x.run, NULL, max(x.created)
FROM failures x JOIN cells ON cells.request = x.request
  AND x.repeat >= cells.first AND x.repeat < cells.first + cells.repeats
WHERE (?2 IS NULL OR cells.sweep = ?2) AND (?1 IS NULL OR {ON}) AND NOT EXISTS (
    SELECT 1 FROM completions c WHERE c.request = x.request AND c.repeat = x.repeat AND (
        c.fingerprint = x.fingerprint OR c.fingerprint IN {PEERS.format("x.fingerprint")}))
GROUP BY cells.sweep, cells.position, x.request, x.fingerprint, x.repeat
"""
_LOST = """
SELECT r.sweep, x.request, x.fingerprint AS system_fingerprint, x.repeat, count(*) AS attempts,
       total(x.prompt_tokens) AS prompt_tokens, total(x.completion_tokens) AS completion_tokens,
       total(x.seconds) AS machine_seconds, sum(x.seconds * r.joules / r.seconds) / sum(x.seconds) AS watts
FROM failures x JOIN runs r ON r.id = x.run
GROUP BY r.sweep, x.request, x.fingerprint, x.repeat
"""


class Results:
    """A table of completions, one row a choice, over the store that holds them.

    `results.frame()` is a pandas DataFrame; `results[i]` the Completion behind row i, with its arrays;
    iterating gives them all.
    """

    def __init__(self, table: pd.DataFrame, store: Store | None) -> None:
        self._rows = table
        self._store = store
        self._last_grade = 0

    @property
    def _table(self) -> pd.DataFrame:
        """The rows, with the grades that the store holds by now."""
        if self._store is not None and (last := self._store.last_grade()) != self._last_grade:
            self._rows, self._last_grade = _graded(self._rows, self._store), last
        return self._rows

    @classmethod
    def of(cls, store: Store, sweep: str | None = None, fingerprint: str | None = None) -> Results:
        """Everything in a store that belongs to a sweep (all sweeps) on a fingerprint (all of them). Where several
        systems answer behind one address, also what the others said, where this one did not say it."""
        return cls(_table(store, sweep, fingerprint), store)

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, row: int) -> Completion:
        """The completion behind a row of the table. Raises IndexError past the end."""
        if self._store is None:
            raise ValueError(
                "a table read from CSV has no completions behind it: read Parquet or JSONL instead"
            )
        found = self._table.iloc[row]
        if found["finish_reason"] == "error":
            return _failure(self._store, dict(found))
        return self._store.completion(found["request"], found["system_fingerprint"], int(found["repeat"]))

    def __iter__(self) -> Iterator[Completion]:
        """Each completion once, whatever its number of choices."""
        first = np.flatnonzero((self._table["choice"] == 0).to_numpy())
        return (self[int(i)] for i in first)

    def __repr__(self) -> str:
        return f"Results({self._counts()})\n{self._shown().to_string(max_rows=20, max_colwidth=60)}"

    def _repr_html_(self) -> str:
        return f"<p>{html.escape(self._counts())}</p>" + report.table(self._shown(), rows=20)

    def _counts(self) -> str:
        failed = int((self._table["finish_reason"] == "error").sum())
        cut = int((self._table["finish_reason"] == "length").sum())
        parts = [f"{len(self)} rows", f"{int(self._table['completion_tokens'].sum()):,} completion tokens"]
        parts += [f"{cut} cut at max_tokens"] if cut else []
        parts += [f"{failed} failed"] if failed else []
        return ", ".join(parts)

    def _shown(self) -> pd.DataFrame:
        """What a person looks at first: what varies, the text, why it ended and its length."""
        outcomes = ["text", "finish_reason", "completion_tokens"]
        if self._table["error"].notna().any():
            outcomes.append("error")
        named = any(name.startswith("row.") for name in self.axes)
        return self._table[[*(a for a in self.axes if not (named and a == "row")), *outcomes]]

    def _settings(self) -> list[str]:
        """The axes that are neither data nor draws of one setting."""
        return [name for name in self.axes if name not in plots.DRAWS and not name.startswith("row.")]

    @property
    def axes(self) -> list[str]:
        """The columns that say what was asked and differ between rows."""
        names = [c for c in map(str, self._table.columns) if c in AXES or c.startswith("row.")]
        return [name for name in names if _varies(self._table[name])]

    def frame(self) -> pd.DataFrame:
        """The table: what varies first, then what came back, then what is the same in all rows."""
        columns = list(self._table.columns)
        first = [*self.axes, *OUTCOMES, *(name for name in GRADES if name in columns)]
        return self._table[[*first, *(c for c in columns if c not in first)]].copy()

    def filter(self, where: Callable[[pd.DataFrame], Any] | None = None, **equal: Any) -> Results:
        """The rows whose columns equal the given values (a list means any of them), or for which
        `where(frame)` gives True.

        >>> results.filter(temperature=[0, 0.7], finish_reason="stop")  # doctest: +SKIP
        """
        keep = np.ones(len(self), bool)
        for name, value in equal.items():
            column = self._table[self._column(name)]
            many = isinstance(value, (list, tuple, set, range))
            keep &= column.isin(list(value) if many else [value]).to_numpy()
        if where is not None:
            keep &= np.asarray(where(self._table), bool)
        return Results(self._table[keep].reset_index(drop=True), self._store)

    def on(self, asked: Iterable[tuple[str, str]]) -> Results:
        """The rows of some sweeps on some fingerprints: pairs of their ids."""
        wanted = set(asked)
        pairs = zip(self._table["sweep"], self._table["system_fingerprint"], strict=True)
        return self.filter(lambda _: [pair in wanted for pair in pairs])

    def group(self, by: str | Sequence[str]) -> Iterator[tuple[Any, Results]]:
        """(value, Results) for each value of a column, or tuple of values of several, in sorted order."""
        names = self._columns(by)
        for value, part in self._table.groupby(names if len(names) > 1 else names[0], dropna=False):
            yield value, Results(part.reset_index(drop=True), self._store)

    def pivot(
        self,
        rows: str | Sequence[str],
        columns: str | Sequence[str],
        values: str = "text",
        how: Any = "first",
    ) -> pd.DataFrame:
        """A table with the values of some columns as rows and of others as columns. `how` joins several
        values of one place: any pandas aggregation ("first", "mean", "nunique", …)."""
        return side_by_side(
            self._table, self._columns(rows), self._columns(columns), self._column(values), how
        )

    def compare(
        self,
        by: str | Sequence[str],
        values: str = "text",
        rows: str | Sequence[str] | None = None,
        price: str | ModelPrice | LocalPrice | None = None,
    ) -> Comparison:
        """Side by side: one column for each value of an axis (each combination of several), one row for each setting
        of the other axes, or of `rows`. `.frame()` is that as a table, in which a text that was cut (finish_reason
        "length") ends with ✂; the comparison finds, sorts, groups and pages rows, tells outputs apart word by word,
        and keeps grades (see `Comparison`).

        values: what the table holds; any column. price: what is paid for each completion, as in `costs`.

        Raises KeyError for an unknown column, ValueError for one that is both, and what `costs` does for a price.

        >>> results.compare("temperature").frame()  # doctest: +SKIP
        """
        across = self._columns(by)
        down = other_axes(self._table, self.axes, across) if rows is None else self._columns(rows)
        paid = price if isinstance(price, LocalPrice) or price is None else model_price(price)
        cost = None if paid is None else of_each(self._table, self._store, paid)
        facts = Facts(self._table, self._store, self.axes, cost)
        return Comparison(facts, down, across, self._column(values))

    def summary(self, by: str | Sequence[str] | None = None) -> pd.DataFrame:
        """A row for each setting: completions, distinct texts, mean tokens, share cut at max_tokens, failed.

        by: columns to group by; what varies, without rows, seed, repeat and choice, when left out.
        """
        names = self._settings() if by is None else self._columns(by)
        table = self._table.assign(
            cut=self._table["finish_reason"] == "length", failed=self._table["finish_reason"] == "error"
        )
        groups = table.groupby(names, dropna=False) if names else table.groupby(lambda _: "all")
        return groups.agg(
            completions=("text", "size"),
            distinct=("text", "nunique"),
            mean_tokens=("completion_tokens", "mean"),
            cut_share=("cut", "mean"),
            failed=("failed", "sum"),
        ).round(3)

    def sensitivity(
        self, over: str = "order_seed", score: Callable[[Mapping[str, Any]], float] | None = None
    ) -> pd.DataFrame:
        """How much the answers depend on an axis that should not matter, by setting (see `sensitivity`).

        score: from a row of `frame()` to a number, such as
        `lambda row: row["text"].strip() == row["row.expected"]`.
        """
        table = self._table[self._table["finish_reason"] != "error"]
        if not _varies(table[self._column(over)]):
            raise ValueError(f"{over} is the same in all rows: run a sweep with an axis {over}=range(5)")
        if score is not None:
            table = table.assign(score=_scores(score, table))
        others = [name for name in self.axes if name != over and not name.startswith("row.")]
        by = [name for name in others if name not in plots.DRAWS and name != "row"]
        return sensitivity(table, over, by, others or ["sweep"]).round(4)

    def determinism(
        self,
        by: str | Sequence[str] | None = None,
        score: Callable[[Mapping[str, Any]], float] | None = None,
        parse: Callable[[str], Any] | None = None,
    ) -> Determinism:
        """Whether equal requests got equal answers: of each request, each setting, each fingerprint, and between
        fingerprints; with bounds, forks and sentences (see `Determinism`). Repeats of a request are its runs: ask
        with `repeats=`, and on several systems with `Sweep.run_across`.

        by: columns that tell settings apart; what varies, without rows and draws, when left out. score: from a row of
        `frame()` to a share of right, 0 to 1. parse: from a text to the answer in it, None where there is none: then
        the report says how often the answers agree, whatever the words.

        Raises ValueError when there is no answer yet.

        >>> results.determinism().between  # doctest: +SKIP
        """
        if self._store is None:
            raise ValueError("a table read from CSV has no tokens behind it: read Parquet or JSONL instead")
        names = self._settings() if by is None else self._columns(by)
        store, table = self._store, self._table[self._table["finish_reason"] != "error"]
        if score is not None:
            table = table.assign(correct=_scores(score, table))
        if parse is not None:
            table = table.assign(answer=[parse(text) for text in table["text"]])

        def difference(a: str, b: str) -> str:
            return str(store.fingerprint(a).diff(store.fingerprint(b)))

        return determinism(table, store, [n for n in names if n != FINGERPRINT], difference=difference)

    def verdicts(self, form: Any = None) -> pd.DataFrame:
        """The table of `frame()` with columns that say what became of the form that was asked for, or of any other
        given here: verdict (see `Verdict`; missing where there is no form), problem (what is wrong, in words), and
        parsed (the data, of a valid one). Nothing is asked again. A store keeps the schema of a type, not the type:
        give it here for instances, and for what its own validators say.
        """
        given = response_format(form)
        asked = {} if self._store is None else self._store.forms()
        frame = self.frame()
        rows = zip(frame["request"], frame["text"], frame["finish_reason"], strict=True)
        found = [_told(given or asked.get(key), text, reason) for key, text, reason in rows]
        return frame.assign(
            **dict(zip(("verdict", "problem", "parsed"), zip(*found, strict=True), strict=True))
        )

    def costs(
        self,
        by: str | Sequence[str] | None = None,
        price: str | ModelPrice | LocalPrice | None = None,
        at: str | ModelPrice | Sequence[str | ModelPrice] = (),
        score: Callable[[Mapping[str, Any]], float] | None = None,
    ) -> Costs:
        """Tokens, time and money by setting, each completion counted once (rows are choices, and cells may share a
        request).

        by: columns to group by; what varies, without rows, seed, repeat and choice, when left out. price: what is
        paid: a `LocalPrice` of this machine's hours, or a model sold by tokens. at: models whose price for the same
        numbers of tokens is shown beside it (another tokenizer would count otherwise, and what the local prefix cache
        held is not cached there). score: from a row of `frame()` to a share of right, 0 to 1.

        Columns: completions, prompt_tokens, cached_tokens, completion_tokens; spent_tokens and saved_tokens (prompt
        and completion, asked by a run of this sweep, or found in the store); machine_seconds (the time in which the
        engine ran, shared by those that ran at once); first_token_seconds (median), tokens_per_second;
        cut (completions that reached max_tokens or the window); failed_attempts (of this sweep); kwh (by the watts of
        `price`, or as the device told of each run; left out when neither is known); with a price, in US dollars, cost
        (of all, as if asked here), spent, saved,
        spent_on_failures; valid (share of the rows without an error whose answer has the form asked for) and correct
        (mean score of these rows); cost_per_completion, cost_per_valid and cost_per_correct: cost and, where known,
        spent_on_failures, by the number of completions, of valid and of right answers (one to several rows of data
        counts for each). What is not known, as who asked and what failed in a table read from a file, is NaN.

        Raises PriceError for an unknown model, ValueError for a price of energy where what was drawn is not known,
        and for two prices of one name in `at`, TypeError for a score that is no function or gives no number.
        """
        offers = tuple(map(model_price, [at] if isinstance(at, (str, ModelPrice)) else at))
        paid = price if isinstance(price, LocalPrice) or price is None else model_price(price)
        names = self._settings() if by is None else self._columns(by)
        return costs(self._judged(score), names, *self._ran(), paid, offers)

    def _judged(self, score: Callable[[Mapping[str, Any]], float] | None) -> pd.DataFrame:
        """The table with what each row is worth: own (asked by a run of its sweep), valid, correct."""
        import pandas as pd

        table = self._table
        sweeps = dict(self._query("SELECT id, sweep FROM runs"))
        runs = table["run"].map(sweeps, na_action="ignore")
        table = table.assign(own=(runs == table["sweep"]).astype(float).where(runs.notna(), np.nan))
        forms = {} if self._store is None else self._store.forms()
        if forms.keys() & set(table["request"]):
            rows = zip(table["request"], table["text"], table["finish_reason"], strict=True)
            told = [_told(forms.get(key), text, reason)[0] for key, text, reason in rows]
            table = table.assign(
                valid=pd.Series([None if t is None else t == "valid" for t in told], dtype=object)
            )
        if score is not None:
            table = table.assign(correct=_scores(score, table))
        return table

    def _ran(self) -> tuple[pd.DataFrame, pd.DataFrame | None]:
        """All completions that the store has of these engines, and the failed attempts of each; None for the latter
        where nothing is known of runs, as in a table that was read from a file."""
        import pandas as pd

        every = ran(self._table, self._store)
        if self._store is None:
            return every, None
        columns, rows = self._store.query(_LOST)
        known = bool(self._query("SELECT 1 FROM runs LIMIT 1"))
        return every, pd.DataFrame(rows, columns=columns) if known else None

    def _query(self, sql: str, *values: Any) -> list[tuple[Any, ...]]:
        return [] if self._store is None else self._store.query(sql, values)[1]

    def plot(self) -> Figure:
        """Length of each completion and agreement of the answers, by setting (see `plots.overview`)."""
        return plots.overview(self._table, self.axes)

    def _column(self, name: str) -> str:
        if name not in self._table.columns:
            raise KeyError(unknown("column", name, map(str, self._table.columns)))
        return name

    def _columns(self, names: str | Sequence[str]) -> list[str]:
        return [self._column(name) for name in ([names] if isinstance(names, str) else names)]

    @property
    def fingerprints(self) -> dict[str, Fingerprint]:
        """The records of all fingerprints in the table, by id."""
        names = self._table["system_fingerprint"].unique()
        return {} if self._store is None else {str(n): self._store.fingerprint(str(n)) for n in names}

    # In and out

    def to_parquet(self, path: str | Path) -> Path:
        """Everything, arrays included, as one Parquet file."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        pq.write_table(pa.Table.from_pylist(list(self._records())), path)
        return Path(path)

    @classmethod
    def from_parquet(cls, path: str | Path) -> Results:
        """What `to_parquet` wrote."""
        import pyarrow.parquet as pq

        return cls._of_records(pq.read_table(path).to_pylist())

    def to_jsonl(self, path: str | Path) -> Path:
        """Everything, arrays included, as one JSON object a line."""
        with Path(path).open("w", encoding="utf-8") as file:
            for record in self._records():
                file.write(json.dumps(record, ensure_ascii=False) + "\n")
        return Path(path)

    @classmethod
    def from_jsonl(cls, path: str | Path) -> Results:
        """What `to_jsonl` wrote."""
        with Path(path).open(encoding="utf-8") as file:
            return cls._of_records([json.loads(line) for line in file])

    def to_csv(self, path: str | Path) -> Path:
        """The table of `frame()`, without arrays, for a spreadsheet."""
        # Lines end as RFC 4180 has it: then a carriage return within a text is quoted, and ends no line.
        self.frame().to_csv(path, index=False, lineterminator="\r\n")
        return Path(path)

    @classmethod
    def from_csv(cls, path: str | Path) -> Results:
        """The table that `to_csv` wrote; there are no completions behind it."""
        import pandas as pd

        # An answer such as 007, and an id of digits alone, are no numbers.
        table = pd.read_csv(path, keep_default_na=False, na_values=[""], dtype=dict.fromkeys(_TEXTS, str))
        table["text"] = table["text"].fillna("")  # an empty answer is a text too
        return cls(_typed(table), None)

    def to_html(self, path: str | Path, title: str = "Sweep") -> Path:
        """A self-contained page: a picture, the summary, the table (long ones cut, and said so), the
        fingerprints. All model text is escaped."""
        records = {name: dict(f.components) for name, f in self.fingerprints.items()}
        page = report.page(title, self._counts(), self.summary(), self._shown(), self.plot(), records)
        Path(path).write_text(page, encoding="utf-8")
        return Path(path)

    def _records(self) -> Iterator[dict[str, Any]]:
        fingerprints = self.fingerprints
        grades = {} if self._store is None else self._store.grades()
        rows: list[Any] = self._table.to_dict("records")
        for i, row in enumerate(rows):
            names = (c for c in map(str, row) if c in (*_LABELS, *MADE) or c.startswith("row."))
            labels = {name: v for name in names if (v := plain(row[name])) is not None}
            grade = grades.get(tuple(row[name] for name in PLACE))
            yield record(row, labels, self[i], fingerprints[row["system_fingerprint"]], grade)

    @classmethod
    def _of_records(cls, records: Sequence[Mapping[str, Any]]) -> Results:
        return cls.of(restored(records))


def _told(form: ResponseFormat | None, text: str, reason: str) -> tuple[str | None, str | None, Any]:
    """Status, problem and data of a text; None without a form, for an error, and for calls."""
    if form is None or reason in ("error", "tool_calls"):
        return None, None, None
    told = verdict(text, form, reason)
    return told.status, None if told.valid else str(told), parsed(told, form)


def _scores(score: Callable[[Mapping[str, Any]], float], table: pd.DataFrame) -> list[float]:
    """The score of each row; NaN for one that is an error."""
    rows: list[Any] = table.to_dict("records")
    if rows and not callable(score):
        raise TypeError(f"score must be a function from a row of frame() to a number, got {score!r}")
    return [_worth(score, row) for row in rows]


def _worth(score: Callable[[Mapping[str, Any]], float], row: Mapping[str, Any]) -> float:
    if row["finish_reason"] == "error":
        return np.nan
    given: Any = score(row)
    try:
        return float(given)
    except (TypeError, ValueError):
        raise TypeError(f"score must give a number from 0 to 1, got {given!r} for {row['text']!r}") from None


def results(store: Store | str | Path) -> Results:
    """Everything in a store: all sweeps, all fingerprints.

    >>> tk.results("runs/haiku.db").frame()  # doctest: +SKIP
    """
    return Results.of(opened(store))


def _table(store: Store, sweep: str | None, fingerprint: str | None) -> pd.DataFrame:
    import pandas as pd

    names, rows = store.query(_COMPLETED, (fingerprint, sweep))
    rows += store.query(_FAILED, (fingerprint, sweep))[1]
    columns: dict[str, Any] = dict(
        zip(names, zip(*rows, strict=True) if rows else ((),) * len(names), strict=True)
    )
    columns["stop_reason"] = [json.loads(text or "null") for text in columns["stop_reason"]]
    models = {
        name: store.fingerprint(name).components.get("model") for name in set(columns["system_fingerprint"])
    }
    columns["model"] = [models[name] for name in columns["system_fingerprint"]]
    bodies, samplings = dict(store.sweeps()), store.samplings()

    @cache  # cells are many, rows of data few
    def labelled(name: str, text: str) -> dict[str, Any]:
        return _labels(json.loads(text), bodies[name])

    labels = pd.DataFrame(
        [labelled(*pair) for pair in zip(columns["sweep"], columns.pop("labels"), strict=True)]
    )
    asked = [samplings[key] for key in columns["request"]]
    fields = pd.DataFrame.from_records(asked, columns=list(FIELDS))
    joined = pd.concat([labels, fields, pd.DataFrame(columns)], axis=1)
    if fingerprint is not None and joined["system_fingerprint"].nunique() > 1:
        # Systems that answered the same in different runs: its own answer counts, else the first.
        joined = joined.sort_values("created").sort_values(
            "system_fingerprint", key=lambda names: names != fingerprint, kind="stable"
        )
        joined = joined.drop_duplicates(["sweep", "cell", "repeat", "choice"])
    # Sorted here: SQLite takes three times as long.
    joined = joined.sort_values(
        ["sweep", "cell", "system_fingerprint", "repeat", "choice"], ignore_index=True
    )
    variables = [c for c in map(str, labels) if c.startswith("row.")]
    return _typed(joined.reindex(columns=[*AXES[:4], *variables, *AXES[4:], *OUTCOMES, *MADE, *_KEYS]))


def _graded(table: pd.DataFrame, store: Store) -> pd.DataFrame:
    """The rows of a table with the grades of a store: without columns where it has none for any of them."""
    grades = store.grades()
    places = zip(*(table[name] for name in PLACE), strict=True)
    found = [grades.get(place) for place in places]
    bare = table.drop(columns=[name for name in GRADES if name in table])
    if not any(found):
        return bare
    told = [(None, None, None) if one is None else (one.thumb, one.score, one.note or None) for one in found]
    columns: dict[str, Any] = dict(zip(GRADES, zip(*told, strict=True), strict=True))
    columns["grade.score"] = np.array(columns["grade.score"], np.float64)
    return _typed(bare.assign(**columns))


def _labels(labels: dict[str, Any], sweep: Mapping[str, Any]) -> dict[str, Any]:
    """Labels as columns: the number of a prompt or row becomes its text or variables."""
    if "row" in labels and sweep.get("rows"):
        labels |= {f"row.{name}": _countable(value) for name, value in sweep["rows"][labels["row"]].items()}
    if isinstance(number := labels.get("prompt"), int):
        called = [_called(prompt) for prompt in sweep["prompts"]]
        again = called.count(called[number]) > 1
        labels["prompt"] = f"{called[number]} [{number}]" if again else called[number]
    if "examples" in labels:
        labels["examples"] = tuple(labels["examples"])  # a tuple can be counted and grouped by
    if isinstance(dropped := labels.get("dropped"), dict):
        labels["dropped"] = ", ".join(f"{n} {name}" for name, n in dropped.items())
    return labels


def _called(prompt: str | Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str:
    """What a table calls a prompt: its name, its template, or the last message's text."""
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, Mapping):
        return str(prompt.get("name") or prompt["template"])
    return plain_text(prompt[-1])


def _countable(value: Any) -> Any:
    """A value that a column can be grouped by: lists as tuples, dicts as JSON."""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return tuple(map(_countable, value)) if isinstance(value, (list, tuple)) else value


def _typed(table: pd.DataFrame) -> pd.DataFrame:
    """Whole numbers stay whole where some are missing."""
    return table.astype({name: "Int64" for name in _WHOLE if name in table})


def _varies(column: pd.Series[Any]) -> bool:
    return bool(column.nunique(dropna=False) > 1)


def _failure(store: Store, row: Mapping[str, Any]) -> Completion:
    return Completion(
        request=store.request(row["request"]),
        choices=(Choice(0, "", "error"),),
        usage=Usage(),
        model=str(row["model"]),
        system_fingerprint=str(row["system_fingerprint"]),
        id="",
        created=float(row["created"]),
        error=str(row["error"]),
    )
