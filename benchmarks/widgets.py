"""The cost of widgets in the kernel: from results to a widget's content, and each reply to the frontend.

No model runs: the store is filled with synthetic completions. On a busy machine the elapsed time exceeds the
process's own processor time. Written to benchmarks/results/widgets.json.
"""

from __future__ import annotations

import json
import os
import statistics
import tempfile
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from record import save

import toolkit as tk
from toolkit.core.choice import Choice
from toolkit.core.completion import Completion, Usage
from toolkit.core.fingerprint import Fingerprint
from toolkit.core.request import Request
from toolkit.store.rows import Cell, StoredCompletion
from toolkit.store.store import Store
from toolkit.widgets.comparison import CompareView
from toolkit.widgets.microscope import SETTINGS, MicroscopeView

ROUNDS = 5
VOCABULARY, TOP, STEPS = 49_152, 20, 200
SLIDES = {
    "temperature": np.linspace(0, 2, 50),
    "top_p": np.linspace(0.02, 1, 50),
    "top_k": np.arange(1, 51),
    "min_p": np.linspace(0, 1, 50),
    "frequency_penalty": np.linspace(-2, 2, 50),
    "presence_penalty": np.linspace(-2, 2, 50),
}
FINGERPRINT = Fingerprint({"model": "by-hand", "tokenizer": "t", "generation_config": {}})
FORM = {"type": "object", "properties": {"said": {"type": "string"}}, "required": ["said"]}


def timed(ask: Callable[[], Any]) -> dict[str, float]:
    """Milliseconds of a call, elapsed and of processor time in this process; each the median of several rounds."""
    took = []
    for _ in range(ROUNDS):
        began, worked = time.perf_counter(), time.process_time()
        ask()
        took.append((time.perf_counter() - began, time.process_time() - worked))
    clock, own = (round(1000 * statistics.median(times), 1) for times in zip(*took, strict=True))
    return {"ms": clock, "own_ms": own}


def stored(path: Path, form: Any) -> Path:
    """10,000 completions of 200 words: 500 rows of data, four temperatures, five seeds. The higher the temperature,
    the more words differ; with a response format every fifth completion is cut off."""
    draw, words = np.random.default_rng(0), [f"word{i}" for i in range(1000)]
    rows, answers, cells = [{"question": f"question {i}"} for i in range(500)], [], []
    for row in range(len(rows)):
        common = draw.integers(0, 1000, 200)
        for temperature in (0.3, 0.5, 0.7, 1.0):
            for seed in range(5):
                asked = Request.chat(
                    f"JSON for question {row}", temperature=temperature, seed=seed, response_format=form
                ).resolve({})
                other = draw.random(200) < temperature / 3
                text = " ".join(words[i] for i in np.where(other, draw.integers(0, 1000, 200), common))
                text = json.dumps({"said": text})[: -2 if seed == 4 else None] if form else text
                ids = draw.integers(0, 256, 300).astype(np.int32)
                choice = Choice(0, text, "length" if seed == 4 else "stop", token_ids=ids)
                answers.append(
                    StoredCompletion(
                        Completion(
                            asked, (choice,), Usage(40, 300), "by-hand", FINGERPRINT.id, uuid.uuid4().hex,
                            time.time(), 1.0 + draw.random(), 0.1,
                        ),
                        0,
                        1,
                    )
                )  # fmt: skip
                cells.append(Cell(asked.key, 1, {"row": row}))
    with Store(path) as store:
        store.begin_run("s", FINGERPRINT, [bytes([i]) for i in range(256)])
        store.add(answers)
        store.define("s", {"rows": rows, "prompts": ["x"]}, [a.completion.request for a in answers], cells)
    return path


def compare(folder: Path) -> dict[str, Any]:
    """`open`: from the store's file to the widget's content; the others from a request of the frontend to the reply,
    a page of 20 rows × 4 columns."""
    forms = {"texts": None, "json": FORM}
    return {name: compare_one(stored(folder / f"{name}.db", form), form) for name, form in forms.items()}


