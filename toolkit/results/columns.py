"""Facts: what is known of each row of a results table, column by column: text, verdict, cost, grade, tokens."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from toolkit import report
from toolkit.choice import Choice, Vocabulary
from toolkit.diff import words
from toolkit.sampling import unknown
from toolkit.store import PLACE, Grade, Store
from toolkit.verdict import verdict

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.schema import ResponseFormat

Ints = npt.NDArray[np.int64]
Doubles = npt.NDArray[np.float64]
Bools = npt.NDArray[np.bool_]

GRADED = ("grade", "grade.thumb", "grade.score")
_KINDS = ("up", "down", "other", "none")
"""Of grades: those without a thumb are "other"."""
LONG = 20_000
"""Characters of one text that are compared and searched for what to mark."""
_KEPT = 2000
"""Texts whose tokens are kept at hand."""


class Facts:
    """What is known of each of the N rows (choices) of a results table, column by column; each is made once, when it
    is first asked for."""

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
        """(N,) what each said; calls of functions too, which are no part of a text."""
        called = self._called()
        if not called:
            return list(self.table["text"])
        calls = [called.get(place, []) for place in self.places]
        return [
            "\n".join(filter(None, pair))
            for pair in zip(self.table["text"], map("\n".join, calls), strict=True)
        ]

    def _called(self) -> dict[Any, list[str]]:
        if self.store is None or not (self.table["finish_reason"] == "tool_calls").any():
            return {}
        query = (
            "SELECT request, fingerprint, repeat, choice, '→ ' || json_extract(call.value, '$.name') || '(' || "
            "json_extract(call.value, '$.arguments') || ')' FROM completions, json_each(tool_calls) call"
        )
        found: dict[Any, list[str]] = {}
        for *place, call in self.store.query(query)[1]:
            found.setdefault(tuple(place), []).append(call)
        return found

    @cached_property
    def places(self) -> list[Any]:
        """(N,) what the store knows each by."""
        return list(zip(*(self.table[name] for name in PLACE), strict=True))

    @cached_property
    def failed(self) -> Bools:
        return np.asarray(self.table["finish_reason"] == "error", bool)

    @cached_property
    def output(self) -> Ints:
        """(N,) equal outputs have equal numbers; errors are apart from all texts."""
        import pandas as pd

        said = np.array(self.texts, dtype=object)
        said[self.failed] = [f"\0{error}" for error in self.table["error"][self.failed]]
        return np.asarray(pd.factorize(said)[0], np.int64)

    @cached_property
    def _forms(self) -> Mapping[str, ResponseFormat]:
        return {} if self.store is None else self.store.forms()

    @cached_property
    def judged(self) -> bool:
        """Whether a form was asked of any of them."""
        return not self._forms.keys().isdisjoint(self.table["request"])

    @cached_property
    def verdicts(self) -> list[str | None]:
        """(N,) status of each `Verdict`; None where no form was asked for."""
        known: dict[Any, str] = {}
        rows = zip(self.table["request"], self.table["text"], self.table["finish_reason"], strict=True)
        found: list[str | None] = []
        for request, text, reason in rows:
            form = self._forms.get(request)
            if form is None or reason in ("error", "tool_calls"):
                found.append(None)
                continue
            asked = (id(form), text, reason)
            if asked not in known:
                known[asked] = verdict(text, form, reason).status
            found.append(known[asked])
        return found

    def grades(self) -> list[Grade | None]:
        """(N,) the grades by now."""
        if self.store is None:
            return self._read_grades()
        known = self.store.grades()
        return [known.get(place) for place in self.places] if known else [None] * len(self)

    def _read_grades(self) -> list[Grade | None]:
        """Those that a table has which was read from CSV."""
        if "grade.thumb" not in self.table:
            return [None] * len(self)
        columns = (self.table[f"grade.{name}"] for name in ("thumb", "score", "note"))
        rows = ([None if report.is_missing(v) else v for v in row] for row in zip(*columns, strict=True))
        found = [Grade(thumb and int(thumb), score, str(note or "")) for thumb, score, note in rows]
        return [grade or None for grade in found]

    def column(self, name: str) -> Any:
        """(N,) an axis, a measure, or what became of each. Raises KeyError for an unknown name."""
        if name == "verdict":
            return self.verdicts
        if name == "cost" and self.cost is not None:
            return self.cost
        if name == "grade":
            return [_kind(grade) for grade in self.grades()]
        if name in GRADED:
            return [grade and getattr(grade, name.removeprefix("grade.")) for grade in self.grades()]
        if name not in self.table:
            raise KeyError(unknown("column", name, map(str, self.table.columns)))
        return self.table[name]

    def codes(self, name: str) -> tuple[Ints, list[Any]]:
        """(N,) numbers that stand for the values of a column, and these values: numbers in order, what is missing
        last, texts as they come."""
        import pandas as pd

        if name in self._codes:
            return self._codes[name]
        if name == "grade":
            return np.array([_KINDS.index(kind) for kind in self.column(name)], np.int64), [*_KINDS]
        column = pd.Series(self.column(name))
        ordered = pd.api.types.is_numeric_dtype(column)
        codes, values = pd.factorize(column, sort=ordered, use_na_sentinel=True)
        found = (
            np.where(codes < 0, len(values), codes),
            [*values.tolist(), *([None] if (codes < 0).any() else [])],
        )
        if name not in GRADED:  # these change
            self._codes[name] = found
        return found

    def numbers(self, name: str) -> Doubles:
        """(N,) what a column is sorted by: its numbers, NaN where missing; of other values their places in the
        alphabet, what is missing last."""
        import pandas as pd

        column = pd.Series(self.column(name))
        if name in GRADED[1:] or pd.api.types.is_numeric_dtype(column):
            return pd.to_numeric(column).to_numpy(np.float64, na_value=np.nan)
        codes, values = self.codes(name)
        if name == "grade":
            return codes.astype(np.float64)
        rank = np.empty(len(values))
        rank[sorted(range(len(values)), key=lambda i: _in_order(values[i]))] = np.arange(len(values))
        return rank[codes]

    def value(self, name: str, i: int) -> Any:
        """A column's value in a row, None where missing."""
        if name in GRADED:  # these change
            return self.column(name)[i]
        if name not in self._values:
            column = self.column(name)
            self._values[name] = column if isinstance(column, list) else column.tolist()
        value = self._values[name][i]
        return None if report.is_missing(value) else value

    def tokens(self, rows: Collection[int]) -> Mapping[int, list[str]]:
        """The texts of the tokens of some rows (and of some that were asked for before), by row; without those whose
        tokens are not known. Ask for all that is needed at once."""
        places = {self.places[i]: i for i in rows if i not in self._tokens}
        if self.store is None or not places:
            return self._tokens
        if len(self._tokens) > _KEPT:
            self._tokens = {i: self._tokens[i] for i in rows if i in self._tokens}
        query = (
            "SELECT request, fingerprint, repeat, choice, token_ids FROM completions "
            "JOIN arrays ON completion = number WHERE request IN (SELECT value FROM json_each(?))"
        )
        requests = "[" + ",".join(f'"{request}"' for request in {place[0] for place in places}) + "]"
        for *place, ids in self.store.query(query, [requests])[1]:
            if (i := places.get(tuple(place))) is not None and len(ids):
                self._tokens[i] = self._pieces(i, np.frombuffer(ids, np.int32))
        return self._tokens

    def _pieces(self, i: int, ids: npt.NDArray[np.int32]) -> list[str]:
        vocabulary = self._vocabulary(self.places[i][1])
        found, at, text = [], 0, self.texts[i][:LONG]
        for _, _, piece in Choice(0, "", "stop", token_ids=ids, vocabulary=lambda: vocabulary).pieces:
            if not piece or not text.startswith(
                piece, at
            ):  # the end of the text is a token, and no part of it
                break
            found.append(piece)
            at += len(piece)
        return [*found, *words(text[at:])]

    def _vocabulary(self, fingerprint: str) -> Vocabulary:
        try:
            return self.store.vocabulary(fingerprint) if self.store else []
        except KeyError:
            return []


def _in_order(value: Any) -> tuple[int, float, str]:
    """Numbers before texts before what is missing."""
    if isinstance(value, int | float):
        return 0, value, ""
    return 1 + (value is None), 0, str(value).casefold()


def _kind(grade: Grade | None) -> str:
    return "none" if grade is None else {1: "up", -1: "down", None: "other"}[grade.thumb]
