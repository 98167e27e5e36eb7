"""Explore: the likeliest beginnings that a model did not choose, each continued to its end."""

from __future__ import annotations

import heapq
import logging
from collections.abc import Sequence
from typing import Any, Unpack

import numpy as np

from toolkit._internal.validation import Whole
from toolkit.analysis.tree import Tree
from toolkit.core.choice import Choice
from toolkit.core.completion import Completion
from toolkit.core.options import ChatOptions, spelled_out
from toolkit.engines.base import Engine, as_engine
from toolkit.engines.branching import branches
from toolkit.prompts.messages import Message
from toolkit.prompts.rendered import Rendered

_logger = logging.getLogger(__name__)

_BATCH_SIZE = 8
"""Branches generated at once: a batch keeps the engine busy, and a small one stays close to best-first order."""
Candidate = tuple[float, int, int, int]
"""A beginning not yet continued: −log probability, number of the completion it branches from, step, token."""


@spelled_out(ChatOptions)
def explore(
    engine: Engine,
    messages: str | Rendered | Sequence[Message] | Completion,
    width: int = 3,
    depth: int = 8,
    budget: int = 16,
    **options: Unpack[ChatOptions],
) -> Tree:
    """Answers with the likeliest different beginnings: the model's own, then at each of the first `depth` steps the
    `width` most likely tokens, by the probability of the whole beginning (best first), each continued to its end.
    A prefix of the answer (prefix=, or a branch) stays, and steps count after it.

    messages: the prompt, or a completion (with top_logprobs) to start from. budget: the most answers. options: as of
    `Engine.chat`; at temperature 0 (the default) each beginning has its likeliest greedy end, above it a sampled one.
    When interrupted, it returns the tree so far.

    Raises ValueError for bad input and RequestError for what the engine refuses.

    >>> tk.explore(engine, "Is a tomato a fruit?", budget=8)  # doctest: +SKIP
    """
    for name, value in (("width", width), ("depth", depth), ("budget", budget)):
        Whole(1, None, "it counts tokens or answers")(name, value)
    if "n" in options:
        raise TypeError("explore makes its own answers, up to budget: leave n out")
    completions = [_first_completion(as_engine(engine), messages, width, dict(options))]
    first_step = completions[0].choices[0].prefix_tokens  # the prefix stays
    candidates: list[Candidate] = []
    _add_candidates(candidates, completions, first_step, width, first_step + depth)
    try:
        _search(engine, completions, candidates, width, first_step + depth, budget)
    except KeyboardInterrupt:
        _logger.warning("interrupted: the tree has %d of %d answers", len(completions), budget)
    return Tree(tuple(c.choices[0] for c in completions))


def _first_completion(engine: Engine, messages: Any, width: int, options: dict[str, Any]) -> Completion:
    if isinstance(messages, Completion):
        if options:
            raise TypeError(f"a completion has its settings already: leave out {', '.join(options)}")
        top_logprobs = messages.request.sampling.top_logprobs
        if messages.error is not None:
            raise ValueError(f"this completion is an error and has no tokens: {messages.error}")
        if top_logprobs is None or 0 <= top_logprobs < width:
            raise ValueError(
                f"the completion lists {top_logprobs or 0} tokens at each step, and width is {width}: ask with "
                f"top_logprobs={width}"
            )
        return messages
    top_logprobs = max(width, options.pop("top_logprobs", 0) or 0)
    return engine.chat(messages, **{"temperature": 0, **options, "top_logprobs": top_logprobs})


def _search(
    engine: Engine,
    completions: list[Completion],
    candidates: list[Candidate],
    width: int,
    end: int,
    budget: int,
) -> None:
    from tqdm.auto import tqdm

    with tqdm(total=budget, initial=1, desc=engine.model, unit="answer", disable=None) as bar:
        while candidates and len(completions) < budget:
            batch = [
                heapq.heappop(candidates)
                for _ in range(min(_BATCH_SIZE, budget - len(completions), len(candidates)))
            ]
            forks: list[Any] = [(completions[number], 0, step, token) for _, number, step, token in batch]
            for completion, (_, _, step, _) in zip(branches(engine, forks), batch, strict=True):
                completions.append(completion)
                _add_candidates(candidates, completions, step + 1, width, end)
                bar.update()


def _add_candidates(
    candidates: list[Candidate], completions: list[Completion], first_step: int, width: int, end: int
) -> None:
    """Adds the branches off the last completion, from first_step on."""
    choice: Choice = completions[-1].choices[0]
    assert choice.logprobs is not None
    assert choice.top_ids is not None
    assert choice.top_logprobs is not None
    cumulative = np.concatenate([[0.0], np.nancumsum(choice.logprobs, dtype=np.float64)])
    for step in range(first_step, min(end, len(choice.token_ids))):
        for token, logprob in zip(
            choice.top_ids[step, :width], choice.top_logprobs[step, :width], strict=True
        ):
            if token != choice.token_ids[step] and np.isfinite(logprob):
                candidate = (-float(cumulative[step] + logprob), len(completions) - 1, step, int(token))
                heapq.heappush(candidates, candidate)
