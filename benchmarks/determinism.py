"""The report on determinism over 1,000 completions of 200 tokens with the top 5: seconds until it is displayed.

From a store on disk, in four shapes: one request with 1,000 repeats, 50 requests with 20, 1,000 requests with one,
and 25 requests with 20 on each of two fingerprints. The completions are synthetic, from a seed: no model runs for
them. Written to benchmarks/results/determinism.json.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import pandas  # noqa: F401  # loaded before the clock starts
from record import save

import toolkit as tk
from toolkit.core.choice import Choice
from toolkit.core.completion import Completion, Usage
from toolkit.core.request import Request
from toolkit.store.rows import Cell, StoredCompletion
from toolkit.store.store import Store

TOKENS, TOP, VOCABULARY, ROUNDS = 200, 5, 49_152, 5
SHAPES = ((1, 1000, 1), (50, 20, 1), (1000, 1, 1), (25, 20, 2))
"""Requests, repeats of each, fingerprints."""
FORKS = 0.3
"""Share of repeats that fork from their request's first completion, at a random token."""
WORDS = [f" w{i}".encode() for i in range(VOCABULARY)]


def system(dtype: str) -> tk.Fingerprint:
    return tk.Fingerprint(
        {"model": "made-up", "tokenizer": "made-up", "generation_config": {}, "dtype": dtype}
    )


def made(request: Request, fingerprint: str, first: Any, draw: np.random.Generator) -> Completion:
    ids = first.copy()
    if draw.random() < FORKS:
        ids[draw.integers(TOKENS) :] = draw.integers(VOCABULARY)
    falls = -draw.exponential(0.6, (TOKENS, TOP)).astype(np.float32).cumsum(axis=1)
    choice = Choice(
        0,
        " ".join(map(str, ids)),
        "length",
        token_ids=ids,
        logprobs=falls[:, 0].copy(),
        ranks=np.ones(TOKENS, np.int32),
        top_ids=draw.integers(0, VOCABULARY, (TOKENS, TOP), np.int32),
        top_logprobs=falls,
    )
    return Completion(request, (choice,), Usage(9, TOKENS), "made-up", fingerprint, "0" * 32, time.time())


def write(path: Path, requests: int, runs: int, systems: int) -> None:
    draw = np.random.default_rng(0)
    asked = [
        Request.chat(f"Question {i}", temperature=0, top_logprobs=TOP).resolve({}) for i in range(requests)
    ]
    firsts = draw.integers(0, VOCABULARY, (requests, TOKENS), np.int32)
    with Store(path) as store:
        for fingerprint in (system("float32"), system("bfloat16"))[:systems]:
            store.begin_run("s", fingerprint, WORDS)
            pairs = zip(asked, firsts, strict=True)
            store.add(
                [
                    StoredCompletion(made(request, fingerprint.id, first, draw), repeat)
                    for request, first in pairs
                    for repeat in range(runs)
                ]
            )
        store.define("s", {"prompts": ["Question"]}, asked, [Cell(r.key, runs, {}) for r in asked])


def measured(requests: int, runs: int, systems: int) -> dict[str, Any]:
    """Seconds of each round and of the slowest: to read the table, to compute the report and render it as text and as
    HTML, and to plot it."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "made.db"
        write(path, requests, runs, systems)
        read, shown, drawn = [], [], []
        for _ in range(ROUNDS):
            began = time.perf_counter()
            results = tk.results(path)
            read.append(time.perf_counter() - began)
            began = time.perf_counter()
            report = results.determinism()
            text, page = repr(report), report._repr_html_()
            shown.append(time.perf_counter() - began)
            assert len(results) == requests * runs * systems
            assert text
            assert page
            began = time.perf_counter()
            report.plot()
            drawn.append(time.perf_counter() - began)
    return {
        "requests": requests,
        "runs": runs,
        "fingerprints": systems,
        "table_s": round(max(read), 2),
        "report_s": round(max(shown), 2),
        "rounds": [round(s, 2) for s in shown],
        "plot_s": round(max(drawn), 2),
    }


def main() -> None:
    record = {
        "date": time.strftime("%Y-%m-%d"),
        "tokens": TOKENS,
        "top_logprobs": TOP,
        "results": [measured(*shape) for shape in SHAPES],
    }
    for result in record["results"]:
        print(json.dumps(result))
    save("determinism", {**record, "fingerprint": dict(tk.load().fingerprint.components)})


if __name__ == "__main__":
    main()
