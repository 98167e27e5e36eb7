"""Export of completions as flat records to Parquet and JSONL, and import into a table and a store in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._internal.files import file_to_read, whole_file
from toolkit._internal.jsonable import library_value, to_plain
from toolkit._internal.missing import is_missing
from toolkit._internal.text import short_repr
from toolkit.core.choice import ARRAYS, PROMPT, Choice, shaped
from toolkit.core.completion import Completion, Usage, sum_tokens
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.request import ResolvedRequest
from toolkit.errors import StoreError
from toolkit.results.standard_json import dump_standard, load_standard
from toolkit.results.table import LABELS, PROMPT_COLUMNS, RUN_NAME, make_table
from toolkit.store.rows import PLACE, Cell, Grade, Place, StoredCompletion
from toolkit.store.store import Store
from toolkit.structured.tools import ToolCall

if TYPE_CHECKING:
    import pandas as pd

_COPIED = (
    "sweep", "system_fingerprint", "repeat", "choice", "text", "finish_reason", "error", "stop_reason",
    "prompt_tokens", "completion_tokens", "cached_tokens", "seconds", "queued_seconds", "first_token_seconds", "run",
    "position", "created",
)  # fmt: skip
"""Columns of a results table that a record copies."""
_REQUIRED = (
    *(name for name in _COPIED if name not in ("run", "queued_seconds")), *ARRAYS, "prompt_token_ids", "id", "labels",
    "input", "sampling", "fingerprint",
)  # fmt: skip
"""Fields that a record of any version has."""
_TEXTS = (
    "sweep",
    "system_fingerprint",
    "text",
    "finish_reason",
    "labels",
    "input",
    "sampling",
    "fingerprint",
)
_COUNTS = (
    "prompt_tokens",
    "completion_tokens",
    "cached_tokens",
    "position",
    "seconds",
    "queued_seconds",
    "first_token_seconds",
)
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(_TEXTS, (str,)),
    **dict.fromkeys(("repeat", "choice"), (int,)),
    **dict.fromkeys(_COUNTS, (int, float, type(None))),
    **dict.fromkeys(ARRAYS, (list, type(None))),
    "error": (str, type(None)),
    "created": (int, float),
    "token_ids": (list,),
    "prompt_token_ids": (list,),
}
"""The types of a record's fields."""
_FLOATS = [prefix + name for name, kind in ARRAYS.items() if kind is np.float32 for prefix in ("", "prompt_")]
"""Fields of a record that are lists of numbers, NaN where one is not known."""


def to_record(
    row: Mapping[str, Any],
    labels: Mapping[str, Any],
    completion: Completion,
    fingerprint: Fingerprint,
    grade: Grade | None,
) -> dict[str, Any]:
    """One row of a results table (one choice) as plain data, with all that is needed to restore it."""
    choice, response_format = completion.choice(int(row["choice"])), completion.request.response_format
    return {
        **{name: _plain(row[name]) for name in _COPIED},
        "id": completion.id,
        "labels": dump_standard(labels),
        "input": dump_standard(completion.request.body),
        "sampling": dump_standard(completion.request.sampling.given()),
        "response_format": dump_standard(response_format and response_format.to_openai()),
        "tool_calls": dump_standard([dataclasses.asdict(call) for call in choice.tool_calls]),
        "notes": dump_standard(completion.notes),
        "grade": dump_standard(grade and dataclasses.asdict(grade)),
        "fingerprint": dump_standard(fingerprint.to_json()),
        "prompt_token_ids": completion.prompt_token_ids.tolist(),
        # Arrays of k columns are flattened; their first dimension is that of token_ids.
        **_flat(choice),
        # In every record: a Parquet table has the columns of its first record.
        **_prompt(completion.prompt),
    }


def _flat(choice: Choice) -> dict[str, list[Any] | None]:
    return {n: None if (a := getattr(choice, n)) is None else a.ravel().tolist() for n in ARRAYS}


def _prompt(prompt: Choice | None) -> dict[str, Any]:
    """The prompt's log probabilities; its token IDs are in every record."""
    flat = dict.fromkeys(ARRAYS) if prompt is None else _flat(prompt)
    prefixed = {f"prompt_{n}": v for n, v in flat.items() if n != "token_ids"}
    return {"prompt_text": prompt and prompt.text, **prefixed}


def _plain(value: Any) -> Any:
    """A value of a data frame as JSON data; None for missing, which NaN is too."""
    return None if is_missing(value) else to_plain(value, library_value)


def from_records(records: Sequence[Mapping[str, Any]], path: str | Path) -> tuple[pd.DataFrame, Store]:
    """The table of a file's records, in their order, and a store in memory with the completions behind it. Raises
    ValueError, which names the file, for records that hold something else."""
    try:
        return _from_records(records)
    except (ValueError, TypeError, LookupError, AttributeError, OverflowError, StoreError) as error:
        raise ValueError(
            f"{path} is damaged, or not what Results.to_parquet or Results.to_jsonl wrote "
            f"({type(error).__name__}: {error}): export it again"
        ) from error


