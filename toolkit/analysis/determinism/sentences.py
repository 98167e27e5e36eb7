"""Findings: what a report on determinism says in words: no more than its numbers, and each with its bound."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit.agreement import percent

if TYPE_CHECKING:
    import pandas as pd


def within(who: str, row: pd.Series[Any], noun: str, kind: str) -> str:
    """Of one system, by its row of `Determinism.within`. noun: what is counted; kind: what a system is."""
    every, repeated = int(row["requests"]), int(row["repeated"])
    if not repeated:
        one = many(every, noun)
        return f"{who}: one run of each of {one}, so that nothing is known of repeats: ask with repeats=."
    asked = many(repeated, noun) + ("" if repeated == every else f" with several runs (of {every})")
    n = int(row["runs"]) - (every - repeated)
    if not row["differ"]:
        return (
            f"{who}: {asked}, {n} runs, none differs from the others of its {noun}{_bits(row)}. At 95 % confidence "
            f"less than {percent(row['bound'])} of such runs do (3/N)."
        )
    where = "" if np.isnan(row["fork"]) else f", first at token {int(row['fork'])}"
    different = round(repeated * (1 - row["same"]))
    return (
        f"{who}: {different} of {asked} gave different outputs over {n} runs, up to {int(row['unique'])} of one "
        f"{noun}{where}. An equal {kind} does not prove equal output."
    )


def between(pair: str, row: pd.Series[Any], noun: str) -> str:
    """Of two systems, by their row of `Determinism.between`."""
    head = f"{pair}: {row['differ']}" if row["differ"] else pair
    asked = int(row["requests"])
    if not asked:
        return f"{head}. No {noun} was asked of both."
    drift = _apart(row, "; ")
    chance = "" if np.isnan(row["p"]) else f"; p = {row['p']:.2g} that runs of one system differ as much"
    if not row["forked"]:
        return (
            f"{head}. None of {many(asked, noun)} forks: the commonest outputs are the same{drift}{chance}. At 95 % "
            f"confidence less than {percent(row['bound'])} of such {noun}s fork (3/N)."
        )
    first = "" if np.isnan(row["first_fork"]) else f", first at token {int(row['first_fork'])}"
    margin = "" if np.isnan(row["margin"]) else f"; median margin there {row['margin']:.2g} nats"
    fork = "forks" if row["forked"] == 1 else "fork"
    return f"{head}. {row['forked']} of {many(asked, noun)} {fork}{first}{margin}{drift}{chance}."


def drawn(number: int, every: int, noun: str) -> str:
    """Of what is sampled without a seed."""
    return (
        f"Sampled without a seed, so that runs differ by design: {number} of {many(every, noun)}. Give a seed, or "
        "temperature 0, to see what the system does."
    )


def untold(name: str) -> str:
    """Of a server that tells no system_fingerprint."""
    return (
        f"{name} is a server that tells no system_fingerprint: whether its runs are of one system is unknown."
    )


def many(number: int, noun: str) -> str:
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def drifted(nats: float, head: str, none: str) -> str:
    """How far log probabilities lie apart, after `head`; `none` where not at all, nothing where it is not known."""
    if np.isnan(nats):
        return ""
    return f"{head}log probabilities differ by up to {nats:.2g} nats" if nats else none


def _bits(row: pd.Series[Any]) -> str:
    if row["bitwise"] == 1:
        return ", and all stored log probabilities have the same bits"
    return _apart(row, ", though ")


def _apart(row: pd.Series[Any], head: str) -> str:
    others = "" if row["bitwise"] == 1 else f"{head}log probabilities of other tokens are not all the same"
    return drifted(row["drift"], head, others)
