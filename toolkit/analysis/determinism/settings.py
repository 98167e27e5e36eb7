"""The settings of a determinism report: how requests were sampled, and so whether their runs should be equal."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from toolkit._internal.missing import is_missing
from toolkit._internal.value_text import short_value
from toolkit.analysis.determinism.tables import system_summary

if TYPE_CHECKING:
    import pandas as pd

GREEDY, SEEDED, UNSEEDED = "greedy", "seeded", "sampled without a seed"
SAMPLING = (GREEDY, SEEDED, UNSEEDED)
"""How the tokens of a request are chosen. Runs of one that is sampled without a seed differ by design."""
MOST_SETTINGS = 20
"""Settings that a report shows; further ones are counted."""
_SAYS_LITTLE = ("sweep", "logprobs", "top_logprobs", "prompt_logprobs")
"""Columns that change no output; they are left out of labels where the others tell the settings apart."""
_LONGEST_VALUE = 40
"""Characters of a value in the label of a setting."""


def sampling_of(completions: pd.DataFrame) -> list[str]:
    """How each completion was sampled: one of SAMPLING. An unknown temperature counts as above 0."""
    greedy = completions["temperature"] == 0
    kinds = np.where(greedy, GREEDY, np.where(completions["seed"].isna(), UNSEEDED, SEEDED))
    return [str(kind) for kind in kinds]


def setting_labels(completions: pd.DataFrame, by: Sequence[str], sampling: Sequence[str]) -> list[str]:
    """The setting of each completion in words: the values of the columns `by`, and how it was sampled."""
    names, number = list(by), len(_distinct(completions, by, sampling))
    for name in filter(names.__contains__, _SAYS_LITTLE):
        others = [other for other in names if other != name]
        if len(_distinct(completions, others, sampling)) == number:
            names = others
    values = completions[names].itertuples(index=False, name=None)
    return [_label(names, row, kind) for row, kind in zip(values, sampling, strict=True)]


def _distinct(completions: pd.DataFrame, names: Sequence[str], sampling: Sequence[str]) -> set[str]:
    rows = completions[list(names)].itertuples(index=False, name=None)
    return {repr(row) for row in zip(rows, sampling, strict=True)}


def _label(names: Sequence[str], values: tuple[Any, ...], sampling: str) -> str:
    parts = [
        f"no {name}" if is_missing(value) else f"{name} {short_value(value, _LONGEST_VALUE)}"
        for name, value in zip(names, values, strict=True)
    ]
    return f"{', '.join(parts)} ({sampling})" if parts else sampling


def summary_by(requests: pd.DataFrame, names: list[str]) -> pd.DataFrame:
    """The statistics (see `system_summary`) of the rows of `Determinism.requests` that share the values of some
    columns, which are the index."""
    import pandas as pd

    summaries = {
        value: system_summary(rows)
        for value, rows in requests.groupby(names, sort=False, dropna=False)
        if isinstance(value, tuple)
    }
    index = pd.MultiIndex.from_tuples(list(summaries), names=names)
    frame = pd.DataFrame(list(summaries.values()), index=index)
    return frame if len(names) > 1 else frame.set_axis(index.get_level_values(0))


def settings_table(requests: pd.DataFrame, by: Sequence[str], across: str) -> pd.DataFrame:
    """See `Determinism.settings`."""
    names = [*by, "sampling", across]
    table = summary_by(requests, names)
    labels = requests.groupby(names, sort=False, dropna=False)["setting"].first()
    table.insert(0, "setting", labels.tolist())
    rank = table.index.get_level_values("sampling").map(SAMPLING.index)
    # A setting whose requests were all asked once tells nothing, and comes after those that tell something.
    repeated = table.groupby(names[:-1], sort=False, dropna=False)["repeated"].transform("max")
    order = np.lexsort([repeated.to_numpy() == 0, rank.to_numpy()])
    ordered: pd.DataFrame = table.iloc[order.tolist()]
    return ordered


@dataclass(frozen=True)
class Summary:
    """The statistics of one setting on one system, or of all settings of a system."""

    label: str
    sampling: str
    """One of SAMPLING; empty for several settings."""
    row: Mapping[Any, Any]
    """Of `Determinism.settings` or `Determinism.within`."""
    differ_by_design: int
    """Requests that gave different outputs, and were sampled without a seed."""


def summaries(settings: pd.DataFrame, within: pd.DataFrame, label: Callable[[Any], str]) -> list[Summary]:
    """What a report shows of each setting and system, then of each system that has several settings. label: of a
    system."""
    is_one, rows = not has_several(settings), settings.to_dict("records")
    keys: list[tuple[Any, ...]] = settings.index.to_list()
    parts, pooled = list[Summary](), dict[str, list[int]]()
    for key, row in zip(keys, rows, strict=True):
        system, by_design = label(key[-1]), _changed(row) if key[-2] == UNSEEDED else 0
        pooled.setdefault(system, []).append(by_design)
        names = [] if is_one else [str(row["setting"])]
        names += [system] if len(within) > 1 or is_one else []
        parts.append(Summary(", ".join(names), key[-2], row, by_design))
    for name, row in zip(within.index, within.to_dict("records"), strict=True):
        numbers = pooled[label(name)]
        if len(numbers) > 1:
            parts.append(Summary(f"All settings together, {label(name)}", "", row, sum(numbers)))
    return parts


def _changed(row: Mapping[Any, Any]) -> int:
    """The requests of a setting whose runs are not all the same."""
    return round(row["repeated"] * (1 - row["same"])) if row["repeated"] else 0


def has_several(settings: pd.DataFrame) -> bool:
    """Whether there is more than one setting, on whatever system."""
    keys: list[tuple[Any, ...]] = settings.index.to_list()
    return len({repr(key[:-1]) for key in keys}) > 1
