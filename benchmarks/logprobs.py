"""All metrics of log probabilities over one million tokens with the top 20, in 1,000 completions: time and memory.

Twice: from completions in memory, and from a store on disk. The numbers are synthetic, from a seed: no model runs for
them. Two cores are used; each case has its own process, so that its peak memory can be measured. Written to
benchmarks/results/logprobs.json.
"""

from __future__ import annotations

import json
import os
import resource
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
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

TEXTS, TOKENS, TOP, VOCABULARY, ROUNDS = 1000, 1000, 20, 49_152, 3
FINGERPRINT = tk.Fingerprint(
    {"model": "made-up", "tokenizer": "made-up", "generation_config": {}, "logprobs_mode": "raw_logprobs"}
)
WORDS = [f" w{i}".encode() for i in range(VOCABULARY)]
COLUMNS = (
    "probability", "surprisal", "ranks", "margin", "missing_mass", "entropy_low", "entropy_high", "unknown",
    "sequence_logprob", "perplexity", "min_probability",
)  # fmt: skip


def made(i: int) -> Completion:
    """A completion whose chosen token is outside the top k at a fifth of the steps."""
    draw = np.random.default_rng(i)
    falls = draw.exponential(0.6, (TOKENS, TOP + 1)).cumsum(axis=1)
    known = -falls - np.log(np.exp(-falls).sum(axis=1, keepdims=True)) - draw.exponential(0.2, (TOKENS, 1))
    place = draw.integers(0, 25, TOKENS).clip(max=TOP)
    ids = draw.permuted(np.arange(TOKENS * (TOP + 1), dtype=np.int32).reshape(TOKENS, -1), axis=1)
    choice = Choice(
        0,
        f"text {i}",
        "length",
        token_ids=ids[np.arange(TOKENS), place],
        logprobs=known[np.arange(TOKENS), place].astype(np.float32),
        ranks=(place + 1 + (place == TOP) * 50).astype(np.int32),
        top_ids=ids[:, :TOP].copy(),
        top_logprobs=known[:, :TOP].astype(np.float32),
        logprobs_mode="raw_logprobs",
        vocabulary=lambda: WORDS,
    )
    request = Request.chat(f"Question {i}", top_logprobs=TOP).resolve({})
    usage = Usage(9, TOKENS)
    return Completion(request, (choice,), usage, "made-up", FINGERPRINT.id, f"{i:032x}", time.time())


def metrics(completions: Any) -> None:
    """Computes every metric of `tk.logprobs`."""
    found = tk.logprobs(completions)
    for name in COLUMNS:
        assert len(getattr(found, name)) in (TEXTS, TEXTS * TOKENS)
    assert len(found.summary()) == TEXTS


def measured(source: Any, work: Any) -> dict[str, Any]:
    """Seconds of each round and of the slowest, and the peak memory, with and without the inputs."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        work(source)
        seconds.append(round(time.perf_counter() - began, 2))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
    return {
        "seconds": max(seconds),
        "rounds": seconds,
        "peak_MB": round(peak),
        "peak_MB_without_inputs": round(peak - before),
    }


def in_memory() -> dict[str, Any]:
    completions = [made(i) for i in range(TEXTS)]
    return measured(completions, metrics)


def write(path: str) -> None:
    with Store(path) as store:
        answers = [StoredCompletion(made(i), 0) for i in range(TEXTS)]
        cells = [Cell(a.completion.request.key, 1, {}) for a in answers]
        store.begin_run("s", FINGERPRINT, WORDS)
        store.add(answers)
        store.define("s", {}, [a.completion.request for a in answers], cells)


def from_store(path: str) -> dict[str, Any]:
    return measured(path, lambda where: metrics(tk.results(where)))


def alone(function: Any, *arguments: Any) -> Any:
    """The result of a function in a new process on two cores."""
    with ProcessPoolExecutor(1, get_context("spawn"), two_cores) as pool:
        return pool.submit(function, *arguments).result()


def two_cores() -> None:
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:2])


def main() -> None:
    with tempfile.TemporaryDirectory() as name:
        path = str(Path(name) / "made.db")
        alone(write, path)
        record = {
            "date": time.strftime("%Y-%m-%d"),
            "tokens": TEXTS * TOKENS,
            "completions": TEXTS,
            "top_logprobs": TOP,
            "in_memory": alone(in_memory),
            "from_store": {**alone(from_store, path), "store_MB": round(Path(path).stat().st_size / 1e6)},
        }
    print(json.dumps(record))
    save("logprobs", {**record, "fingerprint": dict(tk.load().fingerprint.components)})


if __name__ == "__main__":
    main()
