"""A table of results as people look at it: what was asked first, names in place of ids."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from toolkit.core.fingerprint import Fingerprint, system_names

if TYPE_CHECKING:
    import pandas as pd

    from toolkit.display.tables import Table
    from toolkit.store.store import Store

_OUTCOMES = ("text", "finish_reason", "completion_tokens")
_IDS = ("sweep", "system_fingerprint")
_TEXTS = ("template", "system", "developer")
"""The fields of a prompt that its rows fill."""


def overview(
    table: pd.DataFrame,
    axes: Sequence[str],
    fingerprints: Mapping[str, Fingerprint],
    store: Store | None = None,
) -> pd.DataFrame:
    """The most important columns: the axes, the text, its finish reason and its length; then the variables that no
    prompt contains, such as the expected answer, and the ids that no other column stands for."""
    named = with_system_names(table, fingerprints)
    outcomes = [*_OUTCOMES, *(["error"] if table["error"].notna().any() else [])]
    others = [name for name in axes if name not in _IDS]
    ids = [name for name in _IDS if name in axes and not _is_told_by(named, name, others)]
    has_variables = any(name.startswith("row.") for name in axes)
    unasked = _unasked(table, [name for name in others if name.startswith("row.")], store)
    asked = [name for name in others if name not in unasked and not (has_variables and name == "row")]
    return named[[*asked, *outcomes, *unasked, *ids]]


def _unasked(table: pd.DataFrame, columns: Sequence[str], store: Store | None) -> list[str]:
    """Of some variables, those that no prompt contains; none where all or the prompts are unknown."""
    if store is None or len(columns) < 2:
        return []
    bodies, sweeps = dict(store.sweeps()), table["sweep"].unique()
    prompts = [p for sweep in sweeps for p in bodies.get(sweep, {}).get("prompts", ())]
    texts = str([[p.get(name) for name in _TEXTS] if isinstance(p, Mapping) else p for p in prompts])
    unasked = [c for c in columns if not re.search(rf"{{\s*{re.escape(c.removeprefix('row.'))}\b", texts)]
    return unasked if len(unasked) < len(columns) else []


def _is_told_by(table: pd.DataFrame, name: str, others: Sequence[str]) -> bool:
    """Whether another column has a different value for each value of this one."""
    number = table[name].nunique(dropna=False)
    return any(
        len(table[[name, other]].drop_duplicates()) == table[other].nunique(dropna=False) == number
        for other in others
    )


def with_system_names(table: pd.DataFrame, fingerprints: Mapping[str, Fingerprint]) -> pd.DataFrame:
    """The table with a name in place of each fingerprint's id."""
    names = system_names(fingerprints)
    return table.assign(system_fingerprint=table["system_fingerprint"].map(lambda id: names.get(id, id)))


def with_shown_names(table: Table, fingerprints: Mapping[str, Fingerprint]) -> Table:
    """The table, which holds ids and shows names."""
    table.attrs["names"] = system_names(fingerprints)
    return table
