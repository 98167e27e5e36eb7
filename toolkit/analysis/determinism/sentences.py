"""The findings of a determinism report as sentences: no more than its numbers, each with its bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._internal.text import percent, plural

if TYPE_CHECKING:
    import pandas as pd


def describe_system(system: str, row: pd.Series[Any], noun: str, kind: str) -> str:
    """The sentence on one system (a row of `Determinism.within`). noun: what is counted; kind: what a system is."""
    total, repeated = int(row["requests"]), int(row["repeated"])
    if not repeated:
        requests = plural(total, noun)
        return f"{system}: one run of each of {requests}, so that nothing is known of repeats: ask with repeats=."
    counted = plural(repeated, noun) + ("" if repeated == total else f" with several runs (of {total})")
    n = int(row["runs"]) - (total - repeated)
    if not row["differ"]:
        return (
            f"{system}: {counted}, {n} runs, none differs from the others of its {noun}{_bitwise_text(row)}. "
            f"At 95 % confidence less than {percent(row['bound'])} of such runs do (3/N)."
        )
    where = "" if np.isnan(row["fork"]) else f", first at token {int(row['fork'])}"
    different = round(repeated * (1 - row["same"]))
    return (
        f"{system}: {different} of {counted} gave different outputs over {n} runs, up to {int(row['unique'])} of one "
        f"{noun}{where}. An equal {kind} does not prove equal output."
    )


def describe_pair(pair: str, row: pd.Series[Any], noun: str) -> str:
    """The sentence on two systems (a row of `Determinism.between`)."""
    head = f"{pair}: {row['differ']}" if row["differ"] else pair
    requests = int(row["requests"])
    if not requests:
        return f"{head}. No {noun} was asked of both."
    drift = _drift_text(row, "; ")
    chance = "" if np.isnan(row["p"]) else f"; p = {row['p']:.2g} that runs of one system differ as much"
    if not row["forked"]:
        return (
            f"{head}. None of {plural(requests, noun)} forks: the commonest outputs are the same{drift}{chance}. "
            f"At 95 % confidence less than {percent(row['bound'])} of such {noun}s fork (3/N)."
        )
    first = "" if np.isnan(row["first_fork"]) else f", first at token {int(row['first_fork'])}"
    margin = "" if np.isnan(row["margin"]) else f"; median margin there {row['margin']:.2g} nats"
    fork = "forks" if row["forked"] == 1 else "fork"
    return f"{head}. {row['forked']} of {plural(requests, noun)} {fork}{first}{margin}{drift}{chance}."


def describe_unseeded(number: int, total: int, noun: str) -> str:
    """The sentence on requests that are sampled without a seed."""
    return (
        f"Sampled without a seed, so that runs differ by design: {number} of {plural(total, noun)}. Give a seed, or "
        "temperature 0, to see what the system does."
    )


def describe_unknown(name: str) -> str:
    """The sentence on a server that reports no system_fingerprint."""
    return f"{name} is a server that reports no system_fingerprint: whether its runs are of one system is unknown."


def describe_drift(nats: float, head: str, none: str) -> str:
    """The largest difference of log probabilities, after `head`; `none` if it is 0, empty if it is not known."""
    if np.isnan(nats):
        return ""
    return f"{head}log probabilities differ by up to {nats:.2g} nats" if nats else none


def _bitwise_text(row: pd.Series[Any]) -> str:
    if row["bitwise"] == 1:
        return ", and all stored log probabilities have the same bits"
    return _drift_text(row, ", though ")


def _drift_text(row: pd.Series[Any], head: str) -> str:
    otherwise = "" if row["bitwise"] == 1 else f"{head}log probabilities of other tokens are not all the same"
    return describe_drift(row["drift"], head, otherwise)
