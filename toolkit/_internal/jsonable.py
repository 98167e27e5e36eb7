"""Python objects as plain data."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def plain(value: Any) -> Any:
    """Plain data, the same in every process: functions and types become their names, objects their text."""
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if isinstance(value, Mapping):
        return {str(name): plain(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted(str(plain(item)) for item in value)
    name = getattr(value, "__qualname__", None)  # the text of a function contains its address
    return f"{value.__module__}.{name}" if name else str(value)


def is_missing(value: Any) -> bool:
    """None, NaN or pandas' NA; a string never is."""
    import pandas as pd

    return value is None or (not isinstance(value, (str, tuple)) and bool(pd.isna(value)))
