"""The completions behind the rows of a results table."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._internal.missing import is_missing
from toolkit.core.completion import Completion, Usage, sum_tokens
from toolkit.pricing.machine_time import COMPLETION_KEY
from toolkit.store.rows import choice_tokens
from toolkit.store.store import Store

if TYPE_CHECKING:
    import pandas as pd

_COUNTS = ("prompt_tokens", "completion_tokens", "cached_tokens")
Key = tuple[str, str, int]
"""Request, system_fingerprint and repeat: what identifies a completion."""


class RowCompletions:
    """The completion of each row of a table, with those of its choices that have a row there."""

    def __init__(self, table: pd.DataFrame, store: Store | None) -> None:
        self._table, self._store = table, store

    def __getitem__(self, row: int) -> Completion:
        if self._store is None:
            raise ValueError(
                "a table read from CSV has no completions behind it: read Parquet or JSONL instead"
            )
        key = self._keys[row]
        if self._failed[row]:
            return _failed_completion(self._store, dict(self._table.iloc[row]))
        completion = self._store.completion(*key)
        choices = completion.choices
        if len(choices) > 1:
            choices = tuple(choice for choice in choices if choice.index in self._choices[key])
        if len(choices) == len(completion.choices):
            return completion
        tokens = sum_tokens(choice_tokens(completion, choice) for choice in choices)
        usage = replace(completion.usage, completion_tokens=tokens)
        return replace(completion, choices=choices, usage=usage)

    def __iter__(self) -> Iterator[Completion]:
        """Each completion once: rows are choices, and cells may share a request."""
        first = np.flatnonzero(~self._table.duplicated(COMPLETION_KEY).to_numpy())
        return (self[int(row)] for row in first)

    @cached_property
    def _keys(self) -> list[Key]:
        return list(zip(*(self._table[name].tolist() for name in COMPLETION_KEY), strict=True))

    @cached_property
    def _failed(self) -> list[bool]:
        failed: list[bool] = (self._table["finish_reason"] == "error").tolist()
        return failed

    @cached_property
    def _choices(self) -> Mapping[Key, set[int]]:
        """The indices of the choices of each completion that have a row."""
        choices: dict[Key, set[int]] = {}
        for key, choice in zip(self._keys, self._table["choice"].tolist(), strict=True):
            choices.setdefault(key, set()).add(choice)
        return choices


def _failed_completion(store: Store, row: Mapping[str, Any]) -> Completion:
    return Completion.failed(
        store.request(row["request"]),
        str(row["error"]),
        model=str(row["model"]),
        system_fingerprint=str(row["system_fingerprint"]),
        usage=Usage(*(None if is_missing(row[name]) else int(row[name]) for name in _COUNTS)),
        id="",
        created=float(row["created"]),
    )
