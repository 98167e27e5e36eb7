"""The tables of several runs as one, each row with the name of its run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from toolkit.pricing.machine_time import COMPLETION_KEY
from toolkit.results.dtypes import exact_column
from toolkit.results.table import DTYPES, GRADES, RUN_NAME, ordered
from toolkit.store.merge import Renumbering, merged
from toolkit.store.store import Store

if TYPE_CHECKING:
    import pandas as pd


def combine(
    tables: Sequence[pd.DataFrame], stores: Sequence[Store | None], names: Sequence[str | None]
) -> tuple[pd.DataFrame, Store]:
    """The rows of some tables, those of the first one first, with a column `run_name`, and a store that has what is
    behind them: that of the tables where they share one, else a copy in memory, in which completions of equal
    requests are repeats of it. names: of each run; None for the name of its file.

    Raises ValueError for a table without completions behind it.
    """
    import pandas as pd

    present = [store for store in stores if store is not None]
    if len(present) < len(stores):
        raise ValueError(
            "a table read from CSV has no completions behind it, and cannot be joined: read Parquet or JSONL"
        )
    distinct = list({_identity(store): store for store in present}.values())
    if len(distinct) > 1:
        store, renumberings = merged(distinct)
        by_store = dict(zip(map(_identity, distinct), renumberings, strict=True))
        tables = [_renumbered(t, by_store[_identity(s)]) for t, s in zip(tables, present, strict=True)]
    else:
        store = distinct[0]
    named = _with_names(tables, present, names)
    together = pd.concat(
        [table.drop(columns=[*GRADES], errors="ignore") for table in named], ignore_index=True
    )
    return together[ordered(map(str, together.columns))], store


def _identity(store: Store) -> Any:
    """Equal for stores of one file."""
    return id(store) if store.path == ":memory:" else store.path


def _renumbered(table: pd.DataFrame, renumbering: Renumbering) -> pd.DataFrame:
    keys = zip(*(table[name] for name in COMPLETION_KEY), strict=True)
    return table.assign(
        run=table["run"] + renumbering.runs, repeat=[renumbering.repeat(key) for key in keys]
    ).astype({"repeat": DTYPES["repeat"]})


def _with_names(
    tables: Sequence[pd.DataFrame], stores: Sequence[Store], names: Sequence[str | None]
) -> list[pd.DataFrame]:
    """Each table with its run's name in all rows; one that has names already keeps them."""
    taken = {name for table in tables if RUN_NAME in table for name in table[RUN_NAME]}
    taken |= {name for name in names if name is not None}
    named = []
    for table, store, name in zip(tables, stores, names, strict=True):
        if name is None and RUN_NAME in table:
            named.append(table)
            continue
        if name is None:
            name = _free_name("run" if store.path == ":memory:" else Path(store.path).stem, taken)
            taken.add(name)
        named.append(table.assign(**{RUN_NAME: exact_column([name] * len(table), "str").array}))
    return named


def _free_name(name: str, taken: Iterable[str]) -> str:
    """The name, numbered where another run has it."""
    numbered = (name if number == 0 else f"{name} [{number}]" for number in range(len(set(taken)) + 1))
    return next(candidate for candidate in numbered if candidate not in taken)
