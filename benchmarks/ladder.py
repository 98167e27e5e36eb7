"""The determinism ladder on the default model in float32 and bfloat16: 20 prompts of the gallery, 20 repeats each;
and the two dtypes compared, without other requests in the batch.

Takes an hour on two cores; after an interruption it resumes. The tables go to benchmarks/results/ladder.json.
"""

from __future__ import annotations

import json
import os
import time
from typing import Any

from record import save

import toolkit as tk
from toolkit.engines.vllm.hardware import device, versions

PROMPTS, RUNS, TOKENS = 20, 20, 16
DTYPES = ("float32", "bfloat16")
STORE = "runs/ladder-benchmark.db"


def requests(engine: tk.Engine) -> list[Any]:
    """Prompts of the gallery, those for free text first."""
    entries = sorted(tk.gallery(), key=lambda entry: entry.kind != "text")[:PROMPTS]
    return [entry.prompt.render(entry.rows[0]) for entry in entries]


def climb(dtype: str) -> dict[str, Any]:
    with tk.load(dtype=dtype) as engine:
        base = tk.Variant.of(engine)
        variants = [base.with_("threads=1", threads=1), base.with_("compiled", enforce_eager=False)]
        began = time.monotonic()
        found = tk.determinism_ladder(
            engine,
            requests(engine),
            n=RUNS,
            variants=variants,
            store=STORE,
            max_tokens=TOKENS,
        )
        print(found)
        forks = found.report.forks.drop(columns="request")
        return {
            "seconds": round(time.monotonic() - began),
            "sentences": found.sentences(),
            "table": json.loads(found.table.round(6).reset_index().to_json(orient="records")),
            "forks": json.loads(forks[forks["a"] == "alone"].round(4).to_json(orient="records")),
        }


def main() -> None:
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    made: dict[str, Any] = {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "prompts": PROMPTS,
        "runs": RUNS,
        "tokens": TOKENS,
        "device": device(),
        "versions": versions(),
    }
    for dtype in DTYPES:
        made[dtype] = climb(dtype)
        save("ladder", made)
    beside = tk.results(STORE).filter(rung="alone").determinism()
    print(beside)
    made["alone"] = beside.sentences()
    save("ladder", made)


if __name__ == "__main__":
    main()
