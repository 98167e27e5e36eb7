"""Export of completions as flat records to Parquet and JSONL, and import into a store in memory."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._internal.jsonable import is_missing, library_value, to_plain
from toolkit.core.choice import ARRAYS, PROMPT, Choice, shaped
from toolkit.core.completion import Completion, Usage
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.request import ResolvedRequest
from toolkit.store.rows import PLACE, Cell, Grade, Place, StoredCompletion
from toolkit.store.store import Store
from toolkit.structured.tools import ToolCall

if TYPE_CHECKING:
    import pandas as pd

_COPIED = (
    "sweep", "system_fingerprint", "repeat", "choice", "text", "finish_reason", "error", "stop_reason",
    "prompt_tokens", "completion_tokens", "cached_tokens", "seconds", "first_token_seconds", "position", "created",
)  # fmt: skip
"""Columns of a results table that a record copies."""


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
        "labels": json.dumps(labels, ensure_ascii=False),
        "input": json.dumps(completion.request.body, ensure_ascii=False),
        "sampling": json.dumps(completion.request.sampling.given()),
        "response_format": json.dumps(response_format and response_format.to_openai(), ensure_ascii=False),
        "tool_calls": json.dumps([dataclasses.asdict(call) for call in choice.tool_calls]),
        "notes": json.dumps(completion.notes, ensure_ascii=False),
        "grade": json.dumps(grade and dataclasses.asdict(grade), ensure_ascii=False),
        "fingerprint": json.dumps(fingerprint.to_json()),
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


def store_from_records(records: Iterable[Mapping[str, Any]]) -> Store:
    """A store in memory with the completions of some records."""
    store = Store(":memory:")
    completions: dict[tuple[str, str, int], StoredCompletion] = {}
    cells: dict[tuple[str, str, str], Cell] = {}
    requests: dict[str, ResolvedRequest] = {}
    grades: dict[Place, Grade] = {}
    for record in records:
        fingerprint = Fingerprint.from_json(json.loads(record["fingerprint"]))
        request_parts = (record["input"], record["sampling"], record.get("response_format") or "null")
        request = ResolvedRequest.of(*map(json.loads, request_parts))
        labels = json.loads(record["labels"])
        place = (request.key, record["system_fingerprint"], record["repeat"])
        earlier = completions.get(place)
        completion = _completion(record, request, fingerprint)
        if earlier:
            previous = earlier.completion
            choices = (*previous.choices, *completion.choices)
            usage = previous.usage + Usage(0, record["completion_tokens"], 0)
            completion = replace(previous, choices=choices, usage=usage)
        completions[place] = StoredCompletion(completion, record["repeat"])
        if grade := json.loads(record.get("grade") or "null"):
            grades[(*place, record["choice"])] = Grade(**grade)
        store.add_engine(fingerprint, None)
        cell_key = (record["sweep"], request.key, json.dumps(labels))
        cell = cells.get(cell_key, Cell(request.key, 0, labels, record["repeat"]))
        first = min(cell.first, record["repeat"])
        end = max(cell.first + cell.repeats, record["repeat"] + 1)
        cells[cell_key] = Cell(request.key, end - first, labels, first)
        requests[request.key] = request
    store.add(list(completions.values()))
    store.restore_grades(grades)
    for sweep in dict.fromkeys(name for name, _, _ in cells):
        sweep_cells = [cell for (name, _, _), cell in cells.items() if name == sweep]
        store.define(sweep, {}, requests.values(), sweep_cells)
    return store


def _choice(record: Mapping[str, Any], request: ResolvedRequest) -> Choice:
    flat = {n: None if record[n] is None else np.array(record[n], kind) for n, kind in ARRAYS.items()}
    prefix_tokens = (
        0 if request.prefix is None else len(record["token_ids"]) - (record["completion_tokens"] or 0)
    )
    return Choice(
        index=record["choice"],
        text=record["text"],
        finish_reason=record["finish_reason"],
        stop_reason=record["stop_reason"],
        given=prefix_tokens,
        tool_calls=tuple(ToolCall(**call) for call in json.loads(record.get("tool_calls") or "[]")),
        **shaped(flat),
    )


def _prompt_choice(record: Mapping[str, Any]) -> Choice | None:
    if record.get("prompt_text") is None:
        return None
    arrays = {n: record["prompt_token_ids" if n == "token_ids" else f"prompt_{n}"] for n in ARRAYS}
    flat = {n: None if arrays[n] is None else np.array(arrays[n], kind) for n, kind in ARRAYS.items()}
    return Choice(PROMPT, record["prompt_text"], "prompt", **shaped(flat))


def _completion(record: Mapping[str, Any], request: ResolvedRequest, fingerprint: Fingerprint) -> Completion:
    return Completion(
        request=request,
        choices=(_choice(record, request),),
        usage=Usage(record["prompt_tokens"], record["completion_tokens"], record["cached_tokens"]),
        model=str(fingerprint.components.get("model")),
        system_fingerprint=fingerprint.id,
        id=record["id"],
        created=record["created"],
        seconds=record["seconds"],
        first_token_seconds=record["first_token_seconds"],
        prompt_token_ids=np.array(record["prompt_token_ids"], np.int32),
        position=record["position"],
        error=record["error"],
        prompt=_prompt_choice(record),
        notes=json.loads(record.get("notes") or "{}"),
    )


def table_records(
    table: pd.DataFrame,
    columns: Sequence[str],
    completions: Iterable[Completion],
    fingerprints: Mapping[str, Fingerprint],
    grades: Mapping[Place, Grade],
) -> Iterator[dict[str, Any]]:
    """A record for each row of a table. columns: the labels of the request and its prompt, besides the variables of
    rows of data; completions: the one of each row."""
    rows: list[Any] = table.to_dict("records")
    for row, completion in zip(rows, completions, strict=True):
        names = (c for c in map(str, row) if c in columns or c.startswith("row."))
        labels = {name: v for name in names if (v := _plain(row[name])) is not None}
        grade = grades.get(tuple(row[name] for name in PLACE))
        yield to_record(row, labels, completion, fingerprints[row["system_fingerprint"]], grade)


def write_parquet(records: Iterable[Mapping[str, Any]], path: str | Path) -> Path:
    import pyarrow as pa
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(list(records)), path)
    return Path(path)


def read_parquet(path: str | Path) -> list[dict[str, Any]]:
    import pyarrow.parquet as pq

    records: list[dict[str, Any]] = pq.read_table(path).to_pylist()
    return records


def write_jsonl(records: Iterable[Mapping[str, Any]], path: str | Path) -> Path:
    with Path(path).open("w", encoding="utf-8") as file:
        for record in records:
            file.write(json.dumps(record, ensure_ascii=False) + "\n")
    return Path(path)


def read_jsonl(path: str | Path) -> list[dict[str, Any]]:
    with Path(path).open(encoding="utf-8") as file:
        return [json.loads(line) for line in file]
