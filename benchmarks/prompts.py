"""Speed of few-shot prompts: 10,000 rows, 8 examples each out of 2,000, by every selector.

No model runs. Compared with BM25's own batch retrieval of the same rows (bm25s, our tokenization), as a ratio.
Written to benchmarks/results/prompts.json.
"""

from __future__ import annotations

import json
import platform
import time
from typing import Any

import bm25s
import numpy as np
from record import save

import toolkit as tk
from toolkit.prompts.example_pool import _words
from toolkit.prompts.selectors import SELECTORS

POOL, ROWS, FEW_SHOT_AXES, WORDS = 2000, 10_000, 8, 30


def texts(count: int, draw: np.random.Generator) -> list[str]:
    """Synthetic texts whose word frequencies are about those of a language (Zipf)."""
    words = np.minimum(draw.zipf(1.3, (count, WORDS)), 20_000)
    return [" ".join(f"w{i}" for i in row) for row in words]


def timed(work: Any) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main() -> None:
    draw = np.random.default_rng(0)
    pool = [{"text": t, "label": str(i % 3)} for i, t in enumerate(texts(POOL, draw))]
    rows = [{"text": t} for t in texts(ROWS, draw)]

    def bare() -> None:
        index = bm25s.BM25()
        index.index([_words(row["text"]) for row in pool], show_progress=False)
        index.retrieve([_words(row["text"]) for row in rows], k=FEW_SHOT_AXES, show_progress=False)

    seconds = {"bm25s alone": timed(bare)}
    for name in SELECTORS:
        prompt = tk.Prompt(
            "Review: {text}", system="Rate.", examples=pool, answer="{label}", k=FEW_SHOT_AXES, selector=name
        )
        seconds[name] = timed(lambda prompt=prompt: [prompt.messages(row) for row in rows])
    record = {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.machine()}, Python {platform.python_version()}, bm25s {bm25s.__version__}",
        "pool": POOL,
        "rows": ROWS,
        "k": FEW_SHOT_AXES,
        "seconds": {name: round(s, 2) for name, s in seconds.items()},
        "similar_beside_bm25s": round(seconds["similar"] / seconds["bm25s alone"], 2),
    }
    print(json.dumps(record))
    save("prompts", record)


if __name__ == "__main__":
    main()
