"""The order in which many requests reach the engine.

vLLM runs a sampler feature over the whole batch as soon as one row asks for it: top_p sorts the vocabulary of
every row, penalties count the tokens of every row. So requests that use the same features go together.
Inside a group, equal and similar prompts are neighbours, so that the prefix cache serves them.
"""

from __future__ import annotations

from collections.abc import Iterable

from toolkit.core.request import ResolvedRequest
from toolkit.core.sampling import NEUTRAL, Sampling

_PENALTIES = ("frequency_penalty", "presence_penalty", "repetition_penalty")
_MIN_GROUP_SIZE = 32
"""A smaller group uses the cores badly: it joins one that already pays for its features."""


Features = frozenset[str]
"""Names of sampler features."""

# Each step changes one feature, so that the last rows of a group cost the next one little.
_ORDER: tuple[Features, ...] = (
    frozenset(),
    frozenset({"penalties"}),
    frozenset({"penalties", "top_p"}),
    frozenset({"top_p"}),
)


def features(sampling: Sampling) -> Features:
    """The sampler features of a resolved Sampling that cost the whole batch: penalties, top_p."""
    used = set()
    if any(getattr(sampling, name) not in (None, NEUTRAL[name]) for name in _PENALTIES):
        used.add("penalties")
    if sampling.top_p not in (None, 1.0):
        used.add("top_p")
    return frozenset(used)


def batches(requests: Iterable[ResolvedRequest]) -> list[list[ResolvedRequest]]:
    """The requests in groups to run one after another; every request is in exactly one."""
    groups: dict[Features, list[ResolvedRequest]] = {kind: [] for kind in _ORDER}
    for request in requests:
        groups[features(request.sampling)].append(request)
    for kind in _ORDER:
        hosts = [other for other in _ORDER if kind < other and groups[other]]
        if 0 < len(groups[kind]) < _MIN_GROUP_SIZE and hosts:
            groups[min(hosts, key=len)].extend(groups[kind])
            groups[kind] = []
    return [sorted(group, key=prompt_key) for group in groups.values() if group]


def prompt_key(request: ResolvedRequest) -> tuple[str, ...]:
    """Texts of the prompt, by which a batch is sorted: equal beginnings are neighbours. None of messages that have
    not been checked, and that no chat template takes."""
    if request.messages is None:
        return (str(request.prompt),)
    try:
        return tuple(text for m in request.messages for text in (str(m["role"]), str(m["content"])))
    except (KeyError, TypeError, RecursionError):
        return ()