def _from_records(records: Sequence[Mapping[str, Any]]) -> tuple[pd.DataFrame, Store]:
    request_of, fingerprint_of = cache(_request), cache(_fingerprint)  # records are many, these few
    requests = [request_of(r["input"], r["sampling"], r.get("response_format") or "null") for r in records]
    fingerprints = [fingerprint_of(record["fingerprint"]) for record in records]
    store = Store(":memory:")
    for fingerprint in dict.fromkeys(fingerprints):
        store.add_engine(fingerprint, None)
    store.add(list(_completions(records, requests, fingerprints)))
    store.restore_grades(_grades(records, requests))
    _define_sweeps(store, records, requests)
    columns: dict[str, Any] = {
        name: [record.get(name) for record in records] for name in ("labels", *_COPIED)
    }
    columns["request"] = [request.key for request in requests]
    columns["stop_reason"] = [_stop_reason(record) for record in records]
    return make_table(columns, store), store


def _completions(
    records: Sequence[Mapping[str, Any]],
    requests: Sequence[ResolvedRequest],
    fingerprints: Sequence[Fingerprint],
) -> Iterator[StoredCompletion]:
    """Each completion once, with its choices together: a choice has a record in every sweep that shares it."""
    choices: dict[tuple[str, str, int], dict[int, int]] = {}
    for i, (record, request) in enumerate(zip(records, requests, strict=True)):
        place = (request.key, record["system_fingerprint"], record["repeat"])
        choices.setdefault(place, {}).setdefault(record["choice"], i)
    for places in choices.values():
        first, *_ = rows = [places[choice] for choice in sorted(places)]
        completion = _completion([records[i] for i in rows], requests[first], fingerprints[first])
        yield StoredCompletion(completion, records[first]["repeat"], records[first].get("run"))


def _grades(records: Sequence[Mapping[str, Any]], requests: Sequence[ResolvedRequest]) -> dict[Place, Grade]:
    grades = {}
    for record, request in zip(records, requests, strict=True):
        if grade := load_standard(record.get("grade") or "null"):
            place = (request.key, record["system_fingerprint"], record["repeat"], record["choice"])
            grades[place] = Grade(**grade)
    return grades


def _request(body: str, sampling: str, response_format: str) -> ResolvedRequest:
    return ResolvedRequest.of(*map(load_standard, (body, sampling, response_format)))


def _fingerprint(text: str) -> Fingerprint:
    return Fingerprint.from_json(load_standard(text))


def _define_sweeps(
    store: Store, records: Sequence[Mapping[str, Any]], requests: Sequence[ResolvedRequest]
) -> None:
    """The sweeps of some records, with cells that have the repeats of these."""
    cells: dict[str, dict[tuple[str, str], Cell]] = {}
    for record, request in zip(records, requests, strict=True):
        sweep, repeat, key = cells.setdefault(record["sweep"], {}), record["repeat"], request.key
        cell = sweep.get((key, record["labels"]), Cell(key, 0, load_standard(record["labels"]), repeat))
        first = min(cell.first, repeat)
        end = max(cell.first + cell.repeats, repeat + 1)
        sweep[key, record["labels"]] = dataclasses.replace(cell, repeats=end - first, first=first)
    for name, sweep in cells.items():
        store.define(name, {}, requests, list(sweep.values()))


def _stop_reason(record: Mapping[str, Any]) -> str | int | None:
    stop = record["stop_reason"] if record["stop_reason"] is not None else record.get("stop_token_id")
    return int(stop) if isinstance(stop, float) else stop  # 28.0 in an export of an earlier version


def _choice(record: Mapping[str, Any], request: ResolvedRequest) -> Choice:
    flat = {n: None if record[n] is None else np.array(record[n], kind) for n, kind in ARRAYS.items()}
    prefix_tokens = (
        0 if request.prefix is None else len(record["token_ids"]) - (record["completion_tokens"] or 0)
    )
    return Choice(
        index=record["choice"],
        text=record["text"],
        finish_reason=record["finish_reason"],
        stop_reason=_stop_reason(record),
        prefix_tokens=prefix_tokens,
        tool_calls=tuple(ToolCall(**call) for call in load_standard(record.get("tool_calls") or "[]")),
        **shaped(flat),
    )


def _prompt_choice(record: Mapping[str, Any]) -> Choice | None:
    if record.get("prompt_text") is None:
        return None
    arrays = {n: record["prompt_token_ids" if n == "token_ids" else f"prompt_{n}"] for n in ARRAYS}
    flat = {n: None if arrays[n] is None else np.array(arrays[n], kind) for n, kind in ARRAYS.items()}
    return Choice(PROMPT, record["prompt_text"], "prompt", **shaped(flat))


