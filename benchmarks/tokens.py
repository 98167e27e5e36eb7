"""Speed of counting tokens in many texts: toolkit.count_many against tiktoken in one thread, over 100 MB.

The texts are sources and documents of the installed packages, once as files and once joined into one text. Both ways
of counting alternate, three times each; the best round counts. A timing during which other processes keep the
processors busy is repeated, a few times. Written to benchmarks/results/tokens.json.
"""

from __future__ import annotations

import json
import os
import sysconfig
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import tiktoken
from record import save

import toolkit as tk
from toolkit.tokenizers.tiktoken import encoding

SIZE = 100_000_000
"""Bytes of UTF-8."""
ROUNDS = 3
QUIET = 0.1
"""Processors that other processes may keep busy during a timing."""
PATIENCE = 30
"""Seconds to wait before each timing until the processors are idle."""
TRIES = 3


def texts() -> Iterator[str]:
    """Files of the installed packages, in the order of their names, SIZE bytes in all."""
    left = SIZE
    for path in sorted(Path(sysconfig.get_path("purelib")).rglob("*")):
        if path.suffix in (".py", ".md", ".rst", ".txt", ".pyi") and path.is_file():
            raw = path.read_bytes()[:left]
            left -= len(raw)
            yield raw.decode(errors="ignore")
        if not left:
            return
    raise SystemExit(f"the installed packages have {left:,} bytes of text too few")


def processor_seconds() -> float:
    """Processor seconds that all other processes of this machine have used."""
    user, nice, system = map(int, Path("/proc/stat").read_text().split()[1:4])
    return (user + nice + system) / os.sysconf("SC_CLK_TCK") - sum(os.times()[:2])


def wait_until_quiet() -> None:
    for _ in range(PATIENCE):
        before = processor_seconds()
        time.sleep(1)
        if processor_seconds() - before < QUIET:
            return


def timed(function: Callable[[], int]) -> dict[str, float]:
    """Seconds of a call, and how many processors other processes kept busy meanwhile."""
    for _ in range(TRIES):
        wait_until_quiet()
        before, began = processor_seconds(), time.perf_counter()
        tokens = function()
        seconds = time.perf_counter() - began
        others = max(0.0, processor_seconds() - before) / seconds
        if others < QUIET:
            break
    return {"tokens": tokens, "seconds": round(seconds, 3), "others": round(others, 2)}


def compared(name: str, given: list[str]) -> dict[str, object]:
    own: tiktoken.Encoding = encoding(name)

    def one_thread() -> int:
        return sum(len(own.encode_ordinary(text)) for text in given)

    def ours() -> int:
        return int(tk.count_many(given, name).sum())

    rounds = [(timed(one_thread), timed(ours)) for _ in range(ROUNDS)]
    assert len({side["tokens"] for pair in rounds for side in pair}) == 1
    single, parallel = (min(side[i]["seconds"] for side in rounds) for i in (0, 1))
    return {
        "tokens": int(rounds[0][0]["tokens"]),
        "tiktoken_seconds": single,
        "count_many_seconds": parallel,
        "ratio": round(single / parallel, 2),
        "rounds": [[side["seconds"], side["others"]] for pair in rounds for side in pair],
    }


def main() -> None:
    files = list(texts())
    joined = ["\n".join(files)]
    record = {
        "date": time.strftime("%Y-%m-%d %H:%M"),
        "processors": len(os.sched_getaffinity(0)),
        "tiktoken": tiktoken.__version__,
        "texts": len(files),
        "bytes": sum(len(text.encode()) for text in files),
        **{
            name: {"files": compared(name, files), "one_text": compared(name, joined)}
            for name in ("cl100k_base", "o200k_base")
        },
    }
    print(json.dumps(record))
    save("tokens", record)


if __name__ == "__main__":
    main()