def compare_one(path: Path, form: Any) -> dict[str, Any]:
    def opened() -> CompareView:
        results = tk.results(path)
        return CompareView(results.compare("temperature", price=tk.LocalPrice(per_hour=2)))

    view = opened()
    axes = {"rows": view.comparison.rows, "columns": view.comparison.columns}
    queries: dict[str, dict[str, Any]] = {
        "search": {"search": "word17 .*word9"},
        "search_nothing": {"search": "zebra|giraffe"},
        "only_differing": {"differing": True},
        "filter_finish_reason": {"where": {"finish_reason": [1]}},
        "filter_temperature": {"where": {"temperature": [2]}},
        "filter_grade": {"where": {"grade": [0]}},
        **({"filter_verdict": {"where": {"verdict": [1]}}} if form else {}),
        "last_page": {"start": 2480},
        "token_diff": {"diff": "token"},
        "sort_by_seconds": {"sort": "seconds"},
        "group_by_question": {"group": "row.question"},
        "other_axes": {"rows": ["row.question"], "columns": ["seed"]},
    }
    return {
        "completions": len(view.comparison.facts),
        "open": timed(opened),
        **{
            name: timed(lambda query=query: view.page(**{**axes, **query})) for name, query in queries.items()
        },
        "detail": timed(lambda: view.detail(1, 0)),
        "grade": timed(lambda: view.grade(1, thumb=1)),
        "static_html": timed(view.html),
    }


def microscope() -> dict[str, Any]:
    """Milliseconds that one request of a dragged slider takes in the kernel, from its JSON to that of the reply, and
    the part of it that is `Microscope.at`: of a text of 200 tokens, the top 20 of 49,152 stored, synthetic from a
    seed. Medians, and the longest of 300."""
    scope = tk.microscope(a_text())
    view = MicroscopeView(scope)
    view.send = lambda content, buffers=None: json.dumps(content)
    whole, part = [], []
    for name, values in SLIDES.items():
        for step, value in enumerate(values.tolist(), STEPS - 50):
            settings = {**dict(zip(SETTINGS, (0.9, 0.95, 0, 0.0, 0.2, 0.1), strict=True)), name: value}
            arguments = {"step": step, "settings": settings}
            message = json.dumps({"id": "1", "command": "at", "arguments": arguments})
            began = time.perf_counter()
            view._on_message(view, json.loads(message), [])
            whole.append(time.perf_counter() - began)
            began = time.perf_counter()
            scope.at(step, **settings)
            part.append(time.perf_counter() - began)
    return {
        "vocabulary": VOCABULARY,
        "top_logprobs": TOP,
        "redraws": len(whole),
        "redraw_ms": round(1000 * float(np.median(whole)), 2),
        "longest_redraw_ms": round(1000 * max(whole), 2),
        "at_ms": round(1000 * float(np.median(part)), 2),
        "target_ms": 50,
    }


def a_text() -> Choice:
    draw = np.random.default_rng(0)
    logits = draw.normal(size=(STEPS, VOCABULARY)) * 3
    logprobs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    top = np.argsort(-logprobs, axis=1)[:, :TOP]
    rows = np.arange(STEPS)
    own = top[rows, draw.integers(0, TOP, STEPS)]
    words = [f" w{i}".encode() for i in range(VOCABULARY)]
    return Choice(
        0,
        "made up",
        "length",
        token_ids=own.astype(np.int32),
        logprobs=logprobs[rows, own].astype(np.float32),
        ranks=np.ones(STEPS, np.int32),
        top_ids=top.astype(np.int32),
        top_logprobs=np.take_along_axis(logprobs, top, 1).astype(np.float32),
        logprobs_mode="raw_logprobs",
        vocabulary=lambda: words,
    )


def main() -> None:
    record: dict[str, Any] = {"date": time.strftime("%Y-%m-%d"), "processors": len(os.sched_getaffinity(0))}
    with tempfile.TemporaryDirectory() as name:
        record["compare"] = compare(Path(name))
    record["microscope"] = microscope()
    print(json.dumps(record, indent=1))
    save("widgets", record)


if __name__ == "__main__":
    main()
