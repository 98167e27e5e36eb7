"""Columns derived from the rows of a results table: text, verdict, cost, grade, tokens."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property, lru_cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit._internal.missing import is_missing
from toolkit._internal.validation import unknown
from toolkit.analysis.text_diff import words
from toolkit.core.choice import Choice, Vocabulary
from toolkit.core.fingerprint import system_names
from toolkit.results.targets import is_right, target_variable
from toolkit.store.rows import PLACE, Grade
from toolkit.store.store import Store
from toolkit.structured.verdict import verdict

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.structured.response_format import ResponseFormat


Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]
GRADED = ("grade", "grade.thumb", "grade.score")
CORRECT = ("right", "wrong")
_GRADE_KINDS = ("up", "down", "other", "none")
"""Kinds of grades: one without a thumb is "other"."""
LONG = 20_000
"""The most characters of a text that are compared, and searched for matches to mark."""
_TOKEN_CACHE_SIZE = 2000
"""The number of texts whose tokens are cached."""


class RowColumns:
    """Columns derived from the N rows (choices) of a results table; each is computed once, when it is first
    needed."""

    def __init__(
        self, table: pd.DataFrame, store: Store | None, axes: Sequence[str], cost: Doubles | None
    ) -> None:
        self.table, self.store, self.axes, self.cost = table, store, list(axes), cost
        self._codes: dict[str, tuple[Ints, list[Any]]] = {}
        self._tokens: dict[int, list[str]] = {}
        self._values: dict[str, list[Any]] = {}

    def __len__(self) -> int:
        return len(self.table)

    @cached_property
    def texts(self) -> list[str]:
        """(N,) the text of each choice, followed by its tool calls."""
        calls_by_place = self._tool_calls()
        if not calls_by_place:
            return list(self.table["text"])
        calls = [calls_by_place.get(place, []) for place in self.places]
        return [
            "\n".join(filter(None, pair))
            for pair in zip(self.table["text"], map("\n".join, calls), strict=True)
        ]

    def _tool_calls(self) -> dict[Any, list[str]]:
        if self.store is None or not (self.table["finish_reason"] == "tool_calls").any():
            return {}
        calls: dict[Any, list[str]] = {}
        for place, name, arguments in self.store.tool_calls():
            calls.setdefault(place, []).append(f"→ {name}({arguments})")
        return calls

    @cached_property
    def places(self) -> list[Any]:
        """(N,) the key of each choice in the store."""
        return list(zip(*(self.table[name] for name in PLACE), strict=True))

    @cached_property
    def failed(self) -> Bools:
        return np.asarray(self.table["finish_reason"] == "error", bool)

    @cached_property
    def output(self) -> Ints:
        """(N,) equal outputs have equal numbers; an error never equals a text."""
        import pandas as pd

        outputs = np.array(self.texts, dtype=object)
        outputs[self.failed] = [f"\0{error}" for error in self.table["error"][self.failed]]
        return np.asarray(pd.factorize(outputs)[0], np.int64)

    @cached_property
    def _response_formats(self) -> Mapping[str, ResponseFormat]:
        return {} if self.store is None else self.store.forms()

    @cached_property
    def judged(self) -> bool:
        """Whether any request has a response format."""
        return not self._response_formats.keys().isdisjoint(self.table["request"])

    @cached_property
    def verdicts(self) -> list[str | None]:
        """(N,) status of each `Verdict`; None for a request without a response format."""
        statuses: dict[Any, str] = {}
        rows = zip(self.table["request"], self.table["text"], self.table["finish_reason"], strict=True)
        verdicts: list[str | None] = []
        for request, text, reason in rows:
            response_format = self._response_formats.get(request)
            if response_format is None or reason in ("error", "tool_calls"):
                verdicts.append(None)
                continue
            key = (id(response_format), text, reason)
            if key not in statuses:
                statuses[key] = verdict(text, response_format, reason).status
            verdicts.append(statuses[key])
        return verdicts

    @cached_property
    def target(self) -> str | None:
        """The column that holds the right answers; None where the data has none."""
        variables = [name.removeprefix("row.") for name in map(str, self.table) if name.startswith("row.")]
        bodies = self.store.sweeps() if self.store else []
        name = target_variable(
            variables, [prompt for _, body in bodies for prompt in body.get("prompts", ())]
        )
        return name and f"row.{name}"

    @cached_property
    def correct(self) -> list[bool | None]:
        """(N,) whether each output is the right answer (see `is_right`); None for errors and tool calls too."""
        if self.target is None:
            return [None] * len(self)
        variable = self.target.removeprefix("row.")
        is_right_once = lru_cache(None, typed=True)(partial(is_right, variable=variable))
        rows = zip(self.table["text"], self.table[self.target], self.table["finish_reason"], strict=True)
        return [
            None if reason in ("error", "tool_calls") else is_right_once(text, target)
            for text, target, reason in rows
        ]

    def grades(self) -> list[Grade | None]:
        """(N,) the current grades."""
        if self.store is None:
            return self._csv_grades()
        grades = self.store.grades()
        return [grades.get(place) for place in self.places] if grades else [None] * len(self)

    def _csv_grades(self) -> list[Grade | None]:
        """The grades in a table that was read from CSV."""
        if "grade.thumb" not in self.table:
            return [None] * len(self)
        columns = (self.table[f"grade.{name}"] for name in ("thumb", "score", "note"))
        rows = ([None if is_missing(v) else v for v in row] for row in zip(*columns, strict=True))
        grades = [Grade(thumb and int(thumb), score, str(note or "")) for thumb, score, note in rows]
        return [grade or None for grade in grades]

    def column(self, name: str) -> Any:
        """(N,) an axis, a measure or an outcome. Raises KeyError for an unknown name."""
        if name == "verdict":
            return self.verdicts
        if name == "correct" and self.target is not None:
            return [None if right is None else CORRECT[not right] for right in self.correct]
        if name == "cost" and self.cost is not None:
            return self.cost
        if name == "grade":
            return [_grade_kind(grade) for grade in self.grades()]
        if name in GRADED:
            return [grade and getattr(grade, name.removeprefix("grade.")) for grade in self.grades()]
        if name not in self.table:
            raise KeyError(unknown("column", name, map(str, self.table.columns)))
        return self.table[name]

    def codes(self, name: str) -> tuple[Ints, list[Any]]:
        """(N,) a code for each value of a column, and the value of each code: numbers in ascending order, texts in
        order of appearance, missing last."""
        import pandas as pd

        if name in self._codes:
            return self._codes[name]
        if name == "grade":
            return np.array([_GRADE_KINDS.index(kind) for kind in self.column(name)], np.int64), [
                *_GRADE_KINDS
            ]
        column = pd.Series(self.column(name))
        ordered = pd.api.types.is_numeric_dtype(column)
        codes, values = pd.factorize(column, sort=ordered, use_na_sentinel=True)
        coded = (
            np.where(codes < 0, len(values), codes),
            [*values.tolist(), *([None] if (codes < 0).any() else [])],
        )
        if name not in GRADED:  # grades change
            self._codes[name] = coded
        return coded

    def numbers(self, name: str) -> Doubles:
        """(N,) the sort key of a column: its numbers, NaN where missing; for other values their rank in alphabetical
        order, missing last."""
        import pandas as pd

        column = pd.Series(self.column(name))
        if name in GRADED[1:] or pd.api.types.is_numeric_dtype(column):
            return pd.to_numeric(column).to_numpy(np.float64, na_value=np.nan)
        codes, values = self.codes(name)
        if name == "grade":
            return codes.astype(np.float64)
        rank = np.empty(len(values))
        rank[sorted(range(len(values)), key=lambda i: _sort_key(values[i]))] = np.arange(len(values))
        return rank[codes]

    def value(self, name: str, i: int) -> Any:
        """A column's value in a row, None where missing."""
        if name in GRADED:  # grades change
            return self.column(name)[i]
        if name not in self._values:
            column = self.column(name)
            self._values[name] = column if isinstance(column, list) else column.tolist()
        value = self._values[name][i]
        return None if is_missing(value) else value

    def display_value(self, name: str, value: Any) -> Any:
        """A value of a column as displays show it: a system by its name, not its id."""
        return self.system_names.get(value, value) if name == "system_fingerprint" else value

    @cached_property
    def system_names(self) -> Mapping[str, str]:
        """Fingerprint id → the name of a system."""
        if self.store is None:
            return {}
        ids = map(str, self.table["system_fingerprint"].unique())
        return system_names({id: self.store.fingerprint(id) for id in ids})

    def tokens(self, rows: Collection[int]) -> Mapping[int, list[str]]:
        """Row → the texts of its tokens, for some rows (and others in the cache); without rows whose tokens are not
        known. Give all needed rows at once: each call is one query."""
        places = {self.places[i]: i for i in rows if i not in self._tokens}
        if self.store is None or not places:
            return self._tokens
        if len(self._tokens) > _TOKEN_CACHE_SIZE:
            self._tokens = {i: self._tokens[i] for i in rows if i in self._tokens}
        for place, ids in self.store.token_ids({place[0] for place in places}):
            if (i := places.get(place)) is not None and len(ids):
                self._tokens[i] = self._token_texts(i, ids)
        return self._tokens

    def _token_texts(self, i: int, ids: npt.NDArray[np.int32]) -> list[str]:
        vocabulary = self._vocabulary(self.places[i][1])
        texts, at, text = [], 0, self.texts[i][:LONG]
        for _, _, piece in Choice(0, "", "stop", token_ids=ids, vocabulary=lambda: vocabulary).pieces:
            if not piece or not text.startswith(piece, at):  # such as the end-of-text token
                break
            texts.append(piece)
            at += len(piece)
        return [*texts, *words(text[at:])]

    def _vocabulary(self, fingerprint: str) -> Vocabulary:
        try:
            return self.store.vocabulary(fingerprint) if self.store else []
        except KeyError:
            return []


def _sort_key(value: Any) -> tuple[int, float, str]:
    """Numbers before texts before missing values."""
    if isinstance(value, int | float):
        return 0, value, ""
    return 1 + (value is None), 0, str(value).casefold()


def _grade_kind(grade: Grade | None) -> str:
    return "none" if grade is None else {1: "up", -1: "down", None: "other"}[grade.thumb]
