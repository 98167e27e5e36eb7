"""Extracts the choices of completions, checks their log probabilities and stacks their arrays."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from toolkit._internal.text import short_repr
from toolkit.core.choice import UNNAMED, Choice
from toolkit.core.completion import Completion


def choices_of(source: Any) -> Iterator[Choice]:
    """The choices of a completion, a choice or a nested iterable of them. Raises ValueError for a failed completion,
    TypeError for other values."""
    if isinstance(source, Choice):
        yield source
    elif isinstance(source, Completion):
        if source.error is not None:
            raise ValueError(
                f"this completion is an error and has no tokens ({source.error}): leave it out; for results, with "
                'results.filter(finish_reason=["stop", "length"])'
            )
        yield from source.choices
    elif isinstance(source, Iterable) and not isinstance(source, (str, bytes)):
        for item in source:
            yield from choices_of(item)
    else:
        raise TypeError(
            f"logprobs takes a completion, a choice or an iterable of them, got {short_repr(source)}"
        )


def check_logprobs(choice: Choice) -> None:
    """Raises ValueError unless the choice has token IDs with log probabilities, and these are not logits."""
    if choice.logprobs is None:
        raise ValueError(
            f"{choice.text[:40]!r} has no log probabilities: ask with logprobs=True, or top_logprobs=5 for the most "
            "likely tokens as well"
        )
    if len(choice.logprobs) != len(choice.token_ids):
        raise ValueError(f"{choice.text[:40]!r} has no tokens: {UNNAMED}")
    if choice.logprobs_mode in ("raw_logits", "processed_logits"):
        raise ValueError(
            f"these are logits, not log probabilities (logprobs_mode={choice.logprobs_mode!r}): load the model with "
            'logprobs_mode="raw_logprobs"'
        )


def require_array(array: Any) -> Any:
    """An array that is present whenever `logprobs` is."""
    assert array is not None
    return array


def stack_rows(arrays: list[Any], empty: float) -> Any:
    """Stacks rows of different widths, padded with `empty`."""
    if len({a.shape[1] for a in arrays}) == 1:
        return np.concatenate(arrays)
    width = max(a.shape[1] for a in arrays)
    rows = [np.pad(a, ((0, 0), (0, width - a.shape[1])), constant_values=empty) for a in arrays]
    return np.concatenate(rows)
