"""The time in which an engine ran, divided among the completions that ran at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.store.store import Store


COMPLETION_KEY = ["request", "system_fingerprint", "repeat"]
"""Columns that identify a completion: rows of a results table are choices, and cells may share a request."""
ATTEMPT_KEY = ["sweep", *COMPLETION_KEY]
"""Columns by which failed attempts are counted."""
Doubles = npt.NDArray[np.float64]


def per_completion(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each completion of a results table: prompt and cached tokens are those of the request, completion
    tokens the sum over its choices; NaN where they are unknown."""
    choices = table.drop_duplicates([*COMPLETION_KEY, "choice"])
    groups = choices.sort_values("choice").groupby(COMPLETION_KEY, sort=False, dropna=False)
    names = ["prompt_tokens", "cached_tokens", "seconds", "first_token_seconds", "created"]
    completions = groups[names].first()
    completions.insert(2, "completion_tokens", groups["completion_tokens"].sum(min_count=1))
    counts = dict.fromkeys(("prompt_tokens", "cached_tokens", "completion_tokens"), np.float64)
    return completions.astype(counts).reset_index()


def machine_seconds(completions: pd.DataFrame) -> Doubles:
    """(R,) seconds of the machine that each completion of `engine_completions` took: those that ran at once share the
    time by their tokens (uncached prompt tokens and generated tokens), so that the sum is the time in which anything
    ran. A sum of `seconds` would count that time once for each of them. NaN where the seconds are not known; where
    the tokens are not, the share of an average completion. The table must hold all completions that ran at the time.
    """
    shares = np.full(len(completions), np.nan)
    for _, part in completions.groupby("system_fingerprint"):
        timed = part[part["seconds"].notna()].sort_values("created")
        end = timed["created"].to_numpy(np.float64)
        begin = end - timed["seconds"].to_numpy(np.float64)
        order = np.argsort(begin, kind="stable")
        begin, end = begin[order], end[order]
        if not len(end):
            continue
        latest = np.maximum.accumulate(end)
        burst = np.cumsum(np.concatenate([[0], (begin[1:] > latest[:-1]).astype(int)]))
        first = np.flatnonzero(np.diff(burst, prepend=-1))
        length = latest[np.append(first[1:], len(end)) - 1] - begin[first]
        weights = timed["prompt_tokens"] - timed["cached_tokens"] + timed["completion_tokens"]
        weights = weights.fillna(weights.mean()).fillna(1)
        weight = np.maximum(weights.to_numpy(np.float64)[order], 1e-9)
        total = np.bincount(burst, weight)
        places = completions.index.get_indexer(timed.index[order])
        shares[places] = weight / total[burst] * length[burst]
    return shares


def engine_completions(table: pd.DataFrame, store: Store | None) -> pd.DataFrame:
    """All completions in a store on the engines of a results table, with their watts; those of the table itself
    where there is no store."""
    if store is None:
        return per_completion(table).assign(watts=np.nan)
    return store.completion_timings(list(map(str, table["system_fingerprint"].unique())))
