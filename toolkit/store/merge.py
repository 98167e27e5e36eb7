"""Several stores as one in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from toolkit.store.store import Store

Key = tuple[str, str, int]
"""Request, fingerprint and repeat."""
_SHARED = ("inputs", "requests", "fingerprints", "vocabularies", "prompts")
"""Tables whose rows are equal where their keys are."""


@dataclass(frozen=True)
class Renumbering:
    """What a store's runs and repeats are called in the merged one."""

    runs: int
    """Added to the number of a run."""
    repeats: Mapping[Key, int]
    """The repeats that another store has for the same request, under the numbers that they have got."""

    def repeat(self, key: Key) -> int:
        return self.repeats.get(key, key[2])


def merged(stores: Sequence[Store]) -> tuple[Store, list[Renumbering]]:
    """A store in memory with the completions, attempts, runs and grades of several, and what each one's are called
    there. Completions of equal requests are repeats of it; one that several files hold, as a file and its copy do, is
    there once. Sweeps are left out: their tables are read from their own stores."""
    target = Store(":memory:")
    identities: dict[Key, str] = {}
    renumberings = []
    for store in stores:
        ((runs,),) = target.query("SELECT coalesce(max(id), 0) FROM runs")[1]
        renumbering = Renumbering(runs, _renumbered(store, identities))
        with target._writing():
            _copy(store, target, renumbering)
        renumberings.append(renumbering)
    return target, renumberings


def _renumbered(store: Store, identities: dict[Key, str]) -> dict[Key, int]:
    """The repeats of a store whose numbers others have; adds all of its completions and failures to `identities`."""
    renumbered = {}
    for request, fingerprint, repeat, identity in _attempts(store):
        number = repeat
        while identities.get((request, fingerprint, number), identity) != identity:
            number += 1
        identities[request, fingerprint, number] = identity
        if number != repeat:
            renumbered[request, fingerprint, repeat] = number
    return renumbered


def _attempts(store: Store) -> list[tuple[str, str, int, str]]:
    """Request, fingerprint, repeat, and an identity of each completion, and of each failed one that has none."""
    query = (
        "SELECT request, fingerprint, repeat, id FROM completions WHERE choice = 0 UNION ALL "
        "SELECT request, fingerprint, repeat, 'failed ' || max(created) FROM failures x WHERE NOT EXISTS "
        "(SELECT 1 FROM completions c WHERE (c.request, c.fingerprint, c.repeat) "
        "= (x.request, x.fingerprint, x.repeat) AND c.choice = 0) "
        "GROUP BY request, fingerprint, repeat ORDER BY repeat"
    )
    return store.query(query)[1]


def _copy(store: Store, target: Store, renumbering: Renumbering) -> None:
    ((completions,),) = target.query("SELECT coalesce(max(number), 0) FROM completions")[1]
    ((grades,),) = target.query("SELECT coalesce(max(number), 0) FROM grades")[1]
    for table in _SHARED:
        _insert(target, table, _rows(store, table))
    systems = dict(store.query("SELECT id, fingerprint FROM runs")[1])
    numbers = {"runs": {"id": renumbering.runs}, "arrays": {"completion": completions}}
    numbers["completions"] = {"number": completions, "run": renumbering.runs}
    numbers["grades"] = {"number": grades}
    for table in ("runs", "took", "leases", "failures", "completions", "arrays", "grades"):
        rows = _rows(store, table)
        for row in rows:
            if "repeat" in row:
                system = row.get("fingerprint") or systems.get(row.get("run"), "")
                row["repeat"] = renumbering.repeat((row["request"], system, row["repeat"]))
            for name, added in numbers.get(table, {"run": renumbering.runs}).items():
                row[name] = None if row[name] is None else row[name] + added
            if table == "runs":  # no run of this store goes on
                row |= {"owner": None, "heartbeat": None}
        _insert(target, table, rows)


def _rows(store: Store, table: str) -> list[dict[str, Any]]:
    names, rows = store.query(f"SELECT * FROM {table}")
    return [dict(zip(names, row, strict=True)) for row in rows]


def _insert(target: Store, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    if rows:
        names = list(rows[0])
        marks = ", ".join(f":{name}" for name in names)
        target._db.executemany(f"INSERT OR IGNORE INTO {table} ({', '.join(names)}) VALUES ({marks})", rows)
