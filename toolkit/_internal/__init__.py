"""Shared helpers: validation, hashing, text, plain data, files, processes, interrupts."""

__all__ = [
    "field_docs",
    "files",
    "hashing",
    "interrupts",
    "intervals",
    "jsonable",
    "missing",
    "notes",
    "processes",
    "secrets",
    "text",
    "validation",
    "value_text",
]
