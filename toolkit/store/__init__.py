"""The SQLite file that keeps every completion."""

__all__ = ["blobs", "database", "queries", "reader", "rows", "schema", "store"]
