"""Results of stores that there are."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from toolkit.results.combine import combine
from toolkit.results.results import Results
from toolkit.store.store import Store, existing_store

Source = Store | str | Path | Results
"""Where results are: a store, the path of one, or results themselves."""


def results(store: Source | Sequence[Source] | Mapping[str, Source]) -> Results:
    """Everything in a store: all sweeps, all fingerprints. Of several (paths, stores or results, as a list or as
    {name: …}) the rows of all, whose column `run_name` has the names, by default those of the files.

    Where the files differ it is a copy in memory. There, completions of equal requests are repeats of it, so that
    `determinism()` compares the runs; `compare("run_name")` shows them side by side.

    Raises StoreError where there is no store.

    >>> tk.results("runs/haiku.db").frame()  # doctest: +SKIP
    >>> tk.results({"before": "runs/old.db", "after": "runs/new.db"}).compare("run_name")  # doctest: +SKIP
    """
    if isinstance(store, Results | Store | str | Path) or not isinstance(store, Mapping | Sequence):
        return _of_one(store)
    if not store:
        raise ValueError("there are no results to join: give at least one store")
    named = store.items() if isinstance(store, Mapping) else ((None, source) for source in store)
    names, parts = zip(*((name, _of_one(source)) for name, source in named), strict=True)
    return Results(*combine([part._table for part in parts], [part._store for part in parts], names))


def _of_one(source: Source) -> Results:
    return source if isinstance(source, Results) else Results.of(existing_store(source))
