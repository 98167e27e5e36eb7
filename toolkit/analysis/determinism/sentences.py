"""The findings of a determinism report as sentences: no more than its numbers, each with its bound."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from toolkit._internal.text import percent, plural
from toolkit.analysis.determinism.settings import MOST_SETTINGS, UNSEEDED, Summary


def describe_summaries(summaries: Sequence[Summary], noun: str, kind: str) -> list[str]:
    """A sentence on each setting, then on all of a system. noun: what is counted; kind: what a system is."""
    settings, pooled = [s for s in summaries if s.sampling], [s for s in summaries if not s.sampling]
    rest = len(settings) - MOST_SETTINGS
    more = [f"… and {plural(rest, 'more setting')}: see the table `settings`."] if rest > 0 else []
    first, last = (
        [describe_runs(s, noun, kind) for s in part] for part in (settings[:MOST_SETTINGS], pooled)
    )
    return [*first, *more, *last]


def describe_runs(summary: Summary, noun: str, kind: str) -> str:
    """The sentence on the runs of one setting, or of all of a system."""
    row = summary.row
    total, repeated = int(row["requests"]), int(row["repeated"])
    if not repeated:
        text = f"one run of each of {plural(total, noun)}, so that nothing is known of repeats: ask with repeats=."
        return f"{summary.label}: {text}"
    counted = plural(repeated, noun) + ("" if repeated == total else f" with several runs (of {total:,})")
    once = total - repeated
    n = int(row["runs"]) - once
    if not row["differ"]:
        text = f"{counted}, {n:,} runs, none differs from the others of its {noun}{_bitwise_text(row)}."
        end = " Nothing fixes what they draw." if summary.sampling == UNSEEDED else ""
        return f"{summary.label}: {text} {_bounds_text(row, noun, n)}{end}{_asked_once(once)}"
    different, by_design = round(repeated * (1 - row["same"])), summary.differ_by_design
    outputs = f"over {n:,} runs, up to {int(row['unique'])} of one {noun}"
    if summary.sampling == UNSEEDED:
        end = f"as draws without a seed do.{_asked_once(once)}"
        return f"{summary.label}: {different} of {counted} gave several outputs {outputs}, {end}"
    where = "" if np.isnan(row["fork"]) else f", first at token {int(row['fork'])}"
    reason = f" {by_design} of them {'differs' if by_design == 1 else 'differ'} by design, without a seed."
    warning = f" An equal {kind} does not prove equal output." if different > by_design else ""
    return (
        f"{summary.label}: {different} of {counted} gave different outputs {outputs}{where}."
        f"{reason if by_design else _bounds_text(row, noun, n)}{warning}{_asked_once(once)}"
    )


def _asked_once(number: int) -> str:
    if not number:
        return ""
    return f" {'One was' if number == 1 else f'{number:,} were'} asked once, which tells nothing of repeats."


def _bounds_text(row: Mapping[Any, Any], noun: str, runs: int) -> str:
    """The most that may differ of further runs of the same request, or of such requests and their runs; and what the
    bound is where none differs. Empty if the runs tell nothing."""
    repeated, changed = int(row["repeated"]), bool(row["differ"])
    most = "no more than" if changed else "less than"
    if repeated == 1:
        share, what = percent(row["bound"]), f"further runs of this {noun}"
        text = f"{most} {share} of {what} {'differ from its commonest output' if changed else 'do'}"
        reason = f"{runs:,} equal runs"
    else:
        requests, share = percent(row["bound_requests"]), percent(row["bound"])
        both = f"{most} {requests} of such {noun}s and of such runs do"
        text = both if requests == share else f"{most} {requests} of such {noun}s and {share} of such runs do"
        reason = f"{repeated:,} {noun}s without a difference"
    if changed:
        return f" At 95 % confidence {text}." if min(row["bound"], row["bound_requests"]) < 1 else ""
    return f"At 95 % confidence {text}: {rare(reason)}."


def rare(reason: str) -> str:
    """What a bound without an event is."""
    return f"were it more, {reason} would be rarer than 1 in 20"


def describe_pair(
    pair: str, row: Mapping[Any, Any], noun: str, by_setting: Sequence[tuple[str, int, int]]
) -> str:
    """The sentence on two systems (a row of `Determinism.between`). by_setting: label, forked requests and requests
    of each setting, if there are several."""
    head = f"{pair}: {row['differ']}" if row["differ"] else pair
    requests = int(row["requests"])
    if not requests:
        return f"{head}. No {noun} was asked of both."
    drift = _drift_text(row, "; ")
    chance = "" if np.isnan(row["p"]) else f"; p = {row['p']:.2g} that runs of one system differ as much"
    if not row["forked"]:
        reason = f"{plural(requests, noun)} without a fork"
        return (
            f"{head}. None of {plural(requests, noun)} forks: the commonest outputs are the same{drift}{chance}. "
            f"At 95 % confidence less than {percent(row['bound'])} of such {noun}s fork: {rare(reason)}."
        )
    first = "" if np.isnan(row["first_fork"]) else f", first at token {int(row['first_fork'])}"
    margin = "" if np.isnan(row["margin"]) else f"; median margin there {row['margin']:.2g} nats"
    fork = "forks" if row["forked"] == 1 else "fork"
    settings = ", ".join(f"{label} {forked} of {number}" for label, forked, number in by_setting)
    return (
        f"{head}. {row['forked']} of {plural(requests, noun)} {fork}{first}{margin}{drift}{chance}."
        f"{f' By setting: {settings}.' if settings else ''}"
    )


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


def _bitwise_text(row: Mapping[Any, Any]) -> str:
    if row["bitwise"] == 1:
        return ", and all stored log probabilities have the same bits"
    return _drift_text(row, ", though ")


def _drift_text(row: Mapping[Any, Any], head: str) -> str:
    otherwise = "" if row["bitwise"] == 1 else f"{head}log probabilities of other tokens are not all the same"
    return describe_drift(row["drift"], head, otherwise)
