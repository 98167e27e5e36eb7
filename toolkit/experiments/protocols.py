"""Protocols: published experiments on whether a model repeats its answers, ready to run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.analysis.determinism.report import Determinism
from toolkit.core.openai_names import standard_names
from toolkit.engines.base import Engine
from toolkit.experiments.grid import cases
from toolkit.experiments.plan import STORE
from toolkit.experiments.sweep import sweep
from toolkit.prompts.messages import Message
from toolkit.prompts.prompt import Prompt
from toolkit.prompts.rendered import Rendered
from toolkit.results.results import Results
from toolkit.store.store import Store

if TYPE_CHECKING:
    import pandas as pd


QUESTION = "Tell me about Richard Feynman"
"""The prompt of Thinking Machines' experiment."""


def unique_completions(
    engine: Engine,
    prompt: str | Rendered | Sequence[Message] = QUESTION,
    n: int = 1000,
    store: Store | str | Path = STORE,
    **sampling: Any,
) -> Determinism:
    """n completions of one prompt at temperature 0 in one batch: how many are unique, and where they first diverge.
    Qwen3-235B gave 80 of 1,000 at 1,000 tokens, first at token 103; with batch-invariant kernels 1 (He et al.,
    "Defeating Nondeterminism in LLM Inference", Thinking Machines Lab, 2025,
    https://thinkingmachines.ai/blog/defeating-nondeterminism-in-llm-inference/).

    sampling: max_tokens (1000 when left out, as there), top_logprobs (5), and any other; see `Sampling`.
    """
    options = {"temperature": 0, "max_tokens": 1000, "top_logprobs": 5, **standard_names(sampling)}
    return _run(engine, prompt, None, options, n, store).determinism()


def total_agreement(
    engine: Engine,
    prompt: str | Prompt,
    rows: Iterable[Mapping[str, Any]] | pd.DataFrame,
    parse: Callable[[str], Any],
    score: Callable[[Mapping[str, Any]], float] | None = None,
    n: int = 10,
    store: Store | str | Path = STORE,
    **sampling: Any,
) -> Determinism:
    """n runs of a task at temperature 0: on how many items all runs agree, in their raw text (TARr@N: `same`) and in
    their parsed answers (TARa@N: `same_answer`), with the best and the worst accuracy that the runs could have had
    (Atil et al., "Non-Determinism of 'Deterministic' LLM Settings", arXiv 2408.04667; there with 10 runs, top_p 1
    and a fixed seed). The table `within` of what is returned has the numbers.

    parse: from a text to the answer in it, None where there is none. score: from a row of `frame()` to 1 for right.
    """
    options = {"temperature": 0, "seed": 42, **sampling}
    return _run(engine, prompt, rows, options, n, store).determinism(score=score, parse=parse)


def same_seed(
    engine: Engine,
    prompt: str | Rendered | Sequence[Message],
    seed: int = 123,
    n: int = 5,
    store: Store | str | Path = STORE,
    **sampling: Any,
) -> Determinism:
    """n runs with one seed, as OpenAI's cookbook does to show what `seed` and `system_fingerprint` are worth
    ("How to make your completions outputs consistent with the new seed parameter", 2023,
    https://cookbook.openai.com/examples/reproducible_outputs_with_the_seed_parameter; there at temperature 0).

    sampling: temperature (1 when left out: at 0 a seed changes nothing here), max_tokens, and any other.
    """
    options = {"temperature": 1.0, "top_logprobs": 5, **sampling, "seed": seed}
    return _run(engine, prompt, None, options, n, store).determinism()


def _run(engine: Engine, prompt: Any, rows: Any, options: dict[str, Any], n: int, store: Any) -> Results:
    return sweep(prompt, rows, cases(options), repeats=n).run(engine, store)
