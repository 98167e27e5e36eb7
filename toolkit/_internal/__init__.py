"""Shared helpers: validation, hashing, text, plain data, files."""

__all__ = ["files", "hashing", "jsonable", "text", "validation"]
