"""Values of Python and its libraries as JSON data."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from enum import Enum
from pathlib import PurePath
from typing import Any

import numpy as np

_PLAIN_TYPES = frozenset((type(None), bool, int, float, str))


def to_plain(value: Any, fallback: Callable[[Any], Any]) -> Any:
    """JSON data: None, numbers and texts stay as they are; mappings, lists and tuples are converted item by item.
    fallback: from any other value to JSON data: `library_value`, `name_or_text`, or the caller's own."""
    if type(value) in _PLAIN_TYPES:
        return value
    if isinstance(value, int | float | str):  # of a subclass
        if isinstance(value, Enum):
            return value.value
        return value.item() if isinstance(value, np.generic) else value
    if isinstance(value, list | tuple):
        return [to_plain(item, fallback) for item in value]
    if isinstance(value, dict | Mapping):
        return {str(name): to_plain(item, fallback) for name, item in value.items()}
    return fallback(value)


def library_value(value: Any) -> Any:
    """A value of NumPy, pandas or the standard library as JSON data: arrays and columns as lists, what is missing as
    None, dates and times as ISO 8601 text, decimal numbers and paths as text, a member of an Enum as its value.

    Raises TypeError for what is no data: functions, classes, sets, objects.
    """
    if not isinstance(value, type):
        if hasattr(value, "tolist"):  # also a NumPy scalar has it
            return to_plain(value.tolist(), library_value)
        if isinstance(value, Enum):
            return to_plain(value.value, library_value)
        if is_missing(value):
            return None
        if hasattr(value, "isoformat"):
            return value.isoformat()
        if isinstance(value, Decimal | PurePath):
            return str(value)
    raise TypeError(f"a value of type {type(value).__name__} is not data, got {value!r}")


def name_or_text(value: Any) -> Any:
    """For fingerprints, the same in every process: functions and classes by name, sets sorted, all else as text. A
    NumPy number, a date or an Enum is text as well: it is so in fingerprints that are stored."""
    if isinstance(value, set | frozenset):
        return sorted(str(to_plain(item, name_or_text)) for item in value)
    name = getattr(value, "__qualname__", None)  # the text of a function contains its address
    return f"{value.__module__}.{name}" if name else str(value)


def is_missing(value: Any) -> bool:
    """None, NaN or pandas' NA; a string never is."""
    import pandas as pd

    return value is None or (not isinstance(value, (str, tuple)) and bool(pd.isna(value)))
