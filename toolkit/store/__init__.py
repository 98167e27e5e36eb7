"""The SQLite file that keeps every completion."""

__all__ = [
    "blobs",
    "connection",
    "damage",
    "database",
    "merge",
    "queries",
    "reader",
    "rows",
    "runs",
    "schema",
    "store",
]
