"""Hypothesis strategies of whole stores: sweeps that share requests, rows of any JSON data, several systems, choices,
errors, log probabilities, grades. Made by hand, since no model says all that."""

from __future__ import annotations

import dataclasses
from typing import Any

import numpy as np
from hypothesis import strategies as st

from toolkit.core.choice import PROMPT, Choice
from toolkit.core.completion import Completion, Usage
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.request import Request, ResolvedRequest
from toolkit.store.rows import Cell, Grade, StoredCompletion
from toolkit.store.store import Store
from toolkit.structured.tools import ToolCall

SYSTEMS = [Fingerprint({"model": m, "tokenizer": "t", "generation_config": {}}) for m in ("m", "007")]
TRICKY = (
    "", "007", "true", "1e5", "nan", "None", "-5", "inf", "=1+1", "'=1+1", "''@x", "\t=1", " +1", "＝1", "\r",
    "a\r\nb", 'say "so", twice', "'\"x\"", "[1, 2]", "{}", "null", "é😀", "\x00", "\u2028", "\ud83d", "a\ude00b",
    "'\udfff",
)  # fmt: skip
HUGE = (2**53 + 1, 2**63 - 1, 2**63, -(2**63), -(2**63) - 1, 2**70, 10**300)
FORMATS = (
    None,
    {"type": "json_object"},
    {"type": "choice", "choice": ["yes", "no, 1"]},
    {
        "type": "object",
        "properties": {"a": {"type": "array", "items": {"enum": [1, 2.5, None, "x"]}}},
        "required": ["a"],
        "additionalProperties": False,
    },
)

texts = st.sampled_from(TRICKY) | st.text(max_size=6)
"""Also with lone surrogates."""
sayable = st.text(st.characters(exclude_categories=["Cs"]), max_size=6) | st.sampled_from(TRICKY).filter(
    lambda text: text.isascii()
)
"""What a model may say: valid Unicode."""
numbers = st.integers(-3, 3) | st.sampled_from(HUGE) | st.floats() | st.booleans() | st.none()
values = st.recursive(
    texts | numbers,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(texts, inner, max_size=2),
    max_leaves=3,
)
"""Values of a row of data."""
columns = st.sampled_from(
    [values, texts, numbers, st.integers(-3, 3) | st.none(), st.sampled_from(HUGE)]
).flatmap(lambda kind: st.lists(kind, min_size=2, max_size=2))
"""Two rows' values of a variable: of any types, or of one."""
names = st.sampled_from(["x", "id", 'a, "b"\n', "=1", "row", "é"]) | st.text(min_size=1, max_size=3)


@st.composite
def settings(draw: st.DrawFn) -> dict[str, Any]:
    temperature = draw(st.sampled_from([0, 0.7, 2, None]))
    random = {
        "seed": st.sampled_from([0, 7, 2**53 + 1, 2**63 - 10, None]),
        "n": st.sampled_from([1, 2, 3, None]),
    }
    options: dict[str, Any] = {
        **(random if temperature else {}),
        "max_tokens": st.sampled_from([1, 2**40, None]),
        "top_k": st.sampled_from([0, 2**63, None]),
        "stop": st.sampled_from([["\n\n", "007"], "=1", None]),
        "logit_bias": st.sampled_from([{5: 1.5}, None]),
        "skip_special_tokens": st.sampled_from([False, None]),
        "prompt_logprobs": st.sampled_from([0, None]),
        "top_logprobs": st.sampled_from([0, 2, None]),
        "response_format": st.sampled_from(FORMATS),
    }
    return {"temperature": temperature, **draw(st.fixed_dictionaries(options))}


@st.composite
def choices(draw: st.DrawFn, index: int, width: int | None) -> Choice:
    steps = draw(st.integers(0, 2))
    scores = st.sampled_from([0.0, -0.1, -1e-8, -9999.0, float("nan"), float("-inf")])

    def scored(k: int) -> Any:
        return np.array(draw(st.lists(scores, min_size=steps * k, max_size=steps * k)), np.float32)

    arrays: dict[str, Any] = {}
    if width is not None:
        arrays = {"logprobs": scored(1), "ranks": np.arange(steps, dtype=np.int32)}
        arrays["top_ids"] = np.arange(steps * width, dtype=np.int32).reshape(steps, width)
        arrays["top_logprobs"] = scored(width).reshape(steps, width)
    if index == PROMPT:
        return Choice(PROMPT, draw(sayable), "prompt", None, np.arange(steps, dtype=np.int32), **arrays)
    calls = draw(st.sampled_from([(), (ToolCall("f", '{"x": 1}', "call_1"),)]))
    return Choice(
        index,
        draw(sayable),
        draw(st.sampled_from(["stop", "length"])),
        draw(st.sampled_from([None, 28, "\n\n", "28"])),
        np.arange(65, 65 + steps, dtype=np.int32),
        tool_calls=calls,
        **arrays,
    )


