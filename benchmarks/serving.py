"""256 chats at once: `tk.connect` on a local server against a bare `AsyncOpenAI` gather of the same, and against the
engine in this process.

The first two alternate on one server, with different prompts in each round, so that neither profits from the prefix
cache; then the server stops, and the engine in this process generates the same. Written to
benchmarks/results/serving.json.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable

import openai
from record import save

import toolkit as tk
from toolkit.engines.vllm.hardware import device, versions

REQUESTS, TOKENS, ROUNDS = 256, 32, 5


def prompts(name: str) -> list[str]:
    return [f"{name}, {i}: write a short story about a lighthouse." for i in range(REQUESTS)]


def bare(server: tk.Server, name: str) -> float:
    """Tokens/s of OpenAI's own asynchronous client, all requests at once."""

    async def ask() -> int:
        async with openai.AsyncOpenAI(base_url=server.url, api_key="EMPTY") as client:
            answers = await asyncio.gather(
                *(
                    client.chat.completions.create(
                        model=server.model,
                        messages=[{"role": "user", "content": text}],
                        max_tokens=TOKENS,
                        temperature=0,
                    )
                    for text in prompts(name)
                )
            )
        return sum(answer.usage.completion_tokens for answer in answers if answer.usage)

    began = time.perf_counter()
    tokens = asyncio.run(ask())
    return tokens / (time.perf_counter() - began)


def asked(engine: tk.Engine, name: str) -> float:
    """Tokens/s of an engine."""
    requests = [tk.Request.chat(text, max_tokens=TOKENS, temperature=0) for text in prompts(name)]
    began = time.perf_counter()
    completions = list(engine.generate(requests))
    seconds = time.perf_counter() - began
    assert not any(c.error for c in completions), next(c.error for c in completions if c.error)
    return sum(c.usage.completion_tokens for c in completions) / seconds


def rounds(*ways: Callable[[str], float]) -> list[list[float]]:
    """Tokens/s of shape (ROUNDS, ways), in alternating order."""
    found = []
    for number in range(ROUNDS):
        order = range(len(ways)) if number % 2 else reversed(range(len(ways)))
        speeds = {way: ways[way](f"{number} {way}") for way in order}
        found.append([round(speeds[way], 1) for way in range(len(ways))])
        print(number, found[-1], flush=True)
    return found


def main() -> None:
    with tk.serve() as server, tk.connect(server.url) as engine:
        asked(engine, "warm up")
        bare(server, "warm up, too")
        served = rounds(lambda name: asked(engine, name), lambda name: bare(server, name))
    with tk.load() as engine:
        asked(engine, "warm up")
        here = [round(asked(engine, f"{number} here"), 1) for number in range(ROUNDS)]
    connected, plain = (statistics.median(speeds) for speeds in zip(*served, strict=True))
    found = {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "requests": REQUESTS,
        "tokens": TOKENS,
        "device": device(),
        "versions": versions(),
        "connect_over_bare": round(statistics.median(a / b for a, b in served), 3),
        "in_process_over_bare": round(statistics.median(here) / plain, 3),
        "tokens_per_second": {"connect": connected, "bare": plain, "in_process": statistics.median(here)},
        "rounds": {"connect, bare": served, "in_process": here},
    }
    save("serving", found)
    print({k: v for k, v in found.items() if "over" in k or k == "tokens_per_second"})


if __name__ == "__main__":
    main()
