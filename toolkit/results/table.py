"""The rows of a store as a data frame."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.core.completion import Completion
from toolkit.core.sampling import FIELDS
from toolkit.errors import StoreError
from toolkit.prompts.messages import plain_text
from toolkit.prompts.selectors import FEW_SHOT_AXES
from toolkit.store.rows import PLACE
from toolkit.store.store import Store

if TYPE_CHECKING:
    import pandas as pd


LABELS = ("prompt", "case", "row", *FEW_SHOT_AXES, "response_format", "rung")
AXES = ("sweep", *LABELS, *FIELDS, "model", "system_fingerprint", "repeat", "choice")
"""Columns that identify the request and the system; the variables of a row of data are `row.<name>`."""
OUTCOMES = (
    "text", "finish_reason", "error", "stop_reason", "prompt_tokens", "completion_tokens", "cached_tokens",
    "seconds", "first_token_seconds",
)  # fmt: skip
"""Columns with the outcome. `seconds` is the time from arrival to the last token, with waiting in the batch."""
PROMPT_COLUMNS = ("examples", "dropped")
"""Columns on the rendered prompt: ids of its few-shot examples in order, and what did not fit."""
GRADES = ("grade.thumb", "grade.score", "grade.note")
"""Columns with people's grades (see `Grade`); missing from a table without any grade."""
_KEYS = ("request", "run", "position", "created")
TEXT_COLUMNS = (
    "sweep", "prompt", "case", "model", "system_fingerprint", "text", "finish_reason", "error", "grade.note",
    "request",
)  # fmt: skip
"""Columns that are texts, even if they look like numbers."""
_INTEGERS = (
    "seed", "n", "max_tokens", "top_logprobs", "top_k", "min_tokens", "row", "run", "position", "k", "order_seed",
    "grade.thumb",
)  # fmt: skip


def completions_table(store: Store, sweep: str | None, fingerprint: str | None) -> pd.DataFrame:
    import pandas as pd

    names, rows = store.cell_rows(sweep, fingerprint)
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
    def label_columns(name: str, text: str) -> dict[str, Any]:
        return _labels(json.loads(text), bodies[name])

    labels = pd.DataFrame(
        [label_columns(*pair) for pair in zip(columns["sweep"], columns.pop("labels"), strict=True)]
    )
    rows_of_fields = [samplings[key] for key in columns["request"]]
    fields = pd.DataFrame.from_records(rows_of_fields, columns=list(FIELDS))
    joined = pd.concat([labels, fields, pd.DataFrame(columns)], axis=1)
    if fingerprint is not None and joined["system_fingerprint"].nunique() > 1:
        # Several systems have answered the same request: the answer of this one counts, else the first.
        joined = joined.sort_values("created").sort_values(
            "system_fingerprint", key=lambda names: names != fingerprint, kind="stable"
        )
        joined = joined.drop_duplicates(["sweep", "cell", "repeat", "choice"])
    # Sorted here, since SQLite takes three times as long.
    joined = joined.sort_values(
        ["sweep", "cell", "system_fingerprint", "repeat", "choice"], ignore_index=True
    )
    variables = [c for c in map(str, labels) if c.startswith("row.")]
    return with_integer_dtypes(
        joined.reindex(columns=[*AXES[:4], *variables, *AXES[4:], *OUTCOMES, *PROMPT_COLUMNS, *_KEYS])
    )


def readable_table(store: Store, sweep: str | None, fingerprint: str | None) -> pd.DataFrame:
    """The table of `completions_table`; of a damaged store, of what can be read in it."""
    try:
        return completions_table(store, sweep, fingerprint)
    except (KeyError, ValueError, StoreError):
        if not store.find_damage():
            raise
        return completions_table(store, sweep, fingerprint)


def with_grades(table: pd.DataFrame, store: Store) -> pd.DataFrame:
    """The table with the grades of a store; without these columns when no row has a grade."""
    grades = store.grades()
    places = zip(*(table[name] for name in PLACE), strict=True)
    row_grades = [grades.get(place) for place in places]
    ungraded = table.drop(columns=[name for name in GRADES if name in table])
    if not any(row_grades):
        return ungraded
    fields = [(None, None, None) if g is None else (g.thumb, g.score, g.note or None) for g in row_grades]
    columns: dict[str, Any] = dict(zip(GRADES, zip(*fields, strict=True), strict=True))
    columns["grade.score"] = np.array(columns["grade.score"], np.float64)
    return with_integer_dtypes(ungraded.assign(**columns))


def _labels(labels: dict[str, Any], sweep: Mapping[str, Any]) -> dict[str, Any]:
    """Labels as columns: the number of a prompt or a row of data becomes its text or its variables."""
    if "row" in labels and sweep.get("rows"):
        labels |= {f"row.{name}": _hashable(value) for name, value in sweep["rows"][labels["row"]].items()}
    if isinstance(number := labels.get("prompt"), int):
        names = [_prompt_name(prompt) for prompt in sweep["prompts"]]
        ambiguous = names.count(names[number]) > 1
        labels["prompt"] = f"{names[number]} [{number}]" if ambiguous else names[number]
    if "examples" in labels:
        labels["examples"] = tuple(labels["examples"])  # can be grouped by
    if isinstance(dropped := labels.get("dropped"), dict):
        labels["dropped"] = ", ".join(f"{n} {name}" for name, n in dropped.items())
    return labels


def _prompt_name(prompt: str | Mapping[str, Any] | Sequence[Mapping[str, Any]]) -> str:
    """The name of a prompt in a table: its name, its template, or the last message's text."""
    if isinstance(prompt, str):
        return prompt
    if isinstance(prompt, Mapping):
        return str(prompt.get("name") or prompt["template"])
    return plain_text(prompt[-1])


def _hashable(value: Any) -> Any:
    """A value that a column can be grouped by: lists as tuples, dicts as JSON."""
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    return tuple(map(_hashable, value)) if isinstance(value, (list, tuple)) else value


def with_integer_dtypes(table: pd.DataFrame) -> pd.DataFrame:
    """Integers stay integers where some are missing."""
    return table.astype({name: "Int64" for name in _INTEGERS if name in table})


def varies(column: pd.Series[Any]) -> bool:
    return bool(column.nunique(dropna=False) > 1)


def failed_completion(store: Store, row: Mapping[str, Any]) -> Completion:
    return Completion.failed(
        store.request(row["request"]),
        str(row["error"]),
        model=str(row["model"]),
        system_fingerprint=str(row["system_fingerprint"]),
        id="",
        created=float(row["created"]),
    )