@st.composite
def completions(draw: st.DrawFn, request: ResolvedRequest, system: Fingerprint) -> Completion:
    identity: dict[str, Any] = {"model": str(system.components["model"]), "system_fingerprint": system.id}
    created = draw(st.sampled_from([0.0, 1.5, 1_700_000_000.123456]))
    if draw(st.integers(0, 4)) == 0:
        return Completion.failed(request, draw(sayable.filter(bool)), created=created, **identity)
    width = request.sampling.top_logprobs
    made = tuple(draw(choices(index, width)) for index in range(request.sampling.n or 1))
    prompt = None if request.sampling.prompt_logprobs is None else draw(choices(PROMPT, 0))
    timed = draw(st.booleans())
    return Completion(
        request,
        made,
        Usage(7, sum(len(choice.token_ids) for choice in made), 2),
        id=draw(sayable),
        created=created,
        seconds=0.1 if timed else None,
        first_token_seconds=0.05 if timed else None,
        queued_seconds=draw(st.sampled_from([None, 0.0, 0.01])) if timed else None,
        prompt_token_ids=np.arange(0 if prompt is None else len(prompt.token_ids), dtype=np.int32),
        position=draw(st.sampled_from([0, 3, None])),
        prompt=prompt,
        notes=draw(st.sampled_from([{}, {"examples": [0, 2]}])),
        **identity,
    )


@st.composite
def stores(draw: st.DrawFn) -> Store:
    """A store in memory with one to three sweeps over two rows, of which some requests are the same."""
    store = Store(":memory:")
    for system in SYSTEMS:
        store.add_engine(system, [bytes([i]) for i in range(256)])
    options = draw(st.lists(settings(), min_size=1, max_size=2))
    done: set[tuple[str, str, int]] = set()
    for number in range(draw(st.integers(1, 3))):
        variables = draw(st.dictionaries(names, columns, max_size=3))
        rows = [{name: column[r] for name, column in variables.items()} for r in range(2)]
        if draw(st.booleans()):  # a variable that only one row has
            rows[1].pop(next(iter(rows[1]), ""), None)
        few_shot = draw(st.sampled_from([{}, {"k": 2, "selector": "first", "examples": [1, 0]}, {"k": 0}]))
        kept = draw(st.sampled_from([{}, {"dropped": {"examples": 2}}]))
        repeats, cells, requests = draw(st.integers(1, 2)), [], []
        for r in range(draw(st.sampled_from([0, 2])) or 1):
            for case, setting in enumerate(options):
                request = Request.chat(f"Question {r % 2}, as JSON", **setting).resolve({})
                labels = {"row": r, "case": f"00{case}", **few_shot, **kept}
                cells.append(Cell(request.key, repeats, labels))
                requests.append(request)
        system = draw(st.sampled_from(SYSTEMS))
        store.define(f"sweep {number}", {"rows": rows, "prompts": ["{x}"]}, requests, cells)
        run = store.begin_run(f"sweep {number}", system, [])
        for request in requests:
            for repeat in range(repeats):
                if (place := (request.key, system.id, repeat)) not in done:
                    done.add(place)
                    store.add([StoredCompletion(draw(completions(request, system)), repeat, run)])
    _grade_some(draw, store)
    return store


def _grade_some(draw: st.DrawFn, store: Store) -> None:
    _, rows = store.query("SELECT request, fingerprint, repeat, choice FROM completions WHERE choice >= 0")
    grades = [None, Grade(1, 0.5, "007", 1.5), Grade(-1), Grade(note="=1+1")]
    drawn = {place: draw(st.sampled_from(grades)) for place in rows[:3]}
    store.restore_grades({place: grade for place, grade in drawn.items() if grade is not None})


def shared(store: Store, sweeps: list[str], completion: Completion) -> None:
    """Stores a completion that several sweeps share."""
    for sweep in sweeps:
        store.define(sweep, {}, [completion.request], [Cell(completion.request.key, 1, {})])
    store.add_engine(SYSTEMS[0], None)
    store.add([StoredCompletion(dataclasses.replace(completion, system_fingerprint=SYSTEMS[0].id), 0)])
