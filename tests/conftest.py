"""What is dear and shared: the real engine, loaded once a worker, a tiny one beside it, processes that begin with
vLLM imported, a browser; and an independent reference. Markers follow from the fixtures that a test uses."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import browser
import fork_server
import numpy as np
import pytest
import tiny_model
from filelock import FileLock
from hypothesis import settings

import toolkit as tk
from toolkit._internal.files import toolkit_home
from toolkit.core.choice import Choice
from toolkit.core.completion import Completion, Usage
from toolkit.core.request import Request
from toolkit.engines.vllm import config
from toolkit.engines.vllm.engine import VLLMEngine
from toolkit.engines.vllm.engine_args import cpu_defaults

# A shell that runs the tests in the background has interrupts ignored, and some tests interrupt themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile("untimed", deadline=None)  # how long a case takes says nothing on a shared machine
settings.register_profile("quick", settings.get_profile("untimed"), max_examples=25)  # of `make check`
settings.load_profile("untimed")
os.environ.setdefault("HF_HUB_OFFLINE", "1")  # no test may depend on what the hub serves today

pytest_plugins = ["cores"]

HOME = toolkit_home()

MARKS = {"engine": {"engine", "tiny", "warm", "serving"}, "server": {"serving"}, "browser": {"chromium"}}
"""The fixtures that bring a marker with them."""


@pytest.hookimpl(tryfirst=True)  # before markers are selected by
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        used = set(getattr(item, "fixturenames", ()))
        for mark, fixtures in MARKS.items():
            if used & fixtures:
                item.add_marker(mark)
    # Files are handed to workers in this order: the dear ones first, so that all workers end at about one time.
    ranks: dict[Path, int] = {}
    for item in items:
        ranks[item.path] = min(_rank(item), ranks.get(item.path, len(RANKED)))
    items.sort(key=lambda item: ranks[item.path])


RANKED = ("server", "slow", "engine", "browser")
"""Markers of what takes long, the longest first."""


def _rank(item: pytest.Item) -> int:
    return min((i for i, mark in enumerate(RANKED) if item.get_closest_marker(mark)), default=len(RANKED))


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of this run, the same in every worker."""
    folder = tmp_path_factory.getbasetemp()
    return folder.parent if "PYTEST_XDIST_WORKER" in os.environ else folder


@pytest.fixture(scope="session")
def engine() -> Iterator[tk.Engine]:
    """vLLM on the default model, with its defaults but for the KV cache: the default's 4 GiB are touched at once,
    which takes 10 s, and there is one for each worker."""
    defaults = cpu_defaults
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            config, "cpu_defaults", lambda *given: {**defaults(*given), "kv_cache_memory_bytes": 1 << 30}
        )
        with pytest.MonkeyPatch.context() as home:
            home.setenv("TOOLKIT_HOME", str(HOME))  # the first test that needs the engine may have another
            engine = tk.load()
        with engine:
            yield engine


@pytest.fixture(scope="session")
def tiny_folder(shared: Path) -> Path:
    """The model of `tiny`, which has the default model's name as well."""
    folder = shared / "tiny" / tk.models.DEFAULT
    folder.parent.mkdir(exist_ok=True)
    with FileLock(f"{folder}.lock"):
        if not folder.exists():
            tiny_model.build(folder, tk.models.path())
    return folder


@pytest.fixture(scope="session")
def tiny(tiny_folder: Path) -> Iterator[tk.Engine]:
    """vLLM on two layers of random weights, with the default model's tokenizer, chat template and window: ten times
    as fast, for tests in which nothing depends on what is said. It takes down what both share when it is closed, so
    only at the end."""
    engine = VLLMEngine(str(tiny_folder), {"kv_cache_memory_bytes": 64 << 20})
    yield engine
    engine.close()


@pytest.fixture(scope="session")
def warm_python(shared: Path) -> Iterator[str]:
    """Stands for `sys.executable`: a Python that has imported vLLM (`fork_server`)."""
    folder = shared / "fork"
    with FileLock(f"{folder}.lock"):
        folder.mkdir(exist_ok=True)
        lease = fork_server.Lease(folder)
    yield str(lease.python)
    lease.close()


@pytest.fixture(scope="session")
def serving(warm_python: str) -> Callable[..., tk.Server]:
    """`tk.serve`, of servers whose processes are forked from one that has imported vLLM."""

    def serve(**options: Any) -> tk.Server:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sys, "executable", warm_python)
            return tk.serve(**options)

    return serve


@pytest.fixture
def warm(warm_python: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """In this test the processes that the toolkit starts are forked from one that has imported vLLM."""
    monkeypatch.setattr(sys, "executable", warm_python)
    return warm_python


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
            queued_seconds=0.01,
            prompt_token_ids=np.array([1, 2, 3], np.int32),
            position=0,
            error=error,
        )

    return build
