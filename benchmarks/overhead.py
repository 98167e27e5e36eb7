"""The overhead of a sweep over bare vLLM: the same requests through `sweep.run` and through `vllm.LLM.generate`.

Both run on the same loaded model, alternating in one process, so that the ratio holds on a noisy machine.
Written to benchmarks/results/overhead.json and printed. About ten minutes on two cores.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from record import save

import toolkit as tk
from toolkit.engines.vllm.sampling_params import vllm_sampling_params
from toolkit.experiments.grid import Cells

PROMPT = "Write a short story about a lighthouse."
SAME = tk.grid(temperature=[0.2, 0.4, 0.6, 0.8, 1.0, 1.2, 1.4, 1.6], seed=range(32), max_tokens=64)
MIXED = tk.grid(
    temperature=[0.7, 1.0], top_p=[0.9, 1], frequency_penalty=[0, 0.5], seed=range(32), max_tokens=32
)


def bare(engine: tk.Engine, cells: Cells) -> float:
    """Tokens/s of `LLM.generate` with one SamplingParams for each request, in grid order."""
    requests = [r.resolve(engine.defaults) for r in (tk.Request.chat(PROMPT, **c) for c in cells)]
    prompts = [{"prompt_token_ids": list(engine.tokenizer.encode(r))} for r in requests]

    def run(llm: Any) -> float:
        parameters = [vllm_sampling_params(r, streaming=False) for r in requests]
        for p in parameters:
            p.flat_logprobs = False  # vLLM's default
        began = time.perf_counter()
        outputs = llm.generate(prompts, parameters, use_tqdm=False)
        tokens = sum(len(o.outputs[0].token_ids) for o in outputs)
        return tokens / (time.perf_counter() - began)

    return engine.call(run)


def swept(engine: tk.Engine, cells: Cells, folder: Path) -> float:
    """Tokens/s of `sweep.run` into a new store, from the call to the results."""
    store = folder / f"{time.monotonic_ns()}.db"
    began = time.perf_counter()
    results = tk.sweep(PROMPT, cells).run(engine, store)
    seconds = time.perf_counter() - began
    return float(results.frame()["completion_tokens"].sum()) / seconds


def compare(name: str, rounds: int, ours: Callable[[], float], theirs: Callable[[], float]) -> dict[str, Any]:
    """The ratio of tokens/s, ours over theirs, in rounds of one after the other in alternating order."""
    pairs = []
    for i in range(rounds):
        first, second = (ours, theirs) if i % 2 else (theirs, ours)
        a, b = first(), second()
        pairs.append((a, b) if i % 2 else (b, a))
    ratios = sorted(a / b for a, b in pairs)
    result = {
        "case": name,
        "ratio": round(statistics.median(ratios), 3),
        "lowest": round(ratios[0], 3),
        "highest": round(ratios[-1], 3),
        "sweep_tokens_per_s": round(statistics.median(a for a, _ in pairs), 1),
        "bare_tokens_per_s": round(statistics.median(b for _, b in pairs), 1),
        "rounds": rounds,
    }
    print("{case:<34} {ratio:.3f} ({lowest:.3f} to {highest:.3f})  sweep {sweep_tokens_per_s} tok/s, "
          "bare {bare_tokens_per_s} tok/s".format(**result), flush=True)  # fmt: skip
    return result


def again(engine: tk.Engine, folder: Path) -> dict[str, Any]:
    """Seconds of a second run of a finished sweep."""
    sweep, store = tk.sweep(PROMPT, SAME), folder / "again.db"
    sweep.run(engine, store)
    began = time.perf_counter()
    sweep.run(engine, store)
    seconds = round(time.perf_counter() - began, 3)
    print(f"second run of a finished sweep of {len(SAME)}: {seconds} s", flush=True)
    return {"case": "second run, 256 stored", "seconds": seconds}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--dtypes", nargs="+", default=["float32", "float16"])
    options = parser.parse_args()
    results, fingerprints = [], {}
    top = SAME * tk.grid(top_logprobs=20)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for dtype in options.dtypes:
            engine = tk.load(dtype=dtype).start()
            fingerprints[dtype] = dict(engine.fingerprint.components)
            swept(engine, tk.grid(seed=range(32), max_tokens=16, top_logprobs=20), folder)  # warm up

            def case(
                what: str, cells: Cells, plain: bool = True, engine: Any = engine, dtype: str = dtype
            ) -> None:
                ours, theirs = (lambda: swept(engine, cells, folder)), (lambda: bare(engine, cells))
                results.append(compare(f"{dtype}, {what}", options.rounds, ours, theirs))

            if dtype == options.dtypes[0]:
                case("256 requests", SAME)
                case("256 requests, top_logprobs=20", top)
                results.append(again(engine, folder))
            case("mixed grid", MIXED)
    record = {"date": time.strftime("%Y-%m-%d"), "results": results, "fingerprints": fingerprints}
    save("overhead", record)


if __name__ == "__main__":
    main()
