"""Explore: the likeliest roads that a model did not take, each followed to its end."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Sequence
from typing import Any

import numpy as np

from toolkit.branching import branches
from toolkit.choice import Choice
from toolkit.completion import Completion
from toolkit.engine import Engine
from toolkit.messages import Message
from toolkit.prompt import Rendered
from toolkit.sampling import Whole
from toolkit.tree import Tree

_ROUND = 8
"""Branches followed at once: a batch keeps the engine busy, and small ones keep to the best-first order."""
Road = tuple[float, int, int, int]
"""−log probability of a beginning that nothing has followed yet, the answer it leaves, the step, and the token."""


def explore(
    engine: Engine,
    messages: str | Rendered | Sequence[Message] | Completion,
    width: int = 3,
    depth: int = 8,
    budget: int = 16,
    **options: Any,
) -> Tree:
    """Answers that begin in the likeliest different ways: the model's own, then at each of the first `depth` steps
    the `width` most likely tokens, by the probability of the whole beginning (best first), each followed to its end.
    What an answer was given to begin with (prefix=, or a branch) stays, and steps count after it.

    messages: what to ask, or a completion (with top_logprobs) to start from. budget: the most answers. options: as of
    `Engine.chat`; at temperature 0 (the default) each beginning has its likeliest greedy end, above it a sampled one.
    Interrupted, it gives the tree so far.

    Raises ValueError for bad input and RequestError for what the engine refuses.

    >>> tk.explore(engine, "Is a tomato a fruit?", budget=8)  # doctest: +SKIP
    """
    for name, value in (("width", width), ("depth", depth), ("budget", budget)):
        Whole(1, None, "it counts tokens or answers")(name, value)
    if "n" in options:
        raise TypeError("explore makes its own answers, up to budget: leave n out")
    found = [_start(engine, messages, width, options)]
    first = found[0].choices[0].given  # what was given stays
    roads: list[Road] = []
    _note(roads, found, first, width, first + depth)
    try:
        _follow(engine, found, roads, width, first + depth, budget)
    except KeyboardInterrupt:
        print(f"interrupted: the tree has {len(found)} of {budget} answers", file=sys.stderr)
    return Tree(tuple(c.choices[0] for c in found))


def _start(engine: Engine, messages: Any, width: int, options: dict[str, Any]) -> Completion:
    if isinstance(messages, Completion):
        if options:
            raise TypeError(f"a completion has its settings already: leave out {', '.join(options)}")
        top = messages.request.sampling.top_logprobs
        if messages.error is not None:
            raise ValueError(f"this completion is an error and has no tokens: {messages.error}")
        if top is None or 0 <= top < width:
            raise ValueError(
                f"the completion lists {top or 0} tokens at each step, and width is {width}: ask with "
                f"top_logprobs={width}"
            )
        return messages
    shown = max(width, options.pop("top_logprobs", 0) or 0)
    return engine.chat(messages, **{"temperature": 0, **options, "top_logprobs": shown})


def _follow(
    engine: Engine, found: list[Completion], roads: list[Road], width: int, end: int, budget: int
) -> None:
    from tqdm.auto import tqdm

    with tqdm(total=budget, initial=1, desc=engine.model, unit="answer", disable=None) as bar:
        while roads and len(found) < budget:
            taken = [heapq.heappop(roads) for _ in range(min(_ROUND, budget - len(found), len(roads)))]
            forks: list[Any] = [(found[number], 0, step, token) for _, number, step, token in taken]
            for completion, (_, _, step, _) in zip(branches(engine, forks), taken, strict=True):
                found.append(completion)
                _note(roads, found, step + 1, width, end)
                bar.update()


def _note(roads: list[Road], found: list[Completion], first: int, width: int, end: int) -> None:
    """Notes the roads that leave the last answer after its own fork."""
    choice: Choice = found[-1].choices[0]
    assert choice.logprobs is not None
    assert choice.top_ids is not None
    assert choice.top_logprobs is not None
    before = np.concatenate([[0.0], np.nancumsum(choice.logprobs, dtype=np.float64)])
    for step in range(first, min(end, len(choice.token_ids))):
        for token, logprob in zip(
            choice.top_ids[step, :width], choice.top_logprobs[step, :width], strict=True
        ):
            if token != choice.token_ids[step] and np.isfinite(logprob):
                road = (-float(before[step] + logprob), len(found) - 1, step, int(token))
                heapq.heappush(roads, road)
