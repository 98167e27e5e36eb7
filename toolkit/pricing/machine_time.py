"""The time in which an engine ran, attributed to its completions; and the rate at which it decoded."""

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
_TIMES = ("seconds", "queued_seconds", "first_token_seconds", "decode_seconds")
Doubles = npt.NDArray[np.float64]


def per_completion(table: pd.DataFrame) -> pd.DataFrame:
    """A row for each completion of a results table: prompt and cached tokens and the times are those of the request,
    completion tokens the sum over its choices, and `choices` their number; NaN where they are unknown."""
    choices = table.drop_duplicates([*COMPLETION_KEY, "choice"])
    groups = choices.sort_values("choice").groupby(COMPLETION_KEY, sort=False, dropna=False)
    names = ["prompt_tokens", "cached_tokens", *_TIMES, "created"]
    completions = groups[names].first()
    completions.insert(2, "completion_tokens", groups["completion_tokens"].sum(min_count=1))
    completions["choices"] = groups.size()
    counts = dict.fromkeys(("prompt_tokens", "cached_tokens", "completion_tokens", *_TIMES), np.float64)
    return completions.astype(counts).reset_index()


def decoding_rate(completions: pd.DataFrame) -> float:
    """Tokens a second that one sequence generates after its first token, in the batches that these completions of
    `per_completion` ran in: the sum of the tokens by the sum of the times. NaN where none is known, as on servers
    without streaming."""
    tokens = (completions["completion_tokens"] - completions["choices"]).to_numpy(np.float64)
    times = completions["decode_seconds"].to_numpy(np.float64)
    counted = ~np.isnan(tokens) & (times > 0)
    return float(tokens[counted].sum() / times[counted].sum()) if counted.any() else float("nan")


def machine_seconds(completions: pd.DataFrame) -> Doubles:
    """(R,) seconds of the machine that are attributed to each completion of `engine_completions`: the time in which
    its engine ran anything, divided among all that it completed in proportion to their tokens.

    What each completion took by itself cannot be measured, since those in a batch run at once, and how much of the
    batch's time is "its own" depends on what ran beside it, and on who computed a prompt that others found in the
    prefix cache. So every token of an engine has the same share, whenever it ran: the shares of settings are to each
    other as their tokens, and their order does not depend on other settings. The sum is the measured time; a sum of
    `seconds` would count it once for each request in a batch.

    It assumes that a token of a prompt, cached or not, takes as long as a generated one. Generating takes longer on
    most machines: settings that differ in the ratio of the two are compared by a price for each kind (`ModelPrice`).

    NaN where the seconds are not known; where the tokens are not, the share of an average completion. The table must
    hold all completions of its engines.
    """
    shares = np.full(len(completions), np.nan)
    for _, part in completions.groupby("system_fingerprint"):
        timed = part[part["seconds"].notna()]
        if not len(timed):
            continue
        tokens = timed["prompt_tokens"] + timed["completion_tokens"]
        tokens = np.maximum(tokens.fillna(tokens.mean()).fillna(1).to_numpy(np.float64), 1e-9)
        places = completions.index.get_indexer(timed.index)
        shares[places] = _busy_seconds(timed) * tokens / tokens.sum()
    return shares


def _busy_seconds(timed: pd.DataFrame) -> float:
    """The time in which any of these completions ran: the length of the union of their times."""
    end = timed["created"].to_numpy(np.float64)
    begin = end - timed["seconds"].to_numpy(np.float64)
    order = np.argsort(begin, kind="stable")
    begin, end = begin[order], end[order]
    latest = np.maximum.accumulate(end)
    idle = np.maximum(begin[1:] - latest[:-1], 0).sum()
    return float(latest[-1] - begin[0] - idle)


def attributed(ran: pd.DataFrame) -> pd.DataFrame:
    """All completions of some engines, indexed by `COMPLETION_KEY`, with the machine's seconds of each, and the mean
    power of its engine in place of that of its run, which depends on what else ran in it."""
    timed = ran.assign(machine_seconds=machine_seconds(ran))
    measured = timed[timed["watts"].notna() & (timed["machine_seconds"] > 0)]
    joules = (measured["machine_seconds"] * measured["watts"]).groupby(measured["system_fingerprint"]).sum()
    watts = joules / measured.groupby("system_fingerprint")["machine_seconds"].sum()
    mean = timed["system_fingerprint"].map(watts).astype(np.float64)
    return timed.assign(watts=mean.where(timed["watts"].notna())).set_index(COMPLETION_KEY)


def failure_seconds(failures: pd.DataFrame, timed: pd.DataFrame) -> pd.DataFrame:
    """Failed attempts with the machine's seconds that their tokens would have as completions (see `machine_seconds`),
    and their engine's mean power. timed: the completions of these engines (`attributed`)."""
    engines = timed.assign(tokens=timed["prompt_tokens"] + timed["completion_tokens"]).dropna(
        subset=["tokens", "machine_seconds"]
    )
    sums = engines.groupby("system_fingerprint")[["machine_seconds", "tokens"]].sum()
    watts = timed.groupby("system_fingerprint")["watts"].first()
    names, tokens = failures["system_fingerprint"], failures["prompt_tokens"] + failures["completion_tokens"]
    seconds = tokens * names.map(sums["machine_seconds"] / sums["tokens"]).astype(np.float64)
    return failures.assign(
        machine_seconds=seconds.mask(tokens == 0, 0.0), watts=names.map(watts).astype(np.float64)
    )


def engine_completions(table: pd.DataFrame, store: Store | None) -> pd.DataFrame:
    """All completions in a store on the engines of a results table, with their watts; those of the table itself
    where there is no store."""
    if store is None:
        return per_completion(table).assign(watts=np.nan)
    return store.completion_timings(list(map(str, table["system_fingerprint"].unique())))
