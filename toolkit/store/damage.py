"""What of a store cannot be read: counted and named, while the rest is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from toolkit._internal.text import plural

if TYPE_CHECKING:
    from toolkit.store.database import Database

_MOST_NAMED = 5
_BROKEN = {
    "sweep": "SELECT id FROM sweeps WHERE NOT is_json(body)",
    "cell": "SELECT sweep, position FROM cells WHERE NOT is_json(labels)",
    "request": (
        "SELECT key FROM requests WHERE NOT is_json(sampling) OR NOT is_json(coalesce(response_format, '{}')) "
        "UNION SELECT request FROM completions WHERE request NOT IN (SELECT key FROM requests)"
    ),
    "fingerprint": (
        "SELECT id FROM fingerprints WHERE NOT is_json(body) "
        "UNION SELECT fingerprint FROM completions WHERE fingerprint NOT IN (SELECT id FROM fingerprints)"
    ),
    "stop reason": (
        "SELECT request, repeat, choice FROM completions WHERE NOT is_json(coalesce(stop_reason, 'null'))"
    ),
}
"""What cannot be read, by kind: each with the columns that name it. is_json: see `Database`."""
_PLACES = {
    "sweep": ("sweep",),
    "cell": ("sweep", "cell"),
    "request": ("request",),
    "fingerprint": ("system_fingerprint",),
    "stop reason": ("request", "repeat", "choice"),
}
"""The columns of a row by which it belongs to something."""
_UNPLACED = "answer of no sweep"
_UNPLACED_ANSWERS = """
SELECT request, fingerprint, repeat, choice FROM completions WHERE choice >= 0 AND request IN (
    SELECT request FROM (SELECT DISTINCT request FROM completions) WHERE request NOT IN (SELECT request FROM cells))
"""


@dataclass(frozen=True)
class Damage:
    """The parts of a store that cannot be read, by kind."""

    parts: dict[str, set[tuple[Any, ...]]] = field(default_factory=dict)

    def __bool__(self) -> bool:
        return any(self.parts.values())

    @classmethod
    def of(cls, store: Database) -> Damage:
        return cls({kind: set(store.query(query)[1]) for kind, query in _BROKEN.items()})

    def with_unplaced(self, store: Database) -> Damage:
        """With the answers that are in no sweep."""
        return Damage({**self.parts, _UNPLACED: set(store.query(_UNPLACED_ANSWERS)[1])})

    def readable(self, names: Sequence[str], rows: Sequence[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
        """The rows of `StoreReader.cell_rows`, with columns of these names, that can be read."""
        column = {name: i for i, name in enumerate(names)}
        tests = [
            (bad, [column[name] for name in place])
            for kind, place in _PLACES.items()
            if (bad := self.parts.get(kind))
        ]
        return [row for row in rows if not any(tuple(row[i] for i in at) in bad for bad, at in tests)]

    def sentence(self, unreadable: int) -> str:
        """How many rows cannot be read, and what is the matter."""
        unreadable += len(self.parts.get(_UNPLACED, ()))
        kinds = []
        for kind, parts in self.parts.items():
            names = ["/".join(map(str, part)) for part in sorted(parts, key=str)]
            more = f" and {len(names) - _MOST_NAMED} more" if len(names) > _MOST_NAMED else ""
            kinds += [f"{kind} {', '.join(names[:_MOST_NAMED])}{more}"] if names else []
        return f"{plural(unreadable, 'row')} cannot be read: {'; '.join(kinds)}"
