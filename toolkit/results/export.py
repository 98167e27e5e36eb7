"""Records: completions as plain rows, for Parquet and JSONL, and a store made of such rows again."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from toolkit.choice import ARRAYS, PROMPT, Choice, shaped
from toolkit.completion import Completion, Usage
from toolkit.fingerprint import Fingerprint
from toolkit.report import is_missing
from toolkit.request import Request
from toolkit.store import Answer, Cell, Grade, Place, Store
from toolkit.tools import ToolCall

_KEPT = (
    "sweep", "system_fingerprint", "repeat", "choice", "text", "finish_reason", "error", "stop_reason",
    "prompt_tokens", "completion_tokens", "cached_tokens", "seconds", "first_token_seconds", "position", "created",
)  # fmt: skip
"""Columns of a results table that a record keeps as they are."""


def record(
    row: Mapping[str, Any],
    labels: Mapping[str, Any],
    completion: Completion,
    fingerprint: Fingerprint,
    grade: Grade | None,
) -> dict[str, Any]:
    """One row of a results table (one choice) as plain data, with what is needed to build it again."""
    choice, form = completion.choice(int(row["choice"])), completion.request.response_format
    return {
        **{name: plain(row[name]) for name in _KEPT},
        "id": completion.id,
        "labels": json.dumps(labels, ensure_ascii=False),
        "input": json.dumps(completion.request.body, ensure_ascii=False),
        "sampling": json.dumps(completion.request.sampling.given()),
        "response_format": json.dumps(form and form.to_openai(), ensure_ascii=False),
        "tool_calls": json.dumps([dataclasses.asdict(call) for call in choice.tool_calls]),
        "notes": json.dumps(completion.notes, ensure_ascii=False),
        "grade": json.dumps(grade and dataclasses.asdict(grade), ensure_ascii=False),
        "fingerprint": json.dumps(fingerprint.to_json()),
        "prompt_token_ids": completion.prompt_token_ids.tolist(),
        # Arrays of k columns lie flat; their first length is that of token_ids.
        **_flat(choice),
        # In every record: a table has the columns of its first.
        **_prompt(completion.prompt),
    }


def _flat(choice: Choice) -> dict[str, list[Any] | None]:
    return {n: None if (a := getattr(choice, n)) is None else a.ravel().tolist() for n in ARRAYS}


def _prompt(prompt: Choice | None) -> dict[str, Any]:
    """The prompt's own log probabilities; its token ids are in every record."""
    flat = dict.fromkeys(ARRAYS) if prompt is None else _flat(prompt)
    own = {f"prompt_{n}": v for n, v in flat.items() if n != "token_ids"}
    return {"prompt_text": prompt and prompt.text, **own}


def plain(value: Any) -> Any:
    """A value of a frame as JSON has it: None for missing, Python's numbers for NumPy's."""
    if is_missing(value):
        return None
    return value.item() if hasattr(value, "item") else value


def restored(records: Iterable[Mapping[str, Any]]) -> Store:
    """A store in memory that holds what the records tell."""
    store = Store(":memory:")
    answers: dict[tuple[str, str, int], Answer] = {}
    cells: dict[tuple[str, str, str], Cell] = {}
    requests: dict[str, Request] = {}
    grades: dict[Place, Grade] = {}
    for found in records:
        fingerprint = Fingerprint.from_json(json.loads(found["fingerprint"]))
        asked = (found["input"], found["sampling"], found.get("response_format") or "null")
        request = Request.of(*map(json.loads, asked))
        labels = json.loads(found["labels"])
        place = (request.key, found["system_fingerprint"], found["repeat"])
        known = answers.get(place)
        completion = _completion(found, request, fingerprint)
        if known:
            before = known.completion
            choices, usage = (*before.choices, *completion.choices), before.usage
            tokens = usage.completion_tokens + found["completion_tokens"]
            completion = replace(before, choices=choices, usage=replace(usage, completion_tokens=tokens))
        answers[place] = Answer(completion, found["repeat"])
        if grade := json.loads(found.get("grade") or "null"):
            grades[(*place, found["choice"])] = Grade(**grade)
        store.add_engine(fingerprint, None)
        cell = (found["sweep"], request.key, json.dumps(labels))
        known_cell = cells.get(cell, Cell(request.key, 0, labels, found["repeat"]))
        first = min(known_cell.first, found["repeat"])
        end = max(known_cell.first + known_cell.repeats, found["repeat"] + 1)
        cells[cell] = Cell(request.key, end - first, labels, first)
        requests[request.key] = request
    store.add(list(answers.values()))
    store.restore_grades(grades)
    for sweep in dict.fromkeys(name for name, _, _ in cells):
        own = [cell for (name, _, _), cell in cells.items() if name == sweep]
        store.define(sweep, {}, requests.values(), own)
    return store


def _choice(found: Mapping[str, Any], request: Request) -> Choice:
    flat = {n: None if found[n] is None else np.array(found[n], kind) for n, kind in ARRAYS.items()}
    given = 0 if request.prefix is None else len(found["token_ids"]) - found["completion_tokens"]
    return Choice(
        index=found["choice"],
        text=found["text"],
        finish_reason=found["finish_reason"],
        stop_reason=found["stop_reason"],
        given=given,
        tool_calls=tuple(ToolCall(**call) for call in json.loads(found.get("tool_calls") or "[]")),
        **shaped(flat),
    )


def _asked_prompt(found: Mapping[str, Any]) -> Choice | None:
    if found.get("prompt_text") is None:
        return None
    own = {n: found["prompt_token_ids" if n == "token_ids" else f"prompt_{n}"] for n in ARRAYS}
    flat = {n: None if own[n] is None else np.array(own[n], kind) for n, kind in ARRAYS.items()}
    return Choice(PROMPT, found["prompt_text"], "prompt", **shaped(flat))


def _completion(found: Mapping[str, Any], request: Request, fingerprint: Fingerprint) -> Completion:
    return Completion(
        request=request,
        choices=(_choice(found, request),),
        usage=Usage(found["prompt_tokens"], found["completion_tokens"], found["cached_tokens"]),
        model=str(fingerprint.components.get("model")),
        system_fingerprint=fingerprint.id,
        id=found["id"],
        created=found["created"],
        seconds=found["seconds"],
        first_token_seconds=found["first_token_seconds"],
        prompt_token_ids=np.array(found["prompt_token_ids"], np.int32),
        position=found["position"],
        error=found["error"],
        prompt=_asked_prompt(found),
        notes=json.loads(found.get("notes") or "{}"),
    )