def _completion(
    records: Sequence[Mapping[str, Any]], request: ResolvedRequest, fingerprint: Fingerprint
) -> Completion:
    """The completion of some records, each of which has one of its choices."""
    record = records[0]
    completion_tokens = sum_tokens(choice["completion_tokens"] for choice in records)
    return Completion(
        request=request,
        choices=tuple(_choice(choice, request) for choice in records),
        usage=Usage(record["prompt_tokens"], completion_tokens, record["cached_tokens"]),
        model=str(fingerprint.components.get("model")),
        system_fingerprint=fingerprint.id,
        fingerprint=fingerprint,
        id=record["id"],
        created=record["created"],
        seconds=record["seconds"],
        first_token_seconds=record["first_token_seconds"],
        queued_seconds=record.get("queued_seconds"),
        prompt_token_ids=np.array(record["prompt_token_ids"], np.int32),
        position=record["position"],
        error=record["error"],
        prompt=_prompt_choice(record),
        notes=load_standard(record.get("notes") or "{}"),
    )


def table_records(
    table: pd.DataFrame,
    completions: Iterable[Completion],
    fingerprints: Mapping[str, Fingerprint],
    grades: Mapping[Place, Grade],
) -> Iterator[dict[str, Any]]:
    """A record for each row of a table. completions: the one of each row."""
    rows: list[Any] = table.to_dict("records")
    for row, completion in zip(rows, completions, strict=True):
        values = {name: _plain(row.get(name)) for name in (RUN_NAME, *LABELS, *PROMPT_COLUMNS)}
        labels = {name: value for name, value in values.items() if value is not None}
        # A variable that is missing in all rows is a column too.
        labels |= {name: _plain(value) for name, value in row.items() if name.startswith("row.")}
        grade = grades.get(tuple(row[name] for name in PLACE))
        yield to_record(row, labels, completion, fingerprints[row["system_fingerprint"]], grade)


def write_parquet(records: Iterable[Mapping[str, Any]], path: str | Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    with whole_file(path) as draft:
        pq.write_table(pa.Table.from_pylist(list(map(_with_typed_stop, records))), draft)
    return Path(path)


def _with_typed_stop(record: Mapping[str, Any]) -> dict[str, Any]:
    """A column of Parquet has one type: stop strings, and the ids of stop tokens, have one each."""
    stop = record["stop_reason"]
    token_id, text = (stop, None) if isinstance(stop, int) else (None, stop)
    return {**record, "stop_reason": text, "stop_token_id": token_id}


def read_parquet(path: str | Path) -> list[dict[str, Any]]:
    """The records of a file. Raises ValueError, which names it, for one that `write_parquet` did not write."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        records: list[dict[str, Any]] = pq.read_table(file_to_read(path)).to_pylist()
    except FileNotFoundError:
        raise
    except (pa.ArrowException, OSError) as error:  # Arrow has an OSError for a damaged file
        raise ValueError(f"{path} is no Parquet file: {error}") from None
    return [_checked(record, f"row {i} of {path}") for i, record in enumerate(records)]


def write_jsonl(records: Iterable[Mapping[str, Any]], path: str | Path) -> Path:
    with whole_file(path) as draft, draft.open("w", encoding="utf-8", newline="") as file:
        for record in records:
            floats = {name: _with_nulls(record[name]) for name in _FLOATS if name in record}
            file.write(dump_standard({**record, **floats}) + "\n")
    return Path(path)


def _with_nulls(numbers: Sequence[float] | None) -> list[float | None] | None:
    """Numbers with None in place of NaN, which JSON lacks."""
    return None if numbers is None else [None if number != number else number for number in numbers]


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    """The records of a file. Raises ValueError, which names the line, for one that `write_jsonl` did not write."""
    with file_to_read(path).open("rb") as file:
        return [_record(line, f"line {i} of {path}") for i, line in enumerate(file, 1) if line.strip()]


def _record(line: bytes, place: str) -> dict[str, Any]:
    try:
        record = load_standard(line.decode("utf-8-sig"))
    except ValueError as error:
        raise ValueError(f"{place} is no JSON: {error}") from None
    return _checked(record, place)


def _checked(record: Any, place: str) -> dict[str, Any]:
    missing = [name for name in _REQUIRED if name not in record] if isinstance(record, dict) else _REQUIRED
    if missing:
        raise ValueError(
            f"{place} is no completion of an export, it lacks {', '.join(missing)}: read a file that "
            "Results.to_parquet or Results.to_jsonl wrote"
        )
    for name, types in _TYPES.items():
        if not isinstance(record.get(name), types):
            kinds = " or ".join("None" if kind is type(None) else kind.__name__ for kind in types)
            raise ValueError(f"{place} is damaged: {name} must be {kinds}, got {short_repr(record[name])}")
    if (record["error"] is None) == (record["finish_reason"] == "error"):
        raise ValueError(
            f"{place} is damaged: it has an error where its finish_reason is error, and only there"
        )
    return dict(record)
