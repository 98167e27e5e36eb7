"""Speed of reading stored completions: the second run of a finished sweep, and the table of a large one.

No model runs: the store is filled with synthetic completions (64 tokens each, top-5 logprobs), under the
fingerprint that the default engine has on this machine. Written to benchmarks/results/store.json.
"""

from __future__ import annotations

import json
import tempfile
import time
import uuid
from pathlib import Path
from typing import Any

import numpy as np
from record import save

import toolkit as tk
from toolkit.core.choice import Choice
from toolkit.core.completion import Completion, Usage
from toolkit.core.request import Request
from toolkit.store.rows import StoredCompletion
from toolkit.store.store import Store

TOKENS, TOP = 64, 5


def made(request: Request, fingerprint: str, draw: np.random.Generator) -> Completion:
    choice = Choice(
        0,
        " ".join(f"w{i}" for i in draw.integers(0, 1000, TOKENS)),
        "length",
        token_ids=draw.integers(0, 49152, TOKENS, np.int32),
        logprobs=-draw.random(TOKENS, np.float32),
        ranks=draw.integers(1, 100, TOKENS, np.int32),
        top_ids=draw.integers(0, 49152, (TOKENS, TOP), np.int32),
        top_logprobs=-draw.random((TOKENS, TOP), np.float32),
    )
    ids = draw.integers(0, 49152, 40, np.int32)
    return Completion(
        request,
        (choice,),
        Usage(40, TOKENS),
        "m",
        fingerprint,
        uuid.uuid4().hex,
        time.time(),
        1.0,
        0.1,
        ids,
        0,
    )


def measure(engine: tk.Engine, rows: int, seeds: int, folder: Path) -> dict[str, Any]:
    draw = np.random.default_rng(0)
    questions = [{"text": f"question {i}: " + "why " * 20} for i in range(rows)]
    sweep = tk.sweep("Answer {text}", questions, tk.grid(temperature=[0.5, 1.0], seed=range(seeds)))
    store = Store(folder / f"{rows}.db")
    plan = sweep.plan(engine, store)
    store.begin_run(plan.sweep, plan.fingerprint, [])
    answers = [
        StoredCompletion(made(request, plan.fingerprint.id, draw), repeat, 1)
        for request, repeat in plan.missing
    ]
    began = time.perf_counter()
    store.add(answers)
    written = time.perf_counter() - began
    sweep.run(engine, store)
    sweep = tk.sweep("Answer {text}", questions, tk.grid(temperature=[0.5, 1.0], seed=range(seeds)))
    began = time.perf_counter()
    results = sweep.run(engine, store.path)
    again = time.perf_counter() - began
    began = time.perf_counter()
    frame = tk.results(store.path).frame()
    read = time.perf_counter() - began
    assert len(frame) == len(results) == len(answers)
    return {
        "completions": len(answers),
        "write_s": round(written, 2),
        "second_run_s": round(again, 2),
        "open_and_frame_s": round(read, 2),
        "MB": round(Path(store.path).stat().st_size / 1e6),
    }


def main() -> None:
    engine = tk.load()
    fingerprint = engine.fingerprint  # starts the engine once on a new machine
    with tempfile.TemporaryDirectory() as name:
        results = [measure(engine, rows, 25, Path(name)) for rows in (200, 2000)]
    for result in results:
        print(json.dumps(result))
    record = {
        "date": time.strftime("%Y-%m-%d"),
        "results": results,
        "fingerprint": dict(fingerprint.components),
    }
    save("store", record)


if __name__ == "__main__":
    main()
