"""The real engine, loaded once for the whole session, and an independent reference beside it."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import browser
import numpy as np
import pytest
from hypothesis import settings

import toolkit as tk
from toolkit.choice import Choice
from toolkit.completion import Completion, Usage
from toolkit.request import Request

# A shell that runs the tests in the background has interrupts ignored, and some tests interrupt themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("untimed", deadline=None)  # how long a case takes says nothing on a shared machine
settings.load_profile("untimed")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may depend on what the hub serves today


@pytest.fixture(scope="session")
def engine() -> Iterator[tk.Engine]:
    """vLLM on the default model, with its defaults."""
    with tk.load() as engine:
        yield engine


@pytest.fixture(scope="session")
def reference() -> Callable[[list[int]], np.ndarray]:
    """Token ids (T,) → float32 logits (T, V) of transformers' own forward pass on the same weights."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tk.models.path(), dtype=torch.float32).eval()

    def logits(ids: list[int]) -> np.ndarray:
        with torch.no_grad():
            return model(torch.tensor([ids])).logits[0].numpy()

    return logits


@pytest.fixture(scope="session")
def forced(reference: Callable[[list[int]], np.ndarray]) -> Callable[[Any, Any], np.ndarray]:
    """Prompt ids (P,), answer ids (T,) → (T, V) log probabilities of the reference in float64, teacher forced."""
    from scipy.special import log_softmax

    def steps(prompt: Any, answer: Any) -> np.ndarray:
        before, after = ([int(i) for i in ids] for ids in (prompt, answer))
        return log_softmax(reference(before + after)[len(before) - 1 : -1].astype(np.float64), axis=-1)

    return steps


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    """The browser. For one file of tests: while it runs, no other event loop can in this thread."""
    from playwright.sync_api import sync_playwright

    if browser.executable() is None:
        pytest.fail("no Chromium on this machine: make test installs it from Debian's packages")
    with sync_playwright() as playwright:
        opened = browser.launch(playwright)
        yield opened
        opened.close()


@pytest.fixture
def page(chromium: Any) -> Iterator[Any]:
    """A page that reaches this machine alone."""
    context = chromium.new_context(viewport={"width": 1200, "height": 800}, reduced_motion="reduce")
    yield browser.gated(context.new_page())
    context.close()


@pytest.fixture
def db(tmp_path: Path) -> Path:
    return tmp_path / "run.db"


@pytest.fixture
def made() -> Callable[..., Completion]:
    """Builds completions by hand, for what needs no engine."""

    def build(text: str = "Paris.", error: str | None = None, steps: int = 3, **request: Any) -> Completion:
        asked = Request.chat(request.pop("messages", "Hi"), **request).resolve({})
        width = asked.sampling.top_logprobs
        arrays: dict[str, Any] = {}
        if width is not None:
            arrays = {
                "logprobs": np.linspace(-0.1, -2, steps, dtype=np.float32),
                "ranks": np.arange(1, steps + 1, dtype=np.int32),
                "top_ids": np.arange(steps * width, dtype=np.int32).reshape(steps, width),
                "top_logprobs": -np.arange(steps * width, dtype=np.float32).reshape(steps, width),
            }
        ids = np.arange(65, 65 + steps, dtype=np.int32)
        vocabulary = [bytes([i]) for i in range(256)]
        choices = tuple(
            Choice(i, text, "stop", None, ids, vocabulary=lambda: vocabulary, **arrays)
            for i in range(asked.sampling.n or 1)
        )
        return Completion(
            request=asked,
            choices=(Choice(0, "", "error"),) if error else choices,
            usage=Usage() if error else Usage(7, steps * len(choices), 2),
            model="by-hand",
            system_fingerprint="fp_0000000000",
            id="0123456789abcdef",
            created=1_700_000_000.5,
            seconds=0.5,
            first_token_seconds=0.25,
            prompt_token_ids=np.array([1, 2, 3], np.int32),
            position=0,
            error=error,
        )

    return build
