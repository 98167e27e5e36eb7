"""The kernel's share of a microscope slider's redraw, to be merged into benchmarks/widgets.py: `microscope()`."""

from __future__ import annotations

import json
import time
from typing import Any

import numpy as np

import toolkit as tk
from toolkit.choice import Choice
from toolkit.widgets.microscope import SETTINGS, MicroscopeView

VOCABULARY, TOP, STEPS = 49_152, 20, 200
SLIDES = {
    "temperature": np.linspace(0, 2, 50),
    "top_p": np.linspace(0.02, 1, 50),
    "top_k": np.arange(1, 51),
    "min_p": np.linspace(0, 1, 50),
    "frequency_penalty": np.linspace(-2, 2, 50),
    "presence_penalty": np.linspace(-2, 2, 50),
}


def microscope() -> dict[str, Any]:
    """Milliseconds that one question of a dragged slider takes in the kernel, from its JSON to that of the answer,
    and the part of it that is `Microscope.at`: of a text of 200 tokens, the top 20 of 49,152 stored, made up from a
    seed. Medians, and the longest of 300."""
    scope = tk.microscope(_made())
    view = MicroscopeView(scope)
    view.send = lambda content, buffers=None: json.dumps(content)
    whole, part = [], []
    for name, values in SLIDES.items():
        for step, value in enumerate(values.tolist(), STEPS - 50):
            settings = {**dict(zip(SETTINGS, (0.9, 0.95, 0, 0.0, 0.2, 0.1), strict=True)), name: value}
            asked = json.dumps({"id": "1", "what": "at", "given": {"step": step, "settings": settings}})
            began = time.perf_counter()
            view._received(view, json.loads(asked), [])
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


def _made() -> Choice:
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


if __name__ == "__main__":
    print(json.dumps(microscope(), indent=1))
