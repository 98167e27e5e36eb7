"""A small sweep in one command: `python -m toolkit demo`."""

from __future__ import annotations

import time
from pathlib import Path

import toolkit as tk


def demo(folder: Path) -> None:
    """Sweeps the default model over questions, temperatures and seeds; saves, prints and reports the results."""
    start = time.monotonic()
    engine = tk.load()
    sweep = tk.sweep(
        "What is the capital of {country}? Answer in one sentence.",
        [{"country": "France"}, {"country": "Japan"}, {"country": "Brazil"}],
        tk.grid(temperature=[0, 0.7, 1.4], seed=range(4), max_tokens=48, top_logprobs=5),
    )
    store = folder / "demo.db"
    print(sweep.plan(engine, store), "\n")
    results = sweep.run(engine, store)
    print(results, "\n")
    print(results.summary(), "\n")
    page = results.to_html(folder / "demo.html", title="Capitals: temperature × seed")
    print(f"run:    {store}\nreport: {page}\n{time.monotonic() - start:.1f} s")
